//! AVIF files give Pillow's pixels. The truth is tests/fixtures/avif/expected.json, made by
//! tools/make_avif_fixtures.py.

use std::cell::Cell;

use serde_json::Value;
use sha2::{Digest, Sha256};
use siglip2_image::{ImageError, ImageFormat, ImageLimits, Stop, decode, decode_into, inspect};

use crate::fixtures::repository;

fn file(name: &str) -> Vec<u8> {
    std::fs::read(repository("tests/fixtures/avif").join(name)).unwrap()
}

fn truth() -> serde_json::Map<String, Value> {
    let truth: Value = serde_json::from_slice(&file("expected.json")).unwrap();
    truth["files"].as_object().unwrap().clone()
}

#[test]
fn every_kind_gives_the_pixels_of_pillow() {
    let (mut equal, mut wrong) = (0, Vec::new());
    for (name, expected) in truth() {
        let ours = decode(&file(&name), &ImageLimits::default());
        match (&ours, expected["sha256"].as_str()) {
            (Ok(image), Some(sha256)) => {
                let size = (u64::from(image.width()), u64::from(image.height()));
                let theirs = (expected["width"].as_u64(), expected["height"].as_u64());
                let digest = format!("{:x}", Sha256::digest(image.pixels()));
                if theirs != (Some(size.0), Some(size.1)) || digest != sha256 {
                    wrong.push(format!("{name}: other pixels than {expected}"));
                } else {
                    equal += 1;
                }
            }
            (Err(_), None) => {}
            // libavif stretches a picture to the size that its boxes say.
            (Err(_), Some(_)) if name == "wrong_larger.avif" => {}
            _ => wrong.push(format!("{name}: {ours:?}, Pillow: {expected}")),
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(equal > 90, "{equal}");
}

/// If it is asked for, they are turned as `ImageOps.exif_transpose` turns them.
#[test]
fn pictures_are_turned_as_their_boxes_say() {
    let turning = ImageLimits {
        apply_orientation: true,
        ..ImageLimits::default()
    };
    let mut turned = 0;
    for (name, expected) in truth() {
        let Some(sha256) = expected["turned"].as_str() else {
            continue;
        };
        let image = decode(&file(&name), &turning).unwrap();
        let width = expected["turned_width"].as_u64();
        assert_eq!(width, Some(image.width().into()), "{name}");
        let digest = format!("{:x}", Sha256::digest(image.pixels()));
        assert_eq!(digest, sha256, "{name}");
        turned += 1;
    }
    assert_eq!(turned, 12);
}

/// What the boxes say is held against the bitstream before anything is decoded: nothing is
/// allocated, and nobody is asked whether to go on.
#[test]
fn contradictions_are_refused_from_the_headers() {
    for name in ["wrong_larger.avif", "wrong_zero.avif", "wrong_grid.avif"] {
        let error = inspect(&file(name), &ImageLimits::default()).unwrap_err();
        let damaged = matches!(
            error,
            ImageError::Damaged {
                format: ImageFormat::Avif,
                ..
            }
        );
        assert!(damaged, "{name}: {error:?}");
    }
    let error = inspect(&file("wrong_huge.avif"), &ImageLimits::default()).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { .. }), "{error:?}");
    assert_eq!(
        inspect(&file("wrong_larger.avif"), &ImageLimits::default())
            .unwrap_err()
            .to_string(),
        "the AVIF image is damaged: its boxes say 370 x 230 pixels, its AV1 at most 37 x 23"
    );
}

/// A file of many tiles that are all the same bytes.
#[test]
fn tiles_that_lie_over_each_other_are_refused() {
    let mut bytes = file("grid_420.avif");
    // The location of each item: number, data reference, one piece, offset, length.
    let places: Vec<usize> = (1..=7u16)
        .filter_map(|id| {
            let head = [&id.to_be_bytes()[..], &[0, 0, 0, 1]].concat();
            bytes.windows(6).position(|bytes| bytes == head)
        })
        .collect();
    assert_eq!(places.len(), 7);
    let longest = places
        .iter()
        .max_by_key(|at| bytes[**at + 10..**at + 14].to_vec())
        .copied()
        .unwrap();
    let piece = bytes[longest + 6..longest + 14].to_vec();
    for at in &places[1..] {
        bytes[at + 6..at + 14].copy_from_slice(&piece);
    }
    assert_eq!(
        decode(&bytes, &ImageLimits::default())
            .unwrap_err()
            .to_string(),
        "the AVIF image is damaged: its pictures lie over each other"
    );
}

/// Boxes that are written by hand, to say what no encoder says.
mod boxes {
    pub(super) fn plain(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        let length = u32::try_from(body.len() + 8).unwrap();
        [&length.to_be_bytes()[..], kind, &body].concat()
    }

