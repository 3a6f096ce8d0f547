//! The engine directory: what `build-engine` writes and the GPU engine runs.
//!
//! ```text
//! build-engine --Writer--> <root>/<model>/<gpu>/<precision>/  --EngineDirectory--> runtime
//!                          manifest.json, two engines, the resize kernel,
//!                          configuration and tokenizer, the canary
//! ```
//!
//! A directory is complete or absent: a [`Writer`] builds under a name that nothing reads, and
//! moves the directory into place when everything is on the disk. No checkpoint is needed
//! beside it; the weights are in the engines.
//!
//! Models have the names they have on the hub. In a path the slash is written `--`:
//! `engines/google--siglip2-base-patch16-224/sm_120/fp16`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use siglip2_image::Processor;
use siglip2_model::graph::Precision;

mod canary;
mod error;
mod gpu;
mod hash;
mod manifest;
mod measure;
mod names;
mod ranks;
mod sizes;
mod verdict;
mod writer;

pub use canary::{Canary, CanaryError};
pub use error::DirectoryError;
use error::damaged;
pub use gpu::{Architecture, PRODUCTS, UnknownGpu};
pub use hash::{hash, hash_all, hash_file};
pub use manifest::{
    Cosines, ElementType, FileEntry, Flavour, GpuTarget, LayerCounts, Manifest, ManifestError,
    Place, SmallCosines, SmallEngine, TensorEntry, TensorRtVersion, TowerEntry, Towers,
};
pub use measure::measure;
use names::built;
pub use names::{directory_of, model_directory, model_name};
pub use sizes::{BatchSize, PatchEntry, ROW_OF_PATCHES, buckets, profiles, size_profiles};
pub use verdict::{Bounds, LEAST_COSINE, USUAL_COSINE};
pub use writer::Writer;

/// The manifest's name in its directory.
pub const MANIFEST: &str = "manifest.json";
/// The vision tower's engine.
pub const VISION_ENGINE: &str = "vision.engine";
/// The text tower's engine.
pub const TEXT_ENGINE: &str = "text.engine";
/// The vision tower's engine for small batches, where they have their own.
pub const SMALL_VISION_ENGINE: &str = "vision-small.engine";
/// The text tower's.
pub const SMALL_TEXT_ENGINE: &str = "text-small.engine";
/// The resize kernel, compiled for the GPU.
pub const RESIZE_KERNEL: &str = "resize.cubin";
/// The canary's inputs and vectors.
pub const CANARY: &str = "canary.safetensors";

/// An engine directory with all its files.
#[derive(Clone, Debug)]
pub struct EngineDirectory {
    path: PathBuf,
    manifest: Manifest,
}

