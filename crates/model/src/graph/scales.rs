//! What a graph in FP8 quantizes, and by which scales.
//!
//! ```text
//! the CPU engine over pictures and texts --largest magnitudes--> Scales --> graph
//! ```
//!
//! FP8 is E4M3: four bits of exponent, three of fraction, at most 448. A number `x` is kept as
//! `x / scale`, rounded. A scale is a power of two: being a floating-point format, E4M3 rounds
//! relatively and gains nothing from a finer one, and powers of two are exact in FP16, which is
//! the type that scales have in a graph.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Precision;

/// The largest number of E4M3 without infinities.
pub(super) const LARGEST: f32 = 448.0;

/// The smallest and the largest power of two that FP16 has, as exponents.
const EXPONENTS: (i32, i32) = (-24, 15);

/// The scales of the activations that a graph quantizes, by the names of what they enter: a name
/// of the checkpoint's such as `vision_model.encoder.layers.0.mlp.fc1`, or that of an attention
/// with `qkv` (what its three projections take), `q`, `k`, `v` and `softmax` (what its two
/// products take) behind it. What has no scale is not quantized, and a product is computed in FP8
/// if both of its sides are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scales(BTreeMap<String, f32>);

/// An activation has no largest magnitude.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "what enters {name} is not finite on the CPU: the checkpoint is damaged, or overflows even in \
     FP32"
)]
pub struct NotFinite {
    /// The activation.
    pub name: String,
}

impl Scales {
    /// Scales for activations whose largest magnitudes are these. All numbers up to twice as large
    /// are inside the range; what is larger is clamped.
    ///
    /// # Errors
    ///
    /// When a magnitude is not finite.
    pub fn of(largest: impl IntoIterator<Item = (String, f32)>) -> Result<Self, NotFinite> {
        let scale = |(name, largest): (String, f32)| match largest.is_finite() {
            true => Ok((name, power_of_two(2.0 * largest / LARGEST))),
            false => Err(NotFinite { name }),
        };
        largest
            .into_iter()
            .map(scale)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The scale of the activation `name`, if it is quantized.
    pub fn get(&self, name: &str) -> Option<f32> {
        self.0.get(name).copied()
    }

    /// How many activations are quantized.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The activations and their scales, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f32)> {
        self.0.iter().map(|(name, &scale)| (name.as_str(), scale))
    }
}

/// The smallest power of two that is at least `scale`, of those that FP16 has.
pub(super) fn power_of_two(scale: f32) -> f32 {
    let (least, most) = EXPONENTS;
    let exponent = (least..=most).find(|&exponent| 2_f32.powi(exponent) >= scale);
    2_f32.powi(exponent.unwrap_or(most))
}

/// What a graph computes its products in: a precision, and in FP8 the scales.
#[derive(Clone, Copy, Debug)]
pub struct Products<'a> {
    pub(super) precision: Precision,
    pub(super) scales: Option<&'a Scales>,
}

impl Products<'_> {
    /// The precision.
    pub fn precision(self) -> Precision {
        self.precision
    }
}

/// [`Precision::Fp8`] without scales quantizes nothing, and so is FP16.
impl From<Precision> for Products<'_> {
    fn from(precision: Precision) -> Self {
        Self {
            precision,
            scales: None,
        }
    }
}

/// FP8.
impl<'a> From<&'a Scales> for Products<'a> {
    fn from(scales: &'a Scales) -> Self {
        Self {
            precision: Precision::Fp8,
            scales: Some(scales),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_powers_of_two_that_twice_the_largest_fits() {
        let of = |largest: f32| {
            let scales = Scales::of([("x".to_owned(), largest)]);
            scales.unwrap().get("x").unwrap()
        };
        for largest in [1e-3, 0.7, 1.0, 3.5, 224.0, 448.0, 9_000.0] {
            let scale = of(largest);
            assert_eq!(scale.log2().fract(), 0.0, "{largest}");
            assert!(2.0 * largest <= LARGEST * scale, "{largest}: {scale}");
            assert!(4.0 * largest > LARGEST * scale, "{largest}: {scale}");
        }
        assert_eq!((of(224.0), of(224.1)), (1.0, 2.0));
        // As small and as large as FP16 has them.
        assert_eq!((of(0.0), of(1e30)), (2_f32.powi(-24), 32_768.0));
    }

    #[test]
    fn a_magnitude_that_is_not_finite_is_named() {
        let largest = [("a", 1.0), ("b", f32::NAN)].map(|(name, it)| (name.to_owned(), it));
        let name = "b".to_owned();
        assert_eq!(Scales::of(largest), Err(NotFinite { name }));
    }
}
