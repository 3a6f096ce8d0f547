//! One request to the service: the only thing that embeds.
//!
//! A request takes the permits for all its rows before any of it is decoded, so it is either
//! refused early or carried through. Its deadline is its own: when it passes the request
//! leaves, and rows that other requests wait for are computed all the same.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::aside::aside;
use crate::batcher::{Permits, largest_request};
use crate::demand::Wish;
use crate::error::ServiceError;
use crate::metrics::Timings;
use crate::service::{Running, Service, State};
use crate::tokens::{LongTexts, PartialTexts, TextEmbeddings};
use crate::vectors::{
    self, Embeddings, PartialEmbeddings, PartialRanking, PartialSimilarity, Ranked, Similarity,
};
use siglip2_image::ImageLimits;

/// When to try again after a refusal: about the time in which a full queue moves on.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What is known about a request besides its images and texts.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The request is answered with [`ServiceError::Expired`] then, and rows that only it wants
    /// are not started.
    pub deadline: Option<Instant>,
    /// What to do with texts that have more tokens than the model reads.
    pub long_texts: LongTexts,
    /// Whether images are turned as their orientation tag says; by default as the setting has
    /// it.
    pub apply_orientation: Option<bool>,
    /// Where to record how long the stages took.
    pub timings: Arc<Timings>,
}

/// See the module documentation; created by [`Service::request`].
///
/// Dropping the future of one of its methods withdraws everything that has not started and
/// that nobody else waits for.
pub struct Request {
    pub(crate) service: Service,
    pub(crate) context: Context,
}

impl Request {
    pub(crate) fn new(service: Service, context: Context) -> Self {
        Self { service, context }
    }

    /// One embedding per text, L2-normalized if asked for, else the pooled output of the text
    /// tower; and how much of each text the model read.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`].
    pub async fn embed_texts(
        &self,
        texts: Vec<String>,
        normalize: bool,
    ) -> Result<TextEmbeddings, ServiceError> {
        self.in_time(async {
            let (running, mut permits) = self.reserve(texts.len())?;
            let (found, usage) = self.submit_texts(running, texts, &mut permits).await?;
            let rows = self.text_rows(found).await?;
            Ok(TextEmbeddings {
                embeddings: self.embeddings(rows, normalize).await?,
                usage,
            })
        })
        .await
    }

    /// One embedding per image, L2-normalized if asked for, else the pooled output of the
    /// vision tower.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`]. One bad image fails the whole request, and the error names it.
    pub async fn embed_images(
        &self,
        images: Vec<Bytes>,
        normalize: bool,
    ) -> Result<Embeddings, ServiceError> {
        self.in_time(async {
            let (running, mut permits) = self.reserve(images.len())?;
            let rows = self.image_rows(running, images, &mut permits).await?;
            self.embeddings(rows, normalize).await
        })
        .await
    }

    /// Like [`Request::embed_images`], but a bad image only costs its own row.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`]; never [`ServiceError::Image`].
    pub async fn embed_good_images(
        &self,
        images: Vec<Bytes>,
        normalize: bool,
    ) -> Result<PartialEmbeddings, ServiceError> {
        self.in_time(async {
            let (running, mut permits) = self.reserve(images.len())?;
            let rows = self.image_rows_each(running, images, &mut permits).await?;
            let (rows, bad) = apart(rows);
            Ok(PartialEmbeddings {
                embeddings: self.embeddings(rows, normalize).await?,
                bad,
            })
        })
        .await
    }

    /// Like [`Request::embed_texts`], but a bad text only costs its own row. One of more than
    /// `most_bytes` is bad.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`]; never [`ServiceError::Text`].
    pub async fn embed_good_texts(
        &self,
        texts: Vec<String>,
        most_bytes: usize,
        normalize: bool,
    ) -> Result<PartialTexts, ServiceError> {
        self.in_time(async {
            let (running, mut permits) = self.reserve(texts.len())?;
            let submitted = self
                .submit_texts_each(running, texts, most_bytes, &mut permits)
                .await?;
            let rows = self.text_rows_each(submitted).await?;
            let (rows, bad) = apart(rows);
            let (rows, usage) = rows.into_iter().unzip();
            Ok(PartialTexts {
                embeddings: self.embeddings(rows, normalize).await?,
                usage,
                bad,
            })
        })
        .await
    }

    /// How well each text matches each image.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`].
    pub async fn similarity(
        &self,
        images: Vec<Bytes>,
        texts: Vec<String>,
    ) -> Result<Similarity, ServiceError> {
        self.in_time(async {
            let (running, mut permits) = self.reserve(images.len() + texts.len())?;
            // Texts first: they reach the engine while the images are still being decoded.
            let (texts, _) = self.submit_texts(running, texts, &mut permits).await?;
            let images = self.image_rows(running, images, &mut permits).await?;
            let texts = self.text_rows(texts).await?;
            self.compared(texts, images).await
        })
        .await
    }

