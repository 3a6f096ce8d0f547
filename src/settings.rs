//! The service's settings: flags and their environment variables, validated.
//!
//! Every setting is a flag; each has an environment variable, and the flag wins. The
//! variables of the Python service that this one replaces (`API_HOST`, `API_PORT`,
//! `FORCE_CPU`, `HF_HOME`, `MODEL_NAME`) keep their meaning and their defaults. A
//! value that cannot be used stops the program at startup with a sentence that names it.

mod also;
mod error;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use siglip2_flags::{choice, count, number, path, seconds, some_bytes, switch, text};
use siglip2_http::HttpSettings;
use siglip2_model::checkpoint::{
    DEFAULT_REVISION, HubOptions, MAX_NUM_PATCHES, Source, SourceError,
};
use siglip2_service::MemoryUse;
use siglip2_service::ServiceSettings;
use siglip2_service::batcher::largest_request;

use crate::index::IndexSettings;

pub use also::Also;
pub use error::SettingsError;

/// SigLIP2 embeddings of images and texts in one vector space, over HTTP.
#[derive(Clone, Debug, Parser)]
#[command(version, long_version = crate::build_info::long_version(), about)]
pub struct Settings {
    /// The model: a checkpoint directory, a name on the Hugging Face hub, or `demo`,
    /// a small built-in model. MODEL=NAME gives it the name by which requests ask for it.
    #[arg(
        long,
        env = "MODEL_NAME",
        default_value = "google/siglip2-base-patch16-224",
        value_parser = text
    )]
    pub model: String,

    /// Another model to serve beside the first, as MODEL[@REVISION][:PRECISION][=NAME]; may be given
    /// several times, and in the variable separated by commas. Requests choose by the header X-Model,
    /// the field `model` or the path /models/NAME. Limits and the device are the same for all, and
    /// so is the precision where none is given; --revision is that of --model alone.
    // Its brackets are those of a help text, and no links.
    #[allow(rustdoc::broken_intra_doc_links)]
    #[arg(
        long,
        env = "ALSO_MODELS",
        value_name = "MODEL",
        value_delimiter = ',',
        value_parser = Also::parse
    )]
    pub also: Vec<Also>,

    /// Address to listen on.
    #[arg(long, env = "API_HOST", default_value = "0.0.0.0", value_parser = host)]
    pub host: IpAddr,

    /// Port to listen on; 0 chooses a free one.
    #[arg(long, env = "API_PORT", default_value_t = 8091, value_parser = port)]
    pub port: u16,

    /// What to compute on.
    #[arg(long, env = "DEVICE", value_enum, value_parser = choice::<Device>(), default_value_t = Device::Auto)]
    pub device: Device,

    /// Compute on the CPU even if there is a GPU.
    #[arg(
        long,
        env = "FORCE_CPU",
        value_parser = switch,
        num_args = 0..=1,
        default_value = "0",
        default_missing_value = "1"
    )]
    pub force_cpu: bool,

    /// The precision of products.
    #[arg(long, env = "PRECISION", value_enum, value_parser = choice::<Precision>(), default_value_t = Precision::Auto)]
    pub precision: Precision,

    /// The CPU kernel, whatever the precision: for tests and measurements.
    #[arg(long, env = "CPU_KERNEL", hide = true, value_parser = text)]
    pub cpu_kernel: Option<String>,

    /// Directory for what the canaries showed, the few rows by which a start compares another precision of the
    /// CPU with FP32, so that the next start of the same program with the same weights need not; by default
    /// `siglip2-embeddings/canaries` among the user's caches. /dev/null keeps nothing.
    #[arg(long, env = "CANARY_CACHE", value_parser = path)]
    pub canary_cache: Option<PathBuf>,

    /// Threads of the CPU engine; by default one per core.
    #[arg(long, env = "COMPUTE_THREADS", value_parser = count)]
    pub compute_threads: Option<usize>,

    /// Most rows (images or texts) in a batch; by default chosen for the device.
    #[arg(long, env = "MAX_BATCH", value_parser = count)]
    pub max_batch: Option<usize>,

    /// Most patches that an image becomes, 1 to 1024, with a model of variable resolution
    /// (NaFlex); by default as many as its image processor says, 256 for google's. More
    /// patches show more detail and cost more time.
    #[arg(long, env = "MAX_NUM_PATCHES", value_parser = patches)]
    pub max_num_patches: Option<usize>,

    /// Whether nobody waits for single rows, so that batches may be larger.
    #[arg(skip)]
    pub is_bulk: bool,

    /// Lower-case texts before they are tokenized; by default as the checkpoint's
    /// tokenizer class does.
    #[arg(long, env = "LOWER_CASE", value_parser = switch)]
    pub lower_case: Option<bool>,

    /// The GPU engine.
    #[command(flatten)]
    pub gpu: GpuSettings,

    /// Logging and tracing.
    #[command(flatten)]
    pub log: LogSettings,

    /// Where to send spans of requests: the URL of an OpenTelemetry collector that accepts
    /// OTLP over HTTP, such as http://localhost:4318. By default the value of
    /// OTEL_EXPORTER_OTLP_ENDPOINT; without either, no spans are sent.
    #[arg(long, env = "OTLP_ENDPOINT", hide_env_values = true, value_parser = text)]
    pub otlp_endpoint: Option<String>,

    /// OpenTelemetry's own variable, used without `--otlp-endpoint`.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide = true, value_parser = text)]
    pub otel_exporter_otlp_endpoint: Option<String>,

    /// The service's name in its spans.
    #[arg(long, env = "OTLP_SERVICE_NAME", default_value = "siglip2-embeddings", value_parser = text)]
    pub otlp_service_name: String,

    /// The model hub.
    #[command(flatten)]
    pub hub: HubOptions,

    /// What is searched.
    #[command(flatten)]
    pub index: IndexSettings,

    /// Limits of the service.
    #[command(flatten)]
    pub service: ServiceSettings,

    /// Limits of the HTTP server.
    #[command(flatten)]
    pub http: HttpSettings,
}

