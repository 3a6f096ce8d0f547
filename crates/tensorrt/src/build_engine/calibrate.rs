//! What FP8 needs before it can be built: a GPU that has it, batches that gain by it, and scales.
//!
//! ```text
//! folder of pictures --decode, resize--+
//! file of texts ------tokenize---------+--CPU engine, FP32--> largest activations --> Scales
//! the canary's picture and texts ------+
//! ```

use std::error::Error;

use siglip2_engine::cpu::{Calibration, Samples};
use siglip2_image::Processor;
use siglip2_model::checkpoint::Checkpoint;
use siglip2_model::graph::{Precision, Scales};

use super::canary;
use super::options::BuildOptions;
use crate::directory::Architecture;

/// The largest batch that is computed in FP16 by an engine in FP8. Measured on an H200, products
/// of a base model's tower are slower in FP8 up to this size.
pub const SMALL_BATCHES: usize = 16;

/// Why nothing can be built in FP8.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fp8Error {
    /// Samples are given for another precision.
    #[error("--calibrate and --calibrate-texts are for --precision fp8")]
    OtherPrecision,
    /// The graphs are not the checkpoint's.
    #[error(
        "--precision fp8 is for the checkpoint's own graphs: leave out --vision-onnx and --text-onnx"
    )]
    OtherGraphs,
    /// The GPU is too old.
    #[error("{0} has no FP8, which begins with sm_89 (Ada); use --precision fp16")]
    Gpu(Architecture),
    /// All batches are small.
    #[error(
        "--precision fp8 gains nothing in batches of up to {SMALL_BATCHES}, which FP16 computes \
         faster, and --max-batch is {0}; use --precision fp16"
    )]
    SmallBatches(u16),
    /// There are no samples.
    #[error(
        "--precision fp8 has to know how large activations become: give pictures and texts like \
         those that will be embedded, with --calibrate FOLDER and --calibrate-texts FILE (some \
         hundred of each)"
    )]
    NoSamples,
}

/// Refuses what FP8 cannot be built of, before anything is loaded.
///
/// # Errors
///
/// See [`Fp8Error`].
pub fn check(
    options: &BuildOptions,
    targets: impl IntoIterator<Item = Architecture>,
) -> Result<(), Fp8Error> {
    let given = options.calibrate.is_some() || options.calibrate_texts.is_some();
    if options.precision != Some(Precision::Fp8) {
        return match given {
            true => Err(Fp8Error::OtherPrecision),
            false => Ok(()),
        };
    }
    if options.vision_onnx.is_some() {
        return Err(Fp8Error::OtherGraphs);
    }
    // Compute capability 8.9 is the first with products of FP8.
    if let Some(gpu) = targets.into_iter().find(|gpu| gpu.number() < 89) {
        return Err(Fp8Error::Gpu(gpu));
    }
    if usize::from(options.max_batch) <= SMALL_BATCHES {
        return Err(Fp8Error::SmallBatches(options.max_batch));
    }
    if options.calibrate.is_none() || options.calibrate_texts.is_none() {
        return Err(Fp8Error::NoSamples);
    }
    Ok(())
}

/// The scales that the options ask for; `None` if they do not ask for FP8.
///
/// # Errors
///
/// When nothing can be read, or an activation is not finite.
pub fn scales(
    options: &BuildOptions,
    checkpoint: &Checkpoint,
    processor: &Processor,
) -> Result<Option<Scales>, Box<dyn Error>> {
    let (Some(Precision::Fp8), Some(folder), Some(file)) = (
        options.precision,
        &options.calibrate,
        &options.calibrate_texts,
    ) else {
        return Ok(None);
    };
    let canary = canary::picture().ok_or("the canary's picture has no pixels")?;
    let samples = Samples {
        folder,
        texts: file,
        // So that the vectors that an engine is checked by are not clamped.
        pictures: vec![canary],
        more_texts: &canary::TEXTS,
    };
    let threads = siglip2_flags::cores();
    let calibration = Calibration::over(checkpoint, processor, threads, samples)?;
    Ok(Some(calibration.scales(options.fp8_attention)?))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::options::Options;
    use super::*;

    fn checked(arguments: &[&str], gpu: Architecture) -> Result<(), Fp8Error> {
        let options = Options::try_parse_from([&["build-engine"][..], arguments].concat());
        check(&options.unwrap().build, [Architecture::new(12, 0), gpu])
    }

    #[test]
    fn what_fp8_cannot_be_built_of_is_refused_with_what_to_do() {
        const ALL: [&str; 6] = [
            "--precision",
            "fp8",
            "--calibrate",
            "pictures",
            "--calibrate-texts",
            "texts.txt",
        ];
        let ada = Architecture::new(8, 9);
        assert_eq!(checked(&ALL, ada), Ok(()));
        assert_eq!(
            checked(&["--precision", "fp16"], Architecture::new(8, 0)),
            Ok(())
        );
        for (arguments, gpu, said) in [
            (&ALL[..2], ada, "--calibrate FOLDER"),
            (&ALL[..4], ada, "--calibrate-texts FILE"),
            (&ALL[2..], ada, "are for --precision fp8"),
            (&ALL[..], Architecture::new(8, 0), "sm_80 has no FP8"),
            (&ALL[..], Architecture::new(8, 6), "use --precision fp16"),
            (
                &[&ALL[..], &["--max-batch", "16"]].concat(),
                ada,
                "--max-batch is 16",
            ),
            (
                &[&ALL[..], &["--vision-onnx", "a", "--text-onnx", "b"]].concat(),
                ada,
                "--vision-onnx",
            ),
        ] {
            let error = checked(arguments, gpu).unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
    }
}
