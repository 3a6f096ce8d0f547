//! Decoded pixels are Pillow's. The truth is tests/fixtures/images/expected.json, made
//! by tools/make_image_fixtures.py: for each file, and for each damaged version of
//! some, what Pillow's `Image.open(f).convert("RGB")` gives or that it refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use sha2::{Digest, Sha256};
use siglip2_image::{ImageError, ImageLimits, PixelMemory, Stop, decode, decode_into, inspect};

use crate::fixtures::{fixture, fixtures, truth};

/// Files that Pillow decodes and we refuse, each with the reason.
const REFUSED: [(&str, &str); 5] = [
    (
        "damaged_jpeg_scan_bomb.jpg",
        "1,000 scans: a second of work in 13 KB",
    ),
    // libtiff makes noise of all tiles but the first.
    ("tiff_old_jpeg_columns_shallow.tif", "format"),
    ("unsupported.jp2", "format"),
    ("unsupported_bc6h.dds", "format"),
    ("unsupported_jp2.icns", "format"),
];

/// Files that Pillow refuses and we decode.
const ACCEPTED: [&str; 1] = ["tiff_rgb_strips_be_big.tif"];

/// Files that libtiff reads wrongly, and what they are the same as.
const OTHERWISE: [(&str, &str); 1] = [(
    // Its second strip is garbled, in big-endian files alone.
    "tiff_old_jpeg_strips_big_endian.tif",
    "tiff_old_jpeg_strips_22.tif",
)];

/// Where we and Pillow part.
#[derive(Debug, PartialEq, Eq)]
enum Difference {
    /// Pillow decodes it, we do not.
    WeRefuse(String),
    /// We decode it, Pillow does not.
    PillowRefuses,
    /// Both decode it, to images of other sizes.
    Size,
    /// Both decode it, to other pixels.
    Pixels,
}

/// `None` where both agree.
fn difference(bytes: &[u8], expected: &Value) -> Option<Difference> {
    let ours = decode(bytes, &ImageLimits::default());
    match (ours, expected["sha256"].as_str()) {
        (Ok(image), Some(sha256)) => {
            let header = inspect(bytes, &ImageLimits::default()).unwrap();
            let size = (image.width(), image.height());
            assert_eq!((header.width, header.height), size);
            let sides = (expected["width"].as_u64(), expected["height"].as_u64());
            if sides != (Some(size.0.into()), Some(size.1.into())) {
                return Some(Difference::Size);
            }
            let digest = format!("{:x}", Sha256::digest(image.pixels()));
            (!digest.starts_with(sha256)).then_some(Difference::Pixels)
        }
        (Err(_), None) => None,
        (Err(error), Some(_)) => Some(Difference::WeRefuse(error.to_string())),
        (Ok(_), None) => Some(Difference::PillowRefuses),
    }
}

