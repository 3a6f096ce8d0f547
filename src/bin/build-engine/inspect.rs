//! What an engine directory holds, for a person.

use std::error::Error;
use std::fmt::Display;
use std::path::Path;

use siglip2_embeddings::engine::Tower;
use siglip2_embeddings::engine::directory::{EngineDirectory, LayerCounts, Manifest, TowerEntry};

/// Reads all of a directory and prints what it is.
///
/// # Errors
///
/// When something is missing or has other bytes than the manifest says.
pub fn inspect(directory: &Path) -> Result<(), Box<dyn Error>> {
    let directory = EngineDirectory::open(directory)?;
    directory.verify_hashes()?;
    let canary = directory.canary()?;
    let manifest = directory.manifest();
    for (what, value) in overview(manifest) {
        println!("{what:<18} {value}");
    }
    line(
        "canary",
        format!(
            "a picture of {} x {}, {} texts",
            canary.image.width(),
            canary.image.height(),
            canary.texts.len()
        ),
    );
    for tower in [Tower::Image, Tower::Text] {
        println!();
        describe(tower, manifest.tower(tower));
    }
    println!();
    let bytes: u64 = manifest.entries().map(|entry| entry.bytes).sum();
    line("files", "every one has the SHA-256 that the manifest says");
    line("bytes", bytes);
    for entry in manifest.entries() {
        println!("  {:<26} {:>12}  {}", entry.file, entry.bytes, entry.sha256);
    }
    Ok(())
}

fn line(what: &str, value: impl Display) {
    println!("{what:<18} {value}");
}

fn overview(manifest: &Manifest) -> Vec<(&'static str, String)> {
    vec![
        ("model", manifest.model.clone()),
        ("precision", manifest.precision.to_string()),
        (
            "gpu",
            format!(
                "{} (compute capability {})",
                manifest.gpu.name, manifest.gpu.compute_capability
            ),
        ),
        (
            "built by",
            format!(
                "{} with {} {}",
                manifest.created_by, manifest.tensorrt.flavour, manifest.tensorrt.version
            ),
        ),
        ("weights", manifest.weights_sha256.clone()),
        ("dimensions", manifest.dimensions.to_string()),
        ("image size", manifest.image_size.to_string()),
        ("text tokens", manifest.text_tokens.to_string()),
        (
            "logit scale, bias",
            format!("{}, {}", manifest.logit_scale, manifest.logit_bias),
        ),
        ("batches", format!("{:?}", manifest.buckets)),
        (
            "profiles",
            format!("{:?} (least, optimized for, most)", manifest.profiles),
        ),
        (
            "cosine to FP32",
            match &manifest.cosine {
                Some(it) => format!(
                    "image {:.6}, text {:.6}, on {}",
                    it.image, it.text, it.measured_on
                ),
                None => "not measured: it was built where its GPU is not".into(),
            },
        ),
    ]
}

fn describe(tower: Tower, entry: &TowerEntry) {
    line(&format!("{tower} tower"), &entry.engine.file);
    line("  graph", &entry.graph_sha256);
    line(
        "  takes",
        format!("{} ({})", entry.input.name, entry.input.element),
    );
    line(
        "  gives",
        format!("{} ({})", entry.output.name, entry.output.element),
    );
    line("  engine bytes", entry.engine.bytes);
    let Some(layers) = &entry.layers else {
        return line("  layers", "not known");
    };
    let LayerCounts {
        network,
        attention,
        fused_attention,
        engine,
        weights_bytes,
        context_bytes,
    } = layers;
    let known = |value: Option<String>| value.unwrap_or_else(|| "not said by TensorRT".into());
    line("  network layers", network);
    line("  engine layers", known(engine.map(|it| it.to_string())));
    line(
        "  fused attention",
        known(fused_attention.map(|fused| format!("{fused} of {attention}"))),
    );
    line(
        "  weights, bytes",
        known(weights_bytes.map(|it| it.to_string())),
    );
    line(
        "  context, bytes",
        known(context_bytes.map(|it| it.to_string())),
    );
}
