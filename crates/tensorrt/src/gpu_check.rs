//! The checks that need a GPU, as one report: whether the resize kernel equals the CPU, whether
//! the vectors are right, and how fast the engine alone and the copies are.
//!
//! ```text
//! gpu-check --engine-dir DIR --> versions, kernel, canaries, rates per batch size, copies
//! ```
//!
//! `tools/gpu-check` runs this, and after it the service under load on the same GPU; the
//! report is Markdown for docs/performance.md.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::directory::{EngineDirectory, measure};
use crate::kernel::Element;
use crate::libraries::{Libraries, Search};
use crate::run::probe::{Probe, memory_taken};
use crate::run::{
    Gpu, Steps, TensorRtEngine, TensorRtOptions, driver_release, driver_version, gpus, or_end,
    pinned_pictures,
};
use clap::Parser;
use siglip2_flags::{path, seconds};
use siglip2_image::Processor;
use siglip2_model::checkpoint::Config;

mod card;
mod cost;
mod kernel;
mod rates;

#[derive(Parser)]
#[command(version, about = "Checks and measures an engine directory on a GPU")]
struct Arguments {
    /// The engine directory.
    #[arg(long)]
    engine_dir: PathBuf,
    /// The GPU's number.
    #[arg(long, default_value_t = 0)]
    gpu: usize,
    /// Directory of TensorRT's libraries; by default they are searched for.
    #[arg(long, env = "TENSORRT_LIB_DIR", value_parser = path)]
    tensorrt_lib: Option<PathBuf>,
    /// Directory of nvJPEG; by default it is searched for.
    #[arg(long, env = "NVJPEG_LIB_DIR", value_parser = path)]
    nvjpeg_lib: Option<PathBuf>,
    /// A directory of JPEG files, to compare the card's decoder with the CPU's.
    #[arg(long)]
    photos: Option<PathBuf>,
    /// How many seconds to measure each rate.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds. A step on the GPU, such as opening its driver, that takes five times as long counts
    /// as hanging: the program says so and ends with exit code 3.
    #[arg(long, env = "DEVICE_TIMEOUT", default_value = "60", value_parser = seconds)]
    device_timeout: Duration,
}

/// The whole program.
///
/// # Errors
///
/// A sentence, when a check fails or cannot be run.
pub fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    let arguments: Arguments =
        siglip2_flags::try_parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let timeout = arguments.device_timeout;
    let there = or_end(timeout, "looking for GPUs", |_| gpus())?;
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
    let search = Search::new(arguments.tensorrt_lib.clone(), None);
    let opening = "opening TensorRT's libraries";
    let libraries = or_end(timeout, opening, |_| Libraries::open(&search))?;
    let directory = EngineDirectory::open(&arguments.engine_dir)?;
    let manifest = directory.manifest();
    println!("### {gpu}, {} in {}\n", manifest.model, manifest.precision);
    let release = driver_release().map_or_else(String::new, |release| format!("{release}, "));
    println!("- driver: {release}CUDA {}", driver_version()?);
    println!(
        "- {} {}, engine built by {} with {} {}",
        libraries.version.flavour,
        libraries.version.version,
        manifest.created_by,
        manifest.tensorrt.flavour,
        manifest.tensorrt.version
    );

    let config = Config::parse(&directory.read("config.json")?, "config.json")?;
    let processor = directory.processor()?;
    let equal = match &manifest.patches {
        // Pictures of variable resolution are resized on the CPU.
        Some(_) => true,
        None => {
            let element = Element::of(manifest.towers.image.input.element);
            let cubin = directory.read(&manifest.kernel.file)?;
            let most = manifest.max_batch;
            or_end(timeout, "trying the resize kernel", |_| {
                let mut probe = Probe::new(gpu, &cubin, &processor, element, most)?;
                let equal = kernel::equals_cpu(&mut probe, &processor, element)?;
                kernel::copies(&mut probe, most)?;
                Ok::<_, Box<dyn Error>>(equal)
            })?
        }
    };

    let longer = timeout.saturating_add(Duration::try_from_secs_f64(arguments.seconds)?);
    or_end(longer, "opening nvJPEG", |steps| {
        on_card(&arguments, gpu, &directory, &config, &processor, steps)
    })?;
    match equal {
        true => Ok(()),
        false => Err("the resize kernel is not equal to the CPU".into()),
    }
}

/// Loads the engine, and prints its vectors' distance and its rates.
fn on_card(
    arguments: &Arguments,
    gpu: &Gpu,
    directory: &EngineDirectory,
    config: &Config,
    processor: &Processor,
    steps: &Steps,
) -> Result<(), Box<dyn Error>> {
    let manifest = directory.manifest();
    let search = Search::new(None, None).with_nvjpeg(arguments.nvjpeg_lib.clone());
    let options = TensorRtOptions {
        nvjpeg: match manifest.patches {
            // Their pictures are resized on the CPU, and decoded there.
            Some(_) => None,
            None => card::find(gpu, &search),
        },
        ..TensorRtOptions::default()
    };
    steps.begin("taking pinned memory");
    let prepare = pinned_pictures(gpu, 512 << 20, processor, options.nvjpeg)?;
    let before = memory_taken(gpu)?;
    let begun = Instant::now();
    let mut engine = TensorRtEngine::load(
        gpu,
        directory,
        processor,
        Arc::clone(&prepare),
        &options,
        steps,
    )?;
    steps.begin("running the canaries");
    println!(
        "- both engines loaded, every batch size run on each of {} slots: {:.1} s, {} MiB of the \
         GPU's memory (computed before: {})",
        options.slots,
        begun.elapsed().as_secs_f64(),
        memory_taken(gpu)?.saturating_sub(before) >> 20,
        engine.needs()
    );
    let canary = directory.canary()?;
    let cosines = measure(&mut engine, &canary, manifest, &gpu.name)?;
    println!("- canaries, in every batch size and slot, cosine to FP32: {cosines}");
    if let Some(doubt) = cosines.doubt(manifest.precision) {
        println!("- {doubt}");
    }
    let span = Duration::from_secs_f64(arguments.seconds);
    if let (Some(_), Some(photos)) = (options.nvjpeg, &arguments.photos) {
        card::check(&mut engine, photos, span, steps)?;
    }
    println!();
    rates::rates(&mut engine, config, manifest, &canary, span, steps)?;
    steps.begin("giving the GPU back");
    drop(engine);
    match cosines.fault(manifest.precision) {
        Some(fault) => Err(fault.into()),
        None => Ok(()),
    }
}
