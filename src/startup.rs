//! From settings to a service: everything between the command line and the socket.
//!
//! ```text
//! Settings --locate--> checkpoint --check--> tokenizer, processor --> Service (starting)
//! Prepared::load: weights --> engine --attach--> Service (ready)
//! ```
//!
//! [`prepare`] finds all that a user can have got wrong and takes milliseconds, unless
//! it downloads; [`Prepared::load`] takes the seconds that weights take.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::thread;

use crate::batcher::Worker;
use crate::checkpoint::{Checkpoint, hub};
use crate::engine::Engine;
use crate::engine::cpu::{CpuEngine, CpuOptions};
use crate::http::{ApiKey, HttpSettings};
use crate::image::{ImageLimits, Processor};
use crate::service::{Canary, Model, ModelInfo, Service, ServiceSettings};
use crate::settings::{Device, Settings, Source};
use crate::spans::Spans;
use crate::text::{TextOptions, TextTokenizer, TokenizerFiles};

/// All that is known before a thread is started or a socket opened.
pub struct Prepared {
    checkpoint: Checkpoint,
    processor: Processor,
    service: Service,
    options: CpuOptions,
    spans: Option<Spans>,
}

/// Finds the model and makes of it all but the engine.
///
/// # Errors
///
/// A sentence that says what is wrong, where, and what to do.
pub fn prepare(settings: &Settings) -> Result<Prepared, Box<dyn Error>> {
    settings.check()?;
    if settings.device == Device::Cuda {
        return Err(
            "--device cuda (DEVICE) asks for a GPU, and this binary is built without TensorRT"
                .into(),
        );
    }
    let checkpoint = match settings.source()? {
        Source::Demo => Checkpoint::demo()?,
        Source::Directory(directory) => Checkpoint::open(&directory)?,
        Source::Hub(name) => {
            Checkpoint::open(&hub::locate(&name, &settings.revision, &settings.hub())?)?
        }
    };
    CpuEngine::check(&checkpoint)?;
    let config = &checkpoint.config;
    let tokenizer = TextTokenizer::new(
        TokenizerFiles {
            tokenizer: &checkpoint.tokenizer,
            tokenizer_config: checkpoint.tokenizer_config.as_deref(),
            special_tokens_map: checkpoint.special_tokens_map.as_deref(),
            config: Some(&checkpoint.config_json),
        },
        TextOptions {
            max_tokens: config.text.positions,
            vocab_size: config.text.vocab_size,
            lower_case: settings.lower_case,
        },
    )?;
    let image_size = u32::try_from(config.vision.image_size)?;
    let processor = Processor::from_json(&checkpoint.preprocessor, image_size)?;

    let cores = thread::available_parallelism().map_or(1, usize::from);
    let options = CpuOptions {
        threads: settings.compute_threads.unwrap_or(cores),
        max_batch: settings.max_batch_requests.unwrap_or(cores.max(MAX_BATCH)),
    };
    let engine = CpuEngine::describe(config, options);
    let model = Model {
        info: ModelInfo {
            name: settings.model.clone(),
            device: engine.device,
            engine: engine.name,
            precision: engine.precision,
            dimensions: engine.dimensions,
            image_size,
            max_batch: engine.max_batch,
            text_tokens: config.text.positions,
            description: describe(checkpoint.is_demo).to_owned(),
        },
        tokenizer,
        logit_scale: checkpoint.logit_scale()?,
        logit_bias: checkpoint.logit_bias()?,
    };
    let mut image_limits = ImageLimits::default();
    if let Some(pixels) = settings.max_image_pixels {
        image_limits.max_pixels = pixels as u64;
    }
    let service = Service::new(
        model,
        ServiceSettings {
            max_queued_rows: settings.max_queued_rows,
            image_limits,
            decoders: settings.decode_threads.unwrap_or(cores),
            max_decoded_bytes: settings.max_decoded_bytes as u64,
            text_cache_bytes: settings.text_cache_bytes,
            image_cache_bytes: settings.image_cache_bytes,
        },
    );
    let spans = settings
        .otlp()
        .map(|endpoint| {
            let metrics = Arc::clone(service.metrics());
            Spans::to(endpoint, &settings.otlp_service_name, metrics)
        })
        .transpose()?;
    Ok(Prepared {
        checkpoint,
        processor,
        service,
        options,
        spans,
    })
}

/// The largest batch on the CPU, at least: the engine deals a batch out to its
/// threads row by row, so more than a few rows for each make it no faster, and a text
/// that arrives meanwhile waits for all of them.
const MAX_BATCH: usize = 4;

fn describe(is_demo: bool) -> &'static str {
    if is_demo {
        "A small model for trying out the service: it knows only drawn pictures of coloured \
         shapes, and is of no use for photos"
    } else {
        "SigLIP2 embeddings of images and texts in one vector space"
    }
}

impl Prepared {
    /// The service: it knows what it is, and refuses to embed until the engine is
    /// loaded.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Where spans of requests go, if anywhere.
    pub fn spans(&self) -> Option<&Spans> {
        self.spans.as_ref()
    }

    /// Threads that will compute.
    pub fn threads(&self) -> usize {
        self.options.threads
    }

    /// Loads the weights and gives the service its engine.
    ///
    /// # Errors
    ///
    /// A sentence, when the runtime does not take the model or the system gives no
    /// thread.
    pub fn load(self) -> Result<(), String> {
        let Self {
            mut checkpoint,
            processor,
            service,
            options,
            spans: _,
        } = self;
        // Kept for a rebuild; the tokenizer, 34 MB of JSON, has been read.
        checkpoint.tokenizer = Cow::default();
        let load = move || {
            CpuEngine::load(checkpoint.clone(), processor.clone(), options)
                .map_err(|error| error.to_string())
        };
        let mut engine = load()?;
        let ids = service.canary_ids()?;
        let canary = Canary::of(&mut engine, ids).map_err(|error| error.to_string())?;
        let rebuild = Box::new(move || load().map(|engine| Box::new(engine) as Box<dyn Engine>));
        let worker = Worker {
            engine: Box::new(engine),
            rebuild: Some(rebuild),
        };
        service
            .attach_with(vec![worker], Some(canary))
            .map_err(|error| error.to_string())
    }
}

/// What the HTTP side is told of the settings.
pub fn http_settings(settings: &Settings, spans: Option<Spans>) -> HttpSettings {
    HttpSettings {
        max_body_bytes: settings.payload_limit as u64,
        max_text_body_bytes: settings.max_text_body_bytes,
        max_text_bytes: settings.max_text_bytes,
        max_texts_per_request: settings.max_texts_per_request,
        max_images_per_request: settings.max_images_per_request,
        max_other_parts: settings.max_other_parts,
        max_concurrent_requests: settings.max_concurrent_requests,
        max_connections: settings.max_connections,
        max_buffered_bytes: settings.max_buffered_bytes as u64,
        header_timeout: settings.header_timeout,
        idle_timeout: settings.idle_timeout,
        body_timeout: settings.body_timeout,
        body_idle_timeout: settings.body_idle_timeout,
        min_body_rate: settings.min_body_rate,
        write_timeout: settings.write_timeout,
        request_timeout: settings.request_timeout,
        drain_timeout: settings.drain_timeout,
        api_key: settings
            .api_key
            .clone()
            .filter(|key| !key.is_empty())
            .map(ApiKey::new),
        spans,
    }
}
