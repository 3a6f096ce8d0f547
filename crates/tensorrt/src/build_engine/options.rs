//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::directory::PRODUCTS;
use clap::{Parser, Subcommand, ValueEnum};
use siglip2_flags::{choice, path, seconds, text};
use siglip2_model::checkpoint::{HubOptions, MAX_NUM_PATCHES};
use siglip2_model::graph::Precision;

/// Builds the engine directories that the service runs on GPUs. The GPU need not be present.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    about = "Builds the engine directories that the service runs on GPUs",
    after_long_help = products(),
    args_conflicts_with_subcommands = true
)]
pub struct Options {
    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    pub build: BuildOptions,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Prints the contents of an engine directory, and checks its files.
    Inspect {
        /// The directory, such as `engines/demo/sm_120/fp16`.
        directory: PathBuf,
    },
    /// Runs an engine directory that was built elsewhere on this machine's GPU, compares its
    /// vectors with the CPU's, and records the result in its manifest.
    Verify {
        /// The directory, such as `engines/demo/sm_120/fp16`.
        directory: PathBuf,

        /// Directory of TensorRT's libraries; by default they are searched for.
        #[arg(long, env = "TENSORRT_LIB_DIR", value_name = "DIR", value_parser = path)]
        tensorrt_lib: Option<PathBuf>,

        /// Seconds. A step on the GPU, such as opening its driver, that takes five times as long counts
        /// as hanging: the program says so and ends with exit code 3.
        #[arg(long, env = "DEVICE_TIMEOUT", default_value = "60", value_parser = seconds)]
        device_timeout: Duration,
    },
}

#[derive(Clone, Debug, clap::Args)]
pub struct BuildOptions {
    /// The model: a checkpoint directory, a name on the Hugging Face hub, or `demo`, a small
    /// built-in model.
    #[arg(
        long,
        env = "MODEL_NAME",
        default_value = "google/siglip2-base-patch16-224",
        value_parser = text
    )]
    pub model: String,

    /// An ONNX export of the vision tower, to build instead of the checkpoint's.
    #[arg(long, requires = "text_onnx", value_name = "FILE")]
    pub vision_onnx: Option<PathBuf>,

    /// An ONNX export of the text tower, likewise.
    #[arg(long, requires = "vision_onnx", value_name = "FILE")]
    pub text_onnx: Option<PathBuf>,

    /// The GPUs, separated by commas: `current`, architectures such as sm_120, or products such
    /// as rtx-5090. Each gets a directory.
    #[arg(long, value_delimiter = ',', default_value = "current")]
    pub gpu: Vec<String>,

    /// The precision of products; by default fp16, or that of the ONNX export.
    #[arg(long, env = "PRECISION", value_enum, value_parser = choice::<Precision>())]
    pub precision: Option<Precision>,

    /// With --precision fp8: a directory of pictures like those that will be embedded. The CPU
    /// measures with them how large activations become.
    #[arg(long, value_name = "FOLDER")]
    pub calibrate: Option<PathBuf>,

    /// With --precision fp8: a file of texts like those that will be embedded, one on each line.
    #[arg(long, value_name = "FILE")]
    pub calibrate_texts: Option<PathBuf>,

    /// With --precision fp8: compute the two products of attention in FP8 as well.
    #[arg(long, requires = "calibrate")]
    pub fp8_attention: bool,

    /// The largest batch.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_batch: u16,

    /// The most patches that a picture becomes, 1 to 1024, with a model of variable resolution
    /// (NaFlex); by default as many as its image processor says, 256 for google's. The service
    /// takes any number up to this.
    #[arg(long, env = "MAX_NUM_PATCHES", value_parser = parse_patches)]
    pub max_num_patches: Option<usize>,

    /// Where to put engine directories.
    #[arg(long, env = "ENGINES", default_value = "engines", value_parser = path)]
    pub out: PathBuf,

    /// Keep a directory that is complete and was built by this version with this TensorRT,
    /// and from the same weights if the model is a directory.
    #[arg(long, conflicts_with = "vision_onnx")]
    pub keep: bool,

    /// Whether to run engines and compare their vectors with the CPU's before they are put in
    /// place.
    #[arg(long, value_enum, default_value_t = Verify::Auto)]
    pub verify: Verify,

    /// Directory of TensorRT's libraries; by default they are searched for.
    #[arg(long, env = "TENSORRT_LIB_DIR", value_name = "DIR", value_parser = path)]
    pub tensorrt_lib: Option<PathBuf>,

    /// Directory of NVRTC, CUDA's compiler; by default it is searched for.
    #[arg(long, env = "NVRTC_LIB_DIR", value_name = "DIR", value_parser = path)]
    pub nvrtc_lib: Option<PathBuf>,

    /// Seconds. A step on the GPU, such as opening its driver, that takes five times as long counts
    /// as hanging: the program says so and ends with exit code 3.
    #[arg(long, env = "DEVICE_TIMEOUT", default_value = "60", value_parser = seconds)]
    pub device_timeout: Duration,

    /// What to log: error, warn, info, debug, trace, or a filter by module.
    #[arg(long, env = "LOG_LEVEL", default_value = "warn,siglip2=info", value_parser = text)]
    pub log_level: String,

    #[command(flatten)]
    pub hub: HubOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Verify {
    /// If the GPU is in this machine.
    Auto,
    /// Always; without the GPU the build fails.
    Yes,
    /// Never.
    No,
}

/// A number of patches.
fn parse_patches(text: &str) -> Result<usize, String> {
    let patches: usize = text
        .trim()
        .parse()
        .map_err(|_| "it must be a whole number")?;
    match (1..=MAX_NUM_PATCHES).contains(&patches) {
        true => Ok(patches),
        false => Err(format!("it must be 1 to {MAX_NUM_PATCHES}")),
    }
}

/// The products that `--gpu` knows, one line for each architecture.
fn products() -> String {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for (product, architecture) in PRODUCTS {
        let architecture = architecture.to_string();
        match lines.last_mut() {
            Some((last, products)) if *last == architecture => products.push(product),
            _ => lines.push((architecture, vec![product])),
        }
    }
    let lines: Vec<String> = lines
        .into_iter()
        .map(|(architecture, products)| format!("  {architecture:<8}{}", products.join(", ")))
        .collect();
    format!("Products that --gpu knows:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        Options::try_parse_from(std::iter::once(&"build-engine").chain(arguments))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn several_gpus_are_separated_by_commas_or_named_one_by_one() {
        let gpu = |arguments: &[&str]| parse(arguments).unwrap().build.gpu;
        assert_eq!(gpu(&[]), ["current"]);
        assert_eq!(gpu(&["--gpu", "sm_120,l4"]), ["sm_120", "l4"]);
        assert_eq!(gpu(&["--gpu", "sm_120", "--gpu", "l4"]), ["sm_120", "l4"]);
    }

    #[test]
    fn an_export_is_of_both_towers() {
        let error = parse(&["--vision-onnx", "vision_model.onnx"]).unwrap_err();
        assert!(error.contains("--text-onnx"), "{error}");
    }

    #[test]
    fn the_help_names_products_and_is_this_programs_own() {
        let help = parse(&["--help"]).unwrap_err();
        assert!(help.contains("sm_120  rtx-5060,"), "{help}");
        assert!(help.starts_with("Builds the engine directories"), "{help}");
        assert!(parse(&["inspect", "d"]).unwrap().command.is_some());
        assert!(parse(&["--max-batch", "0"]).is_err());
        assert!(parse(&["--max-num-patches", "1025"]).is_err());
    }
}
