//! JPEG files decoded on the card: how far their vectors are from those of the CPU's pixels, and how
//! fast decoding, resize and tower are together.

use std::collections::VecDeque;
use std::error::Error;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::nvjpeg::NvJpeg;
use crate::run::{Gpu, Steps, TensorRtEngine, card_backend};
use siglip2_engine::{Batch, CodedImage, Completion, Engine, EngineError, Pixels, Rows, cosine};
use siglip2_image::{ImageLimits, decode};

/// nvJPEG, if it can be used on this GPU; prints which it is, or why not.
pub fn find(gpu: &Gpu, search: &crate::libraries::Search) -> Option<&'static NvJpeg> {
    let found = NvJpeg::open(search)
        .map_err(|error| error.to_string())
        .and_then(|nvjpeg| match card_backend(gpu, nvjpeg) {
            Ok(backend) => Ok((nvjpeg, backend)),
            Err(error) => Err(error.to_string()),
        });
    match found {
        Ok((nvjpeg, backend)) => {
            println!("- nvJPEG {}: {backend}", nvjpeg.version());
            Some(nvjpeg)
        }
        Err(error) => {
            println!("- no nvJPEG: {error}");
            None
        }
    }
}

/// Compares and measures with the JPEG files of a directory.
pub fn check(
    engine: &mut TensorRtEngine,
    directory: &Path,
    span: Duration,
    steps: &Steps,
) -> Result<(), Box<dyn Error>> {
    let mut paths: Vec<_> = std::fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    let limits = ImageLimits::default();
    let (mut files, mut others, mut cosines) = (Vec::new(), 0, Vec::new());
    for path in paths {
        steps.begin(format!("embedding {}", path.display()));
        let file = std::fs::read(&path)?;
        let Some(coded) = take(engine, &file)? else {
            others += 1;
            continue;
        };
        let pixels = decode(&file, &limits)?;
        let pixels = engine.preparer().prepare(pixels)?;
        let card = row(engine, Pixels::Coded(coded))?;
        let cpu = row(engine, pixels)?;
        cosines.push(cosine(&card, &cpu));
        files.push(file);
    }
    let worst = cosines.iter().copied().fold(f64::INFINITY, f64::min);
    let mean = cosines.iter().sum::<f64>() / cosines.len().max(1) as f64;
    println!(
        "- JPEG files decoded on the card: {} of {}; cosine to the vectors of the CPU's pixels \
         {worst:.6} at worst, {mean:.6} on average",
        files.len(),
        files.len() + others
    );
    if files.is_empty() {
        return Ok(());
    }
    for rows in [1, engine.info().max_batch] {
        steps.begin(format!("measuring photos in batches of {rows}"));
        let rate = rate(engine, &files, rows, span)?;
        println!("- JPEG files decoded on the card, batches of {rows}: {rate:.0} per second");
    }
    Ok(())
}

fn take(engine: &TensorRtEngine, file: &[u8]) -> Result<Option<CodedImage>, EngineError> {
    engine.preparer().take_coded(file, &ImageLimits::default())
}

fn row(engine: &mut TensorRtEngine, pixels: Pixels) -> Result<Vec<f32>, Box<dyn Error>> {
    let rows = siglip2_engine::embed(engine, Batch::Images(vec![pixels]))?;
    Ok(rows.iter().next().ok_or("the engine gave no row")?.to_vec())
}

/// Files per second, with a batch in each slot.
fn rate(
    engine: &mut TensorRtEngine,
    files: &[Vec<u8>],
    rows: usize,
    span: Duration,
) -> Result<f64, Box<dyn Error>> {
    let slots = engine.info().slots;
    let mut waiting: VecDeque<Receiver<Result<Rows, EngineError>>> = VecDeque::new();
    let (mut next, mut done) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < span || !waiting.is_empty() {
        while waiting.len() < slots && begun.elapsed() < span {
            let mut batch = Vec::with_capacity(rows);
            for _ in 0..rows {
                let file = files.get(next % files.len()).ok_or("there is no file")?;
                batch.extend(take(engine, file)?.map(Pixels::Coded));
                next += 1;
            }
            let (finished, result) = channel();
            engine.submit(
                Batch::Images(batch),
                Completion::new(move |rows| {
                    // The receiver waits in the queue.
                    let _ = finished.send(rows);
                }),
            );
            waiting.push_back(result);
        }
        if let Some(result) = waiting.pop_front() {
            done += result.recv()??.len();
        }
    }
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}
