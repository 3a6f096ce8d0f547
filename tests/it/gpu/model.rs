//! An engine directory of the demo model with engines of the stand-in.

use std::path::Path;

use siglip2_embeddings::checkpoint::Checkpoint;
use siglip2_embeddings::engine::Tower;
use siglip2_embeddings::fingerprint::WeightsDigest;
use siglip2_embeddings::graph::{Precision, Scales};
use siglip2_embeddings::image::{Processor, RgbImage};
use siglip2_embeddings::tensorrt::directory::{
    Architecture, Canary, ElementType, EngineDirectory, Flavour, LayerCounts, Manifest,
    SmallEngine, TensorEntry, TensorRtVersion, TowerEntry, Towers, Writer, hash,
};
use siglip2_embeddings::tensorrt::kernel::Element;

use crate::common::noise::noise;
use crate::common::stand_in::{EngineFile, TENSORRT, image_embedding, text_embedding, widen};

pub const DIMENSIONS: usize = 96;
pub const SIDE: u32 = 64;
pub const TOKENS: usize = 64;

/// Faults and variations of an engine.
#[derive(Clone)]
pub struct Recipe {
    pub element: Element,
    pub ids: ElementType,
    pub max_batch: usize,
    /// The largest batch of engines for small batches, which FP8 has.
    pub small: Option<usize>,
    /// The architecture in the manifest.
    pub gpu: &'static str,
    /// The architecture of the engines themselves.
    pub compute_capability: &'static str,
    /// The TensorRT version in the manifest.
    pub flavour: Flavour,
    pub tensorrt: &'static str,
    pub corrupt: bool,
    /// The resize kernel; the stand-in driver accepts any.
    pub cubin: Option<Vec<u8>>,
    /// Whether the canary's vectors are those of another model.
    pub wrong_canary: bool,
    /// Batches whose results are wrong: tower, rows, slot (0 is any), and by how much.
    pub wrong: Vec<(Tower, usize, usize, f32)>,
    /// Device memory that each context computes in.
    pub context_bytes: usize,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            element: Element::Fp16,
            ids: ElementType::Int32,
            max_batch: 8,
            small: None,
            gpu: "sm_120",
            compute_capability: "12.0",
            flavour: TENSORRT.flavour,
            tensorrt: TENSORRT.version,
            corrupt: false,
            cubin: None,
            wrong_canary: false,
            wrong: Vec::new(),
            context_bytes: 1 << 16,
        }
    }
}

impl Recipe {
    /// Engines that take FP32 pixels and 64-bit ids.
    pub fn full() -> Self {
        Self {
            element: Element::Fp32,
            ids: ElementType::Int64,
            ..Self::default()
        }
    }

    /// Writes the directory under `root`.
    pub fn write(&self, root: &Path) -> EngineDirectory {
        let gpu: Architecture = self.gpu.parse().unwrap();
        let precision = match self.small {
            Some(_) => Precision::Fp8,
            None => Precision::Fp16,
        };
        let writer = Writer::new(root, "demo", gpu, precision).unwrap();
        let demo = Checkpoint::demo().unwrap();
        let mut files = Vec::new();
        let mut file = |name: &str, bytes: &[u8]| files.push(writer.write(name, bytes).unwrap());
        for (name, bytes) in demo.files.named() {
            file(name, bytes);
        }
        file("canary.safetensors", &self.canary().encode().unwrap());

        let most = self.max_batch;
        let profiles = match self.small {
            Some(small) => vec![[small + 1, most, most]],
            None => vec![[1, 1, 1], [1, most, most]],
        };
        let (pixels, ids) = match self.element {
            Element::Fp16 => (ElementType::Fp16, self.ids),
            Element::Fp32 => (ElementType::Fp32, self.ids),
        };
        let layers = || {
            Some(LayerCounts {
                weights_bytes: Some(1 << 20),
                context_bytes: Some(self.context_bytes as u64),
                ..LayerCounts::default()
            })
        };
        let write = |file: &str, engine: &EngineFile, profiles: Vec<[usize; 3]>| {
            let engine = EngineFile {
                profiles,
                ..engine.clone()
            };
            writer.write(file, &self.finished(engine)).unwrap()
        };
        let tower = |file: &str, engine: EngineFile, element: ElementType| TowerEntry {
            engine: write(file, &engine, profiles.clone()),
            graph_sha256: hash(b""),
            input: tensor(engine_input(file), element),
            output: tensor("embedding", ElementType::Fp32),
            layers: layers(),
            small: self.small.map(|small| SmallEngine {
                engine: write(
                    &file.replace(".engine", "-small.engine"),
                    &engine,
                    vec![[1, 1, 1], [1, small, small]],
                ),
                graph_sha256: hash(b""),
                layers: layers(),
            }),
        };
        let side = SIDE as usize;
        let image = EngineFile::image(side, name(pixels), DIMENSIONS, most);
        let text = EngineFile {
            input_type: name(ids),
            ..EngineFile::text(TOKENS, DIMENSIONS, most)
        };
        let manifest = Manifest {
            format: Manifest::FORMAT,
            model: "demo".into(),
            weights_sha256: hash(b""),
            weights_digest: Some(WeightsDigest::of(&demo.weights, 1)),
            created_by: "a test".into(),
            tensorrt: TensorRtVersion {
                flavour: self.flavour,
                version: self.tensorrt.into(),
            },
            gpu: gpu.into(),
            precision,
            dimensions: DIMENSIONS,
            image_size: SIDE as usize,
            text_tokens: TOKENS,
            logit_scale: demo.logit_scale().unwrap(),
            logit_bias: demo.logit_bias().unwrap(),
            max_batch: most,
            buckets: siglip2_embeddings::tensorrt::directory::buckets(most),
            profiles: profiles.clone(),
            small_batches: self.small,
            scales: self
                .small
                .map(|_| Scales::of([("a".to_owned(), 1.0)]).unwrap()),
            towers: Towers {
                image: tower("vision.engine", image, pixels),
                text: tower("text.engine", text, ids),
            },
            kernel: writer
                .write("resize.cubin", &self.cubin.clone().unwrap_or_else(cubin))
                .unwrap(),
            files,
            cosine: None,
        };
        writer.seal(&manifest).unwrap();
        writer.finish().unwrap()
    }