/// The GPU engine. These settings have no effect on the CPU.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "GPU")]
pub struct GpuSettings {
    /// Numbers of the GPUs to compute on, separated by commas; requests go to whichever GPU is
    /// free. By default the first one.
    #[arg(long, env = "GPUS", value_delimiter = ',', value_parser = number::<usize>)]
    pub gpus: Option<Vec<usize>>,

    /// Directory of the engines that build-engine built; by default `engines`.
    #[arg(long, env = "ENGINES", value_parser = path)]
    pub engines: Option<PathBuf>,

    /// The engine directory to use, regardless of the model's name.
    #[arg(long, env = "ENGINE_DIR", value_parser = path)]
    pub engine_dir: Option<PathBuf>,

    /// Memory for pictures before they are resized, on each GPU and for each of two batches, such
    /// as 128MiB. By default 256MiB, and never less than the 3 bytes for each of
    /// `--max-image-pixels` that the largest picture takes: 512MiB by default.
    #[arg(long, env = "GPU_PICTURE_MEMORY", value_parser = some_bytes::<usize>)]
    pub gpu_picture_memory: Option<usize>,

    /// Seconds without a finished batch after which a busy GPU counts as hanging: requests are
    /// then answered 503, and the process exits with code 3. By default 60.
    #[arg(long, env = "DEVICE_TIMEOUT", value_parser = seconds)]
    pub device_timeout: Option<Duration>,

    /// Directory of TensorRT's libraries; by default they are searched for.
    #[arg(long, env = "TENSORRT_LIB_DIR", value_parser = path)]
    pub tensorrt_lib: Option<PathBuf>,

    /// Directory of nvJPEG, for `--decode auto` and `--decode gpu`; by default it is searched for.
    #[arg(long, env = "NVJPEG_LIB_DIR", value_parser = path)]
    pub nvjpeg_lib: Option<PathBuf>,
}

impl GpuSettings {
    /// The numbers of the GPUs to compute on.
    pub fn gpus(&self) -> &[usize] {
        self.gpus.as_deref().unwrap_or(&[0])
    }

    /// Where the engines are.
    pub fn engines(&self) -> &Path {
        self.engines.as_deref().unwrap_or(Path::new("engines"))
    }

