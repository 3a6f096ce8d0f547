//! Tests that run in a separate process with the stand-in's libraries: the driver is opened only
//! once per process, and its faults are permanent. Each of these is started by the test of the
//! same name in runtime.rs or faults.rs.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

mod naflex;

use siglip2_embeddings::engine::{Batch, Completion, Engine, EngineError, Pixels, Prepare, Rows};
use siglip2_embeddings::image::{Processor, RgbImage};
use siglip2_embeddings::service::batcher::{BatchError, Batcher, EngineState, Item, Worker};
use siglip2_embeddings::service::metrics::Metrics;
use siglip2_embeddings::tensorrt::directory::{EngineDirectory, measure};
use siglip2_embeddings::tensorrt::libraries::{Libraries, Search};
use siglip2_embeddings::tensorrt::run::{
    Steps, TensorRtEngine, TensorRtOptions, gpus, pinned_pictures,
};

use crate::common::noise::noise;
use crate::gpu::model::{self, Recipe};

pub(super) const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn directory() -> EngineDirectory {
    let path = std::env::var_os("TEST_ENGINE").map(PathBuf::from).unwrap();
    EngineDirectory::open(&path).unwrap()
}

pub(super) fn load(
    options: TensorRtOptions,
    arena: usize,
) -> Result<(TensorRtEngine, Arc<dyn Prepare>), String> {
    load_with(options, arena, &model::processor())
}

fn load_with(
    options: TensorRtOptions,
    arena: usize,
    processor: &Processor,
) -> Result<(TensorRtEngine, Arc<dyn Prepare>), String> {
    Libraries::open(&Search::new(
        std::env::var_os("TENSORRT_LIB_DIR").map(PathBuf::from),
        None,
    ))
    .map_err(|error| error.to_string())?;
    let gpu = gpus().map_err(|error| error.to_string())?.remove(0);
    let prepare = pinned_pictures(&gpu, arena, processor, options.nvjpeg)
        .map_err(|error| error.to_string())?;
    let engine = TensorRtEngine::load(
        &gpu,
        &directory(),
        processor,
        Arc::clone(&prepare),
        &options,
        &Steps::default(),
    )
    .map_err(|error| error.to_string())?;
    Ok((engine, prepare))
}

pub(super) fn small() -> TensorRtOptions {
    let mut options = TensorRtOptions::default();
    // The largest picture of the album has 600 KB: a batch with two of them is split into parts.
    options.limits.max_pixels = 300_000;
    options.source_bytes = 1 << 10;
    // Always as many, however long an enqueue takes: tests count what comes after them.
    options.warm_ups = (3, 3);
    options
}

/// A picture as a decoder leaves it: in the arena, unless it is larger than the arena.
pub(super) fn pinned(prepare: &dyn Prepare, image: &RgbImage) -> Pixels {
    let (width, height) = (image.width(), image.height());
    let image = match prepare.memory(image.pixels().len()).unwrap() {
        None => image.clone(),
        Some(mut memory) => {
            memory.bytes_mut().copy_from_slice(image.pixels());
            RgbImage::lent(width, height, memory).unwrap()
        }
    };
    prepare.prepare(image).unwrap()
}

/// Pending rows, and their expected values.
pub(super) type Waiting = (Receiver<Result<Rows, EngineError>>, Vec<Vec<f32>>);

pub(super) fn submit(engine: &mut dyn Engine, batch: Batch) -> Receiver<Result<Rows, EngineError>> {
    let (done, result) = channel();
    engine.submit(
        batch,
        Completion::new(move |rows| {
            let _ = done.send(rows);
        }),
    );
    result
}

pub(super) fn check((result, expected): Waiting) {
    let rows = result.recv_timeout(PATIENCE).unwrap().unwrap();
    let rows: Vec<&[f32]> = rows.iter().collect();
    assert_eq!(rows, expected);
}

/// Pictures of all shapes, with their expected rows.
fn album(recipe: &Recipe) -> Vec<(RgbImage, Vec<f32>)> {
    let sizes = [
        (64, 64),
        (64, 40),
        (40, 64),
        (1, 1),
        (63, 65),
        (200, 150),
        (7, 300),
        (300, 7),
        (128, 128),
        (64, 1),
        (1, 64),
        (333, 17),
        (500, 400),
        (65, 64),
    ];
    let picture = |(number, (width, height))| {
        let image = noise(width, height, number as u64);
        let row = recipe.image_row(&image);
        (image, row)
    };
    sizes.into_iter().enumerate().map(picture).collect()
}

