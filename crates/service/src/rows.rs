//! The rows of one request: each is found in the cache, shared, or computed.
//!
//! ```text
//! text  --tokenize--> ids --+                        +--> lane of the batcher ------+
//!                           +--> RowCache --(miss)---+                              +--> row
//! image --inspect--> hash --+                        +--> decoder, prepare, lane ---+
//! ```
//!
//! A computation may serve several requests, so nothing in it belongs to one of them. How long
//! it is wanted, and how urgently, is in its [`Demand`]. Each request records for itself how
//! long it took, and names its own image in an error.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::try_join_all;

use crate::batcher::{BatchError, Item, Permit, Permits, Ticket};
use crate::cache::{Found, FoundRow, ImageKey, Key, Made, Making, RowCache, RowError, TextKey};
use crate::demand::{Demand, Wish};
use crate::error::ServiceError;
use crate::metrics::{Metrics, Stage, StageTiming};
use crate::pool::WorkLease;
use crate::request::Request;
use crate::service::{Running, State};
use crate::tokens::{TextError, TokenUsage};
use siglip2_engine::{CodedImage, EngineError, Pixels, Prepare, Tower};
use siglip2_image::{Header, ImageError, ImageLimits, Narrowed, Processor, RgbImage, Stop};
use siglip2_model::text::Tokenized;

impl Request {
    /// Every text is looked up, shared or put into its lane before any is waited for.
    pub(crate) async fn submit_texts(
        &self,
        running: &Running,
        texts: Vec<String>,
        permits: &mut Permits,
    ) -> Result<(Vec<Found>, Vec<TokenUsage>), ServiceError> {
        let wish = self.wish(permits);
        let tokenized = self.tokenize(&running.tokenizers, texts, wish).await?;
        let usage = tokenized.iter().map(TokenUsage::from).collect();
        let mut found = Vec::with_capacity(tokenized.len());
        for text in tokenized {
            let_others_run(found.len()).await;
            found.push(self.submit_text(running, text, one(permits)?, wish));
        }
        Ok((found, usage))
    }

    /// The permit is returned at once where there is nothing to compute.
    pub(crate) fn submit_text(
        &self,
        running: &Running,
        text: Tokenized,
        permit: Permit,
        wish: Wish,
    ) -> Found {
        let ids = text.ids;
        let key = TextKey::from(ids.as_slice());
        let make = |demand: &Arc<Demand>| {
            let ticket = permit.submit_for(Item::Text(ids), Arc::clone(demand));
            async move { made(ticket, Vec::new()).await }.boxed()
        };
        self.find(running, Tower::Text, self.service.texts(), key, wish, make)
    }

    /// Submits the good texts, each with how much was read of it, and says what is wrong with the others.
    /// A text of more than `most_bytes` is bad.
    pub(crate) async fn submit_texts_each(
        &self,
        running: &Running,
        texts: Vec<String>,
        most_bytes: usize,
        permits: &mut Permits,
    ) -> Result<Vec<Result<(Found, TokenUsage), TextError>>, ServiceError> {
        let wish = self.wish(permits);
        let pool = &running.tokenizers;
        let tokenized = self.tokenize_each(pool, texts, most_bytes, wish).await?;
        let mut submitted = Vec::with_capacity(tokenized.len());
        for text in tokenized {
            let_others_run(submitted.len()).await;
            // That of a bad text is returned at once.
            let permit = one(permits)?;
            submitted.push(text.map(|text| {
                let usage = TokenUsage::from(&text);
                (self.submit_text(running, text, permit, wish), usage)
            }));
        }
        Ok(submitted)
    }

    /// For each text its row and how much was read of it, or what is wrong with it.
    pub(crate) async fn text_rows_each(
        &self,
        submitted: Vec<Result<(Found, TokenUsage), TextError>>,
    ) -> Result<Vec<Result<(Vec<f32>, TokenUsage), TextError>>, ServiceError> {
        let mut rows = Vec::with_capacity(submitted.len());
        for text in submitted {
            rows.push(match text {
                Ok((found, usage)) => Ok((self.row(found, 0).await?, usage)),
                Err(error) => Err(error),
            });
        }
        Ok(rows)
    }

