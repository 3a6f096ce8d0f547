//! The blocks of a GIF up to its first frame, read as Pillow reads them, down to its habit
//! of looking for one more block behind an extension that has ended.

use super::damaged;
use crate::ImageError;
use crate::inspect::{array, u16_le};

/// The first frame, and what was said of it before.
pub(super) struct FirstFrame<'a> {
    /// Width and height of the canvas: the screen's, or more where the frame sticks out.
    pub(super) canvas: (u16, u16),
    pub(super) left: u16,
    pub(super) top: u16,
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) interlaced: bool,
    /// Its own colour table or the file's; none where the indices are grey levels.
    pub(super) colours: Option<&'a [u8]>,
    pub(super) transparent: Option<u8>,
    /// Bits of a code at the start, less one.
    pub(super) code_size: u8,
    /// The packed indices: blocks of a length and so many bytes.
    pub(super) data: &'a [u8],
}

/// Reads on through a file.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = &rest[..rest.len().min(count)];
        self.at += taken.len();
        taken
    }

    /// A block of data; none where one of no bytes stands, or nothing.
    fn block(&mut self) -> Option<&'a [u8]> {
        let length = self.byte().filter(|&length| length > 0)?;
        Some(self.take(usize::from(length)))
    }

    fn skip_blocks(&mut self) {
        while self.block().is_some_and(|block| !block.is_empty()) {}
    }
}

const TABLE: u8 = 0x80;
const INTERLACED: u8 = 0x40;

/// The bytes of a colour table, by the flags that announce it.
fn table_length(flags: u8) -> usize {
    3 << ((flags & 7) + 1)
}

/// A table, unless it says of each index that it is a grey level.
fn table(colours: &[u8]) -> Option<&[u8]> {
    let mut entries = colours.chunks(3).enumerate();
    let is_ramp = entries.all(|(index, entry)| *entry == [index as u8; 3]);
    (!is_ramp).then_some(colours)
}

/// Walks to the first image descriptor.
pub(super) fn first_frame(bytes: &[u8]) -> Result<FirstFrame<'_>, ImageError> {
    let short = || damaged("the file is cut short: it ends before its first frame");
    let screen = (u16_le(bytes, 6), u16_le(bytes, 8), bytes.get(10));
    let (Some(width), Some(height), Some(&flags)) = screen else {
        return Err(short());
    };
    let mut walk = Walk { bytes, at: 13 };
    let mut colours = None;
    if flags & TABLE != 0 {
        colours = table(walk.take(table_length(flags)));
    }
    let mut transparent = None;
    loop {
        match walk.byte() {
            None => return Err(short()),
            Some(b';') => return Err(damaged("it has no frame")),
            Some(b'!') => extension(&mut walk, &mut transparent).ok_or_else(short)?,
            Some(b',') => break,
            Some(_) => {}
        }
    }
    let [x0, x1, y0, y1, w0, w1, h0, h1, flags] = array(walk.take(9), 0).ok_or_else(short)?;
    let [left, top] = [[x0, x1], [y0, y1]].map(u16::from_le_bytes);
    let [frame_width, frame_height] = [[w0, w1], [h0, h1]].map(u16::from_le_bytes);
    if flags & TABLE != 0 {
        colours = table(walk.take(table_length(flags)));
    }
    let code_size = walk.byte().ok_or_else(short)?;
    Ok(FirstFrame {
        canvas: (
            width.max(left.saturating_add(frame_width)),
            height.max(top.saturating_add(frame_height)),
        ),
        left,
        top,
        width: frame_width,
        height: frame_height,
        interlaced: flags & INTERLACED != 0,
        colours,
        transparent,
        code_size,
        data: walk.bytes.get(walk.at..).unwrap_or_default(),
    })
}

/// Reads an extension; none where Pillow trips over it.
///
/// Once an index was made transparent it stays so: a later control that names none does not
/// take it back.
fn extension(walk: &mut Walk<'_>, transparent: &mut Option<u8>) -> Option<()> {
    const CONTROL: u8 = 249;
    const COMMENT: u8 = 254;
    const APPLICATION: u8 = 255;
    let label = walk.byte()?;
    let block = walk.block();
    match (label, block) {
        (CONTROL, Some(block)) => {
            let &flags = block.first()?;
            if flags & 1 != 0 {
                *transparent = Some(*block.get(3)?);
            }
            block.get(1..3)?;
        }
        (COMMENT, first) => {
            let mut block = first;
            while block.is_some_and(|block| !block.is_empty()) {
                block = walk.block();
            }
            return Some(());
        }
        (APPLICATION, Some(block)) if block.starts_with(b"NETSCAPE2.0") => {
            walk.block();
        }
        _ => {}
    }
    walk.skip_blocks();
    Some(())
}
