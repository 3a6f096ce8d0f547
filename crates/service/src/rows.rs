//! The rows of one request: each is found, shared, or made.
//!
//! ```text
//! text  --tokenize--> ids --+                        +--> lane of the batcher ------+
//!                           +--> RowCache --(miss)---+                              +--> row
//! image --inspect--> hash --+                        +--> decoder, prepare, lane ---+
//! ```
//!
//! What is made may be made for several requests: nothing in it belongs to one of them
//! but the deadline, and each notes for itself what it took, and names its own image.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::try_join_all;

use super::cache::{Found, ImageKey, Made, Making, RowError, TextKey, Wanted};
use super::decoders::Room;
use super::{Running, Service, ServiceError, State};
use crate::batcher::{BatchError, Item, Permit, Permits, Ticket};
use crate::metrics::{Lookup, Metrics, Span, Stage};
use siglip2_engine::{EngineError, Prepare, Tower};
use siglip2_image::{Header, ImageLimits};

/// Texts longer than this, in bytes over the whole request, are tokenized off the
/// async threads. A text of this length takes well under a millisecond.
const INLINE_TEXT_BYTES: usize = 4096;

impl Service {
    /// Every text is looked up, shared or put into the lane before any is waited for.
    pub(super) async fn submit_texts(
        &self,
        running: &Running,
        texts: Vec<String>,
        permits: &mut Permits,
    ) -> Result<Vec<Found>, ServiceError> {
        let wanted = self.wanted(permits);
        let bytes: usize = texts.iter().map(String::len).sum();
        let tokenizer = Arc::clone(&self.inner.tokenizer);
        let tokenize = move || {
            texts
                .iter()
                .map(|text| tokenizer.encode(text))
                .collect::<Result<Vec<_>, _>>()
        };
        let ids = if bytes <= INLINE_TEXT_BYTES {
            tokenize()
        } else {
            running
                .decoders
                .run(wanted.interactive, 0, move |_room| tokenize())
                .await
                .map_err(ServiceError::Internal)?
        };
        ids.map_err(|error| ServiceError::Internal(format!("tokenizing failed: {error}")))?
            .into_iter()
            .map(|ids| {
                // Given back at once where there is nothing to compute.
                let permit = one(permits)?;
                let key = TextKey::from(ids.as_slice());
                let make = || {
                    let ticket = permit.submit(Item::Text(ids));
                    async move { made(ticket, Vec::new()).await }.boxed()
                };
                let (what, found) = self.inner.texts.find(key, wanted, make);
                self.looked_up(Tower::Text, what);
                Ok(found)
            })
            .collect()
    }

    pub(super) async fn text_rows(&self, found: Vec<Found>) -> Result<Vec<Vec<f32>>, ServiceError> {
        let mut rows = Vec::with_capacity(found.len());
        for found in found {
            // A text is no image: none of its errors has an index.
            rows.push(self.row(found, 0).await?);
        }
        Ok(rows)
    }

    pub(super) async fn image_rows(
        &self,
        running: &Running,
        images: Vec<Bytes>,
        permits: &mut Permits,
    ) -> Result<Vec<Vec<f32>>, ServiceError> {
        let wanted = self.wanted(permits);
        let one_by_one = images
            .into_iter()
            .enumerate()
            .map(|(index, file)| Ok(self.image_row(running, wanted, index, file, one(permits)?)))
            .collect::<Result<Vec<_>, ServiceError>>()?;
        try_join_all(one_by_one).await
    }

    async fn image_row(
        &self,
        running: &Running,
        wanted: Wanted,
        index: usize,
        file: Bytes,
        permit: Permit,
    ) -> Result<Vec<f32>, ServiceError> {
        let limits = self.inner.settings.image_limits();
        let header = siglip2_image::inspect(&file, &limits)
            .map_err(|error| ServiceError::Image { index, error })?;
        let key = ImageKey::of(&file).await;
        let make = || self.make_image(running, wanted, header, file, permit);
        let (what, found) = self.inner.images.find(key, wanted, make);
        self.looked_up(Tower::Image, what);
        self.row(found, index).await
    }

    /// Nothing happens until it is polled.
    fn make_image(
        &self,
        running: &Running,
        wanted: Wanted,
        header: Header,
        file: Bytes,
        permit: Permit,
    ) -> Making {
        let decoders = Arc::clone(&running.decoders);
        let decoding = Decoding {
            header,
            limits: self.inner.settings.image_limits(),
            prepare: Arc::clone(&running.prepare),
            metrics: Arc::clone(&self.inner.metrics),
            deadline: wanted.deadline,
        };
        // Both are there at the same time: the picture, and the square made of it.
        let side = u64::from(self.inner.info.image_size);
        let bytes = decoding.bytes() + side * side * 3;
        async move {
            let (ticket, stages) = decoders
                .run(wanted.interactive, bytes, move |room| {
                    decoding.run(&file, room, permit)
                })
                .await
                .map_err(RowError::Failed)??;
            made(Ok(ticket), stages).await
        }
        .boxed()
    }

