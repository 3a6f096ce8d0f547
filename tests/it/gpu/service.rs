//! The program itself on a GPU: its messages, its answers, and its exit.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::program::{command, started};
use crate::common::stand_in::{Machine, TENSORRT};
use crate::common::{Form, Program, ask, get, png, post_json};
use crate::gpu::model::{self, Recipe};
use siglip2_embeddings::engine::Tower;

/// The service on a machine, with the engines under `root`.
pub(super) fn on(machine: &Machine, root: &Path, flags: &[&str]) -> Command {
    of("demo", machine, root, flags)
}

/// The same with another model.
pub(super) fn of(model: &str, machine: &Machine, root: &Path, flags: &[&str]) -> Command {
    let mut command = command(&["--model", model, "--engines"]);
    command
        .arg(root)
        .args(flags)
        .env("TENSORRT_LIB_DIR", machine.tensorrt().parent().unwrap());
    machine.apply(&mut command);
    command
}

/// Sends SIGTERM.
fn terminate(child: &std::process::Child) {
    let sent = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// The output and exit code of a program that must not start. If it starts anyway it is killed
/// and has no exit code: otherwise neither it nor the test would end.
pub(super) fn refusal(mut command: Command) -> (String, Option<i32>) {
    let mut child = command
        .args(["--host", "127.0.0.1", "--port", "0"])
        .spawn()
        .unwrap();
    let mut text = String::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains(" INFO ready ") {
            child.kill().unwrap();
        }
        text += &line;
        text.push('\n');
    }
    (text, child.wait().unwrap().code())
}

#[tokio::test]
async fn it_answers_with_the_rows_of_the_engines() {
    let root = tempfile::tempdir().unwrap();
    Recipe::default().write(root.path());
    let machine = Machine::new()
        .gpus("NVIDIA GeForce RTX 5090:12.0:32607MiB,NVIDIA GeForce RTX 5090:12.0:32607MiB");
    let program = Program::start(
        on(
            &machine,
            root.path(),
            &["--device", "cuda", "--gpus", "0,1"],
        ),
        |lines| lines.for_each(drop),
    );
    let info: Value = ask(program.address, get("/info")).await.json();
    assert_eq!(
        (&info["device"], &info["engine"], &info["precision"]),
        (&json!("cuda"), &json!("tensorrt"), &json!("fp16"))
    );
    assert_eq!(ask(program.address, get("/ready")).await.status, 200);
    let body = json!({"texts": ["a red circle"], "normalize": false}).to_string();
    let answer: Value = ask(program.address, post_json("/embed/text", &body))
        .await
        .json();
    assert_eq!(answer["dimensions"], model::DIMENSIONS);
    // The same image through HTTP, the decoder, the arena, the kernel and the engine.
    let image = siglip2_embeddings::image::decode(&png(200, 30, 90), &Default::default()).unwrap();
    let expected = Recipe::default().image_row(&image);
    let form = Form::new()
        .file("file", "a.png", png(200, 30, 90))
        .text("normalize", "false");
    let answer: Value = ask(program.address, form.post("/embed/image")).await.json();
    let row: Vec<f32> = serde_json::from_value(answer["embeddings"][0].clone()).unwrap();
    assert_eq!(row, expected);
}

#[tokio::test]
async fn without_a_driver_or_an_engine_it_computes_on_the_cpu_with_one_warning() {
    let root = tempfile::tempdir().unwrap();
    for (machine, engines) in [(Machine::new().gpus("none"), true), (Machine::new(), false)] {
        if engines {
            Recipe::default().write(root.path());
        }
        let empty = tempfile::tempdir().unwrap();
        let engines = if engines { root.path() } else { empty.path() };
        let (_child, log) = started(&mut on(&machine, engines, &[]));
        let (mut warnings, mut address) = (Vec::new(), None);
        for line in log {
            if line["level"] == "WARN" {
                warnings.push(line["message"].to_string());
            }
            if line["message"] == "ready" {
                address = line["address"].as_str().and_then(|it| it.parse().ok());
                break;
            }
        }
        let info: Value = ask(address.unwrap(), get("/info")).await.json();
        assert_eq!(info["device"], "cpu");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("computing on the CPU"), "{warnings:?}");
    }
}

