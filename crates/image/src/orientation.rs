//! Turning and flipping pictures, as the orientation tag of TIFF and EXIF says.

use super::ImageError;
use super::work::Stop;

/// How a picture is turned before it is shown: the eight values of the orientation tag (TIFF
/// 6.0, tag 274).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Orientation {
    /// 1 to 8; 1 leaves the picture as it is stored.
    tag: u8,
}

impl Orientation {
    /// As the picture is stored.
    pub const STORED: Self = Self { tag: 1 };

    /// From the value of the tag. Values without a meaning leave the picture as it is stored.
    pub fn from_tag(tag: u64) -> Self {
        match tag {
            2..=8 => Self { tag: tag as u8 },
            _ => Self::STORED,
        }
    }

    /// The value of the tag, 1 to 8.
    pub fn tag(self) -> u8 {
        self.tag
    }

    /// Whether width and height change places.
    pub fn swaps(self) -> bool {
        self.tag >= 5
    }

    /// Width and height of the turned picture, from those of the stored one; or back.
    pub(super) fn size<T>(self, (width, height): (T, T)) -> (T, T) {
        match self.swaps() {
            true => (height, width),
            false => (width, height),
        }
    }

    /// Turns a picture whose width and height stay what they are, where it lies.
    pub(super) fn flip(
        self,
        width: usize,
        rgb: &mut [u8],
        stop: &Stop<'_>,
    ) -> Result<(), ImageError> {
        let (rows, rest) = rgb.as_chunks_mut::<3>();
        debug_assert!(rest.is_empty());
        let height = rows.len() / width.max(1);
        let work = width as u64 * PIXEL;
        if self.tag == 2 {
            for row in rows.chunks_exact_mut(width) {
                stop.work(work)?;
                row.reverse();
            }
        }
        if matches!(self.tag, 3 | 4) {
            let (upper, lower) = rows.split_at_mut(height / 2 * width);
            // The row in the middle of an odd number keeps its place.
            let lower = lower.chunks_exact_mut(width).skip(height % 2).rev();
            for (above, below) in upper.chunks_exact_mut(width).zip(lower) {
                stop.work(2 * work)?;
                above.swap_with_slice(below);
            }
        }
        if self.tag == 3 {
            for row in rows.chunks_exact_mut(width) {
                stop.work(work)?;
                row.reverse();
            }
        }
        Ok(())
    }

    /// Turns a picture of this size into other memory.
    pub(super) fn turn(
        self,
        (width, height): (usize, usize),
        stored: &[u8],
        turned: &mut [u8],
        stop: &Stop<'_>,
    ) -> Result<(), ImageError> {
        /// Rows and columns of the squares that are turned one after the other: in whole rows,
        /// each pixel would be written to another page of memory.
        const SQUARE: usize = 32;
        let places = Places::new(self, (width, height));
        let (from, to) = (stored.as_chunks::<3>().0, turned.as_chunks_mut::<3>().0);
        for top in (0..height).step_by(SQUARE) {
            stop.work((width * SQUARE) as u64 * PIXEL)?;
            for left in (0..width).step_by(SQUARE) {
                for y in top..height.min(top + SQUARE) {
                    let row = &from[y * width..][left..width.min(left + SQUARE)];
                    for (x, pixel) in (left..).zip(row) {
                        if let Some(to) = to.get_mut(places.of(x, y)) {
                            *to = *pixel;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Nanoseconds to move a pixel.
const PIXEL: u64 = 2;

/// Where the pixels of a stored picture go.
#[derive(Clone, Copy)]
pub(super) struct Places {
    orientation: Orientation,
    /// Of the picture as it is stored.
    width: usize,
    height: usize,
}

impl Places {
    pub(super) fn new(orientation: Orientation, (width, height): (usize, usize)) -> Self {
        Self {
            orientation,
            width,
            height,
        }
    }

    /// Puts row `y` of the stored picture into the pixels of the whole.
    pub(super) fn put(&self, y: usize, row: &[u8], rgb: &mut [u8]) {
        let at = y * self.width * 3;
        if self.orientation == Orientation::STORED {
            if let Some(to) = rgb.get_mut(at..at + row.len()) {
                to.copy_from_slice(row);
            }
            return;
        }
        let pixels = rgb.as_chunks_mut::<3>().0;
        for (x, pixel) in row.as_chunks::<3>().0.iter().enumerate() {
            if let Some(to) = pixels.get_mut(self.of(x, y)) {
                *to = *pixel;
            }
        }
    }

    /// The number of a stored pixel among those of the turned picture.
    fn of(&self, x: usize, y: usize) -> usize {
        let (left, up) = (self.width - 1 - x, self.height - 1 - y);
        let (to_x, to_y) = match self.orientation.tag {
            2 => (left, y),
            3 => (left, up),
            4 => (x, up),
            5 => (y, x),
            6 => (up, x),
            7 => (up, left),
            8 => (y, left),
            _ => (x, y),
        };
        to_y * self.orientation.size((self.width, self.height)).0 + to_x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways of turning agree with the one that TIFF is put together by.
    #[test]
    fn turning_in_place_and_elsewhere_is_the_same() {
        for tag in 1..=8 {
            let orientation = Orientation::from_tag(tag);
            for (width, height) in [(1, 1), (1, 5), (4, 1), (7, 4), (70, 33), (33, 71)] {
                let stored: Vec<u8> = (0..width * height * 3).map(|at| (at % 251) as u8).collect();
                let mut expected = vec![0; stored.len()];
                let places = Places::new(orientation, (width, height));
                for (y, row) in stored.chunks(width * 3).enumerate() {
                    places.put(y, row, &mut expected);
                }
                let mut turned = vec![0; stored.len()];
                let size = (width, height);
                let stop = Stop::never();
                orientation.turn(size, &stored, &mut turned, &stop).unwrap();
                assert_eq!(turned, expected, "{tag} {width} x {height}");
                if !orientation.swaps() {
                    let mut flipped = stored.clone();
                    orientation.flip(width, &mut flipped, &stop).unwrap();
                    assert_eq!(flipped, expected, "{tag} {width} x {height}");
                }
            }
        }
    }
}
