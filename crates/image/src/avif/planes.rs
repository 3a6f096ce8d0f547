//! The planes of a picture as a decoder leaves them, or put together from those of tiles.

use re_rav1d::dav1d::{Picture, PixelLayout, PlanarImageComponent, Plane as Decoded};

use super::{Sequence, damaged};
use crate::ImageError;

/// Luma, and two planes of chroma unless the picture has none.
pub(super) struct Planes {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Bits of a sample; more than eight lie in two bytes.
    pub(super) depth: u8,
    /// Whether there is one column, and one row, of chroma for two of luma.
    pub(super) halved: (bool, bool),
    planes: Vec<Plane>,
}

struct Plane {
    bytes: Bytes,
    stride: usize,
}

enum Bytes {
    Decoded(Decoded),
    Own(Vec<u8>),
}

impl Planes {
    /// The planes of a decoded picture; an error if it is not what the file promised.
    pub(super) fn of(
        picture: &Picture,
        sequence: &Sequence,
        (width, height): (u32, u32),
    ) -> Result<Self, ImageError> {
        use PlanarImageComponent::{U, V, Y};
        let layout = match (sequence.monochrome, sequence.halved) {
            (true, _) => PixelLayout::I400,
            (false, (true, true)) => PixelLayout::I420,
            (false, (true, false)) => PixelLayout::I422,
            (false, _) => PixelLayout::I444,
        };
        if (picture.width(), picture.height()) != (width, height)
            || picture.pixel_layout() != layout
            || picture.bit_depth() != usize::from(sequence.depth)
        {
            return Err(damaged(format_args!(
                "its boxes say {width} x {height} pixels, its AV1 is {} x {}",
                picture.width(),
                picture.height()
            )));
        }
        let planes: &[_] = if sequence.monochrome {
            &[Y]
        } else {
            &[Y, U, V]
        };
        let planes = planes.iter().map(|component| Plane {
            bytes: Bytes::Decoded(picture.plane(*component)),
            stride: picture.stride(*component) as usize,
        });
        Ok(Self {
            width: width as usize,
            height: height as usize,
            depth: sequence.depth,
            halved: sequence.halved,
            planes: planes.collect(),
        })
    }

    /// Planes for a picture that is put together.
    pub(super) fn empty(sequence: &Sequence, (width, height): (u32, u32)) -> Self {
        let mut planes = Self {
            width: width as usize,
            height: height as usize,
            depth: sequence.depth,
            halved: sequence.halved,
            planes: Vec::new(),
        };
        let count = if sequence.monochrome { 1 } else { 3 };
        for nth in 0..count {
            let (columns, rows) = planes.size(nth);
            let stride = columns * planes.sample_bytes();
            planes.planes.push(Plane {
                bytes: Bytes::Own(vec![0; stride * rows]),
                stride,
            });
        }
        planes
    }

    /// Whether there is luma alone.
    pub(super) fn monochrome(&self) -> bool {
        self.planes.len() == 1
    }

    fn sample_bytes(&self) -> usize {
        if self.depth > 8 { 2 } else { 1 }
    }

    /// Columns and rows of a plane.
    fn size(&self, plane: usize) -> (usize, usize) {
        match (plane, self.halved) {
            (0, _) => (self.width, self.height),
            (_, (across, down)) => (
                self.width.div_ceil(1 + usize::from(across)),
                self.height.div_ceil(1 + usize::from(down)),
            ),
        }
    }

    /// Rows of chroma.
    pub(super) fn chroma_rows(&self) -> usize {
        self.size(1).1
    }

    /// The bytes of one row.
    pub(super) fn row(&self, plane: usize, y: usize) -> Result<&[u8], ImageError> {
        let (columns, _) = self.size(plane);
        let length = columns * self.sample_bytes();
        let row = self.planes.get(plane).and_then(|plane| {
            let bytes: &[u8] = match &plane.bytes {
                Bytes::Decoded(bytes) => bytes.as_ref(),
                Bytes::Own(bytes) => bytes,
            };
            let at = y * plane.stride;
            bytes.get(at..at + length)
        });
        row.ok_or_else(|| damaged("its planes are too short"))
    }

    /// Puts a tile where it belongs; what does not fit is cut off.
    pub(super) fn put(
        &mut self,
        tile: &Planes,
        (left, top): (usize, usize),
    ) -> Result<(), ImageError> {
        if (tile.depth, tile.halved, tile.monochrome())
            != (self.depth, self.halved, self.monochrome())
        {
            return Err(damaged("the tiles of its grid differ"));
        }
        let sample = self.sample_bytes();
        for nth in 0..self.planes.len() {
            let (across, down) = match nth {
                0 => (false, false),
                _ => self.halved,
            };
            let (left, top) = (left >> usize::from(across), top >> usize::from(down));
            let (columns, rows) = self.size(nth);
            let (of_tile, rows_of_tile) = tile.size(nth);
            let length = columns.saturating_sub(left).min(of_tile) * sample;
            for y in 0..rows.saturating_sub(top).min(rows_of_tile) {
                let from = &tile.row(nth, y)?[..length];
                let Some(Plane {
                    bytes: Bytes::Own(bytes),
                    stride,
                }) = self.planes.get_mut(nth)
                else {
                    continue;
                };
                let at = (top + y) * *stride + left * sample;
                if let Some(to) = bytes.get_mut(at..at + length) {
                    to.copy_from_slice(from);
                }
            }
        }
        Ok(())
    }
}