impl EngineDirectory {
    /// Reads and checks the manifest of `path`, and checks that every file it names exists
    /// with the size given there. This is quick: nothing large is read.
    ///
    /// # Errors
    ///
    /// When the manifest is missing, newer than this program, or contradicts itself, or
    /// a file is missing or has another size.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let file = path.join(MANIFEST);
        let json = fs::read(&file).map_err(DirectoryError::io(&file, "read"))?;
        let manifest = Manifest::parse(&json, &file)?;
        let directory = Self {
            path: path.to_owned(),
            manifest,
        };
        for entry in directory.manifest.entries() {
            let path = directory.path.join(&entry.file);
            let bytes = match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => metadata.len(),
                Ok(_) => return Err(damaged(path, "it is not a regular file")),
                Err(reason) => return Err(damaged(path, reason)),
            };
            if bytes != entry.bytes {
                let reason = format!(
                    "it has {bytes} bytes, but the manifest says {}",
                    entry.bytes
                );
                return Err(damaged(path, reason));
            }
        }
        Ok(directory)
    }

    /// The engine of `model` for `gpu` in `precision` under `root`.
    ///
    /// # Errors
    ///
    /// [`DirectoryError::NotBuilt`], which lists the engines that exist, and the errors of
    /// [`EngineDirectory::open`].
    pub fn find(
        root: &Path,
        model: &str,
        gpu: Architecture,
        precision: Precision,
    ) -> Result<Self, DirectoryError> {
        let path = directory_of(root, model, gpu, precision);
        if !path.join(MANIFEST).exists() {
            return Err(DirectoryError::NotBuilt {
                root: root.to_owned(),
                model: model.to_owned(),
                gpu,
                precision,
                there: built(&root.join(model_directory(model))),
            });
        }
        Self::open(&path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Reads a whole file of the directory.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn read(&self, file: &str) -> Result<Vec<u8>, DirectoryError> {
        let path = self.path.join(file);
        fs::read(&path).map_err(DirectoryError::io(&path, "read"))
    }

    /// Reads a whole file of the directory, if it exists.
    ///
    /// # Errors
    ///
    /// When it exists and cannot be read.
    pub fn read_optional(&self, file: &str) -> Result<Option<Vec<u8>>, DirectoryError> {
        match self.read(file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(DirectoryError::Io { reason, .. }) if reason.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The checkpoint's image processor; where pictures are of variable resolution, the one for
    /// the most patches that the engine takes.
    ///
    /// # Errors
    ///
    /// When its file cannot be read or is malformed.
    pub fn processor(&self) -> Result<Processor, DirectoryError> {
        const FILE: &str = "preprocessor_config.json";
        let wrong = |reason: String| damaged(self.path.join(FILE), reason);
        let number = |number: usize| {
            u32::try_from(number)
                .map_err(|_| wrong("the manifest's image size is too large".into()))
        };
        let json = self.read(FILE)?;
        match &self.manifest.patches {
            None => Processor::from_json(&json, number(self.manifest.image_size)?),
            Some(patches) => {
                Processor::naflex(&json, number(patches.size)?, number(patches.most())?)
            }
        }
        .and_then(|processor| processor.check_uncut().map(|()| processor))
        .map_err(|error| wrong(error.to_string()))
    }

    /// The fixed inputs, and the vectors expected for them.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or does not fit the manifest.
    pub fn canary(&self) -> Result<Canary, DirectoryError> {
        let path = self.path.join(CANARY);
        Canary::decode(&self.read(CANARY)?, &self.manifest).map_err(|reason| damaged(path, reason))
    }

    /// Checks that it runs in this TensorRT: an engine runs only in the version that built it.
    ///
    /// # Errors
    ///
    /// When another version built it; `library` is the path of the installed one.
    pub fn runs_in(&self, here: &TensorRtVersion, library: &Path) -> Result<(), DirectoryError> {
        let built = &self.manifest.tensorrt;
        if built == here {
            return Ok(());
        }
        Err(DirectoryError::OtherTensorRt {
            path: self.path.clone(),
            built: built.clone(),
            here: here.clone(),
            library: library.to_owned(),
        })
    }

    /// Records in the manifest how close the vectors came to the canary's. A reader sees either
    /// the old manifest or the new one.
    ///
    /// # Errors
    ///
    /// When the directory has been replaced in the meantime, a build-engine is writing there, or
    /// a file operation fails.
    pub fn note(&mut self, cosines: Cosines) -> Result<(), DirectoryError> {
        let manifest = Manifest {
            cosine: Some(cosines),
            ..self.manifest.clone()
        };
        writer::rewrite(&self.path, &self.manifest, &manifest)?;
        self.manifest = manifest;
        Ok(())
    }

    /// Reads every file and compares it with the manifest's hash. This takes about a second
    /// per GB.
    ///
    /// # Errors
    ///
    /// When a file's hash differs from the manifest's.
    pub fn verify_hashes(&self) -> Result<(), DirectoryError> {
        for entry in self.manifest.entries() {
            let path = self.path.join(&entry.file);
            let found = hash_file(&path).map_err(DirectoryError::io(&path, "read"))?;
            if found != entry.sha256 {
                let reason = format!(
                    "its SHA-256 is {found}, but the manifest says {}",
                    entry.sha256
                );
                return Err(damaged(path, reason));
            }
        }
        Ok(())
    }
}
