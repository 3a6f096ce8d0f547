//! The speed of the engine alone.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::directory::{BatchSize, Canary, Manifest};
use crate::run::{Steps, TensorRtEngine};
use siglip2_engine::{Batch, Completion, Engine, EngineError, Pixels, Rows, Tower};
use siglip2_image::RgbImage;
use siglip2_model::checkpoint::Config;

use super::cost;

/// Rows per second of the engine alone, for each batch size: one batch at a time, and one for
/// each slot at a time.
pub fn rates(
    engine: &mut TensorRtEngine,
    config: &Config,
    manifest: &Manifest,
    canary: &Canary,
    span: Duration,
    steps: &Steps,
) -> Result<(), Box<dyn Error>> {
    let slots = engine.info().slots;
    println!(
        "| tower | batch | one at a time: rows/s | p50, p99 ms | {slots} at a time: rows/s | \
         TFLOP/s |\n| --- | --- | --- | --- | --- | --- |"
    );
    for tower in [Tower::Image, Tower::Text] {
        for size in manifest.sizes_of(tower, manifest.max_batch, None) {
            let items = Items::new(config, manifest, canary, tower, size)?;
            steps.begin(format!("measuring the {tower} tower in batches of {size}"));
            let alone = rate(engine, &items, size.rows, 1, span)?;
            steps.begin(format!(
                "measuring the {tower} tower with {slots} batches of {size}"
            ));
            let full = rate(engine, &items, size.rows, slots, span)?;
            let flop = match (tower, &items) {
                (Tower::Text, _) => cost::text(&config.text),
                (Tower::Image, Items::Patches(image)) => {
                    let patches = patches(image, config.vision.patch_size);
                    cost::image(&config.vision, patches)
                }
                (Tower::Image, _) => cost::image(&config.vision, config.vision.patches()),
            };
            let batch = match size.patches {
                None => size.rows.to_string(),
                Some(patches) => format!("{} of {patches} patches", size.rows),
            };
            println!(
                "| {tower} | {batch} | {:.0} | {:.2}, {:.2} | {:.0} | {:.1} |",
                alone.rows_per_second,
                alone.p50.as_secs_f64() * 1e3,
                alone.p99.as_secs_f64() * 1e3,
                full.rows_per_second,
                full.rows_per_second * flop / 1e12,
            );
        }
    }
    Ok(())
}

struct Rate {
    rows_per_second: f64,
    p50: Duration,
    p99: Duration,
}

/// Keeps a number of batches on the device for some time.
fn rate(
    engine: &mut TensorRtEngine,
    items: &Items,
    rows: usize,
    under_way: usize,
    span: Duration,
) -> Result<Rate, Box<dyn Error>> {
    let mut waiting: VecDeque<(Instant, Receiver<Result<Rows, EngineError>>)> = VecDeque::new();
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < span || !waiting.is_empty() {
        while waiting.len() < under_way && begun.elapsed() < span {
            let batch = items.batch(engine, rows)?;
            let (done, result) = channel();
            let submitted = Instant::now();
            engine.submit(
                batch,
                Completion::new(move |rows| {
                    // The receiver waits in the queue.
                    let _ = done.send(rows);
                }),
            );
            waiting.push_back((submitted, result));
        }
        if let Some((submitted, result)) = waiting.pop_front() {
            let answer = result.recv()??;
            if answer.len() != rows {
                return Err("the engine lost rows".into());
            }
            took.push(submitted.elapsed());
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    took.sort();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    Ok(Rate {
        rows_per_second: (took.len() * rows) as f64 / seconds,
        p50: at(0.5),
        p99: at(0.99),
    })
}

/// What the rows of batches are made of.
enum Items {
    /// Pictures of the model's own size, with a side of so many pixels, as decoders leave them.
    Squares(u32),
    /// A picture of whole patches.
    Patches(RgbImage),
    /// Texts of so many token ids.
    Texts(usize),
}

impl Items {
    /// For batches of this size; pictures of patches are the canary's.
    fn new(
        config: &Config,
        manifest: &Manifest,
        canary: &Canary,
        tower: Tower,
        size: BatchSize,
    ) -> Result<Self, Box<dyn Error>> {
        if tower == Tower::Text {
            return Ok(Self::Texts(config.text.positions));
        }
        let Some(entry) = &manifest.patches else {
            return Ok(Self::Squares(u32::try_from(config.vision.image_size)?));
        };
        let mut grids = std::iter::zip(&entry.buckets, &canary.grids);
        let grid = grids.find(|&(&bucket, _)| Some(bucket) == size.patches);
        let (_, (image, _)) = grid.ok_or_else(|| format!("no canary is for {size}"))?;
        Ok(Self::Patches(image.clone()))
    }

    /// A batch of so many rows, whose pictures are in pinned memory.
    fn batch(&self, engine: &TensorRtEngine, rows: usize) -> Result<Batch, Box<dyn Error>> {
        let prepare = engine.preparer();
        let images = (0..rows).map(|_| match self {
            Self::Texts(_) => Ok(None),
            Self::Patches(image) => Ok(Some(prepare.prepare_resized(image.clone())?)),
            &Self::Squares(side) => {
                let bytes = 3 * side as usize * side as usize;
                let memory = prepare.memory(bytes)?.ok_or("there is no pinned memory")?;
                let image = RgbImage::lent(side, side, memory).ok_or("memory of another size")?;
                Ok(Some(Pixels::Decoded(image)))
            }
        });
        let images: Vec<Option<Pixels>> = images.collect::<Result<_, Box<dyn Error>>>()?;
        Ok(match self {
            &Self::Texts(tokens) => Batch::Texts(vec![(0..tokens as i32).collect(); rows]),
            _ => Batch::Images(images.into_iter().flatten().collect()),
        })
    }
}

/// How many patches a picture of whole ones has.
fn patches(image: &RgbImage, side: usize) -> usize {
    (image.width() as usize / side) * (image.height() as usize / side)
}
