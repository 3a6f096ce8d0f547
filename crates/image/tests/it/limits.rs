//! What decoding takes in memory is said before, by the header, and is no more than that:
//! read from the system, in a process of its own for each file.

use std::process::Command;

use serde_json::json;
use siglip2_image::{
    ImageError, ImageFormat, ImageLimits, Narrowed, Stop, decode, decode_rows, inspect,
};

use crate::fixtures::fixture;
use crate::noise::processor;
use crate::{large, made};

const FILE: &str = "SIGLIP2_IMAGE_FILE";

/// What the allocator, the stack and the code that is run take beside what was asked for.
const BESIDE: u64 = 3 << 20;

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap();
    kilobytes.parse::<u64>().unwrap() << 10
}

/// Run by the test below, for one file.
#[test]
#[ignore = "decodes what the other test names, in a process of its own"]
fn decodes_one_file() {
    let Ok(path) = std::env::var(FILE) else {
        return;
    };
    let bytes = std::fs::read(path).unwrap();
    let limits = ImageLimits::default();
    let header = inspect(&bytes, &limits).unwrap();
    // The peak begins anew from here.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS:");
    let image = decode(&bytes, &limits);
    let peak = status("VmHWM:").saturating_sub(before);
    let said = header.pixel_bytes() + header.scratch_bytes;
    println!("peak {peak} of {said}: {:?}", image.err());
    assert!(peak <= said + said / 10 + BESIDE, "{peak} of {said}");
}

