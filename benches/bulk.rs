//! The rate of `embed` against that of the engine alone, and what it holds in memory.
//!
//! ```text
//! cargo bench --bench bulk -- --model DIR [--pictures N] [--side PIXELS] [--rounds N]
//! ```
//!
//! Pictures are drawn as PNGs in a folder. In each round the engine alone computes as many
//! pictures, prepared before, in its largest batches, and then `embed` embeds the folder into a
//! new output: it reads, decodes, resizes, computes, writes and syncs. Both have the machine to
//! themselves in turn. The table has each round, and the median of the ratios.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use siglip2_embeddings::bulk::{Bulk, EmbedOptions, Identity, Limits, Place};
use siglip2_embeddings::checkpoint::Checkpoint;
use siglip2_embeddings::engine::cpu::{CpuEngine, CpuOptions, CpuPrecision, Kernel};
use siglip2_embeddings::engine::{Batch, Engine, Pixels, embed};
use siglip2_embeddings::image::{Processor, RgbImage};
use siglip2_embeddings::service::Service;
use siglip2_embeddings::settings::Settings;
use siglip2_embeddings::startup::prepare;

#[derive(Parser)]
struct Arguments {
    /// `demo`, or a checkpoint directory.
    #[arg(long, default_value = "demo")]
    model: String,
    /// Pictures of a round.
    #[arg(long, default_value_t = 256)]
    pictures: usize,
    /// Width and height of the pictures.
    #[arg(long, default_value_t = 256)]
    side: u32,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    options: EmbedOptions,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let pictures = folder.path().join("pictures");
    fs::create_dir(&pictures)?;
    for number in 0..arguments.pictures {
        let path = pictures.join(format!("{number:06}.png"));
        fs::write(path, picture(number, arguments.side)?)?;
    }
    let mut bare = Bare::load(&arguments.model)?;
    let settings = ["siglip2-embeddings", "--model", &arguments.model];
    let settings: Settings = siglip2_flags::try_parse_from(settings)?;
    let prepared = prepare(&settings)?;
    let service = prepared.service().clone();
    prepared.load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    println!(
        "{}, {} pictures of {} x {}, batches of {}",
        bare.name, arguments.pictures, arguments.side, arguments.side, bare.batch
    );
    println!("round  engine/s  embed/s   ratio  resident MiB");
    let mut ratios = Vec::new();
    // The first round is not counted.
    for round in 0..=arguments.rounds {
        let engine = bare.rate(arguments.pictures)?;
        let out = folder.path().join(format!("out-{round}"));
        let began = Instant::now();
        runtime.block_on(run(&pictures, &out, &service))?;
        let whole = arguments.pictures as f64 / began.elapsed().as_secs_f64();
        let ratio = whole / engine;
        println!(
            "{round:>5}  {engine:>8.1} {whole:>8.1}  {:>5.1}%  {:>12}",
            100.0 * ratio,
            resident().map_or("?".to_owned(), |bytes| (bytes >> 20).to_string())
        );
        if round > 0 {
            ratios.push(ratio);
        }
    }
    ratios.sort_by(f64::total_cmp);
    println!("median {:.1}%", 100.0 * ratios[ratios.len() / 2]);
    Ok(())
}

async fn run(pictures: &Path, out: &Path, service: &Service) -> Result<(), Box<dyn Error>> {
    let names = [pictures.display().to_string(), out.display().to_string()];
    let options = ["embed", &names[0], "--out", &names[1]];
    let Options { options } = siglip2_flags::try_parse_from(options)?;
    let info = service.info();
    let identity = Identity {
        fingerprint: service.fingerprints().ok_or("no fingerprint")?.normalized,
        model: info.name.clone(),
        precision: info.precision.to_string(),
        dimensions: info.dimensions,
        version: String::new(),
    };
    let limits = Limits {
        max_image_pixels: 0,
        max_jpeg_scans: 0,
    };
    let place = Place::Here(service.clone());
    let never = std::future::pending();
    let summary = Bulk::find(options)?
        .run(place, identity, limits, never)
        .await?;
    if summary.bad > 0 {
        return Err("a picture was not embedded".into());
    }
    Ok(())
}

/// The engine alone.
struct Bare {
    engine: CpuEngine,
    name: &'static str,
    batch: usize,
    square: RgbImage,
}

impl Bare {
    fn load(model: &str) -> Result<Self, Box<dyn Error>> {
        let checkpoint = match model {
            "demo" => Checkpoint::demo()?,
            directory => Checkpoint::open(&PathBuf::from(directory))?,
        };
        let side = u32::try_from(checkpoint.config.vision.image_size)?;
        let processor = Processor::from_json(&checkpoint.files.preprocessor, side)?;
        let threads = std::thread::available_parallelism()?.get();
        let options = CpuOptions {
            threads,
            max_batch: threads.max(4),
            kernel: Kernel::of(CpuPrecision::Auto)?,
        };
        let pixels = (0..3 * side * side).map(|index| (index * 7 % 251) as u8);
        let engine = CpuEngine::load(&checkpoint, &processor, options)?;
        Ok(Self {
            batch: engine.info().max_batch,
            engine,
            name: options.kernel.name(),
            square: RgbImage::new(side, side, pixels.collect()).ok_or("no pixels")?,
        })
    }

    /// Pictures per second.
    fn rate(&mut self, pictures: usize) -> Result<f64, Box<dyn Error>> {
        let began = Instant::now();
        let mut left = pictures;
        while left > 0 {
            let rows = left.min(self.batch);
            let batch = (0..rows).map(|_| Pixels(self.square.clone())).collect();
            embed(&mut self.engine, Batch::Images(batch))?;
            left -= rows;
        }
        Ok(pictures as f64 / began.elapsed().as_secs_f64())
    }
}

/// A PNG with something in it.
fn picture(number: usize, side: u32) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let (across, down, wave) = (random.u32(1..9), random.u32(1..9), random.u32(1..99));
    let pixels = (0..side * side).flat_map(|index| {
        let (x, y) = (index % side, index / side);
        [x * across + y, y * down, (x ^ y) * wave / 16].map(|value| (value % 256) as u8)
    });
    let pixels: Vec<u8> = pixels.collect();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(file)
}

/// Bytes of this process in memory, where Linux says so.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes << 10)
}