/// Thousands of random batches, as many in flight as there are slots: every row equals the one
/// that its item gives alone.
fn random_batches(recipe: &Recipe, options: TensorRtOptions, arena: usize, batches: usize) {
    let album = album(recipe);
    let (mut engine, prepare) = load(options, arena).unwrap();
    let directory = directory();
    let (canary, manifest) = (directory.canary().unwrap(), directory.manifest());
    let cosines = measure(&mut engine, &canary, manifest, "the stand-in").unwrap();
    let precision = manifest.precision;
    let said = (cosines.fault(precision), cosines.doubt(precision));
    assert_eq!(said, (None, None));
    let info = engine.info();
    let mut under_way: [VecDeque<Waiting>; 2] = Default::default();
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    for _ in 0..batches {
        let rows = 1 + random(info.max_batch);
        let images = random(2) == 0;
        let lane = &mut under_way[usize::from(images)];
        if lane.len() == info.slots {
            check(lane.pop_front().unwrap());
        }
        let (batch, expected) = if images {
            let chosen: Vec<_> = (0..rows).map(|_| &album[random(album.len())]).collect();
            let pixels = chosen
                .iter()
                .map(|(image, _)| pinned(prepare.as_ref(), image));
            (
                Batch::Images(pixels.collect()),
                chosen.iter().map(|(_, row)| row.clone()).collect(),
            )
        } else {
            let texts: Vec<_> = (0..rows).map(|_| model::ids(random(100_000))).collect();
            let expected = texts.iter().map(|ids| model::text(ids)).collect();
            (Batch::Texts(texts), expected)
        };
        lane.push_back((submit(&mut engine, batch), expected));
    }
    under_way.into_iter().flatten().for_each(check);
    // Batches in flight when an engine is dropped finish before it is gone.
    let last = submit(&mut engine, Batch::Texts(vec![model::ids(7)]));
    drop(engine);
    check((last, vec![model::text(&model::ids(7))]));
}

#[test]
#[ignore = "run on the stand-in by another test"]
fn rows_are_right_under_thousands_of_random_batches() {
    random_batches(&Recipe::default(), small(), 4 << 20, 3000);
}

/// Six decoders and room for about two of their larger pictures: they wait for each other's
/// batches, and use ordinary memory for pictures larger than the whole arena.
#[test]
#[ignore = "run on the stand-in by another test"]
fn decoders_share_a_small_arena() {
    let recipe = Recipe::default();
    let album = album(&recipe);
    let (engine, prepare) = load(small(), 200 << 10).unwrap();
    let worker = Worker {
        engine: Box::new(engine),
        rebuild: None,
    };
    let batcher = Batcher::start(vec![worker], 64, Metrics::new()).unwrap();
    std::thread::scope(|scope| {
        for decoder in 0..6 {
            let (album, batcher, prepare) = (&album, &batcher, &prepare);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                for number in 0..100 {
                    let (image, row) = &album[(number * 5 + decoder) % album.len()];
                    let permit = batcher.reserve(1).unwrap().one().unwrap();
                    let ticket = permit
                        .submit(Item::Image(pinned(prepare.as_ref(), image)))
                        .unwrap();
                    let answer = runtime
                        .block_on(async { tokio::time::timeout(PATIENCE, ticket.row()).await });
                    assert_eq!(answer.unwrap().unwrap(), *row);
                }
            });
        }
    });
}

#[test]
#[ignore = "run on the stand-in by another test"]
fn full_precision_long_ids_three_slots_and_captured_graphs() {
    let recipe = Recipe::full();
    let options = TensorRtOptions {
        slots: 3,
        capture: true,
        ..small()
    };
    random_batches(&recipe, options, 4 << 20, 500);
}

/// A few full batches, one after the other; the starting test examines the trace.
#[test]
#[ignore = "run on the stand-in by another test"]
fn uploads_overlap_the_tower() {
    let recipe = Recipe::default();
    let (mut engine, prepare) = load(small(), 4 << 20).unwrap();
    let image = noise(100, 80, 1);
    let row = recipe.image_row(&image);
    let mut waiting = VecDeque::new();
    for _ in 0..8 {
        if waiting.len() == engine.info().slots {
            check(waiting.pop_front().unwrap());
        }
        let images = (0..4).map(|_| pinned(prepare.as_ref(), &image)).collect();
        let result = submit(&mut engine, Batch::Images(images));
        waiting.push_back((result, vec![row.clone(); 4]));
    }
    waiting.into_iter().for_each(check);
}

