//! An engine without a model: the vector of an image is its first pixel, that of a
//! text is made from its token ids, and it fails when it is told to.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use siglip2_embeddings::engine::{
    Batch, Completion, Engine, EngineError, EngineInfo, Pixels, Prepare, Rows,
};
use siglip2_embeddings::image::{ImageError, RgbImage, Target};
use siglip2_embeddings::service::batcher::Worker;
use siglip2_embeddings::service::{
    BuildInfo, Decode, Model, ModelInfo, Readiness, Service, ServiceSettings,
};
use siglip2_embeddings::text::{TextOptions, TextTokenizer, TokenizerFiles};

pub const DIMENSIONS: usize = 4;

/// What a test tells the engine to do, and what it did.
#[derive(Default)]
pub struct Orders {
    /// Milliseconds that every batch takes.
    pub delay: AtomicU64,
    pub fail: AtomicBool,
    pub panic: AtomicBool,
    /// Answers rows that are no numbers.
    pub not_a_number: AtomicBool,
    /// Panics while an image is prepared.
    pub panic_in_prepare: AtomicBool,
    /// Held while an image is prepared: who holds it holds the decoders up.
    pub prepare_gate: Mutex<()>,
    /// Engines that were built anew.
    pub rebuilt: AtomicUsize,
    /// Rows that were computed.
    pub rows: AtomicUsize,
    /// The first value of each of them, in the order in which they were computed.
    pub order: Mutex<Vec<f32>>,
    /// Held while a batch runs: who holds it holds the engine up.
    pub gate: Mutex<()>,
}

struct FakeEngine(Arc<Orders>);

impl FakeEngine {
    fn run(&self, rows: Vec<[f32; DIMENSIONS]>) -> Result<Rows, EngineError> {
        drop(self.0.gate.lock());
        std::thread::sleep(Duration::from_millis(self.0.delay.load(Ordering::SeqCst)));
        assert!(!self.0.panic.load(Ordering::SeqCst), "a panic as ordered");
        if self.0.fail.load(Ordering::SeqCst) {
            return Err(EngineError::Failed("a secret of the device".into()));
        }
        self.0.rows.fetch_add(rows.len(), Ordering::SeqCst);
        let mut order = self.0.order.lock().unwrap();
        order.extend(rows.iter().map(|row| row[0]));
        drop(order);
        let broken = self.0.not_a_number.load(Ordering::SeqCst);
        let values = rows
            .into_iter()
            .flatten()
            .map(|value| if broken { f32::NAN } else { value })
            .collect();
        Rows::new(DIMENSIONS, values)
    }
}

impl Engine for FakeEngine {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            name: "fake",
            device: "cpu",
            precision: "fp32",
            agreement: None,
            dimensions: DIMENSIONS,
            max_batch: 8,
            slots: 1,
            device_timeout: None,
        }
    }

    fn preparer(&self) -> Arc<dyn Prepare> {
        Arc::new(FakePrepare(Arc::clone(&self.0)))
    }

    fn submit(&mut self, batch: Batch, done: Completion) {
        let rows = match batch {
            Batch::Images(images) => images
                .iter()
                .map(|image| {
                    let pixels = image.decoded().map_or(&[][..], RgbImage::pixels);
                    let part = |at: usize| f32::from(pixels[at]) / 255.0;
                    [part(0), part(1), part(2), 0.1]
                })
                .collect(),
            Batch::Texts(texts) => texts
                .iter()
                .map(|ids| {
                    let sum = |step: usize| ids.iter().step_by(step).sum::<i32>() as f32 / 97.0;
                    [sum(1), sum(2), -sum(3), 0.3]
                })
                .collect(),
        };
        done.finish(self.run(rows));
    }
}

struct FakePrepare(Arc<Orders>);

impl Prepare for FakePrepare {
    fn prepare(&self, image: RgbImage) -> Result<Pixels, ImageError> {
        drop(self.0.prepare_gate.lock());
        assert!(
            !self.0.panic_in_prepare.load(Ordering::SeqCst),
            "a panic as ordered"
        );
        Ok(Pixels::Decoded(image))
    }
}

/// A service with this engine, and the orders for it.
pub fn service(max_queued_rows: usize) -> (Service, Arc<Orders>) {
    with_cache(max_queued_rows, 0)
}

