//! What a model of variable resolution (NaFlex) says of its pictures, and where its vision
//! tower differs from that of a fixed one.

use serde::Deserialize;

use super::{CheckpointError, Resolution, VisionConfig};
use crate::files::{ModelFiles, PREPROCESSOR};

/// How many patches a picture becomes (transformers' `Siglip2ImageProcessor`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NaflexImages {
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Patches that a picture has at most; one with fewer is padded to them, and masked.
    pub max_num_patches: usize,
}

/// Defaults: transformers 5.24.
#[derive(Deserialize)]
struct Raw {
    patch_size: Option<usize>,
    max_num_patches: Option<usize>,
}

impl NaflexImages {
    /// Reads the image processor of a model, whose tower must have the same patches.
    ///
    /// # Errors
    ///
    /// When it is not JSON, or does not fit the tower.
    pub fn of(files: &ModelFiles, vision: &VisionConfig) -> Result<Self, CheckpointError> {
        let wrong = |reason: String| CheckpointError::Json {
            file: PREPROCESSOR.into(),
            reason,
        };
        let raw: Raw = serde_json::from_slice(&files.preprocessor)
            .map_err(|error| wrong(error.to_string()))?;
        let images = Self {
            patch_size: raw.patch_size.unwrap_or(16),
            max_num_patches: raw.max_num_patches.unwrap_or(256),
        };
        if images.patch_size != vision.patch_size {
            return Err(wrong(format!(
                "patch_size is {}, and that of config.json {}",
                images.patch_size, vision.patch_size
            )));
        }
        if !(1..=1 << 16).contains(&images.max_num_patches) {
            let patches = images.max_num_patches;
            return Err(wrong(format!("max_num_patches is {patches}")));
        }
        Ok(images)
    }
}

/// The tensors by which the vision towers differ, with their shapes: patches go through a
/// convolution where the resolution is fixed, and through a product where they come cut
/// already, row by row, each pixel's channels side by side. The table of positions has a row
/// for each patch of a square, in both.
pub fn vision_tensors(vision: &VisionConfig) -> [(&'static str, Vec<usize>); 2] {
    let (width, patch) = (vision.encoder.hidden_size, vision.patch_size);
    let kernel = match vision.resolution {
        Resolution::Fixed => vec![width, 3, patch, patch],
        Resolution::Variable => vec![width, 3 * patch * patch],
    };
    [
        ("vision_model.embeddings.patch_embedding.weight", kernel),
        (
            "vision_model.embeddings.position_embedding.weight",
            vec![vision.patches(), width],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn the_image_processor_says_how_many_patches() {
        let config = Config::parse(br#"{"model_type": "siglip2"}"#, "config.json").unwrap();
        let read = |json: &'static str| {
            let files = ModelFiles {
                preprocessor: json.as_bytes().into(),
                ..ModelFiles::default()
            };
            NaflexImages::of(&files, &config.vision)
        };
        let images = |max_num_patches| NaflexImages {
            patch_size: 16,
            max_num_patches,
        };
        assert_eq!(read("{}").unwrap(), images(256));
        let many = read(r#"{"max_num_patches": 1024}"#).unwrap();
        assert_eq!(many, images(1024));
        for wrong in ["[]", r#"{"patch_size": 14}"#, r#"{"max_num_patches": 0}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let [(_, kernel), (_, positions)] = vision_tensors(&config.vision);
        assert_eq!(kernel, [768, 768]);
        assert_eq!(positions, [256, 768]);
    }
}
