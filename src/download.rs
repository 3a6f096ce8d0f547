//! `siglip2-embeddings download NAME`: downloads a model and does nothing else.

use std::env::args_os;
use std::path::PathBuf;

use clap::Parser;
use siglip2_model::checkpoint::HubOptions;
use siglip2_model::checkpoint::hub::{HubError, HubSettings, locate};

use crate::settings::LogSettings;

/// Downloads a model into the hub cache, and prints where it is.
#[derive(Debug, Parser)]
#[command(name = "siglip2-embeddings download", version)]
pub struct Download {
    /// The model's name on the hub.
    name: String,

    /// Check every file in the cache against the size and hash that the hub announces, and
    /// fetch anew what differs.
    #[arg(long)]
    force: bool,

    /// Where the hub and its cache are.
    #[command(flatten)]
    hub: HubOptions,

    /// What the log says, and how.
    #[command(flatten)]
    pub log: LogSettings,
}

impl Download {
    /// The download, if the command line asks for one. Invalid flags end the process with a
    /// sentence.
    pub fn asked_for() -> Option<Self> {
        let mut arguments = args_os().skip(1).peekable();
        if arguments.peek()? != "download" {
            return None;
        }
        Some(siglip2_flags::try_parse_from(arguments).unwrap_or_else(|error| error.exit()))
    }

    /// Downloads what is missing, and returns the directory with all files.
    ///
    /// # Errors
    ///
    /// If the model cannot be obtained.
    pub fn run(&self) -> Result<PathBuf, HubError> {
        let settings = HubSettings {
            anew: self.force,
            ..self.hub.settings()
        };
        locate(&self.name, &self.hub.revision, &settings)
    }
}