/// Loads an engine, and prints the result: for faults at the start.
#[test]
#[ignore = "run on the stand-in by another test"]
fn load_and_tell() {
    match load(small(), 1 << 20) {
        Ok(_) => println!("LOADED"),
        Err(error) => println!("REFUSED {error}"),
    }
}

/// Measures the canary, and prints what is said about it.
#[test]
#[ignore = "run on the stand-in by another test"]
fn measure_and_tell() {
    let options = TensorRtOptions {
        slots: 3,
        ..small()
    };
    let (mut engine, _) = load(options, 1 << 20).unwrap();
    let directory = directory();
    let (canary, manifest) = (directory.canary().unwrap(), directory.manifest());
    let cosines = measure(&mut engine, &canary, manifest, "the stand-in").unwrap();
    println!(
        "FAULT {}",
        cosines.fault(manifest.precision).unwrap_or_default()
    );
    println!(
        "DOUBT {}",
        cosines.doubt(manifest.precision).unwrap_or_default()
    );
}

/// Sends texts and images through a batcher until a fault shows, and prints the outcomes.
#[test]
#[ignore = "run on the stand-in by another test"]
fn work_until_it_fails() {
    let (engine, prepare) = load(small(), 1 << 20).unwrap();
    let recipe = Recipe::default();
    let image = noise(70, 70, 3);
    let row = recipe.image_row(&image);
    let rebuild_prepare = Arc::clone(&prepare);
    let worker = Worker {
        engine: Box::new(engine),
        rebuild: Some(Box::new(move || {
            println!("REBUILT");
            let engine = TensorRtEngine::load(
                &gpus()?.remove(0),
                &directory(),
                &model::processor(),
                rebuild_prepare,
                &small(),
                &Steps::default(),
            )?;
            Ok(Box::new(engine))
        })),
    };
    let batcher = Batcher::start(vec![worker], 64, Metrics::new()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut state = batcher.state();
        let mut settled = async || {
            let settled = state.wait_for(|state| *state != EngineState::Rebuilding);
            let settled = tokio::time::timeout(PATIENCE, settled).await;
            settled.unwrap().unwrap().clone()
        };
        let (mut right, mut failed, mut stopped) = (0, 0, 0);
        for number in 0..60 {
            // A rebuilt engine must get work, or its failure would not be seen.
            settled().await;
            let mut permits = batcher.reserve(2).unwrap();
            let items = [
                Item::Text(model::ids(number)),
                Item::Image(pinned(prepare.as_ref(), &image)),
            ];
            let expected = [model::text(&model::ids(number)), row.clone()];
            let tickets = items.map(|item| permits.one().unwrap().submit(item));
            for (ticket, expected) in tickets.into_iter().zip(expected) {
                let answer = match ticket {
                    Ok(ticket) => tokio::time::timeout(PATIENCE, ticket.row()).await.unwrap(),
                    Err(error) => Err(error),
                };
                match answer {
                    // A fault is an error, never a wrong answer.
                    Ok(row) => {
                        assert_eq!(row, expected);
                        right += 1;
                    }
                    Err(BatchError::Stopped) => stopped += 1,
                    Err(_) => failed += 1,
                }
            }
        }
        let state = match settled().await {
            EngineState::Running => "running".to_owned(),
            EngineState::Rebuilding => "rebuilding".to_owned(),
            EngineState::Failed(reason) => format!("failed: {reason}"),
        };
        println!("RIGHT {right} FAILED {failed} STOPPED {stopped} STATE {state}");
    });
}

/// A failed batch of one tower loses only its own rows: the other tower continues.
#[test]
#[ignore = "run on the stand-in by another test"]
fn one_failed_batch_leaves_the_engine_whole() {
    let (mut engine, _) = load(small(), 1 << 20).unwrap();
    let mut outcomes = Vec::new();
    for number in 0..10 {
        let result = submit(&mut engine, Batch::Texts(vec![model::ids(number)]));
        match result.recv_timeout(PATIENCE).unwrap() {
            Ok(rows) => {
                let row: Vec<&[f32]> = rows.iter().collect();
                assert_eq!(row, [model::text(&model::ids(number))]);
                outcomes.push("right");
            }
            Err(EngineError::Lost(_)) => outcomes.push("lost"),
            Err(_) => outcomes.push("failed"),
        }
    }
    println!("OUTCOMES {}", outcomes.join(" "));
}
