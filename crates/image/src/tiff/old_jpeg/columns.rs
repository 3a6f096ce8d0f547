//! Old-style JPEG in tiles: one JPEG as wide as a tile, in which all tiles lie one below the other,
//! row by row.
//!
//! libtiff expects a JPEG that is as high as one column of tiles. It goes on where the frame says
//! that there is more, and makes noise of all that is behind that height where it does not.

/// How the lines of such a JPEG become rows of a picture.
#[derive(Clone, Copy)]
pub(super) struct Columns {
    /// Tiles side by side.
    pub(super) count: usize,
    /// Width and height of a tile in pixels.
    tile: (usize, usize),
    /// Rows of the picture.
    height: usize,
}

impl Columns {
    pub(super) fn new(tile: (usize, usize), (width, height): (usize, usize)) -> Self {
        Self {
            count: width.div_ceil(tile.0),
            tile,
            height,
        }
    }

    /// Lines up to the last that the picture has. There are more if the last tiles reach below it.
    pub(super) fn lines(&self) -> usize {
        let (_, rows) = self.tile;
        let above = (self.height.div_ceil(rows) * self.count).saturating_sub(1) * rows;
        above + self.height.saturating_sub(1) % rows + 1
    }

    /// Rows that wait for the last tile beside them.
    fn waiting(&self) -> usize {
        match self.count {
            0 | 1 => 0,
            _ => self.tile.1.min(self.height),
        }
    }

    /// Bytes of these rows, with so many for each pixel.
    pub(super) fn held(&self, pixel: usize) -> u64 {
        (self.waiting() * self.count) as u64 * (self.tile.0 * pixel) as u64
    }

    /// What takes the lines, in order, and gives whole rows to `take`.
    pub(super) fn joined(
        self,
        pixel: usize,
        mut take: impl FnMut(usize, &[Vec<u8>]),
    ) -> impl FnMut(usize, &[Vec<u8>]) {
        let ((width, rows), count) = (self.tile, self.count);
        let bytes = width * pixel;
        let mut waiting = vec![[vec![0; bytes * count]]; self.waiting()];
        move |line, row| {
            if count <= 1 {
                return take(line, row);
            }
            let (tile, within) = (line / rows, line % rows);
            let (down, column) = (tile / count, tile % count);
            let y = down * rows + within;
            let (Some(whole), Some(from)) = (waiting.get_mut(within), row.first()) else {
                return;
            };
            let to = whole[0].get_mut(column * bytes..(column + 1) * bytes);
            if let Some(to) = to.filter(|to| to.len() == from.len()) {
                to.copy_from_slice(from);
            }
            if column + 1 == count && y < self.height {
                take(y, whole);
            }
        }
    }
}
