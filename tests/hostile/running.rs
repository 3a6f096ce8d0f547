//! The program itself in a process of its own, so that what it holds can be counted.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::case::Reader;
use crate::common::Answer;

pub struct Running {
    child: Child,
    address: SocketAddr,
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    pub memory: u64,
    pub descriptors: usize,
}

impl Running {
    pub fn start() -> Self {
        // Short timeouts, so that slow senders do not make a slow test.
        let mut child = Command::new(env!("CARGO_BIN_EXE_siglip2-embeddings"))
            // With an arena for each thread glibc keeps what each of them once freed, and a
            // leak would hide behind it. One arena levels off after two rounds.
            .env("MALLOC_ARENA_MAX", "1")
            .args(["--model", "demo", "--host", "127.0.0.1", "--port", "0"])
            .args([
                "--header-timeout",
                "1",
                "--body-timeout",
                "2",
                "--json-output",
            ])
            .args(["--payload-limit", &(32 << 20).to_string()])
            .env("HF_HUB_OFFLINE", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines();
        let address = lines
            .by_ref()
            .find_map(|line| {
                let line: serde_json::Value =
                    serde_json::from_str(&line.expect("a line")).expect("a log line is JSON");
                (line["message"] == "ready").then(|| {
                    line["address"]
                        .as_str()
                        .expect("an address")
                        .parse()
                        .unwrap()
                })
            })
            .expect("it says where it listens");
        // Read on, so that the program never waits for us; a panic is never expected.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains("panicked") {
                    eprintln!("{line}");
                }
            }
        });
        Self { child, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// One good request on a connection of its own.
    pub fn ask(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).expect("it accepts");
        stream.write_all(request).expect("it reads");
        Reader::new(stream)
            .answer()
            .expect("no error")
            .expect("an answer")
    }

    pub fn used(&self) -> Used {
        let process = format!("/proc/{}", self.child.id());
        let status = std::fs::read_to_string(format!("{process}/status")).expect("it runs");
        let kilobytes: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .expect("VmRSS");
        let descriptors = std::fs::read_dir(format!("{process}/fd"))
            .expect("it runs")
            .count();
        Used {
            memory: kilobytes << 10,
            descriptors,
        }
    }

    /// What it holds once every connection is gone.
    pub fn at_rest(&self) -> Used {
        let mut before = self.used();
        loop {
            std::thread::sleep(Duration::from_millis(300));
            let now = self.used();
            if now.descriptors == before.descriptors && now.memory.abs_diff(before.memory) < 1 << 20
            {
                return now;
            }
            before = now;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
