//! Checks an engine's vectors against the canary's, which were computed in FP32.
//!
//! Every batch size has kernels of its own, and every slot its own contexts and graphs, so each
//! of them is checked: a fault of one size, or of one slot, shows in no other. Where pictures are
//! of variable resolution, every number of patches has a canary of its own.

use std::sync::mpsc;

use super::{BatchSize, Canary, Cosines, Manifest, Place};
use siglip2_engine::{Batch, Completion, Engine, EngineError, Pixels, Rows, Tower, cosine};
use siglip2_image::RgbImage;

/// An engine with a lower cosine to the FP32 vectors is not used. Known faults of fused attention
/// fall to 0.65 and less.
pub const LEAST_COSINE: f64 = 0.999;

/// A lower cosine is worth a warning: the products of a sound graph stay above it in FP16 and in
/// BF16 (docs/precision.md).
pub const USUAL_COSINE: f64 = 0.9999;

/// The lowest cosine of each tower's vectors to the canary's, over all batch sizes and slots of
/// the engine that `manifest` describes; `name` is the device's.
///
/// # Errors
///
/// When the engine fails on the canary.
pub fn measure(
    engine: &mut dyn Engine,
    canary: &Canary,
    manifest: &Manifest,
    name: &str,
) -> Result<Cosines, EngineError> {
    let most = engine.info().max_batch.max(1);
    let processor = engine.preparer();
    let patches = processor.processor().and_then(|it| it.target().patches());
    let patches = patches.map(|(_, most)| most as usize);
    let mut lowest = [Lowest::default(); 2];
    for (tower, lowest) in [Tower::Image, Tower::Text].into_iter().zip(&mut lowest) {
        for mut size in manifest.sizes_of(tower, most, patches) {
            size.rows = size.rows.min(most);
            let canary = Fitting::of(canary, manifest, size)?;
            in_every_slot(engine, &canary, tower, size, lowest)?;
        }
    }
    let [image, text] = lowest;
    Ok(Cosines {
        image: image.cosine,
        text: text.cosine,
        image_at: image.at,
        text_at: text.at,
        measured_on: name.to_owned(),
    })
}

/// The canary, with the picture for batches of one size.
struct Fitting<'a> {
    image: &'a RgbImage,
    image_embedding: &'a [f32],
    all: &'a Canary,
}

impl<'a> Fitting<'a> {
    fn of(all: &'a Canary, manifest: &Manifest, size: BatchSize) -> Result<Self, EngineError> {
        let Some(patches) = size.patches else {
            return Ok(Self {
                image: &all.image,
                image_embedding: &all.image_embedding,
                all,
            });
        };
        let buckets = manifest.patches.iter().flat_map(|entry| &entry.buckets);
        let mut grids = std::iter::zip(buckets, &all.grids);
        let (_, (image, image_embedding)) = grids
            .find(|&(&bucket, _)| bucket == patches)
            .ok_or_else(|| EngineError::Failed(format!("no canary is for {size}")))?;
        Ok(Self {
            image,
            image_embedding,
            all,
        })
    }
}

/// Fills a batch with canaries for each slot, all before the first is waited for: slots are used
/// in turn, so each gets one.
fn in_every_slot(
    engine: &mut dyn Engine,
    canary: &Fitting<'_>,
    tower: Tower,
    size: BatchSize,
    lowest: &mut Lowest,
) -> Result<(), EngineError> {
    let BatchSize { rows, patches } = size;
    let slots = engine.info().slots.max(1);
    let (done, results) = mpsc::channel();
    for slot in 1..=slots {
        let batch = match tower {
            Tower::Image => images(engine, canary.image, size)?,
            Tower::Text => {
                // Shifted, so that no slot has the others' rows.
                let texts = canary.all.texts.iter().cycle().skip(slot - 1);
                Batch::Texts(texts.take(rows).cloned().collect())
            }
        };
        let done = done.clone();
        let answer = move |result| {
            // The receiver waits below.
            let _ = done.send((slot, result));
        };
        engine.submit(batch, Completion::new(answer));
    }
    // So that the wait ends with the last completion.
    drop(done);
    let mut answered = 0;
    for (slot, result) in &results {
        let found: Rows = result?;
        if found.len() != rows {
            let why = format!("{} rows for a batch of {rows}", found.len());
            return Err(EngineError::Failed(why));
        }
        let at = Place {
            rows,
            patches,
            slot,
        };
        let texts = canary.all.text_embeddings.iter().cycle().skip(slot - 1);
        match tower {
            Tower::Image => found
                .iter()
                .for_each(|row| lowest.note(cosine(row, canary.image_embedding), at)),
            Tower::Text => std::iter::zip(found.iter(), texts)
                .for_each(|(row, expected)| lowest.note(cosine(row, expected), at)),
        }
        answered += 1;
    }
    match answered == slots {
        true => Ok(()),
        false => Err(EngineError::Failed("it never answered".into())),
    }
}

