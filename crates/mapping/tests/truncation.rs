//! A file that is cut short beneath the process that maps it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::OpenOptions;
use std::process::Command;

use siglip2_mapping::{Mapping, explain_truncation};

/// Names the file to the process that is to read it.
const FILE: &str = "TRUNCATED_FILE";

/// Run by the test below in a process of its own; by itself it does nothing.
#[test]
fn reads_a_file_that_is_cut_short() {
    let Some(path) = std::env::var_os(FILE) else {
        return;
    };
    explain_truncation(3).unwrap();
    let mapping = Mapping::open(path.as_ref()).unwrap();
    let before = mapping.bytes()[100_000];
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(4096).unwrap();
    let after = mapping.bytes()[100_000];
    panic!("it was read: {before} {after}");
}

#[test]
fn the_process_says_which_file_it_was_and_ends_with_the_code() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; 1 << 20]).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "reads_a_file_that_is_cut_short", "--nocapture"])
        .env(FILE, file.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let name = file.path().display().to_string();
    assert!(said.contains(&name) && said.contains("cut short"), "{said}");
}

/// What else raises SIGBUS or overflows the stack ends the process as it did before.
#[test]
fn other_signals_do_what_they_did() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "raises_the_signal_itself", "--nocapture"])
        .env(FILE, "/dev/null")
        .output()
        .unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(output.status.signal(), Some(7), "{output:?}");
}

#[test]
fn raises_the_signal_itself() {
    if std::env::var_os(FILE).is_none() {
        return;
    }
    explain_truncation(3).unwrap();
    let kill = Command::new("kill")
        .args(["-BUS", &std::process::id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    // The signal that was sent is not a fault: with the handler gone, a second one ends it.
    let _ = Command::new("kill")
        .args(["-BUS", &std::process::id().to_string()])
        .status();
    panic!("it lives");
}
