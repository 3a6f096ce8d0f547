//! Vectors are those of transformers. The truth is in tests/fixtures/golden, made by
//! tools/make_golden_vectors.py from small random checkpoints of two shapes, and in
//! tests/fixtures/demo for the demo model.

use crate::common::model::{fixture, service};
use bytes::Bytes;
use serde_json::Value;
use siglip2_embeddings::engine::cpu::Kernel;
use siglip2_embeddings::service::{Context, Embeddings, Service};

/// What transformers made of some texts and pictures.
struct Golden {
    texts: Vec<(String, Vec<f32>)>,
    images: Vec<(String, Vec<f32>)>,
    similarities: Vec<Vec<f32>>,
}

fn floats(values: &Value) -> Vec<f32> {
    let values = values.as_array().expect("a row");
    values
        .iter()
        .map(|value| value.as_f64().expect("a float") as f32)
        .collect()
}

fn golden(file: &str) -> Golden {
    let json = std::fs::read(fixture(file)).expect("the golden vectors");
    let json: Value = serde_json::from_slice(&json).expect("JSON");
    let rows = |list: &str, key: &str| {
        let entries = json[list].as_array().expect("entries").iter();
        entries
            .map(|entry| {
                let name = entry[key].as_str().expect("a name").to_owned();
                (name, floats(&entry["embedding"]))
            })
            .collect()
    };
    let similarities = json["similarities"].as_array();
    Golden {
        texts: rows("texts", "text"),
        images: rows("images", "file"),
        similarities: similarities.map_or(Vec::new(), |rows| rows.iter().map(floats).collect()),
    }
}

fn norm(row: &[f32]) -> f64 {
    row.iter()
        .map(|&v| f64::from(v).powi(2))
        .sum::<f64>()
        .sqrt()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot: f64 = a
        .iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum();
    dot / norm(a) / norm(b)
}

/// Direction and length; what differs is named.
fn assert_same(name: &str, got: &[f32], want: &[f32], least: f64) {
    assert_eq!(got.len(), want.len(), "{name}: dimensions");
    let cosine = cosine(got, want);
    assert!(cosine >= least, "{name}: cosine {cosine}");
    let length = norm(got) / norm(want);
    let most = if least < 0.9999 { 5e-2 } else { 1e-3 };
    assert!(
        (length - 1.0).abs() < most,
        "{name}: norm is {length} of what it should be"
    );
}

fn rows(embeddings: &Embeddings) -> Vec<Vec<f32>> {
    embeddings.rows().map(<[f32]>::to_vec).collect()
}

async fn texts(service: &Service, texts: &[String], normalize: bool) -> Vec<Vec<f32>> {
    let embeddings = service
        .request(Context::default())
        .embed_texts(texts.to_vec(), normalize)
        .await;
    rows(&embeddings.expect("texts embed").embeddings)
}

async fn images(service: &Service, images: &[Bytes], normalize: bool) -> Vec<Vec<f32>> {
    let embeddings = service
        .request(Context::default())
        .embed_images(images.to_vec(), normalize)
        .await;
    rows(&embeddings.expect("images embed"))
}

fn files(directory: &str, names: &[(String, Vec<f32>)]) -> Vec<Bytes> {
    let read = |name: &str| std::fs::read(format!("{directory}/{name}")).expect("a picture");
    names.iter().map(|(name, _)| read(name).into()).collect()
}

/// On every kernel that this processor has.
async fn vectors_are_those_of_transformers(shape: &str) {
    // INT8 is held to the demo model's vectors below. It has two digits, and these random weights
    // amplify rounding: the same arithmetic in torch is at 0.983 on some texts of patch14.
    for kernel in Kernel::all().filter(|kernel| kernel.precision() != "int8") {
        // FP32 differs only in the last digits. BF16 has three digits: on patch14's texts the
        // lowest cosine of transformers' own BF16 is 0.9993, and that of our AVX512-BF16 0.9984.
        let (least, apart) = if kernel.is_fp32() {
            (0.999_999, 2e-3)
        } else {
            (0.995, 6e-2)
        };
        vectors_on_a_kernel(shape, kernel.name(), least, apart).await;
    }
}

