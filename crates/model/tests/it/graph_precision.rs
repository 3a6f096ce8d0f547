//! The graphs in each precision, seen from outside: FP32 is what it always was, and
//! the half precisions are what their names say. Types within the graphs are checked
//! in src/graph/types.rs.

use std::path::Path;

use sha2::{Digest, Sha256};
use siglip2_model::checkpoint::Checkpoint;
use siglip2_model::graph::{self, Graph, Precision};

fn checkpoint(directory: &str) -> Checkpoint {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Checkpoint::open(&root.join(directory)).expect("a checkpoint")
}

fn towers(checkpoint: &Checkpoint, precision: Precision) -> [Graph; 2] {
    let Checkpoint {
        config, weights, ..
    } = checkpoint;
    [
        graph::vision(&config.vision, weights, precision).expect("a vision tower"),
        graph::text(&config.text, weights, precision).expect("a text tower"),
    ]
}

/// The hash of a graph as a file, less the head that has this package's version.
fn hash(graph: &Graph) -> String {
    // IR version, producer's name, its version: a tag each; a number, two strings.
    let head = 2 + (2 + "siglip2-embeddings".len()) + (2 + env!("CARGO_PKG_VERSION").len());
    Sha256::digest(&graph.encode()[head..])
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The hashes were taken before there were other precisions. The CPU engine's speed
/// and its vectors rest on this form (docs/performance.md); who changes it on purpose
/// measures again, and writes the new hashes here.
#[test]
fn the_fp32_graphs_are_the_same_to_the_byte() {
    for (directory, vision, text) in [
        (
            "models/demo",
            "af51b94df1a57d093984a3f3cef9ef36d274df3a5708e4efd48ef8d47edeb3ae",
            "85eba8f0ef134dbdbd5ba32086748158fec5b5a67256a559c3c74ea37bde7ec3",
        ),
        (
            "tests/fixtures/golden/patch16",
            "d4886368d9c65619035a3fa63cafb7b8afc01c73566d75a0ae6122ef7c7adfda",
            "cb3a23dd2e68635f1e5ab8d7854861efcba6f9b5c6cd2b699d0d42c1cf8afcee",
        ),
    ] {
        let [image_tower, text_tower] = towers(&checkpoint(directory), Precision::Fp32);
        assert_eq!(hash(&image_tower), vision, "{directory}, vision");
        assert_eq!(hash(&text_tower), text, "{directory}, text");
    }
}

#[test]
fn precisions_differ_and_have_one_name_everywhere() {
    let checkpoint = checkpoint("models/demo");
    let mut seen = Vec::new();
    for (precision, name) in [
        (Precision::Fp32, "fp32"),
        (Precision::Fp16, "fp16"),
        (Precision::Bf16, "bf16"),
        (Precision::Fp8, "fp8"),
    ] {
        assert_eq!(precision.to_string(), name);
        assert_eq!(
            serde_json::to_string(&precision).unwrap(),
            format!("{name:?}")
        );
        let flag = <Precision as clap::ValueEnum>::from_str(name, false);
        assert_eq!(flag, Ok(precision));
        seen.extend(towers(&checkpoint, precision).map(|graph| hash(&graph)));
    }
    seen.sort();
    seen.dedup();
    // FP8 without scales is FP16.
    assert_eq!(seen.len(), 6);
}
