//! How much of a GPU's memory an engine takes, computed before any of it is taken.
//!
//! ```text
//! weights, once   activations and tensors, for each slot   pictures, for each slot of images
//! ```
//!
//! A GPU may be small, or a part of one (MIG), or others may be using it. Without this the start
//! would fail in the middle, with a sentence about one allocation that helps nobody.

use std::fmt;

use super::{Gpu, TensorRtOptions};
use crate::directory::{LayerCounts, Manifest};
use crate::kernel::{Element, Planner};
use siglip2_engine::{EngineInfo, Tower};
use siglip2_image::Processor;

use super::feed::{PictureBuffers, PictureTooLarge, id_bytes};

/// What is not in the sum: code of kernels, graphs, and the driver's own rounding.
const BESIDE: usize = 128 << 20;

/// Smaller memory for pictures to propose, in bytes.
const SMALLER_PICTURES: [usize; 3] = [128 << 20, 64 << 20, 32 << 20];

/// What an engine takes of its GPU's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The weights of both towers.
    pub weights: usize,
    /// What the towers compute in, and their inputs and outputs.
    pub batches: usize,
    /// Pictures before they are resized.
    pub pictures: usize,
}

impl Needs {
    /// Of the engines of a directory, with these options.
    ///
    /// # Errors
    ///
    /// When the largest picture is too large for any memory.
    pub(super) fn of(
        manifest: &Manifest,
        processor: &Processor,
        info: &EngineInfo,
        options: &TensorRtOptions,
    ) -> Result<Self, PictureTooLarge> {
        let patches = processor.target().patches();
        let mut needs = Self {
            weights: 0,
            batches: 0,
            pictures: 0,
        };
        // Pictures of variable resolution come resized.
        if patches.is_none() {
            needs.pictures = picture_buffers(manifest, processor, options)?
                .on_gpu()
                .saturating_mul(info.slots);
        }
        let patches = patches.map(|(_, most)| most as usize);
        for tower in [Tower::Image, Tower::Text] {
            let entry = manifest.tower(tower);
            let layers = entry.layers.clone().unwrap_or_default();
            let sizes = manifest.sizes_of(tower, info.max_batch, patches);
            let rows = sizes.iter().map(|size| size.rows).max().unwrap_or(1);
            let work = sizes.iter().map(|size| size.work()).max().unwrap_or(1);
            // Known for the largest batch of an engine; it grows with what a batch computes.
            let context = |layers: &LayerCounts, most: usize| {
                let bytes = layers.context_bytes.unwrap_or(0) as f64;
                bytes * work.min(most) as f64 / most as f64
            };
            let mut weights = 0_u64;
            let mut most = 0.0_f64;
            if let (Some(small), Some(batches)) = (&entry.small, manifest.small_batches) {
                let layers = small.layers.clone().unwrap_or_default();
                weights = layers.weights_bytes.unwrap_or(small.engine.bytes);
                most = context(&layers, batches);
            }
            if manifest.small_batches.is_none_or(|small| rows > small) {
                let own = layers.weights_bytes.unwrap_or(entry.engine.bytes);
                weights = weights.saturating_add(own);
                let built = manifest.profiles_of(tower);
                let built = built.iter().map(|[.., most]| most.work()).max();
                // Contexts of both compute in one block.
                most = most.max(context(&layers, built.unwrap_or(work)));
            }
            needs.weights = needs
                .weights
                .saturating_add(usize::try_from(weights).unwrap_or(usize::MAX));
            let input = work * input_row(tower, manifest);
            let tensors = input + rows * manifest.dimensions * size_of::<f32>();
            let slot = (most.ceil() as usize).saturating_add(tensors);
            needs.batches = needs
                .batches
                .saturating_add(slot.saturating_mul(info.slots));
        }
        Ok(needs)
    }

    /// All of it, with what cannot be known before.
    pub fn bytes(&self) -> usize {
        [self.batches, self.pictures, BESIDE]
            .into_iter()
            .fold(self.weights, usize::saturating_add)
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} MiB: weights {}, batches {}, pictures {}, code and graphs about {}",
            self.bytes() >> 20,
            self.weights >> 20,
            self.batches >> 20,
            self.pictures >> 20,
            BESIDE >> 20,
        )
    }
}

