//! What the CPU's lower precisions are allowed to change, and what happens where they change
//! more: the model whose vectors suffer is made here.

use std::fs;
use std::path::Path;

use serde_json::Value;
use siglip2_embeddings::checkpoint::Checkpoint;
use siglip2_embeddings::engine::cpu::{CpuEngine, CpuOptions, CpuPrecision, Kernel};
use siglip2_embeddings::engine::{Batch, Engine, embed};
use siglip2_embeddings::http::HttpSettings;
use siglip2_embeddings::image::Processor;

use crate::common::client::{ask, get, post_json};
use crate::common::model::{copy_of, fixture, service};
use crate::common::program::{command, started};
use crate::common::server::Server;
use crate::common::tell;

/// The numbers of a tensor in FP32, in a file of safetensors.
fn tensor<'a>(file: &'a mut [u8], name: &str) -> &'a mut [u8] {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let tensor = &header[name];
    assert_eq!(tensor["dtype"], "F32", "{name}");
    let place = |end: usize| 8 + length + tensor["data_offsets"][end].as_u64().unwrap() as usize;
    &mut file[place(0)..place(1)]
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    bytes.chunks_exact(4).map(number).collect()
}

/// A model that needs FP32. What enters a product has a large number added to it, and the
/// product's bias takes away again what that number adds: the same model on paper, but where
/// the number's last digits are lost, so is all that differs between two texts.
fn model_that_needs_fp32() -> tempfile::TempDir {
    const LARGE: f32 = 1e5;
    let model = copy_of("golden/patch16");
    let path = model.path().join("model.safetensors");
    let mut file = fs::read(&path).unwrap();
    let layer = |name: &str| format!("text_model.encoder.layers.1.{name}");
    let added = tensor(&mut file, &layer("layer_norm2.bias"));
    let width = added.len() / 4;
    for bytes in added.chunks_exact_mut(4) {
        let number = f32::from_le_bytes(bytes.try_into().unwrap());
        bytes.copy_from_slice(&(number + LARGE).to_le_bytes());
    }
    let weights = numbers(tensor(&mut file, &layer("mlp.fc1.weight")));
    let bias = tensor(&mut file, &layer("mlp.fc1.bias"));
    for (row, bytes) in weights.chunks(width).zip(bias.chunks_exact_mut(4)) {
        let sum: f64 = row.iter().copied().map(f64::from).sum();
        let number = f32::from_le_bytes(bytes.try_into().unwrap());
        let less = f64::from(number) - sum * f64::from(LARGE);
        bytes.copy_from_slice(&(less as f32).to_le_bytes());
    }
    fs::write(&path, file).unwrap();
    model
}

fn load(model: &Path, kernel: Kernel) -> Result<CpuEngine, String> {
    let checkpoint = Checkpoint::open(model).unwrap();
    let side = u32::try_from(checkpoint.config.vision.image_size).unwrap();
    let processor = Processor::from_json(&checkpoint.files.preprocessor, side).unwrap();
    let options = CpuOptions {
        threads: 2,
        max_batch: 2,
        kernel,
    };
    CpuEngine::load(&checkpoint, &processor, options).map_err(|error| error.to_string())
}

fn row(engine: &mut CpuEngine) -> Vec<f32> {
    let positions = Checkpoint::open(Path::new(&fixture("golden/patch16")))
        .unwrap()
        .config
        .text
        .positions;
    let rows = embed(engine, Batch::Texts(vec![vec![7; positions]])).unwrap();
    rows.iter().next().unwrap().to_vec()
}

/// On every kernel that this processor has; bytes in plain Rust are among them everywhere.
#[test]
fn a_kernel_whose_canaries_fail_gives_way_to_fp32_or_is_refused() {
    let model = model_that_needs_fp32();
    let mut fp32 = load(model.path(), Kernel::fp32()).unwrap();
    assert_eq!(fp32.info().agreement, None);
    let want = row(&mut fp32);
    for kernel in Kernel::all().filter(|kernel| !kernel.is_fp32()) {
        let name = kernel.name();
        let reason = load(model.path(), kernel).map(|_| ()).unwrap_err();
        let said = format!("in {} this model's vectors are too far", kernel.precision());
        assert!(reason.contains(&said), "{name}: {reason}");
        assert!(reason.contains("use --precision fp32"), "{name}: {reason}");

        let mut engine = load(model.path(), kernel.or_fp32()).unwrap();
        let info = engine.info();
        assert_eq!(info.precision, "fp32", "{name}");
        assert_eq!(engine.kernel(), Kernel::fp32(), "{name}");
        let worst = info.agreement.unwrap();
        assert!(worst < kernel.least_cosine(), "{name}: {worst}");
        assert_eq!(row(&mut engine), want, "{name}");

        // With a model that bears it, nothing gives way.
        let sound = load(Path::new(&fixture("golden/patch16")), kernel.or_fp32()).unwrap();
        assert_eq!(sound.kernel().name(), name);
        assert!(
            sound.info().agreement.unwrap() >= kernel.least_cosine(),
            "{name}"
        );
    }
}