/// Run by the test below: a photo of 108 megapixels, for a square of 224 pixels.
#[test]
#[ignore = "decodes what the other test names, in a process of its own"]
fn decodes_one_file_by_rows() {
    let Ok(path) = std::env::var(FILE) else {
        return;
    };
    let bytes = std::fs::read(path).unwrap();
    let limits = ImageLimits {
        apply_orientation: true,
        ..ImageLimits::default()
    };
    let processor = processor(224, json!({})).unwrap();
    let header = inspect(&bytes, &limits).unwrap();
    assert!(header.comes_by_rows(processor.target()));
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS:");
    let image = decode_rows(&bytes, &header, &limits, &processor, &Stop::never());
    let image = image.and_then(Narrowed::finish);
    let peak = status("VmHWM:").saturating_sub(before);
    let said = header.rows_bytes(processor.target());
    println!("peak {peak} of {said}: {:?}", image.err());
    assert!(peak <= said + said / 10 + BESIDE, "{peak} of {said}");
    assert!(said < 20 << 20, "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_photo_of_108_megapixels_takes_less_than_20_mebibytes() {
    let folder = tempfile::tempdir().unwrap();
    let row: Vec<u8> = (0..12_000 * 3).map(|at| (at / 97) as u8).collect();
    for tag in [1, 6] {
        let rows = std::iter::repeat_n(&row[..], 9000);
        let path = folder.path().join("file");
        std::fs::write(&path, crate::rows::jpeg((12_000, 9000), tag, rows)).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "limits::decodes_one_file_by_rows",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(FILE, &path)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&child.stdout);
        println!("{tag}: {told}");
        assert!(child.status.success() && told.contains("peak "), "{told}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_peak_is_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let hostile = [
        // 65,536 groups of prefix codes, of which one pixel refers to one; and as many as
        // there are blocks.
        ("webp of groups", made::webp_lossless(1, 65_536, 1)),
        (
            "webp of used groups",
            made::webp_lossless(1024, 65_536, 65_536),
        ),
    ];
    let mut wrong = Vec::new();
    for (name, bytes) in large::pictures().into_iter().chain(hostile) {
        let path = folder.path().join("file");
        std::fs::write(&path, &bytes).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "limits::decodes_one_file",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(FILE, &path)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&child.stdout);
        let peak = told.lines().find(|line| line.contains("peak "));
        println!("{name}: {}", peak.unwrap_or(&told));
        if !child.status.success() || peak.is_none() {
            wrong.push(format!("{name}: {told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Groups that no pixel refers to are passed over; those that are may take so many bytes.
#[test]
fn only_groups_that_are_used_are_built() {
    let limits = ImageLimits::default();
    let unused = decode(&made::webp_lossless(1, 65_536, 1), &limits);
    assert_eq!(unused.unwrap().pixels(), [0, 0, 0]);
    let few = decode(&made::webp_lossless(64, 256, 256), &limits);
    assert!(few.is_ok());
    let many = decode(&made::webp_lossless(1024, 65_536, 65_536), &limits);
    assert!(
        matches!(many, Err(ImageError::TooComplex { .. })),
        "{many:?}"
    );
}

/// What does not fit is refused from the header.
#[test]
fn what_needs_too_much_memory_is_refused_before_it_is_decoded() {
    for (name, bytes) in large::pictures() {
        let header = inspect(&bytes, &ImageLimits::default()).unwrap();
        let limits = ImageLimits {
            max_picture_bytes: header.pixel_bytes() + header.scratch_bytes - 1,
            ..ImageLimits::default()
        };
        // The pixels of a JPEG need not be in memory together.
        let error = decode(&bytes, &limits).unwrap_err();
        if header.format != ImageFormat::Jpeg {
            assert_eq!(inspect(&bytes, &limits).unwrap_err(), error);
        }
        assert!(
            matches!(error, ImageError::TooComplex { .. }),
            "{name}: {error:?}"
        );
    }
}

/// libjpeg keeps the coefficients of a progressive file however few scans it has.
#[test]
fn the_coefficients_of_a_single_progressive_scan_count() {
    let baseline = inspect(&fixture("jpeg_420.jpg"), &ImageLimits::default()).unwrap();
    let bytes = fixture("jpeg_420_progressive.jpg");
    let scan = |after: usize| {
        let marker = bytes[after..].windows(2).position(|m| m == [0xff, 0xda]);
        after + marker.unwrap()
    };
    let second = scan(scan(0) + 2);
    let one = [&bytes[..second], b"\xff\xd9"].concat();
    let header = inspect(&one, &ImageLimits::default()).unwrap();
    assert!(header.scratch_bytes > baseline.scratch_bytes);
    assert!(decode(&one, &ImageLimits::default()).is_ok());
}

/// Pillow refuses what has more than twice its limit of pixels; a side may be as long as a TIFF or
/// PNG that is worth decoding has it.
#[test]
fn sizes_are_those_of_pillow() {
    let png = |width: u32, height: u32| {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        let mut writer = encoder.write_header().unwrap();
        let bytes = width.div_ceil(8) as usize * height as usize;
        writer.write_image_data(&vec![0xf0; bytes]).unwrap();
        drop(writer);
        file
    };
    let limits = ImageLimits::default();
    let large = inspect(&png(13_377, 13_378), &limits);
    assert!(
        matches!(large, Err(ImageError::TooLarge { .. })),
        "{large:?}"
    );
    assert!(inspect(&png(13_377, 13_377), &limits).is_ok());
    let wide = decode(&png(70_000, 1000), &limits).unwrap();
    assert_eq!((wide.width(), wide.height()), (70_000, 1000));
    assert_eq!(
        wide.pixels()[70_000 * 3 - 24..][..15],
        [[255; 12].as_slice(), &[0; 3]].concat()
    );
    let long = inspect(&png(1, 1 << 21), &limits);
    assert!(matches!(long, Err(ImageError::TooLong { .. })), "{long:?}");
}

/// An icon whose bitmap has sides that no file could hold: their product is beyond 64 bits.
#[test]
fn sides_of_an_icon_that_are_too_long_to_multiply_are_refused() {
    let entry = [
        &[16, 16, 0, 0, 1, 0, 32, 0][..],
        &40_u32.to_le_bytes(),
        &22_u32.to_le_bytes(),
    ];
    let header = [40, u32::MAX, 0xfeff_ffff, 32 << 16 | 1, 0, 0, 0, 0, 0, 0];
    let header = header.map(u32::to_le_bytes).concat();
    let icon = [&[0, 0, 1, 0, 1, 0][..], &entry.concat(), &header].concat();
    let limits = ImageLimits::default();
    assert!(inspect(&icon, &limits).is_err());
    assert!(decode(&icon, &limits).is_err());
}
