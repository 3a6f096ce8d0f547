//! Decoders beside each other: libjpeg is what the others are held to.

mod refinements;

use super::*;
use crate::decode::decode_whole;

/// The fixtures of this format, by name.
fn fixtures() -> impl Iterator<Item = (String, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/images");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    files.filter_map(|file| {
        let name = file.file_name().into_string().unwrap();
        name.starts_with("jpeg_")
            .then(|| (name, std::fs::read(file.path()).unwrap()))
    })
}

/// Whether a fixture has restart markers, or scans that refine each other.
fn has_parts(name: &str) -> bool {
    name.contains("restart") || name.contains("progressive")
}

/// Fixtures with bytes changed at random behind their first half, where the coefficients are; those with parts
/// more often, and everywhere.
fn damaged_files() -> impl Iterator<Item = Vec<u8>> {
    fixtures().flat_map(|(name, whole)| {
        let (tries, from) = match has_parts(&name) {
            true => (200, 2),
            false => (12, whole.len() / 2),
        };
        (0..tries).map(move |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bytes = whole.clone();
            for _ in 0..seed % 12 {
                let at = random.usize(from..bytes.len());
                bytes[at] = random.u8(..);
            }
            bytes
        })
    })
}

/// Fixtures with parts, whose markers and headers of scans are changed one by one.
fn files_with_other_parts() -> impl Iterator<Item = Vec<u8>> {
    let files = fixtures().filter(|(name, _)| has_parts(name));
    files.flat_map(|(_, whole)| {
        let mut files = Vec::new();
        let marked = whole.windows(2).enumerate();
        let marked = marked.filter(|(_, pair)| pair[0] == 0xff && pair[1] >= 0xd0);
        for (at, pair) in marked {
            let mut change = |from: usize, to: usize, by: &[u8]| {
                files.push([&whole[..at + from], by, &whole[at + to..]].concat());
            };
            match pair[1] {
                // Those that stand alone: another, none, twice, and bytes before or behind it.
                0xd0..=0xd7 | 0xd9 => {
                    for marker in 0xd0..=0xda {
                        change(1, 2, &[marker]);
                    }
                    change(0, 2, &[]);
                    change(0, 0, pair);
                    for byte in [0x00, 0x5a, 0xff] {
                        change(0, 0, &[byte]);
                        change(2, 2, &[byte]);
                    }
                }
                // The first and the last coefficient, and the bits of them.
                0xda => {
                    let end = 2 + usize::from(whole[at + 3]);
                    for value in [
                        0, 1, 2, 5, 6, 16, 20, 63, 64, 0x10, 0x12, 0x20, 0x21, 0x31, 0x32,
                    ] {
                        for field in end - 3..end {
                            change(field, field + 1, &[value]);
                        }
                    }
                }
                _ => {}
            }
        }
        files
    })
}

const LIBJPEG: Decoders = Decoders {
    plain: None,
    transform: Transform::Fastest,
};

/// All that a decoder may be made of, but [`LIBJPEG`].
const OTHERS: [Decoders; 4] = [
    Decoders {
        transform: Transform::Portable,
        ..LIBJPEG
    },
    Decoders {
        plain: Some(Vectors::Detected),
        ..LIBJPEG
    },
    Decoders {
        plain: Some(Vectors::Baseline),
        ..LIBJPEG
    },
    Decoders {
        plain: Some(Vectors::Baseline),
        transform: Transform::Portable,
    },
];

fn decoded_by(bytes: &[u8], decoders: Decoders) -> Result<Vec<u8>, ImageError> {
    decode_whole(bytes, &ImageLimits::default(), |job, rows| {
        decode_by(job, rows, decoders)
    })
}

/// How far the decoder of plain files comes.
fn plainly_decoded(bytes: &[u8]) -> Option<Decoded> {
    let mut decoded = None;
    let _ = decode_whole(bytes, &ImageLimits::default(), |job, rows| {
        decoded = plain::decode(job, rows, Vectors::Detected).ok();
        Ok(())
    });
    decoded
}