/// The same, which remembers so many bytes of texts, and of images.
pub fn with_cache(max_queued_rows: usize, cache: usize) -> (Service, Arc<Orders>) {
    running(caching(max_queued_rows, cache))
}

/// The same, whose requests may hold so many bytes.
pub fn with_memory(max_queued_rows: usize, memory: u64) -> (Service, Arc<Orders>) {
    running(limited(max_queued_rows, 0, memory))
}

fn running(service: Service) -> (Service, Arc<Orders>) {
    let orders = Arc::new(Orders::default());
    service
        .attach(Box::new(FakeEngine(Arc::clone(&orders))))
        .expect("a thread");
    (service, orders)
}

/// The same, with what checks its readiness, and an engine that is built anew when it fails.
pub fn with_readiness(cache: usize) -> (Service, Arc<Orders>) {
    let orders = Arc::new(Orders::default());
    let service = caching(100, cache);
    let mut engine = FakeEngine(Arc::clone(&orders));
    let ids = service.readiness_ids().expect("ids");
    let readiness = Readiness::of(&mut engine, ids).expect("vectors");
    let anew = Arc::clone(&orders);
    let worker = Worker {
        engine: Box::new(engine),
        rebuild: Some(Box::new(move || {
            anew.rebuilt.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(FakeEngine(anew)))
        })),
    };
    service
        .attach_with(vec![worker], Some(readiness))
        .expect("a thread");
    // Those of the readiness check.
    orders.rows.store(0, Ordering::SeqCst);
    (service, orders)
}

/// A service that has no engine yet.
pub fn starting(max_queued_rows: usize) -> Service {
    caching(max_queued_rows, 0)
}

/// The same, which remembers so many bytes of texts, and of images.
pub fn caching(max_queued_rows: usize, cache: usize) -> Service {
    limited(max_queued_rows, cache, 2 << 30)
}

fn limited(max_queued_rows: usize, cache: usize, memory: u64) -> Service {
    let settings = ServiceSettings {
        max_queued_rows,
        decode_threads: Some(2),
        max_request_memory: memory,
        text_cache_bytes: cache,
        image_cache_bytes: cache,
        ..ServiceSettings::default()
    };
    Service::new(model("fake/\"model\""), settings)
}

/// Gives a service an engine of this kind, and returns the orders for it.
pub fn attach(service: &Service) -> Arc<Orders> {
    running(service.clone()).1
}

/// A model of this name.
pub fn model(name: &str) -> Model {
    Model {
        info: ModelInfo {
            name: name.into(),
            source: name.into(),
            revision: None,
            device: "cpu",
            engine: "fake",
            precision: "fp32",
            decode: Decode::Cpu,
            agreement: None,
            dimensions: DIMENSIONS,
            images: Target::Square { side: 224 },
            max_batch: 8,
            text_tokens: 64,
            description: "A model for tests.".into(),
            build: BuildInfo::default(),
        },
        tokenizer: tokenizer(),
        logit_scale: 1.5,
        logit_bias: -1.0,
    }
}

/// One token per printable ASCII character; whatever else there is, is unknown.
fn tokenizer() -> TextTokenizer {
    let mut vocabulary = serde_json::Map::new();
    for (id, token) in ["<pad>", "<eos>", "<bos>", "<unk>"].into_iter().enumerate() {
        vocabulary.insert(token.into(), id.into());
    }
    for character in ' '..='~' {
        vocabulary.insert(character.into(), vocabulary.len().into());
    }
    let size = vocabulary.len();
    let added = |id: usize, token: &str| {
        serde_json::json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    let tokenizer = serde_json::json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [added(0, "<pad>"), added(1, "<eos>"), added(2, "<bos>"), added(3, "<unk>")],
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": null,
        "model": { "type": "BPE", "unk_token": "<unk>", "vocab": vocabulary, "merges": [] },
    });
    let written = tokenizer.to_string();
    let files = TokenizerFiles {
        tokenizer: written.as_bytes(),
        tokenizer_config: Some(
            br#"{"tokenizer_class": "GemmaTokenizer", "pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}"#,
        ),
        special_tokens_map: None,
        config: None,
    };
    let options = TextOptions {
        max_tokens: 64,
        vocab_size: size,
        lower_case: None,
    };
    TextTokenizer::new(files, options).expect("a tokenizer")
}
