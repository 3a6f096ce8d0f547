//! `manifest.json`: what an engine directory holds, for which GPU, and the inputs and outputs
//! of the engines.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    Architecture, CANARY, DirectoryError, PatchEntry, RESIZE_KERNEL, TEXT_ENGINE, VISION_ENGINE,
};
use siglip2_engine::Tower;
use siglip2_model::fingerprint::WeightsDigest;
use siglip2_model::graph::{Precision, Scales};

/// The description of an engine directory. Fields that this program does not know are
/// ignored; a change that old programs must not ignore raises `format`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the manifest's format.
    pub format: u32,
    /// The model's name.
    pub model: String,
    /// SHA-256 of the source of the engines' weights: the checkpoint's weights files one
    /// after the other, or the two ONNX exports with their weights.
    pub weights_sha256: String,
    /// The digest of the checkpoint's tensors, whichever files they are in: a part of the
    /// vector space's fingerprint. `None` in directories that were built before it was kept.
    #[serde(default)]
    pub weights_digest: Option<WeightsDigest>,
    /// The program that wrote it, and its version.
    pub created_by: String,
    /// The TensorRT that built the engines. No other version can run them.
    pub tensorrt: TensorRtVersion,
    /// The GPU that the engines are for.
    pub gpu: GpuTarget,
    /// The type that products are computed in.
    pub precision: Precision,
    /// Floats per embedding.
    pub dimensions: usize,
    /// Side of the image tower's square, in pixels; where pictures are of variable resolution,
    /// that of the square whose position vectors are stored.
    pub image_size: usize,
    /// How pictures of variable resolution are taken; `None` if all become the same square.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patches: Option<PatchEntry>,
    /// Token ids per text.
    pub text_tokens: usize,
    /// Natural logarithm of the factor that cosines are multiplied by.
    pub logit_scale: f32,
    /// The bias added to scaled cosines.
    pub logit_bias: f32,
    /// The largest batch.
    pub max_batch: usize,
    /// The sizes that batches are padded to, in order; the last is `max_batch`.
    pub buckets: Vec<usize>,
    /// The batch sizes of each optimization profile: smallest, optimal, largest. Those of an image
    /// tower that takes pictures of variable resolution follow from `patches`.
    pub profiles: Vec<[usize; 3]>,
    /// The largest batch that the towers' other engines compute, if they have such. Their profiles
    /// are those of [`super::profiles`] up to this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub small_batches: Option<usize>,
    /// In FP8, the scales of activations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scales: Option<Scales>,
    /// The engines.
    pub towers: Towers,
    /// The resize kernel.
    pub kernel: FileEntry,
    /// Every other file of the directory.
    pub files: Vec<FileEntry>,
    /// The cosines measured on a GPU; `None` if the engines have not run yet.
    pub cosine: Option<Cosines>,
}

/// The version of TensorRT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorRtVersion {
    /// Which of the two products.
    pub flavour: Flavour,
    /// `major.minor.patch`.
    pub version: String,
}

/// TensorRT comes as two products, whose engines do not run in each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// TensorRT for RTX.
    Rtx,
    /// Standard TensorRT.
    Enterprise,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flavour::Rtx => "TensorRT for RTX",
            Flavour::Enterprise => "TensorRT",
        })
    }
}

/// The GPU that engines are for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuTarget {
    /// `sm_120`, which is also the directory's name.
    pub name: String,
    /// `12.0`.
    pub compute_capability: String,
}

impl From<Architecture> for GpuTarget {
    fn from(architecture: Architecture) -> Self {
        Self {
            name: architecture.to_string(),
            compute_capability: architecture.compute_capability(),
        }
    }
}

/// The engines of both towers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Towers {
    /// The vision tower.
    pub image: TowerEntry,
    /// The text tower.
    pub text: TowerEntry,
}

/// One engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TowerEntry {
    /// The serialized engine.
    #[serde(flatten)]
    pub engine: FileEntry,
    /// SHA-256 of the ONNX graph that it was built from, without its weights.
    pub graph_sha256: String,
    /// Its input: `[batch, 3, S, S]`, `[batch, P, W]` or `[batch, T]`.
    pub input: TensorEntry,
    /// Its output: `[batch, D]`.
    pub output: TensorEntry,
    /// What is known about its layers; `None` if the builder could not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<LayerCounts>,
    /// The engine of small batches, where they have one of their own ([`Manifest::small_batches`]).
    /// Its input and output are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub small: Option<SmallEngine>,
}

/// The engine of a tower for small batches. In FP8 those are computed in FP16, which is faster
/// there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SmallEngine {
    /// The serialized engine.
    #[serde(flatten)]
    pub engine: FileEntry,
    /// SHA-256 of the ONNX graph that it was built from, without its weights.
    pub graph_sha256: String,
    /// What is known about its layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<LayerCounts>,
}

