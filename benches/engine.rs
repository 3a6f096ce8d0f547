//! The rate of the CPU engine alone: no HTTP, no decoding.
//!
//! ```text
//! cargo bench --bench engine -- --model DIR [--threads N] [--kernel K,K]  a table of both towers
//! cargo bench --bench engine -- --model DIR --export OUT [--precision fp16]  the graphs, for others
//!   (... --precision fp8 --calibrate FOLDER --calibrate-texts FILE [--fp8-attention])
//! cargo bench --bench engine -- --model DIR --serve             one batch per line of input
//! ```
//!
//! With several kernels each runs one batch, then each the next, and so on: what slows the
//! machine for a while slows all of them. Ratios are medians of paired ratios, above 1 where
//! a kernel is faster than the first. Besides the time that passes there is that of the
//! processors (on Linux), which other processes change less.
//!
//! `--serve` is for tools/compare_cpu.py, which measures this engine and its peers
//! in turn. It reads a command a line, and answers each with a line:
//!
//! ```text
//! image 8          runs such a batch: the milliseconds that it took
//! text 8
//! vector image 5   the vector of the picture with this number, not normalized, in JSON: [0.12, ...]
//! vector text 5    that of the text with this number
//! peak             the rate of the kernel's own instruction over all threads, in JSON:
//!                  {"instruction": "vdpbf16ps, 512 bits", "per_second": 4.7e11}, in operations, of
//!                  which a multiplication and an addition are two; null for kernels in plain Rust
//! ```
//!
//! Whoever compares vectors makes the same inputs. Byte `i` of picture `n`, of rows of RGB with the
//! side that the model takes, is `(7 * i + 31 * n) % 251`; token `i` of text `n`, as many as the
//! model has positions, is `(i + 97 * n) % 1000 % vocabulary`. The batches are of number 0.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use serde_json::json;
use siglip2_allocator::MiMalloc;
use siglip2_embeddings::checkpoint::Checkpoint;
use siglip2_embeddings::engine::cpu::{Calibration, CpuEngine, CpuOptions, Kernel, Samples};
use siglip2_embeddings::engine::{Batch, Engine, Pixels, embed};
use siglip2_embeddings::graph::{self, Precision, Products, Scales};
use siglip2_embeddings::image::{Processor, RgbImage};

/// The program's, so that memory is what it is there.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// A checkpoint directory.
    #[arg(long)]
    model: PathBuf,
    /// Threads that compute; all cores if left out.
    #[arg(long)]
    threads: Option<usize>,
    /// Write vision.onnx and text.onnx to this directory, with the weights beside
    /// them, and end.
    #[arg(long)]
    export: Option<PathBuf>,
    /// What the exported graphs compute in.
    #[arg(long, value_enum, default_value_t = Precision::Fp32, requires = "export")]
    precision: Precision,
    /// With --precision fp8, whose scales are measured over it: a folder of pictures.
    #[arg(long, requires = "calibrate_texts")]
    calibrate: Option<PathBuf>,
    /// Likewise, a file of texts, one on each line.
    #[arg(long, requires = "calibrate")]
    calibrate_texts: Option<PathBuf>,
    /// Likewise, the products of attention in FP8 as well.
    #[arg(long)]
    fp8_attention: bool,
    /// Run batches as they are asked for on standard input.
    #[arg(long)]
    serve: bool,
    /// Kernels by their names (avx512, avx2, portable, avx512-bf16, amx-bf16, avx512-vnni,
    /// avx-vnni, amx-int8, portable-int8); the best one for FP32 if left out.
    #[arg(long, value_delimiter = ',')]
    kernel: Vec<String>,
    /// Batch sizes of the table.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 8, 32])]
    batch: Vec<usize>,
    /// Runs per row of the table.
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    siglip2_allocator::return_freed_memory()?;
    let arguments = Arguments::parse();
    let checkpoint = Checkpoint::open(&arguments.model)?;
    if let Some(directory) = &arguments.export {
        return export(&checkpoint, directory, &arguments);
    }
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism()?.get(),
    };
    let side = checkpoint.config.vision.image_size;
    let tokens = checkpoint.config.text.positions;
    let vocabulary = i32::try_from(checkpoint.config.text.vocab_size)?;
    let processor = Processor::from_json(&checkpoint.files.preprocessor, u32::try_from(side)?)?;
    let kernels = match &arguments.kernel[..] {
        [] => vec![Kernel::fp32()],
        names => names
            .iter()
            .map(|name| Kernel::named(name))
            .collect::<Result<_, _>>()?,
    };
    let mut benches = Vec::new();
    for kernel in kernels {
        let options = CpuOptions {
            threads,
            max_batch: usize::MAX,
            kernel,
        };
        let loading = Instant::now();
        let engine = CpuEngine::load(&checkpoint, &processor, options)?;
        let took = loading.elapsed().as_secs_f64();
        let name = kernel.name();
        match engine.info().agreement {
            Some(cosine) => eprintln!("{name}, loaded in {took:.2} s, cosine to FP32 {cosine:.6}"),
            None => eprintln!("{name}, loaded in {took:.2} s"),
        }
        benches.push(Bench {
            name,
            engine,
            side,
            tokens,
            vocabulary,
        });
    }
    if arguments.serve {
        let [bench] = &mut benches[..] else {
            return Err("--serve takes one kernel".into());
        };
        bench.serve()
    } else {
        table(&mut benches, &arguments.batch, arguments.runs)
    }
}

