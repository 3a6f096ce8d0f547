//! Turning and flipping pictures, as the orientation tag of TIFF and EXIF says.

/// Where the pixels of a picture go.
#[derive(Clone, Copy)]
pub(super) struct Orientation {
    /// 1 to 8; 1 is as it lies.
    tag: u64,
    /// Of the picture as it is stored.
    width: usize,
    height: usize,
}

impl Orientation {
    /// Of a tag; one that means nothing leaves the picture as it lies.
    pub(super) fn new(tag: Option<u64>, (width, height): (usize, usize)) -> Self {
        Self {
            tag: tag.filter(|tag| (1..=8).contains(tag)).unwrap_or(1),
            width,
            height,
        }
    }

    /// Whether width and height change places.
    pub(super) fn swaps(tag: Option<u64>) -> bool {
        matches!(tag, Some(5..=8))
    }

    /// Puts row `y` of the stored picture into the pixels of the whole.
    pub(super) fn put(&self, y: usize, row: &[u8], rgb: &mut [u8]) {
        let at = y * self.width * 3;
        if self.tag == 1 {
            if let Some(to) = rgb.get_mut(at..at + row.len()) {
                to.copy_from_slice(row);
            }
            return;
        }
        let pixels = rgb.as_chunks_mut::<3>().0;
        for (x, pixel) in row.as_chunks::<3>().0.iter().enumerate() {
            if let Some(to) = pixels.get_mut(self.place(x, y)) {
                *to = *pixel;
            }
        }
    }

    /// The number of a stored pixel among those of the turned picture.
    fn place(&self, x: usize, y: usize) -> usize {
        let (left, up) = (self.width - 1 - x, self.height - 1 - y);
        let (to_x, to_y) = match self.tag {
            2 => (left, y),
            3 => (left, up),
            4 => (x, up),
            5 => (y, x),
            6 => (up, x),
            7 => (up, left),
            8 => (y, left),
            _ => (x, y),
        };
        let width = if self.tag >= 5 {
            self.height
        } else {
            self.width
        };
        to_y * width + to_x
    }
}