/// The canary's picture, so many times. One of whole patches is not resized.
fn images(engine: &dyn Engine, image: &RgbImage, size: BatchSize) -> Result<Batch, EngineError> {
    let prepare = engine.preparer();
    let pixels: Result<Vec<Pixels>, _> = (0..size.rows)
        .map(|_| match size.patches {
            None => prepare.prepare(image.clone()),
            Some(_) => prepare.prepare_resized(image.clone()),
        })
        .collect();
    pixels
        .map(Batch::Images)
        .map_err(|error| EngineError::Failed(format!("the canary's image: {error}")))
}

/// The lowest cosine so far, and where it was.
#[derive(Clone, Copy)]
struct Lowest {
    cosine: f64,
    at: Option<Place>,
}

impl Default for Lowest {
    fn default() -> Self {
        Self {
            cosine: f64::INFINITY,
            at: None,
        }
    }
}

impl Lowest {
    /// One more; NaN is lower than any number.
    fn note(&mut self, cosine: f64, at: Place) {
        if !self.cosine.is_nan() && (cosine.is_nan() || cosine < self.cosine) {
            *self = Self {
                cosine,
                at: Some(at),
            };
        }
    }
}

impl Cosines {
    /// A sentence that names the worst tower, if one is below [`LEAST_COSINE`].
    pub fn fault(&self) -> Option<String> {
        let (worst, said) = self.worst();
        (worst.is_nan() || worst < LEAST_COSINE).then(|| {
            format!(
                "the engine gives wrong vectors on {}: {said}, and must have at least \
                 {LEAST_COSINE}; use another TensorRT version or --precision fp32",
                self.measured_on
            )
        })
    }

    /// A sentence that names the worst tower, if one can be used but is below [`USUAL_COSINE`].
    pub fn doubt(&self) -> Option<String> {
        let (worst, said) = self.worst();
        (LEAST_COSINE..USUAL_COSINE).contains(&worst).then(|| {
            format!(
                "the engine's vectors are less exact than usual on {}: {said}, and usually at \
                 least {USUAL_COSINE}; --precision bf16 or fp32 may be closer",
                self.measured_on
            )
        })
    }

    /// The lower of the two, and a clause about it.
    fn worst(&self) -> (f64, String) {
        let (tower, worst, at) = match self.image < self.text || self.image.is_nan() {
            true => (Tower::Image, self.image, self.image_at),
            false => (Tower::Text, self.text, self.text_at),
        };
        let place = at.map_or_else(String::new, |at| {
            let Place {
                rows,
                patches,
                slot,
            } = at;
            let patches = patches.map_or_else(String::new, |it| format!(" with {it} patches each"));
            format!(" in a batch of {rows}{patches} (slot {slot})")
        });
        let said =
            format!("the {tower} tower's canary has cosine {worst:.6} to its FP32 vector{place}");
        (worst, said)
    }
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
            assert_eq!(cosines.fault().is_some(), refused, "{image} {text}");
            assert_eq!(cosines.doubt().is_some(), doubted, "{image} {text}");
        }
        let said = cosines(0.5, 1.0).fault().unwrap();
        assert!(said.contains("in a batch of 4 (slot 2)"), "{said}");
    }

    #[test]
    fn nan_is_the_lowest_and_stays() {
        let mut lowest = Lowest::default();
        for (number, cosine) in [1.0, 0.5, 0.9, f64::NAN, 0.1].into_iter().enumerate() {
            let at = Place {
                rows: number,
                patches: None,
                slot: 1,
            };
            lowest.note(cosine, at);
        }
        assert!(lowest.cosine.is_nan());
        assert_eq!(lowest.at.map(|at| at.rows), Some(3));
    }
}
