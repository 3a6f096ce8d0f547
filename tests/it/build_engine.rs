//! `build-engine` as a program: what it refuses, and, if NVIDIA's libraries are installed, real
//! engines for a GPU that is not present.
//!
//! The libraries are found through `TENSORRT_LIB_DIR` and `NVRTC_LIB_DIR`, which
//! tools/check-tensorrt sets; without them the tests that need them say so and pass.

// Standard TensorRT builds on the GPU that the engine is for.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use siglip2_embeddings::checkpoint::Checkpoint;
use siglip2_embeddings::engine::Tower;
use siglip2_embeddings::graph::{self, Precision};
use siglip2_embeddings::tensorrt::directory::{
    Architecture, DirectoryError, ElementType, EngineDirectory, Flavour, Manifest,
};

use crate::common::model::{copy_of, fixture};

const LIBRARIES: [&str; 2] = ["TENSORRT_LIB_DIR", "NVRTC_LIB_DIR"];

/// The program, with only the libraries from its environment, and no GPU.
fn build_engine(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_build-engine"));
    command
        .args(arguments)
        .env_remove("MODEL_NAME")
        .env_remove("PRECISION")
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HOME", "/nonexistent")
        .env("CUDA_VISIBLE_DEVICES", "");
    command
}

/// Runs it to its end, and returns its output.
fn run(mut command: Command) -> Result<String, String> {
    let output = command.output().expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    if output.status.success() {
        Ok(said)
    } else {
        Err(said)
    }
}

fn refused(arguments: &[&str]) -> String {
    run(build_engine(arguments)).expect_err("it is refused")
}

/// Whether there are libraries to build with.
fn libraries_are_there(test: &str) -> bool {
    let missing = LIBRARIES
        .into_iter()
        .find(|name| std::env::var_os(name).is_none());
    if let Some(name) = missing {
        eprintln!("skipped: {test} needs {name}; tools/check-tensorrt sets it");
    }
    missing.is_none()
}

fn find(root: &Path, gpu: &str, precision: Precision) -> Result<EngineDirectory, DirectoryError> {
    let gpu: Architecture = gpu.parse().unwrap();
    EngineDirectory::find(root, "demo", gpu, precision)
}

/// Names below a directory, including hidden ones.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_library_that_is_not_there_is_named_with_where_it_was_looked_for() {
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path().to_str().unwrap();
    let said = refused(&["--model", "demo", "--gpu", "sm_120", "--tensorrt-lib", path]);
    let library = "libtensorrt_rtx.so.1";
    for part in [library, path, "--tensorrt-lib (TENSORRT_LIB_DIR)"] {
        assert!(said.contains(part), "{part}: {said}");
    }

    // A file with the right name that is not a library.
    fs::write(empty.path().join(library), "hello").unwrap();
    let said = refused(&["--model", "demo", "--gpu", "sm_120", "--tensorrt-lib", path]);
    assert!(
        said.contains("cannot be loaded") && said.contains(library),
        "{said}"
    );
}

/// Pictures of which the middle is cut out: on the CPU alone.
#[test]
fn models_that_run_on_the_cpu_alone_are_refused() {
    if !libraries_are_there("refusing models that run on the CPU alone") {
        return;
    }
    let model = copy_of("golden/patch16");
    fs::write(
        model.path().join("preprocessor_config.json"),
        r#"{"image_processor_type": "CLIPImageProcessor", "size": 72, "crop_size": 64}"#,
    )
    .unwrap();
    let said = refused(&["--model", model.path().to_str().unwrap(), "--gpu", "sm_120"]);
    assert!(
        said.contains("cuts the middle") && said.contains("--device cpu"),
        "{said}"
    );
}