/// Why an engine does not fit into its GPU's memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The largest picture does not fit into any memory.
    #[error(transparent)]
    Picture(#[from] PictureTooLarge),
    /// What is free is too little.
    #[error("{free} MiB of {gpu} are free{kept}, but the engines need {needs}; {advice}")]
    DoesNotFit {
        /// What is free, in MiB.
        free: usize,
        /// The GPU.
        gpu: String,
        /// What is kept for other models, as a part of the sentence.
        kept: String,
        /// What the engine takes.
        needs: Needs,
        /// Settings with which it fits.
        advice: String,
    },
}

/// The buffers for pictures that are resized on the GPU.
fn picture_buffers(
    manifest: &Manifest,
    processor: &Processor,
    options: &TensorRtOptions,
) -> Result<PictureBuffers, PictureTooLarge> {
    let element = Element::of(manifest.towers.image.input.element);
    PictureBuffers::of(&Planner::new(processor, element), options)
}

/// Bytes of one row of a tower's input; where rows have patches, of one patch.
pub(super) fn input_row(tower: Tower, manifest: &Manifest) -> usize {
    let element = manifest.tower(tower).input.element;
    match (tower, &manifest.patches) {
        (Tower::Image, Some(patches)) => siglip2_model::graph::patches::bytes(patches.size),
        (Tower::Image, None) => {
            let values = 3 * manifest.image_size * manifest.image_size;
            values * Element::of(element).bytes()
        }
        (Tower::Text, _) => manifest.text_tokens * id_bytes(element),
    }
}

/// Checks that an engine fits into what is free of its GPU's memory, without what is kept for the
/// engines of other models.
///
/// # Errors
///
/// What it needs, and with which settings it would fit.
pub(super) fn check(
    gpu: &Gpu,
    free: usize,
    manifest: &Manifest,
    processor: &Processor,
    info: &EngineInfo,
    options: &TensorRtOptions,
) -> Result<Needs, MemoryError> {
    let needs = Needs::of(manifest, processor, info, options)?;
    if needs.bytes() <= free {
        return Ok(needs);
    }
    let advice = match what_fits(free, manifest, processor, info, options) {
        Some(flags) => format!("the service would fit with {flags}"),
        None => {
            "no setting makes it fit: end other programs on the GPU, or use a larger one".into()
        }
    };
    let kept = match options.beside >> 20 {
        0 => String::new(),
        mib => format!(" beside {mib} MiB for the other models"),
    };
    Err(MemoryError::DoesNotFit {
        free: free >> 20,
        gpu: gpu.to_string(),
        kept,
        needs,
        advice,
    })
}

/// The settings with which it fits that change the least: first smaller batches, then also less
/// memory for pictures.
fn what_fits(
    free: usize,
    manifest: &Manifest,
    processor: &Processor,
    info: &EngineInfo,
    options: &TensorRtOptions,
) -> Option<String> {
    let now = match processor.target().patches() {
        None => picture_buffers(manifest, processor, options).ok()?.source,
        Some(_) => 0,
    };
    let smaller = SMALLER_PICTURES.into_iter().filter(|&bytes| bytes < now);
    if options.nvjpeg.is_some() {
        let options = TensorRtOptions {
            nvjpeg: None,
            ..*options
        };
        let needs = Needs::of(manifest, processor, info, &options).ok()?;
        let cpu = "--decode cpu".to_owned();
        return match needs.bytes() <= free {
            true => Some(cpu),
            false => what_fits(free, manifest, processor, info, &options)
                .map(|flags| format!("{cpu} {flags}")),
        };
    }
    let pictures = std::iter::once(None).chain(smaller.map(Some));
    for pictures in pictures {
        let mut options = *options;
        let mut flags = Vec::new();
        if let Some(bytes) = pictures {
            // The largest picture must fit, with what is rounded up.
            let pixels = (bytes as u64 - 4096) / 3 / 1_000_000 * 1_000_000;
            options.source_bytes = bytes;
            flags.push(format!("--gpu-picture-memory {}MiB", bytes >> 20));
            if options.limits.max_pixels > pixels {
                options.limits.max_pixels = pixels;
                flags.push(format!("--max-image-pixels {pixels}"));
            }
        }
        for &rows in manifest.buckets.iter().rev() {
            if rows > info.max_batch {
                continue;
            }
            let smaller = EngineInfo {
                max_batch: rows,
                ..info.clone()
            };
            let needs = Needs::of(manifest, processor, &smaller, &options).ok()?;
            if needs.bytes() <= free {
                if rows < info.max_batch {
                    flags.insert(0, format!("--max-batch {rows}"));
                }
                return Some(flags.join(" "));
            }
        }
    }
    None
}
