//! The rate of `embed` against those of its parts, and what it holds in memory meanwhile.
//!
//! ```text
//! cargo bench --bench bulk -- --model DIR [--pictures N] [--side PIXELS] [--rounds N]
//! cargo bench --bench bulk -- --pictures 100000 --side 32 --rounds 3
//! ```
//!
//! Pictures are drawn as PNGs in a folder. In each round these take turns, each with the machine
//! to itself:
//!
//! - `engine`: the engine alone computes as many pictures, prepared before, in the batches of
//!   `embed`.
//! - `decode`: as many threads as the decode pool has read, decode and prepare the same files,
//!   and nothing else.
//! - `embed` embeds the folder into a new output: it reads, decodes, resizes, computes, writes
//!   and syncs.
//!
//! On the CPU the decoders and the engine share the cores, so the roof of `embed` is the rate at
//! which a picture takes its time in both: 1 / (1 / engine + 1 / decode). The table has each
//! round, and the medians of the ratios to that roof and to each part. The memory of the process
//! is looked at all the time; what it had in each tenth of the last round is printed at the end.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use siglip2_embeddings::bulk::{Bulk, EmbedOptions, Identity, Limits, Place};
use siglip2_embeddings::checkpoint::Checkpoint;
use siglip2_embeddings::engine::cpu::{CpuEngine, CpuOptions, CpuPrecision, Kernel};
use siglip2_embeddings::engine::{Batch, Engine, Pixels, embed};
use siglip2_embeddings::image::{ImageLimits, Processor, RgbImage, decode};
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
    let mut files = Vec::with_capacity(arguments.pictures);
    for number in 0..arguments.pictures {
        let path = pictures.join(format!("{number:06}.png"));
        fs::write(&path, picture(number, arguments.side)?)?;
        files.push(path);
    }
    let settings = ["siglip2-embeddings", "--model", &arguments.model];
    let mut settings: Settings = siglip2_flags::try_parse_from(settings)?;
    settings.is_bulk = true;
    let prepared = prepare(&settings)?;
    let service = prepared.service().clone();
    let mut bare = Bare::load(&arguments.model, service.info().max_batch)?;
    prepared.load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    println!(
        "{}, {} pictures of {} x {}, batches of {}",
        bare.name, arguments.pictures, arguments.side, arguments.side, bare.batch
    );
    println!("round  engine/s  decode/s    roof/s   embed/s  of roof  of engine  of decode  MiB");
    let mut ratios = Vec::new();
    let mut memory = Vec::new();
    // The first round is not counted.
    for round in 0..=arguments.rounds {
        let engine = bare.rate(arguments.pictures)?;
        let decode = bare.decode_rate(&files)?;
        let roof = 1.0 / (1.0 / engine + 1.0 / decode);
        let out = folder.path().join(format!("out-{round}"));
        let began = Instant::now();
        let watched = watch(|| runtime.block_on(run(&pictures, &out, &service)))?;
        memory = watched;
        let whole = arguments.pictures as f64 / began.elapsed().as_secs_f64();
        fs::remove_dir_all(&out)?;
        let of = [roof, engine, decode].map(|part| whole / part);
        println!(
            "{round:>5}  {engine:>8.1}  {decode:>8.1}  {roof:>8.1}  {whole:>8.1}  {:>6.1}%  \
             {:>8.1}%  {:>8.1}%  {:>3}",
            100.0 * of[0],
            100.0 * of[1],
            100.0 * of[2],
            resident().map_or("?".to_owned(), |bytes| (bytes >> 20).to_string())
        );
        if round > 0 {
            ratios.push(of);
        }
    }
    for (part, what) in ["roof", "engine", "decode"].iter().enumerate() {
        let mut of: Vec<f64> = ratios.iter().map(|ratios| ratios[part]).collect();
        of.sort_by(f64::total_cmp);
        if let Some(median) = of.get(of.len() / 2) {
            println!("median of {what} {:.1}%", 100.0 * median);
        }
    }
    let tenths = (0..10).filter_map(|tenth| {
        let part = memory.len() * tenth / 10..memory.len() * (tenth + 1) / 10;
        memory[part].iter().max()
    });
    let tenths: Vec<String> = tenths.map(|bytes| (bytes >> 20).to_string()).collect();
    println!("MiB in each tenth of the last round: {}", tenths.join(" "));
    Ok(())
}

/// Does something, and what the process held in memory meanwhile, in bytes, at even distances.
fn watch(work: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<Vec<u64>, Box<dyn Error>> {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut seen = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                seen.extend(resident());
                thread::sleep(Duration::from_millis(20));
            }
            seen
        });
        let done = work();
        ended.store(true, Ordering::Relaxed);
        let seen = watching.join().map_err(|_| "the memory was not watched")?;
        done.map(|()| seen)
    })
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
        max_request_memory: 0,
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
    processor: Processor,
    threads: usize,
}

impl Bare {
    fn load(model: &str, max_batch: usize) -> Result<Self, Box<dyn Error>> {
        let checkpoint = match model {
            "demo" => Checkpoint::demo()?,
            directory => Checkpoint::open(&PathBuf::from(directory))?,
        };
        let side = u32::try_from(checkpoint.config.vision.image_size)?;
        let processor = Processor::from_json(&checkpoint.files.preprocessor, side)?;
        let threads = thread::available_parallelism()?.get();
        let options = CpuOptions {
            threads,
            max_batch,
            kernel: Kernel::of(CpuPrecision::Auto)?,
        };
        let pixels = (0..3 * side * side).map(|index| (index * 7 % 251) as u8);
        let engine = CpuEngine::load(&checkpoint, &processor, options)?;
        Ok(Self {
            batch: engine.info().max_batch,
            engine,
            name: options.kernel.name(),
            square: RgbImage::new(side, side, pixels.collect()).ok_or("no pixels")?,
            processor,
            threads,
        })
    }

    /// Pictures per second.
    fn rate(&mut self, pictures: usize) -> Result<f64, Box<dyn Error>> {
        let began = Instant::now();
        let mut left = pictures;
        while left > 0 {
            let rows = left.min(self.batch);
            let batch = (0..rows)
                .map(|_| Pixels::Decoded(self.square.clone()))
                .collect();
            embed(&mut self.engine, Batch::Images(batch))?;
            left -= rows;
        }
        Ok(pictures as f64 / began.elapsed().as_secs_f64())
    }
}

impl Bare {
    /// Files per second that are read, decoded and prepared, and that is all.
    fn decode_rate(&self, files: &[PathBuf]) -> Result<f64, Box<dyn Error>> {
        let next = AtomicUsize::new(0);
        let limits = ImageLimits::default();
        let work = || -> Result<(), String> {
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                let bytes = fs::read(file).map_err(|error| error.to_string())?;
                let image = decode(&bytes, &limits).map_err(|error| error.to_string())?;
                let target = self.processor.target();
                if !target.keeps(image.width(), image.height()) {
                    let resized = self.processor.resize(&image);
                    std::hint::black_box(resized.map_err(|error| error.to_string())?);
                }
            }
            Ok(())
        };
        let began = Instant::now();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| "a decoder panicked")?)
        })?;
        Ok(files.len() as f64 / began.elapsed().as_secs_f64())
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