#[test]
fn every_file_gives_the_pixels_of_pillow() {
    let truth = truth();
    let files = truth["files"].as_object().unwrap();
    assert!(files.len() > 700);
    let mut wrong = Vec::new();
    for (name, expected) in files {
        match difference(&fixture(name), expected) {
            Some(Difference::WeRefuse(_)) if REFUSED.iter().any(|(file, _)| file == name) => {}
            Some(Difference::PillowRefuses) if ACCEPTED.contains(&name.as_str()) => {}
            Some(Difference::Pixels) if OTHERWISE.iter().any(|(file, _)| file == name) => {}
            Some(other) => wrong.push(format!("{name}: {other:?}, Pillow: {expected}")),
            None => {}
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn files_that_libtiff_reads_wrongly_are_read_as_their_equals() {
    for (name, equal) in OTHERWISE {
        let pixels = |name| decode(&fixture(name), &ImageLimits::default());
        assert_eq!(pixels(name).unwrap(), pixels(equal).unwrap(), "{name}");
    }
}

/// A file that is cut is refused where Pillow refuses it, except for a GIF without its
/// last four bytes (the end of the codes and of the/// file): all its pixels are there.
#[test]
fn truncated_files_are_refused_where_pillow_refuses_them() {
    let truth = truth();
    let mut wrong = Vec::new();
    for variant in truth["variants"].as_array().unwrap() {
        let Some(cut) = variant["cut"].as_u64() else {
            continue;
        };
        let name = variant["file"].as_str().unwrap();
        let mut bytes = fixture(name);
        let missing = bytes.len() - cut as usize;
        bytes.truncate(cut as usize);
        match difference(&bytes, variant) {
            Some(Difference::PillowRefuses) if name.ends_with(".gif") && missing <= 4 => {}
            Some(other) => wrong.push(format!("{name} cut at {cut}: {other:?}, Pillow: {variant}")),
            None => {}
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// One wrong byte. libwebp and libtiff look at later frames and at the ends of strips, too. What
/// must hold: no panic, the same size, and for the other formats the same verdict and pixels.
#[test]
fn a_wrong_byte_does_no_more_than_in_pillow() {
    let truth = truth();
    let mut wrong = Vec::new();
    for variant in truth["variants"].as_array().unwrap() {
        let Some(flip) = variant["flip"].as_array() else {
            continue;
        };
        let name = variant["file"].as_str().unwrap();
        let mut bytes = fixture(name);
        bytes[flip[0].as_u64().unwrap() as usize] ^= flip[1].as_u64().unwrap() as u8;
        let free = ["webp", "tif"].iter().any(|end| name.ends_with(end));
        match difference(&bytes, variant) {
            Some(other) if free && other != Difference::Size => {}
            Some(other) => wrong.push(format!("{name} {flip:?}: {other:?}, Pillow: {variant}")),
            None => {}
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn errors_say_what_it_is() {
    for (name, format) in [
        ("unsupported.heic", "HEIC"),
        ("unsupported.jp2", "JPEG 2000"),
        ("unsupported.jxl", "JPEG XL"),
        ("unsupported.pdf", "PDF"),
        ("unsupported.psd", "Photoshop (PSD)"),
        ("unsupported.svg", "SVG"),
        ("damaged_jpeg_12_bit.jpg", "12-bit JPEG"),
        ("damaged_jpeg_lossless.jpg", "lossless JPEG"),
    ] {
        let error = decode(&fixture(name), &ImageLimits::default()).unwrap_err();
        assert_eq!(error, ImageError::Unsupported { format }, "{name}");
    }
    let heic = decode(&fixture("unsupported.heic"), &ImageLimits::default()).unwrap_err();
    assert!(heic.to_string().contains("convert it to JPEG"), "{heic}");
    let refused = |bytes: &[u8]| decode(bytes, &ImageLimits::default()).unwrap_err();
    assert_eq!(refused(b""), ImageError::Empty);
    assert_eq!(refused(b"hello"), ImageError::NotAnImage);
    assert_eq!(refused(&[0; 100]), ImageError::NotAnImage);
}

#[test]
fn too_many_pixels_are_refused_from_the_header() {
    for name in [
        "damaged_jpeg_65535.jpg",
        "damaged_png_65535.png",
        "damaged_png_long.png",
        "damaged_png_huge.png",
        "damaged_gif_65535.gif",
        "damaged_bmp_65535.bmp",
        "damaged_tiff_65535.tif",
    ] {
        let error = inspect(&fixture(name), &ImageLimits::default()).unwrap_err();
        assert!(
            matches!(
                error,
                ImageError::TooLarge { .. } | ImageError::TooLong { .. }
            ),
            "{name}: {error:?}"
        );
    }
    let few = ImageLimits {
        max_pixels: 61 * 43 - 1,
        ..ImageLimits::default()
    };
    let error = decode(&fixture("jpeg_420.jpg"), &few).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the image is 61 x 43 = 2623 pixels; at most 2622 are allowed"
    );
}

#[test]
fn a_jpeg_of_thousands_of_scans_is_refused() {
    let bytes = fixture("damaged_jpeg_scan_bomb.jpg");
    let limits = ImageLimits::default();
    let error = decode(&bytes, &limits).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the JPEG image takes too much work to decode: it has more than 100 scans"
    );
    // Hidden behind a marker that has no length but looks as if it had one.
    let scan = bytes
        .windows(2)
        .rposition(|marker| marker == [0xff, 0xda])
        .unwrap();
    let hidden = [&bytes[..scan], b"\xff\x02\xff\xff", &bytes[scan..]].concat();
    let error = decode(&hidden, &limits).unwrap_err();
    assert!(matches!(error, ImageError::TooComplex { .. }), "{error:?}");
}

/// A little-endian TIFF of one row of 8-bit grey: one-pixel tiles of the compression, all
/// of them the whole `data`.
fn tiff_of_equal_tiles(width: u32, compression: u16, data: &[u8]) -> Vec<u8> {
    let tiles = width as usize;
    let offsets = 8 + 2 + 9 * 12 + 4;
    let counts = offsets + tiles * 4;
    let start = counts + tiles * 4;
    let short = |value: u16| u32::from(value).to_le_bytes();
    let place = |at: usize| (at as u32).to_le_bytes();
    let entries: [(u16, u16, u32, [u8; 4]); 9] = [
        (256, 4, 1, width.to_le_bytes()),
        (257, 4, 1, 1u32.to_le_bytes()),
        (258, 3, 1, short(8)),
        (259, 3, 1, short(compression)),
        (262, 3, 1, short(1)),
        (322, 3, 1, short(1)),
        (323, 3, 1, short(1)),
        (324, 4, width, place(offsets)),
        (325, 4, width, place(counts)),
    ];
    let mut file = b"II*\0\x08\0\0\0\x09\0".to_vec();
    for (tag, kind, count, value) in entries {
        file.extend_from_slice(&tag.to_le_bytes());
        file.extend_from_slice(&kind.to_le_bytes());
        file.extend_from_slice(&count.to_le_bytes());
        file.extend_from_slice(&value);
    }
    file.extend_from_slice(&[0; 4]);
    file.extend(std::iter::repeat_n(place(start), tiles).flatten());
    file.extend(std::iter::repeat_n(place(data.len()), tiles).flatten());
    file.extend_from_slice(data);
    file
}

/// 200 KB of PackBits that mean nothing, in each of 20,000 tiles of one file: without a
/// bound, 4 GB of work in a file of 360 KB.
#[test]
fn tiff_tiles_that_overlap_do_not_multiply_the_work() {
    const PACK_BITS: u16 = 32_773;
    let data = [vec![0x80; 200_000], vec![0, 7]].concat();
    let few = decode(
        &tiff_of_equal_tiles(16, PACK_BITS, &data),
        &ImageLimits::default(),
    );
    assert_eq!(few.unwrap().pixels(), [7; 16 * 3]);
    let many = decode(
        &tiff_of_equal_tiles(20_000, PACK_BITS, &data),
        &ImageLimits::default(),
    );
    let error = many.unwrap_err();
    assert!(matches!(error, ImageError::TooComplex { .. }), "{error:?}");
}

/// No byte of a file, however wrong, makes the decoder panic or take long. The number of
/// tries can be raised with `FUZZ_TRIES`.
#[test]
fn nothing_panics_on_broken_files() {
    let tries = std::env::var("FUZZ_TRIES").map_or(8, |tries| tries.parse().unwrap());
    let limits = ImageLimits {
        max_pixels: 4_000_000,
        max_picture_bytes: 64 << 20,
        ..ImageLimits::default()
    };
    let mut random = fastrand::Rng::with_seed(1);
    let mut draw = |below: usize| random.usize(..below);
    let truth = truth();
    let mut slowest = (std::time::Duration::ZERO, String::new());
    for name in truth["files"].as_object().unwrap().keys() {
        let original = fixture(name);
        if original.is_empty() {
            continue;
        }
        for nth in 0..tries {
            let mut bytes = original.clone();
            for _ in 0..=draw(4) {
                // The headers are where a byte means most.
                let reach = if draw(2) == 0 {
                    bytes.len().min(200)
                } else {
                    bytes.len()
                };
                let at = draw(reach);
                bytes[at] = match draw(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => bytes[at] ^ (1 << draw(8)),
                    _ => draw(256) as u8,
                };
            }
            if draw(4) == 0 {
                bytes.truncate(1 + draw(bytes.len()));
            }
            let started = std::time::Instant::now();
            if let Ok(image) = decode(&bytes, &limits) {
                let bytes = image.width() as usize * image.height() as usize * 3;
                assert_eq!(image.pixels().len(), bytes, "{name}");
            }
            slowest = slowest.max((started.elapsed(), format!("{name} ({nth})")));
        }
    }
    assert!(slowest.0.as_secs() < 5, "{slowest:?}");
}

/// Memory that somebody lent, and that must come back.
struct Lent(Vec<u8>, Arc<AtomicUsize>);

impl PixelMemory for Lent {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn pixels_in_lent_memory_are_the_same_and_the_memory_comes_back() {
    let limits = ImageLimits::default();
    let back = Arc::new(AtomicUsize::new(0));
    let (mut lent, mut decoded) = (0, 0);
    for (name, bytes) in fixtures() {
        let Ok(header) = inspect(&bytes, &limits) else {
            continue;
        };
        let size = header.width as usize * header.height as usize * 3;
        // What was there before must not show.
        let memory = Box::new(Lent(vec![0xa5; size], Arc::clone(&back)));
        lent += 1;
        let image = decode_into(&bytes, &header, &limits, Some(memory), &Stop::never());
        assert_eq!(image, decode(&bytes, &limits), "{name}");
        decoded += usize::from(image.is_ok());
    }
    assert!(decoded > 300, "{decoded}");
    assert_eq!(back.load(Ordering::SeqCst), lent);
    let jpeg = fixtures()
        .find(|(name, _)| name == "jpeg_444.jpg")
        .unwrap()
        .1;
    let short = Box::new(Lent(vec![0; 3], Arc::clone(&back)));
    let header = inspect(&jpeg, &limits).unwrap();
    assert!(decode_into(&jpeg, &header, &limits, Some(short), &Stop::never()).is_err());
}
