//! `tools/gpu-check`, which is meant for a GPU node, runs to its end and prints a complete
//! report; and it fails if something is wrong.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::common::stand_in::Machine;
use crate::gpu::model::Recipe;

/// An unused port.
pub fn port() -> u16 {
    // Not an ephemeral port: a client that repeatedly connects to one of those before the
    // service listens can get connected to itself.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        // Other processes may be looking, too.
        let number = std::process::id() as u16 ^ NEXT.fetch_add(101, Ordering::Relaxed);
        let port = 20_000 + number % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Runs the script with these programs and this engine. Returns its report, and whether it
/// passed.
fn check(machine: &Machine, engine: &Path) -> (String, bool) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let programs = Path::new(env!("CARGO_BIN_EXE_siglip2-embeddings"));
    let mut command = Command::new(root.join("tools/gpu-check"));
    command
        .args(["demo", "2"])
        .env("BIN", programs.parent().unwrap())
        .env("ENGINE_DIR", engine)
        .env("PORT", port().to_string())
        .env("WARM_UP", "0s")
        .env("SECONDS_EACH", "0.1")
        .env("TENSORRT_LIB_DIR", machine.tensorrt().parent().unwrap());
    let output = machine.apply(&mut command).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{report}\n{}", String::from_utf8_lossy(&output.stderr));
    (report, output.status.success())
}

#[test]
fn the_report_has_all_parts() {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::default().write(root.path());
    // Several programs run one after the other here, but a trace and a socket belong to one.
    let machine = Machine::new().untraced();
    let (report, passed) = check(&machine, engine.path());
    assert!(passed, "{report}");
    for part in [
        "RTX 5090, sm_120",
        "- resize kernel: 43 of 43 batches equal to the CPU, bit for bit",
        "- uploads from pinned memory:",
        "MiB of the GPU's memory",
        "- canaries, in every batch size and slot, cosine to FP32: image 1.000000, text 1.000000, on",
        "### The service over HTTP",
        "#### Time by stage",
        "No peer",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    for tower in ["image", "text"] {
        for bucket in [1, 2, 4, 8] {
            let row = format!("| {tower} | {bucket} |");
            assert!(report.contains(&row), "{row}: {report}");
        }
    }
    let loads: Vec<&str> = report.split("\n#### ").skip(1).collect();
    // Three more where nvJPEG is found, which may be that of another test.
    assert!(loads.len() == 12 || loads.len() == 15, "{report}");
    for load in &loads[..11] {
        assert!(load.contains("good"), "{load}");
        assert!(load.contains("the engine had work "), "{load}");
    }
    for row in [
        "| 224-pixel JPEGs per second over HTTP | ",
        "| the same against the engine alone | ",
        "| a single text at low load, p50 | ",
    ] {
        let (_, measured) = report.split_once(row).unwrap();
        assert!(!measured.starts_with("0 "), "{report}");
        assert!(
            !measured.starts_with("0% ") && !measured.starts_with("0.00"),
            "{report}"
        );
    }
    for row in [
        // The card that it runs on has a goal of its own.
        "| 4600 in FP16, siglip2-base (NVIDIA GeForce RTX 5090) |",
        "| the same against the roof of FP16 products | ",
        // On the CPU, or where nvJPEG is found, on the card.
        "| 1920 x 1280 JPEGs per second over HTTP",
    ] {
        assert!(report.contains(row), "{row}: {report}");
    }
    for stage in ["decode", "queue", "compute"] {
        assert!(loads[11].contains(stage), "{report}");
    }
}

#[test]
fn an_engine_with_other_vectors_does_not_pass() {
    let root = tempfile::tempdir().unwrap();
    let recipe = Recipe {
        wrong_canary: true,
        ..Recipe::default()
    };
    let engine = recipe.write(root.path());
    let (report, passed) = check(&Machine::new().untraced(), engine.path());
    assert!(!passed, "{report}");
    assert!(report.contains("batches equal to the CPU"), "{report}");
}
