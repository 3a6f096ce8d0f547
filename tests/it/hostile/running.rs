//! The program itself in a process of its own, so that what it holds can be counted.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::case::Reader;
use crate::common::program::{alone, command};
use crate::common::{Answer, Program};

/// Short, so that slow senders do not make a slow test.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(1);

pub struct Running(Program);

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Bytes that it took for itself. Pages of files are not counted: of the program's own, more are
    /// in memory the more of it has run, and the system drops them when it wants.
    pub memory: u64,
    pub descriptors: usize,
}

impl Running {
    pub fn start() -> Self {
        Self::of(command(&[]))
    }

    /// The program of this command.
    pub fn of(mut command: Command) -> Self {
        alone(&mut command)
            .args(["--model", "demo"])
            .args(["--header-timeout", &HEADER_TIMEOUT.as_secs().to_string()])
            .args(["--body-timeout", "2"])
            .args(["--payload-limit", &(32 << 20).to_string()]);
        Self(Program::start(command, |lines| {
            // A panic is never expected.
            for line in lines.map_while(Result::ok) {
                if line.contains("panicked") {
                    eprintln!("{line}");
                }
            }
        }))
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// One good request on a connection of its own.
    pub fn ask(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.0.address).expect("it accepts");
        stream.write_all(request).expect("it reads");
        Reader::new(stream)
            .answer()
            .expect("no error")
            .expect("an answer")
    }

    /// Bytes in memory, as the system counts them under this name.
    pub fn in_memory(&self, name: &str) -> u64 {
        let status = format!("/proc/{}/status", self.0.child.id());
        let status = std::fs::read_to_string(status).expect("it runs");
        let field = |line: &str| {
            let kilobytes: u64 = line
                .strip_prefix(name)?
                .split_whitespace()
                .next()?
                .parse()
                .ok()?;
            Some(kilobytes << 10)
        };
        status.lines().find_map(field).expect("such a field")
    }

    pub fn used(&self) -> Used {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.0.child.id()))
            .expect("it runs")
            .count();
        Used {
            memory: self.in_memory("RssAnon:") + self.in_memory("RssShmem:"),
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
