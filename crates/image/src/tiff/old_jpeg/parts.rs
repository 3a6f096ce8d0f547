//! The data of a file in the order in which libtiff reads it, and a place in it.

use super::super::damaged;
use super::super::ifd::{Directory, Numbers, tag};
use super::super::layout::Layout;
use crate::ImageError;

/// The data of a file in the order in which libtiff reads it.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) file: &'a [u8],
    pub(super) interchange: &'a [u8],
    pub(super) offsets: Numbers<'a>,
    pub(super) counts: Option<Numbers<'a>>,
    /// Strips or tiles.
    pub(super) strips: usize,
}

impl<'a> Parts<'a> {
    pub(super) fn of(directory: &Directory<'a>, layout: &Layout<'a>) -> Self {
        let file = directory.file();
        let number = |tag| directory.number(tag).unwrap_or(0);
        let (across, down) = (layout.chunk.0, layout.chunk.1);
        let strips = layout.width.div_ceil(across) * layout.height.div_ceil(down) * layout.planes();
        Self {
            file,
            interchange: slice(
                file,
                number(tag::JPEG_INTERCHANGE),
                number(tag::JPEG_INTERCHANGE_LENGTH),
            ),
            offsets: layout.offsets,
            counts: layout.counts,
            strips: strips.min(layout.offsets.len()),
        }
    }

    /// The interchange format is the first, and the strips follow; none where they end.
    pub(super) fn get(&self, part: usize) -> Option<&'a [u8]> {
        let Some(strip) = part.checked_sub(1) else {
            return Some(self.interchange);
        };
        if strip >= self.strips {
            return None;
        }
        let count = self.counts.and_then(|counts| counts.get(strip));
        Some(slice(
            self.file,
            self.offsets.get(strip)?,
            count.unwrap_or(0),
        ))
    }
}

/// A piece of the file, up to its end where it would go beyond or has no length. It is empty if it
/// begins nowhere.
pub(super) fn slice(file: &[u8], start: u64, length: u64) -> &[u8] {
    let rest = usize::try_from(start)
        .ok()
        .filter(|&start| start > 0)
        .and_then(|start| file.get(start..))
        .unwrap_or_default();
    match usize::try_from(length) {
        Ok(length) if length > 0 => rest.get(..length).unwrap_or(rest),
        _ => rest,
    }
}

/// A place in the parts.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) parts: Parts<'a>,
    pub(super) part: usize,
    pub(super) rest: &'a [u8],
    /// Bytes that may still be read.
    pub(super) left: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(parts: Parts<'a>) -> Self {
        Self {
            parts,
            part: 0,
            rest: parts.interchange,
            // Strips that are the same bytes again and again could be a header without end.
            left: parts.file.len(),
        }
    }

    pub(super) fn peek(&mut self) -> Result<u8, ImageError> {
        loop {
            if let Some(&byte) = self.rest.first() {
                return Ok(byte);
            }
            self.part += 1;
            let part = self.parts.get(self.part);
            self.rest = part.ok_or_else(|| damaged("its JPEG ends within its header"))?;
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, ImageError> {
        let byte = self.peek()?;
        self.rest = self.rest.get(1..).unwrap_or_default();
        let left = self.left.checked_sub(1);
        self.left = left.ok_or_else(|| damaged("the header of its JPEG does not end"))?;
        Ok(byte)
    }

    /// The length of a segment without the two bytes that it is written in.
    pub(super) fn length(&mut self) -> Result<usize, ImageError> {
        let length = self.word()?;
        let length = usize::from(length).checked_sub(2);
        length.ok_or_else(|| damaged("a segment of its JPEG is too short"))
    }

    pub(super) fn word(&mut self) -> Result<u16, ImageError> {
        Ok(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<Vec<u8>, ImageError> {
        (0..count).map(|_| self.byte()).collect()
    }

    /// As in libtiff, no further than to the end of the part.
    pub(super) fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }
}
