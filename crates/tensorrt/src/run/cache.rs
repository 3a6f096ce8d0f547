//! The runtime cache: kernels that TensorRT for RTX compiled for this GPU at the first start,
//! kept beside the engine so that the next start need not compile them again. (Standard
//! TensorRT compiles nothing at run time and has no cache.)
//!
//! What is compiled is for one card and one driver, so the file is named after both: machines with
//! other cards may share a directory, and a driver that is installed again finds its own kernels.
//! The cache only shortens the start. If it cannot be read it is rebuilt; if it cannot be written,
//! the log says so.

#[cfg(not(feature = "tensorrt-enterprise"))]
use std::io::Write;
use std::path::{Path, PathBuf};
#[cfg(not(feature = "tensorrt-enterprise"))]
use std::sync::Arc;

/// The cache of an engine's file on a card with a driver: `vision.engine` has
/// `vision.NVIDIA-GeForce-RTX-5090.580.159.04.cache`.
pub(super) fn path(engine: &Path, card: &str, driver: &str) -> PathBuf {
    let plain = |name: &str| -> String {
        let kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        name.chars()
            .map(|c| if kept(c) { c } else { '-' })
            .collect()
    };
    engine.with_extension(format!("{}.{}.cache", plain(card), plain(driver)))
}

/// See the module.
#[cfg(not(feature = "tensorrt-enterprise"))]
pub(super) struct Cache {
    path: PathBuf,
    /// What the file held.
    bytes: Vec<u8>,
    cache: Option<Arc<trtx::RuntimeCache>>,
}

/// No cache: nothing is read, and nothing is written.
#[cfg(feature = "tensorrt-enterprise")]
pub(super) struct Cache;

#[cfg(feature = "tensorrt-enterprise")]
impl Cache {
    pub(super) fn open(_: &Path) -> Self {
        Self
    }

    pub(super) fn save(&self) {}
}

#[cfg(not(feature = "tensorrt-enterprise"))]
impl Cache {
    /// Reads the file, if it exists.
    pub(super) fn open(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            bytes: std::fs::read(path).unwrap_or_default(),
            cache: None,
        }
    }

    /// Lets the contexts of `config` use the cache.
    pub(super) fn attach(
        &mut self,
        config: &mut trtx::RuntimeConfig<'static>,
    ) -> Result<(), trtx::Error> {
        let cache = match &self.cache {
            Some(cache) => Arc::clone(cache),
            None => {
                let cache = Arc::new(config.create_runtime_cache()?);
                if !self.bytes.is_empty()
                    && let Err(error) = cache.deserialize(&self.bytes)
                {
                    tracing::info!(path = %self.path.display(), %error, "new runtime cache");
                }
                self.cache = Some(Arc::clone(&cache));
                cache
            }
        };
        config.set_runtime_cache(cache)
    }

    /// Writes the cache if anything was compiled since.
    pub(super) fn save(&self) {
        let Some(cache) = &self.cache else { return };
        let result = cache
            .serialize()
            .map_err(|error| error.to_string())
            .and_then(|memory| self.write(&memory).map_err(|error| error.to_string()));
        if let Err(error) = result {
            let path = self.path.display();
            tracing::info!(%path, %error, "cannot write the runtime cache; starts stay slow");
        }
    }

    /// Replaces the file atomically: another process may read it at the same time.
    fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        if bytes == self.bytes {
            return Ok(());
        }
        // A unique name: processes in containers all have the process ID 1.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_nanos();
        let name = format!("{}-{now}.part", std::process::id());
        let beside = self.path.with_extension(name);
        let written = std::fs::File::create_new(&beside)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| std::fs::rename(&beside, &self.path));
        if written.is_err() {
            // A partial file is useless.
            let _ = std::fs::remove_file(&beside);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_named_after_engine_card_and_driver() {
        let engine = Path::new("e/vision.engine");
        let path = path(engine, "NVIDIA RTX 6000/Ada", "cuda-13.0");
        assert_eq!(
            path,
            Path::new("e/vision.NVIDIA-RTX-6000-Ada.cuda-13.0.cache")
        );
    }
}
