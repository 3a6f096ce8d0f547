//! What the crate does with files, a cache and a hub: one binary, a module per subject.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod checkpoints;
mod fingerprint;
mod graph_precision;
mod hub;
mod hub_cache;
mod hub_siglip1;
mod odd_hub;
mod text_tokens;

use std::fs;
use std::path::{Path, PathBuf};

/// The path of a fixture, which the tests of all packages share.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

/// A copy of a directory without subdirectories.
fn copy(from: &Path) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for entry in fs::read_dir(from).expect("a fixture").flatten() {
        fs::copy(entry.path(), directory.path().join(entry.file_name())).expect("a copy");
    }
    directory
}
