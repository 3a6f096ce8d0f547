//! `embed` and `search` as programs: killed at drawn moments and gone on with, ended by
//! signals, refused; and their vectors against those of the service.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::Program;
use crate::common::client::{Form, ask, head_end};
use crate::common::model::service;
use crate::common::picture::png;
use crate::common::program::command;
use crate::common::server::Server;

/// The files of a folder by their names, without locks.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(folder).expect("below it").to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !name.to_string_lossy().contains("lock-") {
                files.insert(name, fs::read(path).expect("a file"));
            }
        }
    }
    files
}

/// A folder of pictures, every tenth of which is none.
fn pictures(count: usize) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for number in 0..count {
        let bytes = match number % 10 {
            7 => b"no picture".to_vec(),
            _ => png(number as u8, (number * 7) as u8, (number * 31) as u8),
        };
        fs::write(folder.path().join(format!("{number:03}.png")), bytes).expect("written");
    }
    folder
}

fn embed(input: &Path, out: &Path, flags: &[&str]) -> Command {
    let mut command = command(&["embed"]);
    command
        .arg(input)
        .arg("--out")
        .arg(out)
        .args(["--model", "demo", "--shard-size", "12"])
        .args(flags)
        .env_remove("JOB_COMPLETION_INDEX");
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until the program has said that it does so many steps on the disk. Whether it came
/// to that.
fn wait_for_steps(child: &mut Child, steps: usize) -> bool {
    let log = BufReader::new(child.stderr.take().expect("its log"));
    let mut left = steps;
    for line in log.lines() {
        if line.expect("a line").contains("step=") {
            left -= 1;
            if left == 0 {
                return true;
            }
        }
    }
    false
}

#[test]
fn a_run_that_is_killed_fifty_times_ends_with_the_bytes_of_an_undisturbed_one() {
    let input = pictures(100);
    // What is written: into the folder, or one file in it.
    let forms: [(&str, &[&str]); 5] = [
        ("", &[]),
        ("", &["--format", "npy"]),
        ("", &["--format", "jsonl"]),
        ("one.parquet", &[]),
        ("one.npy", &[]),
    ];
    let whole = |out: &TempDir, (name, flags): (&str, &[&str])| {
        let output = embed(input.path(), &out.path().join(name), flags).output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{}", said(&output));
        files(out.path())
    };
    let expected = forms.map(|form| whole(&tempfile::tempdir().expect("a folder"), form));
    let mut random = fastrand::Rng::with_seed(50);
    let (mut killed, mut ended) = (0, 0);
    let mut out = tempfile::tempdir().expect("a folder");
    while killed < 50 {
        let form = ended % forms.len();
        let (name, flags) = forms[form];
        // What the log says was done a moment ago, so the moment itself differs.
        let mut run = embed(
            input.path(),
            &out.path().join(name),
            &[&["--log-level", "siglip2_bulk=trace"], flags].concat(),
        )
        .spawn()
        .expect("it runs");
        if wait_for_steps(&mut run, random.usize(1..40)) {
            run.kill().expect("it is killed");
            killed += 1;
        }
        let status = run.wait().expect("it ends");
        if status.success() {
            ended += 1;
            assert!(files(out.path()) == expected[form], "{:?}", forms[form]);
            out = tempfile::tempdir().expect("a folder");
        }
    }
    let form = ended % forms.len();
    assert!(
        whole(&out, forms[form]) == expected[form],
        "{:?}",
        forms[form]
    );
    assert!(ended > 0, "no run came to its end between the kills");
}

#[test]
fn a_signal_ends_a_run_between_shards_and_says_how_to_go_on() {
    let input = pictures(300);
    let undisturbed = tempfile::tempdir().expect("a folder");
    assert!(
        embed(input.path(), undisturbed.path(), &[])
            .status()
            .expect("it runs")
            .success()
    );
    let mut interrupted = false;
    // A run may come to its end before the signal reaches it.
    for _ in 0..20 {
        let out = tempfile::tempdir().expect("a folder");
        let flags = ["--log-level", "siglip2_bulk=trace"];
        let mut run = embed(input.path(), out.path(), &flags)
            .spawn()
            .expect("it runs");
        let log = BufReader::new(run.stderr.take().expect("its log"));
        let mut signal = Some(Command::new("kill"));
        let mut told = String::new();
        for line in log.lines() {
            let line = line.expect("a line");
            told.push_str(&line);
            if line.contains("step=")
                && let Some(mut kill) = signal.take()
            {
                let sent = kill.args(["-INT", &run.id().to_string()]).status();
                assert!(sent.expect("kill runs").success());
            }
        }
        let status = run.wait().expect("it ends");
        if status.code() == Some(130) {
            interrupted = true;
            // Lines of the log may come behind it.
            assert!(told.contains("run the same command again"), "{told}");
            let left = files(out.path());
            assert!(
                left.keys()
                    .all(|name| name.extension().is_none_or(|it| it != "tmp"))
            );
        }
        assert!(
            embed(input.path(), out.path(), &[])
                .status()
                .expect("it runs")
                .success()
        );
        assert!(files(out.path()) == files(undisturbed.path()));
        if interrupted {
            return;
        }
    }
    panic!("no run was interrupted");
}

#[test]
fn a_signal_while_the_shards_are_joined_ends_the_run_and_it_goes_on() {
    let input = pictures(300);
    let run = |out: &TempDir, flags: &[&str]| {
        let flags = [&["--shard-size", "1"][..], flags].concat();
        let mut command = command(&["embed", "--model", "demo", "--out"]);
        command
            .arg(out.path().join("one.parquet"))
            .arg(input.path());
        command.args(flags);
        command
    };
    let undisturbed = tempfile::tempdir().expect("a folder");
    let output = run(&undisturbed, &[]).output().expect("it runs");
    assert!(output.status.success(), "{}", said(&output));
    // A joining may come to its end before the signal reaches it.
    for _ in 0..20 {
        let out = tempfile::tempdir().expect("a folder");
        let mut child = run(&out, &["--log-level", "siglip2_bulk=trace"])
            .spawn()
            .expect("it runs");
        let log = BufReader::new(child.stderr.take().expect("its log"));
        let mut told = String::new();
        for line in log.lines() {
            let line = line.expect("a line");
            if line.contains("step=\"create\"") && line.contains("joined.tmp") {
                let sent = Command::new("kill")
                    .args(["-TERM", &child.id().to_string()])
                    .status();
                assert!(sent.expect("kill runs").success());
            }
            told.push_str(&line);
        }
        let status = child.wait().expect("it ends");
        let ended = status.code() == Some(143);
        if ended {
            assert!(
                told.contains("all 300 shards are done, but not joined"),
                "{told}"
            );
            assert!(!out.path().join("one.parquet").exists());
            assert!(!out.path().join(".one.parquet.embed/joined.tmp").exists());
            let output = run(&out, &[]).output().expect("it runs");
            assert!(output.status.success(), "{}", said(&output));
        }
        assert!(files(out.path()) == files(undisturbed.path()));
        if ended {
            return;
        }
    }
    panic!("no joining was ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vectors_are_those_of_the_service() {
    let input = pictures(20);
    let out = tempfile::tempdir().expect("a folder");
    let flags = ["--format", "jsonl", "--strict", "--precision", "fp32"];
    let output = embed(input.path(), out.path(), &flags)
        .output()
        .expect("it runs");
    // Two of them are no pictures.
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let errors = fs::read_to_string(out.path().join("_errors.jsonl")).expect("a list");
    assert_eq!(errors.lines().count(), 2);
    let server = Server::of(service("demo", &[])).await;
    let plan = fs::read(out.path().join("_embed/plan.json")).expect("a plan");
    let plan: Value = serde_json::from_slice(&plan).expect("JSON");
    assert!(plan["identity"]["fingerprint"].is_string(), "{plan}");
    let mut rows = 0;
    for part in ["part-00000.jsonl", "part-00001.jsonl"] {
        for line in fs::read_to_string(out.path().join(part))
            .expect("a part")
            .lines()
        {
            let row: Value = serde_json::from_str(line).expect("JSON");
            let id = row["id"].as_str().expect("a name");
            assert!(id.ends_with(&format!("{rows:03}.png")), "{id}");
            assert_eq!(row["siglip2.fingerprint"], plan["identity"]["fingerprint"]);
            rows += 1;
            let form = Form::new().file("file", "a.png", fs::read(id).expect("a picture"));
            let answer = ask(server.address, form.post("/embed/image")).await;
            if row["embedding"].is_null() {
                assert_ne!(answer.status, 200);
                let detail = answer.json()["detail"]
                    .as_str()
                    .expect("a sentence")
                    .to_owned();
                let error = row["error"].as_str().expect("a sentence");
                assert!(detail.contains(error), "{detail} is not {error}");
                continue;
            }
            assert_eq!(answer.status, 200, "{}", answer.text());
            let single = |value: &Value| -> Vec<f32> {
                serde_json::from_value(value.clone()).expect("numbers")
            };
            let answer = single(&answer.json()["embeddings"][0]);
            assert_eq!(single(&row["embedding"]), answer, "{id}");
        }
    }
    assert_eq!(rows, 20);
}

#[test]
fn a_search_finds_the_picture_and_refuses_the_vectors_of_another_model() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/samples");
    let out = tempfile::tempdir().expect("a folder");
    assert!(
        embed(&samples, out.path(), &[])
            .status()
            .expect("it runs")
            .success()
    );
    let search = |query: &str, flags: &[&str]| {
        let mut command = command(&["search"]);
        command
            .arg(out.path())
            .arg(query)
            .args(["--json", "--top", "3"])
            .args(flags)
            .stdout(std::process::Stdio::piped());
        command.output().expect("it runs")
    };
    // Several files are searched as one, and the query comes last.
    let pair = tempfile::tempdir().expect("a folder");
    let half = |name: &str, picture: &str| {
        let out = pair.path().join(name);
        let status = embed(&samples.join(picture), &out, &[]).status();
        assert!(status.expect("it runs").success());
        out
    };
    let files = [
        half("one.parquet", "red-circle.png"),
        half("two.npy", "three-blue-stars.png"),
    ];
    let mut several = command(&["search"]);
    several
        .arg(&files[0])
        .args(["--top", "2"])
        .arg(&files[1])
        .args(["--json", "three blue stars"])
        .stdout(std::process::Stdio::piped());
    let found = several.output().expect("it runs");
    assert!(found.status.success(), "{}", said(&found));
    let hits: Value = serde_json::from_slice(&found.stdout).expect("JSON");
    let ids: Vec<&str> = hits
        .as_array()
        .expect("an array")
        .iter()
        .map(|hit| hit.get("id").or(hit.get("image_path")))
        .map(|id| id.and_then(Value::as_str).expect("a name"))
        .collect();
    assert_eq!(ids.len(), 2, "{hits}");
    assert!(ids[0].ends_with("three-blue-stars.png"), "{hits}");
    assert!(ids[1].ends_with("red-circle.png"), "{hits}");
    let page = out.path().join("page.html");
    // The model is the one that the files name.
    let found = search("three blue stars", &["--html", &page.display().to_string()]);
    assert!(found.status.success(), "{}", said(&found));
    let hits: Value = serde_json::from_slice(&found.stdout).expect("JSON");
    assert_eq!(hits.as_array().expect("an array").len(), 3);
    let best = hits[0]["id"].as_str().expect("a name");
    assert!(best.ends_with("three-blue-stars.png"), "{hits}");
    let page = fs::read_to_string(page).expect("a page");
    assert!(page.contains("src=\"file:///") && page.contains("three-blue-stars.png"));
    let picture = samples.join("red-circle.png").display().to_string();
    let found = search(&picture, &["--image"]);
    let hits: Value = serde_json::from_slice(&found.stdout).expect("JSON");
    assert!(
        hits[0]["score"].as_f64().expect("a score") > 0.999,
        "{hits}"
    );
    // The same weights with another preparation of texts are another space.
    let other = search("three blue stars", &["--lower-case", "0"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(
        said(&other).contains("cannot be compared"),
        "{}",
        said(&other)
    );
}

#[test]
fn running_services_make_the_same_bytes_though_one_dies_under_it() {
    let input = pictures(200);
    let local = tempfile::tempdir().expect("a folder");
    assert!(
        embed(input.path(), local.path(), &[])
            .status()
            .expect("it runs")
            .success()
    );
    let mut services = vec![Program::demo(&[]), Program::demo(&[])];
    let urls: Vec<_> = services
        .iter()
        .map(|it| format!("http://{}", it.address))
        .collect();
    let out = tempfile::tempdir().expect("a folder");
    let flags = [
        "--url",
        &urls.join(","),
        "--log-level",
        "siglip2_bulk=trace",
    ];
    let mut run = embed(input.path(), out.path(), &flags)
        .spawn()
        .expect("it runs");
    let log = BufReader::new(run.stderr.take().expect("its log"));
    let mut said = String::new();
    for line in log.lines() {
        let line = line.expect("a line");
        if line.contains("step=") && services.len() == 2 {
            drop(services.pop());
        }
        said.push_str(&line);
    }
    assert!(run.wait().expect("it ends").success(), "{said}");
    assert_eq!(services.len(), 1);
    assert!(files(out.path()) == files(local.path()));

    // Nobody answers any more, and a run says so before it begins.
    drop(services);
    let mut none = embed(input.path(), &out.path().join("none"), &["--url", &urls[0]]);
    let output = none.output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
}

/// A proxy before a service that may answer a request in its stead; with nothing, it breaks the
/// connection.
fn proxy(
    service: SocketAddr,
    instead: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let instead = Arc::new(instead);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, instead) = (client.expect("a client"), Arc::clone(&instead));
            let service = TcpStream::connect(service).expect("the service is there");
            thread::spawn(move || {
                while let Some(request) = message(&client) {
                    let answer = instead(&request).unwrap_or_else(|| {
                        (&service).write_all(&request).expect("the service reads");
                        message(&service).expect("the service answers")
                    });
                    if answer.is_empty() {
                        return;
                    }
                    if (&client).write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// The next request or answer on a connection: a head, and as many bytes as it says.
fn message(mut stream: &TcpStream) -> Option<Vec<u8>> {
    let mut received = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        if let Some(end) = head_end(&received) {
            let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |length| length.trim().parse().expect("a length"));
            if received.len() >= end + length {
                return Some(received);
            }
        }
        let read = stream.read(&mut piece).ok().filter(|&read| read > 0)?;
        received.extend_from_slice(&piece[..read]);
    }
}

#[test]
fn vectors_that_are_none_are_asked_for_again() {
    /// Of the demo model.
    const DIMENSIONS: usize = 96;
    let input = pictures(20);
    let service = Program::demo(&[]);
    let bad = AtomicUsize::new(0);
    let instead = move |request: &[u8]| {
        let head = head_end(request).expect("a head");
        let is_first = || bad.fetch_add(1, Ordering::SeqCst) == 0;
        if !request.starts_with(b"POST /embed/images?") || !is_first() {
            return None;
        }
        let (mut rows, mut rest) = (0, &request[head..]);
        while let Some((length, files)) = rest.split_first_chunk::<4>() {
            rest = &files[u32::from_le_bytes(*length) as usize..];
            rows += 1;
        }
        let body = f32::NAN.to_le_bytes().repeat(rows * DIMENSIONS);
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
        );
        Some([head.as_bytes(), &body].concat())
    };
    let proxy = format!("http://{}", proxy(service.address, instead));
    let (out, local) = (tempfile::tempdir(), tempfile::tempdir());
    let (out, local) = (out.expect("a folder"), local.expect("a folder"));
    for (folder, flags) in [(&out, &["--url", proxy.as_str()][..]), (&local, &[])] {
        let output = embed(input.path(), folder.path(), flags).output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{}", said(&output));
    }
    assert!(files(out.path()) == files(local.path()));
}

#[test]
fn a_picture_that_always_breaks_the_connection_ends_the_run_and_says_so() {
    let input = pictures(60);
    let service = Program::demo(&[]);
    let broken = fs::read(input.path().join("042.png")).expect("a picture");
    let breaks = move |request: &[u8]| {
        let mut parts = request.windows(broken.len());
        parts.any(|part| part == broken).then(Vec::new)
    };
    let proxy = format!("http://{}", proxy(service.address, breaks));
    let out = tempfile::tempdir().expect("a folder");
    let output = embed(input.path(), out.path(), &["--url", &proxy])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let sentence = "sent 5 times without an answer";
    assert!(said(&output).contains(sentence), "{}", said(&output));
    // Without the proxy it goes on, and ends as any other.
    let direct = format!("http://{}", service.address);
    let output = embed(input.path(), out.path(), &["--url", &direct])
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", said(&output));
    let local = tempfile::tempdir().expect("a folder");
    let output = embed(input.path(), local.path(), &[]).output();
    assert!(output.expect("it runs").status.success());
    assert!(files(out.path()) == files(local.path()));
}

#[test]
fn services_that_are_full_lose_no_row_and_change_no_byte() {
    let input = pictures(150);
    let local = tempfile::tempdir().expect("a folder");
    let output = embed(input.path(), local.path(), &[]).output();
    assert!(output.expect("it runs").status.success());
    let service = Program::demo(&[]);
    let (asked, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    // Of every three requests with pictures the first two find no room.
    let full = {
        let (asked, refused) = (Arc::clone(&asked), Arc::clone(&refused));
        move |request: &[u8]| {
            let is_work = request.starts_with(b"POST /embed/");
            if !is_work || asked.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
                return None;
            }
            refused.fetch_add(1, Ordering::Relaxed);
            let body = r#"{"detail": "The service is full"}"#;
            let head = "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json";
            let answer = format!(
                "{head}\r\nretry-after: 0\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            Some(answer.into_bytes())
        }
    };
    let url = format!("http://{}", proxy(service.address, full));
    let out = tempfile::tempdir().expect("a folder");
    let output = embed(input.path(), out.path(), &["--url", &url]).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{}", said(&output));
    let (asked, refused) = (
        asked.load(Ordering::Relaxed),
        refused.load(Ordering::Relaxed),
    );
    assert!(refused > 0 && asked > refused, "{refused} of {asked}");
    assert!(files(out.path()) == files(local.path()));
}

#[test]
fn texts_are_the_same_bytes_from_a_running_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let texts = folder.path().join("texts.txt");
    let long = "word ".repeat(5000);
    let lines = (0..100).map(|number| format!("\"line\" \u{e9} \t {number}"));
    let lines: Vec<String> = lines.chain([long]).collect();
    fs::write(&texts, lines.join("\n")).expect("written");
    let service = Program::demo(&[]);
    let url = format!("http://{}", service.address);
    let run = |name: &str, flags: &[&str]| {
        let out = folder.path().join(name);
        let output = embed(&texts, &out, flags).output().expect("it runs");
        assert!(output.status.success(), "{}", said(&output));
        files(&out)
    };
    let local = run("local", &["--texts"]);
    assert!(run("remote", &["--texts", "--url", &url]) == local);
}

#[test]
fn settings_of_the_service_are_refused_and_its_own_flags_are_not_touched() {
    let run = |arguments: &[&str]| {
        let mut command = command(arguments);
        command
            .env("API_PORT", "not read")
            .stdout(std::process::Stdio::piped());
        command.output().expect("it runs")
    };
    let output = run(&["embed", "x", "--out", "y", "--port", "80"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--port is a setting of the service"));
    let help = String::from_utf8(run(&["embed", "--help"]).stdout).expect("text");
    assert!(
        help.contains("--shard-size") && !help.contains("API_PORT"),
        "{help}"
    );
    let help = String::from_utf8(run(&["--help"]).stdout).expect("text");
    assert!(!help.contains("--shard-size"));
    let missing = run(&["embed", "/nowhere/at/all", "--out", "y", "--model", "demo"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(said(&missing).contains("/nowhere/at/all"));
    let half = {
        let mut command = command(&["embed", "src", "--out", "y", "--model", "demo"]);
        command
            .env("JOB_COMPLETION_INDEX", "3")
            .output()
            .expect("it runs")
    };
    assert!(said(&half).contains("JOB_COMPLETIONS"), "{}", said(&half));
}
