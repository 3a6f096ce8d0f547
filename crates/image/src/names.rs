//! Formats that people are likely to send and that are not decoded here. Each is refused by name,
//! which helps more than "this is not an image".

use super::inspect::{array, u16_le};

/// What the bytes begin with, and what it is called.
const MAGIC: [(&[u8], &str); 39] = [
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"II\xbc", "JPEG XR"),
    (b"8BPS", "Photoshop (PSD)"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"<svg", "SVG"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"SIMPLE  =", "FITS"),
    (b"FLIF", "FLIF"),
    (b"BPG\xfb", "BPG"),
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
            b'7' => Some("PAM"),
            b'F' => Some("PFM in colour"),
            _ => None,
        };
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
    fn others_have_their_names() {
        let cases: [(&[u8], &str); 6] = [
            (b"PF\n2 2\n-1\n", "PFM in colour"),
            (b"P7\nWIDTH 2\n", "PAM"),
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
