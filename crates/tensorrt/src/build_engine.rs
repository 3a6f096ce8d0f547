//! Builds the engine directories that the service runs on GPUs.
//!
//! ```text
//! checkpoint --graph--> two ONNX graphs --TensorRT--> vision.engine, text.engine --+
//!            --CPU engine, FP32--> the canary's vectors ---------------------------+--> directory
//!            --CPU engine, pictures, texts--> the scales of graphs in FP8
//! resize.cu  --NVRTC--> resize.cubin ----------------------------------------------+
//! ```
//!
//! A GPU is only needed to run the result: if the GPU is in this machine, an engine that gives
//! wrong vectors is not put into place.

use std::error::Error;
use std::io::{IsTerminal, stderr};
use std::process::ExitCode;

mod build;
mod calibrate;
mod canary;
mod inspect;
mod options;
mod towers;
mod verify;

use options::{Command, Options};

/// The whole program.
pub fn main() -> ExitCode {
    let options: Options =
        siglip2_flags::try_parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit());
    start_log(&options.build.log_level);
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    match &options.command {
        Some(Command::Inspect { directory }) => inspect::inspect(directory),
        Some(Command::Verify {
            directory,
            tensorrt_lib,
            device_timeout,
        }) => verify::verify_here(directory, tensorrt_lib.clone(), *device_timeout),
        None => build::build(&options.build),
    }
}

fn start_log(filter: &str) {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        .with_target(false)
        .init();
}