#[test]
fn what_stands_between_segments_is_passed() {
    let (_, whole) = fixtures().next().unwrap();
    let expected = frame::read(&whole).unwrap();
    let with = |between: &[u8]| frame::read(&[&whole[..2], between, &whole[2..]].concat());
    for length in [1, 63, 64, 65, 127, 128, 1000, 100_000] {
        // Fill bytes, junk, and both by turns.
        let mut by_turns = vec![b'x'; length];
        by_turns.extend(vec![0xff; length]);
        for between in [vec![0xff; length], vec![b'x'; length], by_turns] {
            let frame = with(&between).unwrap();
            assert_eq!(
                (frame.width, frame.height),
                (expected.width, expected.height)
            );
        }
    }
    // A single marker is passed too, but there may not be any number of them.
    assert!(with(&[0xff, 0xd0].repeat(60_000)).is_ok());
    let error = with(&[0xff, 0xd0].repeat(70_000)).unwrap_err().to_string();
    assert!(error.contains("more than 65536 segments"), "{error}");
    // A file that ends among them is cut short.
    for end in [&[0xff, 0xd8][..], &[0xff, 0xd8, 0xff, 0xff], b"\xff\xd8xx"] {
        let error = frame::read(end).unwrap_err().to_string();
        assert!(error.contains("cut short"), "{error}");
    }
}

/// Where libjpeg has its vector code, that is what the others are held to, for coefficients that
/// overflow, too. Where it has not, the tests of Pillow's pixels do it.
#[test]
fn all_decoders_give_the_same_pixels_for_damaged_files() {
    let (mut decoded, mut whole, mut begun) = (0, 0, 0);
    for bytes in damaged_files() {
        let by_libjpeg = decoded_by(&bytes, LIBJPEG);
        for decoders in OTHERS {
            assert!(by_libjpeg == decoded_by(&bytes, decoders));
        }
        decoded += usize::from(by_libjpeg.is_ok());
        match plainly_decoded(&bytes) {
            Some(Decoded::Whole) => whole += 1,
            Some(Decoded::Rows(1..)) => begun += 1,
            _ => {}
        }
    }
    assert!(decoded > 300, "{decoded}");
    assert!(whole > 50 && begun > 50, "{whole} {begun}");
}

#[test]
fn all_decoders_give_the_same_pixels_where_parts_are_not_in_order() {
    let mut files = 0;
    for bytes in files_with_other_parts() {
        let by_libjpeg = decoded_by(&bytes, LIBJPEG);
        assert!(by_libjpeg == decoded_by(&bytes, OTHERS[1]));
        files += 1;
    }
    assert!(files > 1000, "{files}");
}

/// Where this project's decoder gives up, libjpeg decodes the file, and no other test notices.
#[test]
fn plain_fixtures_are_not_left_to_libjpeg() {
    let mut whole: Vec<String> = fixtures()
        .filter(|(_, bytes)| plainly_decoded(bytes) == Some(Decoded::Whole))
        .map(|(name, _)| name.replace("jpeg_", "").replace(".jpg", ""))
        .collect();
    whole.sort_unstable();
    let sides = [
        "15x17", "16x16", "17x15", "33x31", "40x1", "7x9", "8x8", "9x7",
    ];
    let mut expected: Vec<String> = [
        "420",
        "422",
        "444",
        "420_progressive",
        "444_progressive",
        "420_restart_1",
        "444_1x1",
        "444_1x40",
        "444_2x2",
        "exif_rotated",
        "extended",
        "grey",
        "grey_progressive",
        "twice",
        "many_comments",
        "optimized",
        "quality_1",
        "quality_98",
        "restart",
        "restart_progressive",
        "thumbnail_in_app",
        "trailing_garbage",
        "ycc_adobe",
    ]
    .map(str::to_owned)
    .to_vec();
    for sampling in ["420", "444"] {
        expected.extend(sides.map(|side| format!("{sampling}_{side}")));
    }
    expected.sort_unstable();
    assert_eq!(whole, expected);
}

