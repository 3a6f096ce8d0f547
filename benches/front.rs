//! What the service costs around its engine: everything from the socket to the engine's door
//! and back, with an engine that answers at once.
//!
//! ```text
//! cargo bench --bench front [-- --seconds N --images FOLDER --only json|bytes --http-threads N]
//!
//! load-test (another process) --HTTP--> this process: service, engine that computes nothing
//!                                       its processor time / rows answered = cost of a row
//! ```
//!
//! On a GPU node the engine costs the processors nothing to speak of, so this says how many
//! rows a second a core can bring to the GPU, and so how many cores a GPU needs. Images stay as
//! they were decoded, as they do for a GPU. Rows have 768 floats, as siglip2-base's have.
//!
//! The last column is what decoding or tokenizing the same rows costs threads that do nothing else, one
//! for each core: what is left if all other work came for nothing. `tools/compare-front` runs this beside
//! the same bench of another commit.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use siglip2_embeddings::checkpoint::Checkpoint;
use siglip2_embeddings::engine::{Batch, Completion, Engine, EngineInfo, Pixels, Prepare, Rows};
use siglip2_embeddings::http::{HttpSettings, serve};
use siglip2_embeddings::image::{ImageError, ImageLimits, RgbImage, Target, decode};
use siglip2_embeddings::service::{BuildInfo, Decode, Model, ModelInfo, Service, ServiceSettings};
use siglip2_load_test::samples;
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: siglip2_allocator::MiMalloc = siglip2_allocator::MiMalloc;

const DIMENSIONS: usize = 768;

#[derive(Parser)]
struct Arguments {
    /// Seconds per row of the table.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Images to send besides drawn ones, which are smooth and so decoded sooner than photos.
    #[arg(long)]
    images: Option<PathBuf>,
    /// Ask for answers of this kind alone, `json` or `bytes`; by default for both in turn.
    #[arg(long)]
    only: Option<String>,
    /// Threads that answer, by default as many as the service takes.
    #[arg(long)]
    http_threads: Option<usize>,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a row is made from.
#[derive(Clone, Copy, PartialEq)]
enum Input {
    /// A drawn JPEG of this width and height.
    Drawn(u32, u32),
    Text,
    /// An image of the folder.
    Given,
}

/// What is asked for: its name, the flags of load-test, and what its rows are made from.
const REQUESTS: [(&str, &str, Input); 7] = [
    (
        "one drawn 224-pixel JPEG",
        "--mix image=1 --drawn 224x224 --concurrency 64",
        Input::Drawn(224, 224),
    ),
    (
        "32 of them",
        "--mix images=1 --images-per-request 32 --drawn 224x224 --concurrency 16",
        Input::Drawn(224, 224),
    ),
    (
        "one drawn 1920 x 1280 JPEG",
        "--mix image=1 --drawn 1920x1280 --distinct 16 --concurrency 16",
        Input::Drawn(1920, 1280),
    ),
    ("one text", "--mix text=1 --concurrency 64", Input::Text),
    (
        "32 texts",
        "--mix text=1 --texts-per-request 32 --concurrency 16",
        Input::Text,
    ),
    (
        "one of the images",
        "--mix image=1 --concurrency 64",
        Input::Given,
    ),
    (
        "32 of the images",
        "--mix images=1 --images-per-request 32 --concurrency 16",
        Input::Given,
    ),
];

/// The seed of what is drawn.
const SEED: u64 = 1;

impl Input {
    /// Milliseconds of a core for a row's decoding or tokenizing alone: the best of several rounds over
    /// what load-test sends.
    fn bare(self, folder: Option<&PathBuf>) -> f64 {
        let limits = ImageLimits::default();
        let files: Vec<Vec<u8>> = match self {
            Self::Drawn(width, height) => {
                let number = if width > 1000 { 16 } else { 64 };
                let drawn = samples::jpegs((width, height), number, SEED).unwrap();
                drawn.into_iter().map(Vec::from).collect()
            }
            Self::Given => {
                let files = std::fs::read_dir(folder.unwrap()).unwrap();
                let files = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
                files.filter(|file| decode(file, &limits).is_ok()).collect()
            }
            Self::Text => {
                let demo = Checkpoint::demo().unwrap();
                let tokenizer = demo.files.text_tokenizer(&demo.config, None).unwrap();
                let texts = samples::texts(4096, SEED);
                return best(texts.len(), || {
                    for text in &texts {
                        black_box(tokenizer.encode(black_box(text)).unwrap());
                    }
                });
            }
        };
        best(files.len(), || {
            for file in &files {
                black_box(decode(black_box(file), &limits).unwrap());
            }
        })
    }
}

/// Milliseconds a row of the best of five rounds, each of so many rows on every core at once, since
/// cores may share what they compute with.
fn best(rows: usize, round: impl Fn() + Sync) -> f64 {
    let cores = std::thread::available_parallelism().unwrap().get();
    let rounds = (0..5).map(|_| {
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(&round);
            }
        });
        began.elapsed()
    });
    rounds.min().unwrap_or_default().as_secs_f64() * 1e3 / rows as f64
}

