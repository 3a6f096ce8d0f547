//! Photos decoded on the card: by a stand-in for nvJPEG, whose pixels are its own.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::jpegs::{baseline, progressive, waves};
use crate::common::stand_in::{Machine, Trace, libraries};
use crate::common::{Form, Program, ask, get};
use crate::gpu::model::Recipe;
use crate::gpu::passes;
use crate::gpu::service::{on, refusal};

/// Runs a test of `card` that must pass, and leave nothing behind.
fn card(test: &str, machine: &Machine) -> (String, Trace) {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::default().write(root.path());
    let (text, trace) = passes(&format!("card::{test}"), machine, engine.path());
    assert!(!text.contains("misuse of nvJPEG"), "{text}");
    trace.assert_no("leak");
    (text, trace)
}

/// Rows of files and of pixels, whatever else is in their batches, with every copy delayed at random.
#[test]
fn files_and_pixels_share_batches() {
    let machine = Machine::new().delay("random:1:200us");
    let (text, trace) = card("files_and_pixels_share_batches", &machine);
    let counts = text.lines().find(|line| line.contains("CODED ")).unwrap();
    assert!(!counts.contains(" 0"), "{counts}");
    // From the decoder's memory to the place in the source buffer.
    assert!(trace.operations("copy").len() > 300);
    // The chip has no engine, and CUDA decodes.
    let machine = Machine::new().nvjpeg(&[("STAND_IN_NVJPEG", "cuda")]);
    card("files_and_pixels_share_batches", &machine);
}

#[test]
fn a_file_that_fails_is_decoded_on_the_cpu() {
    let machine = Machine::new()
        .delay("random:3:200us")
        .nvjpeg(&[("STAND_IN_NVJPEG_REJECT", "333")]);
    card("a_file_that_fails_is_decoded_on_the_cpu", &machine);
    // The same when it is asked before.
    let machine = Machine::new().nvjpeg(&[("STAND_IN_NVJPEG_UNSUPPORTED", "333")]);
    card("a_file_that_fails_is_decoded_on_the_cpu", &machine);
}

#[test]
fn what_does_not_fit_its_memory_is_decoded_in_parts() {
    let machine = Machine::new().nvjpeg(&[("STAND_IN_NVJPEG_MEMORY", "2")]);
    let (_, trace) = card("what_does_not_fit_its_memory_is_decoded_in_parts", &machine);
    assert!(trace.operations("copy").len() > 100);
}

fn batches(fault: &str) -> Vec<String> {
    let machine = Machine::new().nvjpeg(&[("STAND_IN_NVJPEG_FAULT", fault)]);
    let (text, _) = card("batches_and_who_decoded", &machine);
    let batches = text.lines().filter_map(|line| line.split_once("BATCH "));
    batches.map(|(_, rest)| rest.to_owned()).collect()
}

#[test]
fn a_decoder_that_fails_once_goes_on_and_one_that_always_fails_is_given_up() {
    let right = "coded=true card card card";
    // Each of the two slots has tried its decoder at the start. The third decoding fails, and its two
    // halves do not.
    assert_eq!(batches("decode:3"), [right; 8]);
    // The state of the first half cannot be made again: that file is for the CPU.
    let one_less = [&["coded=true cpu card card"][..], &[right; 7]].concat();
    assert_eq!(batches("decode:3,state:3"), one_less);
    let failed = "coded=true cpu cpu cpu";
    let given_up = "coded=false cpu cpu cpu";
    let expected = [[failed; 3].as_slice(), &[given_up; 5]].concat();
    assert_eq!(batches("decode:3+"), expected);
}