    pub(crate) async fn text_rows(&self, found: Vec<Found>) -> Result<Vec<Vec<f32>>, ServiceError> {
        let mut rows = Vec::with_capacity(found.len());
        for found in found {
            // The row belongs to a text, so no error has the index of an image.
            rows.push(self.row(found, 0).await?);
        }
        Ok(rows)
    }

    pub(crate) async fn image_rows(
        &self,
        running: &Running,
        images: Vec<Bytes>,
        permits: &mut Permits,
    ) -> Result<Vec<Vec<f32>>, ServiceError> {
        let wish = self.wish(permits);
        let looking = Looking::default();
        let one_by_one = images
            .into_iter()
            .enumerate()
            .map(|(index, file)| {
                let permit = one(permits)?;
                Ok(self.image_row(running, wish, (index, file), permit, &looking))
            })
            .collect::<Result<Vec<_>, ServiceError>>()?;
        try_join_all(one_by_one).await
    }

    /// For each image its row, or what is wrong with the image.
    pub(crate) async fn image_rows_each(
        &self,
        running: &Running,
        images: Vec<Bytes>,
        permits: &mut Permits,
    ) -> Result<Vec<Result<Vec<f32>, ImageError>>, ServiceError> {
        let wish = self.wish(permits);
        let looking = Looking::default();
        let one_by_one = images
            .into_iter()
            .enumerate()
            .map(|(index, file)| {
                let permit = one(permits)?;
                let row = self.image_row(running, wish, (index, file), permit, &looking);
                Ok(row.map(|row| match row {
                    Ok(row) => Ok(Ok(row)),
                    Err(ServiceError::Image { error, .. }) => Ok(Err(error)),
                    Err(other) => Err(other),
                }))
            })
            .collect::<Result<Vec<_>, ServiceError>>()?;
        try_join_all(one_by_one).await
    }

    async fn image_row(
        &self,
        running: &Running,
        wish: Wish,
        (index, file): (usize, Bytes),
        permit: Permit,
        looking: &Looking,
    ) -> Result<Vec<f32>, ServiceError> {
        let mut looking = looking.0.lock().await;
        // The HTTP side has read this header before, as soon as the file had arrived, so that a bad
        // file is refused before the rest of the body is read (`Service::inspect_image`). What it
        // found cannot be used here: the model, whose limits count and for which a JPEG may be
        // reduced, and `apply_orientation` may stand behind the images of a form, and rows are also
        // asked for without HTTP. This header is the one that is kept: the decoder gets it.
        let header = self
            .service
            .inspect(&file, &self.limits())
            .map_err(|error| ServiceError::Image { index, error })?;
        let key = ImageKey::of(&file, header.orientation, &mut looking).await;
        drop(looking);
        let make = |demand: &Arc<Demand>| self.make_image(running, demand, header, file, permit);
        let found = self.find(
            running,
            Tower::Image,
            self.service.images(),
            key,
            wish,
            make,
        );
        self.row(found, index).await
    }

    /// Nothing happens until it is polled.
    fn make_image(
        &self,
        running: &Running,
        demand: &Arc<Demand>,
        header: Header,
        file: Bytes,
        permit: Permit,
    ) -> Making {
        let decoders = Arc::clone(&running.decoders);
        let demand = Arc::clone(demand);
        let decoding = Decoding {
            header,
            limits: self.limits(),
            prepare: Arc::clone(&running.prepare),
            metrics: Arc::clone(self.service.metrics()),
            demand: Arc::clone(&demand),
        };
        let bytes = self.service.decode_bytes(&header);
        async move {
            let (ticket, stages) = decoders
                .run(demand, bytes, move |lease, is_wanted| {
                    decoding.run(&file, lease, permit, is_wanted)
                })
                .await
                .map_err(|error| RowError::Failed(error.to_string()))??;
            made(Ok(ticket), stages).await
        }
        .boxed()
    }

