//! How a model of variable resolution (NaFlex) prepares its pictures.

use serde::Deserialize;

use super::{CheckpointError, VisionConfig};
use crate::files::{ModelFiles, PREPROCESSOR};

/// The most patches that the setting may ask for. Attention costs their square.
pub const MAX_NUM_PATCHES: usize = 1024;

/// The most patches that an image processor may specify.
const MOST_IN_A_FILE: usize = 4096;

/// How many patches a picture becomes (transformers' `Siglip2ImageProcessor`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NaflexImages {
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// The most patches of a picture. transformers pads smaller pictures to it and masks the
    /// padding; an engine that takes pictures of any size need not.
    pub max_num_patches: usize,
}

/// Defaults: transformers 5.24.
#[derive(Deserialize)]
struct Raw {
    patch_size: Option<usize>,
    max_num_patches: Option<usize>,
}

impl NaflexImages {
    /// Reads a model's image processor, which must have the same patches as the tower. `most`,
    /// if given, replaces its `max_num_patches`.
    ///
    /// # Errors
    ///
    /// If it is not JSON, or does not match the tower.
    pub fn of(
        files: &ModelFiles,
        vision: &VisionConfig,
        most: Option<usize>,
    ) -> Result<Self, CheckpointError> {
        let wrong = |reason: String| CheckpointError::Json {
            file: PREPROCESSOR.into(),
            reason,
        };
        let raw: Raw = serde_json::from_slice(&files.preprocessor)
            .map_err(|error| wrong(error.to_string()))?;
        let images = Self {
            patch_size: raw.patch_size.unwrap_or(16),
            max_num_patches: most.or(raw.max_num_patches).unwrap_or(256),
        };
        if images.patch_size != vision.patch_size {
            return Err(wrong(format!(
                "patch_size is {}, and that of config.json {}",
                images.patch_size, vision.patch_size
            )));
        }
        if !(1..=MOST_IN_A_FILE).contains(&images.max_num_patches) {
            let patches = images.max_num_patches;
            return Err(wrong(format!(
                "max_num_patches is {patches}; it can be 1 to {MOST_IN_A_FILE}"
            )));
        }
        Ok(images)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn the_image_processor_says_how_many_patches() {
        let config = Config::parse(br#"{"model_type": "siglip2"}"#, "config.json").unwrap();
        let chosen = |json: &'static str, most| {
            let files = ModelFiles {
                preprocessor: json.as_bytes().into(),
                ..ModelFiles::default()
            };
            NaflexImages::of(&files, &config.vision, most)
        };
        let read = |json| chosen(json, None);
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
        let fewer = chosen(r#"{"max_num_patches": 1024}"#, Some(64)).unwrap();
        assert_eq!(fewer, images(64));
    }
}