    /// How long a busy GPU may go without finishing a batch.
    pub fn device_timeout(&self) -> Duration {
        self.device_timeout.unwrap_or(Duration::from_secs(60))
    }

    /// The names of the flags that were given.
    pub fn given(&self) -> Vec<&'static str> {
        [
            ("--gpus (GPUS)", self.gpus.is_some()),
            ("--engines (ENGINES)", self.engines.is_some()),
            ("--engine-dir (ENGINE_DIR)", self.engine_dir.is_some()),
            (
                "--gpu-picture-memory (GPU_PICTURE_MEMORY)",
                self.gpu_picture_memory.is_some(),
            ),
            (
                "--device-timeout (DEVICE_TIMEOUT)",
                self.device_timeout.is_some(),
            ),
            (
                "--tensorrt-lib (TENSORRT_LIB_DIR)",
                self.tensorrt_lib.is_some(),
            ),
            ("--nvjpeg-lib (NVJPEG_LIB_DIR)", self.nvjpeg_lib.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }
}

/// Logging and tracing.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log and traces")]
pub struct LogSettings {
    /// Write the log as JSON, one object per line.
    #[arg(long, env = "JSON_OUTPUT", value_parser = switch, num_args = 0..=1, default_value = "0", default_missing_value = "1")]
    pub json_output: bool,

    /// What to log: error, warn, info, debug, trace, or a filter by module such as
    /// info,siglip2_http=debug; by default what RUST_LOG says, or info.
    #[arg(long, env = "LOG_LEVEL", value_parser = log_level)]
    pub log_level: Option<String>,

    /// Used without `--log-level`.
    #[arg(long, env = "RUST_LOG", hide = true, value_parser = text)]
    pub rust_log: Option<String>,
}

impl LogSettings {
    /// The filter in force.
    pub fn filter(&self) -> &str {
        let said = self.log_level.as_deref().or(self.rust_log.as_deref());
        said.unwrap_or("info")
    }
}

/// What products are computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// FP16 on a GPU. On the CPU BF16, if the processor is fast at it and a check at the start
    /// finds the model's vectors unchanged, else FP32.
    Auto,
    /// FP32.
    Fp32,
    /// FP16, on a GPU.
    Fp16,
    /// BF16.
    Bf16,
    /// INT8, on a CPU with VNNI or AMX: half of BF16's memory, and vectors that differ
    /// more from FP32's.
    Int8,
    /// FP8, on a GPU of compute capability 8.9 or later, with engines that build-engine made for
    /// it; batches of up to 16 in FP16.
    Fp8,
}

/// What to compute on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// A GPU if there is one that this binary can use, otherwise the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU; without one the service does not start.
    Cuda,
}

impl Settings {
    /// Where the model comes from.
    ///
    /// # Errors
    ///
    /// As [`Source::of`].
    pub fn source(&self) -> Result<Source, SourceError> {
        Source::of(self.named().0)
    }

    /// Where what the canaries showed is kept, if anywhere.
    pub fn canary_cache(&self) -> Option<PathBuf> {
        let by_default = || Some(self.hub.user_caches()?.join("siglip2-embeddings/canaries"));
        self.canary_cache.clone().or_else(by_default)
    }

    /// The first model without its name, and the name that requests call it.
    pub fn named(&self) -> (&str, &str) {
        named(&self.model)
    }

    /// The settings of every model that is served, each as if it were alone.
    pub fn of_each(&self) -> Vec<Self> {
        let first = Self {
            also: Vec::new(),
            ..self.clone()
        };
        let others = self.also.iter().map(|also| {
            let mut own = first.clone();
            own.model.clone_from(&also.model);
            // A commit or a branch is one of a single repository.
            let revision = also.revision.as_deref().unwrap_or(DEFAULT_REVISION);
            own.hub.revision = revision.to_owned();
            own.precision = also.precision.unwrap_or(own.precision);
            own
        });
        let others: Vec<Self> = others.collect();
        std::iter::once(first).chain(others).collect()
    }

