//! The speed of the engine alone.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::run::TensorRtEngine;
use siglip2_engine::{Batch, Completion, Engine, EngineError, Pixels, Rows, Tower};
use siglip2_image::RgbImage;
use siglip2_model::checkpoint::Config;

use super::cost;

/// Rows per second of the engine alone, for each batch size: one batch at a time, and one for
/// each slot at a time.
pub fn rates(
    engine: &mut TensorRtEngine,
    config: &Config,
    buckets: &[usize],
    span: Duration,
) -> Result<(), Box<dyn Error>> {
    let slots = engine.info().slots;
    println!(
        "| tower | batch | one at a time: rows/s | p50, p99 ms | {slots} at a time: rows/s | \
         TFLOP/s |\n| --- | --- | --- | --- | --- | --- |"
    );
    for tower in [Tower::Image, Tower::Text] {
        let flop = match tower {
            Tower::Image => cost::image(&config.vision),
            Tower::Text => cost::text(&config.text),
        };
        for &rows in buckets {
            let alone = rate(engine, config, tower, rows, 1, span)?;
            let full = rate(engine, config, tower, rows, slots, span)?;
            println!(
                "| {tower} | {rows} | {:.0} | {:.2}, {:.2} | {:.0} | {:.1} |",
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

/// Keeps a number of batches in flight for some time.
fn rate(
    engine: &mut TensorRtEngine,
    config: &Config,
    tower: Tower,
    rows: usize,
    under_way: usize,
    span: Duration,
) -> Result<Rate, Box<dyn Error>> {
    let mut waiting: VecDeque<(Instant, Receiver<Result<Rows, EngineError>>)> = VecDeque::new();
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < span || !waiting.is_empty() {
        while waiting.len() < under_way && begun.elapsed() < span {
            let batch = batch(engine, config, tower, rows)?;
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

/// Pictures of the model's own size in pinned memory, as decoders leave them; or texts.
fn batch(
    engine: &TensorRtEngine,
    config: &Config,
    tower: Tower,
    rows: usize,
) -> Result<Batch, Box<dyn Error>> {
    if tower == Tower::Text {
        let ids: Vec<i32> = (0..config.text.positions as i32).collect();
        return Ok(Batch::Texts(vec![ids; rows]));
    }
    let prepare = engine.preparer();
    let side = u32::try_from(config.vision.image_size)?;
    let bytes = 3 * side as usize * side as usize;
    let images = (0..rows)
        .map(|_| {
            let memory = prepare.memory(bytes)?.ok_or("there is no pinned memory")?;
            let image = RgbImage::lent(side, side, memory).ok_or("memory of another size")?;
            Ok(Pixels::Decoded(image))
        })
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    Ok(Batch::Images(images))
}
