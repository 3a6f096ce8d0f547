//! An engine directory of the demo model, or of one of variable resolution, with engines of the
//! stand-in.

use std::path::Path;

use siglip2_embeddings::checkpoint::Checkpoint;
use siglip2_embeddings::engine::Tower;
use siglip2_embeddings::fingerprint::WeightsDigest;
use siglip2_embeddings::graph::{self, Precision, Scales};
use siglip2_embeddings::image::{Processor, RgbImage};
use siglip2_embeddings::tensorrt::directory::{
    Architecture, Canary, ElementType, EngineDirectory, Flavour, LayerCounts, Manifest, PatchEntry,
    SmallEngine, TensorEntry, TensorRtVersion, TowerEntry, Towers, Writer, hash, profiles,
    size_profiles,
};
use siglip2_embeddings::tensorrt::kernel::Element;

use crate::common::noise::noise;
use crate::common::stand_in::{EngineFile, TENSORRT, image_embedding, text_embedding, widen};

pub const DIMENSIONS: usize = 96;
pub const SIDE: u32 = 64;
pub const TOKENS: usize = 64;
/// A checkpoint of variable resolution, with patches of 16 pixels.
pub const NAFLEX: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/golden/naflex16"
);

/// Faults and variations of an engine.
#[derive(Clone)]
pub struct Recipe {
    /// How it takes pictures of variable resolution: then it is of the checkpoint [`NAFLEX`].
    pub patches: Option<PatchEntry>,
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
    /// Only those are wrong whose rows have so many patches; 0 is any number.
    pub wrong_patches: usize,
    /// Device memory that each context computes in.
    pub context_bytes: usize,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            patches: None,
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
            wrong_patches: 0,
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

    /// Engines of a model of variable resolution, for pictures of up to `most` patches.
    pub fn naflex(most: usize) -> Self {
        Self {
            patches: Some(PatchEntry::new(16, most)),
            ..Self::default()
        }
    }

    /// The model's name, its checkpoint, and the floats of its vectors.
    fn model(&self) -> (&'static str, Checkpoint, usize) {
        match self.patches {
            None => ("demo", Checkpoint::demo().unwrap(), DIMENSIONS),
            Some(_) => {
                let checkpoint = Checkpoint::open(NAFLEX.as_ref()).unwrap();
                let dimensions = checkpoint.config.dimensions();
                (NAFLEX, checkpoint, dimensions)
            }
        }
    }

    /// The image processor that goes with it.
    pub fn processor(&self) -> Processor {
        let Some(patches) = &self.patches else {
            return processor();
        };
        let (_, checkpoint, _) = self.model();
        let (side, most) = (patches.size as u32, patches.most() as u32);
        Processor::naflex(&checkpoint.files.preprocessor, side, most).unwrap()
    }

