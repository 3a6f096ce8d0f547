//! Settings for models on the hub, for every program that takes a model.

use std::path::PathBuf;

use clap::Args;
use siglip2_flags::{path, switch, text};

use super::hub::{HubSettings, Places};

/// The branch that a model is taken from where nothing else is said.
pub const DEFAULT_REVISION: &str = "main";

/// Settings for models on the hub, for every program that takes a model.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Hub")]
pub struct HubOptions {
    /// Branch, tag or commit of a model on the hub.
    #[arg(long, env = "MODEL_REVISION", default_value = DEFAULT_REVISION, value_parser = text)]
    pub revision: String,

    /// Directory above the hub cache and the stored token; by default
    /// `~/.cache/huggingface`.
    #[arg(long, env = "HF_HOME", value_parser = path)]
    pub hf_home: Option<PathBuf>,

    /// The hub cache; by default `hub` in the directory above.
    #[arg(long, env = "HF_HUB_CACHE", value_parser = path)]
    pub hf_hub_cache: Option<PathBuf>,

    /// The former name of `HF_HUB_CACHE`.
    #[arg(long, env = "HUGGINGFACE_HUB_CACHE", hide = true, value_parser = path)]
    pub huggingface_hub_cache: Option<PathBuf>,

    /// The Python service's name for the hub cache; takes precedence.
    #[arg(long, env = "MODEL_CACHE", hide = true, value_parser = path)]
    pub model_cache: Option<PathBuf>,

    /// Directory of the user's caches.
    #[arg(long, env = "XDG_CACHE_HOME", hide = true, value_parser = path)]
    pub xdg_cache_home: Option<PathBuf>,

    /// Where the hub is.
    #[arg(long, env = "HF_ENDPOINT", hide_env_values = true, value_parser = text)]
    pub hf_endpoint: Option<String>,

    /// Token for models on the hub that require one; by default the one stored by `hf auth
    /// login`.
    #[arg(long, env = "HF_TOKEN", hide_env_values = true, value_parser = text)]
    pub hf_token: Option<String>,

    /// The former name of `HF_TOKEN`.
    #[arg(
        long,
        env = "HUGGING_FACE_HUB_TOKEN",
        hide = true,
        hide_env_values = true,
        value_parser = text
    )]
    pub hugging_face_hub_token: Option<String>,

    /// File with the token.
    #[arg(long, env = "HF_TOKEN_PATH", hide = true, value_parser = path)]
    pub hf_token_path: Option<PathBuf>,

    /// Only use models that are in the hub cache.
    #[arg(long, env = "HF_HUB_OFFLINE", value_parser = switch, num_args = 0..=1, default_value = "0", default_missing_value = "1")]
    pub hf_hub_offline: bool,
}

impl HubOptions {
    /// Where the hub and its cache are.
    pub fn settings(&self) -> HubSettings {
        let places = self.places();
        let endpoint = self.hf_endpoint.as_deref().map(str::trim);
        HubSettings {
            cache: places.cache(),
            endpoint: endpoint
                .filter(|endpoint| !endpoint.is_empty())
                .map(str::to_owned),
            token: places.token(),
            offline: self.hf_hub_offline,
            ..HubSettings::default()
        }
    }

    /// The directory of the user's caches, if there is one.
    pub fn user_caches(&self) -> Option<PathBuf> {
        self.places().caches().ok()
    }

    fn places(&self) -> Places {
        Places {
            model_cache: self.model_cache.clone(),
            hub_cache: [
                self.hf_hub_cache.clone(),
                self.huggingface_hub_cache.clone(),
            ],
            hf_home: self.hf_home.clone(),
            xdg_cache_home: self.xdg_cache_home.clone(),
            token: [self.hf_token.clone(), self.hugging_face_hub_token.clone()],
            token_path: self.hf_token_path.clone(),
            home: std::env::home_dir().filter(|home| !home.as_os_str().is_empty()),
            users: "/etc/passwd".into(),
        }
    }
}
