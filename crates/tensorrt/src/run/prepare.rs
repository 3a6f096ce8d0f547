//! The decode threads' work for a GPU: they only write pixels into pinned memory. Resizing and
//! normalizing is done on the device.

use std::sync::Arc;

use super::arena::Arena;
use crate::kernel::MAX_SIDE;
use siglip2_engine::{EngineError, Pixels, Prepare};
use siglip2_image::{ImageError, PixelMemory, RgbImage};

/// Lends pinned memory to decoders.
pub(super) struct Pinned(pub(super) Arc<Arena>);

impl Prepare for Pinned {
    fn memory(&self, bytes: usize) -> Result<Option<Box<dyn PixelMemory>>, EngineError> {
        // A picture larger than the whole arena is decoded into ordinary memory; the driver
        // stages its upload itself, which is slower but just as correct.
        let chunk = self.0.lend(bytes);
        Ok(chunk.map(|chunk| Box::new(chunk) as Box<dyn PixelMemory>))
    }

    fn max_side(&self) -> u32 {
        MAX_SIDE
    }

    fn prepare(&self, image: RgbImage) -> Result<Pixels, ImageError> {
        Ok(Pixels(image))
    }
}
