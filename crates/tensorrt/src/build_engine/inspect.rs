//! Prints the contents of an engine directory, for people.

use std::error::Error;
use std::fmt::{Display, Write as _};
use std::io::{ErrorKind, Write as _, stdout};
use std::path::Path;

use crate::directory::{EngineDirectory, FileEntry, LayerCounts, Manifest, TowerEntry};
use siglip2_engine::Tower;

/// Reads a whole directory and prints what it holds.
///
/// # Errors
///
/// When a file is missing or differs from the manifest.
pub fn inspect(directory: &Path) -> Result<(), Box<dyn Error>> {
    let directory = EngineDirectory::open(directory)?;
    directory.verify_hashes()?;
    match stdout().write_all(describe(&directory)?.as_bytes()) {
        // A reader may close the pipe early, as head does; that is not an error.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Lines with a name and a value.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, what: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{what:<18} {value}");
    }
}

fn describe(directory: &EngineDirectory) -> Result<String, Box<dyn Error>> {
    let canary = directory.canary()?;
    let manifest = directory.manifest();
    let mut lines = Lines::default();
    for (what, value) in overview(manifest) {
        lines.add(what, value);
    }
    let (width, height) = (canary.image.width(), canary.image.height());
    let texts = canary.texts.len();
    lines.add(
        "canary",
        format!("a picture of {width} x {height}, {texts} texts"),
    );
    for tower in [Tower::Image, Tower::Text] {
        lines.0.push('\n');
        add_tower(&mut lines, tower, manifest.tower(tower));
    }
    lines.0.push('\n');
    lines.add("files", "each has the SHA-256 given in the manifest");
    lines.add(
        "bytes",
        manifest.entries().map(|entry| entry.bytes).sum::<u64>(),
    );
    for entry in manifest.entries() {
        let FileEntry {
            file,
            sha256,
            bytes,
        } = entry;
        let _ = writeln!(lines.0, "  {file:<26} {bytes:>12}  {sha256}");
    }
    Ok(lines.0)
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
        match &manifest.patches {
            None => ("image size", manifest.image_size.to_string()),
            Some(patches) => (
                "patches",
                format!(
                    "of {} pixels, padded to {:?} in a picture",
                    patches.size, patches.buckets
                ),
            ),
        },
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
            "small batches",
            match manifest.small_batches {
                Some(most) => format!("up to {most}, on engines of their own in FP16"),
                None => "as all others".into(),
            },
        ),
        (
            "scales",
            match &manifest.scales {
                Some(scales) => format!("of {} activations", scales.len()),
                None => "none".into(),
            },
        ),
        (
            "cosine to FP32",
            match &manifest.cosine {
                Some(it) => it.to_string(),
                None => "not measured, built without its GPU; run build-engine verify".into(),
            },
        ),
    ]
}

fn add_tower(lines: &mut Lines, tower: Tower, entry: &TowerEntry) {
    let TowerEntry { input, output, .. } = entry;
    lines.add(&format!("{tower} tower"), &entry.engine.file);
    lines.add("  graph", &entry.graph_sha256);
    lines.add("  takes", format!("{} ({})", input.name, input.element));
    lines.add("  gives", format!("{} ({})", output.name, output.element));
    lines.add("  engine bytes", entry.engine.bytes);
    add_layers(lines, entry.layers.as_ref());
    if let Some(small) = &entry.small {
        lines.add("  small batches", &small.engine.file);
        lines.add("  engine bytes", small.engine.bytes);
        add_layers(lines, small.layers.as_ref());
    }
}

fn add_layers(lines: &mut Lines, layers: Option<&LayerCounts>) {
    let Some(layers) = layers else {
        return lines.add("  layers", "not known");
    };
    let LayerCounts {
        network,
        attention,
        fused_attention,
        engine,
        fp8_products,
        weights_bytes,
        context_bytes,
    } = layers;
    let number = |number: Option<u64>| match number {
        Some(number) => number.to_string(),
        None => "not reported by TensorRT".into(),
    };
    let fused = fused_attention.map(|fused| format!("{fused} of {attention}"));
    lines.add("  network layers", network);
    lines.add("  engine layers", number(engine.map(|it| it as u64)));
    lines.add("  fused attention", fused.unwrap_or_else(|| number(None)));
    if let Some(products) = fp8_products {
        lines.add("  products in FP8", products);
    }
    lines.add("  weights, bytes", number(*weights_bytes));
    lines.add("  context, bytes", number(*context_bytes));
}
