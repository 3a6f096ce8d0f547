//! How a model on the hub is had; of every program that takes one.

use std::path::PathBuf;

use clap::Args;
use siglip2_flags::switch;

use super::hub::HubSettings;

/// How a model on the hub is had; of every program that takes one.
#[derive(Args, Clone, Debug)]
pub struct HubOptions {
    /// Branch, tag or commit of a model on the hub.
    #[arg(long, env = "MODEL_REVISION", default_value = "main")]
    pub revision: String,

    /// Directory above the hub cache; by default `~/.cache/huggingface`.
    #[arg(long, env = "HF_HOME")]
    pub hf_home: Option<PathBuf>,

    /// Where the hub is.
    #[arg(long, env = "HF_ENDPOINT")]
    pub hf_endpoint: Option<String>,

    /// Token for models on the hub that ask for one.
    #[arg(long, env = "HF_TOKEN", hide_env_values = true)]
    pub hf_token: Option<String>,

    /// Take models from the hub cache only.
    #[arg(long, env = "HF_HUB_OFFLINE", value_parser = switch, num_args = 0..=1, default_value = "0", default_missing_value = "1")]
    pub hf_hub_offline: bool,
}

impl HubOptions {
    /// Where the hub and its cache are.
    pub fn settings(&self) -> HubSettings {
        let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        HubSettings {
            home: self
                .hf_home
                .clone()
                .filter(|home| !home.as_os_str().is_empty()),
            endpoint: set(&self.hf_endpoint),
            token: set(&self.hf_token),
            offline: self.hf_hub_offline,
        }
    }
}
