//! What only a GPU can show, as one report: is the resize kernel equal to the CPU, are the
//! vectors right, how fast is the engine alone, and the copies.
//!
//! ```text
//! gpu-check --engine-dir DIR --> versions, kernel, canaries, rates per batch size, copies
//! ```
//!
//! `tools/gpu-check` runs this, and after it the service under load on the same GPU; the
//! report is Markdown for docs/performance.md.

use std::collections::VecDeque;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use clap::Parser;
use siglip2_embeddings::checkpoint::Config;
use siglip2_embeddings::engine::directory::{ElementType, EngineDirectory, measure};
use siglip2_embeddings::engine::tensorrt::kernel::Element;
use siglip2_embeddings::engine::tensorrt::libraries::{Libraries, Search};
use siglip2_embeddings::engine::tensorrt::probe::{Probe, driver_version, memory_taken, pictures};
use siglip2_embeddings::engine::tensorrt::{
    TensorRtEngine, TensorRtOptions, gpus, pinned_pictures,
};
use siglip2_embeddings::engine::{Batch, Completion, Engine, EngineError, Pixels, Rows, Tower};
use siglip2_embeddings::image::{Processor, RgbImage};

mod cost;

#[derive(Parser)]
#[command(version, about = "Checks and measures an engine directory on a GPU")]
struct Arguments {
    /// The engine directory.
    #[arg(long)]
    engine_dir: PathBuf,
    /// The GPU's number.
    #[arg(long, default_value_t = 0)]
    gpu: usize,
    /// Directory of TensorRT's libraries; by default it is looked for.
    #[arg(long, env = "TENSORRT_LIB_DIR")]
    tensorrt_lib: Option<PathBuf>,
    /// Seconds that each rate is measured for.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let there = gpus()?;
    let gpu = there
        .iter()
        .find(|gpu| gpu.ordinal == arguments.gpu)
        .ok_or_else(|| {
            format!(
                "there is no GPU {}; there are {}",
                arguments.gpu,
                there.len()
            )
        })?;
    let libraries = Libraries::open(&Search::new(arguments.tensorrt_lib, None))?;
    let directory = EngineDirectory::open(&arguments.engine_dir)?;
    let manifest = directory.manifest();
    println!("### {gpu}, {} in {}\n", manifest.model, manifest.precision);
    println!("- driver: CUDA {}", driver_version()?);
    println!(
        "- {} {}, engine built by {} with {} {}",
        libraries.version.flavour,
        libraries.version.version,
        manifest.created_by,
        manifest.tensorrt.flavour,
        manifest.tensorrt.version
    );

    let config_json = directory.read("config.json")?;
    let config = Config::parse(&config_json, "config.json")?;
    let side = u32::try_from(config.vision.image_size)?;
    let processor = Processor::from_json(&directory.read("preprocessor_config.json")?, side)?;
    let element = match manifest.towers.image.input.element {
        ElementType::Fp16 => Element::Fp16,
        _ => Element::Fp32,
    };
    let cubin = directory.read(&manifest.kernel.file)?;
    let mut probe = Probe::new(gpu, &cubin, &processor, element, manifest.max_batch)?;
    let equal = kernel_equals_cpu(&mut probe, &processor, element)?;
    copies(&mut probe, manifest.max_batch)?;
    drop(probe);

    let prepare = pinned_pictures(gpu, 512 << 20)?;
    let options = TensorRtOptions::default();
    let before = memory_taken(gpu)?;
    let begun = Instant::now();
    let mut engine =
        TensorRtEngine::load(gpu, &directory, &processor, Arc::clone(&prepare), &options)?;
    println!(
        "- both engines loaded, every batch size run on each of {} slots: {:.1} s, {} MiB of the \
         GPU's memory",
        options.slots,
        begun.elapsed().as_secs_f64(),
        memory_taken(gpu)?.saturating_sub(before) >> 20
    );
    let cosines = measure(&mut engine, &directory.canary()?, &gpu.name)?;
    println!(
        "- canary: cosine to FP32 {:.6} (image), {:.6} (text)\n",
        cosines.image, cosines.text
    );
    let span = Duration::from_secs_f64(arguments.seconds);
    rates(&mut engine, &config, &manifest.buckets, span)?;
    if let Some(fault) = cosines.fault() {
        return Err(fault.into());
    }
    if !equal {
        return Err("the resize kernel is not equal to the CPU".into());
    }
    Ok(())
}