/// The graphs as files. Other runtimes resolve the weights by name in the same
/// directory.
fn export(
    checkpoint: &Checkpoint,
    directory: &Path,
    arguments: &Arguments,
) -> Result<(), Box<dyn Error>> {
    let scales = scales(checkpoint, arguments)?;
    let products = match &scales {
        Some(scales) => Products::from(scales),
        None => Products::from(arguments.precision),
    };
    let vision = graph::vision(&checkpoint.config.vision, &checkpoint.weights, products)?;
    let text = graph::text(&checkpoint.config.text, &checkpoint.weights, products)?;
    std::fs::create_dir_all(directory)?;
    std::fs::write(directory.join("vision.onnx"), vision.encode())?;
    std::fs::write(directory.join("text.onnx"), text.encode())?;
    for (shard, bytes) in checkpoint.weights.shards().iter().enumerate() {
        std::fs::write(directory.join(graph::external_name(shard)), bytes)?;
    }
    Ok(())
}

/// In FP8 the scales of activations, over the samples that are named.
fn scales(
    checkpoint: &Checkpoint,
    arguments: &Arguments,
) -> Result<Option<Scales>, Box<dyn Error>> {
    if arguments.precision != Precision::Fp8 {
        return Ok(None);
    }
    let (Some(folder), Some(texts)) = (&arguments.calibrate, &arguments.calibrate_texts) else {
        return Err("--precision fp8 needs --calibrate FOLDER and --calibrate-texts FILE".into());
    };
    let side = u32::try_from(checkpoint.config.vision.image_size)?;
    let processor = Processor::from_json(&checkpoint.files.preprocessor, side)?;
    let samples = Samples {
        folder,
        texts,
        pictures: Vec::new(),
        more_texts: &[],
    };
    let threads = std::thread::available_parallelism()?.get();
    let calibration = Calibration::over(checkpoint, &processor, threads, samples)?;
    Ok(Some(calibration.scales(arguments.fp8_attention)?))
}

struct Bench {
    name: &'static str,
    engine: CpuEngine,
    side: usize,
    tokens: usize,
    vocabulary: i32,
}

