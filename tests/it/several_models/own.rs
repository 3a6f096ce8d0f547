//! What models beside the first may have of their own: a revision of the hub, and a precision.

use std::path::Path;

use serde_json::json;

use super::{FINGERPRINT, TEXT, answer, get, post};
use crate::common::model::{copy_files, fixture, models, service};
use crate::common::server::Server;

/// A cache of the hub with one model, which has two commits under the names of branches.
fn cache(folder: &Path) {
    let model = folder.join("models--lab--both");
    for (branch, commit, files) in [
        ("main", "a".repeat(40), "golden/patch16"),
        ("v1", "b".repeat(40), "golden/patch14"),
    ] {
        let snapshot = model.join("snapshots").join(&commit);
        copy_files(fixture(files), &snapshot);
        std::fs::create_dir_all(model.join("refs")).unwrap();
        std::fs::write(model.join("refs").join(branch), &commit).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_have_revisions_and_precisions_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    cache(folder.path());
    let flags = [
        "--hf-hub-cache",
        folder.path().to_str().unwrap(),
        "--hf-hub-offline",
        "--precision",
        "auto",
        "--also",
        "lab/both",
        "--also",
        "lab/both@v1:fp32=old",
        "--also",
        "demo:fp32=exact",
    ];
    let server = Server::of_models(models("demo=first", &flags)).await;
    let told = answer(&server, get("/info")).await.json();
    assert_eq!(told["revision"], json!(null));
    let each = told["models"].as_array().unwrap();
    let of = |field: &str| {
        each.iter()
            .map(|one| one[field].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        json!(of("name")),
        json!(["first", "lab/both", "old", "exact"])
    );
    assert_eq!(json!(of("revision")), json!([null, "main", "v1", null]));
    assert_eq!(json!(of("precision")[2..]), json!(["fp32", "fp32"]));
    let old = answer(&server, get("/models/old/info")).await.json();
    assert_eq!(old["revision"], "v1");
    // Each has the vectors of its files, in its precision.
    for (name, model) in [
        ("old", fixture("golden/patch14")),
        ("exact", "demo".to_owned()),
    ] {
        let texts = json!({"texts": [TEXT]});
        let alone = Server::of(service(&model, &[])).await;
        let alone = answer(&alone, post("/embed/text", &[], &texts)).await;
        let ours = answer(&server, post("/embed/text", &[("X-Model", name)], &texts)).await;
        assert_eq!(
            ours.json()["embeddings"],
            alone.json()["embeddings"],
            "{name}"
        );
        assert_eq!(
            ours.header(FINGERPRINT),
            alone.header(FINGERPRINT),
            "{name}"
        );
    }
}
