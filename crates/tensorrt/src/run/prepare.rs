//! What decode threads do for a GPU: they write pixels into pinned memory, and nothing
//! more. Resizing and normalizing is the device's work.

use std::sync::Arc;

use super::arena::Arena;
use siglip2_engine::{EngineError, Pixels, Prepare};
use siglip2_image::{ImageError, PixelMemory, RgbImage};

/// Lends pinned memory to decoders.
pub(super) struct Pinned(pub(super) Arc<Arena>);

impl Prepare for Pinned {
    fn memory(&self, bytes: usize) -> Result<Option<Box<dyn PixelMemory>>, EngineError> {
        // A picture larger than the whole arena is decoded into memory of the process; the
        // driver stages its upload itself, which is slower and no less right.
        let chunk = self.0.lend(bytes);
        Ok(chunk.map(|chunk| Box::new(chunk) as Box<dyn PixelMemory>))
    }

    fn prepare(&self, image: RgbImage) -> Result<Pixels, ImageError> {
        Ok(Pixels(image))
    }
}
