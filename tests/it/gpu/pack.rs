//! What `tools/gpu-stand-in` packs runs where it is taken.

use std::path::{Path, PathBuf};
use std::process::Command;

use siglip2_embeddings::tensorrt::build::nvrtc::Compiler;
use siglip2_embeddings::tensorrt::directory::Architecture;
use siglip2_embeddings::tensorrt::kernel::SOURCE;
use siglip2_embeddings::tensorrt::libraries::Search;

use crate::common::stand_in::{Machine, libraries};
use crate::gpu::model::Recipe;

/// Writes engine directories for `PACK_GPU` and the library that runs them into `PACK_INTO`.
/// With `PACK_PLACEHOLDER` the kernel is none: the stand-in for the driver has its own.
#[test]
#[ignore = "called by tools/gpu-stand-in"]
fn pack() {
    let into = PathBuf::from(std::env::var_os("PACK_INTO").unwrap());
    let gpu: Architecture = std::env::var("PACK_GPU").unwrap().parse().unwrap();
    let placeholder = std::env::var_os("PACK_PLACEHOLDER").is_some();
    let cubin = (!placeholder).then(|| {
        let named = std::env::var_os("NVRTC_LIB_DIR").map(PathBuf::from);
        let library = Search::new(None, named).nvrtc();
        let compiler = Compiler::open(Some(&library.unwrap_or_else(|e| panic!("{e}")))).unwrap();
        let name = gpu.to_string();
        compiler.compile(SOURCE, "resize.cu", &name).unwrap().cubin
    });
    let number = gpu.number();
    let capability = format!("{}.{}", number / 10, number % 10);
    for (name, recipe) in [("half", Recipe::default()), ("full", Recipe::full())] {
        let root = tempfile::tempdir().unwrap();
        let engine = Recipe {
            gpu: gpu.to_string().leak(),
            compute_capability: capability.clone().leak(),
            cubin: cubin.clone(),
            ..recipe
        }
        .write(root.path());
        copy(engine.path(), &into.join("engines").join(name));
    }
    copy(&libraries().on_driver(), &into.join("lib"));
}

/// Copies the files of a directory into another, which is made.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
#[cfg_attr(
    feature = "tensorrt-enterprise",
    ignore = "it packs the other TensorRT's stand-in"
)]
fn what_is_packed_runs_where_there_is_only_a_driver() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let programs = Path::new(env!("CARGO_BIN_EXE_siglip2-embeddings"));
    let packed = tempfile::tempdir().unwrap();
    let output = Command::new(root.join("tools/gpu-stand-in"))
        .arg(packed.path())
        .arg("sm_120")
        .env("BIN", programs.parent().unwrap())
        .env("TEST", std::env::current_exe().unwrap())
        .env("PACK_PLACEHOLDER", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let machine = Machine::new().untraced();
    let mut command = Command::new(packed.path().join("run"));
    command
        .arg("2")
        .env("NO_TRAP", "1")
        .env("WARM_UP", "0s")
        .env("SECONDS_EACH", "0.1")
        .env("PORT", crate::gpu::check::port().to_string());
    let output = machine.apply(&mut command).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    println!("{report}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    assert_eq!(report.matches(": right\n").count(), 5);
    assert!(report.contains("43 of 43 batches equal"));
    assert!(report.contains("### Against the goals"));
}
