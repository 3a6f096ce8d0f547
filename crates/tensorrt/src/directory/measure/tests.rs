use std::sync::Arc;

use siglip2_engine::{EngineInfo, Pixels, Prepare};
use siglip2_image::{ImageError, RgbImage};
use siglip2_model::graph::Precision;

use super::*;

/// An engine whose vectors are the sums of each column of a picture, and what it does wrong.
struct Columns {
    /// The rows of batches of this size are those of the next item.
    mixes: usize,
    /// Pictures that begin with this byte have another vector in batches of more than one.
    spoils: Option<u8>,
}

fn columns(image: &RgbImage) -> Vec<f32> {
    let mut sums = vec![0.0; image.width() as usize];
    let pixels = image.pixels().as_chunks::<3>().0.iter();
    for (at, pixel) in pixels.enumerate() {
        let width = sums.len();
        sums[at % width] += pixel.iter().map(|&it| f32::from(it)).sum::<f32>();
    }
    sums
}

struct AsItIs;

impl Prepare for AsItIs {
    fn prepare(&self, image: RgbImage) -> Result<Pixels, ImageError> {
        Ok(Pixels::Decoded(image))
    }
}

impl Engine for Columns {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            name: "columns",
            device: "cuda",
            precision: "fp16",
            agreement: None,
            dimensions: 4,
            max_batch: 8,
            slots: 2,
            device_timeout: None,
        }
    }

    fn preparer(&self) -> Arc<dyn Prepare> {
        Arc::new(AsItIs)
    }

    fn submit(&mut self, batch: Batch, done: Completion) {
        let count = batch.len();
        let mut rows: Vec<Vec<f32>> = match batch {
            Batch::Images(images) => {
                let mut rows = Vec::new();
                for image in &images {
                    let image = image.decoded().unwrap();
                    let mut row = columns(image);
                    if count > 1 && self.spoils == Some(image.pixels()[0]) {
                        row[0] = -1000.0;
                    }
                    rows.push(row);
                }
                if count == self.mixes {
                    rows.rotate_left(1);
                }
                rows
            }
            Batch::Texts(texts) => texts
                .iter()
                .map(|ids| ids.iter().map(|&id| id as f32).collect())
                .collect(),
        };
        let values = rows.drain(..).flatten().collect();
        done.finish(Rows::new(4, values));
    }
}

fn measured(engine: &mut Columns, first: u8) -> Result<Cosines, EngineError> {
    // The first column is the brightest, or all are the same.
    let line = [first, 20, 30, 10].map(|it| [it; 3]);
    let line = if first == 10 { [[10; 3]; 4] } else { line };
    let image = RgbImage::new(4, 2, [line, line].concat().concat()).unwrap();
    let texts = vec![vec![1, 2, 3, 4], vec![4, 0, 0, 1]];
    let canary = Canary {
        image_embedding: columns(&image),
        image,
        text_embeddings: texts
            .iter()
            .map(|ids| ids.iter().map(|&id| id as f32).collect())
            .collect(),
        texts,
        grids: Vec::new(),
    };
    let manifest = crate::directory::manifest::tests::manifest();
    measure(engine, &canary, &manifest, "a GPU")
}

#[test]
fn rows_that_are_mixed_up_within_a_batch_are_seen() {
    let mut engine = Columns {
        mixes: 0,
        spoils: None,
    };
    let cosines = measured(&mut engine, 200).unwrap();
    let precision = Precision::Fp16;
    assert_eq!(
        (cosines.fault(precision), cosines.doubt(precision)),
        (None, None)
    );
    for rows in [2, 4, 8] {
        engine.mixes = rows;
        let said = measured(&mut engine, 200).unwrap_err().to_string();
        let place = format!("rows are mixed up in a batch of {rows} (slot ");
        assert!(said.contains(&place), "{said}");
    }
    // Where the two pictures have one vector nothing can be told, and nothing is said.
    assert!(measured(&mut engine, 10).is_ok());
}

#[test]
fn the_mirrored_picture_has_one_vector_in_every_batch() {
    let mut engine = Columns {
        mixes: 0,
        // How the mirrored picture begins.
        spoils: Some(10),
    };
    let said = measured(&mut engine, 200).unwrap_err().to_string();
    assert!(said.contains("the mirrored canary has cosine "), "{said}");
    // The canary itself: a fault, with its place.
    engine.spoils = Some(200);
    let cosines = measured(&mut engine, 200).unwrap();
    let said = cosines.fault(Precision::Fp16).unwrap();
    assert!(said.contains("in a batch of 2 (slot 1)"), "{said}");
}