impl Bench {
    /// The input of this number, so many times.
    fn batch(&self, tower: &str, number: usize, rows: usize) -> Result<Batch, Box<dyn Error>> {
        Ok(match tower {
            "image" => {
                let side = u32::try_from(self.side)?;
                let byte = |i| ((7 * i + 31 * number) % 251) as u8;
                let pixels = (0..3 * self.side * self.side).map(byte);
                let image = RgbImage::new(side, side, pixels.collect()).ok_or("no pixels")?;
                Batch::Images((0..rows).map(|_| Pixels::Decoded(image.clone())).collect())
            }
            "text" => {
                let id = |i| ((i + 97 * number) % 1000) as i32 % self.vocabulary;
                Batch::Texts(vec![(0..self.tokens).map(id).collect(); rows])
            }
            other => return Err(format!("{other:?} is no tower: image or text").into()),
        })
    }

    /// One batch. What the pixels and ids are makes no difference to the arithmetic.
    fn run(&mut self, tower: &str, rows: usize) -> Result<Took, Box<dyn Error>> {
        let batch = self.batch(tower, 0, rows)?;
        let (started, before) = (Instant::now(), on_processors());
        let answer = embed(&mut self.engine, batch)?;
        let took = Took {
            passed: started.elapsed().as_secs_f64() * 1e3,
            on_processors: on_processors() - before,
        };
        if answer.len() != rows {
            return Err("the engine lost rows".into());
        }
        Ok(took)
    }

    fn serve(&mut self) -> Result<(), Box<dyn Error>> {
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["peak"] => {
                    let peak = self.engine.peak()?.map(|peak| {
                        json!({"instruction": peak.instruction, "per_second": peak.per_second})
                    });
                    println!("{}", json!(peak));
                }
                ["vector", tower, number] => {
                    let batch = self.batch(tower, number.parse()?, 1)?;
                    let rows = embed(&mut self.engine, batch)?;
                    println!("{}", json!(rows.iter().next().ok_or("no row")?));
                }
                [tower, rows] => println!("{:.3}", self.run(tower, rows.parse()?)?.passed),
                _ => return Err("expected: TOWER BATCH, vector TOWER NUMBER, or peak".into()),
            }
            std::io::stdout().flush()?;
        }
        Ok(())
    }
}

/// Milliseconds of a batch.
#[derive(Clone, Copy)]
struct Took {
    passed: f64,
    on_processors: f64,
}

/// Milliseconds that this process's threads have been on processors; 0 where the operating
/// system does not tell.
fn on_processors() -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return 0.0;
    };
    let nanoseconds = |thread: std::fs::DirEntry| -> Option<f64> {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    let all = threads.flatten().filter_map(nanoseconds);
    all.sum::<f64>() / 1e6
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn table(benches: &mut [Bench], batches: &[usize], runs: usize) -> Result<(), Box<dyn Error>> {
    println!(
        "ms per row, median of {runs} in turn; processor ms per row; times as fast as the first"
    );
    for tower in ["image", "text"] {
        for &batch in batches {
            for bench in &mut *benches {
                bench.run(tower, batch)?;
            }
            let mut took = vec![Vec::new(); benches.len()];
            for _ in 0..runs {
                for (bench, took) in benches.iter_mut().zip(&mut took) {
                    took.push(bench.run(tower, batch)?);
                }
            }
            for (bench, all) in benches.iter().zip(&took) {
                let row = |value: fn(&Took) -> f64| {
                    median(all.iter().map(value).collect()) / batch as f64
                };
                let ratio = |value: fn(&Took) -> f64| {
                    let pairs = took[0].iter().zip(all);
                    median(
                        pairs
                            .map(|(first, this)| value(first) / value(this))
                            .collect(),
                    )
                };
                println!(
                    "{tower:<5} {batch:>3}  {:<13} {:>8.2} {:>8.2}   {:.2} {:.2}",
                    bench.name,
                    row(|took| took.passed),
                    row(|took| took.on_processors),
                    ratio(|took| took.passed),
                    ratio(|took| took.on_processors),
                );
            }
        }
    }
    Ok(())
}
