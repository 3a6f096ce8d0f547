//! What measured cosines and ranks say of an engine: whether it may be used, and in which words.

use std::fmt;

use super::{Cosines, Place, SmallCosines};
use siglip2_engine::Tower;
use siglip2_model::graph::Precision;

/// An engine with a lower cosine to the FP32 vectors is not used. Known faults of fused attention
/// fall to 0.65 and less.
pub const LEAST_COSINE: f64 = 0.999;

/// A lower cosine is worth a warning: the products of a sound graph stay above it in FP16 and in
/// BF16 (docs/precision.md).
pub const USUAL_COSINE: f64 = 0.9999;

/// What an engine of a precision is held to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// An engine with a lower cosine is not used.
    pub least: f64,
    /// A lower cosine is worth a warning.
    pub usual: f64,
    /// An engine that orders a smaller share of pairs as FP32 does is not used; 0 where cosines
    /// alone decide.
    pub least_ranks: f64,
}

impl Bounds {
    /// Those of a precision. In FP8 products have four bits, so vectors are further from FP32's
    /// without a fault, and it matters what that does to ranks.
    pub const fn of(precision: Precision) -> Self {
        match precision {
            Precision::Fp32 | Precision::Fp16 | Precision::Bf16 => Self {
                least: LEAST_COSINE,
                usual: USUAL_COSINE,
                least_ranks: 0.0,
            },
            Precision::Fp8 => Self {
                least: 0.99,
                usual: 0.995,
                least_ranks: 0.95,
            },
        }
    }
}

impl Cosines {
    /// A sentence about what is wrong with an engine of this precision, if it must not be used:
    /// the tower that is furthest below its bound, or ranks that change.
    pub fn fault(&self, precision: Precision) -> Option<String> {
        let on = &self.measured_on;
        let refused = |precision: Precision, (worst, said): (f64, String)| {
            let Bounds { least, .. } = Bounds::of(precision);
            let advice = match precision {
                Precision::Fp8 => {
                    "calibrate it with pictures and texts like those that it will embed, or use \
                     --precision fp16"
                }
                _ => "use another TensorRT version or --precision fp32",
            };
            (worst.is_nan() || worst < least).then(|| {
                format!(
                    "the engine gives wrong vectors on {on}: {said}, and must have at least \
                     {least}; {advice}"
                )
            })
        };
        let Bounds { least_ranks, .. } = Bounds::of(precision);
        let small = || refused(Precision::Fp16, self.small.as_ref()?.worst());
        let ranks = || {
            let ranks = self
                .ranks
                .filter(|ranks| ranks.is_nan() || *ranks < least_ranks)?;
            Some(format!(
                "the engine ranks the canaries in another order on {on}: {:.1}% of the pairs are \
                 in FP32's, and {:.0}% must be; calibrate it with pictures and texts like those \
                 that it will embed, or use --precision fp16",
                ranks * 100.0,
                least_ranks * 100.0
            ))
        };
        refused(precision, self.worst())
            .or_else(small)
            .or_else(ranks)
    }

    /// A sentence that names the worst tower, if one can be used but is less exact than usual in
    /// this precision.
    pub fn doubt(&self, precision: Precision) -> Option<String> {
        let doubted = |precision: Precision, (worst, said): (f64, String)| {
            let Bounds { least, usual, .. } = Bounds::of(precision);
            let closer = match precision {
                Precision::Fp8 => "fp16 is closer",
                _ => "bf16 or fp32 may be closer",
            };
            (least..usual).contains(&worst).then(|| {
                format!(
                    "the engine's vectors are less exact than usual on {}: {said}, and usually at \
                     least {usual}; --precision {closer}",
                    self.measured_on
                )
            })
        };
        let small = || doubted(Precision::Fp16, self.small.as_ref()?.worst());
        doubted(precision, self.worst()).or_else(small)
    }

    /// The lower of the two, and a clause about it.
    fn worst(&self) -> (f64, String) {
        worst((self.image, self.image_at), (self.text, self.text_at))
    }
}

/// For people: `image 0.999980, text 0.999990, on NVIDIA L4`.
impl fmt::Display for Cosines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "image {:.6}, text {:.6}", self.image, self.text)?;
        if let Some(SmallCosines { image, text, .. }) = self.small {
            write!(f, " (small batches: image {image:.6}, text {text:.6})")?;
        }
        if let Some(ranks) = self.ranks {
            write!(f, ", {:.1}% of ranks the same", ranks * 100.0)?;
        }
        write!(f, ", on {}", self.measured_on)
    }
}