#[test]
fn a_gpu_that_was_demanded_and_cannot_be_had_ends_the_start() {
    let root = tempfile::tempdir().unwrap();
    Recipe::default().write(root.path());
    let cuda: &[&str] = &["--device", "cuda"];

    let (text, code) = refusal(on(&Machine::new().gpus("none"), root.path(), cuda));
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("--device cuda") && text.contains("no NVIDIA GPU"),
        "{text}"
    );

    let (text, code) = refusal(on(
        &Machine::new(),
        root.path(),
        &["--gpus", "3", "--device", "cuda"],
    ));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("GPU 3"), "{text}");

    let empty = tempfile::tempdir().unwrap();
    let (text, code) = refusal(on(&Machine::new(), empty.path(), cuda));
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("build-engine --model demo --gpu sm_120"),
        "{text}"
    );

    let old = Machine::new().driver_version(12_090);
    let (text, code) = refusal(on(&old, root.path(), cuda));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("supports CUDA 12.9"), "{text}");

    let newer = Machine::new().tensorrt_version(TENSORRT.newer);
    let (text, code) = refusal(on(&newer, root.path(), cuda));
    assert_eq!(code, Some(2), "{text}");
    let built = format!("was built by {} {}", TENSORRT.flavour, TENSORRT.version);
    let here = format!("is {} {}", TENSORRT.flavour, TENSORRT.newer);
    assert!(text.contains(&built) && text.contains(&here), "{text}");

    // The same version number, but another product, whose engines do not run here.
    let other = tempfile::tempdir().unwrap();
    Recipe {
        flavour: TENSORRT.other,
        ..Recipe::default()
    }
    .write(other.path());
    let (text, code) = refusal(on(&Machine::new(), other.path(), cuda));
    assert_eq!(code, Some(2), "{text}");
    let built = format!("was built by {} {}", TENSORRT.other, TENSORRT.version);
    let here = format!("is {} {}", TENSORRT.flavour, TENSORRT.version);
    assert!(text.contains(&built) && text.contains(&here), "{text}");

    for version in TENSORRT.unknown {
        let machine = Machine::new().tensorrt_version(version);
        let (text, code) = refusal(on(&machine, root.path(), cuda));
        assert_eq!(code, Some(2), "{text}");
        let found = format!("has version {version}, but this program was built for");
        assert!(text.contains(&found), "{text}");
    }
}

#[test]
fn an_engine_with_other_vectors_than_its_canary_is_refused() {
    let root = tempfile::tempdir().unwrap();
    Recipe {
        wrong_canary: true,
        ..Recipe::default()
    }
    .write(root.path());
    // Also where the CPU could be used: a node must not compute on its CPU silently.
    let (text, code) = refusal(on(&Machine::new(), root.path(), &[]));
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("the image tower's canary has cosine"),
        "{text}"
    );
}

/// The image tower is right in every batch size but one, and there in one slot only.
#[test]
fn an_engine_that_is_wrong_in_one_place_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let recipe = Recipe {
        wrong: vec![(Tower::Image, 4, 2, 1.0)],
        ..Recipe::default()
    };
    recipe.write(root.path());
    let (text, code) = refusal(on(&Machine::new(), root.path(), &[]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("in a batch of 4 (slot 2)"), "{text}");
}

/// What an engine takes is computed before anything is taken, and the settings that are named make
/// it fit.
#[tokio::test]
async fn an_engine_that_does_not_fit_is_refused_with_settings_with_which_it_does() {
    let root = tempfile::tempdir().unwrap();
    let recipe = Recipe {
        // 6 MiB for each row of the largest batch.
        context_bytes: 48 << 20,
        ..Recipe::default()
    };
    recipe.write(root.path());
    let gpu = |mib: usize| Machine::new().gpus(&format!("NVIDIA RTX 5050:12.0:{mib}MiB"));
    let cuda: &[&str] = &["--device", "cuda"];
    for (mib, flags) in [
        (1420, "--max-batch 4"),
        (
            700,
            "--gpu-picture-memory 128MiB --max-image-pixels 44000000",
        ),
        (
            450,
            "--max-batch 4 --gpu-picture-memory 64MiB --max-image-pixels 22000000",
        ),
    ] {
        let (text, code) = refusal(on(&gpu(mib), root.path(), cuda));
        assert_eq!(code, Some(2), "{text}");
        let said = format!("the service would fit with {flags}\n");
        assert!(text.contains(&said), "{mib} MiB: {text}");
        let with: Vec<&str> = cuda.iter().copied().chain(flags.split(' ')).collect();
        let machine = gpu(mib);
        let program = Program::start(on(&machine, root.path(), &with), |lines| {
            lines.for_each(drop)
        });
        assert_eq!(ask(program.address, get("/ready")).await.status, 200);
    }
    let (text, code) = refusal(on(&gpu(150), root.path(), cuda));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no setting makes it fit"), "{text}");
}