    /// Where to send spans of requests, if anywhere.
    pub fn otlp(&self) -> Option<&str> {
        let endpoints = [&self.otlp_endpoint, &self.otel_exporter_otlp_endpoint];
        endpoints.into_iter().flatten().map(String::as_str).next()
    }

    /// Checks that the settings are consistent with each other.
    ///
    /// # Errors
    ///
    /// Names the two that are not.
    pub fn check(&self) -> Result<(), SettingsError> {
        let largest = self.http.max_images_per_request + self.http.max_texts_per_request;
        if largest > largest_request(self.service.max_queued_rows) {
            let rows = self.service.max_queued_rows;
            return Err(SettingsError::Queue { rows, largest });
        }
        let bodies = MemoryUse::Bodies.part_of(self.service.max_request_memory);
        if self.http.payload_limit.saturating_mul(2) > bodies {
            return Err(SettingsError::Bodies {
                memory: self.service.max_request_memory,
                bodies,
                body: self.http.payload_limit,
            });
        }
        if !self.also.is_empty()
            && let Some(directory) = &self.gpu.engine_dir
        {
            return Err(SettingsError::OneEngine(directory.clone()));
        }
        let others = self.also.iter().map(|also| &also.model);
        for model in std::iter::once(&self.model).chain(others) {
            check_name(named(model).1)?;
        }
        self.also.iter().try_for_each(Also::check)?;
        if self.force_cpu && self.device == Device::Cuda {
            return Err(SettingsError::BothDevices);
        }
        Ok(())
    }
}

/// A model and its name, which may stand behind an equals sign. The whole is the model where it
/// is a directory.
fn named(model: &str) -> (&str, &str) {
    match model.rsplit_once('=') {
        Some((source, name)) if !Path::new(model).is_dir() => (source, name),
        _ => (model, model),
    }
}

/// Refuses a name that no request could send in a header or a path.
fn check_name(name: &str) -> Result<(), SettingsError> {
    if name.is_empty() || name.trim() != name || name.chars().any(char::is_control) {
        return Err(SettingsError::Name(name.to_owned()));
    }
    Ok(())
}

fn patches(value: &str) -> Result<usize, String> {
    let patches = count(value)?;
    if patches > MAX_NUM_PATCHES {
        return Err(format!("it must be at most {MAX_NUM_PATCHES}"));
    }
    Ok(patches)
}

fn host(value: &str) -> Result<IpAddr, String> {
    if value.trim().eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::from([127, 0, 0, 1]));
    }
    value
        .trim()
        .parse()
        .map_err(|_| "API_HOST must be an IP address such as 0.0.0.0 or ::".to_owned())
}

fn port(value: &str) -> Result<u16, String> {
    value
        .trim()
        .parse()
        .map_err(|_| "API_PORT must be a port, 0 to 65535".to_owned())
}

