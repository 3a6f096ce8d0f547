//! The container's first process, with programs in place of the real ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn program(directory: &Path, name: &str, script: &str) {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Whether a process could be sent a signal; `0` only asks.
fn kill(signal: &str, process: &str) -> bool {
    let mut kill = Command::new("kill");
    let kill = kill.args(["-s", signal, process]).stderr(Stdio::null());
    kill.status().unwrap().success()
}

/// The entrypoint, where a GPU is asked for and `build-engine` is this script.
fn entrypoint(programs: &Path, build_engine: &str) -> Child {
    program(programs, "build-engine", build_engine);
    program(programs, "siglip2-embeddings", "echo serving \"$@\"");
    let path = std::env::var("PATH").unwrap();
    Command::new("bash")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/docker/entrypoint"))
        .arg("--port=1")
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("DEVICE", "cuda")
        .env_remove("FORCE_CPU")
        .env_remove("ENGINE_DIR")
        .current_dir(programs)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn the_service_starts_whether_an_engine_could_be_built_or_not() {
    for build_engine in ["exit 0", "exit 1"] {
        let programs = tempfile::tempdir().unwrap();
        let output = entrypoint(programs.path(), build_engine)
            .wait_with_output()
            .unwrap();
        assert!(output.status.success(), "{build_engine}");
        assert_eq!(output.stdout, b"serving --port=1\n", "{build_engine}");
    }
}

#[test]
fn a_container_that_is_stopped_while_it_builds_ends_and_the_build_with_it() {
    let programs = tempfile::tempdir().unwrap();
    let noted = programs.path().join("pid");
    let mut entrypoint = entrypoint(
        programs.path(),
        "echo $$ > pid.new; mv pid.new pid; exec sleep 1000",
    );
    let build = loop {
        match fs::read_to_string(&noted) {
            Ok(pid) => break pid.trim().to_owned(),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(kill("TERM", &entrypoint.id().to_string()));
    assert_eq!(entrypoint.wait().unwrap().code(), Some(143));
    // The entrypoint waited for it.
    assert!(!kill("0", &build));
}
