//! The pictures that batches are filled with: the canary's, and the same mirrored.

use siglip2_engine::{Batch, Engine, EngineError, Pixels, cosine, embed};
use siglip2_image::RgbImage;

use super::lowest::Note;
use crate::directory::{BatchSize, Bounds, Canary, Manifest, Place};

/// The canary, with the picture for batches of one size.
pub(super) struct Fitting<'a> {
    image: &'a RgbImage,
    pub(super) image_embedding: &'a [f32],
    pub(super) all: &'a Canary,
}

impl<'a> Fitting<'a> {
    pub(super) fn of(
        all: &'a Canary,
        manifest: &Manifest,
        size: BatchSize,
    ) -> Result<Self, EngineError> {
        let Some(patches) = size.patches else {
            return Ok(Self {
                image: &all.image,
                image_embedding: &all.image_embedding,
                all,
            });
        };
        let buckets = manifest.patches.iter().flat_map(|entry| &entry.buckets);
        let mut grids = std::iter::zip(buckets, &all.grids);
        let (_, (image, image_embedding)) = grids
            .find(|&(&bucket, _)| bucket == patches)
            .ok_or_else(|| EngineError::Failed(format!("no canary is for {size}")))?;
        Ok(Self {
            image,
            image_embedding,
            all,
        })
    }
}

/// The canary's picture, mirrored, and its vector in a batch of 1.
pub(super) struct Mirrored {
    /// The number of patches that it is padded to, if it has any.
    pub(super) size: Option<usize>,
    image: RgbImage,
    pub(super) embedding: Vec<f32>,
    /// The cosine from which on a row is taken for the other picture's, if the two have vectors by
    /// which they can be told apart.
    pub(super) taken_for_other: Option<f64>,
}

impl Mirrored {
    /// Embeds it once in every slot, so that slots stay in turn.
    pub(super) fn of(
        engine: &mut dyn Engine,
        canary: &Fitting<'_>,
        patches: Option<usize>,
        bounds: Bounds,
        note: &mut Note<'_>,
    ) -> Result<Self, EngineError> {
        let image = mirrored(canary.image)?;
        let mut embedding = Vec::new();
        for slot in 1..=engine.info().slots.max(1) {
            let batch = Batch::Images(vec![prepared(engine, &image, patches)?]);
            let rows = embed(engine, batch)?;
            let none = || EngineError::Failed("no row for a batch of 1".into());
            let row = rows.iter().next().ok_or_else(none)?;
            if slot == 1 {
                embedding = row.to_vec();
            }
            let at = Place {
                rows: 1,
                patches,
                slot,
            };
            note(None, row, cosine(row, &embedding), at);
        }
        let apart = cosine(&embedding, canary.image_embedding) < bounds.usual;
        Ok(Self {
            size: patches,
            image,
            embedding,
            taken_for_other: apart.then_some(bounds.least),
        })
    }

    /// Whether a row of a batch of so many is its own, and not the canary's, which is in all batches.
    /// Which ones are differs from slot to slot.
    pub(super) fn is_in(row: usize, rows: usize, slot: usize) -> bool {
        rows > 1 && (row + slot).is_multiple_of(3)
    }
}

/// A picture with left and right exchanged.
fn mirrored(image: &RgbImage) -> Result<RgbImage, EngineError> {
    let lines = image.pixels().chunks_exact(3 * image.width() as usize);
    let pixels = lines.flat_map(|line| line.rchunks_exact(3).flatten().copied());
    RgbImage::new(image.width(), image.height(), pixels.collect())
        .ok_or_else(|| EngineError::Failed("the canary's image has no pixels".into()))
}

/// The canary's picture, so many times, and some of them mirrored.
pub(super) fn images(
    engine: &dyn Engine,
    canary: &Fitting<'_>,
    mirrored: Option<&Mirrored>,
    size: BatchSize,
    slot: usize,
) -> Result<Batch, EngineError> {
    let image = |row| match mirrored.filter(|_| Mirrored::is_in(row, size.rows, slot)) {
        Some(mirrored) => &mirrored.image,
        None => canary.image,
    };
    let pixels = (0..size.rows).map(|row| prepared(engine, image(row), size.patches));
    Ok(Batch::Images(pixels.collect::<Result<_, _>>()?))
}

/// A picture as the engine takes it. One of whole patches is not resized.
fn prepared(
    engine: &dyn Engine,
    image: &RgbImage,
    patches: Option<usize>,
) -> Result<Pixels, EngineError> {
    let prepare = engine.preparer();
    let pixels = match patches {
        None => prepare.prepare(image.clone()),
        Some(_) => prepare.prepare_resized(image.clone()),
    };
    pixels.map_err(|error| EngineError::Failed(format!("the canary's image: {error}")))
}
