//! The two graphs that engines are built from: the checkpoint's, or third-party ONNX exports.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use crate::build::builder::Staging;
use crate::directory::{hash, hash_all, hash_file};
use siglip2_engine::Tower;
use siglip2_image::Processor;
use siglip2_model::checkpoint::{Checkpoint, Resolution};
use siglip2_model::graph::{self, Export, ExportedTower, Precision, Products};

/// Both towers' graphs, in one precision.
pub struct Towers {
    pub precision: Precision,
    /// SHA-256 of the source of their weights.
    pub weights_sha256: String,
    vision: Graph,
    text: Graph,
}

struct Graph {
    /// The bytes of a `.onnx` file.
    onnx: Vec<u8>,
    /// The export it comes from, and the files it needs beside it.
    export: Option<(PathBuf, Vec<String>)>,
}

impl Towers {
    /// The checkpoint's own.
    pub fn of<'a>(
        checkpoint: &'a Checkpoint,
        processor: &Processor,
        products: impl Into<Products<'a>>,
    ) -> Result<Self, Box<dyn Error>> {
        let products = products.into();
        let (config, weights) = (&checkpoint.config, &checkpoint.weights);
        let own = |graph: graph::Graph| Graph {
            onnx: graph.encode(),
            export: None,
        };
        Ok(Self {
            precision: products.precision(),
            weights_sha256: weights_sha256(checkpoint),
            vision: own(match config.vision.resolution {
                Resolution::Fixed => graph::vision(&config.vision, weights, products)?,
                Resolution::Variable => {
                    let table = processor.normalization();
                    graph::naflex(&config.vision, weights, products, table)?
                }
            }),
            text: own(graph::text(&config.text, weights, products)?),
        })
    }

    /// Two exports. Their types decide the precision.
    pub fn exported(
        vision: &Path,
        text: &Path,
        wanted: Option<Precision>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut hashes = Vec::new();
        let mut read = |path: &Path, tower: Tower| -> Result<_, Box<dyn Error>> {
            let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let bytes = fs::read(path).map_err(|error| named(&error))?;
            let export = Export::read(&bytes).map_err(|error| named(&error))?;
            let ExportedTower {
                onnx,
                external,
                precision,
            } = match tower {
                Tower::Image => export.vision(),
                Tower::Text => export.text(),
            }
            .map_err(|error| named(&error))?;
            hashes.push(hash(&bytes));
            for file in &external {
                let file = beside(path, file);
                let hash =
                    hash_file(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                hashes.push(hash);
            }
            let export = Some((path.to_owned(), external));
            Ok((Graph { onnx, export }, precision))
        };
        let (vision_graph, of_vision) = read(vision, Tower::Image)?;
        let (text_graph, of_text) = read(text, Tower::Text)?;
        if of_vision != of_text {
            return Err(format!(
                "{} is in {of_vision} but {} is in {of_text}; use two of the same precision",
                vision.display(),
                text.display()
            )
            .into());
        }
        if let Some(wanted) = wanted
            && wanted != of_vision
        {
            return Err(format!(
                "--precision (PRECISION) is {wanted}, but {} is in {of_vision}, and an export is \
                 not converted; use one in {wanted}, or --precision {of_vision}, or leave out \
                 --vision-onnx and --text-onnx to build the checkpoint in any precision",
                vision.display()
            )
            .into());
        }
        Ok(Self {
            precision: of_vision,
            weights_sha256: hash_all(hashes.iter().map(String::as_bytes)),
            vision: vision_graph,
            text: text_graph,
        })
    }

    /// Puts a tower's graph into a staging directory, with its weights beside it. Returns the
    /// graph's path and its SHA-256.
    pub fn stage(
        &self,
        tower: Tower,
        checkpoint: &Checkpoint,
        staging: &Staging,
    ) -> Result<(PathBuf, String), Box<dyn Error>> {
        let (graph, name) = match tower {
            Tower::Image => (&self.vision, "vision.onnx"),
            Tower::Text => (&self.text, "text.onnx"),
        };
        match &graph.export {
            None => staging.weights(&checkpoint.weights)?,
            Some((path, external)) => {
                for file in external {
                    staging.link(file, &beside(path, file))?;
                }
            }
        }
        Ok((staging.write(name, &graph.onnx)?, hash(&graph.onnx)))
    }
}

/// SHA-256 of a checkpoint's weights, all files together.
pub fn weights_sha256(checkpoint: &Checkpoint) -> String {
    hash_all(checkpoint.weights.shards().iter().copied())
}

/// A file in the same directory as another.
fn beside(path: &Path, file: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).join(file)
}
