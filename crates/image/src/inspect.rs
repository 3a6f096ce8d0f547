//! What an image is, from its first bytes: format, width and height, and whether it
//! is worth decoding at all. Nothing of the pixels is read and nothing big allocated.

use super::{Header, ImageError, ImageFormat, ImageLimits, MAX_SIDE, Orientation, Target};
use super::{
    avif, bmp, cur, dds, exif, gif, icns, ico, jpeg, names, pcx, png, pnm, qoi, sgi, sun, tga,
    tiff, webp, xbm, xpm,
};

/// Reads format and size from the header, and refuses what is no image, what is not
/// supported, and what has more pixels or takes more memory than `limits` allow. What the pixels
/// of a JPEG take is checked by [`decode()`](super::decode()) and
/// [`decode_rows`](super::decode_rows).
pub fn inspect(bytes: &[u8], limits: &ImageLimits) -> Result<Header, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    let Some(format) = recognize(bytes) else {
        return Err(match names::unsupported(bytes) {
            Some(format) => ImageError::Unsupported { format },
            None => ImageError::NotAnImage,
        });
    };
    let (width, height) = match format {
        ImageFormat::Jpeg => jpeg::size(bytes)?,
        ImageFormat::Png => png::size(bytes)?,
        ImageFormat::Gif => gif::size(bytes)?,
        ImageFormat::WebP => webp::size(bytes)?,
        ImageFormat::Bmp => bmp::size(bytes)?,
        ImageFormat::Tiff => tiff::size(bytes)?,
        ImageFormat::Avif => avif::size(bytes)?,
        ImageFormat::Ico => ico::size(bytes)?,
        ImageFormat::Tga => tga::size(bytes)?,
        ImageFormat::Pnm => pnm::size(bytes)?,
        ImageFormat::Qoi => qoi::size(bytes)?,
        ImageFormat::Cur => cur::size(bytes)?,
        ImageFormat::Icns => icns::size(bytes)?,
        ImageFormat::Pcx => pcx::size(bytes)?,
        ImageFormat::Sun => sun::size(bytes)?,
        ImageFormat::Sgi => sgi::size(bytes)?,
        ImageFormat::Xbm => xbm::size(bytes)?,
        ImageFormat::Xpm => xpm::size(bytes)?,
        ImageFormat::Dds => dds::size(bytes)?,
    };
    if width == 0 || height == 0 {
        return Err(ImageError::damaged(
            format,
            format_args!("its header says {width} x {height} pixels"),
        ));
    }
    check_size((width, height), limits)?;
    if format == ImageFormat::Avif {
        check_size(avif::coded_size(bytes)?, limits)?;
    }
    let scratch_bytes = match format {
        ImageFormat::Jpeg => jpeg::scratch(bytes)?,
        ImageFormat::Png => png::scratch(bytes, width),
        ImageFormat::Gif => gif::scratch(),
        ImageFormat::WebP => webp::scratch(bytes, (width, height))?,
        ImageFormat::Bmp => bmp::scratch(bytes)?,
        ImageFormat::Tiff => tiff::scratch(bytes, (width, height))?,
        ImageFormat::Avif => avif::scratch(bytes)?,
        ImageFormat::Ico => ico::scratch(bytes)?,
        ImageFormat::Tga => tga::scratch(width),
        ImageFormat::Pnm => pnm::scratch(),
        ImageFormat::Qoi => qoi::scratch(),
        ImageFormat::Cur => cur::scratch(bytes)?,
        ImageFormat::Icns => icns::scratch(bytes)?,
        ImageFormat::Pcx => pcx::scratch(width),
        ImageFormat::Sun => sun::scratch(width),
        ImageFormat::Sgi => sgi::scratch(width),
        ImageFormat::Xbm => xbm::scratch(width),
        ImageFormat::Xpm => xpm::scratch(bytes)?,
        ImageFormat::Dds => dds::scratch(width),
    };
    let orientation = match limits.apply_orientation {
        true => exif::orientation(format, bytes),
        false => Orientation::STORED,
    };
    let (width, height) = orientation.size((width, height));
    let reduction = match (format, limits.reduce_for) {
        (ImageFormat::Jpeg, Some(target)) => reduction(target, width, height),
        _ => 1,
    };
    let header = Header {
        format,
        width: width.div_ceil(reduction.into()),
        height: height.div_ceil(reduction.into()),
        orientation,
        reduction,
        scratch_bytes,
    };
    // Whether the pixels of a JPEG are in memory together is for the caller to choose.
    let bytes = match format {
        ImageFormat::Jpeg => header.scratch_bytes,
        _ => header.whole_bytes(),
    };
    header.check(bytes, limits)?;
    Ok(header)
}

