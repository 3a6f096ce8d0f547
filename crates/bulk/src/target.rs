//! Where a result goes: a folder with a file for each shard, or one file.
//!
//! ```text
//! --out DIR            DIR/part-00000.parquet ...
//! --out NAME.parquet   .NAME.parquet.embed/part-00000.parquet ...  --joined-->  NAME.parquet
//! ```
//!
//! What is to become one file is written as shards into a hidden folder beside it, which is what
//! a run goes on with.

use std::path::{Path, PathBuf};

use crate::error::InputError;
use crate::options::{EmbedOptions, Format};
use crate::partition::Partition;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The folder of the shards.
    pub(crate) folder: PathBuf,
    /// The file that they become.
    pub(crate) file: Option<PathBuf>,
    /// What is written.
    pub(crate) format: Format,
}

impl Target {
    /// What the settings name.
    ///
    /// # Errors
    ///
    /// When there is no such file, or what else is said does not fit it.
    pub(crate) fn of(options: &EmbedOptions, partition: Partition) -> Result<Self, InputError> {
        let out = &options.out;
        let shown = out.display();
        let Some(format) = named(out)? else {
            if out.is_file() {
                return Err(format!(
                    "--out {shown} is a file: name a folder, or a file that ends in .parquet, .npy \
                     or .jsonl"
                )
                .into());
            }
            return Ok(Self {
                folder: out.clone(),
                file: None,
                format: options.format.unwrap_or(Format::Parquet),
            });
        };
        if options.format.is_some_and(|asked| asked != format) {
            return Err(format!(
                "--out {shown} names a file of another form than --format: leave --format out"
            )
            .into());
        }
        if partition.count > 1 {
            return Err(format!(
                "--out {shown} is one file, which one process writes: name a folder to share the \
                 work by --shard"
            )
            .into());
        }
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(out.file_name().unwrap_or_default());
        hidden.push(".embed");
        Ok(Self {
            folder: out.with_file_name(hidden),
            file: Some(out.clone()),
            format,
        })
    }
}

/// What a name says that a file has; none, if it is a folder's.
fn named(out: &Path) -> Result<Option<Format>, InputError> {
    let as_folder = out.as_os_str().as_encoded_bytes().ends_with(b"/");
    if as_folder || out.is_dir() {
        return Ok(None);
    }
    let ending = out.extension().unwrap_or_default().to_ascii_lowercase();
    match ending.to_string_lossy().as_ref() {
        "parquet" => Ok(Some(Format::Parquet)),
        "npy" => Ok(Some(Format::Npy)),
        "jsonl" | "ndjson" => Ok(Some(Format::Jsonl)),
        other @ ("arrow" | "feather" | "lance" | "csv" | "tsv" | "json" | "npz" | "orc") => {
            Err(format!(
                "--out {}: .{other} is not written, .parquet, .npy and .jsonl are; for a folder of \
                 that name write a / behind it",
                out.display()
            )
            .into())
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::options;

    fn target(arguments: &[&str]) -> Result<Target, InputError> {
        let options = options(&[&["photos", "--out"], arguments].concat());
        let partition = Partition::of(&options.partition).unwrap();
        Target::of(&options, partition)
    }

    #[test]
    fn endings_are_files_and_all_else_are_folders() {
        for (name, format) in [
            ("a/x.parquet", Format::Parquet),
            ("a/x.NPY", Format::Npy),
            ("a/x.jsonl", Format::Jsonl),
            ("a/x.ndjson", Format::Jsonl),
        ] {
            let found = target(&[name]).unwrap();
            assert_eq!((found.file.unwrap(), found.format), (name.into(), format));
            let hidden = format!("a/.{}.embed", &name[2..]);
            assert_eq!(found.folder, Path::new(&hidden));
        }
        for name in ["out", "out.v2", "x.parquet/"] {
            let found = target(&[name]).unwrap();
            assert_eq!((found.file, found.folder), (None, name.into()));
        }
        let here = target(&["x.npy"]).unwrap();
        assert_eq!(here.folder, Path::new(".x.npy.embed"));
        // A folder of that name was made by a run before.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        std::fs::create_dir(&path).unwrap();
        let found = target(&[&path.display().to_string(), "--format", "npy"]).unwrap();
        assert_eq!((found.file, found.format), (None, Format::Npy));
    }

    #[test]
    fn what_does_not_fit_a_file_is_refused_with_a_sentence() {
        for (arguments, said) in [
            (&["x.arrow"][..], ".arrow is not written"),
            (&["x.parquet", "--format", "npy"], "another form"),
            (&["x.parquet", "--shard", "0/2"], "one process"),
        ] {
            let error = target(arguments).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert!(target(&["x.parquet", "--shard", "0/1", "--format", "parquet"]).is_ok());
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = target(&[&file.path().display().to_string()])
            .unwrap_err()
            .to_string();
        assert!(error.contains("is a file"), "{error}");
    }
}
