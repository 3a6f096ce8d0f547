//! Which JPEGs another decoder may have: intact baseline ones, and no others.

use siglip2_image::{ImageLimits, IntactJpeg, RgbImage, decode};

use crate::jpegs::{baseline, grey, progressive, waves};

fn limits() -> ImageLimits {
    ImageLimits::default()
}

fn is_taken(file: &[u8]) -> bool {
    IntactJpeg::read(file, &limits()).is_some()
}

/// What another decoder is given of a file.
fn given(file: &[u8]) -> Vec<u8> {
    let intact = IntactJpeg::read(file, &limits()).expect("an intact file");
    let mut bytes = vec![0; intact.file_bytes()];
    assert!(intact.write_to(&mut bytes));
    assert!(!intact.write_to(&mut vec![0; bytes.len() + 1]));
    bytes
}

fn pixels(file: &[u8]) -> RgbImage {
    decode(file, &limits()).unwrap()
}

/// By Pillow: 4:2:0, optimized tables, a restart marker after each row of units, EXIF data.
const RESTARTS: &[u8] = include_bytes!("../fixtures/restarts.jpg");

#[test]
fn plain_files_are_taken_and_stay_the_same_pictures() {
    for (width, height) in [(256, 256), (257, 263), (640, 111), (1000, 700)] {
        for sharing in [(1, 1), (2, 1), (2, 2)] {
            let file = baseline(&waves(width, height, 1), sharing);
            let given = given(&file);
            assert_eq!(
                pixels(&given),
                pixels(&file),
                "{width} x {height} {sharing:?}"
            );
            let intact = IntactJpeg::read(&file, &limits()).unwrap();
            assert_eq!((intact.width(), intact.height()), (width, height));
        }
    }
    assert_eq!(pixels(&given(RESTARTS)), pixels(RESTARTS));
}

#[test]
fn what_is_not_needed_is_left_out() {
    let file = baseline(&waves(256, 256, 2), (2, 2));
    let mut more = file[..2].to_vec();
    more.extend(b"\xff\xe2\0\x12a profile, or so");
    more.extend(b"\xff\xfe\0\x08a note");
    more.extend(&file[2..]);
    more.extend(b"a second picture for the other eye");
    assert_eq!(given(&more), given(&file));
    assert!(!given(RESTARTS).windows(4).any(|bytes| bytes == b"Exif"));
}

#[test]
fn unusual_files_are_not_taken() {
    let image = waves(300, 300, 3);
    assert!(is_taken(&baseline(&image, (2, 2))));
    for (what, file) in [
        ("progressive", progressive(&image)),
        ("grey", grey(&image)),
        ("4:4:0", baseline(&image, (1, 2))),
        ("4:1:1", baseline(&image, (4, 1))),
        ("small", baseline(&waves(255, 256, 3), (2, 2))),
        ("no JPEG", b"GIF89a".to_vec()),
    ] {
        assert!(!is_taken(&file), "{what}");
    }
    // Colours that are no YCbCr.
    let file = baseline(&image, (1, 1));
    let adobe = |transform: u8| {
        let marker = [
            b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0".as_slice(),
            &[transform],
        ]
        .concat();
        [&file[..2], &marker, &file[2..]].concat()
    };
    assert!(is_taken(&adobe(1)));
    assert!(!is_taken(&adobe(0)) && !is_taken(&adobe(2)));
    // Within other limits.
    let few = ImageLimits {
        max_pixels: 80_000,
        ..limits()
    };
    assert!(IntactJpeg::read(&file, &few).is_none());
    let little = ImageLimits {
        max_picture_bytes: 200_000,
        ..limits()
    };
    assert!(IntactJpeg::read(&file, &little).is_none());
}

#[test]
fn a_file_that_was_cut_or_filled_up_is_not_taken() {
    for file in [baseline(&waves(256, 300, 4), (2, 2)), RESTARTS.to_vec()] {
        for length in (0..file.len())
            .step_by(7)
            .chain(file.len() - 40..file.len())
        {
            assert!(!is_taken(&file[..length]), "{length} of {}", file.len());
            // The same with an end marker: libjpeg fills up what is missing.
            let ended = [&file[..length], b"\xff\xd9"].concat();
            let whole = length + 2 == file.len();
            assert_eq!(is_taken(&ended), whole, "{length} of {}", file.len());
        }
        // A marker within the data.
        let middle = file.len() - 500;
        for more in [[0xff_u8, 0xd3], [0xff, 0xd9], [0xff, 0xc0]] {
            let longer = [&file[..middle], &more, &file[middle..]].concat();
            assert!(!is_taken(&longer), "{more:?}");
        }
    }
}

#[test]
fn restart_markers_are_in_order() {
    let marker = |number: u8| {
        let bytes = [0xff, 0xd0 + number];
        RESTARTS.windows(2).position(|at| at == bytes).unwrap()
    };
    let mut exchanged = RESTARTS.to_vec();
    exchanged[marker(1) + 1] = 0xd2;
    assert!(!is_taken(&exchanged));
    let missing = [&RESTARTS[..marker(2)], &RESTARTS[marker(2) + 2..]].concat();
    assert!(!is_taken(&missing));
}

/// A flipped bit may leave a file that is sound, of another picture. What is taken, libjpeg decodes.
#[test]
fn what_is_taken_of_damaged_files_can_be_decoded() {
    let file = baseline(&waves(256, 256, 5), (2, 2));
    let (mut taken, mut left) = (0, 0);
    for at in (2..file.len() - 2).step_by(file.len() / 1500 + 1) {
        let mut damaged = file.clone();
        damaged[at] ^= 1 << (at % 8);
        match is_taken(&damaged) {
            true => {
                taken += 1;
                assert_eq!(pixels(&given(&damaged)), pixels(&damaged), "byte {at}");
            }
            false => left += 1,
        }
    }
    assert!(taken > 0 && left > 100, "{taken} taken, {left} left");
}
