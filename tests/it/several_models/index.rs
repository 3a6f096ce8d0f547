//! An index that is moved from one model to another while both serve.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{answer, post, two};
use crate::common::client::{ask, get};
use crate::common::model::fixture;
use crate::common::program::command;
use crate::common::server::Server;

/// Embeds the demo's samples, by a model here or by a service.
async fn embed(flags: &[&str], out: &Path) {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/samples");
    let mut embed: Command = command(&["embed"]);
    embed
        .arg(samples)
        .arg("--out")
        .arg(out)
        .args(flags)
        .env_remove("JOB_COMPLETION_INDEX");
    let output = tokio::task::spawn_blocking(move || embed.output().expect("it runs"));
    let output = output.await.expect("no panic");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
}

async fn found(server: &Server, path: &str, body: Value) -> (Vec<Value>, String) {
    let answer = answer(server, post(path, &[], &body)).await;
    let results = answer.json()["results"].as_array().expect("rows").clone();
    let space = answer.header("x-embedding-fingerprint").expect("a space");
    (results, space.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_moved_while_both_models_serve() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    embed(&["--model", "demo", "--precision", "fp32"], &old).await;
    let old_index = old.display().to_string();

    // The old one is searched, and the new one embeds.
    let server = two(&["--index", &old_index]).await;
    let query = json!({"query": "three blue stars", "top": 3});
    let (before, of_old) = found(&server, "/search", query.clone()).await;
    let (by_name, _) = found(&server, "/models/old/search", query.clone()).await;
    assert_eq!(before, by_name);
    let none = ask(server.address, post("/models/lab/new/search", &[], &query)).await;
    let (status, sentence) = none.error();
    assert_eq!(status, 404);
    assert!(sentence.contains("there is one of \"old\""), "{sentence}");
    let url = format!("http://{}/models/lab/new", server.address);
    embed(&["--url", &url], &new).await;

    // Both are searched, each by the model that made it, in whatever order they are named.
    let new_index = new.display().to_string();
    let server = two(&["--index", &new_index, &old_index]).await;
    assert_eq!(
        found(&server, "/search", query.clone()).await,
        (before.clone(), of_old.clone())
    );
    let (after, of_new) = found(&server, "/models/lab/new/search", query.clone()).await;
    assert_ne!(of_old, of_new);
    assert_ne!(before, after);
    let mut named = query.clone();
    named["model"] = json!("lab/new");
    assert_eq!(
        found(&server, "/search", named).await,
        (after.clone(), of_new.clone())
    );
    let rows = answer(&server, get("/info")).await.json()["models"].clone();
    assert_eq!(
        (&rows[0]["index_rows"], &rows[1]["index_rows"]),
        (&json!(8), &json!(8))
    );

    // Only the new one: searches that name no model are its own.
    let server = two(&["--index", &new_index]).await;
    assert_eq!(found(&server, "/search", query).await, (after, of_new));

    // The index that the service made is the one that the model makes here.
    let again = folder.path().join("again");
    let model = fixture("golden/patch16");
    embed(&["--model", &model, "--precision", "fp32"], &again).await;
    let again = two(&["--index", &again.display().to_string()]).await;
    let (here, _) = found(&again, "/search", json!({"query": "a", "top": 8})).await;
    let (there, _) = found(&server, "/search", json!({"query": "a", "top": 8})).await;
    assert_eq!(here, there);
}

#[test]
fn an_index_of_neither_model_ends_the_start_with_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/samples");
    let model = fixture("golden/patch14");
    let mut embed = command(&["embed", "--model", &model, "--precision", "fp32"]);
    embed
        .arg(samples)
        .arg("--out")
        .arg(&out)
        .env_remove("JOB_COMPLETION_INDEX");
    assert!(embed.output().expect("it runs").status.success());
    let also = fixture("golden/patch16");
    let mut serve = command(&["--model", "demo", "--also", &also, "--precision", "fp32"]);
    serve
        .args(["--host", "127.0.0.1", "--port", "0"])
        .arg("--index")
        .arg(&out);
    let output = serve.output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(
        log.contains("none of them can search these vectors"),
        "{log}"
    );
    assert!(log.contains("demo") && log.contains("patch16"), "{log}");
}