fn main() {
    // As the program does.
    siglip2_allocator::return_freed_memory().unwrap();
    let arguments = Arguments::parse();
    let mut settings = HttpSettings::default();
    settings.http_threads = arguments.http_threads.unwrap_or(settings.http_threads);
    let runtime = settings.runtime().unwrap();
    let rows = Arc::new(AtomicU64::new(0));
    let service = service(&rows);
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(serve(
        listener,
        service,
        settings,
        None,
        std::future::pending(),
    ));
    println!(
        "{:<26} {:<7} {:>9} {:>16} {:>16} {:>16}",
        "request", "answer", "rows/s", "CPU, ms per row", "rows/s per core", "at the least, ms"
    );
    let answers = ["json", "bytes"].into_iter();
    let answers = answers.filter(|kind| arguments.only.as_deref().is_none_or(|only| only == *kind));
    let folder = arguments.images.as_ref();
    let requests = REQUESTS.map(|(name, flags, input)| {
        let asked = input != Input::Given || folder.is_some();
        asked.then(|| (name, flags, input, input.bare(folder)))
    });
    let requests = requests.iter().flatten();
    for (&(name, flags, input, bare), kind) in
        requests.flat_map(|request| answers.clone().map(move |kind| (request, kind)))
    {
        let (before, begun) = (rows.load(Ordering::SeqCst), processor_time());
        let mut command = Command::new(env!("CARGO_BIN_EXE_load-test"));
        if let Some(folder) = folder.filter(|_| input == Input::Given) {
            command.arg("--images").arg(folder);
        }
        let output = command
            .args([
                "--url",
                &url,
                "--json",
                "--warm-up",
                "0s",
                "--answers",
                kind,
            ])
            .args(["--duration", &format!("{}s", arguments.seconds)])
            .args(["--seed", &SEED.to_string()])
            .args(flags.split(' '))
            .output()
            .expect("load-test starts");
        let took = processor_time() - begun;
        let answered = rows.load(Ordering::SeqCst) - before;
        assert!(
            output.status.success() && answered > 0,
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let each = took.as_secs_f64() / answered as f64;
        println!(
            "{name:<26} {kind:<7} {:>9.0} {:>16.3} {:>16.0} {bare:>16.3}",
            answered as f64 / arguments.seconds,
            each * 1e3,
            1.0 / each
        );
    }
}

/// Time that this process has had on processors.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // After the name, which may hold anything, in parentheses: utime and stime are fields 14
    // and 15, in ticks, of which there are 100 in a second on every Linux.
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// An engine that answers at once, and counts.
struct Nothing(Arc<AtomicU64>);

impl Engine for Nothing {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            name: "nothing",
            device: "cuda",
            precision: "fp16",
            agreement: None,
            dimensions: DIMENSIONS,
            max_batch: 64,
            slots: 2,
            device_timeout: None,
        }
    }

    fn preparer(&self) -> Arc<dyn Prepare> {
        Arc::new(AsDecoded)
    }

    fn submit(&mut self, batch: Batch, done: Completion) {
        let value =
            |seed: usize| move |at: usize| ((seed * 7 + at * 13) % 1009) as f32 / 500.0 - 1.0;
        let values = match &batch {
            Batch::Images(images) => images
                .iter()
                .flat_map(|image| (0..DIMENSIONS).map(value(image.bytes())))
                .collect(),
            Batch::Texts(texts) => texts
                .iter()
                .flat_map(|ids| (0..DIMENSIONS).map(value(ids[0] as usize)))
                .collect(),
        };
        self.0.fetch_add(batch.len() as u64, Ordering::SeqCst);
        done.finish(Rows::new(DIMENSIONS, values));
    }
}

struct AsDecoded;

impl Prepare for AsDecoded {
    fn prepare(&self, image: RgbImage) -> Result<Pixels, ImageError> {
        Ok(Pixels::Decoded(image))
    }
}

fn service(rows: &Arc<AtomicU64>) -> Service {
    let demo = Checkpoint::demo().unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    let model = Model {
        info: ModelInfo {
            name: "nothing".into(),
            source: "nothing".into(),
            revision: None,
            device: "cuda",
            engine: "nothing",
            precision: "fp16",
            decode: Decode::Cpu,
            agreement: None,
            dimensions: DIMENSIONS,
            images: Target::Square { side: 224 },
            max_batch: 64,
            text_tokens: 64,
            description: "Computes nothing.".into(),
            build: BuildInfo::default(),
        },
        tokenizer: demo.files.text_tokenizer(&demo.config, None).unwrap(),
        logit_scale: demo.logit_scale().unwrap(),
        logit_bias: demo.logit_bias().unwrap(),
    };
    let settings = ServiceSettings {
        max_queued_rows: 4096,
        decode_threads: Some(cores),
        max_request_memory: 2 << 30,
        text_cache_bytes: 0,
        image_cache_bytes: 0,
        ..ServiceSettings::default()
    };
    let service = Service::new(model, settings);
    service.attach(Box::new(Nothing(Arc::clone(rows)))).unwrap();
    service
}
