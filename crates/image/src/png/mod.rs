//! PNG: samples as the file has them, then to RGB the way that Pillow's modes do it.
//!
//! ```text
//! bytes --chunks::essence--> IHDR and the image data   (Pillow's rules on what is damaged)
//!       --png--------------> rows of samples, of the whole or of one of Adam7's passes
//!       --samples----------> RGB
//! ```
//!
//! Rows become RGB one by one, interlaced ones too: the pixels at the file's own depth are
//! never all in memory.

mod chunks;
mod metadata;
mod samples;

use flate2::{Decompress, FlushDecompress, Status};
use png::{DecodeOptions, Decoder, DecodingError, Limits, Reader, Transformations};

use super::decode::Job;
use super::reader::{Pieces, Watch};
use super::work::Stop;
use super::{ImageError, ImageFormat};
pub(super) use metadata::metadata;
use samples::Samples;

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Png, reason)
}

/// Width and height from the header.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let [w3, w2, w1, w0, h3, h2, h1, h0, ..] = chunks::header(bytes)?;
    Ok((
        u32::from_be_bytes([w3, w2, w1, w0]),
        u32::from_be_bytes([h3, h2, h1, h0]),
    ))
}

/// Buffers and tables of the decoder that do not depend on the picture.
const FIXED: u64 = 512 << 10;

/// Bytes that decoding takes beside the pixels: the image data without the chunks around
/// it, and some rows of at most 8 bytes a pixel.
pub(super) fn scratch(bytes: &[u8], width: u32) -> u64 {
    bytes.len() as u64 + u64::from(width) * 8 * 6 + FIXED
}

/// What a piece of the file costs: deflated tables of nothing at the worst.
const PIECE: (usize, u64) = (4096, 50 * 4096);

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    let essence = chunks::essence(job.bytes)?;
    let (width, height) = job.size();
    let (left, top, frame_width, frame_height) = match essence.frame {
        None => (0, 0, width, height),
        // Within the canvas: the frame's control was held to that.
        Some(frame) => {
            rgb.fill(0);
            let [left, top, width, height] = frame.map(|side| side as usize);
            (left, top, width, height)
        }
    };
    let mut out = Out {
        rgb,
        stride: width * 3,
        left,
        top,
        width: frame_width,
        height: frame_height,
        row: Vec::new(),
    };
    let mut options = DecodeOptions::default();
    options.set_ignore_crc(true);
    options.set_ignore_adler32(false);
    let watch = Watch::new();
    let pieces = Pieces::new(&essence.file, PIECE, job.stop, &watch, false);
    let mut decoder = Decoder::new_with_options(pieces, options);
    decoder.set_limits(Limits {
        bytes: usize::try_from(job.limits.max_picture_bytes).unwrap_or(usize::MAX),
    });
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let (color, depth) = reader.output_color_type();
    let samples = Samples {
        color,
        depth,
        palette: essence.palette.to_vec(),
    };
    let interlaced = reader.info().interlaced;
    let mut done = Rows::default();
    let passes = if interlaced { &ADAM7[..] } else { &WHOLE };
    match read(&mut reader, &samples, passes, &mut out, &mut done, job.stop) {
        Ok(()) => {}
        Err(_) if job.stop.was_stopped() => return Err(ImageError::Stopped),
        Err(error) => {
            return match packed_end(&essence.file, most_packed(job), job.stop)? {
                // All there is, but it is not enough: to Pillow all samples that are missing are 0,
                // behind one row at least.
                End::Complete(length)
                    if length > 0 && length == done.packed_bytes(&samples, passes, &out) =>
                {
                    out.blank(&done, passes, samples.nothing());
                    Ok(())
                }
                End::Complete(_) | End::Broken => Err(damaged(error)),
                End::Short => Err(damaged("the file is cut short")),
            };
        }
    }
    // The checksum counts if the data ends here. If it goes on, nobody looks at the rest,
    // which may unpack to a thousand times as much as the picture.
    watch.pieces_left.set(2);
    match reader.next_row() {
        Err(_) if job.stop.was_stopped() => Err(ImageError::Stopped),
        Err(error) if watch.pieces_left.get() > 0 => match watch.ran_out.get() {
            true => Err(damaged("the file is cut short")),
            false => Err(damaged(error)),
        },
        _ => Ok(()),
    }
}

/// More than the packed data of a picture unpacks to.
fn most_packed(job: &Job<'_>) -> u64 {
    job.header.pixel_bytes() * 3 + (1 << 20)
}

/// How the rows of a pass lie in the picture.
#[derive(Clone, Copy)]
struct Pass {
    left: usize,
    top: usize,
    across: usize,
    down: usize,
}

const fn pass(left: usize, top: usize, across: usize, down: usize) -> Pass {
    Pass {
        left,
        top,
        across,
        down,
    }
}

const WHOLE: [Pass; 1] = [pass(0, 0, 1, 1)];

/// PNG specification, section 8.2.
const ADAM7: [Pass; 7] = [
    pass(0, 0, 8, 8),
    pass(4, 0, 8, 8),
    pass(0, 4, 4, 8),
    pass(2, 0, 4, 4),
    pass(0, 2, 2, 4),
    pass(1, 0, 2, 2),
    pass(0, 1, 1, 2),
];

