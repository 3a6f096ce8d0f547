//! Pictures of variable resolution (NaFlex) on the GPU: batches of mixed grids, the canaries of
//! every number of patches, and what is refused.

use std::process::Command;

use serde_json::{Value, json};
use siglip2_embeddings::engine::Tower;

use super::service::of;
use crate::common::noise::noise;
use crate::common::stand_in::Machine;
use crate::common::{Form, Program, ask, get, post_json};
use crate::gpu::model::{NAFLEX, Recipe};
use crate::gpu::{passes, run};

#[test]
fn rows_are_right_in_batches_of_all_grids() {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::naflex(300).write(root.path());
    let machine = Machine::new().delay("random:1:200us");
    let test = "naflex::rows_are_right_in_batches_of_all_grids";
    let (_, trace) = passes(test, &machine, engine.path());
    // Batches were computed in parts, or there would be one tower for each of 400.
    let towers = trace.operations("infer");
    let images = towers.iter().filter(|it| it.label == "image").count();
    assert!(images > 500, "{images} towers");
    // Nothing is resized on the GPU, and what is uploaded was pinned.
    assert!(trace.operations("kernel").is_empty());
    let uploads = trace.operations("upload");
    assert!(uploads.iter().any(|upload| upload.label == "pinned"));
}

/// What loading an engine says, for pictures of up to `patches` patches; 0 for squares.
fn loading(recipe: &Recipe, patches: usize) -> String {
    let root = tempfile::tempdir().unwrap();
    let engine = recipe.write(root.path());
    let machine = Machine::new().set("TEST_PATCHES", &patches.to_string());
    let (text, passed) = run("naflex::load_and_tell", &machine, engine.path());
    assert!(passed, "{text}");
    text
}

#[test]
fn a_fault_of_any_number_of_patches_is_found_where_that_is_used() {
    let wrong = |rows, patches| Recipe {
        wrong: vec![(Tower::Image, rows, 0, 0.5)],
        wrong_patches: patches,
        ..Recipe::naflex(256)
    };
    let said = |text: &str| {
        let (_, fault) = text
            .split_once("FAULT ")
            .unwrap_or_else(|| panic!("{text}"));
        fault.lines().next().unwrap_or_default().to_owned()
    };
    let fault = said(&loading(&wrong(4, 64), 256));
    assert!(
        fault.contains("a batch of 4 with 64 patches each"),
        "{fault}"
    );
    let fault = said(&loading(&wrong(2, 256), 256));
    assert!(
        fault.contains("a batch of 2 with 256 patches each"),
        "{fault}"
    );
    // Of pictures of up to 64 patches none is ever padded to 256.
    assert_eq!(said(&loading(&wrong(2, 256), 64)), "");
}

#[test]
fn more_patches_than_the_engine_takes_are_refused_and_fewer_need_less_memory() {
    let recipe = Recipe::naflex(256);
    let text = loading(&recipe, 257);
    assert!(
        text.contains("REFUSED pictures become up to 257 patches"),
        "{text}"
    );
    assert!(text.contains("--max-num-patches 256"), "{text}");
    let text = loading(&recipe, 0);
    assert!(
        text.contains("REFUSED") && text.contains("rebuild"),
        "{text}"
    );
    let text = loading(&Recipe::default(), 256);
    assert!(
        text.contains("REFUSED") && text.contains("rebuild"),
        "{text}"
    );

    let batches = |patches| {
        let text = loading(&recipe, patches);
        let (_, rest) = text.split_once("batches ").expect("needs");
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        number.parse::<usize>().unwrap()
    };
    // 8 rows of 256 patches of 777 bytes, for two slots, and the contexts.
    assert_eq!((batches(256), batches(64)), (3, 0));
}

#[tokio::test]
async fn the_service_answers_with_the_rows_of_the_engine() {
    let root = tempfile::tempdir().unwrap();
    let recipe = Recipe::naflex(256);
    recipe.write(root.path());
    let command = |machine: &Machine, flags: &[&str]| -> Command {
        let flags = [&["--device", "cuda"][..], flags].concat();
        of(NAFLEX, machine, root.path(), &flags)
    };
    let machine = Machine::new();
    let program = Program::start(command(&machine, &[]), |lines| lines.for_each(drop));
    let info: Value = ask(program.address, get("/info")).await.json();
    assert_eq!(info["device"], "cuda");
    assert_eq!(info["max_num_patches"], 256);
    assert_eq!(ask(program.address, get("/ready")).await.status, 200);
    let mut form = Form::new().text("normalize", "false");
    let mut expected = Vec::new();
    for (seed, (width, height)) in [(90, 60), (1, 1), (3, 200), (640, 480)]
        .into_iter()
        .enumerate()
    {
        let image = noise(width, height, seed as u64);
        form = form.file("files", "a.png", file(&image));
        expected.push(recipe.image_row(&image));
    }
    let answer: Value = ask(program.address, form.post("/embed/images"))
        .await
        .json();
    let rows: Vec<Vec<f32>> = serde_json::from_value(answer["embeddings"].clone()).unwrap();
    assert_eq!(rows, expected);
    let body = json!({"texts": ["a red circle"]}).to_string();
    let answer = ask(program.address, post_json("/embed/text", &body)).await;
    assert_eq!(answer.status, 200);
    drop(program);

    // More patches than the engine takes: the program does not start.
    let machine = Machine::new();
    let (text, code) = super::service::refusal(command(&machine, &["--max-num-patches", "512"]));
    assert!(code.is_some_and(|code| code != 0), "{code:?}: {text}");
    assert!(text.contains("at most 256"), "{text}");
}

fn file(image: &siglip2_embeddings::image::RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(image.pixels()).unwrap();
    writer.finish().unwrap();
    bytes
}
