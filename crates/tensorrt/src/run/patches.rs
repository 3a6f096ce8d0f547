//! Pictures of variable resolution (NaFlex): how they are made ready, and how they get to their
//! tower's input.
//!
//! ```text
//! decode thread: picture --resize to whole patches--> --pack--> pinned rows of bytes
//! slot:          zeros, pinned rows --upload--> patches   [B, P, W]
//! ```
//!
//! The resize is the CPU's, on the threads that decode. What they leave in pinned memory is what
//! the tower takes, so the thread that owns the engine only enqueues one copy for each picture.
//! The zeros are padding: behind a picture's patches, and rows without a picture.
#![allow(unsafe_code)]

use std::sync::Arc;

use cudarc::driver::{CudaStream, result};

use super::LoadError;
use super::arena::Arena;
use super::feed::copy;
use super::memory::DeviceBuffer;
use super::parts::Part;
use crate::directory::{Manifest, ROW_OF_PATCHES};
use crate::error::{DeviceError, Doing, refused};
use siglip2_engine::{EngineError, Pixels, Prepare, Tower};
use siglip2_image::{ImageError, PixelMemory, Processor, RgbImage, Target};
use siglip2_model::graph::patches;

/// Resizes pictures to whole patches and packs them into pinned memory.
pub(super) struct PackedPatches {
    arena: Arc<Arena>,
    processor: Processor,
    /// Side of a patch, in pixels.
    side: u32,
}

impl PackedPatches {
    pub(super) fn new(arena: Arc<Arena>, processor: &Processor, side: u32) -> Self {
        Self {
            arena,
            processor: processor.clone(),
            side: side.max(1),
        }
    }
}

impl Prepare for PackedPatches {
    /// Pictures are decoded into memory of the process: only their patches are uploaded.
    fn memory(&self, _: usize) -> Result<Option<Box<dyn PixelMemory>>, EngineError> {
        Ok(None)
    }

    fn processor(&self) -> Option<&Processor> {
        Some(&self.processor)
    }

    fn prepare(&self, image: RgbImage) -> Result<Pixels, ImageError> {
        let target = self.processor.target();
        match target.keeps(image.width(), image.height()) {
            true => self.prepare_resized(image),
            false => self.prepare_resized(self.processor.resize(&image)?),
        }
    }

    /// It never waits for pinned memory, so that one thread may make a batch of any size ready.
    /// What all pictures of requests may take is bounded elsewhere, by as much as is pinned.
    fn prepare_resized(&self, image: RgbImage) -> Result<Pixels, ImageError> {
        let (down, across) = (image.height() / self.side, image.width() / self.side);
        let side = self.side as usize;
        let bytes = down as usize * across as usize * patches::bytes(side);
        let mut memory: Box<dyn PixelMemory> = match self.arena.lend_now(bytes) {
            Some(chunk) => Box::new(chunk),
            // The driver stages its upload itself, which is slower but just as correct.
            None => Box::new(Own(vec![0; bytes])),
        };
        let grid = (down as usize, across as usize);
        let packed = patches::pack(image.pixels(), side, grid.0, grid.1, memory.bytes_mut());
        u32::try_from(patches::width(side))
            .ok()
            .filter(|_| packed)
            .and_then(|width| RgbImage::lent(width, down * across, memory))
            .map(Pixels::Decoded)
            .ok_or_else(|| ImageError::NotResized {
                reason: format!(
                    "{} x {} pixels are not whole patches of {side}",
                    image.width(),
                    image.height()
                ),
            })
    }
}

/// Memory of the process.
struct Own(Vec<u8>);

impl PixelMemory for Own {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// The number of patches of each picture of a batch, as [`PackedPatches`] left them.
pub(super) fn counts(images: &[Pixels]) -> Vec<usize> {
    let count = |image: &Pixels| image.size().1 as usize;
    images.iter().map(count).collect()
}

/// Whether an engine takes what pictures become.
pub(super) fn check(manifest: &Manifest, target: Target) -> Result<(), LoadError> {
    let wrong = |reason: String| LoadError::Engine {
        tower: Tower::Image,
        reason,
    };
    match (&manifest.patches, target) {
        (None, Target::Square { .. }) => Ok(()),
        (Some(patches), Target::Patches { patch, most }) if patch as usize == patches.size => {
            let (built, wanted) = (patches.most(), most as usize);
            match wanted <= built {
                true => Ok(()),
                false => Err(LoadError::Patches { built, wanted }),
            }
        }
        _ => Err(wrong("it does not take what pictures become".into())),
    }
}

/// The most pixels of a batch of pictures of variable resolution: as on the CPU, those of
/// `max_batch` pictures of [`ROW_OF_PATCHES`], or of two of the largest. Packed, a patch has a few
/// more than its own.
pub(super) fn max_batch_pixels(max_batch: usize, target: Target) -> Option<u64> {
    let (side, most) = target.patches()?;
    let rows = max_batch as u64 * ROW_OF_PATCHES as u64;
    Some(rows.max(2 * u64::from(most)) * patches::width(side as usize) as u64)
}

/// Uploads packed pictures.
pub(super) struct PatchFeed {
    /// Bytes of a packed patch.
    patch: usize,
}

impl PatchFeed {
    /// For patches whose side is `side` pixels.
    pub(super) fn new(side: usize) -> Self {
        Self {
            patch: patches::bytes(side),
        }
    }

    /// Uploads a part of a batch, padded.
    ///
    /// # Safety
    ///
    /// As for [`super::feed::Feed::upload`].
    pub(super) unsafe fn upload(
        &self,
        images: &[Pixels],
        part: &Part,
        input: &DeviceBuffer,
        stream: &CudaStream,
    ) -> Result<(), DeviceError> {
        let doing = || format!("uploading the patches of {} pictures", part.items.len());
        let row = part.size.patches.unwrap_or(0) * self.patch;
        let all = part.size.rows * row;
        if all > input.len() {
            return Err(refused(doing(), "they are more than the largest batch has"));
        }
        // SAFETY: the buffer is at least as long, and nothing on other streams uses it.
        unsafe { result::memset_d8_async(input.address(), 0, all, stream.cu_stream()) }
            .doing(doing)?;
        for (number, &item) in part.items.iter().enumerate() {
            let image = images
                .get(item)
                .ok_or_else(|| refused(doing(), "one of them is not there"))?;
            let image = image
                .decoded()
                .ok_or_else(|| refused(doing(), "one of them was not decoded"))?;
            let bytes = image.pixels();
            if image.width() as usize * 3 != self.patch || bytes.len() > row {
                let why = format!(
                    "{} x {} bytes are not the patches that were asked for",
                    image.height(),
                    image.width() * 3
                );
                return Err(refused(doing(), why));
            }
            // SAFETY: the caller keeps the pictures until the stream is past the copy.
            unsafe { copy(bytes, input, number * row, stream)? };
        }
        Ok(())
    }
}
