//! From the bytes of a file to pixels: limits first, then the decoder of the format.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::work::Stop;
use super::{
    Header, ImageError, ImageFormat, ImageLimits, Narrowed, Orientation, PixelMemory, Processor,
    RgbImage,
};
use super::{
    avif, bmp, cur, dds, gif, icns, ico, inspect, jpeg, pcx, png, pnm, qoi, sgi, sun, tga, tiff,
    webp, xbm, xpm,
};

/// What a decoder is given: the file, what its header says, what it may cost, and whether
/// anybody still waits for it.
pub(super) struct Job<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) header: &'a Header,
    pub(super) limits: &'a ImageLimits,
    pub(super) stop: &'a Stop<'a>,
}

impl Job<'_> {
    /// Width and height of the RGB pixels.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.header.width as usize, self.header.height as usize)
    }
}

/// Decodes a file with the rows in memory, by a decoder that is to be tested.
#[cfg(any(test, fuzzing))]
pub(super) fn decode_whole(
    bytes: &[u8],
    limits: &ImageLimits,
    decode: impl FnOnce(&Job<'_>, &mut dyn Rows) -> Result<(), ImageError>,
) -> Result<Vec<u8>, ImageError> {
    let header = inspect(bytes, limits)?;
    let mut pixels = vec![0; header.pixel_bytes() as usize];
    let job = Job {
        bytes,
        header: &header,
        limits,
        stop: &Stop::never(),
    };
    let rows = pixels.chunks_exact_mut(header.width as usize * 3);
    let format = header.format;
    decode(&job, &mut Whole { rows, format })?;
    Ok(pixels)
}

/// Where the rows of a picture go, from top to bottom.
pub(super) trait Rows {
    /// The next row, all bytes of which are to be written.
    fn next_row(&mut self) -> Result<&mut [u8], ImageError>;
}

/// The rows of a picture that is in memory as a whole.
struct Whole<'a> {
    rows: std::slice::ChunksExactMut<'a, u8>,
    format: ImageFormat,
}

impl Rows for Whole<'_> {
    fn next_row(&mut self) -> Result<&mut [u8], ImageError> {
        self.rows.next().ok_or_else(|| does_not_fit(self.format))
    }
}

/// The rows of a picture that is resized as it comes.
struct Strips<'a> {
    narrowed: &'a mut Narrowed,
    stop: &'a Stop<'a>,
}

impl Rows for Strips<'_> {
    fn next_row(&mut self) -> Result<&mut [u8], ImageError> {
        self.narrowed.next_row(self.stop)
    }
}

/// Decodes the first frame of an image to 8-bit RGB, with the pixels that Pillow's
/// `Image.open(f).convert("RGB")` would give.
///
/// The size is checked against `limits` before anything is decoded. A truncated file
/// is refused, as Pillow does, and not padded with grey.
pub fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, ImageError> {
    let header = inspect(bytes, limits)?;
    decode_into(bytes, &header, limits, None, &Stop::never())
}

/// As [`decode()`], with the header that [`inspect()`] read of the same bytes for the same
/// limits, into memory that was lent for it: as many bytes as the header calls for, three for each
/// pixel. Ends when `stop` says so.
pub fn decode_into(
    bytes: &[u8],
    header: &Header,
    limits: &ImageLimits,
    memory: Option<Box<dyn PixelMemory>>,
    stop: &Stop<'_>,
) -> Result<RgbImage, ImageError> {
    let format = header.format;
    header.check(header.whole_bytes(), limits)?;
    let stored = header.stored();
    let job = Job {
        bytes,
        header: &stored,
        limits,
        stop,
    };
    let orientation = header.orientation;
    let decoded = guarded(&job, || {
        check_work(&job)?;
        let (width, height) = (header.width, header.height);
        let length = usize::try_from(header.pixel_bytes()).map_err(|_| does_not_fit(format))?;
        Ok(match memory {
            None => {
                let mut pixels = vec![0; length];
                decode_turned(&job, orientation, &mut pixels)?;
                RgbImage::new(width, height, pixels)
            }
            Some(mut memory) => {
                let out = memory.bytes_mut();
                if out.len() != length {
                    return Err(does_not_fit(format));
                }
                decode_turned(&job, orientation, out)?;
                RgbImage::lent(width, height, memory)
            }
        })
    })?;
    decoded.ok_or_else(|| does_not_fit(format))
}

