//! Texts and images in one request, in any order. Both towers work on them at the same time,
//! and the rows are returned in the order of the items.

use bytes::Bytes;

use crate::error::ServiceError;
use crate::request::{Request, apart};
use crate::tokens::{TextError, TokenUsage};
use crate::vectors::Embeddings;
use siglip2_image::ImageError;

/// An item to embed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A text.
    Text(String),
    /// An image file.
    Image(Bytes),
}

/// Embeddings of texts and images, in the order of the items.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemEmbeddings {
    /// One row per item.
    pub embeddings: Embeddings,
    /// What was read of each text, in the order of the texts.
    pub usage: Vec<TokenUsage>,
}

/// Embeddings of texts and images, some of which may be bad.
#[derive(Clone, Debug, PartialEq)]
pub struct PartialItems {
    /// The row of a bad item has no floats, and of a bad text nothing was read.
    pub items: ItemEmbeddings,
    /// The bad images: their index among the items, and what is wrong with each.
    pub bad_images: Vec<(usize, ImageError)>,
    /// The bad texts: their index among the items, and what is wrong with each.
    pub bad_texts: Vec<(usize, TextError)>,
}

impl Request {
    /// One embedding per item, L2-normalized if asked for, else the pooled output of its tower.
    /// All items take their permits together, like the rows of any request.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`]. One bad item fails the whole request, and the index in the error
    /// is its index among the items.
    pub async fn embed_items(
        &self,
        items: Vec<Item>,
        normalize: bool,
    ) -> Result<ItemEmbeddings, ServiceError> {
        let embedded = self.embed_mixed(items, normalize, BadItem::FailsAll).await;
        Ok(embedded?.items)
    }

    /// Like [`Request::embed_items`], but a bad item only costs its own row. A text of more than
    /// `most_text_bytes` is bad.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`]; never [`ServiceError::Image`] or [`ServiceError::Text`].
    pub async fn embed_good_items(
        &self,
        items: Vec<Item>,
        most_text_bytes: usize,
        normalize: bool,
    ) -> Result<PartialItems, ServiceError> {
        let bad = BadItem::FailsItself { most_text_bytes };
        self.embed_mixed(items, normalize, bad).await
    }

    async fn embed_mixed(
        &self,
        items: Vec<Item>,
        normalize: bool,
        bad: BadItem,
    ) -> Result<PartialItems, ServiceError> {
        let (mut texts, mut images) = (Kind::default(), Kind::default());
        for (place, item) in items.into_iter().enumerate() {
            match item {
                Item::Text(text) => texts.push(place, text),
                Item::Image(file) => images.push(place, file),
            }
        }
        self.in_time(async {
            let (running, mut permits) = self.reserve(texts.places.len() + images.places.len())?;
            let permits = &mut permits;
            // Texts first: they reach the engine while the images are still being decoded.
            let ((of_texts, mut bad_texts), (of_images, mut bad_images)) = match bad {
                BadItem::FailsAll => {
                    let (found, usage) = self
                        .submit_texts(running, texts.items, permits)
                        .await
                        .map_err(|error| placed(error, &texts.places))?;
                    let of_images = self.image_rows(running, images.items, permits).await;
                    let of_images = of_images.map_err(|error| placed(error, &images.places))?;
                    let of_texts = self.text_rows(found).await?.into_iter().zip(usage);
                    ((of_texts.collect(), Vec::new()), (of_images, Vec::new()))
                }
                BadItem::FailsItself { most_text_bytes } => {
                    let submitted = self
                        .submit_texts_each(running, texts.items, most_text_bytes, permits)
                        .await?;
                    let of_images = self.image_rows_each(running, images.items, permits);
                    let of_images = apart(of_images.await?);
                    (apart(self.text_rows_each(submitted).await?), of_images)
                }
            };
            for (index, _) in &mut bad_texts {
                *index = texts.places[*index];
            }
            for (index, _) in &mut bad_images {
                *index = images.places[*index];
            }
            let (of_texts, usage): (Vec<_>, Vec<_>) = of_texts.into_iter().unzip();
            let mut rows = vec![Vec::new(); texts.places.len() + images.places.len()];
            let of_texts = texts.places.into_iter().zip(of_texts);
            for (place, row) in of_texts.chain(images.places.into_iter().zip(of_images)) {
                rows[place] = row;
            }
            let items = ItemEmbeddings {
                embeddings: self.embeddings(rows, normalize).await?,
                usage,
            };
            Ok(PartialItems {
                items,
                bad_images,
                bad_texts,
            })
        })
        .await
    }
}

/// What a bad item costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BadItem {
    /// The whole request.
    FailsAll,
    /// Its own row. A text is also bad if it has more bytes than this.
    FailsItself {
        /// Bytes that a text may have.
        most_text_bytes: usize,
    },
}

/// The items of one kind, and the index of each among all items.
struct Kind<T> {
    places: Vec<usize>,
    items: Vec<T>,
}

impl<T> Default for Kind<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            items: Vec::new(),
        }
    }
}

impl<T> Kind<T> {
    fn push(&mut self, place: usize, item: T) {
        self.places.push(place);
        self.items.push(item);
    }
}

/// The error, with its index among all items.
fn placed(error: ServiceError, places: &[usize]) -> ServiceError {
    let place = |index: usize| places.get(index).copied().unwrap_or(index);
    match error {
        ServiceError::Image { index, error } => ServiceError::Image {
            index: place(index),
            error,
        },
        ServiceError::Text { index, error } => ServiceError::Text {
            index: place(index),
            error,
        },
        other => other,
    }
}
