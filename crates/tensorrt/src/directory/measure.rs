//! Checks an engine's vectors against the canary's, which were computed in FP32.
//!
//! Every batch size has kernels of its own, and every slot its own contexts and graphs, so each
//! of them is checked: a fault of one size, or of one slot, shows in no other. Where pictures are
//! of variable resolution, every number of patches has a canary of its own.
//!
//! Every third picture of a batch is the canary mirrored, and every batch of texts has several, so
//! that rows that are mixed up within a batch show as well. There is no vector in FP32 for the
//! mirrored canary; it must have the one that it has in a batch of 1.

use std::sync::mpsc;

use super::ranks::agreement;
use super::{BatchSize, Bounds, Canary, Cosines, Manifest, Place, SmallCosines};
use siglip2_engine::{Batch, Completion, Engine, EngineError, Pixels, Rows, Tower, cosine, embed};
use siglip2_image::RgbImage;

/// The lowest cosine of each tower's vectors to the canary's, over all batch sizes and slots of
/// an engine of the directory that `manifest` describes; `name` is the device's. In FP8 the worst
/// vector of each canary is also ranked among the others.
///
/// # Errors
///
/// When the engine fails on the canary.
pub fn measure(
    engine: &mut dyn Engine,
    canary: &Canary,
    manifest: &Manifest,
    name: &str,
) -> Result<Cosines, EngineError> {
    let most = engine.info().max_batch.max(1);
    let processor = engine.preparer();
    let patches = processor.processor().and_then(|it| it.target().patches());
    let patches = patches.map(|(_, most)| most as usize);
    let is_small = |rows: usize| manifest.small_batches.is_some_and(|small| rows <= small);
    // Of small batches, if those have engines of their own, and of all others.
    let mut lowest = [[Lowest::default(); 2]; 2];
    let mut worst = Worst::new(canary);
    let bounds = Bounds::of(manifest.precision);
    let mut mirrored: Option<Mirrored> = None;
    let mut lowest_mirrored = Lowest::default();
    for (number, tower) in [Tower::Image, Tower::Text].into_iter().enumerate() {
        for mut size in manifest.sizes_of(tower, most, patches) {
            size.rows = size.rows.min(most);
            let lowest = &mut lowest[usize::from(!is_small(size.rows))][number];
            let mut note = |item, row: &[f32], cosine, at| match item {
                Some(item) => {
                    lowest.note(cosine, at);
                    worst.note(item, row, cosine);
                }
                None => lowest_mirrored.note(cosine, at),
            };
            let canary = Fitting::of(canary, manifest, size)?;
            if tower == Tower::Image && mirrored.as_ref().is_none_or(|it| it.size != size.patches) {
                mirrored = Some(Mirrored::of(
                    engine,
                    &canary,
                    size.patches,
                    bounds,
                    &mut note,
                )?);
            }
            in_every_slot(engine, &canary, mirrored.as_ref(), tower, size, &mut note)?;
        }
    }
    let [[small_image, small_text], [image, text]] = lowest;
    let small = small_image.at.map(|_| SmallCosines {
        image: small_image.cosine,
        text: small_text.cosine,
        image_at: small_image.at,
        text_at: small_text.at,
    });
    let (image, text) = match image.at {
        Some(_) => (image, text),
        // The largest batch is a small one.
        None => (small_image, small_text),
    };
    let is_wrong = |cosine: f64| cosine.is_nan() || cosine < bounds.least;
    // A canary that is wrong says more.
    if let Some(at) = lowest_mirrored.at
        && is_wrong(lowest_mirrored.cosine)
        && !is_wrong(image.cosine)
    {
        return Err(EngineError::Failed(format!(
            "the mirrored canary has cosine {:.6} in {at} to its vector in a batch of 1; use another \
             TensorRT version or --precision fp32",
            lowest_mirrored.cosine
        )));
    }
    let ranked = bounds.least_ranks > 0.0;
    Ok(Cosines {
        image: image.cosine,
        text: text.cosine,
        image_at: image.at,
        text_at: text.at,
        small,
        ranks: ranked.then(|| worst.ranks(canary)),
        measured_on: name.to_owned(),
    })
}

/// The canary, with the picture for batches of one size.
struct Fitting<'a> {
    image: &'a RgbImage,
    image_embedding: &'a [f32],
    all: &'a Canary,
}

