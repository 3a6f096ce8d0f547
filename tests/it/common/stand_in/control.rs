//! Commands to a program that runs on the stand-in: tests/stand_in/cuda/control.hpp.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::Trace;

/// A connection to the stand-in in another process.
pub struct Control {
    lines: BufReader<UnixStream>,
}

impl Control {
    pub(super) fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("the program has opened the driver");
        Self {
            lines: BufReader::new(stream),
        }
    }

    /// Adds faults, counted from now.
    pub fn fault(&mut self, faults: &str) {
        self.ask(&format!("fault {faults}"));
    }

    /// Takes all faults away.
    pub fn clear_faults(&mut self) {
        self.ask("clear");
    }

    /// Lets go of the works that hang.
    pub fn release(&mut self) {
        self.ask("release");
    }

    /// Sets all delays anew.
    pub fn delay(&mut self, delays: &str) {
        self.ask(&format!("delay {delays}"));
    }

    /// What happened so far, without what is not given back yet.
    pub fn trace(&mut self) -> Trace {
        Trace::parse(&self.ask("trace"))
    }

    /// What lives now, one JSON object a line.
    pub fn living(&mut self) -> String {
        self.ask("leaks")
    }

    /// Empties the trace.
    pub fn forget(&mut self) {
        self.ask("forget");
    }

    fn ask(&mut self, command: &str) -> String {
        let sent = self
            .lines
            .get_mut()
            .write_all(format!("{command}\n").as_bytes());
        sent.expect("the program reads");
        let mut answer = String::new();
        loop {
            let from = answer.len();
            let length = self.lines.read_line(&mut answer).expect("an answer");
            assert!(
                length > 0,
                "the program ended before it answered {command:?}"
            );
            if &answer[from..] == ".\n" {
                answer.truncate(from);
                break;
            }
        }
        assert!(!answer.starts_with("error "), "{command}: {answer}");
        answer
    }
}