    /// The engine's file, with its faults.
    fn finished(&self, engine: EngineFile) -> Vec<u8> {
        let wrong = self.wrong.iter();
        let wrong = wrong.filter(|(tower, ..)| tower.to_string() == engine.tower);
        let mut bytes = EngineFile {
            wrong: wrong
                .map(|&(_, rows, slot, share)| (rows, slot, share))
                .collect(),
            context_bytes: self.context_bytes,
            tensorrt: self.tensorrt.into(),
            compute_capability: self.compute_capability.into(),
            ..engine
        }
        .bytes();
        if self.corrupt {
            // Within the part that the checksum covers.
            bytes[30] ^= 1;
        }
        bytes
    }

    fn canary(&self) -> Canary {
        let image = noise(50, 40, 5);
        let texts: Vec<Vec<i32>> = (0..3).map(ids).collect();
        let mut image_embedding = self.image_row(&image);
        if self.wrong_canary {
            image_embedding.reverse();
        }
        Canary {
            image_embedding,
            text_embeddings: texts.iter().map(|ids| text(ids)).collect(),
            image,
            texts,
        }
    }

    /// The expected row of an image: the CPU's resize and normalization, in the engine's
    /// element type, through the stand-in's function.
    pub fn image_row(&self, image: &RgbImage) -> Vec<f32> {
        let processor = processor();
        let square = processor.resize(image).unwrap();
        let mut values = Vec::new();
        for (channel, table) in processor.normalization().iter().enumerate() {
            let bytes = square.pixels().iter().skip(channel).step_by(3);
            values.extend(bytes.map(|&byte| table[usize::from(byte)]));
        }
        if self.element == Element::Fp16 {
            let encoded = Element::Fp16.encode(&values);
            let (halves, _) = encoded.as_chunks::<2>();
            let widened = halves.iter().map(|&half| widen(u16::from_le_bytes(half)));
            values = widened.collect();
        }
        image_embedding(values, DIMENSIONS)
    }
}

/// The expected row of a text.
pub fn text(ids: &[i32]) -> Vec<f32> {
    text_embedding(ids, DIMENSIONS)
}

/// Token ids, different for each number.
pub fn ids(number: usize) -> Vec<i32> {
    let id = |at: usize| ((number * 7919 + at * 104_729) % 1000) as i32;
    (0..TOKENS).map(id).collect()
}

pub fn processor() -> Processor {
    Processor::from_json(&Checkpoint::demo().unwrap().files.preprocessor, SIDE).unwrap()
}

fn tensor(name: &str, element: ElementType) -> TensorEntry {
    TensorEntry {
        name: name.into(),
        element,
    }
}

/// An empty 64-bit ELF file: the stand-in accepts it as the kernel.
fn cubin() -> Vec<u8> {
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf
}

/// The name of an engine's input.
fn engine_input(file: &str) -> &'static str {
    match file {
        "text.engine" => "input_ids",
        _ => "pixel_values",
    }
}

/// The stand-in's name for a type.
fn name(element: ElementType) -> &'static str {
    match element {
        ElementType::Fp16 => "fp16",
        ElementType::Int32 => "int32",
        ElementType::Int64 => "int64",
        _ => "fp32",
    }
}
