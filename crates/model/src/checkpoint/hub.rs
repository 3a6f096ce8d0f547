//! A checkpoint by its hub name: from the hub cache, else downloaded into it.
//!
//! ```text
//! "google/siglip2-base-patch16-224"
//!   --cache--> HF_HOME/hub/models--google--siglip2.../snapshots/<commit>/   (no network)
//!   --hub----> HF_ENDPOINT, the files that are missing, then the same directory
//! ```
//!
//! The cache is laid out as every other Hugging Face library has it, so models that
//! are there already are found, and the other way round.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

/// What every checkpoint has.
const REQUIRED: [&str; 3] = ["config.json", "tokenizer.json", "preprocessor_config.json"];
/// What is fetched where the hub has it.
const OPTIONAL: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];
const WEIGHTS: &str = "model.safetensors";
const WEIGHTS_INDEX: &str = "model.safetensors.index.json";

/// A download that breaks off is resumed so many times.
const RETRIES: usize = 3;

/// Where the hub and its cache are.
#[derive(Clone, Debug, Default)]
pub struct HubSettings {
    /// `HF_HOME`: the directory above the cache; by default `~/.cache/huggingface`.
    pub home: Option<PathBuf>,
    /// `HF_ENDPOINT`: by default the public hub.
    pub endpoint: Option<String>,
    /// `HF_TOKEN`, for models that ask for one; by default the token file in `home`.
    pub token: Option<String>,
    /// `HF_HUB_OFFLINE`: look in the cache only.
    pub offline: bool,
}

/// Why a model could not be had.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Neither the cache nor the hub has it.
    #[error(
        "the model {name} is not in the hub cache {} and {reason}; \
         give the path of a checkpoint directory, or --model demo, which needs no files",
        cache.display()
    )]
    Unavailable {
        /// The name that was asked for.
        name: String,
        /// Where it was looked for.
        cache: PathBuf,
        /// Why it could not be downloaded.
        reason: String,
    },
    /// The hub has it, and it is no model that this service runs.
    #[error("the model {name} at {endpoint} has no {file}, so it cannot be run")]
    NotACheckpoint {
        /// The name that was asked for.
        name: String,
        /// Where the hub is.
        endpoint: String,
        /// What it lacks.
        file: String,
    },
}

/// The directory with the files of the model `name` at `revision`, downloading
/// those that the cache lacks.
///
/// # Errors
///
/// When they are neither in the cache nor to be had.
pub fn locate(name: &str, revision: &str, settings: &HubSettings) -> Result<PathBuf, HubError> {
    let cache = match &settings.home {
        Some(home) => Cache::new(home.join("hub")),
        None => Cache::default(),
    };
    let repo = Repo::with_revision(name.to_owned(), RepoType::Model, revision.to_owned());
    if let Some(directory) = cached(&cache, &repo) {
        return Ok(directory);
    }
    let unavailable = |reason: String| HubError::Unavailable {
        name: name.to_owned(),
        cache: cache.path().clone(),
        reason,
    };
    if settings.offline {
        return Err(unavailable("HF_HUB_OFFLINE forbids to download it".into()));
    }
    let download = Download::new(cache.clone(), repo, settings)
        .map_err(|error| unavailable(format!("no download can be started ({error})")))?;
    download.all().map_err(|failure| match failure {
        Failure::Missing(file) => HubError::NotACheckpoint {
            name: name.to_owned(),
            endpoint: download.endpoint.clone(),
            file,
        },
        Failure::Api(error) => unavailable(reason(&download.endpoint, &error)),
    })
}

/// The snapshot in the cache, if nothing is missing from it.
fn cached(cache: &Cache, repo: &Repo) -> Option<PathBuf> {
    let files = cache.repo(repo.clone());
    let directory = files.get(REQUIRED[0])?.parent()?.to_owned();
    let complete = REQUIRED.iter().all(|file| directory.join(file).exists())
        && (directory.join(WEIGHTS).exists()
            || shards(&directory.join(WEIGHTS_INDEX))
                .is_some_and(|shards| shards.iter().all(|file| directory.join(file).exists())));
    complete.then_some(directory)
}

#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, String>,
}

/// The files that an index of weights names.
fn shards(index: &Path) -> Option<Vec<String>> {
    let index: Index = serde_json::from_slice(&std::fs::read(index).ok()?).ok()?;
    let mut files: Vec<String> = index.weight_map.into_values().collect();
    files.sort();
    files.dedup();
    Some(files)
}

enum Failure {
    Missing(String),
    Api(ApiError),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Failure::Api(error)
    }
}

