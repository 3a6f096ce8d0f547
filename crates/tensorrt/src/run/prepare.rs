//! The decode threads' work for a GPU: they only write pixels into pinned memory, or the file, where the
//! card decodes it. Resizing and normalizing is done on the device.

use std::sync::Arc;

use super::arena::Arena;
use super::card::Judge;
use crate::kernel::MAX_SIDE;
use siglip2_engine::{CodedImage, EngineError, Pixels, Prepare};
use siglip2_image::{ImageError, ImageLimits, IntactJpeg, PixelMemory, RgbImage};

/// Lends pinned memory to decoders, and takes files for the card.
pub(super) struct Pinned {
    pub(super) arena: Arc<Arena>,
    /// Knows which files the card decodes, if it decodes any.
    pub(super) judge: Option<Judge>,
}

impl Prepare for Pinned {
    fn memory(&self, bytes: usize) -> Result<Option<Box<dyn PixelMemory>>, EngineError> {
        // A picture larger than the whole arena is decoded into ordinary memory; the driver
        // stages its upload itself, which is slower but just as correct.
        let chunk = self.arena.lend(bytes);
        Ok(chunk.map(|chunk| Box::new(chunk) as Box<dyn PixelMemory>))
    }

    fn take_coded(
        &self,
        file: &[u8],
        limits: &ImageLimits,
    ) -> Result<Option<CodedImage>, EngineError> {
        let Some(judge) = self.judge.as_ref().filter(|judge| judge.takes_files()) else {
            return Ok(None);
        };
        let Some(intact) = IntactJpeg::read(file, limits) else {
            return Ok(None);
        };
        let (width, height) = (intact.width(), intact.height());
        if width.max(height) > MAX_SIDE {
            return Ok(None);
        }
        let Some(mut memory) = self.arena.lend(intact.file_bytes()) else {
            return Ok(None);
        };
        if !intact.write_to(memory.bytes_mut()) || !judge.takes(memory.bytes()) {
            return Ok(None);
        }
        let memory = Box::new(memory);
        Ok(Some(CodedImage::new(width, height, memory, *limits)))
    }

    fn max_side(&self) -> u32 {
        MAX_SIDE
    }

    fn prepare(&self, image: RgbImage) -> Result<Pixels, ImageError> {
        Ok(Pixels::Decoded(image))
    }
}