#[test]
fn a_device_that_hangs_while_the_engine_is_loaded_is_exit_code_3() {
    let root = tempfile::tempdir().unwrap();
    Recipe::default().write(root.path());
    let machine = Machine::new().fault("hang@infer:20");
    let flags = ["--device", "cuda", "--device-timeout", "1"];
    let (text, code) = refusal(on(&machine, root.path(), &flags));
    assert_eq!(code, Some(3), "{text}");
    let said = "the device hangs: running the first batches of ";
    assert!(text.contains(said), "{text}");
}

/// A driver may hang before there is any device, and the CPU does not take its place.
#[test]
fn a_driver_that_hangs_at_its_start_is_exit_code_3() {
    let root = tempfile::tempdir().unwrap();
    Recipe::default().write(root.path());
    for device in ["cuda", "auto"] {
        let machine = Machine::new().fault("init_hang:1");
        let flags = ["--device", device, "--device-timeout", "0.1"];
        let (text, code) = refusal(on(&machine, root.path(), &flags));
        assert_eq!(code, Some(3), "{text}");
        let said = "the device hangs: looking for GPUs ";
        assert!(text.contains(said), "{text}");
    }
}

/// Told to end while a driver hangs: at its start, and while an engine is loaded.
#[test]
fn a_start_that_hangs_ends_when_it_is_told_to() {
    let root = tempfile::tempdir().unwrap();
    Recipe::default().write(root.path());
    for (fault, is_there) in [("init_hang:1", "hangs"), ("hang@infer:20", "listening")] {
        let machine = Machine::new().fault(fault);
        let flags = ["--device", "cuda", "--device-timeout", "600"];
        let mut command = on(&machine, root.path(), &flags);
        let mut child = command
            .args(["--host", "127.0.0.1", "--port", "0"])
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        if is_there == "listening" {
            let listens =
                |line: &std::io::Result<String>| line.as_ref().unwrap().contains(is_there);
            assert!(lines.by_ref().any(|line| listens(&line)));
        } else {
            // Its handlers are there when the driver's library is: that is the last it opens.
            let maps = format!("/proc/{}/maps", child.id());
            while !std::fs::read_to_string(&maps).unwrap().contains("libcuda") {
                std::thread::yield_now();
            }
        }
        terminate(&child);
        let text: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{fault}: {text:?}");
        let said = "told to end before the model was loaded";
        assert!(text.iter().any(|line| line.contains(said)), "{text:?}");
    }
}

#[test]
fn a_device_that_is_lost_while_the_engine_is_loaded_is_exit_code_3() {
    let root = tempfile::tempdir().unwrap();
    Recipe::default().write(root.path());
    for fault in ["sticky@infer:20", "lost@infer:20", "sticky@upload:1"] {
        let machine = Machine::new().fault(fault);
        let (text, code) = refusal(on(&machine, root.path(), &["--device", "cuda"]));
        assert_eq!(code, Some(3), "{fault}: {text}");
        assert!(text.contains("the device is lost: "), "{fault}: {text}");
    }
}

/// The batches that readiness is checked by are the last of the start. Uploads are counted: how often
/// batches run before the canary, which upload nothing, differs from start to start.
#[test]
fn a_device_that_hangs_or_is_lost_when_readiness_is_checked_first_is_exit_code_3() {
    let root = tempfile::tempdir().unwrap();
    Recipe::default().write(root.path());
    let flags = ["--device", "cuda", "--device-timeout", "1"];
    let machine = Machine::new();
    let mut program = Program::start(on(&machine, root.path(), &flags), |lines| {
        lines.for_each(drop)
    });
    program.signal("-TERM");
    assert_eq!(program.child.wait().unwrap().code(), Some(0));
    let all = machine.trace().operations("upload").len();
    for (kind, said) in [
        (
            "hang",
            "the device hangs: embedding for the readiness check ",
        ),
        ("sticky", "the device is lost: "),
    ] {
        let machine = Machine::new().fault(&format!("{kind}@upload:{all}"));
        let (text, code) = refusal(on(&machine, root.path(), &flags));
        assert_eq!(code, Some(3), "{text}");
        assert!(text.contains("canary vectors are right"), "{text}");
        assert!(text.contains(said), "{text}");
    }
}

