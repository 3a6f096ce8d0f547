//! What an image is, from its first bytes: format, width and height, and whether it
//! is worth decoding at all. Nothing of the pixels is read and nothing big allocated.

use super::{Header, ImageError, ImageFormat, ImageLimits, MAX_SIDE};
use super::{bmp, gif, jpeg, png, tiff, webp};

/// Reads format and size from the header, and refuses what is no image, what is not
/// supported, and what has more pixels than `limits` allow.
pub fn inspect(bytes: &[u8], limits: &ImageLimits) -> Result<Header, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    let Some(format) = recognize(bytes) else {
        return Err(match recognize_unsupported(bytes) {
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
    };
    if width == 0 || height == 0 {
        return Err(ImageError::damaged(
            format,
            format_args!("its header says {width} x {height} pixels"),
        ));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > limits.max_pixels || width > MAX_SIDE || height > MAX_SIDE {
        return Err(ImageError::TooLarge {
            width,
            height,
            max_pixels: limits.max_pixels,
        });
    }
    Ok(Header {
        format,
        width,
        height,
    })
}

/// The formats that are decoded, by the same magic bytes as Pillow's plugins.
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
    } else {
        None
    }
}

/// Formats that a person may well send and that deserve a better answer than "this
/// is not an image".
fn recognize_unsupported(bytes: &[u8]) -> Option<&'static str> {
    if bytes.get(4..8) == Some(b"ftyp") {
        return match bytes.get(8..12)? {
            b"avif" | b"avis" => Some("AVIF"),
            b"heic" | b"heix" | b"hevc" | b"hevx" | b"heim" | b"heis" | b"mif1" | b"msf1" => {
                Some("HEIC")
            }
            b"crx " => Some("Canon raw (CR3)"),
            _ => Some("video (MP4)"),
        };
    }
    const MAGIC: [(&[u8], &str); 26] = [
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"II\xbc", "JPEG XR"),
        (b"8BPS", "Photoshop (PSD)"),
        (b"\0\0\x01\0", "ICO"),
        (b"\0\0\x02\0", "CUR"),
        (b"icns", "ICNS"),
        (b"%PDF", "PDF"),
        (b"%!PS", "PostScript"),
        (b"\xc5\xd0\xd3\xc6", "PostScript"),
        (b"<svg", "SVG"),
        (b"DDS ", "DDS"),
        (b"qoif", "QOI"),
        (b"\x76\x2f\x31\x01", "OpenEXR"),
        (b"#?RADIANCE", "Radiance HDR"),
        (b"SIMPLE  =", "FITS"),
        (b"FLIF", "FLIF"),
        (b"\x01\xda\0\x01", "SGI"),
        (b"\x01\xda\x01\x01", "SGI"),
        (b"P4\n", "PNM"),
        (b"P5\n", "PNM"),
        (b"P6\n", "PNM"),
        (b"\x1aE\xdf\xa3", "video (Matroska)"),
        (b"\xd7\xcd\xc6\x9a", "WMF"),
    ];
    if let Some((_, name)) = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(name);
    }
    // SVG is text: a byte order mark, an XML declaration and comments may come first.
    let head = &bytes[..bytes.len().min(1024)];
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = text.trim_ascii_start();
    let is_xml = text.starts_with(b"<?xml") || text.starts_with(b"<!");
    (is_xml && text.windows(4).any(|window| window == b"<svg")).then_some("SVG")
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
