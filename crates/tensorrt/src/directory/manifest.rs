//! `manifest.json`: what an engine directory holds, for which GPU, and the inputs and outputs
//! of the engines.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Architecture, DirectoryError, PatchEntry, UnknownGpu};
use siglip2_engine::Tower;
use siglip2_model::fingerprint::WeightsDigest;
use siglip2_model::graph::{Precision, Scales};

mod check;
mod cosines;
mod entries;
#[cfg(test)]
pub(super) mod tests;

pub use check::ManifestError;
pub use cosines::{Cosines, Place, SmallCosines};
pub use entries::{
    ElementType, FileEntry, Flavour, GpuTarget, LayerCounts, SmallEngine, TensorEntry,
    TensorRtVersion, TowerEntry, Towers,
};

/// The description of an engine directory. Fields that this program does not know are
/// ignored; a change that old programs must not ignore raises `format`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the manifest's format.
    pub format: u32,
    /// The model's name.
    pub model: String,
    /// SHA-256 of the source of the engines' weights: the checkpoint's weights files one
    /// after the other, or the two ONNX exports with their weights.
    pub weights_sha256: String,
    /// The digest of the checkpoint's tensors, whichever files they are in: a part of the
    /// vector space's fingerprint. `None` in directories that were built before it was kept.
    #[serde(default)]
    pub weights_digest: Option<WeightsDigest>,
    /// The program that wrote it, and its version.
    pub created_by: String,
    /// The TensorRT that built the engines. No other version can run them.
    pub tensorrt: TensorRtVersion,
    /// The GPU that the engines are for.
    pub gpu: GpuTarget,
    /// The type that products are computed in.
    pub precision: Precision,
    /// Floats per embedding.
    pub dimensions: usize,
    /// Side of the image tower's square, in pixels; where pictures are of variable resolution,
    /// that of the square whose position vectors are stored.
    pub image_size: usize,
    /// How pictures of variable resolution are taken; `None` if all become the same square.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patches: Option<PatchEntry>,
    /// Token ids per text.
    pub text_tokens: usize,
    /// Natural logarithm of the factor that cosines are multiplied by.
    pub logit_scale: f32,
    /// The bias added to scaled cosines.
    pub logit_bias: f32,
    /// The largest batch.
    pub max_batch: usize,
    /// The sizes that batches are padded to, in order; the last is `max_batch`.
    pub buckets: Vec<usize>,
    /// The batch sizes of each optimization profile: smallest, optimal, largest. Those of an image
    /// tower that takes pictures of variable resolution follow from `patches`.
    pub profiles: Vec<[usize; 3]>,
    /// The largest batch that the towers' other engines compute, if they have such. Their profiles
    /// are those of [`super::profiles`] up to this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub small_batches: Option<usize>,
    /// In FP8, the scales of activations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scales: Option<Scales>,
    /// The engines.
    pub towers: Towers,
    /// The resize kernel.
    pub kernel: FileEntry,
    /// Every other file of the directory.
    pub files: Vec<FileEntry>,
    /// The cosines measured on a GPU; `None` if the engines have not run yet.
    pub cosine: Option<Cosines>,
}

impl Manifest {
    /// The newest format that this program reads. Format 2 has `patches`.
    pub const FORMAT: u32 = 2;

    /// The oldest format that says all of a manifest: older programs can read what they know.
    pub fn format_of(patches: Option<&PatchEntry>) -> u32 {
        match patches {
            None => 1,
            Some(_) => 2,
        }
    }

    /// Reads a manifest; `path` names it in errors.
    ///
    /// # Errors
    ///
    /// When it is newer than this program, is not a manifest, or contradicts itself.
    pub fn parse(json: &[u8], path: &Path) -> Result<Self, DirectoryError> {
        /// The part that all formats share.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let wrong = |reason: ManifestError| DirectoryError::Manifest {
            path: path.to_owned(),
            reason,
        };
        let no_manifest = |error| wrong(ManifestError::Json(error));
        let Format { format } = serde_json::from_slice(json).map_err(no_manifest)?;
        if format > Self::FORMAT {
            return Err(DirectoryError::Newer {
                path: path.to_owned(),
                found: format,
                known: Self::FORMAT,
            });
        }
        let manifest: Self = serde_json::from_slice(json).map_err(no_manifest)?;
        manifest.check().map_err(wrong)?;
        Ok(manifest)
    }

    /// The bytes of a `manifest.json`.
    ///
    /// # Errors
    ///
    /// When a number is not finite.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }

    /// The engine of a tower.
    pub fn tower(&self, tower: Tower) -> &TowerEntry {
        match tower {
            Tower::Image => &self.towers.image,
            Tower::Text => &self.towers.text,
        }
    }

    /// The architecture of its GPU.
    ///
    /// # Errors
    ///
    /// When the name is not that of an architecture.
    pub fn architecture(&self) -> Result<Architecture, UnknownGpu> {
        self.gpu.name.parse()
    }

    /// Every file it names.
    pub fn entries(&self) -> impl Iterator<Item = &FileEntry> {
        [
            &self.towers.image.engine,
            &self.towers.text.engine,
            &self.kernel,
        ]
        .into_iter()
        .chain(self.small_engines().map(|small| &small.engine))
        .chain(&self.files)
    }

    /// The engines of small batches, where they have their own.
    pub fn small_engines(&self) -> impl Iterator<Item = &SmallEngine> {
        let Towers { image, text } = &self.towers;
        image.small.iter().chain(&text.small)
    }

    /// The smallest and the largest number of rows of each profile of the engines, small batches'
    /// engines first.
    pub fn profiles_by_engine(&self) -> Vec<Vec<[usize; 3]>> {
        let small = self.small_batches.map(super::profiles);
        small.into_iter().chain([self.profiles.clone()]).collect()
    }
}
