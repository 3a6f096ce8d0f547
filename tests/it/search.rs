//! `/search`: the rows of an index that `embed` wrote, by a text or a picture.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use siglip2_embeddings::http::HttpSettings;
use siglip2_embeddings::service::{Hit, IndexError, IndexInfo, UnfitIndex, VectorIndex, Wanted};
use tempfile::TempDir;

use crate::common::client::{Answer, request};
use crate::common::engine::DIMENSIONS;
use crate::common::index::about;
use crate::common::model::service;
use crate::common::program::command;
use crate::common::server::Server;
use crate::common::{Client, Form, ask, get, post_json};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/samples")
}

/// The demo's samples, each with its name as a caption, embedded.
fn embedded(flags: &[&str]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let pictures = folder.path().join("pictures");
    fs::create_dir(&pictures).expect("a folder");
    for entry in fs::read_dir(samples()).expect("samples") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name");
        fs::copy(&path, pictures.join(name)).expect("a copy");
        let caption = name.to_string_lossy().replace(".png", "");
        fs::write(pictures.join(name).with_extension("txt"), caption).expect("a caption");
    }
    let out = folder.path().join("out");
    let mut embed = command(&[
        "embed",
        "--model",
        "demo",
        "--precision",
        "fp32",
        "--captions",
    ]);
    let output = embed
        .arg(&pictures)
        .arg("--out")
        .arg(&out)
        .args(["--shard-size", "3"])
        .args(flags)
        .env_remove("JOB_COMPLETION_INDEX")
        .output()
        .expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (folder, out)
}

async fn searching(out: &Path) -> Server {
    let out = out.display().to_string();
    Server::of(service("demo", &["--index", &out])).await
}

async fn search(server: &Server, body: Value) -> Answer {
    ask(server.address, post_json("/search", &body.to_string())).await
}

/// The files that were found, without their folder.
fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    let results = json["results"].as_array().expect("results").clone();
    let id = |result: &Value| {
        let path = Path::new(result["id"].as_str().expect("a name"));
        path.file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned()
    };
    results.iter().map(id).collect()
}

