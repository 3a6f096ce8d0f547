//! The resize where so many source pixels make a target pixel that weights have one bit more
//! than `fast_image_resize` gives them: from 128 to 1 on.
//!
//! The same two passes over the same windows as a device makes them from [`Coefficients`],
//! and in plain code: what takes its time here is the decoding of so large a picture.

use super::coefficients::Coefficients;
use crate::processor::Filter;

/// Whether a pass is one of those.
pub(super) fn is_far(filter: Filter, length: u32, size: u32) -> bool {
    // No filter has a weight of 1/128 where this is not so.
    length / 64 > size && Coefficients::new(filter, length, size).precision() > 21
}

/// One pass along rows: `height` rows of `length` pixels to rows of `size`.
pub(super) fn along_rows(filter: Filter, source: &[u8], length: u32, size: u32, out: &mut [u8]) {
    let coefficients = Coefficients::new(filter, length, size);
    let rows = source.chunks_exact(length as usize * 3);
    for (row, out) in rows.zip(out.chunks_exact_mut(size as usize * 3)) {
        let pixels = row.as_chunks::<3>().0;
        for (window, out) in coefficients.windows().zip(out.as_chunks_mut::<3>().0) {
            let mut sums = [1 << (coefficients.precision() - 1); 3];
            let under = pixels.get(window.start as usize..).unwrap_or_default();
            for (pixel, &weight) in under.iter().zip(window.weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * i32::from(weight);
                }
            }
            *out = sums.map(|sum| byte(sum, coefficients.precision()));
        }
    }
}

/// One pass along columns: `length` rows of `width` pixels to `size` rows.
pub(super) fn along_columns(
    filter: Filter,
    source: &[u8],
    (width, length): (u32, u32),
    size: u32,
    out: &mut [u8],
) {
    let coefficients = Coefficients::new(filter, length, size);
    let row_bytes = width as usize * 3;
    let mut sums = vec![0; row_bytes];
    for (window, out) in coefficients.windows().zip(out.chunks_exact_mut(row_bytes)) {
        sums.fill(1 << (coefficients.precision() - 1));
        let rows = source.chunks_exact(row_bytes).skip(window.start as usize);
        for (row, &weight) in rows.zip(window.weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * i32::from(weight);
            }
        }
        for (out, &sum) in out.iter_mut().zip(&sums) {
            *out = byte(sum, coefficients.precision());
        }
    }
}

fn byte(sum: i32, precision: u32) -> u8 {
    (sum >> precision).clamp(0, 255) as u8
}