/// A level, or levels by module such as `info,siglip2_http=debug`. The filter's own parser
/// would take a misspelt level for a module's name, and nothing would be logged.
fn log_level(value: &str) -> Result<String, String> {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let known = |part: &str| {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        levels.contains(&level.trim().to_ascii_lowercase().as_str())
    };
    if value.trim().split(',').all(known) {
        Ok(value.trim().to_owned())
    } else {
        Err(
            "LOG_LEVEL must be off, error, warn, info, debug or trace, or a list by module: \
             info,siglip2_http=debug"
                .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn settings(arguments: &[&str]) -> Result<Settings, String> {
        siglip2_flags::try_parse_flags(std::iter::once(&"siglip2-embeddings").chain(arguments))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_service_that_is_replaced() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.model, "google/siglip2-base-patch16-224");
        assert_eq!(
            (settings.host.to_string().as_str(), settings.port),
            ("0.0.0.0", 8091)
        );
        assert!(!settings.force_cpu);
        assert_eq!(settings.check(), Ok(()));
    }

    #[test]
    fn an_unusable_value_is_named() {
        for (arguments, said) in [
            (["--port", "http"], "API_PORT"),
            (["--port", "70000"], "70000"),
            (["--host", "nowhere"], "API_HOST"),
            (["--force-cpu", "maybe"], "--force-cpu"),
            (["--max-queued-rows", "0"], "--max-queued-rows"),
            (["--log-level", "verbose"], "LOG_LEVEL"),
            (["--body-timeout", "0"], "--body-timeout"),
            (["--compute-nice", "20"], "--compute-nice"),
            (["--max-num-patches", "1025"], "1024"),
            (["--max-num-patches", "0"], "--max-num-patches"),
        ] {
            let error = settings(&arguments).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn white_space_around_a_value_is_passed_over() {
        let plain = |flag: &str, value: &str| vec![format!("--{flag}={value}")];
        let mut seen = 0;
        for argument in Settings::command().get_arguments() {
            let (Some(flag), true) = (argument.get_long(), argument.get_env().is_some()) else {
                continue;
            };
            let values = argument.get_default_values().iter();
            let values = values.map(|value| value.to_string_lossy().into_owned());
            let names = argument.get_possible_values().into_iter();
            let names = names.map(|value| value.get_name().to_owned());
            for value in values.chain(names) {
                let read = |value: &str| {
                    let arguments = plain(flag, value);
                    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                    settings(&arguments).map(|settings| format!("{settings:?}"))
                };
                assert_eq!(read(&format!(" {value}\t")), read(&value), "--{flag}");
                seen += 1;
            }
        }
        assert!(seen > 40, "{seen}");
        for (flag, value) in [
            ("gpus", " 0, 1 "),
            ("max-batch", " 8 "),
            ("model", " demo "),
        ] {
            let arguments = plain(flag, value);
            assert!(settings(&[arguments[0].as_str()]).is_ok(), "--{flag}");
        }
    }

    #[test]
    fn a_model_is_demo_a_directory_or_a_name_on_the_hub() {
        let source = |model: &str| settings(&["--model", model]).ok()?.source().ok();
        for (model, expected) in [
            ("demo", Source::Demo),
            ("src", Source::Directory("src".into())),
            (
                "google/siglip2-base-patch16-224",
                Source::Hub("google/siglip2-base-patch16-224".into()),
            ),
        ] {
            assert_eq!(source(model), Some(expected));
        }
        for wrong in ["./nothing/here", "/nothing/here", "a/b/c", "a b/c", ""] {
            assert_eq!(source(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn models_may_have_names_and_each_is_as_if_it_were_alone() {
        let arguments = [
            "--model",
            "demo=old",
            "--also",
            "google/x=new",
            "--also",
            "src",
            "--also",
            "google/x@v1:fp32=old-x",
        ];
        let more = ["--revision", "abc", "--precision", "bf16"];
        let settings = settings(&[&arguments[..], &more].concat()).unwrap();
        assert_eq!(settings.check(), Ok(()));
        let each = settings.of_each();
        let named: Vec<_> = each.iter().map(Settings::named).collect();
        assert_eq!(
            named,
            [
                ("demo", "old"),
                ("google/x", "new"),
                ("src", "src"),
                ("google/x", "old-x")
            ]
        );
        assert_eq!(each[0].source().unwrap(), Source::Demo);
        let revisions = each.iter().map(|it| it.hub.revision.as_str());
        assert_eq!(revisions.collect::<Vec<_>>(), ["abc", "main", "main", "v1"]);
        let precisions: Vec<_> = each.iter().map(|it| it.precision).collect();
        let (bf16, fp32) = (Precision::Bf16, Precision::Fp32);
        assert_eq!(precisions, [bf16, bf16, bf16, fp32]);
    }

    #[test]
    fn names_and_engines_that_cannot_be_used_are_refused() {
        for (arguments, said) in [
            (vec!["--model", "demo="], "name of a model"),
            (vec!["--also", "demo=a\tb"], "name of a model"),
            (vec!["--also", "demo@main"], "only a model of the hub"),
            (vec!["--also", "demo", "--engine-dir", "x"], "--engines"),
        ] {
            let error = settings(&arguments).unwrap().check().unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn the_largest_request_must_fit_the_queue() {
        let settings = settings(&["--max-queued-rows", "100"]).unwrap();
        let error = settings.check().unwrap_err();
        assert!(matches!(error, SettingsError::Queue { rows: 100, .. }));
    }
}
