//! The program itself, in a process of its own, on a port that it chose.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};

/// A running service, and where it listens. It is killed when this is dropped.
pub struct Program {
    pub child: Child,
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
        let mut child = command
            .args(["--host", "127.0.0.1", "--port", "0", "--json-output"])
            .spawn()
            .expect("the program runs");
        let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines();
        let address = lines
            .by_ref()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(&line.expect("a line"))
                    .expect("a log line is JSON")
            })
            .find(|line| line["message"] == "ready")
            .and_then(|line| line["address"].as_str()?.parse().ok())
            .expect("it says where it listens");
        std::thread::spawn(move || read_on(lines));
        Self { child, address }
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with these arguments and nothing from outside.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siglip2-embeddings"));
    command
        .args(arguments)
        .env_remove("MODEL_NAME")
        .env_remove("API_KEY")
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HOME", "/nonexistent")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}
