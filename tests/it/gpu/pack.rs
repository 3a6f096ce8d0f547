//! What `tools/gpu-stand-in` and `tools/gpu-trial` pack runs wherever it is copied.

use std::path::{Path, PathBuf};
use std::process::Command;

use siglip2_embeddings::tensorrt::build::nvrtc::Compiler;
use siglip2_embeddings::tensorrt::directory::Architecture;
use siglip2_embeddings::tensorrt::kernel::SOURCE;
use siglip2_embeddings::tensorrt::libraries::Search;

use crate::common::jpegs::{baseline, progressive, waves};
use crate::common::model::copy_files;
use crate::common::stand_in::{Machine, libraries};
use crate::gpu::model::Recipe;

/// Writes engine directories for `PACK_GPU` and the library that runs them into `PACK_INTO`.
/// With `PACK_PLACEHOLDER` the kernel is a placeholder: the stand-in driver has its own.
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
        copy_files(engine.path(), &into.join("engines").join(name));
    }
    copy_files(libraries().on_driver(), &into.join("lib"));
    // Photos, as far as drawings are: some that the card's decoder takes, and one that it does not.
    let photos = into.join("photos");
    std::fs::create_dir_all(&photos).unwrap();
    for number in 0..12 {
        let sharing = [(2, 2), (2, 1), (1, 1)][number as usize % 3];
        let file = baseline(&waves(1920, 1280, number), sharing);
        std::fs::write(photos.join(format!("{number:02}.jpg")), file).unwrap();
    }
    let other = progressive(&waves(1920, 1280, 12));
    std::fs::write(photos.join("progressive.jpg"), other).unwrap();
}

/// The archive of `tools/gpu-trial` has that directory and more; unpacked elsewhere it runs to its
/// end, and what it found is in one table. (PyTorch's steps are left out here: they need a GPU.)
#[test]
#[cfg_attr(
    feature = "tensorrt-enterprise",
    ignore = "it packs the other TensorRT's stand-in"
)]
fn what_is_packed_runs_where_there_is_only_a_driver() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let programs = Path::new(env!("CARGO_BIN_EXE_siglip2-embeddings"));
    let place = tempfile::tempdir().unwrap();
    let archive = place.path().join("trial.tar.gz");
    let output = Command::new(root.join("tools/gpu-trial"))
        .arg(&archive)
        .arg("sm_120")
        .env("BIN", programs.parent().unwrap())
        .env("TEST", std::env::current_exe().unwrap())
        .env("PACK_PLACEHOLDER", "1")
        // The stand-in for it has no driver of its own to be packed for.
        .env("NO_NVJPEG", "1")
        .env("COMPRESS", "gzip -1")
        // These programs are not optimized.
        .env("LIMIT_MB", "4000")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(&archive)
        .current_dir(place.path())
        .status();
    assert!(unpacked.unwrap().success());

    let machine = Machine::new().untraced();
    let mut command = Command::new(place.path().join("gpu-trial/trial"));
    command
        .arg(place.path().join("results"))
        .env("PYTHON", "/bin/false")
        .env("NO_TRAP", "1")
        .env("NVJPEG_LIB_DIR", libraries().directory())
        .env("LOAD_SECONDS", "2")
        .env("LOAD_REQUESTS", "64")
        .env("WARM_UP", "0s")
        .env("SECONDS_EACH", "0.1")
        .env("TOTAL", "3600")
        .env("STAND_IN_LIMIT", "3600")
        .env("PORT", crate::gpu::check::port().to_string());
    let output = machine.apply(&mut command).output().unwrap();
    let result = |name: &str| {
        let path = place.path().join("results").join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let (report, table) = (result("stand-in.md"), result("table.md"));
    println!("{report}\n{}\n{table}", result("stand-in.log"));
    assert!(output.status.success());
    assert_eq!(report.matches(": right\n").count(), 5);
    assert!(report.contains("43 of 43 batches equal"));
    assert!(report.contains("### Against the goals"));
    for row in [
        "| stand-in | passed, ",
        "| products | not run: ",
        "| nvjpeg | not run: ",
        "| peer | not run: ",
        "| JPEG files decoded on the card | 12 of 13; ",
        "| 1920 x 1280 JPEGs decoded on the card, 64 clients | ",
        "| resize kernel | 43 of 43 batches equal to the CPU, bit for bit |",
        "| 224-pixel JPEGs, 32 per request, 16 clients | ",
        "| texts and images together, 64 clients | ",
        "| cases inside the engine that were right | 5 of 6 |",
    ] {
        assert!(table.contains(row), "{row}: {table}");
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), table);
}
