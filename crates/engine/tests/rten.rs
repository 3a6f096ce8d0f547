//! Our own towers against another runtime: rten, on the graphs that the project writes.

#![allow(clippy::unwrap_used)]

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

/// A picture whose grid of patches is that of the position vectors, which are not resized then.
#[test]
fn a_model_of_variable_resolution_gives_the_vectors_that_rten_gives() {
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/golden/naflex16"
    );
    let checkpoint = Checkpoint::open(fixture.as_ref()).unwrap();
    let vision = &checkpoint.config.vision;
    let (patch, side) = (vision.patch_size, vision.image_size);
    let graph = graph::vision(vision, &checkpoint.weights, Precision::Fp32).unwrap();
    let processor = Processor::naflex(&checkpoint.files.preprocessor, patch as u32, 256).unwrap();

    let image = picture(side, 3);
    let tables = processor.normalization();
    let values: Vec<f32> = (0..side / patch)
        .flat_map(|down| (0..side / patch).map(move |across| (down, across)))
        .flat_map(|(down, across)| {
            (0..patch).map(move |y| ((down * patch + y) * side + across * patch) * 3)
        })
        .flat_map(|at| image.pixels()[at..at + 3 * patch].iter().enumerate())
        .map(|(at, &byte)| tables[at % 3][usize::from(byte)])
        .collect();
    let values = Value::from_shape(&[1, vision.patches(), 3 * patch * patch], values).unwrap();
    let expected = rten(&graph, &checkpoint, values);

    let options = CpuOptions::fp32(2, 8);
    let mut engine = CpuEngine::load(&checkpoint, &processor, options).unwrap();
    let got = embed(
        &mut engine,
        Batch::Images(vec![Pixels::Decoded(image.clone())]),
    )
    .unwrap();
    let got = got.iter().next().unwrap();
    assert!(cosine(got, &expected) > 0.999_999_9);
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