    pub(super) fn full(kind: &[u8; 4], version: u8, parts: &[&[u8]]) -> Vec<u8> {
        plain(kind, &[&[version, 0, 0, 0], &parts.concat()])
    }

    pub(super) fn numbers(numbers: &[u16]) -> Vec<u8> {
        numbers
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect()
    }

    /// Item 1 is the picture, a grid, and item 2 a tile; the rest says where they lie, and more.
    pub(super) fn file(associations: &[u8], rest: &[&[u8]], data: &[u8]) -> Vec<u8> {
        let info = |id: u16, kind: &[u8]| full(b"infe", 2, &[&numbers(&[id, 0]), kind, &[0]]);
        let size = |side: u32| full(b"ispe", 0, &[&side.to_be_bytes(), &side.to_be_bytes()]);
        let properties = [size(100), size(64), plain(b"av1C", &[&[0x81, 0, 0, 0]])].concat();
        let meta = full(
            b"meta",
            0,
            &[
                &full(b"hdlr", 0, &[&[0; 4], b"pict", &[0; 13]]),
                &full(b"pitm", 0, &[&numbers(&[1])]),
                &full(
                    b"iinf",
                    0,
                    &[&numbers(&[2]), &info(1, b"grid"), &info(2, b"av01")],
                ),
                &plain(b"iprp", &[&plain(b"ipco", &[&properties]), associations]),
                &rest.concat(),
            ],
        );
        let brands = plain(b"ftyp", &[b"avif\0\0\0\0avifmif1"]);
        [&brands[..], &meta, &plain(b"mdat", &[data])].concat()
    }

    /// One entry of `ipma` for the grid, and this one for the tile.
    pub(super) fn associations(of_tile: &[u8]) -> Vec<u8> {
        let count = of_tile.len() as u8;
        let entries = [&[0, 1, 1, 1, 0, 2, count][..], of_tile].concat();
        full(b"ipma", 0, &[&2_u32.to_be_bytes(), &entries])
    }

    /// Where an item lies: so many pieces, each from the beginning of `idat` or of the file.
    pub(super) fn place(id: u16, pieces: u16, length: u16) -> Vec<u8> {
        let pieces_of_it = numbers(&[0, 0, 0, length]).repeat(pieces.into());
        [&numbers(&[id, 0, pieces])[..], &pieces_of_it].concat()
    }

    pub(super) fn places(places: &[&[u8]]) -> Vec<u8> {
        let count = numbers(&[0x4400, places.len() as u16]);
        full(b"iloc", 0, &[&count, &places.concat()])
    }
}

/// What a few bytes ask for is refused while the boxes are read, and not done first.
#[test]
fn boxes_that_say_much_are_refused() {
    use boxes::{associations, file, full, numbers, place, places, plain};
    let says = |file: &[u8]| {
        let error = inspect(file, &ImageLimits::default()).unwrap_err();
        error.to_string()
    };
    let usual = associations(&[2, 3]);
    let tiles = |tiles: &[u16]| {
        let count = tiles.len() as u16;
        full(
            b"iref",
            0,
            &[&plain(b"dimg", &[&numbers(&[1, count]), &numbers(tiles)])],
        )
    };

    // A grid of eight bytes, 8,000 times as much as the file.
    let long = file(
        &usual,
        &[&places(&[&place(1, 8000, 2000)]), &tiles(&[2])],
        &[0; 4000],
    );
    let said = says(&long);
    assert!(
        said.contains("its grid has more bytes than a grid has"),
        "{said}"
    );

    // Pieces of no bytes, in one box after the other, each of which has as many as are allowed.
    let nothing = [&numbers(&[0, 1, 2, 0, 16_000])[..]].concat();
    let nothing = full(b"iloc", 0, &[&nothing]);
    let said = says(&file(&usual, &[&nothing.repeat(200)], &[]));
    assert!(said.contains("two boxes"), "{said}");
    let twice = places(&[&place(2, 1, 1), &place(2, 1, 1)]);
    let said = says(&file(&usual, &[&twice], &[]));
    assert!(said.contains("the place of an item twice"), "{said}");

    // One tile again and again.
    let grid = [0, 0, 0, 1, 0, 100, 0, 100];
    let in_idat = |rest: &[&[u8]]| {
        let at = |id: u16, length: u16| numbers(&[id, 1, 0, 1, 0, 0, 0, length]);
        let count = numbers(&[0x4400, 2]);
        let iloc = full(b"iloc", 1, &[&count, &at(1, 8), &at(2, 1)]);
        file(
            &usual,
            &[&iloc, &plain(b"idat", &[&grid]), &rest.concat()],
            &[],
        )
    };
    let said = says(&in_idat(&[&tiles(&[2, 2])]));
    assert!(
        said.contains("a tile of its grid is in two places"),
        "{said}"
    );

    // A property again and again.
    let many = [associations(&[2, 3]), associations(&[100; 254]).repeat(2)].concat();
    let said = says(&file(&many, &[&tiles(&[2])], &[]));
    assert!(said.contains("more than 256 properties"), "{said}");
}