#[tokio::test]
async fn the_name_of_a_column_is_no_longer_than_a_text() {
    let (_folder, out) = embedded(&[]);
    let server = searching(&out).await;
    for (length, expected) in [(256 << 10, 400), ((256 << 10) + 1, 413)] {
        let name = "c".repeat(length);
        let answer = search(&server, json!({"query": "a", "columns": [name]})).await;
        assert_eq!(answer.status, expected, "{}", answer.text());
        let form = Form::new().text("query", "a");
        let form = form.text("columns", json!([name]).to_string());
        let answer = ask(server.address, form.post("/search")).await;
        assert_eq!(answer.status, expected, "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_and_a_picture_find_their_rows_in_tables_and_arrays() {
    let mut found = Vec::new();
    // clip-retrieval calls it a caption.
    for (format, caption) in [("parquet", "text"), ("npy", "caption")] {
        let (_folder, out) = embedded(&["--format", format]);
        let server = searching(&out).await;
        let answer = search(&server, json!({"query": "three blue stars", "top": 3})).await;
        let names = ids(&answer);
        assert_eq!(names.len(), 3);
        assert!(names[0] == "three-blue-stars.png", "{names:?}");
        let results = answer.json()["results"]
            .as_array()
            .expect("results")
            .clone();
        assert_eq!(answer.json()["rows"], 8);
        assert!(results.iter().all(|result| result.get("columns").is_none()));

        // The numbers are those of /rank with the picture itself.
        let picture = fs::read(samples().join("three-blue-stars.png")).expect("a sample");
        let form = Form::new()
            .file("files", "a.png", &picture)
            .text("query", "three blue stars")
            .text("details", "true");
        let ranked = ask(server.address, form.post("/rank")).await.json();
        for (name, at) in [("cosine", "cosine"), ("score", "probability")] {
            let ours = results[0][name].as_f64().expect("a number");
            let theirs = ranked["rankings"][0][at].as_f64().expect("a number");
            assert!((ours - theirs).abs() < 1e-5, "{name}: {ours}, {theirs}");
        }

        let red = fs::read(samples().join("red-circle.png")).expect("a sample");
        let by_form = Form::new()
            .file("file", "red.png", &red)
            .text("top", "2")
            .text("columns", format!("[\"{caption}\"]"));
        let by_form = ask(server.address, by_form.post("/search")).await;
        let by_json = json!({
            "image_base64": STANDARD.encode(&red), "top": 2, "columns": [caption]
        });
        let by_json = search(&server, by_json).await;
        assert_eq!(by_form.json()["results"], by_json.json()["results"]);
        let best = &by_form.json()["results"][0];
        assert!(best["cosine"].as_f64().expect("a number") > 0.999);
        assert_eq!(best["columns"], json!({caption: "red-circle"}));
        let all = search(&server, json!({"query": "a red circle", "columns": "*"})).await;
        assert_eq!(ids(&all).len(), 8, "no more than there are");
        assert!(all.json()["results"][0]["columns"][caption].is_string());
        found.push((names, ids(&all)));
    }
    assert_eq!(found[0], found[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_is_told_and_searches_are_counted() {
    let (_folder, out) = embedded(&[]);
    let server = searching(&out).await;
    let info = ask(server.address, get("/info")).await.json();
    let index = &info["index"];
    assert_eq!(index["rows"], 8);
    assert_eq!(index["dimensions"], info["text_dim"]);
    assert_eq!(index["fingerprint"], info["fingerprint"]);
    assert_eq!(index["model"], "demo");
    assert_eq!(index["files"], json!([out.display().to_string()]));
    assert_eq!(index["columns"], json!(["text"]));
    let answer = search(&server, json!({"query": "a red circle"})).await;
    assert_eq!(
        answer.header("x-embedding-fingerprint"),
        info["fingerprint"].as_str()
    );
    let timing = answer.header("server-timing").expect("timings");
    assert!(timing.contains("search;dur="), "{timing}");
    let metrics = ask(server.address, get("/metrics")).await;
    for series in [
        "siglip2_index_rows 8",
        "siglip2_searches_total 1",
        "siglip2_searched_rows_total 8",
        "siglip2_search_seconds_count 1",
        "siglip2_stage_seconds_count{stage=\"search\"} 1",
        "siglip2_requests_total{endpoint=\"search\",status=\"200\"} 1",
    ] {
        assert!(metrics.text().contains(series), "{series}");
    }
    let other = [("X-Expect-Fingerprint", "0000000000000000")];
    let body = br#"{"query": "a red circle"}"#;
    let headers = [&[("Content-Type", "application/json")], &other[..]].concat();
    let answer = ask(server.address, request("POST", "/search", &headers, body)).await;
    assert_eq!(answer.status, 412);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_search_is_said() {
    let (_folder, out) = embedded(&[]);
    let server = searching(&out).await;
    for (body, status, said) in [
        (json!({}), 400, "must have one query"),
        (json!({"query": "a", "image_base64": "eA=="}), 400, "image"),
        (json!({"query": 1}), 400, "query must be a string"),
        (json!({"query": "a", "top": 0}), 400, "from 1 to 1000"),
        (json!({"query": "a", "top": 1001}), 400, "from 1 to 1000"),
        (json!({"query": "a", "top": "7"}), 400, "whole number"),
        (
            json!({"query": "a", "columns": ["nothing"]}),
            400,
            "no column \"nothing\"; it has: text",
        ),
        (json!({"query": "a", "columns": {}}), 400, "columns"),
    ] {
        let answer = search(&server, body.clone()).await;
        let (got, sentence) = answer.error();
        assert_eq!(got, status, "{body}: {sentence}");
        assert!(sentence.contains(said), "{body}: {sentence}");
    }
    let png = fs::read(samples().join("red-circle.png")).expect("a sample");
    let both = Form::new().file("file", "a.png", &png).text("query", "a");
    let answer = ask(server.address, both.post("/search")).await;
    assert!(answer.error().1.contains("must have one query"));
    let odd = Form::new().text("query", "a").text("columns", "text");
    let answer = ask(server.address, odd.post("/search")).await;
    assert!(answer.error().1.contains("JSON array of names"));

    let without = Server::start(HttpSettings::default()).await;
    let (status, sentence) = search(&without, json!({"query": "a"})).await.error();
    assert_eq!(status, 404);
    assert!(sentence.contains("--index"), "{sentence}");
    let info = ask(without.address, get("/info")).await.json();
    assert!(info.get("index").is_none());
}

#[test]
fn an_index_that_is_not_of_the_model_ends_the_start_with_a_sentence() {
    let (folder, out) = embedded(&["--format", "npy"]);
    let start = |index: &Path, flags: &[&str]| {
        let mut serve = command(&[
            "serve",
            "--model",
            "demo",
            "--port",
            "0",
            "--host",
            "127.0.0.1",
        ]);
        let output = serve
            .args(["--precision", "fp32", "--index"])
            .arg(index)
            .args(flags)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // The same weights with another preparation of texts are another space.
    let said = start(&out, &["--lower-case", "0"]);
    assert!(said.contains("cannot be compared"), "{said}");
    let said = start(&folder.path().join("nothing.npy"), &[]);
    assert!(said.contains("--index (SEARCH_INDEX)"), "{said}");
    assert!(said.contains("nothing.npy"), "{said}");
    // An array without its table does not say what made it.
    let bare = folder.path().join("bare.npy");
    fs::copy(out.join("img_emb/img_emb_0.npy"), &bare).expect("a copy");
    let said = start(&bare, &[]);
    assert!(said.contains("--index-unchecked"), "{said}");
}

/// An index that says when a search of it begins, and ends none before it is told to stop.
struct Endless {
    about: IndexInfo,
    began: Mutex<Sender<()>>,
    stopped: Mutex<Sender<()>>,
}

impl VectorIndex for Endless {
    fn about(&self) -> &IndexInfo {
        &self.about
    }

    fn search(
        &self,
        _: &[f32],
        _: &Wanted,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Hit>, IndexError> {
        self.began.lock().unwrap().send(()).unwrap();
        while !stop() {
            std::thread::yield_now();
        }
        self.stopped.lock().unwrap().send(()).unwrap();
        Err(IndexError::Stopped)
    }
}

/// A server with such an index, and what it says.
async fn endless() -> (Server, Receiver<()>, Receiver<()>) {
    let server = Server::start(HttpSettings::default()).await;
    let ((begins, began), (stops, stopped)) = (channel(), channel());
    let index = Endless {
        about: about(),
        began: Mutex::new(begins),
        stopped: Mutex::new(stops),
    };
    server
        .service
        .give_index(Arc::new(index))
        .expect("an index");
    (server, began, stopped)
}

async fn told(what: Receiver<()>) -> Receiver<()> {
    let wait = move || {
        what.recv().expect("it is said");
        what
    };
    tokio::task::spawn_blocking(wait).await.expect("it is said")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_ends_when_its_client_has_gone() {
    let (server, began, stopped) = endless().await;
    let mut client = Client::connect(server.address).await;
    client.send(post_json("/search", r#"{"query": "a"}"#)).await;
    told(began).await;
    drop(client);
    told(stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_take_turns_and_give_up_at_their_deadlines() {
    let (server, began, stopped) = endless().await;
    let mut first = Client::connect(server.address).await;
    first.send(post_json("/search", r#"{"query": "a"}"#)).await;
    let began = told(began).await;
    // It never has its turn.
    let headers = [
        ("Content-Type", "application/json"),
        ("X-Request-Timeout-Ms", "50"),
    ];
    let second = request("POST", "/search", &headers, br#"{"query": "b"}"#);
    assert_eq!(ask(server.address, second).await.status, 504);
    assert!(began.try_recv().is_err());
    drop(first);
    told(stopped).await;
    let wrong = Endless {
        about: IndexInfo {
            dimensions: DIMENSIONS + 1,
            ..about()
        },
        began: Mutex::new(channel().0),
        stopped: Mutex::new(channel().0),
    };
    let error = server.service.give_index(Arc::new(wrong)).unwrap_err();
    assert!(matches!(error, UnfitIndex::Length { .. }), "{error}");
}