async fn vectors_on_a_kernel(shape: &str, kernel: &str, least: f64, apart: f32) {
    let flags = ["--cpu-kernel", kernel];
    let service = service(&fixture(&format!("golden/{shape}")), &flags);
    let golden = golden(&format!("golden/{shape}/expected.json"));

    let (names, want): (Vec<String>, Vec<Vec<f32>>) = golden.texts.iter().cloned().unzip();
    let got = texts(&service, &names, false).await;
    assert_eq!(got.len(), want.len());
    for ((name, got), want) in names.iter().zip(&got).zip(&want) {
        assert_same(&format!("{name:?} on {kernel}"), got, want, least);
    }

    let pictures = files(&fixture("golden/images"), &golden.images);
    let got = images(&service, &pictures, false).await;
    assert_eq!(got.len(), golden.images.len());
    for ((name, want), got) in golden.images.iter().zip(&got) {
        assert_same(&format!("{name} on {kernel}"), got, want, least);
    }

    let similarity = service
        .request(Context::default())
        .similarity(pictures, names)
        .await
        .expect("similarity");
    assert_eq!(similarity.similarities.len(), golden.similarities.len());
    for (text, (got, want)) in similarity
        .similarities
        .iter()
        .zip(&golden.similarities)
        .enumerate()
    {
        assert_eq!(got.len(), want.len());
        for (image, (got, want)) in got.iter().zip(want).enumerate() {
            assert!(
                (got - want).abs() < apart,
                "text {text}, image {image}: {got}, not {want}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_model_with_equal_towers() {
    vectors_are_those_of_transformers("patch16").await;
}

/// Patches of 14 that do not fill the square, heads of 72, towers of unequal width,
/// BF16 weights in two files: the traits of so400m and giant-opt.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_model_with_unequal_towers() {
    vectors_are_those_of_transformers("patch14").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_demo_model() {
    let golden = golden("demo/golden.json");
    for kernel in Kernel::all() {
        let least = match kernel.precision() {
            "fp32" => 0.999_999,
            "bf16" => 0.9998,
            _ => 0.9995,
        };
        let service = service("demo", &["--cpu-kernel", kernel.name()]);
        let (names, want): (Vec<String>, Vec<Vec<f32>>) = golden.texts.iter().cloned().unzip();
        let got = texts(&service, &names, false).await;
        for ((name, got), want) in names.iter().zip(&got).zip(&want) {
            assert_same(&format!("{name} on {}", kernel.name()), got, want, least);
        }
        let samples = format!("{}/models/demo/samples", env!("CARGO_MANIFEST_DIR"));
        let got = images(&service, &files(&samples, &golden.images), false).await;
        for ((name, want), got) in golden.images.iter().zip(&got) {
            assert_same(&format!("{name} on {}", kernel.name()), got, want, least);
        }
    }
}

/// A row is what it is alone, whatever else is in its batch: every number of rows
/// there is on the way through one thread, several, and what is left over.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_in_a_batch_is_the_row_alone() {
    for threads in ["1", "2", "3"] {
        let service = service(
            &fixture("golden/patch14"),
            &["--compute-threads", threads, "--max-batch", "16"],
        );
        let golden = golden("golden/patch14/expected.json");
        let names: Vec<String> = golden.texts.iter().map(|(text, _)| text.clone()).collect();
        let mut alone = Vec::new();
        for name in &names {
            alone.extend(texts(&service, std::slice::from_ref(name), false).await);
        }
        for count in 1..=names.len() {
            let together = texts(&service, &names[..count], false).await;
            for ((name, got), want) in names.iter().zip(&together).zip(&alone) {
                assert_same(&format!("{name:?} in {count}"), got, want, 0.999_999);
            }
        }
        let pictures = files(&fixture("golden/images"), &golden.images);
        let mut alone = Vec::new();
        for picture in &pictures {
            alone.extend(images(&service, std::slice::from_ref(picture), false).await);
        }
        let together = images(&service, &pictures, false).await;
        for (((name, _), got), want) in golden.images.iter().zip(&together).zip(&alone) {
            assert_same(name, got, want, 0.999_999);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn normalized_rows_have_length_one() {
    let service = service(&fixture("golden/patch16"), &[]);
    let names = ["a red circle".to_owned(), String::new()];
    let raw = texts(&service, &names, false).await;
    let normalized = texts(&service, &names, true).await;
    for (raw, normalized) in raw.iter().zip(&normalized) {
        assert!((norm(normalized) - 1.0).abs() < 1e-6);
        assert!(cosine(raw, normalized) > 0.999_999);
        assert!(
            (norm(raw) - 1.0).abs() > 0.01,
            "the raw row must not be normalized"
        );
    }
}
