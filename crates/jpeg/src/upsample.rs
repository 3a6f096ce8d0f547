//! Chroma at half the resolution, interpolated as libjpeg does it ("fancy upsampling"): each sample is
//! three quarters of the nearer one and one quarter of the one beyond, and rounding alternates.

use crate::kernel::Kernel;

/// Interpolates along a row: twice as many samples as `row` has.
#[inline(always)]
pub(crate) fn across(kernel: impl Kernel, row: &[u8], sums: &mut Sums, out: &mut [u8]) {
    for (sum, &sample) in sums.within(row.len()).iter_mut().zip(row) {
        *sum = sample.into();
    }
    sums.repeat_ends();
    kernel.spread::<2, 1, 2>(sums, out);
}

/// Interpolates between a row and the one that is as near in the other direction, and along it.
#[inline(always)]
pub(crate) fn both(
    kernel: impl Kernel,
    row: &[u8],
    beyond: &[u8],
    sums: &mut Sums,
    out: &mut [u8],
) {
    kernel.weigh(row, beyond, sums.within(row.len()));
    sums.repeat_ends();
    kernel.spread::<4, 8, 7>(sums, out);
}

/// A row of what is spread, with its ends once more beyond them: beyond the ends lies the end itself, which gives the
/// samples that libjpeg has there.
pub(crate) struct Sums(Vec<u16>);

impl Sums {
    /// For rows of `length` samples.
    pub(crate) fn new(length: usize) -> Self {
        Self(vec![0; length + 2])
    }

    /// With both ends.
    pub(crate) fn all(&self) -> &[u16] {
        &self.0
    }

    /// Without them, of a row of this length.
    #[inline(always)]
    fn within(&mut self, length: usize) -> &mut [u16] {
        self.0.resize(length + 2, 0);
        &mut self.0[1..=length]
    }

    #[inline(always)]
    fn repeat_ends(&mut self) {
        if let [first, start, .., end, last] = &mut *self.0 {
            (*first, *last) = (*start, *end);
        } else if let [first, only, last] = &mut *self.0 {
            (*first, *last) = (*only, *only);
        }
    }
}

/// Three times a row and once the one beyond, as long as the shortest of all.
#[inline(always)]
pub(crate) fn weigh(row: &[u8], beyond: &[u8], sums: &mut [u16]) {
    for ((sum, &near), &far) in sums.iter_mut().zip(row).zip(beyond) {
        *sum = 3 * u16::from(near) + u16::from(far);
    }
}

/// Makes two of each but the ends: three times itself and its neighbour on the left, then on the right, rounded by
/// `LEFT` and `RIGHT` when `BITS` bits are dropped.
#[inline(always)]
pub(crate) fn spread<const BITS: i32, const LEFT: u16, const RIGHT: u16>(
    sums: &[u16],
    out: &mut [u8],
) {
    let (here, after) = (sums.get(1..), sums.get(2..));
    let (here, after) = (here.unwrap_or_default(), after.unwrap_or_default());
    let triples = sums.iter().zip(here).zip(after);
    for (pair, ((&before, &here), &after)) in out.as_chunks_mut::<2>().0.iter_mut().zip(triples) {
        *pair = [
            ((3 * here + before + LEFT) >> BITS) as u8,
            ((3 * here + after + RIGHT) >> BITS) as u8,
        ];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Portable;

    #[test]
    fn ends_stay_and_what_is_between_is_weighed() {
        let mut out = [0; 6];
        across(Portable, &[0, 100, 201], &mut Sums::new(3), &mut out);
        assert_eq!(out, [0, 25, 75, 125, 176, 201]);
        let mut both = |row: [u8; 3], beyond: [u8; 3]| {
            both(Portable, &row, &beyond, &mut Sums::new(3), &mut out);
            out
        };
        assert_eq!(
            both([0, 100, 201], [0, 100, 201]),
            [0, 25, 75, 125, 176, 201]
        );
        assert_eq!(both([0; 3], [200; 3]), [50; 6]);
        assert_eq!(both([255; 3], [255; 3]), [255; 6]);
    }
}
