//! The rate of the CPU engine alone: no HTTP, no decoding.
//!
//! ```text
//! cargo bench --bench engine -- --model DIR [--threads N] [--kernel K]  a table of both towers
//! cargo bench --bench engine -- --model DIR --export OUT [--precision fp16]  the graphs, for others
//! cargo bench --bench engine -- --model DIR --serve             one batch per line of input
//! ```
//!
//! `--serve` is for tools/compare_cpu.py, which measures this engine and its peers
//! in turn: it reads lines such as `image 8`, runs such a batch and prints the
//! milliseconds that it took.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use siglip2_embeddings::checkpoint::Checkpoint;
use siglip2_embeddings::engine::cpu::{CpuEngine, CpuOptions, Kernel};
use siglip2_embeddings::engine::{Batch, Pixels, embed};
use siglip2_embeddings::graph::{self, Precision};
use siglip2_embeddings::image::{Processor, RgbImage};

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
    /// Run batches as they are asked for on standard input.
    #[arg(long)]
    serve: bool,
    /// The kernel, by its name (avx512, avx2, portable, avx512-bf16, amx-bf16); the best
    /// one for FP32 if left out.
    #[arg(long)]
    kernel: Option<String>,
    /// Runs per row of the table.
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let checkpoint = Checkpoint::open(&arguments.model)?;
    if let Some(directory) = &arguments.export {
        return export(&checkpoint, directory, arguments.precision);
    }
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism()?.get(),
    };
    let side = checkpoint.config.vision.image_size;
    let tokens = checkpoint.config.text.positions;
    let processor = Processor::from_json(&checkpoint.files.preprocessor, u32::try_from(side)?)?;
    let options = CpuOptions {
        threads,
        max_batch: usize::MAX,
        kernel: match &arguments.kernel {
            Some(name) => Kernel::named(name)?,
            None => Kernel::fp32(),
        },
    };
    let loading = Instant::now();
    let mut bench = Bench {
        engine: CpuEngine::load(&checkpoint, &processor, options)?,
        side,
        tokens,
    };
    let kernel = options.kernel.name();
    eprintln!(
        "{kernel}, loaded in {:.2} s",
        loading.elapsed().as_secs_f64()
    );
    if arguments.serve {
        bench.serve()
    } else {
        bench.table(arguments.runs)
    }
}

/// The graphs as files. Other runtimes resolve the weights by name in the same
/// directory.
fn export(
    checkpoint: &Checkpoint,
    directory: &Path,
    precision: Precision,
) -> Result<(), Box<dyn Error>> {
    let vision = graph::vision(&checkpoint.config.vision, &checkpoint.weights, precision)?;
    let text = graph::text(&checkpoint.config.text, &checkpoint.weights, precision)?;
    std::fs::create_dir_all(directory)?;
    std::fs::write(directory.join("vision.onnx"), vision.encode())?;
    std::fs::write(directory.join("text.onnx"), text.encode())?;
    for (shard, bytes) in checkpoint.weights.shards().iter().enumerate() {
        std::fs::write(directory.join(graph::external_name(shard)), bytes)?;
    }
    Ok(())
}

struct Bench {
    engine: CpuEngine,
    side: usize,
    tokens: usize,
}

impl Bench {
    /// Milliseconds of one batch. What the pixels and ids are makes no difference to
    /// the arithmetic.
    fn run(&mut self, tower: &str, rows: usize) -> Result<f64, Box<dyn Error>> {
        let batch = match tower {
            "image" => {
                let side = u32::try_from(self.side)?;
                let pixels = (0..3 * self.side * self.side).map(|i| (i * 7 % 251) as u8);
                let image = RgbImage::new(side, side, pixels.collect()).ok_or("no pixels")?;
                Batch::Images((0..rows).map(|_| Pixels(image.clone())).collect())
            }
            "text" => Batch::Texts(vec![(0..self.tokens as i32).collect(); rows]),
            other => return Err(format!("{other:?} is no tower: image or text").into()),
        };
        let started = Instant::now();
        let answer = embed(&mut self.engine, batch)?;
        let took = started.elapsed().as_secs_f64() * 1e3;
        if answer.len() != rows {
            return Err("the engine lost rows".into());
        }
        Ok(took)
    }

    fn serve(&mut self) -> Result<(), Box<dyn Error>> {
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            let (tower, batch) = line.split_once(' ').ok_or("expected: TOWER BATCH")?;
            let took = self.run(tower, batch.trim().parse()?)?;
            println!("{took:.3}");
            std::io::stdout().flush()?;
        }
        Ok(())
    }

    fn table(&mut self, runs: usize) -> Result<(), Box<dyn Error>> {
        println!("tower  batch  ms per row (median of {runs})");
        for tower in ["image", "text"] {
            for batch in [1, 2, 8, 32] {
                self.run(tower, batch)?;
                let mut took = (0..runs)
                    .map(|_| self.run(tower, batch))
                    .collect::<Result<Vec<_>, _>>()?;
                took.sort_by(f64::total_cmp);
                println!(
                    "{tower:<6} {batch:>5}  {:.2}",
                    took[runs / 2] / batch as f64
                );
            }
        }
        Ok(())
    }
}
