//! The files that Pillow was asked about, and others that are made here.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A place in the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn folder() -> PathBuf {
    repository("tests/fixtures/images")
}

pub fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

/// All files, with their names.
pub fn fixtures() -> impl Iterator<Item = (String, Vec<u8>)> {
    std::fs::read_dir(folder()).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let bytes = fixture(&name);
        (name, bytes)
    })
}

/// What Pillow makes of them.
pub fn truth() -> Value {
    serde_json::from_slice(&fixture("expected.json")).unwrap()
}
