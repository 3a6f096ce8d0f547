//! Pixels in memory, and who owns that memory. A decoder writes to where its caller wants the
//! pixels, so that an engine that uploads from pinned memory needs no copy on the way.

use std::any::Any;
use std::fmt;

/// Memory that pixels are decoded into, lent by an engine. Dropping it gives it back.
pub trait PixelMemory: Send + Sync {
    /// All of it.
    fn bytes(&self) -> &[u8];

    /// All of it, to be written.
    fn bytes_mut(&mut self) -> &mut [u8];
}

impl fmt::Debug for dyn PixelMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PixelMemory({} bytes)", self.bytes().len())
    }
}

enum Store {
    Own(Vec<u8>),
    Lent(Box<dyn PixelMemory>),
}

/// An image in memory: 8-bit RGB, rows from top to bottom, no padding between them.
pub struct RgbImage {
    width: u32,
    height: u32,
    store: Store,
    /// Dropped with the pixels.
    kept: Option<Box<dyn Any + Send + Sync>>,
}

impl RgbImage {
    /// Takes `pixels` as `height` rows of `width` RGB triples. `None` when a side is
    /// zero or `pixels` is not exactly `width * height * 3` bytes long.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Option<Self> {
        Self::over(width, height, Store::Own(pixels))
    }

    /// As [`RgbImage::new`], in memory that was lent.
    pub fn lent(width: u32, height: u32, pixels: Box<dyn PixelMemory>) -> Option<Self> {
        Self::over(width, height, Store::Lent(pixels))
    }

    fn over(width: u32, height: u32, store: Store) -> Option<Self> {
        let bytes = (width as usize)
            .checked_mul(height as usize)?
            .checked_mul(3)?;
        let image = Self {
            width,
            height,
            store,
            kept: None,
        };
        (bytes > 0 && bytes == image.pixels().len()).then_some(image)
    }

    /// Keeps something for as long as the pixels are there, such as a share of what all
    /// pixels may take. A copy of the image has none of it.
    pub fn keep(&mut self, with_the_pixels: Box<dyn Any + Send + Sync>) {
        self.kept = Some(with_the_pixels);
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels: `height` rows of `width` RGB triples.
    pub fn pixels(&self) -> &[u8] {
        match &self.store {
            Store::Own(pixels) => pixels,
            Store::Lent(pixels) => pixels.bytes(),
        }
    }
}

impl Clone for RgbImage {
    /// The copy lies in memory of the process.
    fn clone(&self) -> Self {
        Self {
            width: self.width,
            height: self.height,
            store: Store::Own(self.pixels().to_vec()),
            kept: None,
        }
    }
}

impl PartialEq for RgbImage {
    fn eq(&self, other: &Self) -> bool {
        (self.width, self.height, self.pixels()) == (other.width, other.height, other.pixels())
    }
}

impl Eq for RgbImage {}

impl fmt::Debug for RgbImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RgbImage({} x {})", self.width, self.height)
    }
}
