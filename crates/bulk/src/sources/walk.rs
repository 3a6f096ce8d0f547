//! Folders, from top to bottom, in the order of names.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::cannot_read;
use crate::error::InputError;

/// Gives every file in a folder and those below it to `take`: names in the order of their
/// bytes. Links are followed; what begins with a dot is passed over.
///
/// One folder's names are in memory at a time, with those of the folders above it.
///
/// # Errors
///
/// When a folder cannot be read or a link leads back up, and those of `take`.
pub(super) fn each_file(
    root: &Path,
    take: &mut dyn FnMut(&Path) -> Result<(), InputError>,
) -> Result<(), InputError> {
    walk(root, &mut Vec::new(), take)
}

fn walk(
    folder: &Path,
    above: &mut Vec<(u64, u64)>,
    take: &mut dyn FnMut(&Path) -> Result<(), InputError>,
) -> Result<(), InputError> {
    let metadata = fs::metadata(folder).map_err(cannot_read(folder))?;
    let identity = (metadata.dev(), metadata.ino());
    if above.contains(&identity) {
        return Err(format!("{} is a link to a folder that it is in", folder.display()).into());
    }
    above.push(identity);
    let mut names: Vec<(OsString, bool)> = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot_read(folder))? {
        let entry = entry.map_err(cannot_read(folder))?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type().map_err(cannot_read(&entry.path()))?;
        let is_folder = if kind.is_symlink() {
            // A link to nothing is a picture that cannot be read, and its row says so.
            fs::metadata(entry.path()).is_ok_and(|target| target.is_dir())
        } else {
            kind.is_dir()
        };
        names.push((name, is_folder));
    }
    names.sort_unstable();
    let mut path: PathBuf = folder.into();
    for (name, is_folder) in names {
        path.push(&name);
        if is_folder {
            walk(&path, above, take)?;
        } else {
            take(&path)?;
        }
        path.pop();
    }
    above.pop();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_names_and_a_loop_is_refused() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["b", "a/z", ".hidden"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for file in ["b/2", "b/1", "a/z/3", "c", ".hidden/4", "a/.5"] {
            fs::write(root.path().join(file), []).unwrap();
        }
        let mut seen = Vec::new();
        let mut take = |path: &Path| {
            seen.push(path.strip_prefix(root.path()).unwrap().to_owned());
            Ok(())
        };
        each_file(root.path(), &mut take).unwrap();
        assert_eq!(seen, ["a/z/3", "b/1", "b/2", "c"].map(PathBuf::from));
        std::os::unix::fs::symlink(root.path(), root.path().join("a/up")).unwrap();
        let error = each_file(root.path(), &mut |_| Ok(()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("a link to a folder"), "{error}");
    }
}