/// For people: `a batch of 12 with 256 patches each (slot 2)`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a batch of {}", self.rows)?;
        if let Some(patches) = self.patches {
            write!(f, " with {patches} patches each")?;
        }
        write!(f, " (slot {})", self.slot)
    }
}

impl SmallCosines {
    fn worst(&self) -> (f64, String) {
        worst((self.image, self.image_at), (self.text, self.text_at))
    }
}

/// The lower of both towers' cosines, and a clause about it.
fn worst(image: (f64, Option<Place>), text: (f64, Option<Place>)) -> (f64, String) {
    let (tower, (worst, at)) = match image.0 < text.0 || image.0.is_nan() {
        true => (Tower::Image, image),
        false => (Tower::Text, text),
    };
    let place = at.map_or_else(String::new, |at| format!(" in {at}"));
    let said =
        format!("the {tower} tower's canary has cosine {worst:.6} to its FP32 vector{place}");
    (worst, said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosines(image: f64, text: f64) -> Cosines {
        Cosines {
            image,
            text,
            image_at: Some(Place {
                rows: 4,
                patches: None,
                slot: 2,
            }),
            text_at: None,
            small: None,
            ranks: None,
            measured_on: "a GPU".into(),
        }
    }

    #[test]
    fn what_is_wrong_is_refused_and_what_is_doubtful_is_said() {
        for (image, text, refused, doubted) in [
            (1.0, 1.0, false, false),
            (0.9999, 0.9999, false, false),
            (0.999_89, 1.0, false, true),
            (1.0, 0.999, false, true),
            (0.998_99, 1.0, true, false),
            (0.65, 0.9995, true, false),
            (f64::NAN, 1.0, true, false),
            (1.0, f64::NAN, true, false),
        ] {
            let cosines = cosines(image, text);
            for precision in [Precision::Fp16, Precision::Bf16, Precision::Fp32] {
                let said = (cosines.fault(precision), cosines.doubt(precision));
                let said = (said.0.is_some(), said.1.is_some());
                assert_eq!(said, (refused, doubted), "{image} {text} {precision}");
            }
        }
        let said = cosines(0.5, 1.0).fault(Precision::Fp16).unwrap();
        assert!(said.contains("in a batch of 4 (slot 2)"), "{said}");
    }

    /// FP8 has bounds of its own, its small batches those of FP16, in which they are computed,
    /// and its ranks are looked at as well.
    #[test]
    fn fp8_is_held_to_its_own_bounds_and_its_small_batches_to_those_of_fp16() {
        let small = |image, text| {
            Some(SmallCosines {
                image,
                text,
                image_at: Some(Place {
                    rows: 16,
                    patches: None,
                    slot: 1,
                }),
                text_at: Some(Place {
                    rows: 8,
                    patches: None,
                    slot: 2,
                }),
            })
        };
        for (image, text, small, ranks, refused, doubted) in [
            (0.998, 0.997, small(0.9999, 1.0), 1.0, None, None),
            (0.994, 0.997, small(1.0, 1.0), 0.95, None, Some("0.995")),
            (0.998, 0.9899, None, 1.0, Some("at least 0.99;"), None),
            (
                0.998,
                0.998,
                small(0.998, 1.0),
                1.0,
                Some("at least 0.999;"),
                None,
            ),
            (
                0.998,
                0.998,
                small(1.0, 0.9995),
                1.0,
                None,
                Some("at least 0.9999;"),
            ),
            (
                0.998,
                0.998,
                small(f64::NAN, 1.0),
                1.0,
                Some("batch of 16"),
                None,
            ),
            (0.998, 0.998, None, 0.94, Some("94.0% of the pairs"), None),
            (0.998, 0.998, None, f64::NAN, Some("NaN"), None),
        ] {
            let cosines = Cosines {
                small,
                ranks: Some(ranks),
                ..cosines(image, text)
            };
            for (said, wanted) in [
                (cosines.fault(Precision::Fp8), refused),
                (cosines.doubt(Precision::Fp8), doubted),
            ] {
                match (&said, wanted) {
                    (Some(said), Some(part)) => assert!(said.contains(part), "{said}"),
                    _ => assert_eq!(said.is_some(), wanted.is_some(), "{said:?}"),
                }
            }
        }
    }
}