/// Nor does a command without HTTP wait for such a device, or say that its arguments are wrong.
#[test]
fn a_device_that_hangs_or_is_lost_is_exit_code_3_of_other_commands() {
    let root = tempfile::tempdir().unwrap();
    Recipe::default().write(root.path());
    let pictures = tempfile::tempdir().unwrap();
    std::fs::write(pictures.path().join("a.png"), png(200, 30, 90)).unwrap();
    let out = pictures.path().join("out");
    for (fault, said) in [
        ("hang@infer:20", "the device hangs: "),
        ("sticky@infer:20", "the device is lost: "),
    ] {
        let machine = Machine::new().fault(fault);
        let mut command = command(&["embed", "--model", "demo", "--device", "cuda"]);
        command
            .arg(pictures.path())
            .arg("--out")
            .arg(&out)
            .arg("--engines")
            .arg(root.path())
            .args(["--device-timeout", "1"])
            .env("TENSORRT_LIB_DIR", machine.tensorrt().parent().unwrap());
        machine.apply(&mut command);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains(said), "{text}");
    }
}

#[tokio::test]
async fn a_device_that_hangs_is_503_and_exit_code_3() {
    let root = tempfile::tempdir().unwrap();
    Recipe::default().write(root.path());
    let machine = Machine::new();
    // A step of the start, such as all of the canary, may take five times as long.
    let flags = ["--device", "cuda", "--device-timeout", "3"];
    let mut program = Program::start(on(&machine, root.path(), &flags), |lines| {
        lines.for_each(drop)
    });
    machine.control().fault("hang@infer:1");
    let body = json!({"texts": ["a red circle"]}).to_string();
    let answer = ask(program.address, post_json("/embed/text", &body)).await;
    assert_eq!(answer.status, 503);
    assert_eq!(program.child.wait().unwrap().code(), Some(3));
}

/// SIGTERM while the device hangs: the process ends with the first of the device timeout and
/// the drain timeout.
#[tokio::test]
async fn a_device_that_hangs_does_not_hold_up_the_end() {
    for (device, drain, code) in [("1", "60", 3), ("3600", "0.5", 0)] {
        let root = tempfile::tempdir().unwrap();
        Recipe::default().write(root.path());
        let machine = Machine::new();
        let mut flags = vec!["--device", "cuda", "--device-timeout", device];
        flags.extend(["--drain-timeout", drain]);
        let mut program = Program::start(on(&machine, root.path(), &flags), |lines| {
            lines.for_each(drop)
        });
        machine.control().fault("hang@infer:1");
        let address = program.address;
        let begun = || async move {
            let metrics = ask(address, get("/metrics")).await;
            let text = String::from_utf8(metrics.body.to_vec()).unwrap();
            text.contains("siglip2_batch_rows_count{tower=\"text\"} 1")
        };
        assert!(!begun().await);
        let body = json!({"texts": ["a red circle"]}).to_string();
        let client = tokio::spawn(async move {
            // Its connection may be closed.
            let _ = ask(address, post_json("/embed/text", &body)).await;
        });
        while !begun().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        program.signal("-TERM");
        let ended = tokio::task::spawn_blocking(move || program.child.wait().unwrap());
        let ended = tokio::time::timeout(Duration::from_secs(120), ended).await;
        assert_eq!(ended.unwrap().unwrap().code(), Some(code));
        client.abort();
    }
}

#[tokio::test]
async fn a_lost_device_is_503_and_exit_code_3() {
    let root = tempfile::tempdir().unwrap();
    Recipe::default().write(root.path());
    let machine = Machine::new();
    let mut program = Program::start(on(&machine, root.path(), &["--device", "cuda"]), |lines| {
        lines.for_each(drop)
    });
    machine.control().fault("sticky@infer:1");
    let body = json!({"texts": ["a red circle"]}).to_string();
    let answer = ask(program.address, post_json("/embed/text", &body)).await;
    assert_eq!(answer.status, 503);
    assert_eq!(program.child.wait().unwrap().code(), Some(3));
}
