//! What a graph computes in.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The number format of a graph's products. Every value in a graph has one element
/// type and every operator's inputs agree, as TensorRT's strongly typed networks have
/// it: what a graph says is what a runtime computes, or it does not take it.
///
/// In both half precisions the residual stream, the layer norms and the output stay
/// FP32; why, and what it is worth, is in docs/precision.md. Weights of another type
/// stay as they are in their file and go through a cast, which runtimes fold.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// FP32 throughout: `pixel_values` are FP32, `input_ids` INT64.
    Fp32,
    /// Products in FP16: `pixel_values` are FP16, `input_ids` INT32.
    Fp16,
    /// Products in BF16, which has the range of FP32 and an eighth of FP16's
    /// resolution: `pixel_values` are FP32, `input_ids` INT32.
    Bf16,
}

impl Precision {
    /// Its name in flags, files and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
