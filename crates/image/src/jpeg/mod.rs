//! JPEG, through mozjpeg's libjpeg: the same decoder as Pillow's libjpeg-turbo, and
//! bit-equal to it (accurate integer IDCT, smooth chroma upsampling). What is plain is decoded by `siglip2_jpeg`,
//! which is bit-equal too, and faster.
//!
//! ```text
//! bytes --frame::read--> width, height   (walks the header segments, as Pillow's plugin does)
//!       --scans::work--> refuses what takes too much time
//!       --siglip2_jpeg-> RGB of a plain file; what is wrong in it is for libjpeg
//!       --libjpeg------> RGB, or CMYK and then Pillow's formula
//! ```
//!
//! libjpeg leaves by unwinding when a file is broken; it is caught here. Unlike
//! Pillow, libjpeg pads a truncated file with grey and only warns; reading behind the end
//! is an error here. The end marker is asked for only where libjpeg needs it to know that
//! it has seen all scans, again as in Pillow.

mod frame;
mod intact;
mod plain;
mod scans;

use std::cell::Cell;
use std::io::{self, BufRead};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mozjpeg::{ColorSpace, ColorSpaceExt, Decompress};
use siglip2_jpeg::Vectors;
use siglip2_libjpeg::{Transform, error_manager};

use super::decode::{Job, Rows};
use super::exif::Metadata;
use super::reader::{Pieces, Watch};
use super::work::{STEP, Stop};
use super::{ImageError, ImageFormat, ImageLimits, convert};

use frame::Frame;
pub use intact::IntactJpeg;
use plain::{Decoded, RowsBehind};

#[cfg(panic = "abort")]
compile_error!("libjpeg reports a damaged file by unwinding: build with panic = \"unwind\"");

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Jpeg, reason)
}

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    frame::read(bytes).map(|frame| (frame.width, frame.height))
}

/// Width, height and number of components.
pub(super) fn shape(bytes: &[u8]) -> Result<(u32, u32, usize), ImageError> {
    let frame = frame::read(bytes)?;
    Ok((frame.width, frame.height, frame.components().len()))
}

/// Bytes that decoding takes beside the pixels.
pub(super) fn scratch(bytes: &[u8]) -> Result<u64, ImageError> {
    frame::read(bytes).map(|frame| frame.scratch())
}

/// The EXIF data of all segments together, and the XMP data of the last.
pub(super) fn metadata(bytes: &[u8]) -> Metadata<'_> {
    const APP1: u8 = 0xe1;
    let mut found = Metadata::default();
    // What is wrong with the file is found when it is decoded.
    let _ = frame::walk(bytes, |marker, segment| {
        if marker != APP1 {
            return;
        }
        if segment.starts_with(b"Exif\0\0") {
            match &mut found.exif {
                Some(exif) => exif.to_mut().extend_from_slice(&segment[6..]),
                None => found.exif = Some(segment.into()),
            }
        } else if let Some(xmp) = segment.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
            found.xmp = Some(xmp.into());
        }
    });
    found
}

/// What decoding costs at most, in nanoseconds; an error when it is too much.
pub(super) fn work(bytes: &[u8], limits: &ImageLimits) -> Result<u64, ImageError> {
    scans::work(bytes, &frame::read(bytes)?, limits)
}

/// Who decodes what.
#[derive(Clone, Copy)]
struct Decoders {
    /// For plain files; `None`: libjpeg.
    plain: Option<Vectors>,
    /// Within libjpeg.
    transform: Transform,
}

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rows: &mut dyn Rows) -> Result<(), ImageError> {
    let fastest = Decoders {
        // Without AVX2 the vector code of libjpeg is faster, where it was built.
        plain: match siglip2_jpeg::has_avx2() || !siglip2_libjpeg::has_vector_code() {
            true => Some(Vectors::Detected),
            false => None,
        },
        transform: Transform::Fastest,
    };
    decode_by(job, rows, fastest)
}

