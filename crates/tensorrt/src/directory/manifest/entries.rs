//! The parts of a manifest: the TensorRT and the GPU that the engines are for, the engines, and the
//! files.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::directory::Architecture;

/// The version of TensorRT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorRtVersion {
    /// Which of the two products.
    pub flavour: Flavour,
    /// `major.minor.patch`.
    pub version: String,
}

/// TensorRT comes as two products, whose engines do not run in each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// TensorRT for RTX.
    Rtx,
    /// Standard TensorRT.
    Enterprise,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flavour::Rtx => "TensorRT for RTX",
            Flavour::Enterprise => "TensorRT",
        })
    }
}

/// The GPU that engines are for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuTarget {
    /// `sm_120`, which is also the directory's name.
    pub name: String,
    /// `12.0`.
    pub compute_capability: String,
}

impl From<Architecture> for GpuTarget {
    fn from(architecture: Architecture) -> Self {
        Self {
            name: architecture.to_string(),
            compute_capability: architecture.compute_capability(),
        }
    }
}

/// The engines of both towers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Towers {
    /// The vision tower.
    pub image: TowerEntry,
    /// The text tower.
    pub text: TowerEntry,
}

/// One engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TowerEntry {
    /// The serialized engine.
    #[serde(flatten)]
    pub engine: FileEntry,
    /// SHA-256 of the ONNX graph that it was built from, without its weights.
    pub graph_sha256: String,
    /// Its input: `[batch, 3, S, S]`, `[batch, P, W]` or `[batch, T]`.
    pub input: TensorEntry,
    /// Its output: `[batch, D]`.
    pub output: TensorEntry,
    /// What is known about its layers; `None` if the builder could not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<LayerCounts>,
    /// The engine of small batches, where they have one of their own ([`super::Manifest::small_batches`]).
    /// Its input and output are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub small: Option<SmallEngine>,
}

/// The engine of a tower for small batches. In FP8 those are computed in FP16, which is faster
/// there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SmallEngine {
    /// The serialized engine.
    #[serde(flatten)]
    pub engine: FileEntry,
    /// SHA-256 of the ONNX graph that it was built from, without its weights.
    pub graph_sha256: String,
    /// What is known about its layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<LayerCounts>,
}

/// What the builder reports about an engine without a GPU. Whatever it does not report is
/// `None`: TensorRT writes most of this only to its log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerCounts {
    /// Layers of the network as parsed from the graph, before anything was fused.
    pub network: usize,
    /// Attentions among them.
    pub attention: usize,
    /// The attentions that the compiler recognized and replaced with its fused kernels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fused_attention: Option<usize>,
    /// Layers of the engine. A transformer that was compiled as a whole counts as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<usize>,
    /// Products that are computed in FP8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fp8_products: Option<usize>,
    /// Device memory of the weights, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_bytes: Option<u64>,
    /// Device memory for activations, for each execution context, at the
    /// largest batch, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_bytes: Option<u64>,
}

/// An input or output of an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// Its name in the engine.
    pub name: String,
    /// The type of its elements.
    #[serde(rename = "type")]
    pub element: ElementType,
}

/// How the numbers of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ElementType {
    /// IEEE 754 binary32.
    Fp32,
    /// IEEE 754 binary16.
    Fp16,
    /// The upper half of a binary32.
    Bf16,
    /// 32 bits, signed.
    Int32,
    /// 64 bits, signed.
    Int64,
    /// 8 bits, unsigned.
    Uint8,
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ElementType::Fp32 => "fp32",
            ElementType::Fp16 => "fp16",
            ElementType::Bf16 => "bf16",
            ElementType::Int32 => "int32",
            ElementType::Int64 => "int64",
            ElementType::Uint8 => "uint8",
        })
    }
}

/// A file of the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name.
    pub file: String,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
    /// Its length in bytes.
    pub bytes: u64,
}
