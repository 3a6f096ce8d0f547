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
use crate::directory::{ElementType, LayerCounts, Manifest};
use crate::kernel::Planner;
use siglip2_engine::{EngineInfo, Tower};

use super::feed::{PictureBuffers, id_bytes};

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
    /// A sentence, when the largest picture is too large for any memory.
    pub(super) fn of(
        manifest: &Manifest,
        planner: &Planner,
        info: &EngineInfo,
        options: &TensorRtOptions,
    ) -> Result<Self, String> {
        let rows = bucket_of(manifest, info.max_batch);
        let mut needs = Self {
            weights: 0,
            batches: 0,
            pictures: info.slots * PictureBuffers::of(planner, options)?.on_gpu(),
        };
        for tower in [Tower::Image, Tower::Text] {
            let entry = manifest.tower(tower);
            let layers = entry.layers.clone().unwrap_or_default();
            // Known for the largest batch of the engine; it grows with the rows.
            let context = |layers: &LayerCounts, most: usize| {
                let bytes = layers.context_bytes.unwrap_or(0) as f64;
                bytes * rows.min(most) as f64 / most as f64
            };
            let mut weights = 0;
            let mut most = 0.0_f64;
            if let (Some(small), Some(batches)) = (&entry.small, manifest.small_batches) {
                let layers = small.layers.clone().unwrap_or_default();
                weights += layers.weights_bytes.unwrap_or(small.engine.bytes);
                most = context(&layers, batches);
            }
            if manifest.small_batches.is_none_or(|small| rows > small) {
                weights += layers.weights_bytes.unwrap_or(entry.engine.bytes);
                // Contexts of both compute in one block.
                most = most.max(context(&layers, manifest.max_batch));
            }
            needs.weights += usize::try_from(weights).unwrap_or(usize::MAX / 4);
            let context = most;
            let input = match tower {
                Tower::Image => {
                    let wide = entry.input.element == ElementType::Fp32;
                    3 * manifest.image_size * manifest.image_size * if wide { 4 } else { 2 }
                }
                Tower::Text => manifest.text_tokens * id_bytes(entry.input.element),
            };
            let tensors = rows * (input + manifest.dimensions * size_of::<f32>());
            needs.batches += info.slots * (context.ceil() as usize + tensors);
        }
        Ok(needs)
    }

    /// All of it, with what cannot be known before.
    pub fn bytes(&self) -> usize {
        self.weights + self.batches + self.pictures + BESIDE
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

/// The size that a batch of so many rows is padded to.
fn bucket_of(manifest: &Manifest, rows: usize) -> usize {
    let mut buckets = manifest.buckets.iter().copied();
    buckets
        .find(|&bucket| bucket >= rows)
        .unwrap_or(manifest.max_batch)
}

/// Checks that an engine fits into what is free of its GPU's memory.
///
/// # Errors
///
/// A sentence that says what it needs, and with which settings it would fit.
pub(super) fn check(
    gpu: &Gpu,
    free: usize,
    manifest: &Manifest,
    planner: &Planner,
    info: &EngineInfo,
    options: &TensorRtOptions,
) -> Result<Needs, String> {
    let needs = Needs::of(manifest, planner, info, options)?;
    if needs.bytes() <= free {
        return Ok(needs);
    }
    let advice = match what_fits(free, manifest, planner, info, options) {
        Some(flags) => format!("it would fit with {flags}"),
        None => {
            "no setting makes it fit: end other programs on the GPU, or use a larger one".into()
        }
    };
    Err(format!(
        "{} MiB of {gpu} are free, but the engines need {needs}; {advice}",
        free >> 20
    ))
}

/// The settings with which it fits that change the least: first smaller batches, then also less
/// memory for pictures.
fn what_fits(
    free: usize,
    manifest: &Manifest,
    planner: &Planner,
    info: &EngineInfo,
    options: &TensorRtOptions,
) -> Option<String> {
    let now = PictureBuffers::of(planner, options).ok()?.source;
    let smaller = SMALLER_PICTURES.into_iter().filter(|&bytes| bytes < now);
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
            let needs = Needs::of(manifest, planner, &smaller, &options).ok()?;
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
