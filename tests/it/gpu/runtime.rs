//! The engine at work: rows are right whatever else is in flight, slots overlap and share nothing,
//! and all resources are returned.

use std::fs;

use crate::common::stand_in::{Machine, TENSORRT};
use crate::gpu::model::Recipe;
use crate::gpu::passes;

/// The stand-in delays every operation at random, so that a missing wait shows as a wrong row or
/// as a race in its trace.
#[test]
fn rows_are_right_under_thousands_of_random_batches() {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::default().write(root.path());
    let machine = Machine::new().delay("random:1:200us");
    let (_, trace) = passes(
        "rows_are_right_under_thousands_of_random_batches",
        &machine,
        engine.path(),
    );
    let towers = trace.operations("infer");
    assert!(towers.len() > 3000, "{}", towers.len());
    // Every batch size of both towers ran three times on each of 2 slots. From then on all are
    // captured graphs with standard TensorRT, and none with TensorRT for RTX, which captures them
    // itself.
    let replayed = towers.iter().filter(|it| it.graph_launch > 0).count();
    let expected = match TENSORRT.captures() {
        true => towers.len() - 3 * 4 * 2 * 2,
        false => 0,
    };
    assert_eq!(replayed, expected);
    // Batches that did not fit the source buffer were uploaded in parts, but ran as one.
    let images = towers.iter().filter(|it| it.label == "image").count();
    let kernels = trace.operations("kernel");
    let resizes = kernels.iter().filter(|it| it.label.contains("normalize"));
    let resizes = resizes.count();
    // A warm-up has no pictures: 4 batch sizes in 2 slots ran three times, and as graphs twice.
    let runs = if TENSORRT.captures() { 3 + 2 } else { 3 };
    let served = images - 4 * 2 * runs;
    assert!(
        resizes > served + 72,
        "{resizes} resizes for {served} batches"
    );
}

#[test]
fn decoders_share_a_small_arena() {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::default().write(root.path());
    let machine = Machine::new().delay("random:2:300us");
    let (_, trace) = passes("decoders_share_a_small_arena", &machine, engine.path());
    // Some pictures were larger than the arena.
    let uploads = trace.operations("upload");
    assert!(uploads.iter().any(|upload| upload.label == "pageable"));
    assert!(uploads.iter().any(|upload| upload.label == "pinned"));
}

/// Towers that ran before any was a graph: of 3 slots, both towers, 4 batch sizes, 3 times each.
const WARM_UPS: usize = 3 * 2 * 4 * 3;

#[test]
fn full_precision_long_ids_three_slots_and_captured_graphs() {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::full().write(root.path());
    let machine = Machine::new().delay("random:3:300us");
    let (_, trace) = passes(
        "full_precision_long_ids_three_slots_and_captured_graphs",
        &machine,
        engine.path(),
    );
    let towers = trace.operations("infer");
    let replayed = towers.iter().filter(|it| it.graph_launch > 0).count();
    assert_eq!(replayed, towers.len() - WARM_UPS);
    assert!(replayed > 500, "{replayed} towers were replayed as graphs");
}

/// Small batches have engines of their own where products are in FP8: every row is right, whichever
/// engine its batch is for.
#[test]
fn small_batches_run_on_engines_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    let recipe = Recipe {
        small: Some(2),
        ..Recipe::default()
    };
    let engine = recipe.write(root.path());
    let machine = Machine::new().delay("random:4:200us");
    let (_, trace) = passes(
        "rows_are_right_under_thousands_of_random_batches",
        &machine,
        engine.path(),
    );
    let towers = trace.operations("infer");
    assert!(towers.len() > 3000, "{}", towers.len());
}

/// A tower that computes without activations gets none, and its contexts stay user-managed: those
/// of an engine as build-engine builds it cannot be anything else.
#[test]
fn contexts_that_need_no_memory_get_none() {
    let root = tempfile::tempdir().unwrap();
    let recipe = Recipe {
        context_bytes: 0,
        ..Recipe::default()
    };
    let engine = recipe.write(root.path());
    passes(
        "decoders_share_a_small_arena",
        &Machine::new(),
        engine.path(),
    );
}

#[test]
fn a_batch_size_that_cannot_be_captured_runs_without_a_graph() {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::full().write(root.path());
    // The graph is not made, or made but not launched.
    for fault in ["graph:2", "graph_launch:2"] {
        let machine = Machine::new().fault(fault);
        let (_, trace) = passes(
            "full_precision_long_ids_three_slots_and_captured_graphs",
            &machine,
            engine.path(),
        );
        let towers = trace.operations("infer");
        let replayed = towers.iter().filter(|it| it.graph_launch > 0).count();
        let served = towers.len() - WARM_UPS;
        assert!(0 < replayed && replayed < served, "{replayed} of {served}");
    }
}

