//! Photos decoded at a part of their size: a service of its own kind of vectors.

use serde_json::Value;

use crate::common::jpegs::{baseline, waves};
use crate::common::{Form, Program, ask, get, png};
use siglip2_embeddings::engine::cosine;

#[tokio::test]
async fn large_jpegs_have_other_vectors_and_all_have_another_fingerprint() {
    // The demo model makes them 64 pixels: 1024 are decoded at an eighth, 127 as they are.
    let files = [
        baseline(&waves(1024, 1030, 1), (2, 2)),
        baseline(&waves(127, 127, 2), (2, 2)),
        png(200, 30, 90),
    ];
    let mut told = Vec::new();
    for flags in [&[][..], &["--decode-reduced"]] {
        let program = Program::demo(flags);
        let info: Value = ask(program.address, get("/info")).await.json();
        let mut vectors = Vec::new();
        for file in &files {
            let form = Form::new().file("file", "a", file.clone());
            let answer: Value = ask(program.address, form.post("/embed/image")).await.json();
            let vector: Vec<f32> = serde_json::from_value(answer["embeddings"][0].clone()).unwrap();
            vectors.push(vector);
        }
        assert_eq!(info["decode"], "cpu");
        told.push((info["fingerprint"].clone(), vectors));
    }
    let [(usual, whole), (other, reduced)] = &told[..] else {
        panic!("two services");
    };
    assert_ne!(usual, other);
    assert_ne!(whole[0], reduced[0]);
    let cosine = cosine(&whole[0], &reduced[0]);
    assert!(cosine > 0.999, "{cosine}");
    assert_eq!(whole[1..], reduced[1..]);
}

/// Without a GPU there is nothing else that decodes.
#[test]
fn a_gpu_is_not_asked_for_on_the_cpu() {
    let mut command = crate::common::program::command(&["--model", "demo", "--device", "cpu"]);
    let output = command.args(["--decode", "gpu"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("--decode gpu (DECODE)"), "{said}");
}
