//! The precision of a graph's products.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The number format of a graph's products. Every value in a graph has one element type, and
/// the inputs of every operator agree, as TensorRT's strongly typed networks require: a
/// runtime computes exactly what the graph says or rejects it.
///
/// In both half precisions the residual stream, the layer norms and the output stay FP32;
/// docs/precision.md says why and what that costs. Weights of another type stay as they are in
/// their file and pass through a cast, which runtimes fold.
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
    /// FP16, and products of the layers in FP8 (E4M3), which needs scales ([`super::Scales`]).
    /// Only for GPUs of compute capability 8.9 and later.
    Fp8,
}

impl Precision {
    /// Its name in flags, files and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
