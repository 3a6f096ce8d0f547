//! Models of variable resolution (NaFlex): vectors are those of transformers for pictures of any
//! shape, alone and among others. The truth is in tests/fixtures/golden/naflex16 and naflex14,
//! made by tools/make_naflex_vectors.py; grids and pixels are tested in crates/image.

use crate::common::model::{fixture, service};
use crate::common::noise::drawn;
use crate::common::{Server, ask, get};
use bytes::Bytes;
use serde_json::Value;
use siglip2_embeddings::engine::cosine;
use siglip2_embeddings::engine::cpu::Kernel;
use siglip2_embeddings::image::RgbImage;
use siglip2_embeddings::service::{Context, Service};

/// A picture, and what transformers makes of it with at most so many patches.
struct Picture {
    name: String,
    most: u64,
    file: Bytes,
    embedding: Vec<f32>,
}

/// What transformers made of pictures and texts.
struct Golden {
    pictures: Vec<Picture>,
    texts: Vec<(String, Vec<f32>)>,
}

fn golden(shape: &str) -> Golden {
    let json = std::fs::read(fixture(&format!("golden/{shape}/expected.json"))).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let row = |entry: &Value| serde_json::from_value(entry["embedding"].clone()).unwrap();
    let entries = |list: &str| json[list].as_array().unwrap().clone();
    let pictures = entries("pictures");
    let pictures = pictures.iter().map(|entry| {
        let number = |key: &str| entry[key].as_u64().unwrap();
        let (width, height) = (number("width") as u32, number("height") as u32);
        let image = drawn(width, height, number("seed"), number("block") as u32);
        let most = number("max_num_patches");
        Picture {
            name: format!("{width} x {height}, {most} patches"),
            most,
            file: file(&image),
            embedding: row(entry),
        }
    });
    let texts = entries("texts");
    let texts = texts.iter().map(|entry| {
        let text = entry["text"].as_str().unwrap();
        (text.to_owned(), row(entry))
    });
    Golden {
        pictures: pictures.collect(),
        texts: texts.collect(),
    }
}

fn file(image: &RgbImage) -> Bytes {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(image.pixels()).unwrap();
    writer.finish().unwrap();
    bytes.into()
}

async fn embed(service: &Service, pictures: &[&Picture]) -> Vec<Vec<f32>> {
    let files = pictures.iter().map(|picture| picture.file.clone());
    let embeddings = service
        .request(Context::default())
        .embed_images(files.collect(), false)
        .await
        .expect("images embed");
    embeddings.rows().map(<[f32]>::to_vec).collect()
}

fn assert_same(name: &str, got: &[f32], want: &[f32], least: f64) {
    let found = cosine(got, want);
    assert!(found >= least, "{name}: cosine {found}");
    let length = |row: &[f32]| row.iter().map(|v| v * v).sum::<f32>().sqrt();
    let ratio = length(got) / length(want);
    let most = if least < 0.9999 { 5e-2 } else { 1e-3 };
    assert!((ratio - 1.0).abs() < most, "{name}: length {ratio}");
}

async fn vectors_are_those_of_transformers(shape: &str) {
    let golden = golden(shape);
    for kernel in Kernel::all().filter(|kernel| kernel.precision() != "int8") {
        // BF16 has three digits, and random weights amplify its rounding.
        let least = if kernel.is_fp32() { 0.999_999 } else { 0.995 };
        for most in [64, 256, 1024] {
            let flags = ["--cpu-kernel", kernel.name(), "--max-num-patches"];
            let service = service(
                &fixture(&format!("golden/{shape}")),
                &[&flags[..], &[&most.to_string(), "--max-batch", "5"]].concat(),
            );
            let pictures = golden.pictures.iter();
            let pictures: Vec<&Picture> = pictures.filter(|it| it.most == most).collect();
            assert!(pictures.len() >= 12);
            let rows = embed(&service, &pictures).await;
            for (picture, got) in pictures.iter().zip(&rows) {
                let name = format!("{} on {}", picture.name, kernel.name());
                assert_same(&name, got, &picture.embedding, least);
            }
            if most != 64 {
                continue;
            }
            // In company and alone a picture is the same.
            for (picture, among) in pictures.iter().zip(&rows) {
                let alone = embed(&service, &[picture]).await.remove(0);
                assert_same(&picture.name, &alone, among, 0.999_999);
            }
            let (texts, wanted): (Vec<_>, Vec<_>) = golden.texts.iter().cloned().unzip();
            let request = service.request(Context::default());
            let got = request.embed_texts(texts.clone(), false).await.unwrap();
            for ((text, want), got) in texts.iter().zip(&wanted).zip(got.embeddings.rows()) {
                assert_same(text, got, want, least);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_model_with_equal_towers() {
    vectors_are_those_of_transformers("naflex16").await;
}

/// Patches of 14, a table of 7 by 7 positions, heads of 72, BF16 weights.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_model_with_unequal_towers() {
    vectors_are_those_of_transformers("naflex14").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn info_says_what_pictures_become_and_readiness_is_checked() {
    let directory = fixture("golden/naflex16");
    let mut spaces = Vec::new();
    for (flags, most, side) in [
        (&[][..], 256, 256),
        (&["--max-num-patches", "1000"][..], 1000, 31 * 16),
    ] {
        let server = Server::of(service(&directory, flags)).await;
        let told = ask(server.address, get("/info")).await.json();
        assert_eq!(told["patch_size"], 16);
        assert_eq!(told["max_num_patches"], most);
        assert_eq!(told["image_size"], side);
        assert_eq!(ask(server.address, get("/ready")).await.status, 200);
        spaces.push(server.service.fingerprints().expect("fingerprints"));
    }
    // Vectors of other patches are not to be compared with these.
    assert_ne!(spaces[0].normalized, spaces[1].normalized);
    let same = service(&directory, &["--max-num-patches", "256"]);
    assert_eq!(same.fingerprints(), Some(spaces[0]));
    let server = Server::of(service("demo", &[])).await;
    let told = ask(server.address, get("/info")).await.json();
    assert!(told.get("patch_size").is_none() && told.get("max_num_patches").is_none());
}