    fn find<K: Key>(
        &self,
        running: &Running,
        tower: Tower,
        cache: &Arc<RowCache<K>>,
        key: K,
        wish: Wish,
        make: impl FnOnce(&Arc<Demand>) -> Making,
    ) -> Found {
        let FoundRow {
            found,
            lookup,
            promoted,
        } = cache.find(running.epoch(), key, wish, make);
        if promoted {
            running.promote();
        }
        self.service.metrics().looked_up(tower, lookup);
        self.context.timings.looked_up(lookup);
        found
    }

    /// Waits for a row, and records how long it took.
    async fn row(&self, found: Found, index: usize) -> Result<Vec<f32>, ServiceError> {
        match found {
            Found::Here(values) => Ok(values.to_vec()),
            Found::Coming(row) => {
                let Made { values, stages } =
                    row.await.map_err(|error| self.row_error(error, index))?;
                for timing in stages {
                    self.context.timings.note(timing);
                }
                Ok(values.to_vec())
            }
        }
    }

    fn row_error(&self, error: RowError, index: usize) -> ServiceError {
        match error {
            RowError::Image(error) => ServiceError::Image { index, error },
            RowError::Failed(what) => ServiceError::Internal(what),
            RowError::NotFinite => {
                if let Some(running) = self.service.running() {
                    running.doubt();
                }
                ServiceError::Internal("the engine answered a value that is not finite".into())
            }
            RowError::Batch(BatchError::Stopped) => {
                ServiceError::Unavailable(match self.service.state() {
                    State::Ready => State::Draining,
                    state => state,
                })
            }
            RowError::Batch(BatchError::Expired) => ServiceError::Expired,
            RowError::Batch(BatchError::Engine(EngineError::Lost(_))) => {
                ServiceError::Unavailable(State::Failed)
            }
            RowError::Batch(BatchError::Engine(error)) => ServiceError::Internal(error.to_string()),
        }
    }
}

/// From an image's file to its place in the lane: the work of a decoder thread.
struct Decoding {
    header: Header,
    limits: ImageLimits,
    prepare: Arc<dyn Prepare>,
    metrics: Arc<Metrics>,
    demand: Arc<Demand>,
}