async fn told(model: &str, flags: &[&str]) -> Value {
    let server = Server::of(service(model, flags)).await;
    ask(server.address, get("/info")).await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn info_has_the_worst_cosine_to_fp32() {
    let fp32 = told("demo", &[]).await;
    assert_eq!(fp32["precision"], "fp32");
    assert_eq!(fp32["cosine_to_fp32"], Value::Null);

    let int8 = told("demo", &["--cpu-kernel", "portable-int8"]).await;
    assert_eq!(int8["precision"], "int8");
    let worst = int8["cosine_to_fp32"].as_f64().unwrap();
    assert!((0.995..1.0).contains(&worst), "{worst}");
}

/// The precisions as they are asked for on the command line, on processors that have them.
#[tokio::test(flavor = "multi_thread")]
async fn auto_takes_fp32_and_says_so_and_other_precisions_do_not_start() {
    let model = model_that_needs_fp32();
    let path = model.path().to_str().unwrap();
    for (precision, name) in [(CpuPrecision::Bf16, "bf16"), (CpuPrecision::Int8, "int8")] {
        if Kernel::of(precision).is_err() {
            tell(&format!(
                "this processor has no {name}: not refused by its canaries here"
            ));
            continue;
        }
        let mut program = command(&["--model", path, "--port", "0", "--precision", name]);
        let output = program.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("too far from FP32's"), "{said}");
        assert!(said.contains("use --precision fp32"), "{said}");
    }

    let auto = Kernel::of(CpuPrecision::Auto).unwrap();
    if auto.is_fp32() {
        tell("--precision auto is FP32 on this processor: its fallback was not run here");
        return;
    }
    let (_child, mut log) = started(&mut command(&["--model", path]));
    let mut next = |beginning: &str| {
        let says = |line: &Value| line["message"].as_str().unwrap().starts_with(beginning);
        log.find(says).unwrap()
    };
    let warning = next("taking FP32");
    assert_eq!(warning["level"], "WARN");
    let worst = warning["cosine"].as_f64().unwrap();
    assert!(worst < auto.least_cosine(), "{worst}");
    let listening = next("listening");
    let compute = listening["compute"].as_str().unwrap();
    let kernel = Kernel::fp32().name();
    assert!(
        compute.contains(&format!("{kernel}, fp32, because")),
        "{compute}"
    );
    assert!(compute.contains(auto.name()), "{compute}");

    let info = told(path, &["--precision", "auto"]).await;
    assert_eq!(info["precision"], "fp32");
    let told = info["cosine_to_fp32"].as_f64().unwrap();
    assert!((told - worst).abs() < 1e-9, "{told}, not {worst}");
}

/// What canaries show is kept for the next start of the same program with the same weights, and for no other.
#[test]
fn canaries_are_compared_once() {
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("canaries");
    let start = |model: &str| {
        let mut program = command(&["--model", model, "--cpu-kernel", "portable-int8"]);
        program.env("CANARY_CACHE", &folder);
        let (_child, mut log) = started(&mut program);
        let line = log.find(|line| {
            line["message"]
                .as_str()
                .unwrap()
                .starts_with("canaries were")
        });
        let line = line.unwrap();
        assert!(log.any(|line| line["message"] == "ready"));
        let message = line["message"].as_str().unwrap().to_owned();
        (message, line["cosine"].as_f64().unwrap())
    };
    let file = || {
        let files = fs::read_dir(&folder).unwrap();
        let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        files[0].clone()
    };
    let (anew, before) = ("canaries were compared with FP32", " at an earlier start");

    let (said, worst) = start("demo");
    assert_eq!(said, anew);
    let (said, known) = start("demo");
    assert_eq!((said, known), (format!("{anew}{before}"), worst));

    // A file that is damaged is as none, and is written anew.
    let kept = fs::read_to_string(file()).unwrap();
    fs::write(file(), &kept[..kept.len() - 4]).unwrap();
    assert_eq!(start("demo"), (anew.to_owned(), worst));
    assert_eq!(fs::read_to_string(file()).unwrap(), kept);

    // Too little is refused as it is where it has just been found.
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let low = Value::from(0.5);
    let low = kept
        .to_string()
        .replace(&kept["cosine_to_fp32"].to_string(), &low.to_string());
    fs::write(file(), low).unwrap();
    let mut program = command(&[
        "--model",
        "demo",
        "--cpu-kernel",
        "portable-int8",
        "--port",
        "0",
    ]);
    let output = program.env("CANARY_CACHE", &folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("cosine is 0.50000"), "{said}");

    // Another model.
    let other = fixture("golden/patch16");
    assert_eq!(start(&other).0, anew);
}

/// As where one number of a checkpoint is damaged: what needs it is refused each time, nothing of it
/// is remembered, and all others are served as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_weight_that_is_no_number_costs_only_those_that_need_it() {
    let demo = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo"));
    let model = tempfile::tempdir().unwrap();
    for file in [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        fs::copy(demo.join(file), model.path().join(file)).unwrap();
    }
    let path = model.path().join("model.safetensors");
    let mut file = fs::read(&path).unwrap();
    let name = "text_model.embeddings.token_embedding.weight";
    let width = 96;
    // The token of the character U+0001.
    let token = 6;
    let row = tensor(&mut file, name)
        .chunks_exact_mut(4 * width)
        .nth(token);
    row.unwrap()[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, file).unwrap();

    let settings = HttpSettings {
        cache_header: true,
        ..HttpSettings::default()
    };
    let service = service(model.path().to_str().unwrap(), &[]);
    let server = Server::serving(service, settings).await;
    let embed = async |texts: &str| {
        let request = post_json("/embed/text", &format!(r#"{{"texts": [{texts}]}}"#));
        ask(server.address, request).await
    };
    let want = embed(r#""a red circle""#).await;
    assert_eq!(want.status, 200);
    for texts in [r#""\u0001""#, r#""\u0001""#, r#""a red circle", "\u0001""#] {
        let (status, said) = embed(texts).await.error();
        assert_eq!(status, 500, "{texts}: {said}");
        // It was that text, and nothing is wrong with the engine.
        assert_eq!(ask(server.address, get("/ready")).await.status, 200);
    }
    let got = embed(r#""a red circle""#).await;
    assert_eq!(got.json(), want.json());
    assert_eq!(embed(r#""a blue square""#).await.status, 200);
}