/// Kernels that TensorRT for RTX compiles are kept beside the engines for the next start.
/// Standard TensorRT compiles nothing, and writes nothing beside the engines.
#[test]
fn what_is_compiled_at_the_start_is_kept_for_the_next() {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::default().write(root.path());
    // By tower and card; the rest of the name is the driver's version.
    let caches = |card: &str| {
        ["vision", "text"].map(|tower| {
            let mut found = fs::read_dir(engine.path())
                .unwrap()
                .map(|it| it.unwrap().path());
            let cache = found.find(|path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                name.starts_with(&format!("{tower}.{card}.")) && name.ends_with(".cache")
            });
            cache.map(|path| fs::read_to_string(path).unwrap())
        })
    };
    // The stand-in's cache counts the contexts made with it: one for each of 4 batch sizes on
    // each of 2 slots. Another card compiles for itself.
    for (card, start) in [
        ("RTX-5090", 1),
        ("RTX-5090", 2),
        ("RTX-5080", 1),
        ("RTX-5090", 3),
    ] {
        let gpus = format!("{}:12.0:16303MiB", card.replace('-', " "));
        let (text, _) = passes("load_and_tell", &Machine::new().gpus(&gpus), engine.path());
        assert!(text.contains("LOADED"), "{text}");
        let expected = TENSORRT
            .compiles()
            .then(|| format!("stand-in runtime cache {}\n", start * 4 * 2));
        assert_eq!(caches(card), [expected.clone(), expected], "{card}");
    }
    let others = fs::read_dir(engine.path()).unwrap();
    let others = others.filter(|it| it.as_ref().unwrap().path().ends_with("vision.cache"));
    assert_eq!(others.count(), 0);
}

/// The canary fills every batch size in every slot: an engine that is wrong in only one of them
/// is refused, and the place is named.
#[test]
fn an_engine_that_is_wrong_for_one_batch_size_or_in_one_slot_is_refused() {
    use siglip2_embeddings::engine::Tower;
    let told = |small, wrong: &[(Tower, usize, usize, f32)]| {
        let root = tempfile::tempdir().unwrap();
        let recipe = Recipe {
            small,
            wrong: wrong.to_vec(),
            ..Recipe::default()
        };
        let engine = recipe.write(root.path());
        let (text, _) = passes("measure_and_tell", &Machine::new(), engine.path());
        ["FAULT ", "DOUBT "].map(|word| {
            let line = text.lines().find_map(|line| line.split_once(word));
            line.unwrap().1.to_owned()
        })
    };
    let said = |wrong: &[(Tower, usize, usize, f32)]| told(None, wrong);
    assert_eq!(said(&[]), ["", ""]);
    for tower in [Tower::Image, Tower::Text] {
        for rows in [1, 2, 4, 8] {
            for slot in 1..=3 {
                let [fault, doubt] = said(&[(tower, rows, slot, 1.0)]);
                let canary = format!("the {tower} tower's canary has cosine");
                let place = format!("in a batch of {rows} (slot {slot})");
                assert!(fault.contains(&canary) && fault.contains(&place), "{fault}");
                assert_eq!(doubt, "");
            }
        }
    }
    // A little wrong is said, and no reason to refuse.
    let [fault, doubt] = said(&[(Tower::Text, 2, 3, 0.02)]);
    assert_eq!(fault, "");
    assert!(doubt.contains("in a batch of 2 (slot 3)"), "{doubt}");
    // In FP8 that is usual, but not in its small batches, which are computed in FP16.
    assert_eq!(told(Some(2), &[(Tower::Text, 4, 3, 0.02)]), ["", ""]);
    let [fault, doubt] = told(Some(2), &[(Tower::Text, 2, 3, 0.02)]);
    assert_eq!(fault, "");
    assert!(doubt.contains("in a batch of 2 (slot 3)"), "{doubt}");
    let [fault, _] = told(Some(2), &[(Tower::Image, 8, 1, 1.0)]);
    assert!(fault.contains("in a batch of 8 (slot 1)"), "{fault}");
}

/// Upload and resize of a batch begin before the tower of the previous batch has ended; two
/// batches of a tower never run at the same time.
#[test]
fn uploads_overlap_the_tower() {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::default().write(root.path());
    let machine = Machine::new().delay("infer:30ms,upload:1ms,kernel:2ms");
    let (_, trace) = passes("uploads_overlap_the_tower", &machine, engine.path());
    let of = |kind: &str, label: &str| {
        let mut found = trace.operations(kind);
        found.retain(|it| it.label.starts_with(label));
        found
    };
    // The last 8: the earlier ones ran every batch size once.
    let towers = of("infer", "image");
    let towers = &towers[towers.len() - 8..];
    let resizes = of("kernel", "resize_normalize");
    let resizes = &resizes[resizes.len() - 8..];
    let mut overlapped = 0;
    for number in 1..8 {
        assert!(
            towers[number].begin >= towers[number - 1].end,
            "two towers at the same time"
        );
        assert!(resizes[number].end <= towers[number].begin);
        if resizes[number].end < towers[number - 1].end {
            overlapped += 1;
        }
    }
    assert!(overlapped >= 5, "only {overlapped} of 7 overlapped");
}