impl Pass {
    /// Columns and rows of it.
    fn size(&self, width: usize, height: usize) -> (usize, usize) {
        (
            width.saturating_sub(self.left).div_ceil(self.across),
            height.saturating_sub(self.top).div_ceil(self.down),
        )
    }
}

/// How far the rows were read: the pass, and the rows of it.
#[derive(Clone, Copy, Default)]
struct Rows {
    pass: usize,
    rows: usize,
}

impl Rows {
    /// Bytes that these rows are unpacked from: each with its filter before it.
    fn packed_bytes(&self, samples: &Samples, passes: &[Pass], out: &Out<'_>) -> u64 {
        let bytes = |columns: usize| 1 + (columns * samples.bits()).div_ceil(8);
        let of_pass = passes
            .iter()
            .enumerate()
            .take(self.pass + 1)
            .map(|(nth, pass)| {
                let (columns, rows) = pass.size(out.width, out.height);
                let rows = if nth == self.pass { self.rows } else { rows };
                if columns == 0 {
                    0
                } else {
                    bytes(columns) * rows
                }
            });
        of_pass.sum::<usize>() as u64
    }
}

/// Where the rows go: a frame on the canvas.
struct Out<'a> {
    rgb: &'a mut [u8],
    stride: usize,
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    /// One row of a pass.
    row: Vec<u8>,
}

impl Out<'_> {
    /// The pixels of one row of the frame.
    fn row(&mut self, y: usize) -> &mut [u8] {
        let at = (self.top + y) * self.stride + self.left * 3;
        self.rgb
            .get_mut(at..at + self.width * 3)
            .unwrap_or_default()
    }

    /// Puts a row of a pass where its pixels belong.
    fn put(&mut self, samples: &Samples, pass: &Pass, nth: usize, columns: usize, data: &[u8]) {
        let y = pass.top + nth * pass.down;
        if pass.across == 1 {
            samples.to_rgb(data, self.row(y));
            return;
        }
        let mut row = std::mem::take(&mut self.row);
        row.resize(columns * 3, 0);
        samples.to_rgb(data, &mut row);
        let pixels = self.row(y).as_chunks_mut::<3>().0.iter_mut();
        let places = pixels.skip(pass.left).step_by(pass.across);
        for (to, from) in places.zip(row.as_chunks::<3>().0) {
            *to = *from;
        }
        self.row = row;
    }

    /// Gives a colour to the rows that were not read.
    fn blank(&mut self, done: &Rows, passes: &[Pass], colour: [u8; 3]) {
        for (nth, pass) in passes.iter().enumerate().skip(done.pass) {
            let (_, rows) = pass.size(self.width, self.height);
            let read = if nth == done.pass { done.rows } else { 0 };
            for row in read..rows {
                let pixels = self.row(pass.top + row * pass.down).as_chunks_mut::<3>().0;
                for pixel in pixels.iter_mut().skip(pass.left).step_by(pass.across) {
                    *pixel = colour;
                }
            }
        }
    }
}

/// Reads all rows, and notes in `done` how many.
fn read(
    reader: &mut Reader<Pieces<'_>>,
    samples: &Samples,
    passes: &[Pass],
    out: &mut Out<'_>,
    done: &mut Rows,
    stop: &Stop<'_>,
) -> Result<(), DecodingError> {
    for (number, pass) in passes.iter().enumerate() {
        let (columns, rows) = pass.size(out.width, out.height);
        *done = Rows {
            pass: number,
            rows: 0,
        };
        if columns == 0 {
            continue;
        }
        for nth in 0..rows {
            // A cancelled row is an error like any other; who asked knows better.
            let work = columns as u64 * 10;
            stop.work(work).map_err(std::io::Error::other)?;
            let Some(row) = reader.next_row()? else {
                return Ok(());
            };
            out.put(samples, pass, nth, columns, row.data());
            done.rows = nth + 1;
        }
    }
    Ok(())
}

/// How a run of image data ends.
enum End {
    /// With the end of the packed data, and a right checksum: so many bytes unpacked.
    Complete(u64),
    /// Before the packed data does.
    Short,
    /// It cannot be unpacked so far.
    Broken,
}

/// Looks at the packed data of a file that could not be decoded.
fn packed_end(file: &[u8], most: u64, stop: &Stop<'_>) -> Result<End, ImageError> {
    let mut inflate = Decompress::new(true);
    let mut out = vec![0; 64 << 10];
    let mut at = 8;
    while let (Some(length), Some(kind)) = (
        super::inspect::u32_be(file, at),
        super::inspect::array::<4>(file, at + 4),
    ) {
        let end = at + 8 + length as usize;
        let mut data = file.get(at + 8..end).unwrap_or_default();
        at = end + 4;
        if &kind != b"IDAT" {
            continue;
        }
        loop {
            let before = (inflate.total_in(), inflate.total_out());
            let status = inflate.decompress(data, &mut out, FlushDecompress::None);
            let read = (inflate.total_in() - before.0) as usize;
            let written = inflate.total_out() - before.1;
            stop.work(read as u64 * 50 + written * 2)?;
            data = data.get(read..).unwrap_or_default();
            match status {
                Ok(Status::StreamEnd) => return Ok(End::Complete(inflate.total_out())),
                Ok(_) if read == 0 && written == 0 => break,
                Ok(_) if inflate.total_out() > most => return Ok(End::Broken),
                Ok(_) => {}
                Err(_) => return Ok(End::Broken),
            }
        }
    }
    Ok(End::Short)
}
