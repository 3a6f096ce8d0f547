//! Rows of samples at full width: chroma that has half the columns or rows is upsampled as
//! libyuv does it, each sample weighted with its neighbours, in one rounded step.

use super::super::planes::Planes;
use crate::ImageError;

/// A sample of 8 bits, or of more in 16.
pub(super) trait Sample: Copy + Default {
    /// From a sample of `depth` bits: cut to 8 bits if this type has no more.
    fn cut(sample: u16, depth: u8) -> Self;

    fn wide(self) -> u32;

    /// From a weighted mean of samples.
    fn mean(value: u32) -> Self;
}

impl Sample for u8 {
    #[inline]
    fn cut(sample: u16, depth: u8) -> Self {
        (sample >> (depth - 8)).min(255) as u8
    }

    #[inline]
    fn wide(self) -> u32 {
        self.into()
    }

    #[inline]
    fn mean(value: u32) -> Self {
        value as u8
    }
}

impl Sample for u16 {
    #[inline]
    fn cut(sample: u16, depth: u8) -> Self {
        sample.min((1 << depth) - 1)
    }

    #[inline]
    fn wide(self) -> u32 {
        self.into()
    }

    #[inline]
    fn mean(value: u32) -> Self {
        value as u16
    }
}

/// Reads rows of a picture's planes.
pub(super) struct Sampling<'a> {
    pub(super) planes: &'a Planes,
    /// Chroma is repeated, not upsampled.
    pub(super) nearest: bool,
}

impl<'a> Sampling<'a> {
    pub(super) fn new(planes: &'a Planes) -> Self {
        Self {
            planes,
            nearest: false,
        }
    }

    /// A row of luma.
    pub(super) fn luma<T: Sample>(&self, y: usize, out: &mut [T]) -> Result<(), ImageError> {
        self.stored(0, y, out)
    }

    /// A row of a plane as it is stored.
    pub(super) fn stored<T: Sample>(
        &self,
        plane: usize,
        y: usize,
        out: &mut [T],
    ) -> Result<(), ImageError> {
        let depth = self.planes.depth;
        let bytes = self.planes.row(plane, y)?;
        if depth == 8 {
            for (out, byte) in out.iter_mut().zip(bytes) {
                *out = T::cut((*byte).into(), depth);
            }
        } else {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *out = T::cut(u16::from_ne_bytes(*bytes), depth);
            }
        }
        Ok(())
    }

    /// The two rows of chroma that a row of pixels lies between: the nearer one first, or the
    /// same one twice at the edges.
    pub(super) fn between(&self, y: usize) -> (usize, usize) {
        if !self.planes.halved.1 {
            return (y, y);
        }
        let near = y / 2;
        let far = match y % 2 {
            0 => near.saturating_sub(1),
            _ => (near + 1).min(self.planes.chroma_rows() - 1),
        };
        (near, far)
    }

    /// A row of chroma, one sample for each pixel.
    pub(super) fn chroma<T: Sample>(
        &self,
        y: usize,
        plane: usize,
        out: &mut [T],
    ) -> Result<(), ImageError> {
        if self.planes.halved == (false, false) {
            return self.stored(plane, y, out);
        }
        let half = out.len().div_ceil(2);
        let (near, far) = self.between(y);
        let mut nearer = vec![T::default(); half];
        self.stored(plane, near, &mut nearer)?;
        if self.nearest {
            for (out, sample) in out.chunks_mut(2).zip(nearer) {
                out.fill(sample);
            }
            return Ok(());
        }
        if near == far {
            between_columns(&nearer, out);
        } else {
            let mut farther = vec![T::default(); half];
            self.stored(plane, far, &mut farther)?;
            between_rows_and_columns(&nearer, &farther, out);
        }
        Ok(())
    }
}

/// libyuv's `ScaleRowUp2_Linear`: 3 to 1.
fn between_columns<T: Sample>(row: &[T], out: &mut [T]) {
    let Some((first, out)) = out.split_first_mut() else {
        return;
    };
    *first = row.first().copied().unwrap_or_default();
    for (pair, out) in row.windows(2).zip(out.chunks_mut(2)) {
        let (left, right) = (pair[0].wide(), pair[1].wide());
        let means = [left * 3 + right + 2, left + right * 3 + 2];
        for (out, mean) in out.iter_mut().zip(means) {
            *out = T::mean(mean >> 2);
        }
    }
    // The last one is not mixed, even where there would be a pixel behind it.
    if let (Some(out), Some(last)) = (out.last_mut(), row.last()) {
        *out = *last;
    }
}

/// libyuv's `ScaleRowUp2_Bilinear`: 9 to 3 to 3 to 1.
fn between_rows_and_columns<T: Sample>(near: &[T], far: &[T], out: &mut [T]) {
    let edge = |near: Option<&T>, far: Option<&T>| {
        let sample = |sample: Option<&T>| sample.copied().unwrap_or_default().wide();
        T::mean((sample(near) * 3 + sample(far) + 2) >> 2)
    };
    let Some((first, out)) = out.split_first_mut() else {
        return;
    };
    *first = edge(near.first(), far.first());
    let pairs = near.windows(2).zip(far.windows(2));
    for ((near, far), out) in pairs.zip(out.chunks_mut(2)) {
        let [left, right] = [near[0].wide(), near[1].wide()];
        let [far_left, far_right] = [far[0].wide(), far[1].wide()];
        let means = [
            left * 9 + right * 3 + far_left * 3 + far_right + 8,
            left * 3 + right * 9 + far_left + far_right * 3 + 8,
        ];
        for (out, mean) in out.iter_mut().zip(means) {
            *out = T::mean(mean >> 4);
        }
    }
    if let Some(out) = out.last_mut() {
        *out = edge(near.last(), far.last());
    }
}