struct Download {
    repo: ApiRepo,
    endpoint: String,
}

impl Download {
    fn new(cache: Cache, repo: Repo, settings: &HubSettings) -> Result<Self, ApiError> {
        let mut builder = ApiBuilder::from_cache(cache)
            .with_retries(RETRIES)
            .with_user_agent(crate::PROGRAM, env!("CARGO_PKG_VERSION"));
        if let Some(token) = &settings.token {
            builder = builder.with_token(Some(token.clone()));
        }
        let endpoint = settings
            .endpoint
            .clone()
            .unwrap_or_else(|| "https://huggingface.co".to_owned());
        let api: Api = builder
            .with_endpoint(endpoint.trim_end_matches('/').to_owned())
            .build()?;
        Ok(Self {
            repo: api.repo(repo),
            endpoint,
        })
    }

    /// Fetches what is missing; the weights last, so that a model that cannot be run
    /// is found out before they are.
    fn all(&self) -> Result<PathBuf, Failure> {
        let files: Vec<String> = self
            .repo
            .info()?
            .siblings
            .into_iter()
            .map(|file| file.rfilename)
            .collect();
        let has = |file: &str| files.iter().any(|it| it == file);
        for file in REQUIRED {
            if !has(file) {
                return Err(Failure::Missing(file.to_owned()));
            }
        }
        let sharded = !has(WEIGHTS);
        if sharded && !has(WEIGHTS_INDEX) {
            return Err(Failure::Missing(WEIGHTS.to_owned()));
        }
        let mut config = PathBuf::new();
        for file in REQUIRED {
            let path = self.file(file)?;
            if file == REQUIRED[0] {
                config = path;
            }
        }
        for file in OPTIONAL.into_iter().filter(|file| has(file)) {
            self.file(file)?;
        }
        if sharded {
            let index = self.file(WEIGHTS_INDEX)?;
            for shard in shards(&index).unwrap_or_default() {
                self.file(&shard)?;
            }
        } else {
            self.file(WEIGHTS)?;
        }
        config.pop();
        Ok(config)
    }

    fn file(&self, name: &str) -> Result<PathBuf, ApiError> {
        self.repo.download_with_progress(name, Shown::new())
    }
}

/// What went wrong, in the words of somebody who can do something about it.
fn reason(endpoint: &str, error: &ApiError) -> String {
    let status = |code: u16| match code {
        401 | 403 => format!("{endpoint} wants a token that may read it (HF_TOKEN)"),
        404 => format!("{endpoint} does not know it"),
        code => format!("{endpoint} answered with status {code}"),
    };
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(code) => status(code),
            ref other => format!("{endpoint} cannot be reached ({other})"),
        },
        ApiError::TooManyRetries(error) => {
            format!("its download broke off {RETRIES} times ({error})")
        }
        ApiError::LockAcquisition(path) => format!(
            "another process is downloading it (it holds the lock {})",
            path.display()
        ),
        other => format!("its download from {endpoint} failed ({other})"),
    }
}

/// How often a download says how far it is where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// A progress bar on a terminal, log lines elsewhere.
enum Shown {
    Bar(ProgressBar),
    Log {
        name: String,
        size: usize,
        done: usize,
        said: Instant,
    },
}

impl Shown {
    fn new() -> Self {
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template(
                "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            ) {
                bar.set_style(style);
            }
            Shown::Bar(bar)
        } else {
            Shown::Log {
                name: String::new(),
                size: 0,
                done: 0,
                said: Instant::now(),
            }
        }
    }
}

impl Progress for Shown {
    fn init(&mut self, total: usize, filename: &str) {
        match self {
            Shown::Bar(bar) => {
                bar.set_length(total as u64);
                bar.set_message(filename.to_owned());
            }
            Shown::Log { name, size, .. } => {
                *name = filename.to_owned();
                *size = total;
                tracing::info!(file = filename, bytes = total, "downloading");
            }
        }
    }

    fn update(&mut self, more: usize) {
        match self {
            Shown::Bar(bar) => bar.inc(more as u64),
            Shown::Log {
                name,
                size,
                done,
                said,
            } => {
                *done += more;
                if said.elapsed() >= LOG_EVERY {
                    *said = Instant::now();
                    tracing::info!(file = %name, done, bytes = size, "downloading");
                }
            }
        }
    }

    fn finish(&mut self) {
        match self {
            Shown::Bar(bar) => bar.finish(),
            Shown::Log { name, .. } => tracing::info!(file = %name, "downloaded"),
        }
    }
}