fn decode_by(job: &Job<'_>, rows: &mut dyn Rows, decoders: Decoders) -> Result<(), ImageError> {
    let frame = frame::read(job.bytes)?;
    scans::work(job.bytes, &frame, job.limits)?;
    let Some(vectors) = decoders.plain else {
        return decode_by_libjpeg(job, &frame, rows, decoders.transform);
    };
    match plain::decode(job, rows, vectors)? {
        Decoded::Whole => Ok(()),
        // These rows are the same.
        Decoded::Rows(done) => {
            let mut rest = RowsBehind::new(job, rows, done);
            decode_by_libjpeg(job, &frame, &mut rest, decoders.transform)
        }
    }
}

/// For a fuzz target: by libjpeg alone, and by all decoders.
#[cfg(fuzzing)]
pub(super) fn decode_twice(bytes: &[u8]) -> Option<[Result<Vec<u8>, ImageError>; 2]> {
    use crate::decode::decode_whole;

    const MOST_BYTES: u64 = 1 << 20;
    let limits = ImageLimits::default();
    let header = crate::inspect(bytes, &limits).ok()?;
    if header.format != ImageFormat::Jpeg || header.pixel_bytes() > MOST_BYTES {
        return None;
    }
    let by_libjpeg = decode_whole(bytes, &limits, |job, rows| {
        let frame = frame::read(job.bytes)?;
        scans::work(job.bytes, &frame, job.limits)?;
        decode_by_libjpeg(job, &frame, rows, Transform::Fastest)
    });
    Some([by_libjpeg, decode_whole(bytes, &limits, decode)])
}

/// Decodes a file whose work was checked.
fn decode_by_libjpeg(
    job: &Job<'_>,
    frame: &Frame,
    rows: &mut dyn Rows,
    transform: Transform,
) -> Result<(), ImageError> {
    let watch = Watch::new();
    let all_rows = Cell::new(false);
    let read = guarded(job.bytes, frame.buffered, job.stop, &watch, |reader| {
        read_pixels(reader, job, rows, transform, &all_rows)
    });
    match read {
        // What is behind the pixels may be junk that ends nowhere, but not a wrong marker.
        Err(_) if all_rows.get() && watch.ran_out.get() => Ok(()),
        read => read,
    }
}

/// The samples of a JPEG within another format (TIFF): as they are coded, but YCbCr
/// converted to RGB if `ycc`. The caller has looked at its [`size`] and [`work`].
pub(super) fn decode_samples(
    bytes: &[u8],
    ycc: bool,
    stop: &Stop<'_>,
) -> Result<Vec<u8>, ImageError> {
    let frame = frame::read(bytes)?;
    guarded(bytes, frame.buffered, stop, &Watch::new(), |reader| {
        let decompress = opened(reader, Transform::Fastest)?;
        // Asking for the colours that it has means no conversion.
        let colours = match decompress.color_space() {
            ColorSpace::JCS_YCbCr if ycc => ColorSpace::JCS_RGB,
            other => other,
        };
        let (width, height) = decompress.size();
        let mut started = decompress.to_colorspace(colours)?;
        let row = width * started.color_space().num_components();
        let mut samples = vec![0; row * height];
        for row in samples.chunks_exact_mut(row) {
            note_row(stop, width).map_err(io::Error::other)?;
            started.read_scanlines_into(row)?;
        }
        started.finish()?;
        Ok(samples)
    })
}

/// The first rows of a JPEG within another format (TIFF), from top to bottom: the samples as they
/// are coded, and differences of colour not interpolated. The caller has looked at the
/// [`shape`] and the [`work`] of its header.
pub(super) fn read_rows(
    reader: impl BufRead,
    (width, height): (usize, usize),
    stop: &Stop<'_>,
    mut take: impl FnMut(usize, &[Vec<u8>]),
) -> Result<(), ImageError> {
    let read = || -> io::Result<()> {
        let mut decompress = opened(reader, Transform::Fastest)?;
        decompress.do_fancy_upsampling(false);
        let colours = decompress.color_space();
        let mut started = decompress.to_colorspace(colours)?;
        let mut row = [vec![0; width * started.color_space().num_components()]];
        for y in 0..height {
            note_row(stop, width).map_err(io::Error::other)?;
            started.read_scanlines_into(&mut row[0])?;
            take(y, &row);
        }
        Ok(())
    };
    caught(stop, &Watch::new(), catch_unwind(AssertUnwindSafe(read)))
}

