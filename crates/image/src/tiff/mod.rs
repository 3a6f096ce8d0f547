//! TIFF and BigTIFF: the first page, read as Pillow and its libtiff read it.
//!
//! ```text
//! bytes --ifd----> tags of the first directory
//!       --layout-> what the samples are, where the strips or tiles lie
//!       --bands--> rows of samples, unpacked and side by side
//!       --colour-> RGB, put where the orientation tag says
//! ```
//!
//! Written here, because Pillow's set of sample layouts (clipped 16-bit grey, palettes,
//! premultiplied alpha, reversed bits, planes) is not that of the `tiff` crate, and
//! the decompressors that are the hard part are in the tree anyway.
//!
//! Decoded: uncompressed, LZW, Deflate, PackBits, fax, JPEG of both styles, Zstandard and LZMA.
//! Recognized and refused: WebP compression.

mod bands;
mod colour;
mod fax;
mod fax_codes;
mod ifd;
mod lab;
mod layout;
mod old_jpeg;
mod packed;
mod strict;
mod ycc;

use super::decode::Job;
use super::orientation::Places;
use super::{ImageError, ImageFormat};
pub(super) use ifd::Order;
use ifd::{Directory, tag};
use layout::{Compression, Layout};
use old_jpeg::OldJpeg;

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Tiff, reason)
}

fn truncated() -> ImageError {
    damaged("the file is cut short")
}

/// Width and height as they will be decoded: after the orientation tag.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let directory = Directory::read(bytes)?;
    let side = |tag| {
        directory
            .number(tag)
            .and_then(|side| u32::try_from(side).ok())
            .ok_or_else(|| damaged("its first directory has no size"))
    };
    let size = (side(tag::WIDTH)?, side(tag::HEIGHT)?);
    Ok(directory.orientation().size(size))
}

/// Bytes that decoding takes beside the pixels.
pub(super) fn scratch(bytes: &[u8], size: (u32, u32)) -> Result<u64, ImageError> {
    let directory = Directory::read(bytes)?;
    let (width, height) = directory.orientation().size(size);
    let layout = Layout::read(&directory, width, height)?;
    let own = match layout.compression {
        Compression::OldJpeg => OldJpeg::new(&directory, &layout)?.scratch()?,
        _ => bands::scratch(bytes, &layout),
    };
    Ok(own + u64::from(width) * 16 + directory.bytes_held())
}

/// Refuses what is too much work.
pub(super) fn check_work(job: &Job<'_>) -> Result<(), ImageError> {
    let directory = Directory::read(job.bytes)?;
    let orientation = directory.orientation();
    let (width, height) = orientation.size((job.header.width, job.header.height));
    let layout = Layout::read(&directory, width, height)?;
    match layout.compression {
        Compression::OldJpeg => OldJpeg::new(&directory, &layout)?.check_work(job.limits),
        _ => bands::check_work(job, &layout),
    }
}

/// Decodes a file that has passed [`check_work`] to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    let directory = Directory::read(job.bytes)?;
    let orientation = directory.orientation();
    let (width, height) = orientation.size((job.header.width, job.header.height));
    let layout = Layout::read(&directory, width, height)?;
    let places = Places::new(orientation, (layout.width, layout.height));
    let mut row = vec![0; layout.width * 3];
    let mut converter = colour::Converter::new(&layout);
    let take = |y: usize, planes: &[Vec<u8>]| {
        converter.convert(planes, &mut row);
        places.put(y, &row, rgb);
    };
    match layout.compression {
        Compression::OldJpeg => OldJpeg::new(&directory, &layout)?.read(job, take),
        _ => bands::read(job, &layout, take),
    }
}
