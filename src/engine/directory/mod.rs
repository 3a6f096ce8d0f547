//! The engine directory: what `build-engine` writes and the GPU engine runs.
//!
//! ```text
//! build-engine --Writer--> <root>/<model>/<gpu>/<precision>/  --EngineDirectory--> runtime
//!                          manifest.json, two engines, the resize kernel,
//!                          configuration and tokenizer, the canary
//! ```
//!
//! A directory is whole or it is not there: a [`Writer`] builds under a name that
//! nothing reads, and moves it into place when everything is on the disk. It needs no
//! checkpoint beside it; the weights are in the engines.
//!
//! Models are called as on the hub. In a path the slash of a name is written `--`:
//! `engines/google--siglip2-base-patch16-224/sm_120/fp16`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::graph::Precision;

mod canary;
mod gpu;
mod manifest;
mod measure;
mod writer;

pub use canary::Canary;
pub use gpu::{Architecture, PRODUCTS};
pub use manifest::{
    Cosines, ElementType, FileEntry, Flavour, GpuTarget, LayerCounts, Manifest, TensorEntry,
    TensorRtVersion, TowerEntry, Towers, buckets, profiles,
};
pub(crate) use measure::cosine;
pub use measure::{LEAST_COSINE, measure};
pub use writer::Writer;

/// The manifest's name in its directory.
pub const MANIFEST: &str = "manifest.json";
/// The vision tower's engine.
pub const VISION_ENGINE: &str = "vision.engine";
/// The text tower's engine.
pub const TEXT_ENGINE: &str = "text.engine";
/// The resize kernel, compiled for the GPU.
pub const RESIZE_KERNEL: &str = "resize.cubin";
/// The canary's inputs and vectors.
pub const CANARY: &str = "canary.safetensors";

/// Why an engine directory cannot be used or written: one sentence that says what,
/// where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There is no engine for what is asked for.
    #[error("{} has no engine of {model} for {gpu} in {precision} ({there}); build it with: \
             build-engine --model {model} --gpu {gpu} --precision {precision} --out {}",
            root.display(), root.display())]
    NotBuilt {
        /// Where engines are looked for.
        root: PathBuf,
        /// The model's name.
        model: String,
        /// The GPU.
        gpu: Architecture,
        /// The precision.
        precision: Precision,
        /// Which engines of the model are there instead.
        there: String,
    },
    /// The directory was made by a newer build-engine.
    #[error("{} has format {found}, and this program reads formats up to {known}: run the \
             program that came with its build-engine, or build the engine anew", path.display())]
    Newer {
        /// Which manifest.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest one that is known here.
        known: u32,
    },
    /// The manifest does not say what a manifest must.
    #[error("{}: {reason}; build the engine anew", path.display())]
    Manifest {
        /// Which manifest.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file is not what the manifest says.
    #[error("{}: {reason}; the directory was not copied whole: copy it again or build the \
             engine anew", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system refused a file operation.
    #[error("{} cannot be {done}: {reason}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// `read` or `written`, and the like.
        done: &'static str,
        /// What the system said.
        reason: io::Error,
    },
    /// The engine was built by another TensorRT than the one at hand.
    #[error("the engine in {} was built by {} {}, and {} is {} {}: build it anew, or install that \
             version", path.display(), built.flavour, built.version, library.display(),
            here.flavour, here.version)]
    OtherTensorRt {
        /// Which directory.
        path: PathBuf,
        /// What built it.
        built: TensorRtVersion,
        /// What would run it.
        here: TensorRtVersion,
        /// Where that is.
        library: PathBuf,
    },
    /// The directory is not the one that it was.
    #[error("{} was replaced meanwhile; do it again with the one that is there now", path.display())]
    Replaced {
        /// Which directory.
        path: PathBuf,
    },
    /// Somebody else is writing an engine there.
    #[error("another build-engine is writing in {}; wait for it to end", path.display())]
    Busy {
        /// Which directory.
        path: PathBuf,
    },
}

impl DirectoryError {
    fn io(path: &Path, done: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |reason| Self::Io {
            path: path.to_owned(),
            done,
            reason,
        }
    }
}

/// An engine directory whose files are all there.
#[derive(Clone, Debug)]
pub struct EngineDirectory {
    path: PathBuf,
    manifest: Manifest,
}

