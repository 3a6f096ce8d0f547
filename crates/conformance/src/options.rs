//! The flags of the check.

use std::path::PathBuf;

use clap::Args;
use siglip2_flags::text;

use crate::dialect::Dialect;

/// Which server to check, and how to report.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Conformance")]
pub struct ConformanceOptions {
    /// Address of the running server, such as http://localhost:8091.
    #[arg(value_parser = text)]
    pub url: String,

    /// How to speak to the server; by default what it says of itself decides.
    #[arg(long, value_enum)]
    pub dialect: Option<Dialect>,

    /// The model's name in requests; by default what the server calls it.
    #[arg(long, value_parser = text)]
    pub model_name: Option<String>,

    /// Key to send, as `Authorization: Bearer KEY`.
    #[arg(long, env = "CONFORMANCE_KEY", hide_env_values = true, value_parser = text)]
    pub key: Option<String>,

    /// The lowest cosine to the right vector that passes, 0 to 1. FP16 and BF16 stay above
    /// 0.999.
    #[arg(long, default_value = "0.999", value_parser = cosine)]
    pub least_cosine: f32,

    /// Print the whole result as JSON.
    #[arg(long)]
    pub json: bool,

    /// Write the result as a table in Markdown too.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

fn cosine(value: &str) -> Result<f32, String> {
    let cosine = value.trim().parse().ok();
    cosine
        .filter(|cosine| (0.0..=1.0).contains(cosine))
        .ok_or_else(|| "it must be a number from 0 to 1".to_owned())
}
