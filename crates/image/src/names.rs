//! Formats that a person may well send and that are not decoded here: each deserves a
//! better answer than "this is not an image".

use super::inspect::{array, u16_le};

/// What the bytes begin with, and what it is called.
const MAGIC: [(&[u8], &str); 51] = [
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
    (b"#?RGBE", "Radiance HDR"),
    (b"SIMPLE  =", "FITS"),
    (b"FLIF", "FLIF"),
    (b"BPG\xfb", "BPG"),
    (b"\x01\xda\0\x01", "SGI"),
    (b"\x01\xda\0\x02", "SGI"),
    (b"\x01\xda\x01\x01", "SGI"),
    (b"\x01\xda\x01\x02", "SGI"),
    (b"\x59\xa6\x6a\x95", "Sun raster"),
    (b"/* XPM */", "XPM"),
    (b"#define ", "XBM"),
    (b"gimp xcf", "GIMP (XCF)"),
    (b"AT&TFORM", "DjVu"),
    (b"BLP1", "BLP"),
    (b"BLP2", "BLP"),
    (b"FTEX", "FTEX"),
    (b"DanM", "MSP"),
    (b"LinS", "MSP"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"FUJIFILMCCD-RAW", "Fujifilm raw (RAF)"),
    (b"II\x1a\0\0\0HEAPCCDR", "Canon raw (CRW)"),
    (b"IIU\0", "Panasonic raw (RW2)"),
    (b"IIRO", "Olympus raw (ORF)"),
    (b"IIRS", "Olympus raw (ORF)"),
    (b"MMOR", "Olympus raw (ORF)"),
    (b"FOVb", "Sigma raw (X3F)"),
    (b"\0MRM", "Minolta raw (MRW)"),
    (b"\x1aE\xdf\xa3", "video (Matroska)"),
    (b"\0\0\x01\xb3", "video (MPEG)"),
    (b"\0\0\x01\xba", "video (MPEG)"),
    (b"FLV\x01", "video (Flash)"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video (Windows Media)"),
    (b"OggS", "video (Ogg)"),
    (b"\x8aMNG", "MNG"),
];

/// The name of a format that is recognized and not decoded.
pub(super) fn unsupported(bytes: &[u8]) -> Option<&'static str> {
    if bytes.get(4..8) == Some(b"ftyp") {
        return iso_media(bytes);
    }
    // A cursor begins with the same four bytes as most TGA files.
    if is_tga(bytes) {
        return Some("TGA");
    }
    if let Some((_, name)) = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(name);
    }
    if bytes.starts_with(b"RIFF") {
        return match &array::<4>(bytes, 8)? {
            b"AVI " => Some("video (AVI)"),
            _ => None,
        };
    }
    if let [b'P', kind, separator, ..] = bytes
        && separator.is_ascii_whitespace()
    {
        return match kind {
            b'1'..=b'6' => Some("PNM"),
            b'7' => Some("PAM"),
            b'f' | b'F' => Some("PFM"),
            _ => None,
        };
    }
    if let [0x0a, 0 | 2..=5, 0 | 1, 1 | 2 | 4 | 8, ..] = bytes {
        return Some("PCX");
    }
    if bytes.get(40..44) == Some(b" EMF") && bytes.starts_with(&[1, 0, 0, 0]) {
        return Some("EMF");
    }
    if matches!(u16_le(bytes, 4), Some(0xaf11 | 0xaf12)) && u16_le(bytes, 14) == Some(3) {
        return Some("FLI animation");
    }
    // SVG is text: a byte order mark, an XML declaration and comments may come first.
    let head = &bytes[..bytes.len().min(1024)];
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = text.trim_ascii_start();
    let is_markup = text.starts_with(b"<?xml") || text.starts_with(b"<!");
    (is_markup && text.windows(4).any(|window| window == b"<svg")).then_some("SVG")
}

/// The files of ISO 14496-12, by the brand that they are of and those that they are
/// compatible with.
fn iso_media(bytes: &[u8]) -> Option<&'static str> {
    let by_brand = |brand: &[u8]| match brand {
        b"avif" | b"avis" => Some("AVIF"),
        b"heic" | b"heix" | b"hevc" | b"hevx" | b"heim" | b"heis" | b"hevm" | b"hevs" => {
            Some("HEIC")
        }
        b"jxl " => Some("JPEG XL"),
        b"crx " => Some("Canon raw (CR3)"),
        _ => None,
    };
    let major = array::<4>(bytes, 8)?;
    if let Some(name) = by_brand(&major) {
        return Some(name);
    }
    let length = u32::from_be_bytes(array(bytes, 0)?) as usize;
    let compatible = bytes.get(16..length.min(bytes.len())).unwrap_or_default();
    let found = compatible.as_chunks::<4>().0.iter().take(64);
    match &major {
        // Still pictures and sequences of any codec.
        b"mif1" | b"mif2" | b"mif3" | b"msf1" | b"miaf" => {
            let named = found.filter_map(|brand| by_brand(brand)).next();
            Some(named.unwrap_or("HEIF"))
        }
        b"jpeg" | b"jpgs" => Some("HEIF with JPEG in it"),
        b"avci" | b"avcs" => Some("HEIF with H.264 in it"),
        b"vvic" | b"vvis" | b"evbi" | b"evbs" | b"j2ki" | b"j2is" | b"unif" => Some("HEIF"),
        b"qt  " => Some("video (QuickTime)"),
        _ => Some("video (MP4)"),
    }
}

