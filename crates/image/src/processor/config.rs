//! The fields of a preprocessor_config.json, with the defaults of transformers' classes.

use serde::Deserialize;
use serde_json::Value;

use super::{Filter, Processor, ProcessorError, normalization};
use crate::target::{Resize, Target};

/// The classes of transformers that are followed. The names of their backends and of older
/// versions mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Siglip,
    Siglip2,
    Vit,
    Clip,
}

impl Class {
    fn named(name: &str) -> Option<Self> {
        let name = name.strip_suffix("Fast").unwrap_or(name);
        let name = name.strip_suffix("Pil").unwrap_or(name);
        let kind = name
            .strip_suffix("ImageProcessor")
            .or(name.strip_suffix("FeatureExtractor"))?;
        match kind {
            "Siglip" => Some(Self::Siglip),
            "Siglip2" => Some(Self::Siglip2),
            "ViT" => Some(Self::Vit),
            "CLIP" => Some(Self::Clip),
            _ => None,
        }
    }

    fn filter(self) -> Filter {
        match self {
            Self::Siglip | Self::Clip => Filter::Bicubic,
            Self::Siglip2 | Self::Vit => Filter::Bilinear,
        }
    }

    /// Mean and deviation: transformers' `IMAGENET_STANDARD_*` and `OPENAI_CLIP_*`.
    fn mean_and_deviation(self) -> ([f64; 3], [f64; 3]) {
        match self {
            Self::Siglip | Self::Siglip2 | Self::Vit => ([0.5; 3], [0.5; 3]),
            Self::Clip => (
                [0.481_454_66, 0.457_827_5, 0.408_210_73],
                [0.268_629_54, 0.261_302_58, 0.275_777_11],
            ),
        }
    }

    /// Whether a size that is a number alone is that of a square.
    fn number_is_square(self) -> bool {
        self == Self::Vit
    }
}

/// The fields that matter; a missing one, or `null`, takes the default of the class.
#[derive(Deserialize)]
pub(super) struct Config {
    image_processor_type: Option<String>,
    feature_extractor_type: Option<String>,
    size: Option<Value>,
    default_to_square: Option<bool>,
    use_square_size: Option<bool>,
    max_size: Option<Value>,
    resample: Option<u32>,
    do_resize: Option<bool>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<PerChannel>,
    image_std: Option<PerChannel>,
    do_center_crop: Option<bool>,
    crop_size: Option<Value>,
    do_pad: Option<bool>,
}

/// One number for all channels, or one for each.
#[derive(Deserialize)]
#[serde(untagged)]
enum PerChannel {
    One(f64),
    Each([f64; 3]),
}

impl PerChannel {
    fn or(value: Option<&Self>, default: [f64; 3]) -> [f64; 3] {
        match value {
            None => default,
            Some(&Self::One(value)) => [value; 3],
            Some(&Self::Each(values)) => values,
        }
    }
}

/// The default of all classes but one, in pixels.
const SIDE: u32 = 224;

impl Config {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ProcessorError> {
        serde_json::from_slice(bytes).map_err(|error| ProcessorError::Json(error.to_string()))
    }

    fn class(&self) -> Option<&str> {
        let class = self.image_processor_type.as_deref();
        class.or(self.feature_extractor_type.as_deref())
    }

    /// The class for a model of fixed resolution.
    pub(super) fn fixed_class(&self) -> Result<Class, ProcessorError> {
        match self.class().map(|name| (name, Class::named(name))) {
            None => Ok(Class::Siglip),
            Some((name, None | Some(Class::Siglip2))) => {
                Err(ProcessorError::Class(name.to_owned()))
            }
            Some((_, Some(class))) => Ok(class),
        }
    }

    /// The class for a model of variable resolution.
    pub(super) fn naflex_class(&self) -> Result<Class, ProcessorError> {
        match self.class() {
            Some(name) if Class::named(name) != Some(Class::Siglip2) => {
                Err(ProcessorError::NaflexClass(name.to_owned()))
            }
            _ => Ok(Class::Siglip2),
        }
    }

