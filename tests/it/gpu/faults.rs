//! Every fault is handled as designed: with a sentence at the start, with an error for the rows
//! of the batch, and with the end of the batcher when the device is lost. Never with a wrong row.

use crate::common::stand_in::{Machine, TENSORRT};
use crate::gpu::model::Recipe;
use crate::gpu::{passes, run};

/// Towers that have run when an engine is ready: both, on 2 slots, 4 batch sizes 3 times each.
const WARM_UPS: usize = 48;

/// How many of their batch sizes become graphs, if the engine captures towers.
const GRAPHS: usize = 16;

/// Launches of these before any work: one that allocates, and one that is timed.
const LAUNCHES: usize = 2 * GRAPHS;

/// A fault of the fourth tower that is served, while it runs.
fn fourth(kind: &str) -> String {
    let launches = if TENSORRT.captures() { LAUNCHES } else { 0 };
    format!("{kind}:{}", WARM_UPS + launches + 4)
}

/// The fourth tower that is served does not start. If towers are captured, the graphs captured
/// at the start are launched from then on, and TensorRT is not called again.
fn fourth_does_not_start() -> String {
    match TENSORRT.captures() {
        true => format!("graph_launch:{}", LAUNCHES + 4),
        false => fourth("trt_enqueue"),
    }
}

/// The rest of the line with this prefix.
fn said<'a>(text: &'a str, word: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.split_once(word).map(|(_, rest)| rest.trim()))
        .unwrap_or_else(|| panic!("it does not say {word:?}: {text}"))
}

fn refusal(recipe: &Recipe, machine: &Machine) -> String {
    let root = tempfile::tempdir().unwrap();
    let engine = recipe.write(root.path());
    let (text, trace) = passes("load_and_tell", machine, engine.path());
    trace.assert_no("leak");
    said(&text, "REFUSED").to_owned()
}

#[test]
fn an_engine_that_cannot_run_here_is_refused_with_a_sentence() {
    let corrupt = Recipe {
        corrupt: true,
        ..Recipe::default()
    };
    let sentence = refusal(&corrupt, &Machine::new());
    assert!(sentence.contains("loading the image tower"), "{sentence}");
    assert!(sentence.contains("checksum"), "{sentence}");

    // The manifest is for this GPU, but the engine is not.
    let other = Recipe {
        compute_capability: "8.9",
        ..Recipe::default()
    };
    let sentence = refusal(&other, &Machine::new());
    assert!(sentence.contains("loading the image tower"), "{sentence}");

    let machine = Machine::new().gpus("NVIDIA L4:8.9:23034MiB");
    let sentence = refusal(&Recipe::default(), &machine);
    assert!(sentence.contains("sm_120"), "{sentence}");
    assert!(sentence.contains("NVIDIA L4"), "{sentence}");
    assert!(sentence.contains("--gpu sm_89"), "{sentence}");
}

#[test]
fn a_context_that_cannot_say_what_memory_it_needs_ends_the_start() {
    let machine = Machine::new().fault("memory_size:3");
    let sentence = refusal(&Recipe::default(), &machine);
    assert!(sentence.contains("a batch of 4 rows needs"), "{sentence}");
    assert!(sentence.contains("is not known"), "{sentence}");
}

#[test]
fn a_driver_that_is_too_old_is_refused_before_anything_is_loaded() {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::default().write(root.path());
    let machine = Machine::new().driver_version(12_080);
    let (text, passed) = run("load_and_tell", &machine, engine.path());
    assert!(passed, "{text}");
    let sentence = said(&text, "REFUSED");
    assert!(sentence.contains("supports CUDA 12.8"), "{sentence}");
    assert!(sentence.contains("CUDA 13.0 or later"), "{sentence}");
    let (text, _) = run(
        "load_and_tell",
        &Machine::new().driver_version(13_010),
        engine.path(),
    );
    assert!(text.contains("LOADED"), "{text}");
}