/// Decodes a picture whose rows come from top to bottom ([`Header::comes_by_rows`]), with the header
/// that [`inspect()`] read of the same bytes for the same limits, and takes
/// them through the first pass of the resize as they come: the picture itself is never in
/// memory. [`Narrowed::finish`] then gives byte for byte what [`Processor::resize`] makes of the
/// whole picture.
///
/// # Errors
///
/// Those of [`decode()`]; a picture of another kind cannot be decoded in this way.
pub fn decode_rows(
    bytes: &[u8],
    header: &Header,
    limits: &ImageLimits,
    processor: &Processor,
    stop: &Stop<'_>,
) -> Result<Narrowed, ImageError> {
    header.check(header.rows_bytes(processor.target()), limits)?;
    let stored = header.stored();
    let job = Job {
        bytes,
        header: &stored,
        limits,
        stop,
    };
    guarded(&job, || {
        let size = (stored.width, stored.height);
        let mut narrowed = Narrowed::new(processor, size, header.orientation)?;
        let mut rows = Strips {
            narrowed: &mut narrowed,
            stop,
        };
        match stored.format {
            ImageFormat::Jpeg => jpeg::decode(&job, &mut rows)?,
            format => {
                return Err(ImageError::damaged(
                    format,
                    "its rows do not come one after the other",
                ));
            }
        }
        Ok(narrowed)
    })
}

/// Turns a panic of a decoder into an error. None is known to panic, but if one does on some
/// hostile file, only that image may fail. The panic is still printed.
fn guarded<T>(
    job: &Job<'_>,
    decode: impl FnOnce() -> Result<T, ImageError>,
) -> Result<T, ImageError> {
    let gave_up = || ImageError::damaged(job.header.format, "the decoder failed on it");
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(gave_up()))
        // Other crates' decoders report a stopped read as damage.
        .map_err(|error| match job.stop.was_stopped() {
            true => ImageError::Stopped,
            false => error,
        })
}

/// Refuses TIFF and AVIF that are too much work before memory for their pixels is taken: a few kilobytes
/// can announce hundreds of megapixels. The others are refused by their decoders, or ended by them.
fn check_work(job: &Job<'_>) -> Result<(), ImageError> {
    match job.header.format {
        ImageFormat::Tiff => tiff::check_work(job),
        ImageFormat::Avif => avif::check_work(job.bytes),
        _ => Ok(()),
    }
}

fn does_not_fit(format: ImageFormat) -> ImageError {
    ImageError::damaged(format, "the pixels do not fit the size in the header")
}

/// Decodes, and turns what was decoded.
fn decode_turned(
    job: &Job<'_>,
    orientation: Orientation,
    out: &mut [u8],
) -> Result<(), ImageError> {
    if orientation.swaps() {
        let mut stored = vec![0; out.len()];
        decode_format(job, &mut stored)?;
        return orientation.turn(job.size(), &stored, out, job.stop);
    }
    decode_format(job, out)?;
    orientation.flip(job.size().0, out, job.stop)
}

/// Every decoder writes every pixel: `out` may be memory that was used before.
fn decode_format(job: &Job<'_>, out: &mut [u8]) -> Result<(), ImageError> {
    match job.header.format {
        ImageFormat::Jpeg => {
            let rows = out.chunks_exact_mut(job.size().0 * 3);
            let format = job.header.format;
            jpeg::decode(job, &mut Whole { rows, format })
        }
        ImageFormat::Png => png::decode(job, out),
        ImageFormat::Gif => gif::decode(job, out),
        ImageFormat::WebP => webp::decode(job, out),
        ImageFormat::Bmp => bmp::decode(job, out),
        ImageFormat::Tiff => tiff::decode(job, out),
        ImageFormat::Avif => avif::decode(job, out),
        ImageFormat::Ico => ico::decode(job, out),
        ImageFormat::Tga => tga::decode(job, out),
        ImageFormat::Pnm => pnm::decode(job, out),
        ImageFormat::Qoi => qoi::decode(job, out),
        ImageFormat::Cur => cur::decode(job, out),
        ImageFormat::Icns => icns::decode(job, out),
        ImageFormat::Pcx => pcx::decode(job, out),
        ImageFormat::Sun => sun::decode(job, out),
        ImageFormat::Sgi => sgi::decode(job, out),
        ImageFormat::Xbm => xbm::decode(job, out),
        ImageFormat::Xpm => xpm::decode(job, out),
        ImageFormat::Dds => dds::decode(job, out),
    }
}
