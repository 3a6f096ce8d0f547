//! Colour arithmetic that the formats share, with the formulas of Pillow's
//! `src/libImaging/Convert.c` (13.0). Each function fills RGB triples, and leaves those
//! black for which there is nothing.

/// `a * b / 255`, rounded: Pillow's `MULDIV255`.
#[inline]
fn mul_div_255(a: u8, b: u8) -> u8 {
    let t = u32::from(a) * u32::from(b) + 128;
    (((t >> 8) + t) >> 8) as u8
}

/// One CMYK pixel (0 is no ink) to RGB: Pillow's `cmyk2rgb`.
#[inline]
fn cmyk_pixel([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    let light = 255 - k;
    [c, m, y].map(|ink| light - mul_div_255(ink, light))
}

/// Puts one triple after another into `rgb`.
pub(super) fn fill(rgb: &mut [u8], pixels: impl IntoIterator<Item = [u8; 3]>) {
    for (to, pixel) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
        *to = pixel;
    }
}

/// CMYK pixels of `step` bytes (0 is no ink) to RGB triples; what is behind the four is
/// left out.
pub(super) fn cmyk_to_rgb(cmyk: &[u8], step: usize, rgb: &mut [u8]) {
    let pixels = cmyk.chunks_exact(step);
    fill(rgb, pixels.map(|p| cmyk_pixel([p[0], p[1], p[2], p[3]])));
}

/// CMYK in Adobe's polarity (255 is no ink), as JPEG files have it, to RGB triples.
pub(super) fn inverted_cmyk_to_rgb(cmyk: &[u8], rgb: &mut [u8]) {
    let pixels = cmyk.as_chunks::<4>().0.iter();
    fill(
        rgb,
        pixels.map(|pixel| cmyk_pixel(pixel.map(|ink| 255 - ink))),
    );
}

/// YCbCr to RGB with Pillow's arithmetic (`ConvertYCbCr.c`): products in 64ths, cut towards 0
/// when its tables were made.
pub(super) fn ycc_as_pillow([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let product =
        |chroma: u8, factor: f64| (f64::from(i32::from(chroma) - 128) * factor * 64.0 + 0.5) as i32;
    let add = |sum: i32| (i32::from(y) + (sum >> 6)).clamp(0, 255) as u8;
    [
        add(product(cr, 1.402)),
        add(product(cb, -0.34414) + product(cr, -0.71414)),
        add(product(cb, 1.772)),
    ]
}

/// Grey bytes to RGB triples.
pub(super) fn grey_to_rgb(grey: impl IntoIterator<Item = u8>, rgb: &mut [u8]) {
    fill(rgb, grey.into_iter().map(|value| [value; 3]));
}

/// The first three bytes of each group of `N`: drops alpha and other extra channels.
pub(super) fn drop_extra<const N: usize>(pixels: &[u8], rgb: &mut [u8]) {
    let pixels = pixels.as_chunks::<N>().0.iter();
    fill(rgb, pixels.map(|pixel| [pixel[0], pixel[1], pixel[2]]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_rounded_as_in_pillow() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let exact = (f64::from(a) * f64::from(b) / 255.0).round();
                assert_eq!(f64::from(mul_div_255(a, b)), exact, "{a} * {b}");
            }
        }
    }
}
