//! YCbCr to RGB in the fixed-point numbers of libjpeg (ITU-T T.871, 16 bits behind the point), computed in 16 bits
//! where that is exact, so that more fit side by side.

/// 0.402, of the 1.402 that red has of Cr; 65536 of it are one.
pub(crate) const RED: i32 = 26345;
/// 0.228, of the 1.772 that blue has of Cb: 2 less this.
pub(crate) const BLUE: i32 = -14942;
/// -0.34414, that green has of Cb.
pub(crate) const GREEN_BLUE: i32 = -22554;
/// 0.28586, of the -0.71414 that green has of Cr: this less 1.
pub(crate) const GREEN_RED: i32 = 65536 - 46802;

/// Converts a row, as long as the shortest of all.
#[inline(always)]
pub(crate) fn ycc_to_rgb(light: &[u8], blue: &[u8], red: &[u8], out: &mut [u8]) {
    let samples = light.iter().zip(blue).zip(red);
    for (pixel, ((&light, &blue), &red)) in out.as_chunks_mut::<3>().0.iter_mut().zip(samples) {
        *pixel = rgb(light, blue, red);
    }
}

/// Grey: all three are the brightness.
#[inline(always)]
pub(crate) fn gray_to_rgb(light: &[u8], out: &mut [u8]) {
    for (pixel, &light) in out.as_chunks_mut::<3>().0.iter_mut().zip(light) {
        *pixel = [light; 3];
    }
}

#[inline(always)]
fn rgb(light: u8, blue: u8, red: u8) -> [u8; 3] {
    let [light, blue, red] = [light.into(), i16::from(blue) - 128, i16::from(red) - 128];
    let green =
        ((i32::from(blue) * GREEN_BLUE + i32::from(red) * GREEN_RED + (1 << 15)) >> 16) as i16;
    [
        light + red + rounded(red, RED),
        light - red + green,
        light + 2 * blue + rounded(blue, BLUE),
    ]
    .map(|value| value.clamp(0, 255) as u8)
}

/// `value` times `by` / 65536, rounded. Half of a number that was rounded down is rounded as the number itself.
#[inline(always)]
fn rounded(value: i16, by: i32) -> i16 {
    let double = ((i32::from(2 * value) * by) >> 16) as i16;
    (double + 1) >> 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in libjpeg's tables (jdcolor.c).
    #[test]
    fn every_colour_is_the_one_of_the_formula() {
        let fixed = |number: f64| (number * 65536.0 + 0.5) as i32;
        let half = 1 << 15;
        for blue in 0..=255_u8 {
            for red in 0..=255_u8 {
                let [cb, cr] = [blue, red].map(|it| i32::from(it) - 128);
                let r = (fixed(1.402) * cr + half) >> 16;
                let b = (fixed(1.772) * cb + half) >> 16;
                let g = (-fixed(0.34414) * cb - fixed(0.71414) * cr + half) >> 16;
                for light in [0, 1, 100, 128, 254, 255_u8] {
                    let expected = [r, g, b].map(|it| (i32::from(light) + it).clamp(0, 255) as u8);
                    assert_eq!(rgb(light, blue, red), expected, "{light} {blue} {red}");
                }
            }
        }
    }
}