impl Decoding {
    fn run(
        self,
        file: &[u8],
        lease: WorkLease,
        permit: Permit,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<(Ticket, Vec<StageTiming>), RowError> {
        self.still_wanted(is_wanted)?;
        if let Some((image, took)) = self.take_coded(file)? {
            return self.queue(Pixels::Coded(image), lease, permit, vec![took]);
        }
        let processor = by_rows(&*self.prepare, &self.header);
        let memory = match processor {
            Some(_) => None,
            None => usize::try_from(self.header.pixel_bytes())
                .map_err(|error| EngineError::Failed(error.to_string()))
                .and_then(|bytes| self.prepare.memory(bytes))
                .map_err(|error| RowError::Failed(error.to_string()))?,
        };
        let begun = Instant::now();
        let unwanted = || !is_wanted();
        let stop = Stop::when(&unwanted);
        let (header, limits) = (&self.header, &self.limits);
        let decoded = match processor {
            Some(processor) => siglip2_image::decode_rows(file, header, limits, processor, &stop)
                .map(Decoded::Rows),
            None => {
                siglip2_image::decode_into(file, header, limits, memory, &stop).map(Decoded::Whole)
            }
        };
        // Check this first: a decoder that was interrupted has found nothing wrong with the
        // image.
        self.still_wanted(is_wanted)?;
        let decoded = decoded.map_err(|error| match error {
            ImageError::Stopped => RowError::Batch(BatchError::Expired),
            error => RowError::Image(error),
        })?;
        let decode = StageTiming::since(Stage::Decode, begun);
        self.metrics.stage(decode.stage, decode.took);
        let begun = Instant::now();
        let pixels = match decoded {
            Decoded::Whole(image) => self.prepare.prepare(image),
            Decoded::Rows(narrowed) => narrowed
                .finish()
                .and_then(|image| self.prepare.prepare_resized(image)),
        }
        .map_err(RowError::Image)?;
        let prepare = StageTiming::since(Stage::Prepare, begun);
        self.metrics.stage(prepare.stage, prepare.took);
        self.queue(pixels, lease, permit, vec![decode, prepare])
    }

    /// The file itself, where the engine's device decodes it; looking at it is what its decoding
    /// takes here.
    fn take_coded(&self, file: &[u8]) -> Result<Option<(CodedImage, StageTiming)>, RowError> {
        let begun = Instant::now();
        let taken = self
            .prepare
            .take_coded(file, &self.limits)
            .map_err(|error| RowError::Failed(error.to_string()))?;
        Ok(taken.map(|image| {
            let took = StageTiming::since(Stage::Decode, begun);
            self.metrics.stage(took.stage, took.took);
            (image, took)
        }))
    }

    /// Puts an image that is ready into its lane.
    fn queue(
        self,
        mut pixels: Pixels,
        mut lease: WorkLease,
        permit: Permit,
        stages: Vec<StageTiming>,
    ) -> Result<(Ticket, Vec<StageTiming>), RowError> {
        lease.shrink_to(pixels.bytes() as u64);
        pixels.keep(Box::new(lease));
        let ticket = permit
            .submit_for(Item::Image(pixels), self.demand)
            .map_err(RowError::Batch)?;
        Ok((ticket, stages))
    }

    /// Ends the work, and counts it, when nobody waits for it any more.
    fn still_wanted(&self, is_wanted: &dyn Fn() -> bool) -> Result<(), RowError> {
        if is_wanted() {
            return Ok(());
        }
        if self.demand.is_over(Instant::now()) {
            self.metrics.expired(Tower::Image);
        } else {
            self.metrics.dropped(Tower::Image);
        }
        Err(RowError::Batch(BatchError::Expired))
    }
}

/// Who of a request's images is looked at, and how many bytes of them were hashed since others had their
/// turn. One after the other, in their order: all together are polled as one task.
#[derive(Default)]
struct Looking(tokio::sync::Mutex<usize>);

/// Gives other tasks their turn now and then, where something short is done for each of many items.
async fn let_others_run(done: usize) {
    const TOGETHER: usize = 128;
    if done % TOGETHER == TOGETHER - 1 {
        tokio::task::yield_now().await;
    }
}

/// What a decoder leaves to be prepared.
enum Decoded {
    Whole(RgbImage),
    /// Half way through its resize.
    Rows(Narrowed),
}

/// The processor of a picture that is resized row by row as it is decoded.
pub(crate) fn by_rows<'a>(prepare: &'a dyn Prepare, header: &Header) -> Option<&'a Processor> {
    prepare
        .processor()
        .filter(|processor| header.comes_by_rows(processor.target()))
}

/// Waits for the batch; `stages` are those completed before.
async fn made(
    ticket: Result<Ticket, BatchError>,
    mut stages: Vec<StageTiming>,
) -> Result<Made, RowError> {
    let row = match ticket {
        Ok(ticket) => ticket.timed().await,
        Err(error) => Err(error),
    }
    .map_err(RowError::Batch)?;
    if !row.values.iter().all(|value| value.is_finite()) {
        return Err(RowError::NotFinite);
    }
    let now = Instant::now();
    let computing = now.checked_sub(row.computed).unwrap_or(now);
    let waiting = computing.checked_sub(row.queued).unwrap_or(computing);
    for (stage, began, took) in [
        (Stage::Queue, waiting, row.queued),
        (Stage::Compute, computing, row.computed),
    ] {
        stages.push(StageTiming { stage, began, took });
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