    /// How a picture becomes the square of `image_size`, if it does.
    pub(super) fn square(&self, class: Class, image_size: u32) -> Result<Target, ProcessorError> {
        let side = image_size;
        let to_side = Resize::To {
            width: side,
            height: side,
        };
        let resize = self.resize(class)?;
        let wrong_size = || ProcessorError::Size {
            size: self.size_in_words(class),
            image_size,
        };
        let crops = self.do_center_crop.unwrap_or(class == Class::Clip);
        if !crops {
            return match resize {
                Some(resize) if resize == to_side => Ok(Target::Square { side }),
                _ => Err(wrong_size()),
            };
        }
        match (self.crop_size.as_ref(), class) {
            (None | Some(Value::Null), Class::Clip) if side == SIDE => {}
            (None | Some(Value::Null), Class::Clip) => {
                return Err(ProcessorError::Crop {
                    crop: format!("{SIDE} x {SIDE} (the default)"),
                    image_size,
                });
            }
            (None | Some(Value::Null), _) => {
                return Err(ProcessorError::Step(
                    "do_center_crop true without crop_size",
                ));
            }
            (Some(size), _) => {
                let square = Some((side, side));
                if number(size).map(|side| (side, side)) != square && pair(size) != square {
                    return Err(ProcessorError::Crop {
                        crop: in_words(size),
                        image_size,
                    });
                }
            }
        }
        match resize.ok_or_else(wrong_size)? {
            resize if resize == to_side => Ok(Target::Square { side }),
            resize => Ok(Target::Middle { resize, side }),
        }
    }

    /// What pictures are resized to; nothing for a size that transformers does not take, or
    /// that is none.
    fn resize(&self, class: Class) -> Result<Option<Resize>, ProcessorError> {
        if self.max_size.as_ref().is_some_and(|size| !size.is_null()) {
            return Err(ProcessorError::Step("max_size"));
        }
        let square = |side| Resize::To {
            width: side,
            height: side,
        };
        let shortest = |shortest, longest| Resize::ShortestEdge { shortest, longest };
        if class == Class::Clip && self.use_square_size == Some(true) {
            return Ok(Some(square(SIDE)));
        }
        let Some(size) = self.size.as_ref().filter(|size| !size.is_null()) else {
            return Ok(Some(match class {
                Class::Clip => shortest(SIDE, None),
                _ => square(SIDE),
            }));
        };
        if let Some(side) = number(size) {
            let is_square = self.default_to_square;
            return Ok(Some(
                match is_square.unwrap_or_else(|| class.number_is_square()) {
                    true => square(side),
                    false => shortest(side, None),
                },
            ));
        }
        let edge = |key| size.get(key).and_then(number);
        Ok(match (edge("shortest_edge"), edge("longest_edge")) {
            (Some(least), most) => Some(shortest(least, most)),
            (None, Some(_)) => None,
            (None, None) => pair(size).map(|(width, height)| Resize::To { width, height }),
        })
    }

    /// The size as the file has it.
    fn size_in_words(&self, class: Class) -> String {
        match self.size.as_ref().filter(|size| !size.is_null()) {
            None => format!("{SIDE} x {SIDE} (the default)"),
            Some(size) if size.is_number() && !class.number_is_square() => {
                format!("a shortest edge of {size}")
            }
            Some(size) => in_words(size),
        }
    }

    /// The processor of a class.
    pub(super) fn processor(
        self,
        class: Class,
        target: Target,
    ) -> Result<Processor, ProcessorError> {
        if self.do_resize == Some(false) {
            return Err(ProcessorError::Step("do_resize false"));
        }
        if class == Class::Siglip2 && self.do_center_crop == Some(true) {
            return Err(ProcessorError::Step("do_center_crop true"));
        }
        if self.do_pad == Some(true) {
            return Err(ProcessorError::Step("do_pad true"));
        }
        let (mean, deviation) = class.mean_and_deviation();
        Ok(Processor {
            target,
            filter: self.resample.map_or(Ok(class.filter()), Filter::from_pil)?,
            normalization: normalization(
                self.do_rescale.unwrap_or(true),
                self.rescale_factor.unwrap_or(1.0 / 255.0),
                self.do_normalize.unwrap_or(true),
                PerChannel::or(self.image_mean.as_ref(), mean),
                PerChannel::or(self.image_std.as_ref(), deviation),
            )?,
        })
    }
}

/// A length in pixels.
fn number(value: &Value) -> Option<u32> {
    let length = u32::try_from(value.as_u64()?).ok()?;
    (length > 0).then_some(length)
}

/// Width and height: `{"height", "width"}`, or a list with the height first.
fn pair(size: &Value) -> Option<(u32, u32)> {
    let (height, width) = match size.as_array().map(Vec::as_slice) {
        Some([height, width]) => (height, width),
        Some(_) => return None,
        None => (size.get("height")?, size.get("width")?),
    };
    Some((number(width)?, number(height)?))
}

fn in_words(size: &Value) -> String {
    match (pair(size), number(size)) {
        (Some((width, height)), _) => format!("{width} x {height}"),
        (None, Some(side)) => format!("{side} x {side}"),
        (None, None) => size.to_string(),
    }
}
