//! A real service of a real checkpoint, started as the program starts it.

use std::path::Path;

use siglip2_embeddings::service::{Models, Service};
use siglip2_embeddings::settings::Settings;
use siglip2_embeddings::startup::prepare;

/// The service of `model`, with further flags. It computes in FP32, whatever this
/// processor would rather: flags come later and win.
pub fn service(model: &str, flags: &[&str]) -> Service {
    models(model, flags).first().clone()
}

/// The same with all models that the flags name, in FP32 unless they name a precision.
pub fn models(model: &str, flags: &[&str]) -> Models {
    // What is found here is kept nowhere.
    let mut arguments = vec![
        "siglip2-embeddings",
        "--model",
        model,
        "--canary-cache",
        "/dev/null",
    ];
    if !flags.contains(&"--precision") {
        arguments.extend(["--precision", "fp32"]);
    }
    let settings: Settings =
        siglip2_flags::try_parse_flags(arguments.iter().chain(flags)).expect("flags");
    let prepared = prepare(&settings).expect("a checkpoint");
    let models = prepared.models().clone();
    prepared.load().expect("engines");
    models
}

/// Copies the files of a directory into another, which is created.
pub fn copy_files(from: impl AsRef<Path>, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for file in std::fs::read_dir(from).expect("the directory") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
    }
}

/// A copy of a fixture's directory, for a test that changes it.
pub fn copy_of(name: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    copy_files(fixture(name), directory.path());
    directory
}

/// The path of a fixture.
pub fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}
