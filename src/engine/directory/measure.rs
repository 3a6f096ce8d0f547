//! Whether an engine gives the vectors that it must: the canary's, made in FP32.

use super::{Canary, Cosines};
use crate::engine::{Batch, Engine, EngineError, Rows, embed};

/// The cosine to the FP32 vectors below which an engine is not used. FP16 of a sound graph
/// stays above 0.9999; known faults of fused attention fall to 0.65 and less.
pub const LEAST_COSINE: f64 = 0.999;

/// The lowest cosine of each tower's vectors to the canary's. `name` is the device's.
///
/// # Errors
///
/// When the engine fails on the canary.
pub fn measure(
    engine: &mut dyn Engine,
    canary: &Canary,
    name: &str,
) -> Result<Cosines, EngineError> {
    let prepare = engine.preparer();
    let pixels = prepare
        .prepare(canary.image.clone())
        .map_err(|error| EngineError::Failed(format!("the canary's image: {error}")))?;
    let image = embed(engine, Batch::Images(vec![pixels]))?;
    let mut text = f64::INFINITY;
    // One by one and in whole batches: they run in different profiles.
    let most = engine.info().max_batch.max(1);
    for size in [1, most] {
        let pairs = canary.texts.chunks(size);
        for (ids, expected) in pairs.zip(canary.text_embeddings.chunks(size)) {
            let rows = embed(engine, Batch::Texts(ids.to_vec()))?;
            text = text.min(lowest(&rows, expected.iter().map(Vec::as_slice)));
        }
    }
    Ok(Cosines {
        image: lowest(&image, [canary.image_embedding.as_slice()]),
        text,
        measured_on: name.to_owned(),
    })
}

impl Cosines {
    /// A sentence that names the worst tower, if one is below [`LEAST_COSINE`].
    pub fn fault(&self) -> Option<String> {
        let (tower, worst) = match self.image < self.text || self.image.is_nan() {
            true => ("image", self.image),
            false => ("text", self.text),
        };
        // Not a number is below everything.
        (worst.is_nan() || worst < LEAST_COSINE).then(|| {
            format!(
                "the engine gives wrong vectors on {}: the {tower} tower's canary has cosine \
                 {worst:.6} to its FP32 vector, and {LEAST_COSINE} is the least; use another \
                 TensorRT version or --precision fp32",
                self.measured_on
            )
        })
    }
}

/// The lowest cosine of rows to what they should be; a number that is none stays.
fn lowest<'a>(rows: &Rows, expected: impl IntoIterator<Item = &'a [f32]>) -> f64 {
    let mut lowest = f64::INFINITY;
    for (row, expected) in rows.iter().zip(expected) {
        let cosine = cosine(row, expected);
        if cosine.is_nan() {
            return cosine;
        }
        lowest = lowest.min(cosine);
    }
    lowest
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
