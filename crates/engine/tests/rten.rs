//! Our own towers against another runtime: rten, on the graphs that the project writes.

#![allow(clippy::unwrap_used)]

#[path = "../../../tests/it/common/noise.rs"]
mod noise;

use noise::drawn;
use rten::{ModelOptions, Value, ValueOrView};
use siglip2_engine::cpu::{CpuEngine, CpuOptions, Kernel};
use siglip2_engine::{Batch, Completion, Engine, Pixels, Rows, cosine, embed};
use siglip2_image::{Processor, RgbImage};
use siglip2_model::checkpoint::Checkpoint;
use siglip2_model::graph::{self, Graph, Precision};

/// One run of a graph on rten.
fn rten(graph: &Graph, checkpoint: &Checkpoint, input: Value) -> Vec<f32> {
    let weights = checkpoint.weights.clone().into_f32();
    let mut options = ModelOptions::default();
    for (shard, bytes) in weights.shards().iter().enumerate() {
        options.external_data_static(&graph::external_name(shard), bytes);
    }
    let model = options.load(graph.encode()).unwrap();
    let (from, to) = (model.input_ids()[0], model.output_ids()[0]);
    let mut out = model
        .run(vec![(from, ValueOrView::Value(input))], &[to], None)
        .unwrap();
    out.pop().unwrap().into_tensor::<f32>().unwrap().into_data()
}

fn picture(side: usize, seed: usize) -> RgbImage {
    let pixels = (0..3 * side * side).map(|at| (at * (7 + seed) % 251) as u8);
    RgbImage::new(side as u32, side as u32, pixels.collect()).unwrap()
}

fn loaded(checkpoint: &Checkpoint, kernel: Kernel) -> (CpuEngine, Processor) {
    let side = u32::try_from(checkpoint.config.vision.image_size).unwrap();
    let processor = Processor::from_json(&checkpoint.files.preprocessor, side).unwrap();
    let options = CpuOptions {
        kernel,
        ..CpuOptions::fp32(2, 8)
    };
    let engine = CpuEngine::load(checkpoint, &processor, options).unwrap();
    (engine, processor)
}

#[test]
fn the_demo_model_gives_the_vectors_that_rten_gives() {
    let checkpoint = Checkpoint::demo().unwrap();
    let weights = checkpoint.weights.clone().into_f32();
    let vision = graph::vision(&checkpoint.config.vision, &weights, Precision::Fp32).unwrap();
    let text = graph::text(&checkpoint.config.text, &weights, Precision::Fp32).unwrap();
    let side = checkpoint.config.vision.image_size;
    let tokens = checkpoint.config.text.positions;
    let ids: Vec<i32> = (0..tokens as i32).map(|at| at * 3 % 200).collect();
    let (_, processor) = loaded(&checkpoint, Kernel::fp32());

    let image = picture(side, 0);
    let tables = processor.normalization();
    let values: Vec<f32> = (0..3)
        .flat_map(|channel| {
            let bytes = image.pixels().iter().skip(channel).step_by(3);
            bytes.map(move |&byte| tables[channel][usize::from(byte)])
        })
        .collect();
    let of_image = Value::from_shape(&[1, 3, side, side], values).unwrap();
    let of_image = rten(&vision, &checkpoint, of_image);
    let of_text = Value::from_shape(&[1, tokens], ids.clone()).unwrap();
    let of_text = rten(&text, &checkpoint, of_text);

    for kernel in Kernel::all() {
        let (mut engine, _) = loaded(&checkpoint, kernel);
        let least = if kernel.is_fp32() {
            0.999_999_9
        } else {
            kernel.least_cosine()
        };
        let row = |rows: Rows| rows.iter().next().unwrap().to_vec();
        let got = row(embed(
            &mut engine,
            Batch::Images(vec![Pixels::Decoded(image.clone())]),
        )
        .unwrap());
        assert!(cosine(&got, &of_image) > least, "{}", kernel.name());
        let got = row(embed(&mut engine, Batch::Texts(vec![ids.clone()])).unwrap());
        assert!(cosine(&got, &of_text) > least, "{}", kernel.name());
        assert_eq!(engine.info().agreement.is_none(), kernel.is_fp32());
    }
}

