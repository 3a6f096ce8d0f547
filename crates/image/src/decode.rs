//! From the bytes of a file to pixels: limits first, then the decoder of the format.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::work::Stop;
use super::{Header, ImageError, ImageFormat, ImageLimits, Orientation, PixelMemory, RgbImage};
use super::{avif, bmp, gif, inspect, jpeg, png, tiff, webp};

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

/// Decodes the first frame of an image to 8-bit RGB, with the pixels that Pillow's
/// `Image.open(f).convert("RGB")` would give.
///
/// The size is checked against `limits` before anything is decoded. A truncated file
/// is refused, as Pillow does, and not padded with grey.
pub fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, ImageError> {
    decode_into(bytes, limits, None, &Stop::never())
}

/// As [`decode()`], into memory that was lent for it: as many bytes as the header that
/// [`inspect()`] read calls for, three for each pixel. Ends when `stop` says so.
pub fn decode_into(
    bytes: &[u8],
    limits: &ImageLimits,
    memory: Option<Box<dyn PixelMemory>>,
    stop: &Stop<'_>,
) -> Result<RgbImage, ImageError> {
    let header = inspect(bytes, limits)?;
    let format = header.format;
    let orientation = header.orientation;
    // Decoders know the picture as it is stored.
    let (stored_width, stored_height) = orientation.size((header.width, header.height));
    let stored = Header {
        width: stored_width,
        height: stored_height,
        orientation: Orientation::STORED,
        ..header
    };
    let job = Job {
        bytes,
        header: &stored,
        limits,
        stop,
    };
    // No decoder is known to panic. If one does after all, on bytes from who knows
    // where, that must cost this image and nothing else; the panic is printed as usual.
    catch_unwind(AssertUnwindSafe(|| {
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
    }))
    .unwrap_or_else(|_| Err(ImageError::damaged(format, "the decoder gave up on it")))
    // A decoder of others has words of its own for a file that it could not read on.
    .map_err(|error| match stop.was_stopped() {
        true => ImageError::Stopped,
        false => error,
    })?
    .ok_or_else(|| does_not_fit(format))
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
        ImageFormat::Jpeg => jpeg::decode(job, out),
        ImageFormat::Png => png::decode(job, out),
        ImageFormat::Gif => gif::decode(job, out),
        ImageFormat::WebP => webp::decode(job, out),
        ImageFormat::Bmp => bmp::decode(job, out),
        ImageFormat::Tiff => tiff::decode(job, out),
        ImageFormat::Avif => avif::decode(job, out),
    }
}
