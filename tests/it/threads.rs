//! Threads that compute are as many as this process may use cores: its affinity mask and the
//! quota of its control group count, and not the machine alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::program::{alone, command, started};
use crate::common::tell;

/// Starts the program by a shell that runs `before` first, and reads from its log how many threads
/// compute; none if `before` failed.
fn threads(before: &str) -> Option<usize> {
    let program = command(&[]);
    let script = format!("{before} && exec \"$@\"");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script, "sh"])
        .arg(program.get_program())
        .args(["--model", "demo", "--precision", "fp32"]);
    let (_child, mut log) = started(alone(&mut shell));
    let compute = log.find_map(|line| line["compute"].as_str().map(str::to_owned))?;
    let count = compute.split(' ').next().unwrap();
    Some(count.parse().unwrap_or_else(|_| panic!("{compute}")))
}

#[test]
fn an_affinity_mask_gives_the_number_of_threads() {
    let all = std::thread::available_parallelism().unwrap().get();
    assert_eq!(threads("true"), Some(all));
    // The shell's mask; what it starts inherits it. The first core that it may use.
    let one = r#"taskset -pc "$(taskset -pc $$ | sed 's/.*: \([0-9]*\).*/\1/')" $$ >/dev/null"#;
    match threads(one) {
        Some(count) => assert_eq!(count, 1),
        None => tell("no taskset here: an affinity mask was not tried"),
    }
}

/// A control group of its own, removed when this is dropped; its processes have ended by then.
struct Group(PathBuf);

impl Group {
    /// One whose processes have the time of one core, if this process may make it: in version 2,
    /// or version 1, of control groups.
    fn of_one_core() -> Option<Self> {
        let name = format!("siglip2-embeddings-test-{}", std::process::id());
        let make = |at: &str, limits: &[(&str, &str)]| {
            let group = Self(Path::new(at).join(&name));
            fs::create_dir(&group.0).ok()?;
            for (file, value) in limits {
                // Never creates it: where the controller is missing there is no such file.
                let path = group.0.join(file);
                path.exists().then_some(())?;
                fs::write(path, value).ok()?;
            }
            Some(group)
        };
        let second = [("cpu.max", "100000 100000")];
        let first = [
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "100000"),
        ];
        make("/sys/fs/cgroup", &second).or_else(|| make("/sys/fs/cgroup/cpu", &first))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn the_quota_of_a_control_group_gives_the_number_of_threads() {
    let Some(group) = Group::of_one_core() else {
        tell("this process may make no control group with a quota: not tried");
        return;
    };
    let enter = format!("echo $$ > '{}'", group.0.join("cgroup.procs").display());
    match threads(&enter) {
        Some(count) => assert_eq!(count, 1),
        None => tell("no process could be put into a control group: a quota was not tried"),
    }
}