/// What the builder reports about an engine without a GPU. Whatever it does not report is
/// `None`: TensorRT writes most of this only to its log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerCounts {
    /// Layers of the network as parsed from the graph, before anything was fused.
    pub network: usize,
    /// Attentions among them.
    pub attention: usize,
    /// The attentions that the compiler recognized and replaced with its fused kernels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fused_attention: Option<usize>,
    /// Layers of the engine. A transformer that was compiled as a whole counts as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<usize>,
    /// Products that are computed in FP8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fp8_products: Option<usize>,
    /// Device memory of the weights, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_bytes: Option<u64>,
    /// Device memory for activations, for each execution context, at the
    /// largest batch, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_bytes: Option<u64>,
}

/// An input or output of an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// Its name in the engine.
    pub name: String,
    /// The type of its elements.
    #[serde(rename = "type")]
    pub element: ElementType,
}

/// How the numbers of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ElementType {
    /// IEEE 754 binary32.
    Fp32,
    /// IEEE 754 binary16.
    Fp16,
    /// The upper half of a binary32.
    Bf16,
    /// 32 bits, signed.
    Int32,
    /// 64 bits, signed.
    Int64,
    /// 8 bits, unsigned.
    Uint8,
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ElementType::Fp32 => "fp32",
            ElementType::Fp16 => "fp16",
            ElementType::Bf16 => "bf16",
            ElementType::Int32 => "int32",
            ElementType::Int64 => "int64",
            ElementType::Uint8 => "uint8",
        })
    }
}

/// A file of the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name.
    pub file: String,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The lowest cosine of each tower's canary vectors to those of the CPU engine in FP32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cosines {
    /// Of the vision tower.
    pub image: f64,
    /// Of the text tower.
    pub text: f64,
    /// Where the vision tower's was. `None` in manifests that were written before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_at: Option<Place>,
    /// Where the text tower's was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_at: Option<Place>,
    /// Those of small batches, where they have engines of their own; the others are then of larger
    /// batches alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub small: Option<SmallCosines>,
    /// In FP8, the share of pairs of canaries that are ranked in FP32's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<f64>,
    /// The GPU's name.
    pub measured_on: String,
}

/// The lowest cosines of small batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SmallCosines {
    /// Of the vision tower.
    pub image: f64,
    /// Of the text tower.
    pub text: f64,
    /// Where the vision tower's was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_at: Option<Place>,
    /// Where the text tower's was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_at: Option<Place>,
}

/// The place of a batch: its size, and the slot that it ran in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Rows.
    pub rows: usize,
    /// Patches of each row, where pictures are of variable resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patches: Option<usize>,
    /// The slot's number, from 1.
    pub slot: usize,
}

impl Manifest {
    /// The newest format that this program reads. Format 2 has `patches`.
    pub const FORMAT: u32 = 2;

    /// The oldest format that says all of a manifest: older programs can read what they know.
    pub fn format_of(patches: Option<&PatchEntry>) -> u32 {
        match patches {
            None => 1,
            Some(_) => 2,
        }
    }

