//! What preprocessor_config.json says, checked at start: how an image becomes the
//! square that the vision tower eats.
//!
//! ```text
//! RgbImage --resize--> size x size RGB u8 --normalization--> f32
//! ```
//!
//! The second step is a table of 256 values per channel, so that every engine can do
//! it where it suits it (on the CPU, in a kernel, in FP16) and still be equal.

use serde::Deserialize;

use super::{ImageError, RgbImage, resize};

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
        "preprocessor_config.json is for {0}; only the SigLIP processor is supported \
         (SiglipImageProcessor, SiglipImageProcessorFast, SiglipFeatureExtractor)"
    )]
    Class(String),
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

/// The fields that matter; a missing one, or `null`, takes the default of
/// transformers' `SiglipImageProcessor`.
#[derive(Deserialize)]
struct Config {
    image_processor_type: Option<String>,
    feature_extractor_type: Option<String>,
    size: Option<serde_json::Value>,
    resample: Option<u32>,
    do_resize: Option<bool>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<PerChannel>,
    image_std: Option<PerChannel>,
    do_center_crop: Option<bool>,
    do_pad: Option<bool>,
}

/// One number for all channels, or one for each.
#[derive(Deserialize)]
#[serde(untagged)]
enum PerChannel {
    One(f64),
    Each([f64; 3]),
}

/// From pixels to what the vision tower eats, as the checkpoint's processor does it.
#[derive(Clone)]
pub struct Processor {
    size: u32,
    filter: Filter,
    normalization: Box<[[f32; 256]; 3]>,
}

impl std::fmt::Debug for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processor")
            .field("size", &self.size)
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}

impl Processor {
    /// Reads a preprocessor_config.json. `image_size` is the side of the vision
    /// tower's input in pixels, from config.json. For a checkpoint without the file,
    /// pass `b"{}"`: the defaults of `SiglipImageProcessor` with this size.
    pub fn from_json(bytes: &[u8], image_size: u32) -> Result<Self, ProcessorError> {
        let config: Config = serde_json::from_slice(bytes)
            .map_err(|error| ProcessorError::Json(error.to_string()))?;
        let class = config
            .image_processor_type
            .or(config.feature_extractor_type);
        if let Some(class) = class {
            let base = class.strip_suffix("Fast").unwrap_or(&class);
            let base = base.strip_suffix("Pil").unwrap_or(base);
            if !matches!(base, "SiglipImageProcessor" | "SiglipFeatureExtractor") {
                return Err(ProcessorError::Class(class));
            }
        }
        check_size(config.size.as_ref(), image_size)?;
        if config.do_resize == Some(false) {
            return Err(ProcessorError::Step("do_resize false"));
        }
        if config.do_center_crop == Some(true) {
            return Err(ProcessorError::Step("do_center_crop true"));
        }
        if config.do_pad == Some(true) {
            return Err(ProcessorError::Step("do_pad true"));
        }
        Ok(Self {
            size: image_size,
            filter: Filter::from_pil(config.resample.unwrap_or(3))?,
            normalization: normalization(
                config.do_rescale.unwrap_or(true),
                config.rescale_factor.unwrap_or(1.0 / 255.0),
                config.do_normalize.unwrap_or(true),
                per_channel(config.image_mean),
                per_channel(config.image_std),
            )?,
        })
    }

    /// The side of the square in pixels.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The filter of the resize.
    pub fn filter(&self) -> Filter {
        self.filter
    }

    /// Resizes to the square of `size * size` pixels, equal to torchvision's antialiased
    /// resize byte for byte.
    pub fn resize(&self, image: &RgbImage) -> Result<RgbImage, ImageError> {
        resize::resize(image, self.size, self.filter)
    }

    /// All that decides what an image becomes, as bytes that are equal for processors that do
    /// the same, however their files say it.
    pub fn identity(&self) -> Vec<u8> {
        let mut identity = format!("square {} {:?} ", self.size, self.filter).into_bytes();
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

/// Refuses a size that is not the model's square.
fn check_size(size: Option<&serde_json::Value>, image_size: u32) -> Result<(), ProcessorError> {
    let Some(size) = size.filter(|size| !size.is_null()) else {
        // The class's default is 224.
        return match image_size {
            224 => Ok(()),
            _ => Err(ProcessorError::Size {
                size: "224 x 224 (the default)".into(),
                image_size,
            }),
        };
    };
    let side = |key| size.get(key).and_then(serde_json::Value::as_u64);
    let expected = Some(u64::from(image_size));
    if side("height") == expected && side("width") == expected {
        return Ok(());
    }
    Err(ProcessorError::Size {
        size: match (side("height"), side("width")) {
            (Some(height), Some(width)) => format!("{width} x {height}"),
            _ if size.is_number() => format!("a shortest edge of {size}"),
            _ => size.to_string(),
        },
        image_size,
    })
}

/// Mean or deviation per channel; 0.5 by default (transformers' `IMAGENET_STANDARD_*`).
fn per_channel(value: Option<PerChannel>) -> [f64; 3] {
    match value {
        None => [0.5; 3],
        Some(PerChannel::One(value)) => [value; 3],
        Some(PerChannel::Each(values)) => values,
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
