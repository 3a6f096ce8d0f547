//! The program itself, in a process of its own, on a port that it chose.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;

/// A process that is killed when this is dropped.
pub struct Process(Child);

impl Deref for Process {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = self.wait();
    }
}

/// The log of a service, line by line. A line that is not JSON, which is not the service's, is a
/// string.
pub struct Log(Lines<BufReader<ChildStderr>>);

impl Iterator for Log {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        let line = self.0.next()?.expect("a line");
        Some(serde_json::from_str(&line).unwrap_or(Value::String(line)))
    }
}

/// Starts a service on a port that it chooses, and does not wait for it.
pub fn started(command: &mut Command) -> (Process, Log) {
    let mut child = command
        .args(["--host", "127.0.0.1", "--port", "0", "--json-output"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let lines = BufReader::new(child.stderr.take().expect("its log")).lines();
    (Process(child), Log(lines))
}

/// A running service, and where it listens. It is killed when this is dropped.
pub struct Program {
    pub child: Process,
    pub address: SocketAddr,
}

impl Program {
    /// Starts the demo model with further flags, and drops its log.
    pub fn demo(flags: &[&str]) -> Self {
        let mut command = command(&["--model", "demo"]);
        command.args(flags);
        Self::start(command, |lines| lines.for_each(drop))
    }

    /// Starts a service, waits until it is ready, and hands the rest of its log to
    /// `read_on`, on a thread of its own, so that the program never waits for us.
    pub fn start(
        mut command: Command,
        read_on: impl FnOnce(Lines<BufReader<ChildStderr>>) + Send + 'static,
    ) -> Self {
        let (child, mut log) = started(&mut command);
        let address = log
            .find(|line| line["message"] == "ready")
            .and_then(|line| line["address"].as_str()?.parse().ok())
            .expect("it says where it listens");
        std::thread::spawn(move || read_on(log.0));
        Self { child, address }
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
    }
}

/// The program with these arguments and nothing from outside.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siglip2-embeddings"));
    alone(command.args(arguments));
    command
}

/// Takes from a command what the environment would say to the program.
pub fn alone(command: &mut Command) -> &mut Command {
    command
        .env_remove("MODEL_NAME")
        .env_remove("API_KEY")
        .env_remove("COMPUTE_THREADS")
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HOME", "/nonexistent")
        .env("CANARY_CACHE", "/dev/null")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
}