    /// Like [`Request::similarity`], but a bad image only costs its own column, and a bad text its own
    /// row. A text of more than `most_text_bytes` is bad.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`]; never [`ServiceError::Image`] or [`ServiceError::Text`].
    pub async fn similarity_of_good(
        &self,
        images: Vec<Bytes>,
        texts: Vec<String>,
        most_text_bytes: usize,
    ) -> Result<PartialSimilarity, ServiceError> {
        self.in_time(async {
            let (running, mut permits) = self.reserve(images.len() + texts.len())?;
            let texts = self
                .submit_texts_each(running, texts, most_text_bytes, &mut permits)
                .await?;
            let images = self.image_rows_each(running, images, &mut permits).await?;
            let (images, bad_images) = apart(images);
            let (texts, bad_texts) = apart(self.text_rows_each(texts).await?);
            let texts = texts.into_iter().map(|(row, _)| row).collect();
            Ok(PartialSimilarity {
                similarity: self.compared(texts, images).await?,
                bad_images,
                bad_texts,
            })
        })
        .await
    }

    /// The images by how well they match the query, best first.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`].
    pub async fn rank(
        &self,
        images: Vec<Bytes>,
        query: String,
    ) -> Result<Vec<Ranked>, ServiceError> {
        let similarity = self.similarity(images, vec![query]).await?;
        Ok(self.ranked(&similarity))
    }

    /// Like [`Request::rank`], but a bad image only has no rank. A bad query fails the request.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`]; never [`ServiceError::Image`].
    pub async fn rank_good(
        &self,
        images: Vec<Bytes>,
        query: String,
    ) -> Result<PartialRanking, ServiceError> {
        let PartialSimilarity {
            similarity,
            bad_images: bad,
            bad_texts,
        } = self
            .similarity_of_good(images, vec![query], usize::MAX)
            .await?;
        if let Some((index, error)) = bad_texts.into_iter().next() {
            return Err(ServiceError::Text { index, error });
        }
        let ranked = self.ranked(&similarity);
        Ok(PartialRanking { ranked, bad })
    }

    /// The images that have a row, by how well they match the one text.
    fn ranked(&self, similarity: &Similarity) -> Vec<Ranked> {
        let text = similarity.texts.rows().next().unwrap_or_default();
        let images = similarity.images.rows().enumerate();
        let good = images.filter(|(_, image)| !image.is_empty());
        vectors::rank(good.map(|(index, image)| (index, self.service.score(text, image))))
    }

    /// Does the work, or gives it up at the deadline.
    pub(crate) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, ServiceError>>,
    ) -> Result<T, ServiceError> {
        match self.context.deadline {
            None => work.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), work)
                .await
                .unwrap_or(Err(ServiceError::Expired)),
        }
    }

    pub(crate) fn reserve(&self, rows: usize) -> Result<(&Running, Permits), ServiceError> {
        let state = self.service.state();
        // Not refused because of a drain: the request was accepted before it began.
        let (State::Ready | State::Draining, Some(running)) = (state, self.service.running())
        else {
            return Err(ServiceError::Unavailable(state));
        };
        let most = largest_request(self.service.settings().max_queued_rows);
        if rows > most {
            return Err(ServiceError::TooMuch {
                what: format!(
                    "the request has {rows} images and texts together; at most {most} are \
                     taken at once"
                ),
            });
        }
        let permits = running
            .batcher
            .reserve(rows)
            .map_err(|_| ServiceError::Busy {
                retry_after: RETRY_AFTER,
            })?;
        Ok((running, permits))
    }

    /// What the request demands of its rows.
    pub(crate) fn wish(&self, permits: &Permits) -> Wish {
        Wish {
            deadline: self.context.deadline,
            interactive: permits.are_interactive(),
        }
    }

    /// What its images may be, and whether they are turned.
    pub(crate) fn limits(&self) -> ImageLimits {
        let images = self.service.info().images;
        let limits = self.service.settings().limits_for(images);
        let said = self.context.apply_orientation;
        ImageLimits {
            apply_orientation: said.unwrap_or(limits.apply_orientation),
            ..limits
        }
    }

    pub(crate) async fn embeddings(
        &self,
        rows: Vec<Vec<f32>>,
        normalize: bool,
    ) -> Result<Embeddings, ServiceError> {
        let dimensions = self.service.info().dimensions;
        if !normalize {
            return Ok(Embeddings::new(dimensions, rows));
        }
        let products = 2 * rows.len() * dimensions;
        aside(products, move || Embeddings::given(dimensions, rows)).await
    }

    /// How well each text matches each image, from rows of the engine.
    async fn compared(
        &self,
        texts: Vec<Vec<f32>>,
        images: Vec<Vec<f32>>,
    ) -> Result<Similarity, ServiceError> {
        let dimensions = self.service.info().dimensions;
        let (scale, bias) = self.service.logits();
        // Those of the norms among them.
        let products = (texts.len() + 2) * (images.len() + 2) * dimensions;
        let work = move || {
            let texts = Embeddings::given(dimensions, texts);
            let images = Embeddings::given(dimensions, images);
            vectors::similarity(texts, images, scale, bias)
        };
        aside(products, work).await
    }
}

/// What each item gave, with nothing in place of the bad ones; and these, with their indexes.
pub(crate) fn apart<T: Default, E>(items: Vec<Result<T, E>>) -> (Vec<T>, Vec<(usize, E)>) {
    let mut bad = Vec::new();
    let items = items.into_iter().enumerate().map(|(index, item)| {
        item.unwrap_or_else(|error| {
            bad.push((index, error));
            T::default()
        })
    });
    (items.collect(), bad)
}
