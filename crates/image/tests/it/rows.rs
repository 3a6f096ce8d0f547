//! A JPEG that is resized as its rows come gives what the whole picture gives, however it is
//! turned and whatever it becomes.

use serde_json::json;
use siglip2_image::{
    Header, ImageError, ImageLimits, Processor, Stop, decode, decode_rows, inspect,
};

use crate::fixtures::fixture;
use crate::noise::{noise, processor};

/// EXIF data with an orientation, as a segment.
fn segment(tag: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([tag, 0, 0, 0, 0, 0, 0]);
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&b"\xff\xe1"[..], &length, &exif].concat()
}

/// A JPEG that encodes these rows, with an orientation.
pub fn jpeg<'a>(
    (width, height): (usize, usize),
    tag: u8,
    rows: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let mut compress = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    compress.set_size(width, height);
    compress.set_fastest_defaults();
    compress.set_quality(60.0);
    let mut started = compress.start_compress(Vec::new()).unwrap();
    for row in rows {
        started.write_scanlines(row).unwrap();
    }
    let file = started.finish().unwrap();
    [&file[..2], &segment(tag), &file[2..]].concat()
}

fn drawn(width: u32, height: u32, tag: u8) -> Vec<u8> {
    let image = noise(width, height, 7);
    let rows = image.pixels().chunks_exact(width as usize * 3);
    jpeg((width as usize, height as usize), tag, rows)
}

fn turning() -> ImageLimits {
    ImageLimits {
        apply_orientation: true,
        ..ImageLimits::default()
    }
}

fn header(file: &[u8]) -> Header {
    inspect(file, &turning()).unwrap()
}

/// Every kind of target and filter.
fn processors() -> Vec<Processor> {
    let mut all = Vec::new();
    for resample in 0..4 {
        all.push(processor(224, json!({"resample": resample})).unwrap());
    }
    // From more than 128 pixels to one.
    all.push(processor(16, json!({})).unwrap());
    let clip = json!({"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 240},
        "crop_size": {"width": 224, "height": 224}});
    all.push(Processor::from_json(clip.to_string().as_bytes(), 224).unwrap());
    all.push(Processor::naflex(b"{}", 16, 256).unwrap());
    all
}

#[test]
fn rows_give_what_the_whole_gives() {
    let mut compared = 0;
    for (width, height) in [(1237, 611), (224, 3400), (3500, 224), (5000, 150)] {
        for tag in 1..=8 {
            let file = drawn(width, height, tag);
            let header = header(&file);
            assert_eq!(header.orientation.tag(), tag);
            let whole = decode(&file, &turning()).unwrap();
            for processor in processors() {
                let target = processor.target();
                if !header.comes_by_rows(target) {
                    continue;
                }
                let rows = decode_rows(&file, &header, &turning(), &processor, &Stop::never());
                let rows = rows.unwrap();
                let rows = rows.finish().unwrap();
                let expected = processor.resize(&whole).unwrap();
                let same = rows == expected;
                assert!(same, "{width} x {height}, {tag}, {processor:?}");
                compared += 1;
            }
        }
    }
    assert!(compared > 150, "{compared}");
}

/// The same rows are missing and the same files refused.
#[test]
fn what_is_damaged_is_refused_in_rows_too() {
    let processor = processor(224, json!({})).unwrap();
    let file = drawn(1237, 611, 1);
    let by_rows = |file: &[u8]| {
        let rows = decode_rows(file, &header(file), &turning(), &processor, &Stop::never());
        rows.map(|rows| rows.finish().unwrap())
    };
    let cut = by_rows(&file[..file.len() / 2]);
    assert!(matches!(cut, Err(ImageError::Damaged { .. })), "{cut:?}");
    let gone = Stop::when(&|| true);
    let stopped = decode_rows(&file, &header(&file), &turning(), &processor, &gone);
    assert!(matches!(stopped, Err(ImageError::Stopped)), "{stopped:?}");
    let other = by_rows(&fixture("png_rgb_8.png"));
    assert!(
        matches!(other, Err(ImageError::Damaged { .. })),
        "{other:?}"
    );
    // Small ones are no different, if nothing is gained by it.
    let small = fixture("jpeg_cmyk.jpg");
    let whole = decode(&small, &turning()).unwrap();
    assert_eq!(by_rows(&small).unwrap(), processor.resize(&whole).unwrap());
}