    fn wanted(&self, permits: &Permits) -> Wanted {
        Wanted {
            deadline: self.context.deadline,
            interactive: permits.are_interactive(),
        }
    }

    fn looked_up(&self, tower: Tower, what: Lookup) {
        self.inner.metrics.looked_up(tower, what);
        self.context.timings.looked_up(what);
    }

    /// Waits for a row, and notes what it took.
    async fn row(&self, found: Found, index: usize) -> Result<Vec<f32>, ServiceError> {
        match found {
            Found::Here(values) => Ok(values.to_vec()),
            Found::Coming(flight) => {
                let Made { values, stages } =
                    flight.await.map_err(|error| self.row_error(error, index))?;
                for span in stages {
                    self.context.timings.note(span);
                }
                Ok(values.to_vec())
            }
        }
    }

    fn row_error(&self, error: RowError, index: usize) -> ServiceError {
        match error {
            RowError::Image(error) => ServiceError::Image { index, error },
            RowError::Failed(what) => ServiceError::Internal(what),
            RowError::Batch(BatchError::Stopped) => ServiceError::Unavailable(match self.state() {
                State::Ready => State::Draining,
                state => state,
            }),
            RowError::Batch(BatchError::Late) => ServiceError::Late,
            RowError::Batch(BatchError::Engine(EngineError::Lost(_))) => {
                ServiceError::Unavailable(State::Failed)
            }
            RowError::Batch(BatchError::Engine(error)) => ServiceError::Internal(error.to_string()),
        }
    }
}

/// From an image's file to its place in the lane: the work of a decoder.
struct Decoding {
    header: Header,
    limits: ImageLimits,
    prepare: Arc<dyn Prepare>,
    metrics: Arc<Metrics>,
    deadline: Option<Instant>,
}

impl Decoding {
    /// What the picture takes.
    fn bytes(&self) -> u64 {
        u64::from(self.header.width) * u64::from(self.header.height) * 3
    }

    fn run(
        self,
        file: &[u8],
        mut room: Room,
        permit: Permit,
    ) -> Result<(Ticket, Vec<Span>), RowError> {
        if self
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            return Err(RowError::Batch(BatchError::Late));
        }
        let memory = usize::try_from(self.bytes())
            .map_err(|error| EngineError::Failed(error.to_string()))
            .and_then(|bytes| self.prepare.memory(bytes))
            .map_err(|error| RowError::Failed(error.to_string()))?;
        let begun = Instant::now();
        let image =
            siglip2_image::decode_into(file, &self.limits, memory).map_err(RowError::Image)?;
        let decode = Span::since(Stage::Decode, begun);
        self.metrics.stage(decode.stage, decode.took);
        let begun = Instant::now();
        let mut pixels = self.prepare.prepare(image).map_err(RowError::Image)?;
        let prepare = Span::since(Stage::Prepare, begun);
        self.metrics.stage(prepare.stage, prepare.took);
        room.shrink(pixels.0.pixels().len() as u64);
        pixels.0.keep(Box::new(room));
        let ticket = permit
            .submit(Item::Image(pixels))
            .map_err(RowError::Batch)?;
        Ok((ticket, vec![decode, prepare]))
    }
}

/// Waits for the batch; `stages` were gone through before.
async fn made(ticket: Result<Ticket, BatchError>, mut stages: Vec<Span>) -> Result<Made, RowError> {
    let row = match ticket {
        Ok(ticket) => ticket.timed().await,
        Err(error) => Err(error),
    }
    .map_err(RowError::Batch)?;
    let now = Instant::now();
    let computing = now.checked_sub(row.computed).unwrap_or(now);
    let waiting = computing.checked_sub(row.queued).unwrap_or(computing);
    for (stage, began, took) in [
        (Stage::Queue, waiting, row.queued),
        (Stage::Compute, computing, row.computed),
    ] {
        stages.push(Span { stage, began, took });
    }
    Ok(Made {
        values: row.values.into(),
        stages,
    })
}

/// A request takes as many permits as it has rows, so there is always one left.
fn one(permits: &mut Permits) -> Result<Permit, ServiceError> {
    permits
        .one()
        .ok_or_else(|| ServiceError::Internal("a row has no permit".into()))
}