/// Every picture of the fixture, packed, through the graph of the tower as TensorRT gets it: the
/// vectors are those of transformers, however much padding is beside the picture.
#[test]
fn the_graph_of_variable_resolution_gives_the_vectors_of_transformers() {
    for name in ["naflex16", "naflex14"] {
        let golden = Golden::read(name);
        for most in [64, 256, 1024] {
            let packed = golden.packed(most);
            assert!(packed.len() >= 12);
            // In batches of four, padded to no, to some and to whole rows of patches more than the
            // longest has.
            for (batch, more) in packed.chunks(4).zip([0, 1, 57].into_iter().cycle()) {
                let longest = batch.iter().map(|(rows, _)| rows.len()).max().unwrap();
                let width = graph::patches::bytes(golden.patch);
                let row = longest + more * width;
                let mut bytes = vec![0; (batch.len() + 1) * row];
                for ((rows, _), to) in batch.iter().zip(bytes.chunks_exact_mut(row)) {
                    to[..rows.len()].copy_from_slice(rows);
                }
                let shape = [batch.len() + 1, row / width, width];
                let value = Value::from_shape(&shape, bytes).unwrap();
                let got = rten(&golden.graph, &golden.checkpoint, value);
                let got: Vec<&[f32]> = got.chunks_exact(golden.dimensions).collect();
                for ((_, want), got) in batch.iter().zip(&got) {
                    let found = cosine(got, want);
                    assert!(found > 0.999_999, "{name}, {most} patches: {found}");
                }
                // A row of nothing but padding is a number, too.
                assert!(got[batch.len()].iter().all(|value| value.is_finite()));
            }
        }
    }
}

/// A fixture of tools/make_naflex_vectors.py.
struct Golden {
    checkpoint: Checkpoint,
    graph: Graph,
    patch: usize,
    dimensions: usize,
    pictures: serde_json::Value,
}

impl Golden {
    fn read(name: &str) -> Self {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/golden");
        let directory = std::path::Path::new(root).join(name);
        let checkpoint = Checkpoint::open(&directory).unwrap();
        let vision = &checkpoint.config.vision;
        let processor = naflex(&checkpoint, 256);
        let weights = checkpoint.weights.clone().into_f32();
        let table = processor.normalization();
        let json = std::fs::read(directory.join("expected.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        Self {
            graph: graph::naflex(vision, &weights, Precision::Fp32, table).unwrap(),
            patch: vision.patch_size,
            dimensions: vision.encoder.hidden_size,
            pictures: json["pictures"].clone(),
            checkpoint,
        }
    }

    /// The pictures of at most so many patches, packed, and their vectors.
    fn packed(&self, most: u64) -> Vec<(Vec<u8>, Vec<f32>)> {
        let processor = naflex(&self.checkpoint, most as u32);
        let pictures = self.pictures.as_array().unwrap();
        let of = |picture: &&serde_json::Value| picture["max_num_patches"].as_u64() == Some(most);
        let packed = pictures.iter().filter(of).map(|picture| {
            let number = |key: &str| picture[key].as_u64().unwrap();
            let (width, height) = (number("width") as u32, number("height") as u32);
            let image = drawn(width, height, number("seed"), number("block") as u32);
            let image = processor.resize(&image).unwrap();
            let patches = |side: u32| side as usize / self.patch;
            let (down, across) = (patches(image.height()), patches(image.width()));
            assert_eq!(picture["grid"], serde_json::json!([down, across]));
            let mut rows = vec![0; down * across * graph::patches::bytes(self.patch)];
            let pixels = image.pixels();
            assert!(graph::patches::pack(
                pixels, self.patch, down, across, &mut rows
            ));
            let embedding = serde_json::from_value(picture["embedding"].clone());
            (rows, embedding.unwrap())
        });
        packed.collect()
    }
}

fn naflex(checkpoint: &Checkpoint, most: u32) -> Processor {
    let patch = checkpoint.config.vision.patch_size as u32;
    Processor::naflex(&checkpoint.files.preprocessor, patch, most).unwrap()
}

#[test]
fn a_text_goes_in_where_a_batch_of_pictures_rests() {
    let checkpoint = Checkpoint::demo().unwrap();
    let (mut engine, _) = loaded(&checkpoint, Kernel::fp32());
    let side = checkpoint.config.vision.image_size;
    let ids = vec![5; checkpoint.config.text.positions];
    let alone = embed(&mut engine, Batch::Texts(vec![ids.clone()])).unwrap();
    let pictures = || {
        (0..6)
            .map(|seed| Pixels::Decoded(picture(side, seed)))
            .collect()
    };
    let of_pictures = embed(&mut engine, Batch::Images(pictures())).unwrap();

    let (send, order) = std::sync::mpsc::channel();
    let done = |name: &'static str| {
        let send = send.clone();
        Completion::new(move |rows| send.send((name, rows)).unwrap())
    };
    let mut texts = vec![Batch::Texts(vec![ids])];
    let mut next = || Some((texts.pop()?, done("text")));
    engine.submit_and_rest(Batch::Images(pictures()), done("pictures"), &mut next);
    assert_eq!(order.recv().unwrap(), ("text", Ok(alone)));
    assert_eq!(order.recv().unwrap(), ("pictures", Ok(of_pictures)));
}
