//! A running service, and everything odd or malicious that can be sent to it.
//!
//! Each case is a script of writes and pauses and what the contract (or, below it,
//! RFC 9112) wants for it. After each the same good request must get the same vector,
//! and after all of them memory and file descriptors must be back where they were.

mod case;
mod dialects;
mod forms;
mod heads;
#[path = "../../crates/image/tests/it/made.rs"]
mod made;
mod pictures;
mod running;
mod texts;

use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::{Form, post_json};
use case::Case;
use running::Running;

/// What the process may hold after the battery beyond what it held at rest before.
const MEMORY_BOUND: u64 = 32 << 20;

/// How long it may take to give memory and descriptors back: connections that were
/// refused are read on for some seconds, so that their clients see the answer, and threads
/// that parsed large bodies keep theirs until they have been idle for ten.
const SETTLING: Duration = Duration::from_secs(120);

fn good() -> Vec<u8> {
    Form::new()
        .file("file", "good.png", crate::common::png(200, 30, 90))
        .post("/embed/image")
}

/// One for every decoder, and then some.
fn several() -> Vec<u8> {
    let form = |form: Form, at| form.file("files", "a.png", crate::common::png(at, 200, 30));
    (0..16).fold(Form::new(), form).post("/embed/images")
}

/// What good clients send at their largest.
fn warm_up(running: &Running) {
    let large = pictures::flat_png(6000, 6000);
    let texts: Vec<_> = (0..64)
        .map(|at| format!("{at} {}", "long ".repeat(20_000)))
        .collect();
    let many = (0..64).fold(Form::new(), |form, at| {
        form.file("files", "a.png", crate::common::png(at, 1, 2))
    });
    for _ in 0..3 {
        let sent = [
            Form::new()
                .file("files", "large.png", &large)
                .post("/embed/images"),
            post_json(
                "/embed/text",
                &serde_json::json!({ "texts": texts }).to_string(),
            ),
            many.post("/embed/images"),
        ];
        for request in sent {
            assert_eq!(running.ask(&request).status, 200);
        }
    }
}

fn cases() -> Vec<Case> {
    let cases: Vec<Case> = [
        heads::cases(),
        forms::cases(),
        texts::cases(),
        pictures::cases(),
        dialects::cases(),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(cases.len() >= 550, "{} cases", cases.len());
    cases
}

/// Everything once, and after each the same good request.
fn round(running: &Running, cases: &[Case]) {
    let expected = running.ask(&good());
    assert_eq!(expected.status, 200);
    let mut wrong = Vec::new();
    for case in cases {
        let result = case.run(running.address());
        match (result, case.open) {
            (Ok(()), _) => {}
            // Known, and written down where it is to be put right.
            (Err(why), Some(place)) => eprintln!("open ({place}): {}: {why}", case.name),
            (Err(why), None) => wrong.push(format!("{}: {why}", case.name)),
        }
        let after = running.ask(&good());
        assert!(
            after.status == 200 && after.body == expected.body,
            "after {:?} a good request got {}: {}",
            case.name,
            after.status,
            after.text()
        );
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

#[test]
fn nothing_that_is_sent_hurts_the_requests_after_it() {
    let running = Running::start();
    // Before it has worked: what the largest good requests take is to come back as well.
    let rest = running.at_rest();
    warm_up(&running);
    let cases = cases();
    round(&running, &cases);

    let began = Instant::now();
    loop {
        let now = running.used();
        let grown = now.memory.saturating_sub(rest.memory);
        if now.descriptors == rest.descriptors && grown <= MEMORY_BOUND {
            eprintln!(
                "{} cases; at rest {rest:?}, afterwards {now:?}",
                cases.len()
            );
            break;
        }
        assert!(
            began.elapsed() < SETTLING,
            "at rest {rest:?}, afterwards {now:?}"
        );
        // Freed pages are given back by the threads that took them, when they work again: there must be
        // work for all of them, and so for more than one of those that answer.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(running.ask(&several()).status, 200));
            }
        });
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The table of docs/operations.md, of the program that `HOSTILE_PROGRAM` names.
#[test]
#[ignore = "measures, and takes minutes"]
fn memory_after_each_of_five_rounds() {
    let program = std::env::var_os("HOSTILE_PROGRAM").expect("HOSTILE_PROGRAM names a program");
    let running = Running::of(Command::new(program));
    let resident = || {
        running.at_rest();
        running.in_memory("VmRSS:") >> 20
    };
    warm_up(&running);
    let first = resident();
    let cases = cases();
    let rounds = [(); 5].map(|()| {
        round(&running, &cases);
        resident().to_string()
    });
    eprintln!(
        "MiB: {first} after large good requests; {} after each round",
        rounds.join(", ")
    );
}