    /// Writes the directory under `root`.
    pub fn write(&self, root: &Path) -> EngineDirectory {
        let gpu: Architecture = self.gpu.parse().unwrap();
        let precision = match self.small {
            Some(_) => Precision::Fp8,
            None => Precision::Fp16,
        };
        let (model, checkpoint, dimensions) = self.model();
        let writer = Writer::new(root, model, gpu, precision).unwrap();
        let mut files = Vec::new();
        let mut file = |name: &str, bytes: &[u8]| files.push(writer.write(name, bytes).unwrap());
        for (name, bytes) in checkpoint.files.named() {
            file(name, bytes);
        }
        file("canary.safetensors", &self.canary().encode().unwrap());

        let most = self.max_batch;
        let by_rows = match self.small {
            Some(small) => vec![[small + 1, most, most]],
            None => profiles(most),
        };
        let ids = self.ids;
        let pixels = match (&self.patches, self.element) {
            (Some(_), _) => ElementType::Uint8,
            (None, Element::Fp16) => ElementType::Fp16,
            (None, Element::Fp32) => ElementType::Fp32,
        };
        let layers = || {
            Some(LayerCounts {
                weights_bytes: Some(1 << 20),
                context_bytes: Some(self.context_bytes as u64),
                ..LayerCounts::default()
            })
        };
        let write = |file: &str, engine: &EngineFile, by_rows: &[[usize; 3]]| {
            let patches = self.patches.as_ref().filter(|_| engine.tower == "image");
            let engine = EngineFile {
                profiles: size_profiles(by_rows, most, patches),
                ..engine.clone()
            };
            writer.write(file, &self.finished(engine)).unwrap()
        };
        let tower = |file: &str, engine: EngineFile, element: ElementType| TowerEntry {
            engine: write(file, &engine, &by_rows),
            graph_sha256: hash(b""),
            input: tensor(engine_input(file, element), element),
            output: tensor("embedding", ElementType::Fp32),
            layers: layers(),
            small: self.small.map(|small| SmallEngine {
                engine: write(
                    &file.replace(".engine", "-small.engine"),
                    &engine,
                    &profiles(small),
                ),
                graph_sha256: hash(b""),
                layers: layers(),
            }),
        };
        let side = SIDE as usize;
        let image = match &self.patches {
            None => EngineFile::image(side, name(pixels), dimensions, most),
            Some(patches) => EngineFile::patches(patches, dimensions, most),
        };
        let text = EngineFile {
            input_type: name(ids),
            ..EngineFile::text(TOKENS, dimensions, most)
        };
        let manifest = Manifest {
            format: Manifest::format_of(self.patches.as_ref()),
            model: model.into(),
            weights_sha256: hash(b""),
            weights_digest: Some(WeightsDigest::of(&checkpoint, 1)),
            created_by: "a test".into(),
            tensorrt: TensorRtVersion {
                flavour: self.flavour,
                version: self.tensorrt.into(),
            },
            gpu: gpu.into(),
            precision,
            dimensions,
            image_size: SIDE as usize,
            patches: self.patches.clone(),
            text_tokens: TOKENS,
            logit_scale: checkpoint.logit_scale().unwrap(),
            logit_bias: checkpoint.logit_bias().unwrap(),
            max_batch: most,
            buckets: siglip2_embeddings::tensorrt::directory::buckets(most),
            profiles: by_rows.clone(),
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
            wrong_patches: self.wrong_patches,
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
        let (_, _, dimensions) = self.model();
        let texts: Vec<Vec<i32>> = (0..3).map(ids).collect();
        let grids: Vec<_> = self
            .patches
            .iter()
            .flat_map(|patches| &patches.buckets)
            .map(|&most| {
                let image = self
                    .processor()
                    .of_most(most as u32)
                    .resize(&image)
                    .unwrap();
                let row = self.packed_row(&image);
                (image, row)
            })
            .collect();
        let (image, mut image_embedding) = match grids.last() {
            Some(last) => last.clone(),
            None => (image.clone(), self.image_row(&image)),
        };
        if self.wrong_canary {
            image_embedding.reverse();
        }
        Canary {
            image_embedding,
            text_embeddings: texts
                .iter()
                .map(|ids| text_embedding(ids, dimensions))
                .collect(),
            image,
            texts,
            grids,
        }
    }

    /// The expected row of a picture of whole patches.
    pub fn packed_row(&self, image: &RgbImage) -> Vec<f32> {
        let side = self.patches.as_ref().map_or(1, |patches| patches.size);
        let (down, across) = (
            image.height() as usize / side,
            image.width() as usize / side,
        );
        let mut bytes = vec![0; down * across * graph::patches::bytes(side)];
        assert!(graph::patches::pack(
            image.pixels(),
            side,
            down,
            across,
            &mut bytes
        ));
        let (_, _, dimensions) = self.model();
        image_embedding(bytes.into_iter().map(f32::from), dimensions)
    }

    /// The expected row of an image: the CPU's resize and normalization, in the engine's
    /// element type, through the stand-in's function.
    pub fn image_row(&self, image: &RgbImage) -> Vec<f32> {
        let processor = self.processor();
        if self.patches.is_some() {
            return self.packed_row(&processor.resize(image).unwrap());
        }
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
fn engine_input(file: &str, element: ElementType) -> &'static str {
    match file {
        "text.engine" => "input_ids",
        _ if element == ElementType::Uint8 => "patches",
        _ => "pixel_values",
    }
}

/// The stand-in's name for a type.
fn name(element: ElementType) -> &'static str {
    match element {
        ElementType::Fp16 => "fp16",
        ElementType::Int32 => "int32",
        ElementType::Int64 => "int64",
        ElementType::Uint8 => "uint8",
        _ => "fp32",
    }
}
