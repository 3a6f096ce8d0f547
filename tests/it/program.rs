//! The program itself: its messages about unusable settings and models, its start and its
//! shutdown.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::Program;
use crate::common::model::{copy_of, fixture};
use crate::common::program::{command, started};

/// Runs the program to its end, and returns its exit code and output.
fn end(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

/// Sends a GET request on a new connection.
fn get(running: &Program, path: &str) -> String {
    let mut stream = TcpStream::connect(running.address).expect("it accepts");
    // Longer than anything takes here: who hangs is to fail.
    let patience = stream.set_read_timeout(Some(Duration::from_secs(60)));
    patience.expect("a timeout");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn it_starts_answers_and_ends_with_success_when_told_to() {
    for signal in ["-TERM", "-INT"] {
        let mut running = Program::demo(&[]);
        let answer = get(&running, "/health");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(r#""model":"demo""#), "{answer}");
        assert!(get(&running, "/info").contains("for trying out"));
        running.signal(signal);
        let status = running.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[test]
fn it_answers_when_nobody_takes_its_log() {
    let running = Program::start(command(&["--model", "demo"]), drop);
    for _ in 0..3 {
        let answer = get(&running, "/info");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// A pipe holds 64 KiB, and its reader may stop: a paused terminal, or a hanging collector.
/// Neither requests nor signals wait for it.
#[test]
fn it_answers_and_ends_while_the_reader_of_its_log_stalls() {
    let (resume, stalled) = std::sync::mpsc::channel::<()>();
    let mut running = Program::start(
        command(&["--model", "demo", "--log-level", "trace"]),
        move |lines| {
            let _ = stalled.recv();
            drop(lines);
        },
    );
    let dropped = (0..20_000).any(|_| {
        let metrics = get(&running, "/metrics");
        assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
        let mut lines = metrics.lines();
        lines.any(|line| {
            let lines = line.strip_prefix("siglip2_dropped_log_lines_total ");
            lines.is_some_and(|lines| lines != "0")
        })
    });
    assert!(dropped, "the log was never full");
    running.signal("-TERM");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    drop(resume);
}

#[test]
fn settings_of_a_gpu_that_is_not_used_are_named() {
    let mut command = command(&[
        "--model",
        "demo",
        "--gpus",
        "0,1",
        "--engine-dir",
        "/nowhere",
    ]);
    let (_child, log) = started(command.args(["--device", "cpu"]));
    let mut lines = log.map(|line| line.to_string());
    let warning = lines.find(|line| line.contains("no effect")).unwrap();
    assert!(
        warning.contains("--gpus") && warning.contains("--engine-dir"),
        "{warning}"
    );
}

/// Sends a picture's file on a new connection, and reads the answer.
fn embed(running: &Program, file: &[u8]) -> String {
    let mut stream = TcpStream::connect(running.address).expect("it accepts");
    let length = file.len();
    write!(
        stream,
        "POST /embed/image HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/octet-stream\r\ncontent-length: {length}\r\n\r\n"
    )
    .and_then(|()| stream.write_all(file))
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn the_first_photo_that_the_demo_model_gets_is_told_in_the_log() {
    let (said, log) = std::sync::mpsc::channel();
    let mut running = Program::start(command(&["--model", "demo"]), move |lines| {
        for line in lines.map_while(Result::ok) {
            let _ = said.send(line);
        }
    });
    let (drawing, photo) = ("demo/set0/00.png", "images/jpeg_420.jpg");
    for file in [drawing, photo, photo] {
        let answer = embed(&running, &std::fs::read(fixture(file)).unwrap());
        assert!(answer.starts_with("HTTP/1.1 200"), "{file}: {answer}");
    }
    running.signal("-TERM");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    let log: Vec<String> = log.iter().collect();
    let place = |what: &str| log.iter().position(|line| line.contains(what)).unwrap();
    let warnings = log
        .iter()
        .filter(|line| line.contains("looks like a photo"));
    assert_eq!(warnings.count(), 1, "{log:?}");
    assert!(
        place("looks like a photo") > place("/embed/image"),
        "{log:?}"
    );
}

#[test]
fn signals_that_mean_nothing_are_ignored_and_sigquit_drains() {
    let mut running = Program::demo(&[]);
    for signal in ["-USR1", "-USR2", "-ALRM", "-HUP"] {
        running.signal(signal);
        assert!(
            get(&running, "/health").starts_with("HTTP/1.1 200"),
            "{signal}"
        );
    }
    running.signal("-QUIT");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}

/// A pipe that nobody writes to stands for a disk that does not answer.
#[test]
fn a_file_of_keys_that_cannot_be_read_to_its_end_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    std::fs::write(&keys, "first\n").unwrap();
    let mut service = command(&["--model", "demo", "--api-keys-file"]);
    service.arg(&keys);
    let mut program = Program::start(service, |lines| lines.for_each(drop));
    std::fs::remove_file(&keys).unwrap();
    let made = Command::new("mkfifo").arg(&keys).status().unwrap();
    assert!(made.success());
    for _ in 0..20 {
        program.signal("-HUP");
        assert!(get(&program, "/health").contains(" 200 "));
    }
    program.signal("-TERM");
    // A minute is far more than it takes, and better than for ever.
    let began = Instant::now();
    let ended = loop {
        if let Some(status) = program.child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > Duration::from_secs(60) {
            program.child.kill().unwrap();
            panic!("it does not end while a file is read");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn settings_come_from_the_environment_and_flags_win() {
    let mut program = command(&[]);
    program.env("MODEL_NAME", "demo").env("API_PORT", "no-port");
    let (code, said) = end(program);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("API_PORT") && said.contains("no-port"),
        "{said}"
    );

    let mut program = command(&[]);
    program.env("MODEL_NAME", "demo").env("FORCE_CPU", "1");
    let running = Program::start(program, |log| log.for_each(drop));
    assert!(get(&running, "/health").contains(r#""model":"demo""#));

    let mut program = command(&["--model", &fixture("golden/patch16")]);
    program.env("MODEL_NAME", "demo");
    let running = Program::start(program, |log| log.for_each(drop));
    assert!(get(&running, "/health").contains("patch16"));
}

#[test]
fn a_model_that_is_nowhere_is_named_with_what_runs_without_it() {
    let (code, said) = end(command(&[]));
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

    let (code, said) = end(command(&["--model", "/no/such/directory"]));
    assert_eq!(code, Some(2));
    assert!(said.contains("/no/such/directory"), "{said}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let running = Program::demo(&[]);
    let port = running.address.port().to_string();
    let (code, said) = end(command(&[
        "--model",
        "demo",
        "--host",
        "127.0.0.1",
        "--port",
        &port,
    ]));
    assert_eq!(code, Some(1));
    assert!(
        said.contains(&running.address.to_string()) && said.contains("API_PORT"),
        "{said}"
    );
}

fn edit(file: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(file).expect("a file");
    std::fs::write(file, change(text)).expect("written");
}

/// The program's message for a checkpoint after `damage`: one sentence, exit code 2.
fn complaint(damage: impl FnOnce(&Path)) -> String {
    let directory = copy_of("golden/patch16");
    damage(directory.path());
    let path = directory.path().to_str().expect("a path");
    let (code, said) = end(command(&["--model", path, "--port", "0"]));
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

/// The first process of a container has no default for a signal: it would go on, and be killed.
#[test]
fn a_start_that_hangs_ends_when_it_is_told_to() {
    let directory = copy_of("golden/patch16");
    // A file that never comes: a disk behind a network that does not answer.
    let config = directory.path().join("config.json");
    std::fs::remove_file(&config).expect("removed");
    let made = Command::new("mkfifo").arg(&config).status();
    assert!(made.expect("mkfifo runs").success());
    let mut command = command(&["--model"]);
    command.arg(directory.path()).args(["--log-level", "debug"]);
    let mut child = command.spawn().expect("the program runs");
    let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines();
    let preparing = |line: String| line.contains("preparing the model");
    assert!(lines.by_ref().any(|line| preparing(line.expect("a line"))));
    let sent = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
    let text: Vec<String> = lines.map(|line| line.expect("a line")).collect();
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "{text:?}");
    let said = "told to end before the model was loaded";
    assert!(text.iter().any(|line| line.contains(said)), "{text:?}");
}

#[test]
fn a_second_signal_waits_for_nothing() {
    let mut running = Program::demo(&[]);
    // An accepted request whose body never ends.
    let mut upload = TcpStream::connect(running.address).expect("it accepts");
    write!(
        upload,
        "POST /embed/text HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{{"
    )
    .expect("sent");
    while !get(&running, "/metrics").contains("siglip2_requests_in_flight 1") {}
    running.signal("-TERM");
    // It drains, and waits for the body.
    while !get(&running, "/health").starts_with("HTTP/1.1 503") {}
    assert!(running.child.try_wait().expect("a state").is_none());
    running.signal("-TERM");
    let status = running.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(1));
}
