//! Equal fingerprints mean equal vectors. Different ones mostly mean different vectors: a file that
//! is written differently, but says the same, may change a fingerprint.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use siglip2_model::checkpoint::Checkpoint;
use siglip2_model::fingerprint::{Fingerprint, Space, WeightsDigest};

use crate::{copy, fixture};

fn fingerprint(directory: &Path, change: impl FnOnce(&mut Space<'_>)) -> Fingerprint {
    let checkpoint = Checkpoint::open(directory).unwrap();
    let tokenizer = checkpoint
        .files
        .text_tokenizer(&checkpoint.config, None)
        .unwrap();
    let mut space = Space {
        weights: &WeightsDigest::of(&checkpoint, 2),
        tokenizer: &tokenizer,
        image_processor: &checkpoint.files.preprocessor,
        precision: "fp32",
        normalized: true,
    };
    change(&mut space);
    Fingerprint::of(space)
}

#[test]
fn whatever_changes_vectors_changes_the_fingerprint() {
    let model = fixture("golden/patch16");
    let base = fingerprint(&model, |_| {});
    assert_eq!(base, fingerprint(&model, |_| {}));
    let mut seen = HashSet::from([base]);
    let mut new = |it| assert!(seen.insert(it), "{it}");
    new(fingerprint(&model, |it| it.precision = "fp16"));
    new(fingerprint(&model, |it| it.normalized = false));
    new(fingerprint(&model, |it| it.image_processor = b"other"));
    new(fingerprint(&fixture("golden/patch14"), |_| {}));

    let changed = |file: &str, from: &str, to: &str| {
        let directory = copy(&model);
        let path = directory.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        fs::write(path, text.replace(from, to)).unwrap();
        fingerprint(directory.path(), |_| {})
    };
    new(changed(
        "tokenizer_config.json",
        "Siglip2Tokenizer",
        "GemmaTokenizer",
    ));
    new(changed(
        "tokenizer_config.json",
        "{",
        "{\"max_length\": 32,",
    ));
    // No tensor tells of these.
    for (key, value) in [
        ("hidden_act", json!("relu")),
        ("num_attention_heads", json!(2)),
        ("layer_norm_eps", json!(0.01)),
        ("num_hidden_layers", json!(1)),
    ] {
        for tower in ["text_config", "vision_config"] {
            let directory = copy(&model);
            let path = directory.path().join("config.json");
            let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            assert_ne!(config[tower][key], value);
            config[tower][key] = value.clone();
            fs::write(path, config.to_string()).unwrap();
            new(fingerprint(directory.path(), |_| {}));
        }
    }
    // One bit of the last number of the file.
    let directory = copy(&model);
    let path = directory.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
    new(fingerprint(directory.path(), |_| {}));

    // Files elsewhere, and keys that mean nothing, change nothing.
    let directory = copy(&model);
    assert_eq!(base, fingerprint(directory.path(), |_| {}));
    assert_eq!(
        base,
        changed("tokenizer_config.json", "{", "{\"is_local\": true,")
    );
}

#[test]
fn the_digest_does_not_depend_on_the_number_of_threads() {
    let checkpoint = Checkpoint::open(&fixture("golden/patch14")).unwrap();
    let one = WeightsDigest::of(&checkpoint, 1);
    for threads in [0, 2, 7] {
        assert_eq!(WeightsDigest::of(&checkpoint, threads), one);
    }
}

#[test]
fn a_fingerprint_is_read_as_it_is_written() {
    for wrong in [
        "",
        "0123",
        "0123456789abcdeg",
        "0123456789abcdef0",
        "+123456789abcdef",
    ] {
        assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong:?}");
    }
    let fingerprint: Fingerprint = "00000000000000AB".parse().unwrap();
    assert_eq!(fingerprint.to_string(), "00000000000000ab");
    let json = serde_json::to_string(&fingerprint).unwrap();
    assert_eq!(json, "\"00000000000000ab\"");
    assert_eq!(
        serde_json::from_str::<Fingerprint>(&json).unwrap(),
        fingerprint
    );
}

/// Prints what hashing the weights of the directory in `CHECKPOINT` takes.
#[test]
#[ignore = "measures"]
fn what_a_digest_takes() {
    let directory = std::env::var_os("CHECKPOINT").expect("CHECKPOINT names a directory");
    let checkpoint = Checkpoint::open(directory.as_ref()).unwrap();
    for threads in [1, 2, 1, 2] {
        let started = Instant::now();
        WeightsDigest::of(&checkpoint, threads);
        let seconds = started.elapsed().as_secs_f64();
        let gigabytes = checkpoint.weights.bytes() as f64 / 1e9;
        println!("{threads} threads: {gigabytes:.2} GB in {seconds:.2} s");
    }
}
