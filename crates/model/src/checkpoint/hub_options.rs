//! How a model on the hub is had; of every program that takes one.

use std::path::PathBuf;

use clap::Args;
use siglip2_flags::{path, switch, text};

use super::hub::HubSettings;

/// How a model on the hub is had; of every program that takes one.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Hub")]
pub struct HubOptions {
    /// Branch, tag or commit of a model on the hub.
    #[arg(long, env = "MODEL_REVISION", default_value = "main", value_parser = text)]
    pub revision: String,

    /// Directory above the hub cache; by default `~/.cache/huggingface`.
    #[arg(long, env = "HF_HOME", value_parser = path)]
    pub hf_home: Option<PathBuf>,

    /// Where the hub is.
    #[arg(long, env = "HF_ENDPOINT", hide_env_values = true, value_parser = text)]
    pub hf_endpoint: Option<String>,

    /// Token for models on the hub that ask for one.
    #[arg(long, env = "HF_TOKEN", hide_env_values = true, value_parser = text)]
    pub hf_token: Option<String>,

    /// Take models from the hub cache only.
    #[arg(long, env = "HF_HUB_OFFLINE", value_parser = switch, num_args = 0..=1, default_value = "0", default_missing_value = "1")]
    pub hf_hub_offline: bool,
}

impl HubOptions {
    /// Where the hub and its cache are.
    pub fn settings(&self) -> HubSettings {
        HubSettings {
            home: self.hf_home.clone(),
            endpoint: self.hf_endpoint.clone(),
            token: self.hf_token.clone(),
            offline: self.hf_hub_offline,
        }
    }
}
