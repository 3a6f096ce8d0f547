//! Readiness by a real embedding: a fixed image and a fixed text through the engine,
//! held to the vectors that they gave when the engine was loaded.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::batcher::{Batcher, Item};
use siglip2_engine::cosine;
use siglip2_engine::{Batch, Engine, EngineError, Pixels, Prepare, Rows, embed};
use siglip2_image::RgbImage;

/// A verdict stands for so long, however often it is asked for: probes come every few
/// seconds, and an embedding on the CPU takes a good part of one.
const STANDS: Duration = Duration::from_secs(30);

/// The longest that a check may wait for its rows.
const PATIENCE: Duration = Duration::from_secs(60);

/// The cosine to the first vectors that must be reached; rows differ in their last
/// digits with the batch that they are in.
const COSINE: f64 = 0.999;

/// A fixed image and text, and their vectors.
#[derive(Debug)]
pub struct Canary {
    image: (RgbImage, Vec<f32>),
    text: (Vec<i32>, Vec<f32>),
    verdict: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Canary {
    /// Embeds a drawn image and these token ids for the first time.
    ///
    /// # Errors
    ///
    /// When the engine fails on them, or answers what is no vector.
    pub fn of(engine: &mut dyn Engine, ids: Vec<i32>) -> Result<Self, EngineError> {
        let failed = |what: &str| EngineError::Failed(format!("on the canary: {what}"));
        let side = 64_u32;
        let pixels = (0..side * side)
            .flat_map(|at| [at % side * 4, at / side * 4, (at * 7) % 256].map(|v| v as u8))
            .collect();
        let image = RgbImage::new(side, side, pixels).ok_or_else(|| failed("it has no pixels"))?;
        let pixels =
            prepared(engine.preparer().as_ref(), &image).map_err(|error| failed(&error))?;
        let row = |rows: Rows| {
            rows.iter()
                .next()
                .filter(|row| row.iter().all(|value| value.is_finite()))
                .map(<[f32]>::to_vec)
                .ok_or_else(|| failed("the answer is no vector"))
        };
        let image_row = row(embed(engine, Batch::Images(vec![pixels]))?)?;
        let text_row = row(embed(engine, Batch::Texts(vec![ids.clone()]))?)?;
        Ok(Self {
            image: (image, image_row),
            text: (ids, text_row),
            verdict: Mutex::new(None),
        })
    }

    /// Whether both vectors are still what they were.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong.
    pub(super) async fn check(
        &self,
        batcher: &Batcher,
        prepare: &dyn Prepare,
    ) -> Result<(), String> {
        let standing = self.verdict().clone();
        if let Some((since, verdict)) = standing
            && since.elapsed() < STANDS
        {
            return verdict;
        }
        // A queue that has no room for two rows is full of work that is being done.
        let Ok(permits) = batcher.reserve(2) else {
            return Ok(());
        };
        let mut permits = permits.until(Some(Instant::now() + PATIENCE));
        let items = [
            Item::Image(prepared(prepare, &self.image.0)?),
            Item::Text(self.text.0.clone()),
        ];
        let mut verdict = Ok(());
        for (item, expected) in items.into_iter().zip([&self.image.1, &self.text.1]) {
            let Some(permit) = permits.one() else { break };
            let row = match permit.submit(item) {
                Ok(ticket) => ticket.row().await,
                Err(error) => Err(error),
            };
            verdict = verdict.and(match row {
                Ok(row) if cosine(&row, expected) >= COSINE => Ok(()),
                Ok(row) => Err(format!(
                    "the canary's vector has cosine {:.6} to what it was at the start",
                    cosine(&row, expected)
                )),
                Err(error) => Err(format!("the canary was not embedded: {error}")),
            });
        }
        *self.verdict() = Some((Instant::now(), verdict.clone()));
        verdict
    }

    fn verdict(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Result<(), String>)>> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The image as the engine eats it. It is small, and takes no time.
fn prepared(prepare: &dyn Prepare, image: &RgbImage) -> Result<Pixels, String> {
    prepare
        .prepare(image.clone())
        .map_err(|error| format!("the canary cannot be made ready: {error}"))
}
