//! The windows and weights that a device gets, applied as a device applies them, give the
//! bytes of the CPU's resize, which are transformers' (resize.rs).

use crate::noise::{extremes, noise, processor};
use serde_json::json;
use siglip2_image::{Coefficients, Filter, RgbImage};

/// One pass over lines which are `step` pixels apart, and whose pixels are `stride` apart.
fn pass(
    coefficients: &Coefficients,
    source: &[u8],
    (lines, step, stride): (usize, usize, usize),
    target: &mut [u8],
    (target_step, target_stride): (usize, usize),
) {
    let precision = coefficients.precision();
    let source = source.as_chunks::<3>().0;
    let target = target.as_chunks_mut::<3>().0;
    for (at, window) in coefficients.windows().enumerate() {
        for line in 0..lines {
            let pixels = source[line * step + window.start as usize * stride..].iter();
            let mut sums = [1_i32 << (precision - 1); 3];
            for (pixel, weight) in pixels.step_by(stride).zip(window.weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * i32::from(*weight);
                }
            }
            target[line * target_step + at * target_stride] =
                sums.map(|sum| (sum >> precision).clamp(0, 255) as u8);
        }
    }
}

/// The width first, then the height, each only where it changes something.
fn resized(image: &RgbImage, filter: Filter, size: u32) -> Vec<u8> {
    let (width, height, side) = (
        image.width() as usize,
        image.height() as usize,
        size as usize,
    );
    let mut narrowed = image.pixels().to_vec();
    if width != side {
        let coefficients = Coefficients::new(filter, image.width(), size);
        narrowed = vec![0; side * height * 3];
        let (source, target) = ((height, width, 1), (side, 1));
        pass(&coefficients, image.pixels(), source, &mut narrowed, target);
    }
    if height == side {
        return narrowed;
    }
    let coefficients = Coefficients::new(filter, image.height(), size);
    let mut square = vec![0; side * side * 3];
    pass(
        &coefficients,
        &narrowed,
        (side, 1, side),
        &mut square,
        (1, side),
    );
    square
}

#[test]
fn coefficients_give_the_bytes_of_the_resize() {
    for resample in 0..4 {
        for size in [1, 30, 64, 224] {
            let processor = processor(size, json!({"resample": resample})).unwrap();
            let filter = processor.filter();
            let mut sizes: Vec<(u32, u32)> = [
                (1, 1),
                (1, 9),
                (9, 1),
                (2, 3),
                (7, 5),
                (75, 25),
                (100, 100),
                (97, 211),
                (301, 17),
                (640, 3),
                (3, 640),
                (4000, 2),
                (65_535, 1),
                (1, 65_535),
            ]
            .into();
            for side in [size - 1, size, size + 1, 2 * size, 3 * size] {
                if side > 0 {
                    sizes.extend([(side, 50), (50, side)]);
                }
            }
            for (width, height) in sizes {
                for image in [noise(width, height, 7), extremes(width, height, 11)] {
                    let expected = processor.resize(&image).unwrap();
                    assert!(
                        resized(&image, filter, size) == expected.pixels(),
                        "{width} x {height} to {size}, {filter:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn windows_lie_in_the_source_and_are_no_longer_than_promised() {
    for filter in [
        Filter::Nearest,
        Filter::Bilinear,
        Filter::Bicubic,
        Filter::Lanczos,
    ] {
        for size in [1, 7, 64, 224, 512] {
            for length in (1..=1100).chain([4000, 8191, 8192, 65_534, 65_535]) {
                if length > 600 && size > 7 && length % 13 != 0 && length < 4000 {
                    continue;
                }
                let coefficients = Coefficients::new(filter, length, size);
                let longest = Coefficients::longest(filter, length, size);
                assert_eq!(coefficients.windows().len(), size as usize);
                assert!((1..=22).contains(&coefficients.precision()));
                for window in coefficients.windows() {
                    let count = window.weights.len();
                    assert!(
                        count > 0 && count <= longest,
                        "{length} to {size}, {filter:?}"
                    );
                    assert!(window.start as usize + count <= length as usize);
                }
            }
        }
    }
}
