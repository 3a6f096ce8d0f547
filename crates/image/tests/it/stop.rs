//! A decode ends when nobody waits for it, and no file is more work than is allowed.
//!
//! Nothing here looks at a clock: decoders reckon their work in steps that do not depend on
//! the machine, and ask once in each.

use std::cell::Cell;

use siglip2_image::{ImageError, ImageLimits, PixelMemory, RgbImage, Stop, decode_into, inspect};

use crate::large;
use crate::made::{self, SIDE};

/// Decodes, is asked `most` times whether to go on, and says how often it was asked.
fn decode(bytes: &[u8], most: u64) -> (Result<RgbImage, ImageError>, u64) {
    let asked = Cell::new(0);
    let stopped = || {
        asked.set(asked.get() + 1);
        asked.get() >= most
    };
    let limits = ImageLimits::default();
    let image = inspect(bytes, &limits)
        .and_then(|header| decode_into(bytes, &header, &limits, None, &Stop::when(&stopped)));
    (image, asked.get())
}

#[test]
fn every_decoder_asks_often_and_ends_at_once() {
    for (name, bytes) in large::pictures() {
        let (image, asked) = decode(&bytes, u64::MAX);
        assert!(image.is_ok(), "{name}: {image:?}");
        // Once in a million pixels is once in 5 to 40 ms.
        let millions = u64::from(SIDE * SIDE) >> 20;
        assert!(asked >= millions, "{name}: asked {asked} times");
        for most in [1, asked / 2, asked] {
            let (image, asked) = decode(&bytes, most.max(1));
            assert_eq!(image, Err(ImageError::Stopped), "{name} after {most}");
            assert_eq!(asked, most.max(1), "{name}: no more is asked");
        }
    }
}

/// What a frame of lossy WebP takes is told by its coefficients, not by its pixels: it is counted as it goes,
/// and so it can be ended anywhere.
#[test]
fn a_lossy_frame_counts_its_coefficients_and_ends_between_rows() {
    let (flat, of_flat) = decode(&made::webp_lossy(1024, false), u64::MAX);
    assert!(flat.is_ok(), "{flat:?}");
    let dense = made::webp_lossy(1024, true);
    let (image, asked) = decode(&dense, u64::MAX);
    assert!(image.is_ok(), "{image:?}");
    assert!(asked > 2 * of_flat, "{asked}, of none {of_flat}");
    for most in 1..=asked {
        let (image, asked) = decode(&dense, most);
        assert_eq!(image, Err(ImageError::Stopped), "after {most}");
        assert_eq!(asked, most);
    }
}

/// Memory that nothing may be written to.
struct Untouched;

impl PixelMemory for Untouched {
    fn bytes(&self) -> &[u8] {
        unreachable!("it is looked at")
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        unreachable!("it is written to")
    }
}

/// 19 KB that were 162 s of work: 5,460 strips, each the same JPEG of 100 refinements.
#[test]
fn scans_of_jpegs_within_a_tiff_count_for_each_strip() {
    let strip = made::jpeg_of(65_500, 1, 1, 100);
    for (rows, planes) in [(1365, 4), (90, 4), (300, 1)] {
        let file = made::tiff_of((65_500, rows), (7, planes, 2, 8), 1, 1, &strip);
        assert!(inspect(&file, &ImageLimits::default()).is_ok());
        let (image, asked) = decode(&file, u64::MAX);
        assert!(
            matches!(image, Err(ImageError::TooComplex { .. })),
            "{image:?}"
        );
        // It was refused before it was begun, and before there was memory for its pixels.
        assert!(asked <= 1, "asked {asked} times");
        let limits = ImageLimits::default();
        let header = inspect(&file, &limits).unwrap();
        let memory = Some(Box::new(Untouched) as Box<dyn PixelMemory>);
        let refused = decode_into(&file, &header, &limits, memory, &Stop::never());
        assert!(matches!(refused, Err(ImageError::TooComplex { .. })));
    }
    let one = made::tiff_of(
        (65_500, 8),
        (7, 1, 1, 8),
        8,
        1,
        &made::jpeg_of(65_500, 8, 1, 10),
    );
    assert!(decode(&one, u64::MAX).0.is_ok());
}