/// The first row of a progressive file comes after all its scans, which take most of the time.
#[test]
fn scans_are_ended_before_there_are_rows() {
    struct Counting<'a> {
        asked: &'a Cell<u32>,
        before_rows: Option<u32>,
        row: Vec<u8>,
    }
    impl Rows for Counting<'_> {
        fn next_row(&mut self) -> Result<&mut [u8], ImageError> {
            self.before_rows.get_or_insert(self.asked.get());
            Ok(&mut self.row)
        }
    }
    const SIDE: usize = 3200;
    let mut encoder = mozjpeg::Compress::new(ColorSpace::JCS_GRAYSCALE);
    encoder.set_size(SIDE, SIDE);
    encoder.set_progressive_mode();
    let mut started = encoder.start_compress(Vec::new()).unwrap();
    started.write_scanlines(&[90; SIDE * SIDE]).unwrap();
    let bytes = started.finish().unwrap();
    let limits = ImageLimits::default();
    let header = crate::inspect(&bytes, &limits).unwrap();
    let asked = Cell::new(0);
    let ask = || {
        asked.set(asked.get() + 1);
        false
    };
    let job = Job {
        bytes: &bytes,
        header: &header,
        limits: &limits,
        stop: &Stop::when(&ask),
    };
    let mut rows = Counting {
        asked: &asked,
        before_rows: None,
        row: vec![0; SIDE * 3],
    };
    let decoded = plain::decode(&job, &mut rows, Vectors::Detected);
    assert_eq!(decoded, Ok(Decoded::Whole));
    assert!(rows.before_rows >= Some(1), "{:?}", rows.before_rows);
}

/// A grey picture 8 wide and 32 high, whose codes may end in ones: the means have the code 0, coefficients 00 and a
/// bit, the end of a block 01.
fn ends_in_ones(data: &[u8]) -> Vec<u8> {
    let codes = |kind: u8, counts: [u8; 2], symbols: &[u8]| {
        let length = 19 + symbols.len() as u8;
        let head = [&[0xff, 0xc4, 0, length, kind][..], &counts, &[0; 14]].concat();
        [&head, symbols].concat()
    };
    let quantization = [&[0xff, 0xdb, 0, 67, 0][..], &[16; 64]].concat();
    [
        &[0xff, 0xd8][..],
        &quantization,
        &codes(0x00, [1, 0], &[0]),
        &codes(0x10, [0, 2], &[1, 0]),
        &[0xff, 0xc0, 0, 11, 8, 0, 32, 0, 8, 1, 1, 0x11, 0],
        &[0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0],
        data,
        &[0xff, 0xd9],
    ]
    .concat()
}

/// libjpeg goes on with zeros, and this decoder with ones until it notices.
#[test]
fn rows_of_blocks_that_end_early_are_not_given() {
    let compare = |bytes: &[u8]| {
        let by_libjpeg = decoded_by(bytes, LIBJPEG);
        for decoders in OTHERS {
            assert!(by_libjpeg == decoded_by(bytes, decoders), "{bytes:x?}");
        }
        by_libjpeg.is_ok()
    };
    // 0, 00 0, 00 0, and of 01 the first.
    assert!(compare(&ends_in_ones(&[0])));
    let mut random = fastrand::Rng::with_seed(3);
    let mut decoded = 0;
    for length in 0..40 {
        for _ in 0..20 {
            let data: Vec<u8> = (0..length).map(|_| random.u8(..0xff)).collect();
            decoded += usize::from(compare(&ends_in_ones(&data)));
        }
    }
    assert!(decoded > 500, "{decoded}");
    for (name, whole) in fixtures().filter(|(_, bytes)| bytes.len() < 1500) {
        let from = whole.len() / 2;
        for end in from..whole.len() {
            let bytes = [&whole[..end], &[0xff, 0xd9]].concat();
            let by_libjpeg = decoded_by(&bytes, LIBJPEG);
            assert!(by_libjpeg == decoded_by(&bytes, OTHERS[1]), "{name} {end}");
        }
    }
}