impl<'a> Fitting<'a> {
    fn of(all: &'a Canary, manifest: &Manifest, size: BatchSize) -> Result<Self, EngineError> {
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
struct Mirrored {
    /// The number of patches that it is padded to, if it has any.
    size: Option<usize>,
    image: RgbImage,
    embedding: Vec<f32>,
    /// The cosine from which on a row is taken for the other picture's, if the two have vectors by
    /// which they can be told apart.
    taken_for_other: Option<f64>,
}

impl Mirrored {
    /// Embeds it once in every slot, so that slots stay in turn.
    fn of(
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
    fn is_in(row: usize, rows: usize, slot: usize) -> bool {
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

/// What gets the number of each canary (`None`: mirrored), its row and cosine, and where that was.
type Note<'a> = dyn FnMut(Option<usize>, &[f32], f64, Place) + 'a;

/// The worst row of each canary: the picture's, then those of the texts.
struct Worst(Vec<(f64, Vec<f32>)>);

impl Worst {
    fn new(canary: &Canary) -> Self {
        Self(vec![(f64::INFINITY, Vec::new()); 1 + canary.texts.len()])
    }

    fn note(&mut self, item: usize, row: &[f32], cosine: f64) {
        let (worst, kept) = &mut self.0[item];
        if !worst.is_nan() && (cosine.is_nan() || cosine < *worst) {
            *worst = cosine;
            kept.clear();
            kept.extend_from_slice(row);
        }
    }

    fn ranks(&self, canary: &Canary) -> f64 {
        let expected = std::iter::once(&canary.image_embedding).chain(&canary.text_embeddings);
        // Where batches are small, some texts were in none.
        let seen = expected
            .zip(&self.0)
            .filter(|(_, (_, row))| !row.is_empty());
        let (expected, found): (Vec<&[f32]>, Vec<&[f32]>) = seen
            .map(|(expected, (_, row))| (expected.as_slice(), row.as_slice()))
            .unzip();
        agreement(&expected, &found)
    }
}

/// Fills a batch with canaries for each slot, all before the first is waited for: slots are used
/// in turn, so each gets one.
fn in_every_slot(
    engine: &mut dyn Engine,
    canary: &Fitting<'_>,
    mirrored: Option<&Mirrored>,
    tower: Tower,
    size: BatchSize,
    note: &mut Note<'_>,
) -> Result<(), EngineError> {
    let BatchSize { rows, patches } = size;
    let slots = engine.info().slots.max(1);
    let (done, results) = mpsc::channel();
    for slot in 1..=slots {
        let batch = match tower {
            Tower::Image => images(engine, canary, mirrored, size, slot)?,
            Tower::Text => {
                // Shifted, so that no slot has the others' rows.
                let texts = canary.all.texts.iter().cycle().skip(slot - 1);
                Batch::Texts(texts.take(rows).cloned().collect())
            }
        };
        let done = done.clone();
        let answer = move |result| {
            // The receiver waits below.
            let _ = done.send((slot, result));
        };
        engine.submit(batch, Completion::new(answer));
    }
    // So that the wait ends with the last completion.
    drop(done);
    let mut answered = 0;
    for (slot, result) in &results {
        let found: Rows = result?;
        if found.len() != rows {
            let why = format!("{} rows for a batch of {rows}", found.len());
            return Err(EngineError::Failed(why));
        }
        let at = Place {
            rows,
            patches,
            slot,
        };
        let texts = canary.all.text_embeddings.iter().enumerate();
        let texts = texts.cycle().skip(slot - 1);
        match tower {
            Tower::Image => {
                for (number, row) in found.iter().enumerate() {
                    let to_canary = cosine(row, canary.image_embedding);
                    let Some(mirrored) = mirrored else {
                        note(Some(0), row, to_canary, at);
                        continue;
                    };
                    let to_mirrored = cosine(row, &mirrored.embedding);
                    let (item, own, other) = match Mirrored::is_in(number, rows, slot) {
                        true => (None, to_mirrored, to_canary),
                        false => (Some(0), to_canary, to_mirrored),
                    };
                    if let Some(taken) = mirrored.taken_for_other
                        && other >= taken
                        && other > own
                    {
                        return Err(EngineError::Failed(format!(
                            "rows are mixed up in {at}: row {} has the vector of another picture; use \
                             another TensorRT version",
                            number + 1
                        )));
                    }
                    note(item, row, own, at);
                }
            }
            Tower::Text => std::iter::zip(found.iter(), texts)
                .for_each(|(row, (text, it))| note(Some(1 + text), row, cosine(row, it), at)),
        }
        answered += 1;
    }
    match answered == slots {
        true => Ok(()),
        false => Err(EngineError::Failed("it never answered".into())),
    }
}

/// The canary's picture, so many times, and some of them mirrored.
fn images(
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

/// The lowest cosine so far, and where it was.
#[derive(Clone, Copy)]
struct Lowest {
    cosine: f64,
    at: Option<Place>,
}

impl Default for Lowest {
    fn default() -> Self {
        Self {
            cosine: f64::INFINITY,
            at: None,
        }
    }
}

impl Lowest {
    /// One more; NaN is lower than any number.
    fn note(&mut self, cosine: f64, at: Place) {
        if !self.cosine.is_nan() && (cosine.is_nan() || cosine < self.cosine) {
            *self = Self {
                cosine,
                at: Some(at),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use siglip2_engine::{EngineInfo, Prepare};
    use siglip2_image::ImageError;
    use siglip2_model::graph::Precision;

    use super::*;

    /// An engine whose vectors are the sums of each column of a picture, and what it does wrong.
    struct Columns {
        /// The rows of batches of this size are those of the next item.
        mixes: usize,
        /// Pictures that begin with this byte have another vector in batches of more than one.
        spoils: Option<u8>,
    }

    fn columns(image: &RgbImage) -> Vec<f32> {
        let mut sums = vec![0.0; image.width() as usize];
        let pixels = image.pixels().as_chunks::<3>().0.iter();
        for (at, pixel) in pixels.enumerate() {
            let width = sums.len();
            sums[at % width] += pixel.iter().map(|&it| f32::from(it)).sum::<f32>();
        }
        sums
    }

    struct AsItIs;

    impl Prepare for AsItIs {
        fn prepare(&self, image: RgbImage) -> Result<Pixels, ImageError> {
            Ok(Pixels::Decoded(image))
        }
    }

    impl Engine for Columns {
        fn info(&self) -> EngineInfo {
            EngineInfo {
                name: "columns",
                device: "cuda",
                precision: "fp16",
                agreement: None,
                dimensions: 4,
                max_batch: 8,
                slots: 2,
                device_timeout: None,
            }
        }

        fn preparer(&self) -> Arc<dyn Prepare> {
            Arc::new(AsItIs)
        }

        fn submit(&mut self, batch: Batch, done: Completion) {
            let count = batch.len();
            let mut rows: Vec<Vec<f32>> = match batch {
                Batch::Images(images) => {
                    let mut rows = Vec::new();
                    for image in &images {
                        let image = image.decoded().unwrap();
                        let mut row = columns(image);
                        if count > 1 && self.spoils == Some(image.pixels()[0]) {
                            row[0] = -1000.0;
                        }
                        rows.push(row);
                    }
                    if count == self.mixes {
                        rows.rotate_left(1);
                    }
                    rows
                }
                Batch::Texts(texts) => texts
                    .iter()
                    .map(|ids| ids.iter().map(|&id| id as f32).collect())
                    .collect(),
            };
            let values = rows.drain(..).flatten().collect();
            done.finish(Rows::new(4, values));
        }
    }

    fn measured(engine: &mut Columns, first: u8) -> Result<Cosines, EngineError> {
        // The first column is the brightest, or all are the same.
        let line = [first, 20, 30, 10].map(|it| [it; 3]);
        let line = if first == 10 { [[10; 3]; 4] } else { line };
        let image = RgbImage::new(4, 2, [line, line].concat().concat()).unwrap();
        let texts = vec![vec![1, 2, 3, 4], vec![4, 0, 0, 1]];
        let canary = Canary {
            image_embedding: columns(&image),
            image,
            text_embeddings: texts
                .iter()
                .map(|ids| ids.iter().map(|&id| id as f32).collect())
                .collect(),
            texts,
            grids: Vec::new(),
        };
        let manifest = super::super::manifest::tests::manifest();
        measure(engine, &canary, &manifest, "a GPU")
    }

    #[test]
    fn rows_that_are_mixed_up_within_a_batch_are_seen() {
        let mut engine = Columns {
            mixes: 0,
            spoils: None,
        };
        let cosines = measured(&mut engine, 200).unwrap();
        let precision = Precision::Fp16;
        assert_eq!(
            (cosines.fault(precision), cosines.doubt(precision)),
            (None, None)
        );
        for rows in [2, 4, 8] {
            engine.mixes = rows;
            let said = measured(&mut engine, 200).unwrap_err().to_string();
            let place = format!("rows are mixed up in a batch of {rows} (slot ");
            assert!(said.contains(&place), "{said}");
        }
        // Where the two pictures have one vector nothing can be told, and nothing is said.
        assert!(measured(&mut engine, 10).is_ok());
    }

    #[test]
    fn the_mirrored_picture_has_one_vector_in_every_batch() {
        let mut engine = Columns {
            mixes: 0,
            // How the mirrored picture begins.
            spoils: Some(10),
        };
        let said = measured(&mut engine, 200).unwrap_err().to_string();
        assert!(said.contains("the mirrored canary has cosine "), "{said}");
        // The canary itself: a fault, with its place.
        engine.spoils = Some(200);
        let cosines = measured(&mut engine, 200).unwrap();
        let said = cosines.fault(Precision::Fp16).unwrap();
        assert!(said.contains("in a batch of 2 (slot 1)"), "{said}");
    }

    #[test]
    fn nan_is_the_lowest_and_stays() {
        let mut lowest = Lowest::default();
        for (number, cosine) in [1.0, 0.5, 0.9, f64::NAN, 0.1].into_iter().enumerate() {
            let at = Place {
                rows: number,
                patches: None,
                slot: 1,
            };
            lowest.note(cosine, at);
        }
        assert!(lowest.cosine.is_nan());
        assert_eq!(lowest.at.map(|at| at.rows), Some(3));
    }
}
