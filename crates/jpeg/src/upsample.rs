//! Chroma at half the resolution, interpolated as libjpeg does it ("fancy upsampling"): each sample is
//! three quarters of the nearer one and one quarter of the one beyond, and rounding alternates.

/// Interpolates along a row: twice as many samples as `row` has.
#[inline(always)]
pub(crate) fn across(row: &[u8], sums: &mut Sums, out: &mut [u8]) {
    sums.fill(row.iter().map(|&sample| sample.into()));
    spread::<2, 1, 2>(sums, out);
}

/// Interpolates between a row and the one that is as near in the other direction, and along it.
#[inline(always)]
pub(crate) fn both(row: &[u8], beyond: &[u8], sums: &mut Sums, out: &mut [u8]) {
    let weighed = |(&near, &far)| 3 * u16::from(near) + u16::from(far);
    sums.fill(row.iter().zip(beyond).map(weighed));
    spread::<4, 8, 7>(sums, out);
}

/// A row of what is spread, with its ends once more beyond them.
pub(crate) struct Sums(Vec<u16>);

impl Sums {
    /// For rows of `length` samples.
    pub(crate) fn new(length: usize) -> Self {
        Self(vec![0; length + 2])
    }

    #[inline(always)]
    fn fill(&mut self, row: impl Iterator<Item = u16>) {
        let [first, within @ .., last] = &mut *self.0 else {
            return;
        };
        for (sum, value) in within.iter_mut().zip(row) {
            *sum = value;
        }
        *first = within.first().copied().unwrap_or(0);
        *last = within.last().copied().unwrap_or(0);
    }
}

/// Makes two of each: three times itself and its neighbour on the left, then on the right, rounded by
/// `LEFT` and `RIGHT` when `BITS` bits are dropped. Beyond the ends lies the end itself, which gives the
/// samples that libjpeg has there.
#[inline(always)]
fn spread<const BITS: u32, const LEFT: u16, const RIGHT: u16>(sums: &Sums, out: &mut [u8]) {
    let (before, here, after) = (&*sums.0, &sums.0[1..], &sums.0[2..]);
    let triples = before.iter().zip(here).zip(after);
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

    #[test]
    fn ends_stay_and_what_is_between_is_weighed() {
        let mut out = [0; 6];
        across(&[0, 100, 201], &mut Sums::new(3), &mut out);
        assert_eq!(out, [0, 25, 75, 125, 176, 201]);
        both(&[0, 100, 201], &[0, 100, 201], &mut Sums::new(3), &mut out);
        assert_eq!(out, [0, 25, 75, 125, 176, 201]);
        both(&[0; 3], &[200; 3], &mut Sums::new(3), &mut out);
        assert_eq!(out, [50; 6]);
        both(&[255; 3], &[255; 3], &mut Sums::new(3), &mut out);
        assert_eq!(out, [255; 6]);
    }
}