#[test]
fn a_decoder_that_cannot_be_used_or_is_wrong_is_refused_with_a_sentence() {
    let refused = |settings: &[(&'static str, &str)]| {
        let machine = Machine::new().nvjpeg(settings);
        let (text, _) = card("load_and_tell", &machine);
        text.lines()
            .find_map(|line| line.split_once("REFUSED ").map(|(_, said)| said.to_owned()))
            .unwrap_or_else(|| panic!("{text}"))
    };
    let said = refused(&[("STAND_IN_NVJPEG", "none")]);
    assert!(said.contains("ARCH_MISMATCH"), "{said}");
    let said = refused(&[("STAND_IN_NVJPEG_WRONG", "1")]);
    assert!(
        said.contains("differ") && said.contains("--decode cpu"),
        "{said}"
    );
    let said = refused(&[("STAND_IN_NVJPEG_FAULT", "decode:1")]);
    assert!(said.contains("does not decode"), "{said}");
    let said = refused(&[("STAND_IN_NVJPEG_FAULT", "state:1")]);
    assert!(said.contains("nvJPEG"), "{said}");
}

#[test]
fn its_memory_is_computed_before_it_is_taken() {
    card("its_memory_is_computed_before_it_is_taken", &Machine::new());
}

fn nvjpeg(command: &mut std::process::Command) {
    command.env("NVJPEG_LIB_DIR", libraries().directory());
}

#[tokio::test]
async fn the_service_decodes_on_the_card_and_says_so() {
    let root = tempfile::tempdir().unwrap();
    Recipe::default().write(root.path());
    let image = waves(320, 260, 1);
    let files = [baseline(&image, (2, 2)), progressive(&image)];
    let mut rows = Vec::new();
    for (flags, decode) in [
        (&["--decode", "cpu"][..], "cpu"),
        (&["--decode", "auto"][..], "gpu"),
        (&["--decode", "gpu"][..], "gpu"),
    ] {
        let machine = Machine::new();
        let mut command = on(&machine, root.path(), flags);
        nvjpeg(&mut command);
        let program = Program::start(command, |lines| lines.for_each(drop));
        let info: Value = ask(program.address, get("/info")).await.json();
        assert_eq!(info["decode"], json!(decode));
        let mut of_both = vec![info["fingerprint"].clone()];
        for file in &files {
            let form = Form::new().file("file", "a.jpg", file.clone());
            let answer: Value = ask(program.address, form.post("/embed/image")).await.json();
            of_both.push(answer["embeddings"][0].clone());
        }
        // A file that ends early is refused in the same words.
        let cut = files[0][..files[0].len() / 2].to_vec();
        let form = Form::new().file("file", "a.jpg", cut);
        let refused = ask(program.address, form.post("/embed/image")).await;
        assert_eq!(refused.status, 400);
        let said: Value = refused.json();
        assert!(said.to_string().contains("cut short"), "{said}");
        of_both.push(said["detail"].clone());
        rows.push(of_both);
    }
    let [cpu, auto, gpu] = &rows[..] else {
        panic!("three services");
    };
    assert_eq!(auto, gpu);
    assert_ne!(cpu[0], gpu[0], "fingerprints");
    assert_ne!(cpu[1], gpu[1], "vectors");
    // A progressive file, and the sentence about a damaged one.
    assert_eq!(cpu[2..], gpu[2..]);
}

/// `auto` is for the chip's engine alone, and goes on without; `gpu` wants nvJPEG.
#[tokio::test]
async fn without_an_engine_or_without_nvjpeg_auto_decodes_on_the_cpu() {
    let root = tempfile::tempdir().unwrap();
    Recipe::default().write(root.path());
    let empty = tempfile::tempdir().unwrap();
    let command = |decode: &str, machine: &Machine, libraries: &Path| {
        let mut command = on(
            machine,
            root.path(),
            &["--decode", decode, "--device", "cuda"],
        );
        command.env("NVJPEG_LIB_DIR", libraries);
        command
    };
    let there = libraries().directory();
    let has = |what| {
        Machine::new()
            .untraced()
            .nvjpeg(&[("STAND_IN_NVJPEG", what)])
    };
    let (engine, cuda, none) = (has("engine"), has("cuda"), has("none"));
    for (machine, libraries) in [(&engine, empty.path()), (&cuda, there), (&none, there)] {
        let command = command("auto", machine, libraries);
        let program = Program::start(command, |lines| lines.for_each(drop));
        let info: Value = ask(program.address, get("/info")).await.json();
        assert_eq!(info["decode"], json!("cpu"));
    }
    for (machine, libraries, word) in [
        (&engine, empty.path(), "nvidia-nvjpeg"),
        (&none, there, "ARCH_MISMATCH"),
    ] {
        let (said, code) = refusal(command("gpu", machine, libraries));
        assert_eq!(code, Some(2), "{said}");
        assert!(
            said.contains("--decode gpu") && said.contains(word),
            "{said}"
        );
    }
    let program = Program::start(command("gpu", &cuda, there), |lines| lines.for_each(drop));
    let info: Value = ask(program.address, get("/info")).await.json();
    assert_eq!(info["decode"], json!("gpu"));
}
