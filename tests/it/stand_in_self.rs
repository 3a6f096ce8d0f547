//! The stand-in for a GPU does what a GPU does, and finds what it is there to find: a wait
//! that is missing, memory that is not given back, a call that a capture forbids. The cases
//! are in C++ (tests/stand_in/selftest/), because the driver's calls are unsafe in Rust.

use std::process::{Command, Output};
use std::sync::Mutex;
use std::thread;

use crate::common::stand_in::{Machine, image_embedding, libraries, text_embedding, widen};

/// Runs a case on a machine.
fn run(machine: &Machine, case: &str) -> Output {
    let mut command = Command::new(libraries().selftest());
    machine.apply(command.arg(case)).output().expect("it runs")
}

#[test]
fn every_case_passes() {
    let list = Command::new(libraries().selftest()).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let cases: Vec<&str> = list.lines().collect();
    assert!(cases.len() > 60, "the list broke off: {cases:?}");

    let failures = Mutex::new(Vec::new());
    let waiting = Mutex::new(cases.into_iter());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(line) = waiting.lock().unwrap().next() else {
                        return;
                    };
                    let mut words = line.split('\t');
                    let case = words.next().unwrap();
                    let mut command = Command::new(libraries().selftest());
                    let machine = Machine::new();
                    machine.apply(command.arg(case));
                    command.envs(words.map(|word| word.split_once('=').unwrap()));
                    let output = command.output().unwrap();
                    if !output.status.success() {
                        let log = String::from_utf8_lossy(&output.stderr).into_owned();
                        failures.lock().unwrap().push(format!("{case}: {log}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The same functions in two languages, from one definition.
#[test]
fn rust_computes_what_the_engines_compute() {
    let output = run(&Machine::new(), "print_embeddings");
    let printed: Vec<f32> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();

    // The picture of the case, with its seed.
    let pixels = (0..48).map(|i| ((i * 7919 + 5 * 104_729) % 255) as f32 / 127.5 - 1.0);
    let mut expected = image_embedding(pixels, 5);
    expected.extend(text_embedding(&[0, 1, -1, 2, 250_000, 3, 1, 1], 5));
    expected.extend([0x0000, 0x8001, 0x03ff, 0x0400, 0x3555, 0xbc00, 0x7bff].map(widen));
    assert_eq!(printed, expected);
}

#[test]
fn the_trace_tells_what_happened() {
    let machine = Machine::new().delay("infer:20ms");
    assert!(run(&machine, "uploads_overlap_inferences").status.success());
    let trace = machine.trace();
    trace.assert_clean();

    let inferences = trace.operations("infer");
    let rows: Vec<u64> = inferences.iter().map(|infer| infer.rows).collect();
    assert_eq!(rows, [1, 2, 3, 4, 5, 6]);
    for (upload, infer) in trace.operations("upload").iter().zip(&inferences) {
        assert_eq!(upload.label, "pinned");
        assert_eq!(upload.bytes, infer.rows * 192);
        assert_eq!((infer.label.as_str(), infer.result), ("image", 0));
        assert_ne!(upload.stream, infer.stream);
        assert!(upload.enqueued <= upload.begin && upload.end <= infer.end);
    }
}

#[test]
fn what_is_wrong_is_in_the_trace() {
    let machine = Machine::new();
    assert!(run(&machine, "a_missing_wait_is_an_error").status.success());
    let trace = machine.trace();
    assert_eq!(trace.records("race").len(), 1);
    assert_eq!(trace.records("race")[0]["first_kind"], "fill");
    assert_eq!(trace.records("broken")[0]["result"], 719);
    // The case ends its context with two streams and two allocations in it.
    assert_eq!(trace.records("leak").len(), 2);
    assert_eq!(trace.records("leak")[0]["what"], "device memory");
    let misuse = trace.records("misuse")[0]["text"].as_str().unwrap();
    assert!(
        misuse.ends_with("with 2 allocations and 2 streams in it"),
        "{misuse}"
    );
}
