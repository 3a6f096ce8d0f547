//! One request to the service: the only thing that embeds.
//!
//! A request takes the permits for all its rows before any of it is decoded, so it is either
//! refused early or carried through. Its deadline is its own: when it passes the request
//! leaves, and rows that other requests wait for are computed all the same.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::batcher::{Permits, largest_request};
use crate::demand::Wish;
use crate::error::ServiceError;
use crate::metrics::Timings;
use crate::service::{Running, Service, State};
use crate::tokens::{LongTexts, TextEmbeddings};
use crate::vectors::{self, Embeddings, PartialEmbeddings, Ranked, Similarity};
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
                embeddings: self.embeddings(rows, normalize),
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
            Ok(self.embeddings(rows, normalize))
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
            let mut bad = Vec::new();
            let rows = rows.into_iter().enumerate().map(|(index, row)| {
                row.unwrap_or_else(|error| {
                    bad.push((index, error));
                    Vec::new()
                })
            });
            let rows = rows.collect();
            Ok(PartialEmbeddings {
                embeddings: self.embeddings(rows, normalize),
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
            let (scale, bias) = self.service.logits();
            Ok(vectors::similarity(
                self.embeddings(texts, true),
                self.embeddings(images, true),
                scale,
                bias,
            ))
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
        let text = similarity.texts.rows().next().unwrap_or_default();
        let images = similarity.images.rows();
        Ok(vectors::rank(
            images.map(|image| self.service.score(text, image)),
        ))
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

    pub(crate) fn embeddings(&self, rows: Vec<Vec<f32>>, normalize: bool) -> Embeddings {
        let mut embeddings = Embeddings::new(self.service.info().dimensions, rows);
        if normalize {
            embeddings.normalize();
        }
        embeddings
    }
}
