//! Arithmetic on vectors, in doubles: the square of any float is one of them, so that no product
//! overflows and none vanishes.

/// The cosine of two vectors of any length; not a number if one is zero or not finite.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()) as f32
}

/// The length of a vector.
pub(crate) fn length(vector: &[f32]) -> f32 {
    dot(vector, vector).sqrt() as f32
}

/// The index of the row that is nearest to a vector; nothing if the vector has no direction.
pub(crate) fn nearest(vector: &[f32], rows: &[Vec<f32>]) -> Option<usize> {
    let cosines = rows.iter().map(|row| cosine(vector, row)).enumerate();
    cosines
        .filter(|(_, cosine)| cosine.is_finite())
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(index, _)| index)
}

/// Whether a cosine is lower than another. One that is not a number is lower than all others.
pub(crate) fn is_lower(cosine: f32, other: f32) -> bool {
    match (cosine.is_finite(), other.is_finite()) {
        (true, true) => cosine < other,
        (finite, other_is_finite) => !finite && other_is_finite,
    }
}

/// Whether a number is so near to another. One that is not a number is near to none.
pub(crate) fn is_near(number: f32, other: f32, tolerance: f32) -> bool {
    (number - other).abs() <= tolerance
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum()
}

#[cfg(test)]
mod tests {
    use super::{cosine, is_lower, is_near, length, nearest};

    #[test]
    fn a_cosine_does_not_depend_on_lengths() {
        for scale in [1e-30, 1.0, 1e30] {
            let long = [3.0 * scale, 4.0 * scale];
            assert!((cosine(&long, &[1.0, 0.0]) - 0.6).abs() < 1e-6, "{scale}");
            assert!((length(&long) / scale - 5.0).abs() < 1e-5, "{scale}");
        }
    }

    #[test]
    fn what_has_no_direction_is_lowest_and_near_to_nothing() {
        for broken in [[0.0, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0]] {
            let none = cosine(&broken, &[1.0, 0.0]);
            assert!(!none.is_finite(), "{broken:?}");
            assert!(is_lower(none, -1.0), "{broken:?}");
            assert!(!is_lower(-1.0, none), "{broken:?}");
            assert!(!is_lower(none, f32::NAN), "{broken:?}");
            assert!(!is_near(none, 1.0, 9.0), "{broken:?}");
            assert_eq!(nearest(&broken, &[vec![1.0, 0.0]]), None, "{broken:?}");
        }
        assert!(is_lower(0.5, 0.6) && !is_lower(0.6, 0.5));
        assert_eq!(
            nearest(&[0.0, 2.0], &[vec![1.0, 0.0], vec![1.0, 3.0]]),
            Some(1)
        );
    }
}