/// Engines of a model of variable resolution (NaFlex), in every precision: TensorRT takes the graph
/// and fuses every attention in spite of the mask, for each number of patches.
#[test]
fn a_model_of_variable_resolution_is_built_for_every_number_of_patches() {
    if !libraries_are_there("building engines of variable resolution") {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let root = out.path().to_str().unwrap();
    let model = fixture("golden/naflex16");
    let build = |flags: &[&str]| {
        let shared = ["--model", &model, "--gpu", "sm_120"];
        let rest = ["--max-batch", "4", "--out", root];
        run(build_engine(&[&shared[..], &rest[..], flags].concat())).unwrap()
    };
    for (precision, flags, buckets) in [
        (Precision::Fp16, &[][..], vec![64, 128, 256]),
        (
            Precision::Fp32,
            &["--precision", "fp32", "--max-num-patches", "300"][..],
            vec![64, 128, 300],
        ),
        (
            Precision::Bf16,
            &["--precision", "bf16", "--max-num-patches", "64"][..],
            vec![64],
        ),
    ] {
        build(flags);
        let path = out.path().join(format!("naflex16/sm_120/{precision}"));
        let directory = EngineDirectory::open(&path).unwrap();
        directory.verify_hashes().unwrap();
        let manifest = directory.manifest();
        let patches = manifest.patches.as_ref().unwrap();
        assert_eq!((patches.size, &patches.buckets), (16, &buckets));
        let image = &manifest.towers.image;
        assert_eq!(image.input.name, "patches");
        assert_eq!(image.input.element, ElementType::Uint8);
        if precision != Precision::Fp32 {
            let layers = image.layers.as_ref().unwrap();
            assert_eq!(layers.fused_attention, Some(layers.attention), "{layers:?}");
        }
        let canary = directory.canary().unwrap();
        assert_eq!(canary.grids.len(), buckets.len());
        assert!(directory.processor().unwrap().target().patches().is_some());
    }
    assert!(build(&["--keep"]).contains("sm_120: kept"));
    assert!(!build(&["--keep", "--max-num-patches", "128"]).contains("sm_120: kept"));
}

#[test]
fn gpus_that_tensorrt_for_rtx_does_not_know_are_refused_with_what_does() {
    for gpu in ["sm_90", "h100", "b200", "sm_120,h200"] {
        let said = refused(&["--model", "demo", "--gpu", gpu]);
        assert!(said.contains("--features tensorrt-enterprise"), "{said}");
        assert!(
            said.contains("sm_75, sm_80, sm_86, sm_89, sm_120, sm_121"),
            "{said}"
        );
    }
    let said = refused(&["--model", "demo", "--gpu", "voodoo"]);
    assert!(
        said.contains("\"voodoo\"") && said.contains("nvidia-smi"),
        "{said}"
    );
    let said = refused(&["--model", "demo"]);
    assert!(
        said.contains("--gpu current") && said.contains("--gpu sm_120"),
        "{said}"
    );
}

#[test]
fn it_builds_what_the_manifest_says_for_every_gpu_that_is_asked_for() {
    if !libraries_are_there("building engines") {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let root = out.path().to_str().unwrap();
    let arguments = [
        "--model",
        "demo",
        "--gpu",
        "rtx-5090,sm_89",
        "--max-batch",
        "6",
        "--out",
        root,
    ];
    let said = run(build_engine(&arguments)).unwrap();
    assert!(
        said.contains("demo/sm_120/fp16") && said.contains("demo/sm_89/fp16"),
        "{said}"
    );
    assert!(
        said.contains("not run, because this machine has no sm_120"),
        "{said}"
    );

    for (gpu, capability) in [("sm_120", "12.0"), ("sm_89", "8.9")] {
        let directory = find(out.path(), gpu, Precision::Fp16).unwrap();
        directory.verify_hashes().unwrap();
        let manifest = directory.manifest();
        assert_eq!(manifest.gpu.compute_capability, capability);
        assert_eq!(manifest.tensorrt.flavour, Flavour::Rtx);
        assert!(
            manifest.tensorrt.version.starts_with("1."),
            "{:?}",
            manifest.tensorrt
        );
        assert_eq!(manifest.buckets, [1, 2, 4, 6]);
        assert_eq!(manifest.profiles, [[1, 1, 1], [1, 6, 6]]);
        assert_eq!(manifest.cosine, None);
        assert_towers(manifest, [ElementType::Fp16, ElementType::Int32]);
        // The demo model is one file, so the hash is that of the file.
        let weights = fs::read("models/demo/model.safetensors").unwrap();
        assert_eq!(
            manifest.weights_sha256,
            siglip2_embeddings::tensorrt::directory::hash(&weights)
        );

        let canary = directory.canary().unwrap();
        assert!(canary.texts.len() > 1 && canary.image.width() > 64);
        assert!(
            canary
                .image_embedding
                .iter()
                .any(|value| value.abs() > 0.01)
        );
        let files = names(directory.path());
        assert_eq!(
            files,
            [
                "canary.safetensors",
                "config.json",
                "manifest.json",
                "preprocessor_config.json",
                "resize.cubin",
                "text.engine",
                "tokenizer.json",
                "tokenizer_config.json",
                "vision.engine",
            ]
        );
        assert!(
            fs::read(directory.path().join("resize.cubin"))
                .unwrap()
                .starts_with(b"\x7fELF")
        );
    }
    assert_eq!(names(&out.path().join("demo/sm_120")), ["fp16"]);

    // Existing directories are kept, and missing ones are built.
    let mut more = arguments.to_vec();
    more[3] = "rtx-5090,sm_86";
    more.push("--keep");
    let said = run(build_engine(&more)).unwrap();
    assert!(
        said.contains("sm_120: kept") && !said.contains("tower for sm_120"),
        "{said}"
    );
    assert!(
        said.contains("demo/sm_120/fp16\n") && said.contains("demo/sm_86/fp16\n"),
        "{said}"
    );

    // Unless they were built from other weights.
    let manifest = out.path().join("demo/sm_86/fp16/manifest.json");
    let json = fs::read_to_string(&manifest).unwrap();
    let weights = find(out.path(), "sm_86", Precision::Fp16).unwrap();
    let weights = &weights.manifest().weights_sha256;
    fs::write(
        &manifest,
        json.replace(weights, &weights.replace(['0', '1'], "2")),
    )
    .unwrap();
    let said = run(build_engine(&more)).unwrap();
    assert!(
        said.contains("sm_120: kept") && said.contains("tower for sm_86"),
        "{said}"
    );

    let directory = format!("{root}/demo/sm_120/fp16");
    let said = run(build_engine(&["inspect", &directory])).unwrap();
    for part in [
        "sm_120 (compute capability 12.0)",
        "fused attention  5 of 5",
        "not measured",
        "pixel_values (fp16)",
        "has the SHA-256 given in the manifest",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let cubin = Path::new(&directory).join("resize.cubin");
    let mut bytes = fs::read(&cubin).unwrap();
    bytes[100] ^= 1;
    fs::write(&cubin, bytes).unwrap();
    let said = refused(&["inspect", &directory]);
    assert!(said.contains("resize.cubin: its SHA-256"), "{said}");
}

fn assert_towers(manifest: &Manifest, inputs: [ElementType; 2]) {
    let towers = [Tower::Image, Tower::Text].map(|tower| manifest.tower(tower));
    for (tower, (name, element)) in towers
        .iter()
        .zip(["pixel_values", "input_ids"].iter().zip(inputs))
    {
        assert_eq!(
            (tower.input.name.as_str(), tower.input.element),
            (*name, element)
        );
        assert_eq!(
            (tower.output.name.as_str(), tower.output.element),
            ("embedding", ElementType::Fp32)
        );
        let layers = tower.layers.as_ref().expect("what is known");
        assert!(
            layers.network > 100 && layers.engine >= Some(1),
            "{layers:?}"
        );
        assert!(layers.weights_bytes > Some(100_000), "{layers:?}");
        assert!(layers.context_bytes > Some(0), "{layers:?}");
    }
}

#[test]
fn bf16_is_built_where_it_is_asked_for() {
    if !libraries_are_there("building in bf16") {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let mut command = build_engine(&["--model", "demo", "--gpu", "sm_120", "--max-batch", "2"]);
    command
        .args(["--precision", "bf16", "--out"])
        .arg(out.path());
    run(command).unwrap();
    let directory = find(out.path(), "sm_120", Precision::Bf16).unwrap();
    directory.verify_hashes().unwrap();
    assert_towers(
        directory.manifest(),
        [ElementType::Fp32, ElementType::Int32],
    );
    let layers = directory.manifest().tower(Tower::Image).layers.as_ref();
    let layers = layers.unwrap();
    assert_eq!(layers.fused_attention, Some(layers.attention), "{layers:?}");
}

/// What `--precision fp8` is calibrated with: the demo model's pictures, and three texts.
fn calibration(folder: &Path) -> Vec<String> {
    let texts = folder.join("texts.txt");
    fs::write(
        &texts,
        "two red circles\na blue star\na small green square\n",
    )
    .unwrap();
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo/samples");
    let texts = texts.to_str().unwrap();
    let flags = [
        "--precision",
        "fp8",
        "--calibrate",
        samples,
        "--calibrate-texts",
        texts,
    ];
    flags.map(str::to_owned).to_vec()
}

#[test]
fn fp8_is_refused_where_it_cannot_be_built_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let flags = calibration(folder.path());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let said = |more: &[&str]| refused(&[&["--model", "demo"], more].concat());
    for (more, part) in [
        (
            &["--precision", "fp8", "--gpu", "sm_120"][..],
            "--calibrate FOLDER",
        ),
        (
            &["--calibrate", "x", "--gpu", "sm_120"],
            "are for --precision fp8",
        ),
        (
            &[&flags[..], &["--gpu", "sm_89,a100"]].concat(),
            "sm_80 has no FP8",
        ),
        (
            &[&flags[..], &["--gpu", "sm_120", "--max-batch", "12"]].concat(),
            "--max-batch is 12",
        ),
    ] {
        let said = said(more);
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// FP8 for both architectures that have it: the products of all whole layers, the scales in the
/// manifest, and engines in FP16 for small batches.
#[test]
fn fp8_is_built_for_gpus_that_have_it() {
    if !libraries_are_there("building in fp8") {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let root = out.path().to_str().unwrap();
    let flags = calibration(out.path());
    let mut arguments = vec![
        "--model",
        "demo",
        "--gpu",
        "sm_120,sm_89",
        "--max-batch",
        "24",
    ];
    arguments.extend(["--out", root]);
    arguments.extend(flags.iter().map(String::as_str));
    let said = run(build_engine(&arguments)).unwrap();
    assert!(
        said.contains("measured how large activations become"),
        "{said}"
    );
    for gpu in ["sm_120", "sm_89"] {
        let directory = find(out.path(), gpu, Precision::Fp8).unwrap();
        directory.verify_hashes().unwrap();
        let manifest = directory.manifest();
        assert_towers(manifest, [ElementType::Fp16, ElementType::Int32]);
        assert_eq!((manifest.small_batches, manifest.max_batch), (Some(16), 24));
        assert_eq!(manifest.profiles, [[17, 24, 24]]);
        // Four layers of the vision tower, one of the text tower and the keys of the other.
        let scales = manifest.scales.as_ref().unwrap();
        assert_eq!(scales.len(), 4 * 4 + 4 + 1);
        // Of a layer queries, keys and values at once, and three more.
        for (tower, products) in [(Tower::Image, 4 * 4), (Tower::Text, 4 + 2)] {
            let tower = manifest.tower(tower);
            let layers = tower.layers.as_ref().unwrap();
            assert_eq!(layers.fp8_products, Some(products), "{gpu}: {layers:?}");
            let small = tower.small.as_ref().unwrap().layers.as_ref().unwrap();
            assert_eq!(small.fp8_products, None, "{small:?}");
            assert_eq!(small.fused_attention, Some(small.attention), "{small:?}");
        }
    }
    let directory = format!("{root}/demo/sm_120/fp8");
    let said = run(build_engine(&["inspect", &directory])).unwrap();
    for part in [
        "products in FP8  16",
        "up to 16, on engines of their own in FP16",
        "of 21 activations",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }

    // The products of attention as well.
    arguments[3] = "sm_120";
    arguments.push("--fp8-attention");
    run(build_engine(&arguments)).unwrap();
    let directory = find(out.path(), "sm_120", Precision::Fp8).unwrap();
    let scales = directory.manifest().scales.as_ref().unwrap();
    assert_eq!(scales.len(), 4 * 8 + 8 + 1);
    // Fused attentions that read FP8 besides.
    for (tower, products) in [(Tower::Image, 4 * 5), (Tower::Text, 5 + 2)] {
        let layers = directory.manifest().tower(tower).layers.as_ref().unwrap();
        assert_eq!(layers.fp8_products, Some(products), "{layers:?}");
    }
}

#[test]
fn a_build_that_is_killed_leaves_nothing_that_looks_finished() {
    if !libraries_are_there("killing a build") {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let root = out.path().to_str().unwrap();
    let arguments = [
        "--model",
        "demo",
        "--gpu",
        "sm_120",
        "--precision",
        "fp32",
        "--max-batch",
        "1",
        "--out",
        root,
    ];
    let mut child = build_engine(&arguments)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap()).lines();
    let seen = log
        .map(Result::unwrap)
        .any(|line| line.contains("text tower") && line.contains("Building"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(seen, "the second engine was begun");

    let error = find(out.path(), "sm_120", Precision::Fp32).unwrap_err();
    assert!(matches!(error, DirectoryError::NotBuilt { .. }), "{error}");
    assert_eq!(names(&out.path().join("demo/sm_120")), [".fp32.partial"]);

    run(build_engine(&arguments)).unwrap();
    let directory = find(out.path(), "sm_120", Precision::Fp32).unwrap();
    assert_eq!(directory.manifest().profiles, [[1, 1, 1]]);
    assert_towers(
        directory.manifest(),
        [ElementType::Fp32, ElementType::Int64],
    );
    assert_eq!(names(&out.path().join("demo/sm_120")), ["fp32"]);
}

/// The demo model's towers like third-party exports: with another name for the output, and
/// external weights.
struct Exports {
    _directory: tempfile::TempDir,
    vision: PathBuf,
    text: PathBuf,
}

impl Exports {
    fn new(precision: Precision, output: &str) -> Self {
        let Checkpoint {
            config, weights, ..
        } = Checkpoint::demo().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let weights_file = directory.path().join(graph::external_name(0));
        fs::copy("models/demo/model.safetensors", weights_file).unwrap();
        let write = |name: &str, graph: graph::Graph| {
            let path = directory.path().join(name);
            fs::write(&path, rename(&graph.encode(), graph::EMBEDDING, output, 0)).unwrap();
            path
        };
        let vision = graph::vision(&config.vision, &weights, precision).unwrap();
        let text = graph::text(&config.text, &weights, precision).unwrap();
        Self {
            vision: write("vision_model.onnx", vision),
            text: write("text_model.onnx", text),
            _directory: directory,
        }
    }

    fn build(&self, out: &Path, more: &[&str]) -> Command {
        let mut command = build_engine(&["--model", "demo", "--gpu", "sm_120", "--max-batch", "4"]);
        command.arg("--vision-onnx").arg(&self.vision);
        command.arg("--text-onnx").arg(&self.text);
        command.arg("--out").arg(out).args(more);
        command
    }
}

/// Renames a value in a protobuf message: every string equal to the name in ModelProto.graph
/// (7), in its nodes, inputs and outputs (1, 11, 12).
fn rename(message: &[u8], from: &str, to: &str, depth: usize) -> Vec<u8> {
    fn varint(rest: &mut &[u8]) -> u64 {
        let end = rest.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let (taken, behind) = rest.split_at(end);
        *rest = behind;
        taken
            .iter()
            .rev()
            .fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
    }
    fn push(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
    let (mut rest, mut out) = (message, Vec::new());
    while !rest.is_empty() {
        let tag = varint(&mut rest);
        push(&mut out, tag);
        match tag & 7 {
            0 => push(&mut out, varint(&mut rest)),
            2 => {
                let length = varint(&mut rest) as usize;
                let (bytes, behind) = rest.split_at(length);
                rest = behind;
                let bytes = match (depth, tag >> 3) {
                    (0, 7) | (1, 1 | 11 | 12) => rename(bytes, from, to, depth + 1),
                    (2, _) if bytes == from.as_bytes() => to.into(),
                    _ => bytes.to_vec(),
                };
                push(&mut out, bytes.len() as u64);
                out.extend(bytes);
            }
            5 => {
                out.extend(&rest[..4]);
                rest = &rest[4..];
            }
            other => panic!("wire type {other}"),
        }
    }
    out
}

#[test]
fn exports_of_others_are_built_as_they_are() {
    if !libraries_are_there("building exports") {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let exports = Exports::new(Precision::Fp32, "pooler_output");
    run(exports.build(out.path(), &[])).unwrap();
    let directory = find(out.path(), "sm_120", Precision::Fp32).unwrap();
    assert_towers(
        directory.manifest(),
        [ElementType::Fp32, ElementType::Int64],
    );
    let weights = fs::read("models/demo/model.safetensors").unwrap();
    let checkpoint = siglip2_embeddings::tensorrt::directory::hash(&weights);
    assert_ne!(directory.manifest().weights_sha256, checkpoint);

    let said = run(exports.build(out.path(), &["--precision", "fp16"])).unwrap_err();
    assert!(
        said.contains("vision_model.onnx is in fp32") && said.contains("--precision fp32"),
        "{said}"
    );

    let unpooled = Exports::new(Precision::Fp32, "last_hidden_state");
    let said = run(unpooled.build(out.path(), &[])).unwrap_err();
    assert!(
        said.contains("vision_model.onnx") && said.contains("pooling"),
        "{said}"
    );

    fs::remove_file(exports.vision.with_file_name(graph::external_name(0))).unwrap();
    let said = run(exports.build(out.path(), &[])).unwrap_err();
    assert!(said.contains("weights-0.data"), "{said}");
    // The previous directory is still in place.
    find(out.path(), "sm_120", Precision::Fp32).unwrap();
}

#[test]
fn what_tensorrt_cannot_read_is_said_with_the_node() {
    if !libraries_are_there("a graph that cannot be read") {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let exports = Exports::new(Precision::Fp32, "pooler_output");
    // Softmax under a name that ONNX does not have.
    let onnx = fs::read(&exports.vision).unwrap();
    fs::write(&exports.vision, rename(&onnx, "Softmax", "SoftestMax", 0)).unwrap();
    let said = run(exports.build(out.path(), &[])).unwrap_err();
    for part in [
        "vision.onnx",
        "SoftestMax",
        "vision_model.encoder.layers.0.self_attn.softmax",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(names(&out.path().join("demo/sm_120")).is_empty());
}
