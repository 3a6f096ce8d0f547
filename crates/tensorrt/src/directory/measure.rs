//! Checks an engine's vectors against the canary's, which were computed in FP32.

use super::{Canary, Cosines};
use siglip2_engine::{Batch, Engine, EngineError, Rows, cosine, embed};

/// An engine with a lower cosine to the FP32 vectors is not used. FP16 of a sound graph stays
/// above 0.9999; known faults of fused attention fall to 0.65 and less.
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
    let (mut image, mut text) = (f64::INFINITY, f64::INFINITY);
    // One by one and in whole batches: they run in different profiles.
    let most = engine.info().max_batch.max(1);
    for size in [1, most] {
        let pixels = (0..size)
            .map(|_| prepare.prepare(canary.image.clone()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| EngineError::Failed(format!("the canary's image: {error}")))?;
        let rows = embed(engine, Batch::Images(pixels))?;
        let expected = std::iter::repeat_n(canary.image_embedding.as_slice(), size);
        image = least(image, lowest(&rows, expected));
        let pairs = canary.texts.chunks(size);
        for (ids, expected) in pairs.zip(canary.text_embeddings.chunks(size)) {
            let rows = embed(engine, Batch::Texts(ids.to_vec()))?;
            text = least(text, lowest(&rows, expected.iter().map(Vec::as_slice)));
        }
    }
    Ok(Cosines {
        image,
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
        // NaN counts as below everything.
        (worst.is_nan() || worst < LEAST_COSINE).then(|| {
            format!(
                "the engine gives wrong vectors on {}: the {tower} tower's canary has cosine \
                 {worst:.6} to its FP32 vector, and must have at least {LEAST_COSINE}; use another \
                 TensorRT version or --precision fp32",
                self.measured_on
            )
        })
    }
}

/// The lowest cosine of rows to the expected ones; NaN if any is NaN.
fn lowest<'a>(rows: &Rows, expected: impl Iterator<Item = &'a [f32]>) -> f64 {
    let cosines = rows.iter().zip(expected).map(|(a, b)| cosine(a, b));
    cosines.fold(f64::INFINITY, least)
}

/// The smaller of two; NaN counts as smaller than any number.
fn least(a: f64, b: f64) -> f64 {
    match a.is_nan() || a < b {
        true => a,
        false => b,
    }
}
