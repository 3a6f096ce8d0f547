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

use super::{BatchSize, Bounds, Canary, Cosines, Manifest, Place, SmallCosines};
use siglip2_engine::{Batch, Completion, Engine, EngineError, Rows, Tower, cosine};

mod lowest;
mod pictures;
#[cfg(test)]
mod tests;

use lowest::{Lowest, Note, Worst};
use pictures::{Fitting, Mirrored, images};

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
