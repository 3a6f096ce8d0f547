use super::*;
use crate::directory::{CANARY, RESIZE_KERNEL, TEXT_ENGINE, VISION_ENGINE};

/// A manifest of files that hold their own names.
pub fn manifest() -> Manifest {
    let entry = |file: &str| FileEntry {
        file: file.into(),
        sha256: crate::directory::hash(file.as_bytes()),
        bytes: file.len() as u64,
    };
    let tower = |file: &str, name: &str, element| TowerEntry {
        engine: entry(file),
        graph_sha256: String::new(),
        input: TensorEntry {
            name: name.into(),
            element,
        },
        output: TensorEntry {
            name: "embedding".into(),
            element: ElementType::Fp32,
        },
        layers: None,
        small: None,
    };
    Manifest {
        format: Manifest::format_of(None),
        model: "google/siglip2-base-patch16-224".into(),
        weights_sha256: String::new(),
        weights_digest: None,
        created_by: "build-engine 0.1.0".into(),
        tensorrt: TensorRtVersion {
            flavour: Flavour::Rtx,
            version: "1.7.1".into(),
        },
        gpu: Architecture::new(12, 0).into(),
        precision: Precision::Fp16,
        dimensions: 2,
        image_size: 224,
        patches: None,
        text_tokens: 3,
        logit_scale: 4.720_5,
        logit_bias: -16.771,
        max_batch: 48,
        buckets: crate::directory::buckets(48),
        profiles: crate::directory::profiles(48),
        small_batches: None,
        scales: None,
        towers: Towers {
            image: tower(VISION_ENGINE, "pixel_values", ElementType::Fp16),
            text: tower(TEXT_ENGINE, "input_ids", ElementType::Int32),
        },
        kernel: entry(RESIZE_KERNEL),
        files: vec![entry(CANARY), entry("config.json")],
        cosine: None,
    }
}

fn parse(json: &str) -> Result<Manifest, String> {
    Manifest::parse(json.as_bytes(), Path::new("e/manifest.json"))
        .map_err(|error| error.to_string())
}

