//! GIF: the first frame, on a canvas of the colour that Pillow puts under it.
//!
//! ```text
//! bytes --blocks--> the first frame: place, colours, packed indices
//!       --weezl---> indices, some rows at a time --> RGB
//! ```

mod blocks;

use weezl::{BitOrder, LzwStatus, decode::Decoder};

use super::decode::Job;
use super::{ImageError, ImageFormat};
use blocks::{FirstFrame, first_frame};

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Gif, reason)
}

/// Width and height: the logical screen, or more where the first frame sticks out of
/// it (Pillow grows the canvas then).
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let (width, height) = first_frame(bytes)?.canvas;
    Ok((u32::from(width), u32::from(height)))
}

/// Bytes that decoding takes beside the pixels: the table of codes, and some indices.
pub(super) fn scratch() -> u64 {
    256 << 10
}

/// Indices that are unpacked at a time.
const PIECE: usize = 16 << 10;

/// The most bits that a code may have at the start, less one.
const MOST_CODE_SIZE: u8 = 11;

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    let frame = first_frame(job.bytes)?;
    // What is behind the end of a short table is black.
    let mut colours = match frame.colours {
        Some(_) => [[0; 3]; 256],
        None => std::array::from_fn(|index| [index as u8; 3]),
    };
    let table = frame.colours.unwrap_or_default().as_chunks::<3>().0;
    for (colour, entry) in colours.iter_mut().zip(table) {
        *colour = *entry;
    }
    let (width, height) = job.size();
    let [left, top, frame_width, frame_height] =
        [frame.left, frame.top, frame.width, frame.height].map(usize::from);
    if (left, top, frame_width, frame_height) != (0, 0, width, height) {
        let background = colours[usize::from(frame.transparent.unwrap_or(0))];
        rgb.as_chunks_mut::<3>().0.fill(background);
    }
    let mut out = Out {
        rgb,
        stride: width * 3,
        left,
        top,
        width: frame_width,
        height: frame_height,
        colours: &colours,
        rows: Rows::new(frame.interlaced),
        x: 0,
    };
    unpack(job, &frame, &mut out)
}

/// Unpacks the indices, and puts them where they belong as they come.
fn unpack(job: &Job<'_>, frame: &FirstFrame<'_>, out: &mut Out<'_>) -> Result<(), ImageError> {
    if frame.code_size > MOST_CODE_SIZE {
        return Err(damaged(format_args!(
            "its codes have {} bits",
            u32::from(frame.code_size) + 1
        )));
    }
    let mut left = out.width * out.height;
    if left == 0 {
        return Err(damaged("its first frame has no pixels"));
    }
    let mut decoder = Decoder::new(BitOrder::Lsb, frame.code_size);
    let mut indices = vec![0; PIECE];
    let mut rest = frame.data;
    let mut block: &[u8] = &[];
    loop {
        let mut ended = false;
        if block.is_empty() {
            let (length, after) = rest.split_first().unwrap_or((&0, &[]));
            (block, rest) = after.split_at(after.len().min(usize::from(*length)));
            // Without more, the codes that were taken in may still give pixels.
            ended = block.is_empty();
        }
        let most = left.min(PIECE);
        let step = decoder.decode_bytes(block, &mut indices[..most]);
        job.stop
            .work(step.consumed_in as u64 * 8 + step.consumed_out as u64 * 8)?;
        block = &block[step.consumed_in..];
        out.put(&indices[..step.consumed_out]);
        left -= step.consumed_out;
        match step.status {
            _ if left == 0 => return Ok(()),
            Err(_) => return Err(damaged("the codes of its pixels are broken")),
            Ok(LzwStatus::Ok) if step.consumed_out > 0 || !ended => {}
            Ok(LzwStatus::NoProgress) if !ended => {}
            Ok(_) if rest.is_empty() => return Err(damaged("the file is cut short")),
            Ok(_) => return Err(damaged("its first frame has too few pixels")),
        }
    }
}

/// The order of the rows: four passes if interlaced (GIF89a, appendix E).
struct Rows {
    next: usize,
    step: usize,
    interlaced: bool,
}

impl Rows {
    fn new(interlaced: bool) -> Self {
        Self {
            next: 0,
            step: if interlaced { 8 } else { 1 },
            interlaced,
        }
    }

    /// The row after this one, of `height`.
    fn advance(&mut self, height: usize) {
        self.next += self.step;
        while self.interlaced && self.next >= height && self.step > 1 {
            // From 0 by 8, from 4 by 8, from 2 by 4, from 1 by 2.
            (self.next, self.step) = match (self.step, self.next % 8) {
                (8, 0) => (4, 8),
                (8, _) => (2, 4),
                (4, _) => (1, 2),
                _ => return,
            };
        }
    }
}

/// Where the indices go.
struct Out<'a> {
    rgb: &'a mut [u8],
    stride: usize,
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    colours: &'a [[u8; 3]; 256],
    rows: Rows,
    /// The column of the next index.
    x: usize,
}

impl Out<'_> {
    fn put(&mut self, mut indices: &[u8]) {
        while !indices.is_empty() {
            let count = indices.len().min(self.width - self.x);
            let (now, later) = indices.split_at(count);
            let at = (self.top + self.rows.next) * self.stride + (self.left + self.x) * 3;
            let pixels = self.rgb.get_mut(at..at + count * 3).unwrap_or_default();
            let colours = now.iter().map(|&index| self.colours[usize::from(index)]);
            super::convert::fill(pixels, colours);
            indices = later;
            self.x += count;
            if self.x == self.width {
                self.x = 0;
                self.rows.advance(self.height);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rows;

    #[test]
    fn every_row_comes_once_whatever_the_height() {
        for height in 1..40 {
            for interlaced in [false, true] {
                let mut rows = Rows::new(interlaced);
                let mut seen = Vec::new();
                for _ in 0..height {
                    seen.push(rows.next);
                    rows.advance(height);
                }
                seen.sort_unstable();
                assert_eq!(seen, Vec::from_iter(0..height));
            }
        }
    }
}
