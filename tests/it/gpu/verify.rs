//! `build-engine verify`: an engine directory that was built elsewhere, on this machine's GPU.

use std::path::Path;
use std::process::Command;

use siglip2_embeddings::tensorrt::directory::EngineDirectory;

use crate::common::stand_in::{Machine, TENSORRT};
use crate::gpu::model::Recipe;

/// Its output, and whether the engine is good.
fn verify(machine: &Machine, engine: &Path) -> (String, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_build-engine"));
    command
        .arg("verify")
        .arg(engine)
        .env("TENSORRT_LIB_DIR", machine.tensorrt().parent().unwrap());
    let output = machine.apply(&mut command).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (said.into_owned(), output.status.success())
}

#[test]
fn what_was_measured_is_said_and_noted_in_the_manifest() {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::default().write(root.path());
    assert_eq!(engine.manifest().cosine, None);
    let machine = Machine::new();
    let (said, good) = verify(&machine, engine.path());
    assert!(good, "{said}");
    let line = "cosine to FP32: image 1.000000, text 1.000000, on NVIDIA GeForce RTX 5090";
    assert!(said.contains(line), "{said}");
    machine.trace().assert_clean();
    let noted = EngineDirectory::open(engine.path()).unwrap();
    let cosines = noted.manifest().cosine.as_ref().unwrap();
    assert_eq!(cosines.measured_on, "NVIDIA GeForce RTX 5090");
    assert!(cosines.image > 0.999_999 && cosines.text > 0.999_999);
    let hidden = std::fs::read_dir(engine.path()).unwrap();
    let hidden = hidden.filter(|it| it.as_ref().unwrap().file_name().as_encoded_bytes()[0] == b'.');
    assert_eq!(hidden.count(), 0);
}

#[test]
fn an_engine_that_is_not_good_here_is_refused_and_its_manifest_left_as_it_was() {
    let wrong = Recipe {
        wrong_canary: true,
        ..Recipe::default()
    };
    let built = format!("was built by {} {}", TENSORRT.flavour, TENSORRT.version);
    for (recipe, machine, why) in [
        (wrong, Machine::new(), "the image tower's canary has cosine"),
        (
            Recipe::default(),
            Machine::new().gpus("NVIDIA L4:8.9:23034MiB"),
            "is for sm_120, but this machine has GPU 0 (NVIDIA L4, sm_89",
        ),
        (Recipe::default(), Machine::new().gpus("none"), "no GPU"),
        (
            Recipe::default(),
            Machine::new().tensorrt_version(TENSORRT.newer),
            &built,
        ),
    ] {
        let root = tempfile::tempdir().unwrap();
        let engine = recipe.write(root.path());
        let (said, good) = verify(&machine, engine.path());
        assert!(!good && said.contains(why), "{why}: {said}");
        assert_eq!(said.matches("error:").count(), 1, "{said}");
        let engine = EngineDirectory::open(engine.path()).unwrap();
        assert_eq!(engine.manifest().cosine, None);
    }
}

/// A driver that hangs when it is opened, and a device that hangs in the middle, end the programs that
/// nobody restarts as they end the service.
#[test]
fn what_hangs_is_said_and_is_exit_code_3() {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::default().write(root.path());
    for (fault, said) in [
        ("init_hang:1", "the device hangs: looking for GPUs "),
        (
            "hang@infer:20",
            "the device hangs: running the first batches of ",
        ),
    ] {
        for program in [
            env!("CARGO_BIN_EXE_build-engine"),
            env!("CARGO_BIN_EXE_gpu-check"),
        ] {
            let machine = Machine::new().fault(fault);
            let mut command = Command::new(program);
            match program.ends_with("gpu-check") {
                true => command.arg("--engine-dir"),
                false => command.arg("verify"),
            };
            command
                .arg(engine.path())
                .args(["--device-timeout", "1"])
                .env("TENSORRT_LIB_DIR", machine.tensorrt().parent().unwrap());
            let output = machine.apply(&mut command).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{program}: {text}");
            assert!(text.contains(said), "{program}: {text}");
        }
    }
    let hanging = Machine::new().fault("init_hang:1");
    let mut command = Command::new(env!("CARGO_BIN_EXE_build-engine"));
    command.args(["--model", "demo", "--device-timeout", "0.1"]);
    command.current_dir(root.path());
    let output = hanging.apply(&mut command).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("looking for GPUs"), "{text}");
}