/// TGA has no magic bytes: what its header may say is little enough.
fn is_tga(bytes: &[u8]) -> bool {
    const FOOTER: &[u8] = b"TRUEVISION-XFILE.\0";
    let Some([_, map, kind, map_start @ .., map_depth]) = array::<8>(bytes, 0) else {
        return false;
    };
    let (Some(width), Some(height)) = (u16_le(bytes, 12), u16_le(bytes, 14)) else {
        return false;
    };
    let Some([depth, flags]) = array::<2>(bytes, 16) else {
        return false;
    };
    let coherent = match (map, kind) {
        (0, 2 | 3 | 10 | 11) => map_start == [0; 4] && map_depth == 0,
        (1, 1 | 9) => matches!(map_depth, 15 | 16 | 24 | 32),
        (1, 2 | 10) => bytes.ends_with(FOOTER),
        _ => false,
    };
    coherent
        && width > 0
        && height > 0
        && matches!(depth, 1 | 8 | 15 | 16 | 24 | 32)
        // The two highest bits say how rows are interleaved, which nobody does.
        && flags & 0xc0 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(brands: &[&[u8; 4]]) -> Vec<u8> {
        let length = 12 + 4 * brands.len() as u32;
        let mut file = [&length.to_be_bytes()[..], b"ftyp", brands[0], &[0; 4]].concat();
        file.extend(brands[1..].iter().copied().flatten());
        file
    }

    #[test]
    fn containers_are_called_what_they_hold() {
        let cases: [(&[&[u8; 4]], &str); 12] = [
            (&[b"avif", b"mif1"], "AVIF"),
            (&[b"mif1", b"avif", b"miaf"], "AVIF"),
            (&[b"heic", b"mif1"], "HEIC"),
            (&[b"heix"], "HEIC"),
            (&[b"mif1", b"heic"], "HEIC"),
            (&[b"mif1"], "HEIF"),
            (&[b"mif2", b"miaf"], "HEIF"),
            (&[b"mif3", b"avif"], "AVIF"),
            (&[b"jpeg", b"mif1"], "HEIF with JPEG in it"),
            (&[b"avci", b"mif1"], "HEIF with H.264 in it"),
            (&[b"qt  "], "video (QuickTime)"),
            (&[b"isom", b"mp41"], "video (MP4)"),
        ];
        for (brands, name) in cases {
            assert_eq!(unsupported(&media(brands)), Some(name), "{brands:?}");
        }
    }

    #[test]
    fn a_tga_is_no_cursor_and_a_cursor_no_tga() {
        let tga = [
            &[0u8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 7, 0, 24, 0x20][..],
            &[0; 189],
        ]
        .concat();
        assert_eq!(unsupported(&tga), Some("TGA"));
        let cursor = [
            &[0u8, 0, 2, 0, 1, 0, 32, 32, 0, 0, 1, 0, 1, 0][..],
            &[0; 64],
        ]
        .concat();
        assert_eq!(unsupported(&cursor), Some("CUR"));
    }

    #[test]
    fn others_have_their_names() {
        let cases: [(&[u8], &str); 11] = [
            (b"P6\n2 2\n255\n", "PNM"),
            (b"P1 2 2 0 1 1 0", "PNM"),
            (b"P7\nWIDTH 2\n", "PAM"),
            (b"\x59\xa6\x6a\x95\0\0\0\x01", "Sun raster"),
            (b"/* XPM */\nstatic char", "XPM"),
            (b"#define im_width 8\n", "XBM"),
            (b"\x0a\x05\x01\x08\0\0\0\0", "PCX"),
            (b"IIRO\x08\0\0\0", "Olympus raw (ORF)"),
            (b"FUJIFILMCCD-RAW 0201", "Fujifilm raw (RAF)"),
            (b"RIFF\0\0\0\0AVI LIST", "video (AVI)"),
            (b"<?xml version='1.0'?><svg>", "SVG"),
        ];
        for (bytes, name) in cases {
            assert_eq!(unsupported(bytes), Some(name));
        }
        assert_eq!(unsupported(b"Plain text"), None);
        assert_eq!(unsupported(b"<!DOCTYPE html><title>"), None);
        assert_eq!(unsupported(b"PK\x03\x04\x14\0\0\0"), None);
        assert_eq!(unsupported(&[0; 100]), None);
    }
}