/// Pictures that say something about every pixel.
fn noise(width: u32, height: u32, seed: u64) -> Result<RgbImage, Box<dyn Error>> {
    let mut state = seed;
    let pixels = (0..width as usize * height as usize * 3).map(|_| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 56) as u8
    });
    Ok(RgbImage::new(width, height, pixels.collect()).ok_or("a picture without pixels")?)
}

/// The sides that are tried: the model's own, its neighbours, small, odd, and large ones.
fn sizes(side: u32) -> Vec<(u32, u32)> {
    let mut sizes = vec![
        (1, 1),
        (1, 4000),
        (4000, 1),
        (3, 2),
        (1920, 1280),
        (1280, 1920),
        (4000, 3000),
        (65_535, 2),
        (2, 65_535),
    ];
    for width in [side - 1, side, side + 1, 2 * side, 333] {
        for height in [side - 1, side, side + 1, 97, 640] {
            sizes.push((width, height));
        }
    }
    sizes
}

fn kernel_equals_cpu(
    probe: &mut Probe,
    processor: &Processor,
    element: Element,
) -> Result<bool, Box<dyn Error>> {
    let sizes = sizes(processor.size());
    let mut equal = 0;
    // All of them one by one, and in ragged batches of 4.
    let batches = sizes.chunks(1).chain(sizes.chunks(4));
    let mut tried = 0;
    for (number, batch) in batches.enumerate() {
        let images = batch
            .iter()
            .map(|&(width, height)| noise(width, height, number as u64))
            .collect::<Result<Vec<_>, _>>()?;
        let expected = images
            .iter()
            .map(|image| Ok(tensor(&processor.resize(image)?, processor, element)))
            .collect::<Result<Vec<_>, Box<dyn Error>>>()?
            .concat();
        let (found, _) = probe.resize(&pictures(images))?;
        tried += 1;
        if found == expected {
            equal += 1;
        } else {
            println!("- **resize differs** for {batch:?}");
        }
    }
    println!("- resize kernel: {equal} of {tried} batches equal to the CPU, bit for bit");
    Ok(equal == tried)
}

/// The tower's input as the CPU makes it: channels apart, through the processor's table.
fn tensor(square: &RgbImage, processor: &Processor, element: Element) -> Vec<u8> {
    let mut values = Vec::with_capacity(square.pixels().len());
    for (channel, table) in processor.normalization().iter().enumerate() {
        let bytes = square.pixels().iter().skip(channel).step_by(3);
        values.extend(bytes.map(|&byte| table[usize::from(byte)]));
    }
    element.encode(&values)
}

fn copies(probe: &mut Probe, max_batch: usize) -> Result<(), Box<dyn Error>> {
    probe.upload_rate(1)?;
    let rate = probe.upload_rate(50)?;
    println!("- uploads from pinned memory: {:.1} GB/s", rate / 1e9);
    for (width, height) in [(224, 224), (640, 480), (1920, 1280)] {
        let batch = pictures(vec![noise(width, height, 1)?; max_batch]);
        probe.resize(&batch)?;
        let (_, took) = probe.resize(&batch)?;
        println!(
            "- upload and resize of {max_batch} pictures of {width} x {height}, unpinned: {:.2} ms",
            took.as_secs_f64() * 1e3
        );
    }
    Ok(())
}

/// Rows per second of the engine alone, for each batch size: one batch at a time, and as
/// many as there are slots.
fn rates(
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

/// Keeps so many batches under way for so long.
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
            Ok(Pixels(image))
        })
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    Ok(Batch::Images(images))
}
