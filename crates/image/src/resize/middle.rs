//! The middle of a resized picture: what transformers' `center_crop` leaves of it, or puts
//! around it. Only that part is made, so that a picture whose longer side would become a
//! hundred thousand pixels costs no more than another.

use std::ops::Range;

use super::passes::Pass;
use super::unlikely;
use crate::processor::Filter;
use crate::{ImageError, RgbImage};

/// The longest side that a picture may be resized to before its middle is cut out: weights are
/// computed for the whole side.
const LONGEST: u32 = 1 << 20;

/// Where the pixels of a side go: which of the resized ones are wanted, and how many black ones
/// come before them.
struct Cut {
    wanted: Range<u32>,
    before: u32,
}

impl Cut {
    /// `side` pixels from the middle of `size`, with torchvision's rounding.
    fn new(size: u32, side: u32) -> Self {
        if size < side {
            let before = (side - size) / 2;
            let wanted = 0..size;
            return Self { wanted, before };
        }
        let first = (size - side) / 2;
        Self {
            wanted: first..first + side,
            before: 0,
        }
    }
}

/// The columns of a picture resized to `size` that a square of `side` pixels in its middle has.
///
/// # Errors
///
/// When a side of what it is resized to has no pixels or too many.
pub(super) fn columns(size: (u32, u32), side: u32) -> Result<Range<u32>, ImageError> {
    if size.0 == 0 || size.1 == 0 {
        return Err(ImageError::NotResized {
            reason: format!("it would become {} x {} pixels", size.0, size.1),
        });
    }
    if size.0.max(size.1) > LONGEST {
        return Err(ImageError::NotResized {
            reason: format!(
                "it would become {} x {} pixels, of which the middle is taken; no side may be \
                 longer than {LONGEST}",
                size.0, size.1
            ),
        });
    }
    Ok(Cut::new(size.0, side).wanted)
}

/// Resizes to `size` (width and height in pixels), and makes of that a square of `side` pixels.
pub(crate) fn middle(
    image: &RgbImage,
    size: (u32, u32),
    side: u32,
    filter: Filter,
) -> Result<RgbImage, ImageError> {
    let wanted = columns(size, side)?;
    let columns = wanted.len();
    let mut narrow = vec![0; columns * image.height() as usize * 3];
    Pass::new(filter, image.width(), size.0, wanted).along_rows(image.pixels(), &mut narrow);
    cut(&narrow, columns, image.height(), size, side, filter)
}

/// The second pass, and the square: of `height` rows that the wanted `columns` have.
pub(super) fn cut(
    narrow: &[u8],
    columns: usize,
    height: u32,
    size: (u32, u32),
    side: u32,
    filter: Filter,
) -> Result<RgbImage, ImageError> {
    let (across, down) = (Cut::new(size.0, side), Cut::new(size.1, side));
    let mut cut = vec![0; columns * down.wanted.len() * 3];
    Pass::new(filter, height, size.1, down.wanted).along_columns(narrow, columns as u32, &mut cut);
    let row_bytes = side as usize * 3;
    let mut out = vec![0; side as usize * row_bytes];
    let (top, left) = (down.before as usize, across.before as usize * 3);
    let under = out.chunks_exact_mut(row_bytes).skip(top);
    for (out, row) in under.zip(cut.chunks_exact(columns.max(1) * 3)) {
        out[left..left + row.len()].copy_from_slice(row);
    }
    RgbImage::new(side, side, out).ok_or_else(|| unlikely("the middle has another size"))
}
