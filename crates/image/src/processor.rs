//! What preprocessor_config.json says, checked at start: how an image becomes what the
//! vision tower takes.
//!
//! ```text
//! RgbImage --resize--> a square, or a grid of patches (NaFlex): RGB u8
//!          --normalization--> f32
//! ```
//!
//! The second step is a table of 256 values per channel, so that every engine can do
//! it where it suits it (on the CPU, in a kernel, in FP16) and still be equal.

use super::{ImageError, RgbImage, Target, resize};
use config::Config;

mod config;

/// How pixels are weighted in a resize; the numbers are PIL's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// 0: the nearest pixel, no antialiasing (torchvision's `nearest-exact`).
    Nearest,
    /// 1: Lanczos with 3 lobes.
    Lanczos,
    /// 2: triangle.
    Bilinear,
    /// 3: cubic convolution, a = -0.5.
    Bicubic,
}

impl Filter {
    /// The filter of a `resample` number.
    fn from_pil(resample: u32) -> Result<Self, ProcessorError> {
        match resample {
            0 => Ok(Self::Nearest),
            1 => Ok(Self::Lanczos),
            2 => Ok(Self::Bilinear),
            3 => Ok(Self::Bicubic),
            other => Err(ProcessorError::Resample(other)),
        }
    }
}

/// Why a preprocessor_config.json cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessorError {
    /// Not JSON, or a value of the wrong type.
    #[error("preprocessor_config.json cannot be read: {0}")]
    Json(String),
    /// Made for another kind of model.
    #[error(
        "preprocessor_config.json is for {0}; SiglipImageProcessor, ViTImageProcessor and \
         CLIPImageProcessor are supported"
    )]
    Class(String),
    /// Made for another kind of model than one of variable resolution.
    #[error(
        "preprocessor_config.json is for {0}; a model of variable resolution (NaFlex) has \
         Siglip2ImageProcessor"
    )]
    NaflexClass(String),
    /// Not the square that the vision tower takes.
    #[error(
        "preprocessor_config.json resizes to {size}, but the model takes \
         {image_size} x {image_size}: use the file that belongs to the checkpoint"
    )]
    Size {
        /// What the file says.
        size: String,
        /// The side of the model's input in pixels, from config.json.
        image_size: u32,
    },
    /// What is cut out is not the square that the vision tower takes.
    #[error(
        "preprocessor_config.json cuts out {crop}, but the model takes {image_size} x \
         {image_size}: use the file that belongs to the checkpoint"
    )]
    Crop {
        /// What the file says.
        crop: String,
        /// The side of the model's input in pixels, from config.json.
        image_size: u32,
    },
    /// Cut, which is done on the CPU alone.
    #[error(
        "preprocessor_config.json cuts the middle out of pictures, which only the CPU engine \
         does: run it on the CPU (--device cpu)"
    )]
    NotForGpus,
    /// A filter that torchvision has not.
    #[error(
        "preprocessor_config.json has resample {0}; 0 (nearest), 1 (Lanczos), \
         2 (bilinear) and 3 (bicubic) are supported"
    )]
    Resample(u32),
    /// A step that SigLIP has not.
    #[error("preprocessor_config.json has {0}, which is not supported")]
    Step(&'static str),
    /// A factor, mean or deviation that makes no sense.
    #[error("preprocessor_config.json has an unusable {0}: three finite numbers, no deviation 0")]
    Numbers(&'static str),
}

/// From pixels to what the vision tower takes, as the checkpoint's processor does it.
#[derive(Clone)]
pub struct Processor {
    target: Target,
    filter: Filter,
    normalization: Box<[[f32; 256]; 3]>,
}

impl std::fmt::Debug for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processor")
            .field("target", &self.target)
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}

impl Processor {
    /// Reads a preprocessor_config.json. `image_size` is the side of the vision
    /// tower's input in pixels, from config.json. For a checkpoint without the file,
    /// pass `b"{}"`: the defaults of `SiglipImageProcessor` with this size.
    pub fn from_json(bytes: &[u8], image_size: u32) -> Result<Self, ProcessorError> {
        let config = Config::read(bytes)?;
        let class = config.fixed_class()?;
        let target = config.square(class, image_size)?;
        config.processor(class, target)
    }

