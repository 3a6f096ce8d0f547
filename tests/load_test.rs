//! The load test against the service itself, and against one that answers wrongly.
//!
//! Nothing here depends on how long anything takes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};

use common::Program;
use serde_json::Value;

/// A running service of the demo model, and its URL.
fn service() -> (Program, String) {
    let program = Program::demo(&[]);
    let url = format!("http://{}", program.address);
    (program, url)
}

fn load_test(url: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_load-test"))
        .args(["--url", url, "--warm-up", "0s", "--check", "all"])
        // Which requests there are must not depend on when the test runs.
        .args(["--seed", "1"])
        .args(arguments)
        .env_remove("API_KEY")
        .output()
        .expect("the load test runs")
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

const MIX: &str = "text=2,image=2,images=1,similarity=1,rank=1";

#[test]
fn a_mix_is_answered_and_found_right() {
    let (program, url) = service();
    let pid = program.child.id().to_string();
    let page = tempfile::tempdir().expect("a folder");
    let page = page.path().join("report.html");
    let output = load_test(
        &url,
        &[
            "--requests",
            "40",
            "--json",
            "--mix",
            MIX,
            "--texts-per-request",
            "3",
            "--drawn",
            "64x48,100x100",
            "--drawn-format",
            "png",
            "--watch",
            &pid,
            "--html",
            page.to_str().expect("a path"),
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = report(&output);
    assert_eq!(report["mode"], "closed");
    assert_eq!(report["total"]["requests"], 40);
    assert_eq!(report["total"]["good"], 40);
    assert_eq!(report["answered"], 40);
    assert_eq!(report["wrong"], 0);
    let endpoints = report["endpoints"].as_object().expect("endpoints");
    for name in ["text", "image", "images", "similarity", "rank"] {
        let endpoint = &endpoints[name];
        assert_eq!(endpoint["by_status"]["200"]["count"], endpoint["requests"]);
        assert!(
            endpoint["bytes_sent"]
                .as_u64()
                .is_some_and(|bytes| bytes > 0)
        );
        assert!(
            endpoint["bytes_received"]
                .as_u64()
                .is_some_and(|bytes| bytes > 0)
        );
    }
    assert!(report["watched"]["max"]["resident_bytes"].as_u64() > Some(0));
    assert!(report["distinct"]["texts_sent"].as_u64() > Some(10));

    let page = std::fs::read_to_string(page).expect("the page is there");
    for part in [
        "<svg",
        "prefers-color-scheme: dark",
        "time, s",
        "p99",
        "/s",
        "Resident",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("<script") && !page.contains("src="));
}

#[test]
fn an_open_loop_offers_what_was_asked_for_and_people_get_a_table() {
    let (_service, url) = service();
    let open = ["--rate", "200", "--mix", "text=1"];
    let mut arguments = [&open[..], &["--requests", "30", "--json"]].concat();
    let output = load_test(&url, &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = report(&output);
    assert_eq!(report["mode"], "open");
    assert_eq!(report["answered"], 30);
    assert_eq!(report["open_loop"]["lag_ms"]["count"], 30);

    arguments.pop();
    let output = load_test(&url, &arguments);
    let said = String::from_utf8(output.stdout).expect("text");
    for part in ["open loop, 200 requests/s", &url, "1000000 texts", "p99.9"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

#[test]
fn a_service_is_compared_with_itself() {
    let (_service, url) = service();
    let output = load_test(
        &url,
        &[
            "--compare",
            &url,
            "--rounds",
            "2",
            "--requests",
            "10",
            "--json",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = report(&output);
    assert_eq!(report["a"]["answered"], 20);
    assert_eq!(report["b"]["answered"], 20);
    let rounds: Vec<&Value> = report["rounds"]
        .as_array()
        .expect("rounds")
        .iter()
        .collect();
    let order: Vec<_> = rounds.iter().map(|round| &round["service"]).collect();
    assert_eq!(order, ["A", "B", "A", "B"]);
    for ratio in ["requests_per_s", "p50_ms", "p95_ms", "p99_ms"] {
        assert!(
            report["ratios_b_to_a"][ratio].as_f64() > Some(0.0),
            "{ratio}"
        );
    }
}

#[test]
fn hostile_requests_are_counted_apart() {
    let (_service, url) = service();
    let output = load_test(
        &url,
        &[
            "--requests",
            "60",
            "--hostile",
            "50",
            "--json",
            "--mix",
            "text=1",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = report(&output);
    let hostile = &report["endpoints"]["hostile"];
    assert!(hostile["requests"].as_u64() > Some(10), "{hostile}");
    assert!(
        hostile["by_status"]["400"]["count"].as_u64() > Some(0),
        "{hostile}"
    );
    assert!(
        hostile["by_status"]["415"]["count"].as_u64() > Some(0),
        "{hostile}"
    );
    assert_eq!(report["total"]["good"], report["total"]["requests"]);
}

/// A service that says it has two dimensions and answers every POST with `body`.
fn impostor(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream, status, body));
        }
    });
    url
}

fn answer(mut stream: TcpStream, status: &str, body: &str) {
    let mut received = BufReader::new(stream.try_clone().expect("a socket"));
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if received.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            })
            .unwrap_or(0);
        let mut sent = vec![0; length];
        received.read_exact(&mut sent).expect("the body");
        let (status, body) = if head.starts_with("GET /info") {
            ("200 OK", r#"{"model": "impostor", "vision_dim": 2}"#)
        } else {
            (status, body)
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn wrong_answers_end_it_with_1() {
    let arguments = [
        "--requests",
        "12",
        "--json",
        "--mix",
        "text=1",
        "--texts-per-request",
        "2",
    ];
    let right = r#"{"embeddings": [[0.6, 0.8], [1, 0]], "dimensions": 2, "model": "impostor"}"#;
    let output = load_test(&impostor("200 OK", right), &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let one_row = r#"{"embeddings": [[0.6, 0.8]], "dimensions": 2, "model": "impostor"}"#;
    let long = r#"{"embeddings": [[0.6, 0.8], [3, 4]], "dimensions": 2, "model": "impostor"}"#;
    for (body, word) in [(one_row, "1 rows where 2"), (long, "norm 5")] {
        let output = load_test(&impostor("200 OK", body), &arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let report = report(&output);
        assert_eq!(report["wrong"], 12);
        assert_eq!(report["total"]["good"], 0);
        let example = report["wrong_examples"][0].as_str().expect("an example");
        assert!(example.contains(word), "{example}");
    }

    // An error is not a wrong answer, but a run of nothing else proves nothing.
    let output = load_test(&impostor("503 Service Unavailable", "{}"), &arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(report(&output)["wrong"], 0);

    // A server's error is a wrong answer to a hostile request.
    let arguments = [&arguments[..], &["--hostile", "100"]].concat();
    let output = load_test(&impostor("500 Internal Server Error", "{}"), &arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(report(&output)["endpoints"]["hostile"]["wrong"].as_u64() > Some(0));
}

#[test]
fn what_cannot_be_run_is_said_in_a_sentence() {
    for (url, arguments, word) in [
        ("http://127.0.0.1:1", &[][..], "is it running?"),
        ("https://localhost", &[], "plain HTTP"),
        ("http://127.0.0.1:1", &["--mix", "cats=1"], "cats"),
        ("http://127.0.0.1:1", &["--duration", "soon"], "30s"),
        (
            "http://127.0.0.1:1",
            &["--watch", "4294967295"],
            "4294967295",
        ),
    ] {
        let output = load_test(url, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with("error: ") && said.contains(word), "{said}");
    }
}