/// Runs libjpeg over `bytes` and makes errors of its unwinding.
fn guarded<T>(
    bytes: &[u8],
    buffered: bool,
    stop: &Stop<'_>,
    watch: &Watch,
    read: impl FnOnce(Pieces<'_>) -> io::Result<T>,
) -> Result<T, ImageError> {
    // A progressive file is read to its end before the first row comes out, and 32 bytes of
    // it may be work on millions of blocks that stay as they are: asked at each of them.
    let piece = if buffered {
        (32, STEP)
    } else {
        (4096, 64 * 4096)
    };
    let reader = Pieces::new(bytes, piece, stop, watch, true);
    // libjpeg unwinds without calling the panic hook, so nothing is printed.
    caught(stop, watch, catch_unwind(AssertUnwindSafe(|| read(reader))))
}

/// What came of a call of libjpeg.
fn caught<T>(
    stop: &Stop<'_>,
    watch: &Watch,
    read: std::thread::Result<io::Result<T>>,
) -> Result<T, ImageError> {
    match read {
        _ if stop.was_stopped() => Err(ImageError::Stopped),
        _ if watch.ran_out.get() => Err(damaged("the file is cut short")),
        Ok(Ok(decoded)) => Ok(decoded),
        Ok(Err(error)) => Err(damaged(error)),
        Err(panic) => Err(damaged(match panic.downcast_ref::<String>() {
            Some(message) => message,
            None => "libjpeg gave up",
        })),
    }
}

/// A decoder that has read the headers.
fn opened<R: BufRead>(reader: R, transform: Transform) -> io::Result<Decompress<R>> {
    Decompress::builder()
        .with_err(error_manager(transform))
        .from_reader(reader)
}

/// Notes the work of one row.
fn note_row(stop: &Stop<'_>, width: usize) -> Result<(), ImageError> {
    stop.work(width as u64 * 10)
}

/// The part that may unwind.
fn read_pixels(
    reader: Pieces<'_>,
    job: &Job<'_>,
    rows: &mut dyn Rows,
    transform: Transform,
    all_rows: &Cell<bool>,
) -> io::Result<()> {
    let mut decompress = opened(reader, transform)?;
    let (width, height) = job.size();
    let reduction = usize::from(job.header.reduction);
    let whole = decompress.size();
    if (whole.0.div_ceil(reduction), whole.1.div_ceil(reduction)) != (width, height) {
        return Err(io::Error::other("its frame headers contradict each other"));
    }
    // In eighths. The inverse transform leaves the rest out.
    decompress.scale(8 / job.header.reduction.clamp(1, 8));
    if decompress.components().len() != 4 {
        let mut started = decompress.rgb()?;
        for _ in 0..height {
            note_row(job.stop, width).map_err(io::Error::other)?;
            let row = rows.next_row().map_err(io::Error::other)?;
            started.read_scanlines_into(row)?;
        }
        all_rows.set(true);
        return started.finish();
    }
    let mut started = decompress.to_colorspace(ColorSpace::JCS_CMYK)?;
    let mut cmyk = vec![0u8; width * 4];
    for _ in 0..height {
        note_row(job.stop, width).map_err(io::Error::other)?;
        let rgb = rows.next_row().map_err(io::Error::other)?;
        let cmyk = started.read_scanlines_into(&mut cmyk)?;
        // Inverted with or without an Adobe marker: Pillow assumes Adobe's polarity.
        convert::inverted_cmyk_to_rgb(cmyk, rgb);
    }
    all_rows.set(true);
    started.finish()
}

#[cfg(test)]
mod tests;
