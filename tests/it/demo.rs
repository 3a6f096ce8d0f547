//! The demo model does what is promised of it, through the running service: of 50
//! pictures of scenes that it never saw in training, it finds the right one for a
//! caption, and of 50 captions the right one for a picture.

use crate::common::client::{Form, ask};
use crate::common::model::{fixture, service};
use crate::common::server::Server;
use serde_json::Value;

/// The share of rows whose own column is their largest.
fn first(rows: &[Vec<f64>]) -> f64 {
    let right = rows.iter().enumerate().filter(|(index, row)| {
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.is_some_and(|(best, _)| best == *index)
    });
    right.count() as f64 / rows.len() as f64
}

fn transposed(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let columns = rows.first().map_or(0, Vec::len);
    (0..columns)
        .map(|column| rows.iter().map(|row| row[column]).collect())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn captions_find_their_pictures_and_pictures_their_captions() {
    let server = Server::of(service("demo", &[])).await;
    let json = std::fs::read(fixture("demo/captions.json")).expect("the captions");
    let json: Value = serde_json::from_slice(&json).expect("JSON");
    let (mut caption_first, mut picture_first) = (Vec::new(), Vec::new());
    for set in json["sets"].as_array().expect("sets") {
        let entries = set.as_array().expect("entries");
        assert_eq!(entries.len(), 50);
        let mut form = Form::new();
        let mut captions = Vec::new();
        for entry in entries {
            let file = entry["file"].as_str().expect("a file");
            captions.push(entry["caption"].clone());
            let picture = std::fs::read(fixture(&format!("demo/{file}"))).expect("a picture");
            form = form.file("files", file, picture);
        }
        let form = form.text("texts", Value::Array(captions).to_string());
        let answer = ask(server.address, form.post("/similarity")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let by_caption: Vec<Vec<f64>> =
            serde_json::from_value(answer.json()["similarities"].clone()).expect("a matrix");
        picture_first.push(first(&by_caption));
        caption_first.push(first(&transposed(&by_caption)));
    }
    for (what, shares) in [
        ("caption_first", caption_first),
        ("picture_first", picture_first),
    ] {
        let share = shares.iter().sum::<f64>() / shares.len() as f64;
        println!("{what}: {share:.3}");
        assert!(share >= 0.95, "{what}: {share}, not 95%");
        let expected = json["expected"][what]
            .as_f64()
            .expect("what transformers measured");
        assert!(
            (share - expected).abs() <= 0.011,
            "{what}: {share}, transformers has {expected}"
        );
    }
}
