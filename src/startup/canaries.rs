//! What the canaries of earlier starts showed.
//!
//! Comparing a precision with FP32 takes the towers of both, which is nearly half of a start. It gives the same each
//! time for the same weights, kernel and program, so it is kept, in a file for each model and kernel. One that cannot
//! be read or written costs that time again, and nothing else.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};
use siglip2_model::fingerprint::WeightsDigest;

use crate::build_info::long_version;

/// A file has a fraction of it.
const LARGEST: u64 = 4096;

/// The cosine that canaries of some weights had, on disk.
pub(super) struct Canaries {
    file: PathBuf,
    /// Everything that it depends on.
    key: Value,
}

impl Canaries {
    /// For these weights, a kernel of this name and pictures of this size, in this directory.
    ///
    /// # Errors
    ///
    /// When it is not known which program this is.
    pub(super) fn new(
        directory: &Path,
        weights: &WeightsDigest,
        kernel: &str,
        size: &str,
    ) -> io::Result<Self> {
        let weights = String::from(weights.clone());
        let program = fs::metadata(std::env::current_exe()?)?;
        let written = program.modified()?.duration_since(UNIX_EPOCH);
        Ok(Self {
            file: directory.join(format!("{weights:.16}-{kernel}.json")),
            key: json!({
                "weights": weights,
                "kernel": kernel,
                "size": size,
                // Two builds of a version may compute otherwise.
                "program": [
                    long_version(),
                    program.len(),
                    written.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(0)),
                ],
            }),
        })
    }

    /// The worst cosine, if it was found before.
    pub(super) fn known(&self) -> Option<f64> {
        let mut text = Vec::new();
        File::open(&self.file)
            .ok()?
            .take(LARGEST)
            .read_to_end(&mut text)
            .ok()?;
        let kept: Value = serde_json::from_slice(&text).ok()?;
        let worst = kept.get("cosine_to_fp32")?.as_f64()?;
        // Rounding may make it a little more than 1.
        let is_cosine = (-1.01..=1.01).contains(&worst);
        (is_cosine && kept.get("of")? == &self.key).then_some(worst)
    }

    /// Keeps the worst cosine for the next start.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub(super) fn keep(&self, worst: f64) -> io::Result<()> {
        let kept = json!({"cosine_to_fp32": worst, "of": self.key});
        self.file.parent().map_or(Ok(()), fs::create_dir_all)?;
        // Whole or not at all, whoever else starts now.
        let new = self
            .file
            .with_added_extension(format!("{}.new", std::process::id()));
        fs::write(&new, format!("{kept:#}\n"))
            .and_then(|()| fs::rename(&new, &self.file))
            .inspect_err(|_| _ = fs::remove_file(&new))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_cosine_is_that_of_the_same_weights_kernel_and_size() {
        let folder = tempfile::tempdir().unwrap();
        let digest = |digit: &str| WeightsDigest::try_from(digit.repeat(64)).unwrap();
        let canaries = |weights: &str, kernel: &str, size: &str| {
            Canaries::new(&folder.path().join("a/b"), &digest(weights), kernel, size).unwrap()
        };
        let kept = canaries("1", "avx", "224");
        assert_eq!(kept.known(), None);
        kept.keep(0.999_965_430_1).unwrap();
        assert_eq!(kept.known(), Some(0.999_965_430_1));
        assert_eq!(canaries("1", "avx", "224").known(), Some(0.999_965_430_1));
        assert_eq!(canaries("2", "avx", "224").known(), None);
        assert_eq!(canaries("1", "amx", "224").known(), None);
        assert_eq!(canaries("1", "avx", "384").known(), None);

        // Another build of the program.
        let text = fs::read_to_string(&kept.file).unwrap();
        let other = text.replace(env!("CARGO_PKG_VERSION"), "0.0.0");
        assert_ne!(text, other);
        let no_number = text.replace("0.99996", "7.99996");
        for damaged in [&other, &no_number, "", "{}", &text[..text.len() / 2]] {
            fs::write(&kept.file, damaged).unwrap();
            assert_eq!(kept.known(), None, "{damaged}");
        }
        kept.keep(f64::NAN).unwrap();
        assert_eq!(kept.known(), None);
        assert_eq!(fs::read_dir(folder.path().join("a/b")).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_cannot_be_is_an_error() {
        let weights = WeightsDigest::try_from("1".repeat(64)).unwrap();
        let canaries = Canaries::new(Path::new("/dev/null/canaries"), &weights, "avx", "").unwrap();
        assert_eq!(canaries.known(), None);
        assert!(canaries.keep(1.0).is_err());
    }
}