/// Each allocation of the start fails once, and each of its first batches, one start after the
/// other, until one succeeds. (Towers that cannot be captured run without a graph: runtime.rs.)
#[test]
fn want_of_memory_at_any_allocation_ends_the_start_and_leaks_nothing() {
    for kind in [
        "alloc",
        "host_alloc",
        "stream",
        "event",
        "module",
        "context",
        "trt_enqueue",
    ] {
        let mut refused = 0;
        for number in 1.. {
            let root = tempfile::tempdir().unwrap();
            let engine = Recipe {
                max_batch: 2,
                ..Recipe::default()
            }
            .write(root.path());
            let machine = Machine::new().fault(&format!("{kind}:{number}"));
            let (text, passed) = run("load_and_tell", &machine, engine.path());
            assert!(passed, "{kind}:{number}: {text}");
            let trace = machine.trace();
            trace.assert_no("leak");
            trace.assert_no("misuse");
            if text.contains("LOADED") {
                break;
            }
            assert!(!said(&text, "REFUSED").is_empty());
            refused += 1;
            assert!(number < 200, "{kind} is never enough");
        }
        assert!(refused > 0, "no {kind} was made to fail");
    }
}

#[test]
fn a_batch_that_cannot_start_fails_alone() {
    for fault in [&*fourth_does_not_start(), "copy:40", "launch:10"] {
        let root = tempfile::tempdir().unwrap();
        let engine = Recipe::default().write(root.path());
        let machine = Machine::new().fault(fault);
        let (text, _) = passes("work_until_it_fails", &machine, engine.path());
        let counts = said(&text, "RIGHT");
        assert!(counts.contains("FAILED 1 STOPPED 0"), "{fault}: {counts}");
        assert!(counts.contains("STATE running"), "{fault}: {counts}");
        assert!(!text.contains("REBUILT"), "{fault}: {text}");
    }
}

#[test]
fn an_engine_that_goes_on_failing_is_built_anew() {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::default().write(root.path());
    // From then on every start of a tower fails, in the rebuilt engine as well. (With graphs,
    // TensorRT has been called once more, for the capture.)
    let fault = match TENSORRT.captures() {
        true => format!(
            "{}+,trt_enqueue:{}+",
            fourth_does_not_start(),
            WARM_UPS + GRAPHS + 1
        ),
        false => format!("{}+", fourth_does_not_start()),
    };
    let machine = Machine::new().fault(&fault);
    let (text, passed) = run("work_until_it_fails", &machine, engine.path());
    assert!(passed, "{text}");
    assert_eq!(text.matches("REBUILT").count(), 1, "{text}");
    let counts = said(&text, "RIGHT");
    assert!(counts.contains("STATE failed"), "{counts}");
    machine.trace().assert_no("race");
}

#[test]
fn a_lost_device_ends_everything_and_is_not_tried_again() {
    for fault in [
        &*fourth("sticky@infer"),
        "sticky@upload:30",
        "lost@kernel:8",
        "sticky@download:25",
    ] {
        let root = tempfile::tempdir().unwrap();
        let engine = Recipe::default().write(root.path());
        let machine = Machine::new().fault(fault).delay("random:4:200us");
        let (text, passed) = run("work_until_it_fails", &machine, engine.path());
        assert!(passed, "{fault}: {text}");
        assert!(!text.contains("REBUILT"), "{fault}: {text}");
        let counts = said(&text, "RIGHT");
        assert!(counts.contains("STATE failed"), "{fault}: {counts}");
        assert!(counts.contains("the device is lost"), "{fault}: {counts}");
        machine.trace().assert_no("race");
    }
}

#[test]
fn one_failed_batch_leaves_the_engine_whole() {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::default().write(root.path());
    let machine = Machine::new().fault(&fourth_does_not_start());
    let (text, _) = passes(
        "one_failed_batch_leaves_the_engine_whole",
        &machine,
        engine.path(),
    );
    let outcomes = said(&text, "OUTCOMES");
    assert_eq!(outcomes.matches("failed").count(), 1, "{outcomes}");
    assert_eq!(outcomes.matches("right").count(), 9, "{outcomes}");
}