    /// Reads the preprocessor_config.json of a model of variable resolution (transformers'
    /// `Siglip2ImageProcessor`): pictures keep their aspect, in whole patches of `patch`
    /// pixels and at most `most` of them. Both are the caller's to find, because not only
    /// this file says them.
    pub fn naflex(bytes: &[u8], patch: u32, most: u32) -> Result<Self, ProcessorError> {
        let config = Config::read(bytes)?;
        let class = config.naflex_class()?;
        config.processor(class, Target::Patches { patch, most })
    }

    /// The same, but that pictures have at most so many patches, where they are of variable
    /// resolution.
    pub fn of_most(&self, most: u32) -> Self {
        let mut other = self.clone();
        if let Target::Patches { most: patches, .. } = &mut other.target {
            *patches = most;
        }
        other
    }

    /// Whether all of a picture is kept, which is what a GPU does.
    ///
    /// # Errors
    ///
    /// When the middle is cut out.
    pub fn check_uncut(&self) -> Result<(), ProcessorError> {
        match self.target {
            Target::Square { .. } | Target::Patches { .. } => Ok(()),
            Target::Middle { .. } => Err(ProcessorError::NotForGpus),
        }
    }

    /// What pictures become.
    pub fn target(&self) -> Target {
        self.target
    }

    /// The side of the square in pixels; where pictures keep their aspect, that of the
    /// largest square that one can become.
    pub fn size(&self) -> u32 {
        self.target.square()
    }

    /// The filter of the resize.
    pub fn filter(&self) -> Filter {
        self.filter
    }

    /// Resizes to what the vision tower takes, equal to torchvision's antialiased
    /// resize byte for byte.
    pub fn resize(&self, image: &RgbImage) -> Result<RgbImage, ImageError> {
        let (width, height) = (image.width(), image.height());
        match self.target {
            Target::Middle { resize, side } => {
                resize::middle(image, resize.size(width, height), side, self.filter)
            }
            Target::Square { .. } | Target::Patches { .. } => {
                resize::resize(image, self.target.size(width, height), self.filter)
            }
        }
    }

    /// All that decides what an image becomes, as bytes that are equal for processors that do
    /// the same, however their files say it.
    pub fn identity(&self) -> Vec<u8> {
        let mut identity = format!("{} {:?} ", self.target.identity(), self.filter).into_bytes();
        let values = self.normalization.iter().flatten();
        identity.extend(values.flat_map(|value| value.to_le_bytes()));
        identity
    }

    /// What a byte of each channel (red, green, blue) becomes: bit-equal to the
    /// `pixel_values` of transformers' processor.
    pub fn normalization(&self) -> &[[f32; 256]; 3] {
        &self.normalization
    }
}

/// The table, with the order of operations of transformers' `rescale_and_normalize`
/// (`image_processing_backends.py`): rescaling is folded into mean and deviation, in
/// f32, and then `(x - mean) / std` is computed in f32.
fn normalization(
    rescale: bool,
    factor: f64,
    normalize: bool,
    mean: [f64; 3],
    std: [f64; 3],
) -> Result<Box<[[f32; 256]; 3]>, ProcessorError> {
    if rescale && !(factor.is_finite() && factor != 0.0) {
        return Err(ProcessorError::Numbers("rescale_factor"));
    }
    if normalize && !mean.iter().all(|value| value.is_finite()) {
        return Err(ProcessorError::Numbers("image_mean"));
    }
    if normalize
        && !std
            .iter()
            .all(|&value| value.is_finite() && value as f32 != 0.0)
    {
        return Err(ProcessorError::Numbers("image_std"));
    }
    let mut table = Box::new([[0.0; 256]; 3]);
    for (channel, values) in table.iter_mut().enumerate() {
        let scale = if rescale { (1.0 / factor) as f32 } else { 1.0 };
        let mean = mean[channel] as f32 * scale;
        let std = std[channel] as f32 * scale;
        for (byte, value) in values.iter_mut().enumerate() {
            let byte = byte as f32;
            *value = match (normalize, rescale) {
                (true, _) => (byte - mean) / std,
                (false, true) => byte * factor as f32,
                (false, false) => byte,
            };
        }
    }
    Ok(table)
}
