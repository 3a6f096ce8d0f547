//! The load test against the service itself, and against one that gives wrong answers.
//!
//! Nothing here depends on timing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::common::Program;
use serde_json::Value;

/// A running service of the demo model, and its URL.
fn service() -> (Program, String) {
    let program = Program::demo(&[]);
    let url = format!("http://{}", program.address);
    (program, url)
}

fn load_test(url: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_load-test"))
        .args(["--url", url, "--warm-up", "0s", "--check", "all"])
        // The requests must not depend on when the test runs.
        .args(["--seed", "1"])
        .args(arguments)
        .env_remove("API_KEY")
        .output()
        .expect("the load test runs")
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

const MIX: &str = "text=2,image=2,images=1,similarity=1,rank=1";

#[test]
fn a_mix_is_answered_and_found_right() {
    let (program, url) = service();
    let pid = program.child.id().to_string();
    let page = tempfile::tempdir().expect("a folder");
    let page = page.path().join("report.html");
    let output = load_test(
        &url,
        &[
            "--requests",
            "40",
            "--json",
            "--mix",
            MIX,
            "--texts-per-request",
            "3",
            "--drawn",
            "64x48,100x100",
            "--drawn-format",
            "png",
            "--watch-pid",
            &pid,
            "--html",
            page.to_str().expect("a path"),
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = report(&output);
    assert_eq!(report["mode"], "closed");
    assert_eq!(report["total"]["requests"], 40);
    assert_eq!(report["total"]["good"], 40);
    assert_eq!(report["answered"], 40);
    assert_eq!(report["wrong"], 0);
    let endpoints = report["endpoints"].as_object().expect("endpoints");
    for name in ["text", "image", "images", "similarity", "rank"] {
        let endpoint = &endpoints[name];
        assert_eq!(endpoint["by_status"]["200"]["count"], endpoint["requests"]);
        assert!(
            endpoint["bytes_sent"]
                .as_u64()
                .is_some_and(|bytes| bytes > 0)
        );
        assert!(
            endpoint["bytes_received"]
                .as_u64()
                .is_some_and(|bytes| bytes > 0)
        );
    }
    for when in ["at_rest", "after_warm_up", "end", "highest"] {
        let memory = &report["watched"][when]["resident_bytes"];
        assert!(memory.as_u64() > Some(0), "{when}: {report}");
    }
    assert!(report["watched"]["memory_deviation_percent"].is_f64());
    assert!(report["distinct"]["texts_sent"].as_u64() > Some(10));

    let page = std::fs::read_to_string(page).expect("the page is there");
    for part in [
        "<svg",
        "prefers-color-scheme: dark",
        "time, s",
        "p99",
        "/s",
        "Resident",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("<script") && !page.contains("src="));
}

#[test]
fn an_open_loop_offers_what_was_asked_for_and_people_get_a_table() {
    let (_service, url) = service();
    let open = ["--rate", "200", "--mix", "text=1"];
    let mut arguments = [&open[..], &["--requests", "30", "--json"]].concat();
    let output = load_test(&url, &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = report(&output);
    assert_eq!(report["mode"], "open");
    assert_eq!(report["answered"], 30);
    assert_eq!(report["open_loop"]["arrivals"], "Poisson");
    assert_eq!(report["open_loop"]["rate_per_s"], 200.0);
    // Requests in flight when the thirtieth was answered are counted separately.
    let unfinished = report["edges"]["unfinished"].as_u64().expect("a number");
    assert_eq!(report["open_loop"]["lag_ms"]["count"], 30 + unfinished);

    arguments.pop();
    let output = load_test(&url, &arguments);
    let said = String::from_utf8(output.stdout).expect("text");
    for part in [
        "open loop, 200 requests/s, Poisson arrivals",
        &url,
        "1000000 texts",
        "p99.9",
        "goodput",
        "unfinished at the end",
        "offered",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

#[test]
fn a_service_is_compared_with_itself() {
    let (_service, url) = service();
    let output = load_test(
        &url,
        &[
            "--compare",
            &url,
            "--rounds",
            "2",
            "--requests",
            "10",
            "--json",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = report(&output);
    assert_eq!(report["a"]["answered"], 20);
    assert_eq!(report["b"]["answered"], 20);
    let rounds: Vec<&Value> = report["rounds"]
        .as_array()
        .expect("rounds")
        .iter()
        .collect();
    let order: Vec<_> = rounds.iter().map(|round| &round["service"]).collect();
    assert_eq!(order, ["A", "B", "A", "B"]);
    for ratio in ["requests_per_s", "p50_ms", "p95_ms", "p99_ms"] {
        assert!(
            report["ratios_b_to_a"][ratio].as_f64() > Some(0.0),
            "{ratio}"
        );
    }
}

#[test]
fn hostile_requests_are_counted_apart() {
    let (_service, url) = service();
    let output = load_test(
        &url,
        &[
            "--requests",
            "60",
            "--hostile",
            "50",
            "--json",
            "--mix",
            "text=1",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = report(&output);
    let hostile = &report["endpoints"]["hostile"];
    assert!(hostile["requests"].as_u64() > Some(10), "{hostile}");
    assert!(
        hostile["by_status"]["400"]["count"].as_u64() > Some(0),
        "{hostile}"
    );
    assert!(
        hostile["by_status"]["415"]["count"].as_u64() > Some(0),
        "{hostile}"
    );
    assert_eq!(report["total"]["good"], report["total"]["requests"]);
}

/// A service that says it has two dimensions and answers every POST with `body`.
fn impostor(status: &'static str, body: &'static str) -> String {
    served(move |stream| {
        answers(stream, |_| Some(answered(status, "", body)));
    })
}

/// The impostor's correct answer for a single text.
const RIGHT: &str = r#"{"embeddings": [[0.6, 0.8]], "dimensions": 2, "model": "impostor"}"#;

fn answered(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

/// A listener that passes each connection to `serve`, on a separate thread.
fn served(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    url
}

/// Answers the POSTs of a connection, which are numbered; if there is no answer, the
/// connection is closed.
fn answers(mut stream: TcpStream, mut answer: impl FnMut(u64) -> Option<String>) {
    let mut received = BufReader::new(stream.try_clone().expect("a socket"));
    let mut posts = 0;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if received.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            })
            .unwrap_or(0);
        let mut sent = vec![0; length];
        received.read_exact(&mut sent).expect("the body");
        let answer = if head.starts_with("GET /info") {
            let info = r#"{"model": "impostor", "vision_dim": 2}"#;
            Some(answered("200 OK", "", info))
        } else {
            posts += 1;
            answer(posts - 1)
        };
        let Some(answer) = answer else {
            return;
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

const TEXTS: [&str; 3] = ["--json", "--mix", "text=1"];

/// A service that takes this long for each request, all in parallel; and how many requests it
/// has received.
fn slow(service: impl Fn(u64) -> Duration + Send + Sync + 'static) -> (String, Arc<AtomicU64>) {
    let number = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&number);
    let url = served(move |stream| {
        answers(stream, |_| {
            std::thread::sleep(service(counted.fetch_add(1, Ordering::Relaxed)));
            Some(answered("200 OK", "", RIGHT))
        });
    });
    (url, number)
}

#[test]
fn what_is_answered_in_the_window_counts_and_what_is_not_is_unfinished() {
    // The first 8 are started in the warm-up of 100 ms and answered long after it.
    let (url, number) = slow(|_| Duration::from_secs(1));
    let window = [
        "--concurrency",
        "8",
        "--requests",
        "8",
        "--warm-up",
        "100ms",
    ];
    let report = report(&load_test(&url, &[&TEXTS[..], &window].concat()));
    assert_eq!(report["total"]["good"], 8, "{report}");
    assert_eq!(report["edges"]["warm_up_requests"], 0);
    // The others' next requests, if they were started before the eighth was answered.
    let unfinished = report["edges"]["unfinished"].as_u64().expect("a number");
    assert!(unfinished < 8 && 8 + unfinished <= number.load(Ordering::Relaxed));
}

#[test]
fn the_rate_is_what_was_answered_by_the_length_of_the_window() {
    // 8 clients: their first requests are answered immediately, their second ones after the
    // window.
    let (url, number) = slow(|n| Duration::from_secs(if n < 8 { 0 } else { 4 }));
    let window = ["--concurrency", "8", "--duration", "3s"];
    let report = report(&load_test(&url, &[&TEXTS[..], &window].concat()));
    assert_eq!(number.load(Ordering::Relaxed), 16);
    assert_eq!(report["total"]["good"], 8, "{report}");
    assert_eq!(report["edges"]["unfinished"], 8);
    assert_eq!(report["duration_s"], 3.0);
    assert_eq!(report["goodput_per_s"], 8.0 / 3.0);
    let received = report["total"]["bytes_received"].as_u64().expect("bytes");
    assert_eq!(received, 8 * answered("200 OK", "", RIGHT).len() as u64);
    assert_eq!(
        report["total"]["bytes_received_per_s"],
        received as f64 / 3.0
    );
}

#[test]
fn a_request_on_a_connection_that_was_closed_meanwhile_is_sent_again() {
    // Each connection answers one request, and closes when it has read the next.
    let url = served(|stream| {
        answers(stream, |n| (n == 0).then(|| answered("200 OK", "", RIGHT)));
    });
    let one = ["--concurrency", "1", "--requests", "10"];
    let told = report(&load_test(&url, &[&TEXTS[..], &one].concat()));
    assert_eq!(told["total"]["good"], 10, "{told}");
    assert_eq!(told["total"]["requests"], 10);
    assert!(told["reconnects"].as_u64() >= Some(9), "{told}");

    // An answer that breaks off has begun, so that request is lost and not sent again.
    let number = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&number);
    let url = served(move |mut stream| {
        let half = &answered("200 OK", "", RIGHT)[..60];
        let mut writer = stream.try_clone().expect("a socket");
        answers(stream.try_clone().expect("a socket"), |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            writer.write_all(half.as_bytes()).expect("written");
            None
        });
        let _ = stream.flush();
        let _ = stream.shutdown(Shutdown::Both);
    });
    let told = report(&load_test(&url, &[&TEXTS[..], &one].concat()));
    let broken = &told["endpoints"]["text"]["by_status"]["broken"]["count"];
    assert_eq!(
        (broken.as_u64(), told["reconnects"].as_u64()),
        (Some(10), Some(0))
    );
    assert_eq!(number.load(Ordering::Relaxed), 10);
}

#[test]
fn clients_of_the_closed_loop_wait_as_retry_after_asks() {
    let full = || {
        served(|stream| {
            answers(stream, |_| {
                let headers = "retry-after: 3600\r\n";
                Some(answered("429 Too Many Requests", headers, "{}"))
            });
        })
    };
    let window = ["--concurrency", "4", "--duration", "1s"];
    let told = report(&load_test(&full(), &[&TEXTS[..], &window].concat()));
    let refused = |report: &Value| report["refusals_ms"]["count"].as_u64();
    assert_eq!(refused(&told), Some(4), "{told}");
    assert_eq!(told["back_offs"], 4);
    assert_eq!(told["edges"]["unfinished"], 0);
    assert_eq!(told["endpoints"]["text"]["by_status"]["429"]["count"], 4);
    assert_eq!(told["goodput_per_s"], 0.0);

    let at_once = [
        "--concurrency",
        "4",
        "--requests",
        "50",
        "--ignore-retry-after",
    ];
    let told = report(&load_test(&full(), &[&TEXTS[..], &at_once].concat()));
    assert_eq!(
        (refused(&told), told["back_offs"].as_u64()),
        (Some(50), Some(0))
    );
}

#[test]
fn the_images_of_a_folder_are_sent_as_they_are() {
    let (_service, url) = service();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    for (n, name) in ["b.png", "a.PNG", "\u{fc}\u{20ac} c.png"]
        .iter()
        .enumerate()
    {
        std::fs::write(path(name), crate::common::png(n as u8, 9, 9)).expect("written");
    }
    let fixtures = [
        "jpeg_420.jpg",
        "png_rgb_8.png",
        "gif_plain.gif",
        "bmp_24.bmp",
        "tiff_rgb_16_be.tif",
        "webp_animated_lossless.webp",
    ];
    for name in fixtures {
        let from = std::path::Path::new("tests/fixtures/images").join(name);
        std::fs::copy(from, path(name)).expect(name);
    }
    std::fs::write(path("notes.txt"), "no image").expect("written");
    let run = |more: &[&str]| {
        let images = [
            "--images",
            folder.path().to_str().expect("a path"),
            "--json",
        ];
        let mix = ["--mix", "image=1,images=1,rank=1", "--requests", "40"];
        let output = load_test(&url, &[&images[..], &mix, more].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        report(&output)
    };
    let each_another = run(&[]);
    assert_eq!(each_another["total"]["good"], 40);
    assert_eq!(each_another["distinct"]["images"], Value::Null);
    assert!(each_another["distinct"]["images_sent"].as_u64() > Some(40));
    let repeated = run(&["--repeat-images"]);
    assert_eq!(repeated["total"]["good"], 40);
    assert_eq!(repeated["distinct"]["images"], 9);
    assert_eq!(repeated["distinct"]["images_sent"], 9);

    let output = load_test(&url, &["--images", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent"));
}

#[test]
fn the_highest_rate_held_is_looked_for() {
    // It has answers for 60 requests, and none for later ones.
    let number = AtomicU64::new(0);
    let number = Arc::new(number);
    let url = served(move |stream| {
        answers(stream, |_| {
            let status = match number.fetch_add(1, Ordering::Relaxed) {
                0..60 => "200 OK",
                _ => "503 Service Unavailable",
            };
            Some(answered(status, "", RIGHT))
        });
    });
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("search.html");
    let search = [
        "--search-rate",
        "--rate",
        "10",
        "--duration",
        "1s",
        "--p99-ms",
        "60000",
    ];
    let html = ["--html", page.to_str().expect("a path")];
    let told = report(&load_test(&url, &[&TEXTS[..], &search, &html].concat()));
    let probes = told["probes"].as_array().expect("probes");
    assert!(probes.iter().any(|probe| probe["held"] == false), "{told}");
    let held = |probe: &&Value| probe["held"] == true;
    let best = probes
        .iter()
        .filter(held)
        .filter_map(|probe| probe["rate_per_s"].as_f64());
    let knee = told["highest_rate_held_per_s"].as_f64();
    // On a busy machine the client may be too slow for any rate; then no knee is reported.
    assert_eq!(knee, best.reduce(f64::max));
    let page = std::fs::read_to_string(page).expect("the page is there");
    for part in [
        "Goodput by offered rate",
        "held (p99 &lt;= 60000 ms)",
        "bound",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn wrong_answers_end_it_with_1() {
    let arguments = [
        "--requests",
        "12",
        "--json",
        "--mix",
        "text=1",
        "--texts-per-request",
        "2",
    ];
    let right = r#"{"embeddings": [[0.6, 0.8], [1, 0]], "dimensions": 2, "model": "impostor"}"#;
    let output = load_test(&impostor("200 OK", right), &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let one_row = r#"{"embeddings": [[0.6, 0.8]], "dimensions": 2, "model": "impostor"}"#;
    let long = r#"{"embeddings": [[0.6, 0.8], [3, 4]], "dimensions": 2, "model": "impostor"}"#;
    for (body, word) in [(one_row, "1 rows where 2"), (long, "norm 5")] {
        let output = load_test(&impostor("200 OK", body), &arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let report = report(&output);
        assert_eq!(report["wrong"], 12);
        assert_eq!(report["total"]["good"], 0);
        let example = report["wrong_examples"][0].as_str().expect("an example");
        assert!(example.contains(word), "{example}");
    }

    // An error is not a wrong answer, but a run with only errors proves nothing.
    let output = load_test(&impostor("503 Service Unavailable", "{}"), &arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(report(&output)["wrong"], 0);

    // A server error is a wrong answer to a hostile request.
    let arguments = [&arguments[..], &["--hostile", "100"]].concat();
    let output = load_test(&impostor("500 Internal Server Error", "{}"), &arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(report(&output)["endpoints"]["hostile"]["wrong"].as_u64() > Some(0));
}

#[test]
fn what_cannot_be_run_is_said_in_a_sentence() {
    for (url, arguments, word) in [
        ("http://127.0.0.1:1", &[][..], "is it running?"),
        ("https://localhost", &[], "plain HTTP"),
        ("http://127.0.0.1:1", &["--mix", "cats=1"], "cats"),
        ("http://127.0.0.1:1", &["--duration", "soon"], "500ms"),
        // Said before the service is even looked for.
        (
            "http://127.0.0.1:1",
            &["--html", "/none/page.html"],
            "/none/page.html",
        ),
        (
            "http://127.0.0.1:1",
            &["--watch-pid", "4294967295"],
            "4294967295",
        ),
    ] {
        let output = load_test(url, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with("error: ") && said.contains(word), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_reports_what_was_measured() {
    for mode in [&[][..], &["--rate", "50"], &["--requests", "1000000"]] {
        let (url, number) = slow(|_| Duration::ZERO);
        let child = Command::new(env!("CARGO_BIN_EXE_load-test"))
            .args(["--url", &url, "--warm-up", "0s", "--check", "all"])
            .args(TEXTS)
            .args(match mode {
                ["--requests", ..] => &[][..],
                _ => &["--duration", "1h"],
            })
            .args(mode)
            .env_remove("API_KEY")
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the load test runs");
        while number.load(Ordering::Relaxed) < 20 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let interrupted = Command::new("kill")
            .args(["-s", "INT", &child.id().to_string()])
            .status();
        assert!(interrupted.expect("kill runs").success());
        let output = child.wait_with_output().expect("an end");
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        let report = report(&output);
        assert_eq!(report["interrupted"], true);
        assert!(report["total"]["good"].as_u64() > Some(0), "{report}");
        assert!(report["duration_s"].as_f64() < Some(3600.0), "{report}");
        let command = report["origin"]["command"].as_str().expect("a command");
        assert!(command.starts_with("load-test --url http://"), "{command}");
    }
}

#[test]
fn what_cannot_be_sent_in_the_window_is_not_sent_after_it() {
    // One connection, and a service that answers after the window has closed.
    let (url, number) = slow(|_| Duration::from_millis(1500));
    let arguments = [
        "--rate",
        "20000",
        "--max-connections",
        "1",
        "--duration",
        "1s",
    ];
    let report = report(&load_test(&url, &[&TEXTS[..], &arguments].concat()));
    assert_eq!(number.load(Ordering::Relaxed), 1, "{report}");
    assert!(
        report["edges"]["unfinished"].as_u64() > Some(100),
        "{report}"
    );
}