/// A picture of areas that are flat, that rise, and of noise, by libjpeg's encoder.
fn encoded(random: &mut fastrand::Rng) -> Vec<u8> {
    let (width, height) = (random.usize(1..100), random.usize(1..70));
    let colours = if random.u8(..8) == 0 { 1 } else { 3 };
    let (tile, noise) = (random.usize(1..40), random.bool());
    let mut tiles = vec![[0_i32; 3]; (width / tile + 1) * (height / tile + 1)];
    tiles.fill_with(|| [(); 3].map(|()| random.i32(0..256)));
    let mut pixels = Vec::new();
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let colour = tiles[y / tile * (width / tile + 1) + x / tile];
        pixels.extend(colour[..colours].iter().map(|&value| {
            let noise = if noise { random.i32(-60..60) } else { 0 };
            (value + (x % tile) as i32 * 3 + noise).clamp(0, 255) as u8
        }));
    }
    let (space, sampling) = match colours {
        1 => (ColorSpace::JCS_GRAYSCALE, (1, 1)),
        _ => (
            ColorSpace::JCS_RGB,
            [(1, 1), (2, 1), (2, 2)][random.usize(..3)],
        ),
    };
    let mut encoder = mozjpeg::Compress::new(space);
    encoder.set_size(width, height);
    // Otherwise progressive, with scans as it sees fit.
    if random.u8(..3) > 0 {
        encoder.set_fastest_defaults();
    }
    encoder.set_quality(random.u8(1..=100).into());
    encoder.set_optimize_coding(random.bool());
    if colours == 3 {
        encoder.set_chroma_sampling_pixel_sizes(sampling, sampling);
    }
    let mut started = encoder.start_compress(Vec::new()).unwrap();
    started.write_scanlines(&pixels).unwrap();
    started.finish().unwrap()
}

#[test]
fn plain_files_are_decoded_as_libjpeg_does_it() {
    const FILES: usize = 1500;
    let mut random = fastrand::Rng::with_seed(7);
    let mut whole = 0;
    for _ in 0..FILES {
        let bytes = encoded(&mut random);
        let by_libjpeg = decoded_by(&bytes, LIBJPEG).unwrap();
        for decoders in OTHERS {
            assert!(by_libjpeg == decoded_by(&bytes, decoders).unwrap());
        }
        // All but some that are very narrow.
        if siglip2_jpeg::Plain::read(&bytes).is_some() {
            assert_eq!(plainly_decoded(&bytes), Some(Decoded::Whole));
            whole += 1;
        }
        // Cut short, and damaged within.
        let cut = &bytes[..random.usize(bytes.len() / 2..bytes.len())];
        assert!(decoded_by(cut, LIBJPEG) == decoded_by(cut, OTHERS[1]));
        for _ in 0..4 {
            let mut damaged = bytes.clone();
            let at = random.usize(bytes.len() / 4..bytes.len());
            damaged[at] = random.u8(..);
            let by_libjpeg = decoded_by(&damaged, LIBJPEG);
            assert!(by_libjpeg == decoded_by(&damaged, OTHERS[1]));
        }
    }
    assert!(whole > FILES * 9 / 10, "{whole}");
}

/// Blocks that are reduced have fewer samples than the portable transform writes.
#[test]
fn reduced_blocks_are_left_to_libjpeg() {
    let limits = ImageLimits {
        reduce_for: Some(crate::Target::Square { side: 4 }),
        ..ImageLimits::default()
    };
    let mut reduced = 0;
    for bytes in damaged_files() {
        let by = |decoders| {
            decode_whole(&bytes, &limits, |job, rows| {
                reduced += usize::from(job.header.reduction > 1);
                decode_by(job, rows, decoders)
            })
        };
        let [by_libjpeg, portable, plain] = [LIBJPEG, OTHERS[0], OTHERS[1]].map(by);
        assert_eq!(by_libjpeg.is_ok(), portable.is_ok());
        assert!(by_libjpeg == plain);
    }
    assert!(reduced > 450, "{reduced}");
}
