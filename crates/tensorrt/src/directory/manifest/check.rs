//! What a manifest must say to be used.

use std::collections::HashSet;
use std::path::Path;

use siglip2_engine::Tower;
use siglip2_model::graph::Precision;

use super::{ElementType, FileEntry, Manifest};
use crate::directory::{CANARY, RESIZE_KERNEL, TEXT_ENGINE, UnknownGpu, VISION_ENGINE};

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not JSON, or not that of a manifest.
    #[error("it is not an engine manifest ({0})")]
    Json(#[from] serde_json::Error),
    /// Its GPU is unknown.
    #[error(transparent)]
    Gpu(#[from] UnknownGpu),
    /// A field has a value that no engine has, or two fields contradict each other.
    #[error("{0}")]
    Contradiction(String),
}

impl From<String> for ManifestError {
    fn from(sentence: String) -> Self {
        Self::Contradiction(sentence)
    }
}

impl Manifest {
    /// Whether it contradicts itself.
    pub(super) fn check(&self) -> Result<(), ManifestError> {
        for (name, value) in [
            ("dimensions", self.dimensions),
            ("image_size", self.image_size),
            ("text_tokens", self.text_tokens),
            ("max_batch", self.max_batch),
        ] {
            if value == 0 {
                return Err(format!("{name} is 0").into());
            }
        }
        if !self.logit_scale.is_finite() || !self.logit_bias.is_finite() {
            return Err("logit_scale or logit_bias is not finite".to_owned().into());
        }
        let architecture = self.architecture()?;
        if self.gpu.compute_capability != architecture.compute_capability() {
            return Err(format!(
                "gpu.name is {architecture} and gpu.compute_capability is {:?}",
                self.gpu.compute_capability
            )
            .into());
        }
        let rising = self.buckets.is_sorted_by(|a, b| a < b) && self.buckets.first() > Some(&0);
        if !rising || self.buckets.last() != Some(&self.max_batch) {
            return Err(format!(
                "buckets are {:?}, but must rise from at least 1 to max_batch, {}",
                self.buckets, self.max_batch
            )
            .into());
        }
        if let Some(small) = self.small_batches
            && !self.buckets.contains(&small)
        {
            return Err(format!(
                "small_batches is {small}, which is none of the buckets {:?}",
                self.buckets
            )
            .into());
        }
        if let Some(bucket) = self.buckets.iter().find(|&&bucket| {
            !self
                .profiles_by_engine()
                .iter()
                .flatten()
                .any(|&[least, _, most]| (least..=most).contains(&bucket))
        }) {
            return Err(format!(
                "no profile of {:?} accepts batches of {bucket}, which is one of the buckets",
                self.profiles
            )
            .into());
        }
        let pictures = match &self.patches {
            None => &[ElementType::Fp16, ElementType::Fp32][..],
            Some(patches) => {
                patches.check()?;
                &[ElementType::Uint8][..]
            }
        };
        if self.scales.is_some() != (self.precision == Precision::Fp8) {
            let precision = self.precision;
            return Err(format!("scales are for FP8, and the precision is {precision}").into());
        }
        if self.small_batches.is_some() && self.patches.is_some() {
            let both = "small_batches is for pictures of fixed resolution, and there are patches";
            return Err(both.to_owned().into());
        }
        for (tower, entry, inputs, file) in [
            (Tower::Image, &self.towers.image, pictures, VISION_ENGINE),
            (
                Tower::Text,
                &self.towers.text,
                &[ElementType::Int32, ElementType::Int64],
                TEXT_ENGINE,
            ),
        ] {
            if entry.engine.file != file {
                return Err(format!(
                    "the {tower} tower's engine is {:?}, but must be {file:?}",
                    entry.engine.file
                )
                .into());
            }
            if entry.small.is_some() != self.small_batches.is_some() {
                return Err(format!(
                    "the {tower} tower has an engine for small batches, or small_batches is \
                     given, and the other is not"
                )
                .into());
            }
            if !inputs.contains(&entry.input.element) || entry.output.element != ElementType::Fp32 {
                return Err(format!(
                    "the {tower} tower's input is {} and its output {}, which is not supported",
                    entry.input.element, entry.output.element
                )
                .into());
            }
        }
        if self.kernel.file != RESIZE_KERNEL {
            return Err(format!(
                "the kernel is {:?}, but must be {RESIZE_KERNEL:?}",
                self.kernel.file
            )
            .into());
        }
        if !self.files.iter().any(|entry| entry.file == CANARY) {
            return Err(format!("it does not name {CANARY}").into());
        }
        let mut seen = HashSet::new();
        for FileEntry { file, .. } in self.entries() {
            let name = Path::new(file).file_name().and_then(|name| name.to_str());
            if name != Some(file) || !seen.insert(file) {
                return Err(format!(
                    "it names {file:?}, which is not a file beside it, or names it twice"
                )
                .into());
            }
        }
        Ok(())
    }
}