/// Refuses what has more pixels, or longer sides, than the limits allow.
fn check_size((width, height): (u32, u32), limits: &ImageLimits) -> Result<(), ImageError> {
    let max_pixels = limits.max_pixels;
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(ImageError::TooLarge {
            width,
            height,
            max_pixels,
        });
    }
    if width.max(height) > MAX_SIDE {
        return Err(ImageError::TooLong {
            width,
            height,
            max_side: MAX_SIDE,
        });
    }
    Ok(())
}

/// What the sides of a JPEG may be divided by.
fn reduction(target: Target, width: u32, height: u32) -> u8 {
    let (across, down) = target.resized(width, height);
    let is_enough = |&by: &u8| {
        let (width, height) = (width.div_ceil(by.into()), height.div_ceil(by.into()));
        // With rounded sides a picture's own aspect may become another one.
        u64::from(width) >= 2 * u64::from(across)
            && u64::from(height) >= 2 * u64::from(down)
            && target.resized(width, height) == (across, down)
    };
    [8, 4, 2].into_iter().find(is_enough).unwrap_or(1)
}

/// The formats that are decoded, by the same magic bytes as Pillow's plugins; TGA, which has none,
/// by what its header may say.
fn recognize(bytes: &[u8]) -> Option<ImageFormat> {
    const TIFF: [&[u8]; 4] = [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"];
    if bytes.starts_with(b"\xff\xd8\xff") {
        Some(ImageFormat::Jpeg)
    } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(ImageFormat::Png)
    } else if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        Some(ImageFormat::Gif)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some(ImageFormat::WebP)
    } else if bytes.starts_with(b"BM") && bytes.len() > 14 {
        Some(ImageFormat::Bmp)
    } else if TIFF.iter().any(|magic| bytes.starts_with(magic)) {
        Some(ImageFormat::Tiff)
    } else if avif::is_avif(bytes) {
        Some(ImageFormat::Avif)
    } else if bytes.starts_with(b"\0\0\x01\0") {
        Some(ImageFormat::Ico)
    } else if bytes.starts_with(b"qoif") {
        Some(ImageFormat::Qoi)
    } else if bytes.starts_with(b"\0\0\x02\0") && bytes.get(4..6).is_some_and(|n| n != [0, 0]) {
        Some(ImageFormat::Cur)
    } else if bytes.starts_with(b"icns") {
        Some(ImageFormat::Icns)
    } else if bytes.starts_with(b"\x59\xa6\x6a\x95") {
        Some(ImageFormat::Sun)
    } else if bytes.starts_with(b"\x01\xda") {
        Some(ImageFormat::Sgi)
    } else if pcx::is_one(bytes) {
        Some(ImageFormat::Pcx)
    } else if pnm::is_one(bytes) {
        Some(ImageFormat::Pnm)
    } else if dds::is_one(bytes) {
        Some(ImageFormat::Dds)
    } else if xpm::is_one(bytes) {
        Some(ImageFormat::Xpm)
    } else if xbm::is_one(bytes) {
        Some(ImageFormat::Xbm)
    } else if tga::is_one(bytes) {
        Some(ImageFormat::Tga)
    } else {
        None
    }
}

/// `N` bytes from `at`, or `None` where the file ends before.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// A little-endian 16-bit number.
pub(super) fn u16_le(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// A big-endian 16-bit number.
pub(super) fn u16_be(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

/// A little-endian 32-bit number.
pub(super) fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// A big-endian 32-bit number.
pub(super) fn u32_be(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}