/// What libavif wants to be right, though no pixel depends on it: files of Pillow's with a few bytes
/// changed, all of which Pillow 13 refuses.
#[test]
fn boxes_that_say_the_wrong_thing_are_refused() {
    let refused = |name: &str, at: &[u8], change: &dyn Fn(&mut [u8])| {
        let mut bytes = file(name);
        let place = bytes.windows(at.len()).position(|bytes| bytes == at);
        let place = place.unwrap_or_else(|| panic!("{name} has no {at:?}"));
        change(&mut bytes[place..]);
        let error = decode(&bytes, &ImageLimits::default()).map(drop);
        assert!(error.is_err(), "{name}: {at:?} is not looked at");
    };
    let still = "pillow_RGB.avif";
    assert!(decode(&file(still), &ImageLimits::default()).is_ok());
    for (at, value) in [
        // Another box first, another version, something where nothing belongs, another kind.
        (0, b'f'),
        (4, 1),
        (8, 1),
        (12, b'v'),
    ] {
        refused(still, b"hdlr", &|bytes| bytes[at] = value);
    }
    // A list of items of another version.
    refused(still, b"meta", &|bytes| bytes[4] = 1);
    // An animation that is announced and not there, and the other way round.
    refused(still, b"mif1", &|bytes| bytes[..4].copy_from_slice(b"avis"));
    refused("pillow_RGB_animated.avif", b"meta", &|bytes| {
        bytes[0] = b'f'
    });
    // Another version of the configuration, and numbers of bits that are not those of it.
    refused(still, b"av1C", &|bytes| bytes[4] = 0x91);
    for value in [0, 5] {
        refused(still, b"pixi", &|bytes| bytes[8] = value);
    }
    for plane in 0..3 {
        refused(still, b"pixi", &|bytes| bytes[9 + plane] = 10);
    }
}

/// The tile that a grid cuts off is decoded, and so held to what pictures may have.
#[test]
fn a_tile_is_held_to_the_limits_of_a_picture() {
    let limits = ImageLimits {
        max_pixels: 1024 * 64 - 1,
        ..ImageLimits::default()
    };
    let error = inspect(&file("grid_of_one_8x8_of_1024x64.avif"), &limits).unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::TooLarge {
                width: 1024,
                height: 64,
                ..
            }
        ),
        "{error:?}"
    );
}

/// Ended before it is decoded, while its rows are converted, and between tiles.
#[test]
fn decoding_ends_when_nobody_waits() {
    for name in ["8_420.avif", "grid_444.avif", "alpha_8_420_multiplied.avif"] {
        let bytes = file(name);
        let asked = Cell::new(0);
        let stopped = || {
            asked.set(asked.get() + 1);
            true
        };
        let stop = Stop::when(&stopped);
        let limits = ImageLimits::default();
        let header = inspect(&bytes, &limits).unwrap();
        let ended = decode_into(&bytes, &header, &limits, None, &stop);
        assert_eq!(ended, Err(ImageError::Stopped), "{name}");
        assert_eq!(asked.get(), 1, "{name}: no more is asked");
    }
}

/// No byte of a file, however wrong, makes the decoder panic. The number of tries can be
/// raised with `FUZZ_TRIES`.
#[test]
fn nothing_panics_on_broken_files() {
    let tries = std::env::var("FUZZ_TRIES").map_or(4, |tries| tries.parse().unwrap());
    let limits = ImageLimits {
        max_pixels: 1_000_000,
        max_picture_bytes: 64 << 20,
        ..ImageLimits::default()
    };
    let mut random = fastrand::Rng::with_seed(2);
    for name in truth().keys() {
        let original = file(name);
        for _ in 0..tries {
            let mut bytes = original.clone();
            for _ in 0..=random.usize(..4) {
                let at = random.usize(..bytes.len());
                bytes[at] = match random.usize(..4) {
                    0 => 0,
                    1 => 0xff,
                    2 => bytes[at] ^ 1 << random.usize(..8),
                    _ => random.u8(..),
                };
            }
            if random.usize(..8) == 0 {
                bytes.truncate(1 + random.usize(..bytes.len()));
            }
            if let Ok(image) = decode(&bytes, &limits) {
                let length = image.width() as usize * image.height() as usize * 3;
                assert_eq!(image.pixels().len(), length, "{name}");
            }
        }
    }
}
