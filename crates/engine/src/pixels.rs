//! An image on its way to a batch: pixels, or a file that the engine's device decodes.

use std::any::Any;

use siglip2_image::{ImageError, ImageLimits, PixelMemory, RgbImage, decode};

/// An image that is ready to join a batch, as its engine takes it.
#[derive(Debug)]
pub enum Pixels {
    /// In pixels. The CPU's is the model's square, or whole patches with the image's own aspect
    /// (NaFlex), resized as the checkpoint's processor does and not yet normalized; a GPU's lies in
    /// pinned memory, and has its own size or (NaFlex) a line for each patch.
    Decoded(RgbImage),
    /// A file, for an engine that took it ([`Prepare::take_coded`](super::Prepare::take_coded)).
    Coded(CodedImage),
}

impl Pixels {
    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        match self {
            Self::Decoded(image) => (image.width(), image.height()),
            Self::Coded(image) => (image.width, image.height),
        }
    }

    /// The pixels, if it has any yet.
    pub fn decoded(&self) -> Option<&RgbImage> {
        match self {
            Self::Decoded(image) => Some(image),
            Self::Coded(_) => None,
        }
    }

    /// How many pixels it has.
    pub fn count(&self) -> u64 {
        let (width, height) = self.size();
        u64::from(width) * u64::from(height)
    }

    /// Bytes of memory that it lies in.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Decoded(image) => image.pixels().len(),
            Self::Coded(image) => image.file().len(),
        }
    }

    /// Keeps something for as long as the image is there, such as a share of what all images may
    /// take.
    pub fn keep(&mut self, with_it: Box<dyn Any + Send + Sync>) {
        match self {
            Self::Decoded(image) => image.keep(with_it),
            Self::Coded(image) => image.kept = Some(with_it),
        }
    }
}

impl From<RgbImage> for Pixels {
    fn from(image: RgbImage) -> Self {
        Self::Decoded(image)
    }
}

/// A file that has not been decoded, of which it is known that it can be.
#[derive(Debug)]
pub struct CodedImage {
    width: u32,
    height: u32,
    file: Box<dyn PixelMemory>,
    limits: ImageLimits,
    /// Dropped with the file.
    kept: Option<Box<dyn Any + Send + Sync>>,
}

impl CodedImage {
    /// A file of this many pixels, which [`decode`] would decode within these limits.
    pub fn new(width: u32, height: u32, file: Box<dyn PixelMemory>, limits: ImageLimits) -> Self {
        Self {
            width,
            height,
            file,
            limits,
            kept: None,
        }
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The file.
    pub fn file(&self) -> &[u8] {
        self.file.bytes()
    }

    /// Decodes it on the CPU, where the device could not.
    ///
    /// # Errors
    ///
    /// Those of [`decode`].
    pub fn decode(&self) -> Result<RgbImage, ImageError> {
        decode(self.file(), &self.limits)
    }
}