impl EngineDirectory {
    /// Reads the manifest of `path` and checks it, and that every file that it names is
    /// there with the size that it says. Takes no time: nothing large is read.
    ///
    /// # Errors
    ///
    /// When the manifest is missing, newer than this program, or contradicts itself, or
    /// a file is missing or of another size.
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
                Ok(_) => return Err(damaged(path, "it is no file".into())),
                Err(reason) => return Err(damaged(path, reason.to_string())),
            };
            if bytes != entry.bytes {
                let reason = format!(
                    "it has {bytes} bytes, and the manifest says {}",
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
    /// [`DirectoryError::NotBuilt`], which says what is there instead, and the errors of
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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Reads a file of the directory whole.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn read(&self, file: &str) -> Result<Vec<u8>, DirectoryError> {
        let path = self.path.join(file);
        fs::read(&path).map_err(DirectoryError::io(&path, "read"))
    }

    /// Reads a file of the directory whole, where there is one.
    ///
    /// # Errors
    ///
    /// When it is there and cannot be read.
    pub fn read_optional(&self, file: &str) -> Result<Option<Vec<u8>>, DirectoryError> {
        match self.read(file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(DirectoryError::Io { reason, .. }) if reason.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The fixed inputs, and the vectors that they must give.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or does not fit the manifest.
    pub fn canary(&self) -> Result<Canary, DirectoryError> {
        let path = self.path.join(CANARY);
        Canary::decode(&self.read(CANARY)?, &self.manifest).map_err(|reason| damaged(path, reason))
    }

    /// Whether it runs in this TensorRT: an engine does in the version that built it, and in
    /// no other.
    ///
    /// # Errors
    ///
    /// When another version built it; `library` is where the one at hand is.
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

    /// Notes in the manifest how near the vectors came to the canary's. A reader finds the
    /// manifest as it was, or as it is then.
    ///
    /// # Errors
    ///
    /// When the directory has been replaced meanwhile, a build-engine is writing there, or the
    /// file system refuses.
    pub fn note(&mut self, cosines: Cosines) -> Result<(), DirectoryError> {
        let manifest = Manifest {
            cosine: Some(cosines),
            ..self.manifest.clone()
        };
        writer::rewrite(&self.path, &self.manifest, &manifest)?;
        self.manifest = manifest;
        Ok(())
    }

    /// Reads every file and holds it to the manifest's hash. This takes a second or so
    /// for each GB.
    ///
    /// # Errors
    ///
    /// When a file has other bytes than the manifest says.
    pub fn verify_hashes(&self) -> Result<(), DirectoryError> {
        for entry in self.manifest.entries() {
            let path = self.path.join(&entry.file);
            let found = hash_file(&path).map_err(DirectoryError::io(&path, "read"))?;
            if found != entry.sha256 {
                let reason = format!(
                    "its SHA-256 is {found}, and the manifest says {}",
                    entry.sha256
                );
                return Err(damaged(path, reason));
            }
        }
        Ok(())
    }
}

/// Where the engine of `model` for `gpu` in `precision` is kept under `root`.
pub fn directory_of(root: &Path, model: &str, gpu: Architecture, precision: Precision) -> PathBuf {
    root.join(model_directory(model))
        .join(gpu.to_string())
        .join(precision.to_string())
}

/// What the directory of a model is called: its name on the hub with `--` for the slash,
/// the last part of what is written as a path, or the name itself. No name leads out of
/// the directory that it is joined to.
pub fn model_directory(model: &str) -> String {
    let name = model_name(model).replace(['/', '\\'], "--");
    // A leading dot would be hidden, or be the directory itself or the one above.
    let shown = name.trim_start_matches('.');
    if shown.is_empty() {
        "model".into()
    } else {
        shown.into()
    }
}

/// What a model is called that is given as `model`: a path by its last part.
pub fn model_name(model: &str) -> &str {
    let name = model.trim_end_matches('/');
    match name.rsplit_once('/') {
        Some((_, last)) if name.starts_with(['/', '.', '~']) => last,
        _ => name,
    }
}

/// The engines under a model's directory, for a person.
fn built(model: &Path) -> String {
    let names = |directory: &Path| -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    };
    let engines: Vec<String> = names(model)
        .into_iter()
        .flat_map(|gpu| {
            names(&model.join(&gpu))
                .into_iter()
                .map(move |precision| format!("{gpu} in {precision}"))
        })
        .collect();
    if engines.is_empty() {
        "there is none of this model".into()
    } else {
        format!("there are: {}", engines.join(", "))
    }
}

fn damaged(path: PathBuf, reason: String) -> DirectoryError {
    DirectoryError::Damaged { path, reason }
}

/// The SHA-256 of some bytes, in hexadecimal.
pub fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
///
/// When it cannot be read.
pub fn hash_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(&piece[..read]),
        }
    }
}

/// The SHA-256 of pieces that belong together, in hexadecimal.
pub fn hash_all<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for piece in pieces {
        hasher.update(piece);
    }
    hex(&hasher.finalize())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_one_directory_and_stays_inside_the_root() {
        for (model, directory) in [
            (
                "google/siglip2-base-patch16-224",
                "google--siglip2-base-patch16-224",
            ),
            ("demo", "demo"),
            ("my model", "my model"),
            ("/models/my-siglip2/", "my-siglip2"),
            ("./models/demo", "demo"),
            ("../../etc", "etc"),
            ("a/../../etc", "a--..--..--etc"),
            ("..", "model"),
            ("/", "model"),
        ] {
            assert_eq!(model_directory(model), directory);
        }
    }

    #[test]
    fn hashes_are_those_of_sha256sum() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hash(b""), empty);
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash_all([&b"a"[..], b"bc"]), abc);
    }
}