/// Strips that are no JPEG are looked at from end to end for a marker: 40,000 of them in turns, each of
/// half a megabyte that all share, end at the first.
#[test]
fn strips_that_are_no_jpegs_end_a_file_at_the_first() {
    let strip = vec![0x20; 500_000];
    let mut file = made::tiff_of((8, 40_000), (7, 1, 1, 8), 1, 1, &strip);
    // The lists of StripOffsets and StripByteCounts, by the entries of the directory.
    let list = |tag: u16| {
        let mut entries = file[10..].chunks(12);
        let entry = entries
            .find(|entry| entry[..2] == tag.to_le_bytes())
            .unwrap();
        u32::from_le_bytes(entry[8..].try_into().unwrap()) as usize
    };
    let (offsets, counts) = (list(273), list(279));
    for odd in (1..40_000).step_by(2) {
        for (list, change) in [(offsets, 1), (counts, u32::MAX)] {
            let at = list + 4 * odd;
            let value = u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
            file[at..at + 4].copy_from_slice(&value.wrapping_add(change).to_le_bytes());
        }
    }
    let (image, asked) = decode(&file, u64::MAX);
    assert!(image.is_err(), "{image:?}");
    // Not again and again: what is looked at asks on its way.
    assert!(asked <= 2, "asked {asked} times");
}

/// Old-style JPEG is one stream over all strips: 1 GB of it in a file of 250 KB.
#[test]
fn strips_of_old_style_jpeg_count_however_often_they_are_the_same() {
    let strip = [0; 200_000];
    let (image, asked) = decode(&made::tiff_of_old_jpeg((8, 40_000), 8, &strip), u64::MAX);
    assert!(
        matches!(image, Err(ImageError::TooComplex { .. })),
        "{image:?}"
    );
    assert!(asked <= 1, "asked {asked} times");
    // A unit for each strip.
    let image = decode(&made::tiff_of_old_jpeg((8, 40), 8, &[0]), u64::MAX).0;
    let image = image.unwrap();
    assert_eq!((image.width(), image.height()), (8, 40));
    let first = image.pixels()[0];
    assert!(
        image
            .pixels()
            .iter()
            .all(|&value| value.abs_diff(first) <= 1)
    );
}

/// 2,000 refinements of 16 million pixels; and 100 of 81 million, which is how many scans a
/// file may have at all.
#[test]
fn scans_count_with_what_they_walk_over() {
    for (side, scans) in [(4096, 2000), (9000, 100)] {
        let (image, asked) = decode(&made::jpeg_of(side, side, 1, scans), u64::MAX);
        assert!(
            matches!(image, Err(ImageError::TooComplex { .. })),
            "{image:?}"
        );
        assert_eq!(asked, 0);
    }
    assert!(decode(&made::jpeg_of(640, 480, 1, 100), u64::MAX).0.is_ok());
}

/// What is behind the last row of a PNG may unpack to a thousand times its bytes; nobody
/// looks at it.
#[test]
fn what_a_png_has_behind_its_pixels_is_not_unpacked() {
    let (image, whole) = decode(&made::png(0, 1, false), u64::MAX);
    assert!(image.is_ok());
    let (image, asked) = decode(&made::png_with_more(1 << 30), u64::MAX);
    assert!(image.is_ok());
    assert!(asked <= whole, "asked {asked} times");
}

/// Profiles and texts are unpacked to see whether they can be, but not without end.
#[test]
fn texts_of_a_png_are_not_unpacked_without_end() {
    for kind in [b"iCCP", b"zTXt", b"iTXt"] {
        let error = decode(&made::png_with_texts(kind, 1000), u64::MAX).0;
        assert!(error.is_err(), "{kind:?}");
    }
}
