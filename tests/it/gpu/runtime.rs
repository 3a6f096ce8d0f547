//! The engine at work: rows are right whatever is under way, slots overlap and share nothing,
//! and everything comes back.

use std::fs;

use crate::common::stand_in::{Machine, TENSORRT};
use crate::gpu::model::Recipe;
use crate::gpu::passes;

/// The stand-in delays every operation at random, so that a wait that is missing shows as a
/// wrong row or as a race in its trace.
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
    // graphs of ours with standard TensorRT, and none with TensorRT for RTX, which makes its own.
    let replayed = towers.iter().filter(|it| it.graph_launch > 0).count();
    let expected = match TENSORRT.captures() {
        true => towers.len() - 3 * 4 * 2 * 2,
        false => 0,
    };
    assert_eq!(replayed, expected);
    // Batches that did not fit the source buffer went in parts, and were one to the tower.
    let images = towers.iter().filter(|it| it.label == "image").count();
    let kernels = trace.operations("kernel");
    let resizes = kernels.iter().filter(|it| it.label.contains("normalize"));
    let resizes = resizes.count();
    assert!(
        resizes > images + 40,
        "{resizes} resizes for {images} batches"
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

/// A context whose memory TensorRT does not tell takes what it needs itself.
#[test]
fn contexts_that_do_not_say_what_they_need_have_memory_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::default().write(root.path());
    // Every second one of the image tower's first slot, and all of the text tower.
    for fault in ["memory_size:2,memory_size:4", "memory_size:9+"] {
        let machine = Machine::new().fault(fault);
        passes("decoders_share_a_small_arena", &machine, engine.path());
    }
}

#[test]
fn a_batch_size_that_cannot_be_captured_runs_without_a_graph() {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::full().write(root.path());
    // It is not made, or made and not launched.
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

/// What TensorRT for RTX compiles lies beside the engines and is used by the next start.
/// Standard TensorRT compiles nothing, and there is nothing beside the engines.
#[test]
fn what_is_compiled_at_the_start_is_kept_for_the_next() {
    let root = tempfile::tempdir().unwrap();
    let engine = Recipe::default().write(root.path());
    let caches = || {
        ["vision.cache", "text.cache"].map(|name| fs::read_to_string(engine.path().join(name)).ok())
    };
    assert_eq!(caches(), [None, None]);
    for start in 1..=2 {
        let (text, _) = passes("load_and_tell", &Machine::new(), engine.path());
        assert!(text.contains("LOADED"), "{text}");
        // The stand-in's says how many contexts were made with it: one for each of 4 batch
        // sizes on each of 2 slots.
        let expected = TENSORRT
            .compiles()
            .then(|| format!("stand-in runtime cache {}\n", start * 4 * 2));
        assert_eq!(caches(), [expected.clone(), expected]);
    }
}

/// Upload and resize of a batch begin before the tower of the one before it has ended; two
/// towers of a kind never run at the same time.
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
    // The last 8: those before ran every batch size once.
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
