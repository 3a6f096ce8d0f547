//! Rows in fewer bits, in the one way in which all paths write them. docs/vectors.md says what
//! each form costs.

/// `round(127 * x / max|x|)`, -127 to 127. The scale is the row's own, so that its largest value
/// uses the whole range: a cosine is the same at any scale.
pub(crate) fn int8(row: &[f32]) -> impl Iterator<Item = i8> {
    let largest = f64::from(largest(row));
    let scale = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    row.iter()
        .map(move |&x| (f64::from(x) * scale).round() as i8)
}

/// What an [`int8`] of the row is multiplied by to get back the float, or nearly so.
pub(crate) fn int8_scale(row: &[f32]) -> f32 {
    largest(row) / 127.0
}

/// The largest value of a row, whatever its sign.
fn largest(row: &[f32]) -> f32 {
    row.iter().fold(0.0, |most, x| most.max(x.abs()))
}

/// A bit for each value, 1 where it is above 0, eight in a byte, the first one highest.
pub(crate) fn bits(row: &[f32]) -> impl Iterator<Item = u8> {
    row.chunks(8).map(|chunk| {
        let bits = chunk.iter().enumerate();
        bits.fold(0, |byte, (at, &x)| byte | (u8::from(x > 0.0) << (7 - at)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_gives_the_floats_back_within_half_a_step() {
        let row = [0.5, -1.0, 0.0, 0.25, 0.123];
        let scale = int8_scale(&row);
        for (x, value) in int8(&row).zip(row) {
            assert!((f32::from(x) * scale - value).abs() <= scale / 2.0);
        }
        assert_eq!(int8_scale(&[0.0; 4]), 0.0);
        assert!(int8(&[0.0; 4]).all(|x| x == 0));
    }

    #[test]
    fn bits_are_those_of_packbits() {
        // np.packbits(x > 0)
        let row = [0.5, -1.0, 0.0, 0.25, 1e-9, -0.0, 0.1, 0.2, 0.3, -0.3];
        assert_eq!(bits(&row).collect::<Vec<_>>(), [155, 128]);
    }
}
