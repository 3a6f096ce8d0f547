//! How large activations become: the CPU engine in FP32 over pictures and texts, for the scales of
//! graphs in FP8.

use std::io;
use std::path::PathBuf;

use siglip2_cpu::{EncoderShape, Largest};
use siglip2_image::{ImageError, Processor};
use siglip2_model::checkpoint::Checkpoint;
use siglip2_model::graph::{NotFinite, Scales};
use siglip2_model::text::TokenizerError;

use super::{CpuEngine, CpuEngineError, CpuOptions};
use crate::{Batch, Engine, EngineError, Pixels, Prepare, embed};

mod samples;

pub use samples::{FaultySample, SampleError, Samples};

/// Rows that the engine is given at a time.
const BATCH: usize = 8;

/// Why there is no calibration.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// A folder or a file of samples cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's error.
        #[source]
        error: io::Error,
    },
    /// The file of texts is in another encoding.
    #[error("{} is not UTF-8", .0.display())]
    NotUtf8(PathBuf),
    /// The file of texts has only empty lines.
    #[error("{} has no texts; give one on each line", .0.display())]
    NoTexts(PathBuf),
    /// The folder of pictures is empty.
    #[error("{} has no files; calibrate with a folder of pictures", .0.display())]
    NoFiles(PathBuf),
    /// No file of the folder is a picture.
    #[error("{} has no picture to calibrate with: {first}", folder.display())]
    NoPictures {
        /// Which folder.
        folder: PathBuf,
        /// What is wrong with the first of its files.
        #[source]
        first: Box<SampleError>,
    },
    /// A picture that the caller gave cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The checkpoint's tokenizer cannot be used, or fails on a text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// There is no engine.
    #[error(transparent)]
    Load(#[from] CpuEngineError),
    /// The engine fails on a sample.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// The CPU engine in FP32, which notes how large the inputs of each layer's products become.
pub struct Calibration {
    engine: CpuEngine,
    encoders: [EncoderShape; 2],
}

impl Calibration {
    /// Over the towers of a checkpoint.
    ///
    /// # Errors
    ///
    /// As [`CpuEngine::load`].
    pub fn new(
        checkpoint: &Checkpoint,
        processor: &Processor,
        threads: usize,
        max_batch: usize,
    ) -> Result<Self, CpuEngineError> {
        let mut engine =
            CpuEngine::load(checkpoint, processor, CpuOptions::fp32(threads, max_batch))?;
        let failed = |error: siglip2_cpu::Error| EngineError::Failed(error.to_string());
        engine.towers.vision.observe().map_err(failed)?;
        engine.towers.text.observe().map_err(failed)?;
        let shapes = super::Shapes::of(&checkpoint.config, processor);
        Ok(Self {
            engine,
            encoders: [shapes.vision.encoder, shapes.text.encoder],
        })
    }

    /// Over the towers of a checkpoint, which have seen all samples.
    ///
    /// # Errors
    ///
    /// When there are no samples, or the engine fails on them.
    pub fn over(
        checkpoint: &Checkpoint,
        processor: &Processor,
        threads: usize,
        samples: Samples<'_>,
    ) -> Result<Self, CalibrationError> {
        let mut calibration = Self::new(checkpoint, processor, threads, BATCH)?;
        let lines = samples.lines()?;
        let tokenizer = checkpoint.files.text_tokenizer(&checkpoint.config, None)?;
        for lines in lines.chunks(BATCH) {
            let texts = lines.iter().map(|text| tokenizer.encode(text));
            calibration.read(texts.collect::<Result<_, _>>()?)?;
        }
        let pictures = calibration.see_all(samples)?;
        tracing::info!(
            pictures,
            texts = lines.len(),
            "measured how large activations become"
        );
        Ok(calibration)
    }

    /// Sees the pictures of a folder and those besides, and returns how many that were.
    fn see_all(&mut self, samples: Samples<'_>) -> Result<usize, CalibrationError> {
        let prepare = self.preparer();
        let mut waiting: Vec<Pixels> = Vec::new();
        let (mut seen, mut failed) = (0, None);
        for path in samples.files()? {
            match samples::picture(path, &*prepare) {
                Ok(pixels) => {
                    waiting.push(pixels);
                    seen += 1;
                }
                Err(error) => {
                    tracing::warn!("left out of the calibration: {error}");
                    failed = failed.or(Some(error));
                }
            }
            if waiting.len() == BATCH {
                self.see(std::mem::take(&mut waiting))?;
            }
        }
        if seen == 0 {
            let folder = samples.folder.to_owned();
            return Err(match failed.map(Box::new) {
                Some(first) => CalibrationError::NoPictures { folder, first },
                None => CalibrationError::NoFiles(folder),
            });
        }
        for picture in samples.pictures {
            waiting.push(prepare.prepare(picture)?);
            seen += 1;
        }
        // Few: whoever calls has a handful besides.
        for pixels in waiting {
            self.see(vec![pixels])?;
        }
        Ok(seen)
    }

    /// What prepares pictures for [`Calibration::see`].
    pub fn preparer(&self) -> std::sync::Arc<dyn Prepare> {
        self.engine.preparer()
    }

    /// Embeds pictures, and notes what they do.
    ///
    /// # Errors
    ///
    /// When the engine fails on them.
    pub fn see(&mut self, pictures: Vec<Pixels>) -> Result<(), EngineError> {
        embed(&mut self.engine, Batch::Images(pictures)).map(drop)
    }

    /// The same of texts.
    ///
    /// # Errors
    ///
    /// When the engine fails on them.
    pub fn read(&mut self, texts: Vec<Vec<i32>>) -> Result<(), EngineError> {
        embed(&mut self.engine, Batch::Texts(texts)).map(drop)
    }

    /// Scales for all that is computed in FP8: the projections and the feed-forward network of
    /// each layer, and the products of attention if `attention`. The last layer of the text tower
    /// has only its keys and values, because all else there is of one token for each text, which
    /// is no faster in FP8.
    ///
    /// # Errors
    ///
    /// When an activation was not finite.
    pub fn scales(&self, attention: bool) -> Result<Scales, NotFinite> {
        let [vision, text] = self.encoders;
        let towers = &self.engine.towers;
        let seen = [
            ("vision_model", towers.vision.largest(), vision.layers),
            ("text_model", towers.text.largest(), text.layers - 1),
        ];
        let mut largest = Vec::new();
        for (tower, layers, whole) in seen {
            for (number, layer) in layers.into_iter().enumerate() {
                let named = named(layer, attention);
                let count = if number < whole { named.len() } else { 1 };
                let named = named.into_iter().take(count);
                largest.extend(
                    named.map(|(name, size)| {
                        (format!("{tower}.encoder.layers.{number}.{name}"), size)
                    }),
                );
            }
        }
        Scales::of(largest)
    }
}

/// The activations of a layer as graphs name them.
fn named(layer: Largest, attention: bool) -> Vec<(&'static str, f32)> {
    let mut named = vec![
        ("self_attn.qkv", layer.projections),
        ("self_attn.out_proj", layer.out),
        ("mlp.fc1", layer.up),
        ("mlp.fc2", layer.down),
    ];
    if attention {
        named.extend([
            ("self_attn.q", layer.queries),
            ("self_attn.k", layer.keys),
            ("self_attn.v", layer.values),
            // Shares are at most 1.
            ("self_attn.softmax", 0.5),
        ]);
    }
    named
}

#[cfg(test)]
mod tests {
    use siglip2_image::RgbImage;

    use super::*;

    /// The demo model over a plain picture and one text: all activations of all layers have a
    /// scale, larger pictures never a smaller one.
    #[test]
    fn every_layer_has_scales_that_only_grow() {
        let checkpoint = Checkpoint::demo().unwrap();
        let processor = Processor::from_json(&checkpoint.files.preprocessor, 64).unwrap();
        let mut calibration = Calibration::new(&checkpoint, &processor, 1, 2).unwrap();
        let prepared = |calibration: &Calibration, step: usize| {
            let pixels = (0..64 * 64 * 3).map(|at| (at * step % 251) as u8);
            let picture = RgbImage::new(64, 64, pixels.collect()).unwrap();
            calibration.preparer().prepare(picture).unwrap()
        };
        let flat = prepared(&calibration, 0);
        calibration.see(vec![flat]).unwrap();
        calibration.read(vec![vec![5; 64]]).unwrap();
        let first = calibration.scales(true).unwrap();
        // Four layers of pictures with eight each, one of texts, and the last of texts.
        assert_eq!(first.len(), 4 * 8 + 8 + 1);
        let without = calibration.scales(false).unwrap();
        assert_eq!(without.len(), 4 * 4 + 4 + 1);
        assert!(
            without
                .iter()
                .all(|(name, scale)| first.get(name) == Some(scale))
        );

        let harsh = prepared(&calibration, 7919);
        calibration.see(vec![harsh]).unwrap();
        let both = calibration.scales(true).unwrap();
        let mut grown = 0;
        for (name, scale) in first.iter() {
            let now = both.get(name).unwrap();
            assert!(now >= scale, "{name}");
            grown += usize::from(now > scale);
            assert!(!name.starts_with("text") || now == scale, "{name}");
        }
        assert!(grown > 0);
        assert_eq!(
            first.get("vision_model.encoder.layers.2.self_attn.softmax"),
            Some(1.0 / 256.0)
        );
    }
}