#[test]
fn what_is_written_is_read_and_says_what_the_layout_promises() {
    let mut written = manifest();
    written.cosine = Some(Cosines {
        image: 0.999_98,
        text: 0.999_99,
        image_at: Some(Place {
            rows: 48,
            patches: None,
            slot: 2,
        }),
        text_at: None,
        small: None,
        ranks: None,
        measured_on: "NVIDIA GeForce RTX 5090".into(),
    });
    let json = String::from_utf8(written.encode().unwrap()).unwrap();
    assert_eq!(parse(&json).unwrap(), written);

    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    for (pointer, expected) in [
        ("/format", "1"),
        ("/tensorrt/flavour", "\"rtx\""),
        ("/gpu/name", "\"sm_120\""),
        ("/gpu/compute_capability", "\"12.0\""),
        ("/precision", "\"fp16\""),
        ("/buckets", "[1,2,4,8,12,16,24,32,48]"),
        ("/profiles", "[[1,1,1],[1,48,48]]"),
        ("/towers/image/file", "\"vision.engine\""),
        ("/towers/image/bytes", "13"),
        (
            "/towers/image/input",
            r#"{"name":"pixel_values","type":"fp16"}"#,
        ),
        ("/towers/text/input/type", "\"int32\""),
        ("/kernel/file", "\"resize.cubin\""),
        ("/cosine/measured_on", "\"NVIDIA GeForce RTX 5090\""),
        ("/cosine/image_at", r#"{"rows":48,"slot":2}"#),
    ] {
        let found = value.pointer(pointer).map(ToString::to_string);
        assert_eq!(found.as_deref(), Some(expected), "{pointer}");
    }
}

#[test]
fn fields_of_later_programs_are_skipped_and_later_formats_refused() {
    let json = String::from_utf8(manifest().encode().unwrap()).unwrap();
    let more = json.replacen('{', r#"{"later": {"a": [1]},"#, 1);
    assert_eq!(parse(&more).unwrap(), manifest());

    let newer = r#"{"format": 3, "towers": "all different"}"#;
    let error = parse(newer).unwrap_err();
    assert!(
        error.contains("format 3") && error.contains("e/manifest.json"),
        "{error}"
    );
    assert!(parse("{}").unwrap_err().contains("not an engine manifest"));
}

#[test]
fn a_manifest_that_contradicts_itself_is_refused() {
    type Spoil = fn(&mut Manifest);
    let cases: [(&str, Spoil); 12] = [
        ("dimensions", |it| it.dimensions = 0),
        ("buckets", |it| it.buckets = vec![1, 2, 2, 48]),
        ("buckets", |it| it.max_batch = 64),
        ("profile", |it| it.profiles = vec![[1, 1, 1]]),
        ("compute_capability", |it| {
            it.gpu.compute_capability = "8.9".into()
        }),
        ("sm_12x", |it| it.gpu.name = "sm_12x".into()),
        // Squares are not bytes, and patches are nothing else.
        ("image tower", |it| {
            it.patches = Some(PatchEntry::new(16, 256));
        }),
        ("patches", |it| {
            it.patches = Some(PatchEntry {
                size: 16,
                buckets: vec![256, 64],
            });
        }),
        ("text tower", |it| {
            it.towers.text.input.element = ElementType::Fp16
        }),
        ("vision.engine", |it| {
            it.towers.image.engine.file = "other".into()
        }),
        ("../config.json", |it| {
            it.files[1].file = "../config.json".into()
        }),
        ("resize.cubin", |it| it.kernel.file = "config.json".into()),
    ];
    for (said, spoil) in cases {
        let mut spoilt = manifest();
        spoil(&mut spoilt);
        let json = String::from_utf8(spoilt.encode().unwrap()).unwrap();
        let error = parse(&json).unwrap_err();
        assert!(error.contains(said), "{said}: {error}");
    }
}

/// The manifest of FP8 engines, whose small batches have their own.
fn fp8() -> Manifest {
    let mut fp8 = manifest();
    let small = |file: &str| {
        let engine = FileEntry {
            file: file.into(),
            ..fp8.kernel.clone()
        };
        Some(SmallEngine {
            engine,
            graph_sha256: String::new(),
            layers: None,
        })
    };
    let (image, text) = (small("vision-small.engine"), small("text-small.engine"));
    (fp8.towers.image.small, fp8.towers.text.small) = (image, text);
    fp8.precision = Precision::Fp8;
    fp8.small_batches = Some(16);
    fp8.profiles = vec![[17, 48, 48]];
    fp8.scales = Some(Scales::of([("a".to_owned(), 3.0)]).unwrap());
    fp8
}

#[test]
fn fp8_has_scales_and_engines_for_small_batches() {
    let written = fp8();
    let json = String::from_utf8(written.encode().unwrap()).unwrap();
    assert_eq!(parse(&json).unwrap(), written);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["precision"], "fp8");
    assert_eq!(value["scales"]["a"], 1.0 / 64.0);
    assert_eq!(
        value["towers"]["text"]["small"]["file"],
        "text-small.engine"
    );
    assert_eq!(written.entries().count(), 7);
    let profiles = written.profiles_by_engine();
    assert_eq!(profiles, [vec![[1, 1, 1], [1, 16, 16]], vec![[17, 48, 48]]]);

    type Spoil = fn(&mut Manifest);
    let cases: [(&str, Spoil); 6] = [
        ("small_batches is 15", |it| it.small_batches = Some(15)),
        ("no profile", |it| it.small_batches = Some(12)),
        ("image tower has an engine for small", |it| {
            it.towers.image.small = None
        }),
        ("scales are for FP8", |it| it.scales = None),
        ("small_batches is for pictures of fixed", |it| {
            it.patches = Some(PatchEntry::new(16, 256));
        }),
        ("scales are for FP8", |it| it.precision = Precision::Bf16),
    ];
    for (said, spoil) in cases {
        let mut spoilt = fp8();
        spoil(&mut spoilt);
        let json = String::from_utf8(spoilt.encode().unwrap()).unwrap();
        let error = parse(&json).unwrap_err();
        assert!(error.contains(said), "{said}: {error}");
    }
}
