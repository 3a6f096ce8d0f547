//! The GPU engine on a machine without a GPU: the driver and TensorRT are replaced by libraries
//! that keep device memory on the host, run the resize kernel's host build, compute a known
//! function as the engines, and fail on demand (tests/stand_in/).
//!
//! ```text
//! runtime, faults --start--> this binary again, with the stand-in libraries: inside
//! coded           --start--> this binary again: card
//! service         --start--> the program itself, with the same libraries
//! ```

mod card;
mod check;
mod coded;
mod faults;
mod inside;
mod model;
mod naflex;
mod pack;
mod runtime;
mod service;
mod verify;

use std::path::Path;
use std::process::Command;

use crate::common::stand_in::{Machine, Trace};

/// Runs a test of `inside` on a machine, with an engine directory. Returns its output, and
/// whether it passed.
fn run(test: &str, machine: &Machine, engine: &Path) -> (String, bool) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    // Those of `card` are named with their module.
    let name = match test.starts_with("card::") {
        true => format!("gpu::{test}"),
        false => format!("gpu::inside::{test}"),
    };
    command
        .args([
            "--exact",
            &name,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("TEST_ENGINE", engine)
        .env("TENSORRT_LIB_DIR", machine.tensorrt().parent().unwrap());
    let output = machine.apply(&mut command).output().unwrap();
    let text = format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    // An unknown test name would pass, too.
    assert!(text.contains("running 1 test"), "{text}");
    (text, output.status.success())
}

/// The same for a test that must pass and leave the device clean.
fn passes(test: &str, machine: &Machine, engine: &Path) -> (String, Trace) {
    let (text, passed) = run(test, machine, engine);
    assert!(passed, "{text}");
    let trace = machine.trace();
    trace.assert_clean();
    (text, trace)
}
