//! Checks readiness by embedding: a fixed image and a fixed text go through the engine, and
//! their vectors are compared with those that they gave when the engine was loaded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::batcher::{BatchError, Batcher, Item};
use crate::not_ready::NotReady;
use siglip2_engine::cosine;
use siglip2_engine::{Batch, Engine, EngineError, Pixels, Prepare, Rows, embed};
use siglip2_image::{ImageError, RgbImage};

/// How long a good result is reused, however often readiness is asked for: probes arrive every
/// few seconds, and an embedding on the CPU takes a good part of one.
const GOOD_STANDS: Duration = Duration::from_secs(30);

/// How long a bad result is reused. Less, so that a service that has recovered says so soon.
const BAD_STANDS: Duration = Duration::from_secs(5);

/// The longest that a check waits for its rows.
const PATIENCE: Duration = Duration::from_secs(60);

/// The cosine to the first vectors that must be reached. Rows differ in their last digits
/// depending on their batch.
const MIN_COSINE: f64 = 0.999;

/// A fixed image and text, their vectors, and the result of the last check.
#[derive(Debug)]
pub struct Readiness {
    image: (RgbImage, Vec<f32>),
    text: (Vec<i32>, Vec<f32>),
    state: Mutex<Known>,
    failures: AtomicU64,
}

/// What is known about the engine.
#[derive(Debug, Default)]
struct Known {
    verdict: Option<(Instant, Result<(), NotReady>)>,
    /// How many rows of requests were not vectors. A check that began before the last of them
    /// says nothing about it.
    doubts: u64,
    /// Whether there was such a row since the last successful check.
    in_doubt: bool,
}

impl Readiness {
    /// Embeds a drawn image and these token ids for the first time.
    ///
    /// # Errors
    ///
    /// If the engine fails on them, or its answer has a value that is not finite.
    pub fn of(engine: &mut dyn Engine, ids: Vec<i32>) -> Result<Self, EngineError> {
        let failed = |what: &str| EngineError::Failed(format!("on the readiness check: {what}"));
        let side = 64_u32;
        let pixels = (0..side * side)
            .flat_map(|at| [at % side * 4, at / side * 4, (at * 7) % 256].map(|v| v as u8))
            .collect();
        let image =
            RgbImage::new(side, side, pixels).ok_or_else(|| failed("its image has no pixels"))?;
        let pixels = prepared(engine.preparer().as_ref(), &image)
            .map_err(|error| failed(&NotReady::Image(error).to_string()))?;
        let row = |rows: Rows| {
            rows.iter()
                .next()
                .filter(|row| row.iter().all(|value| value.is_finite()))
                .map(<[f32]>::to_vec)
                .ok_or_else(|| failed("the answer holds a value that is not finite"))
        };
        let image_row = row(embed(engine, Batch::Images(vec![pixels]))?)?;
        let text_row = row(embed(engine, Batch::Texts(vec![ids.clone()]))?)?;
        Ok(Self {
            image: (image, image_row),
            text: (ids, text_row),
            state: Mutex::default(),
            failures: AtomicU64::new(0),
        })
    }

    /// A row of a request was not a vector. From now on the service is not ready until a check
    /// succeeds; the next one starts at once, whatever the last result.
    pub(crate) fn doubt(&self) {
        let mut known = self.known();
        known.doubts += 1;
        known.in_doubt = true;
        known.verdict = None;
    }

    /// How many checks have failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// Whether both vectors are the same as at the start.
    ///
    /// # Errors
    ///
    /// When they are not, or this cannot be found out.
    pub(crate) async fn check(
        &self,
        batcher: &Batcher,
        prepare: &dyn Prepare,
    ) -> Result<(), NotReady> {
        let (doubts, in_doubt) = {
            let known = self.known();
            if let Some((since, verdict)) = &known.verdict {
                let stands = match verdict {
                    Ok(()) => GOOD_STANDS,
                    Err(_) => BAD_STANDS,
                };
                if since.elapsed() < stands {
                    return verdict.clone();
                }
            }
            (known.doubts, known.in_doubt)
        };
        // A queue with no room for two rows is busy; that says nothing about the vectors.
        let Ok(permits) = batcher.reserve(2) else {
            return match in_doubt {
                false => Ok(()),
                true => Err(NotReady::Unchecked),
            };
        };
        let mut permits = permits.until(Some(Instant::now() + PATIENCE));
        let items = [
            Item::Image(prepared(prepare, &self.image.0).map_err(NotReady::Image)?),
            Item::Text(self.text.0.clone()),
        ];
        let mut verdict = Ok(());
        for (item, expected) in items.into_iter().zip([&self.image.1, &self.text.1]) {
            let Some(permit) = permits.one() else { break };
            let row = match permit.submit(item) {
                Ok(ticket) => timeout(PATIENCE, ticket.row())
                    .await
                    .unwrap_or(Err(BatchError::Expired)),
                Err(error) => Err(error),
            };
            verdict = verdict.and(match row {
                Ok(row) if cosine(&row, expected) >= MIN_COSINE => Ok(()),
                Ok(row) => Err(NotReady::Moved(cosine(&row, expected))),
                Err(error) => Err(NotReady::NotEmbedded(error)),
            });
        }
        if let Err(reason) = &verdict {
            self.failures.fetch_add(1, Ordering::AcqRel);
            tracing::error!(%reason, "the readiness check failed; the caches are cleared");
        }
        let mut known = self.known();
        if verdict.is_ok() && known.doubts != doubts {
            return Err(NotReady::NotFinite);
        }
        known.in_doubt &= verdict.is_err();
        known.verdict = Some((Instant::now(), verdict.clone()));
        verdict
    }

    /// No invariant spans two statements that could panic.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The image as the engine needs it. It is small, so this takes almost no time.
fn prepared(prepare: &dyn Prepare, image: &RgbImage) -> Result<Pixels, ImageError> {
    prepare.prepare(image.clone())
}
