//! The program itself: what it says of what it cannot use, how it starts and how it
//! ends.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::model::fixture;

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siglip2-embeddings"));
    command
        .args(arguments)
        .env_remove("MODEL_NAME")
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HOME", "/nonexistent")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Runs the program to its end: the exit code, and what it said.
fn end(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

/// A running service, and where it listens.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        Self::of(program(arguments))
    }

    fn of(mut command: Command) -> Self {
        let mut child = command
            .args(["--host", "127.0.0.1", "--port", "0", "--json-output"])
            .spawn()
            .expect("the program runs");
        let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines();
        let mut address = None;
        for line in lines.by_ref() {
            let line: serde_json::Value =
                serde_json::from_str(&line.expect("a line")).expect("a log line is JSON");
            if line["message"] == "ready" {
                address = line["address"].as_str().map(str::to_owned);
                break;
            }
        }
        // Read on, so that the program never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            address: address.expect("it says where it listens"),
        }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("it accepts");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_starts_answers_and_ends_with_success_when_told_to() {
    for signal in ["-TERM", "-INT"] {
        let mut running = Running::start(&["--model", "demo"]);
        let answer = running.get("/health");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(r#""model":"demo""#), "{answer}");
        assert!(running.get("/info").contains("for trying out"));
        running.signal(signal);
        let status = running.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[test]
fn settings_come_from_the_environment_and_flags_win() {
    let mut command = program(&[]);
    command.env("MODEL_NAME", "demo").env("API_PORT", "no-port");
    let (code, said) = end(command);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("API_PORT") && said.contains("no-port"),
        "{said}"
    );

    let mut command = program(&[]);
    command.env("MODEL_NAME", "demo").env("FORCE_CPU", "1");
    assert!(
        Running::of(command)
            .get("/health")
            .contains(r#""model":"demo""#)
    );

    let mut command = program(&["--model", &fixture("golden/patch16")]);
    command.env("MODEL_NAME", "demo");
    let running = Running::of(command);
    assert!(running.get("/health").contains("patch16"));
}

#[test]
fn a_model_that_is_nowhere_is_named_with_what_runs_without_it() {
    let (code, said) = end(program(&[]));
    assert_eq!(code, Some(2));
    assert!(said.contains("google/siglip2-base-patch16-224"), "{said}");
    assert!(said.contains("--model demo"), "{said}");
    assert_eq!(
        said.lines()
            .filter(|line| line.starts_with("error"))
            .count(),
        1,
        "{said}"
    );

    let (code, said) = end(program(&["--model", "/no/such/directory"]));
    assert_eq!(code, Some(2));
    assert!(said.contains("/no/such/directory"), "{said}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let running = Running::start(&["--model", "demo"]);
    let port = running.address.rsplit(':').next().expect("a port");
    let (code, said) = end(program(&[
        "--model",
        "demo",
        "--host",
        "127.0.0.1",
        "--port",
        port,
    ]));
    assert_eq!(code, Some(1));
    assert!(
        said.contains(&running.address) && said.contains("API_PORT"),
        "{said}"
    );
}

/// A copy of a good checkpoint that a test may damage.
fn copy() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for file in std::fs::read_dir(fixture("golden/patch16"))
        .expect("the fixture")
        .flatten()
    {
        std::fs::copy(file.path(), directory.path().join(file.file_name())).expect("a copy");
    }
    directory
}

fn edit(file: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(file).expect("a file");
    std::fs::write(file, change(text)).expect("written");
}

/// What the program says of a checkpoint after `damage`: one sentence, exit code 2.
fn complaint(damage: impl FnOnce(&Path)) -> String {
    let directory = copy();
    damage(directory.path());
    let path = directory.path().to_str().expect("a path");
    let (code, said) = end(program(&["--model", path, "--port", "0"]));
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(
        said.trim_end().lines().count(),
        1,
        "more than one sentence: {said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn a_checkpoint_that_cannot_be_used_is_refused_in_one_sentence() {
    let weights = |directory: &Path| directory.join("model.safetensors");

    let said = complaint(|directory| {
        let bytes = std::fs::read(weights(directory)).expect("weights");
        std::fs::write(weights(directory), &bytes[..bytes.len() / 2]).expect("written");
    });
    assert!(
        said.contains("model.safetensors") && said.contains("not copied whole"),
        "{said}"
    );

    for missing in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "preprocessor_config.json",
    ] {
        let said = complaint(|directory| {
            std::fs::remove_file(directory.join(missing)).expect("removed");
        });
        assert!(said.contains(missing), "{said}");
    }

    let said = complaint(|directory| std::fs::write(weights(directory), b"").expect("written"));
    assert!(said.contains("model.safetensors"), "{said}");

    let config = |change: fn(String) -> String| {
        complaint(|directory| edit(&directory.join("config.json"), change))
    };
    let said =
        config(|json| json.replace(r#""model_type": "siglip","#, r#""model_type": "clip","#));
    assert!(said.contains("clip"), "{said}");
    let said =
        config(|json| json.replacen(r#""num_hidden_layers": 2"#, r#""num_hidden_layers": 3"#, 1));
    assert!(
        said.contains("no tensor") && said.contains("layers.2."),
        "{said}"
    );
    let said =
        config(|json| json.replace(r#""intermediate_size": 128"#, r#""intermediate_size": 127"#));
    assert!(said.contains("127") && said.contains("128"), "{said}");
    let said = config(|_| "{".to_owned());
    assert!(said.contains("config.json"), "{said}");
}

#[test]
fn a_second_signal_waits_for_nothing() {
    let mut running = Running::start(&["--model", "demo"]);
    // A request that is accepted, and whose body never ends.
    let mut upload = TcpStream::connect(&running.address).expect("it accepts");
    write!(
        upload,
        "POST /embed/text HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{{"
    )
    .expect("sent");
    while !running
        .get("/metrics")
        .contains("siglip2_requests_in_flight 1")
    {}
    running.signal("-TERM");
    // It drains, and waits for the body.
    while !running.get("/health").starts_with("HTTP/1.1 503") {}
    assert!(running.child.try_wait().expect("a state").is_none());
    running.signal("-TERM");
    let status = running.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(1));
}
