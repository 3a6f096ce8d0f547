//! Checks an engine's vectors against the canary's, which were computed in FP32.
//!
//! Every batch size has kernels of its own, and every slot its own contexts and graphs, so each
//! of them is checked: a fault of one size, or of one slot, shows in no other.

use std::sync::mpsc;

use super::{Canary, Cosines, Place};
use siglip2_engine::{Batch, Completion, Engine, EngineError, Pixels, Rows, Tower, cosine};

/// An engine with a lower cosine to the FP32 vectors is not used. Known faults of fused attention
/// fall to 0.65 and less.
pub const LEAST_COSINE: f64 = 0.999;

/// A lower cosine is worth a warning: the products of a sound graph stay above it in FP16 and in
/// BF16 (docs/precision.md).
pub const USUAL_COSINE: f64 = 0.9999;

/// The lowest cosine of each tower's vectors to the canary's, over all batch sizes and slots.
/// `buckets` are the sizes that batches are padded to; `name` is the device's.
///
/// # Errors
///
/// When the engine fails on the canary.
pub fn measure(
    engine: &mut dyn Engine,
    canary: &Canary,
    buckets: &[usize],
    name: &str,
) -> Result<Cosines, EngineError> {
    let most = engine.info().max_batch.max(1);
    let mut sizes: Vec<usize> = buckets.iter().map(|&rows| rows.min(most)).collect();
    sizes.dedup();
    let mut lowest = [Lowest::default(); 2];
    for rows in sizes {
        for (tower, lowest) in [Tower::Image, Tower::Text].into_iter().zip(&mut lowest) {
            in_every_slot(engine, canary, tower, rows, lowest)?;
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

/// Fills a batch with canaries for each slot, all before the first is waited for: slots are used
/// in turn, so each gets one.
fn in_every_slot(
    engine: &mut dyn Engine,
    canary: &Canary,
    tower: Tower,
    rows: usize,
    lowest: &mut Lowest,
) -> Result<(), EngineError> {
    let slots = engine.info().slots.max(1);
    let (done, results) = mpsc::channel();
    for slot in 1..=slots {
        let batch = match tower {
            Tower::Image => images(engine, canary, rows)?,
            Tower::Text => {
                // Shifted, so that no slot has the others' rows.
                let texts = canary.texts.iter().cycle().skip(slot - 1);
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
        let at = Place { rows, slot };
        let texts = canary.text_embeddings.iter().cycle().skip(slot - 1);
        match tower {
            Tower::Image => found
                .iter()
                .for_each(|row| lowest.note(cosine(row, &canary.image_embedding), at)),
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

/// The canary's picture, so many times.
fn images(engine: &dyn Engine, canary: &Canary, rows: usize) -> Result<Batch, EngineError> {
    let prepare = engine.preparer();
    let pixels: Result<Vec<Pixels>, _> = (0..rows)
        .map(|_| prepare.prepare(canary.image.clone()))
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
        let place = at.map_or_else(String::new, |Place { rows, slot }| {
            format!(" in a batch of {rows} (slot {slot})")
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
            image_at: Some(Place { rows: 4, slot: 2 }),
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
                slot: 1,
            };
            lowest.note(cosine, at);
        }
        assert!(lowest.cosine.is_nan());
        assert_eq!(lowest.at, Some(Place { rows: 3, slot: 1 }));
    }
}