    /// Reads a manifest; `path` names it in errors.
    ///
    /// # Errors
    ///
    /// When it is newer than this program, is not a manifest, or contradicts itself.
    pub fn parse(json: &[u8], path: &Path) -> Result<Self, DirectoryError> {
        /// The part that all formats share.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let wrong = |reason: String| DirectoryError::Manifest {
            path: path.to_owned(),
            reason,
        };
        let no_manifest =
            |error: serde_json::Error| wrong(format!("it is not an engine manifest ({error})"));
        let Format { format } = serde_json::from_slice(json).map_err(no_manifest)?;
        if format > Self::FORMAT {
            return Err(DirectoryError::Newer {
                path: path.to_owned(),
                found: format,
                known: Self::FORMAT,
            });
        }
        let manifest: Self = serde_json::from_slice(json).map_err(no_manifest)?;
        manifest.check().map_err(wrong)?;
        Ok(manifest)
    }

    /// The bytes of a `manifest.json`.
    ///
    /// # Errors
    ///
    /// When a number is not finite.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }

    /// The engine of a tower.
    pub fn tower(&self, tower: Tower) -> &TowerEntry {
        match tower {
            Tower::Image => &self.towers.image,
            Tower::Text => &self.towers.text,
        }
    }

    /// The architecture of its GPU.
    ///
    /// # Errors
    ///
    /// A sentence, when the name is not that of an architecture.
    pub fn architecture(&self) -> Result<Architecture, String> {
        self.gpu.name.parse()
    }

    /// Every file it names.
    pub fn entries(&self) -> impl Iterator<Item = &FileEntry> {
        [
            &self.towers.image.engine,
            &self.towers.text.engine,
            &self.kernel,
        ]
        .into_iter()
        .chain(self.small_engines().map(|small| &small.engine))
        .chain(&self.files)
    }

    /// The engines of small batches, where they have their own.
    pub fn small_engines(&self) -> impl Iterator<Item = &SmallEngine> {
        let Towers { image, text } = &self.towers;
        image.small.iter().chain(&text.small)
    }

    /// The smallest and the largest number of rows of each profile of the engines, small batches'
    /// engines first.
    pub fn profiles_by_engine(&self) -> Vec<Vec<[usize; 3]>> {
        let small = self.small_batches.map(super::profiles);
        small.into_iter().chain([self.profiles.clone()]).collect()
    }

    /// Whether it contradicts itself.
    fn check(&self) -> Result<(), String> {
        for (name, value) in [
            ("dimensions", self.dimensions),
            ("image_size", self.image_size),
            ("text_tokens", self.text_tokens),
            ("max_batch", self.max_batch),
        ] {
            if value == 0 {
                return Err(format!("{name} is 0"));
            }
        }
        if !self.logit_scale.is_finite() || !self.logit_bias.is_finite() {
            return Err("logit_scale or logit_bias is not finite".into());
        }
        let architecture = self.architecture()?;
        if self.gpu.compute_capability != architecture.compute_capability() {
            return Err(format!(
                "gpu.name is {architecture} and gpu.compute_capability is {:?}",
                self.gpu.compute_capability
            ));
        }
        let rising = self.buckets.is_sorted_by(|a, b| a < b) && self.buckets.first() > Some(&0);
        if !rising || self.buckets.last() != Some(&self.max_batch) {
            return Err(format!(
                "buckets are {:?}, but must rise from at least 1 to max_batch, {}",
                self.buckets, self.max_batch
            ));
        }
        if let Some(small) = self.small_batches
            && !self.buckets.contains(&small)
        {
            return Err(format!(
                "small_batches is {small}, which is none of the buckets {:?}",
                self.buckets
            ));
        }
        if let Some(bucket) = self.buckets.iter().find(|&&bucket| {
            !self
                .profiles_by_engine()
                .iter()
                .flatten()
                .any(|&[least, _, most]| (least..=most).contains(&bucket))
        }) {
            return Err(format!(
                "no profile of {:?} accepts batches of {bucket}, which is one of the buckets",
                self.profiles
            ));
        }
        let pictures = match &self.patches {
            None => &[ElementType::Fp16, ElementType::Fp32][..],
            Some(patches) => {
                patches.check()?;
                &[ElementType::Uint8][..]
            }
        };
        if self.scales.is_some() != (self.precision == Precision::Fp8) {
            let precision = self.precision;
            return Err(format!(
                "scales are for FP8, and the precision is {precision}"
            ));
        }
        if self.small_batches.is_some() && self.patches.is_some() {
            return Err(
                "small_batches is for pictures of fixed resolution, and there are patches".into(),
            );
        }
        for (tower, entry, inputs, file) in [
            (Tower::Image, &self.towers.image, pictures, VISION_ENGINE),
            (
                Tower::Text,
                &self.towers.text,
                &[ElementType::Int32, ElementType::Int64],
                TEXT_ENGINE,
            ),
        ] {
            if entry.engine.file != file {
                return Err(format!(
                    "the {tower} tower's engine is {:?}, but must be {file:?}",
                    entry.engine.file
                ));
            }
            if entry.small.is_some() != self.small_batches.is_some() {
                return Err(format!(
                    "the {tower} tower has an engine for small batches, or small_batches is \
                     given, and the other is not"
                ));
            }
            if !inputs.contains(&entry.input.element) || entry.output.element != ElementType::Fp32 {
                return Err(format!(
                    "the {tower} tower's input is {} and its output {}, which is not supported",
                    entry.input.element, entry.output.element
                ));
            }
        }
        if self.kernel.file != RESIZE_KERNEL {
            return Err(format!(
                "the kernel is {:?}, but must be {RESIZE_KERNEL:?}",
                self.kernel.file
            ));
        }
        if !self.files.iter().any(|entry| entry.file == CANARY) {
            return Err(format!("it does not name {CANARY}"));
        }
        let mut seen = HashSet::new();
        for FileEntry { file, .. } in self.entries() {
            let name = Path::new(file).file_name().and_then(|name| name.to_str());
            if name != Some(file) || !seen.insert(file) {
                return Err(format!(
                    "it names {file:?}, which is not a file beside it, or names it twice"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A manifest of files that hold their own names.
    pub fn manifest() -> Manifest {
        let entry = |file: &str| FileEntry {
            file: file.into(),
            sha256: super::super::hash(file.as_bytes()),
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
            buckets: super::super::buckets(48),
            profiles: super::super::profiles(48),
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
}
