//! Limits on what the service may hold at one time.

use clap::{Args, ValueEnum};
use serde::Serialize;
use siglip2_flags::{bytes, choice, cores, count, some_bytes, switch};
use siglip2_image::{ImageLimits, Target};

use crate::memory::MemoryUse;

/// Limits of the service.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Queue, decoding, caches")]
pub struct ServiceSettings {
    /// Images and texts in progress at once, over all requests to a model; a request that does
    /// not fit is answered 429.
    #[arg(long, env = "MAX_QUEUED_ROWS", default_value = "4096", value_parser = count)]
    pub max_queued_rows: usize,

    /// Pixels that an image may have; larger ones are refused from their header.
    #[arg(long, env = "MAX_IMAGE_PIXELS", default_value_t = ImageLimits::default().max_pixels as usize, value_parser = count)]
    pub max_image_pixels: usize,

    /// Scans that a JPEG may have: decoding each goes over the whole picture.
    #[arg(long, env = "MAX_JPEG_SCANS", default_value_t = ImageLimits::default().max_jpeg_scans as usize, value_parser = count)]
    pub max_jpeg_scans: usize,

    /// Turn images as the orientation tag of their EXIF or XMP data says, as Pillow's
    /// ImageOps.exif_transpose does; requests may say otherwise.
    #[arg(long, env = "APPLY_ORIENTATION", value_parser = switch, num_args = 0..=1, default_value = "0", default_missing_value = "1")]
    pub apply_orientation: bool,

    /// What decodes photos: the CPU, or nvJPEG on the GPU those JPEG files that it is fast at, and
    /// the CPU all others. nvJPEG's pixels differ from Pillow's by a few levels, so vectors do, and have
    /// another fingerprint.
    // `/info` tells it beside the precision.
    #[arg(long, env = "DECODE", value_enum, value_parser = choice::<Decode>(), default_value_t = Decode::Cpu)]
    #[serde(skip)]
    pub decode: Decode,

    /// Decode JPEG files at 1/2, 1/4 or 1/8 of their size on the CPU, where that leaves both sides at
    /// least twice as long as the model takes them. Faster for photos; vectors differ a little, and
    /// have another fingerprint.
    #[arg(long, env = "DECODE_REDUCED", value_parser = switch, num_args = 0..=1, default_value = "0", default_missing_value = "1")]
    pub decode_reduced: bool,

    /// Images that are decoded at the same time; by default one per core, and on a GPU two
    /// fewer, for the threads that feed it.
    #[arg(long, env = "DECODE_THREADS", value_parser = count)]
    pub decode_threads: Option<usize>,

    /// Texts that are tokenized at the same time, not counting very short ones; by default half
    /// as many as there are cores, so that images are decoded beside them.
    #[arg(long, env = "TOKENIZE_THREADS", default_value_t = cores().div_ceil(2), value_parser = count)]
    pub tokenize_threads: usize,

    /// Bytes that all requests together may hold: half for pictures, from decoding until the
    /// engine has them, an eighth for answers, and the rest for bodies.
    #[arg(long, env = "MAX_REQUEST_MEMORY", default_value = "2GiB", value_parser = some_bytes::<u64>)]
    pub max_request_memory: u64,

    /// Bytes for cached text embeddings of each model; 0 turns the cache off.
    #[arg(long, env = "TEXT_CACHE_BYTES", default_value = "64MiB", value_parser = bytes::<usize>)]
    pub text_cache_bytes: usize,

    /// Bytes for cached image embeddings of each model; 0 turns the cache off.
    #[arg(long, env = "IMAGE_CACHE_BYTES", default_value = "0", value_parser = bytes::<usize>)]
    pub image_cache_bytes: usize,
}

/// What decodes photos.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Decode {
    /// The GPU, if it has a JPEG engine and nvJPEG is installed, otherwise the CPU.
    Auto,
    /// The CPU, with the pixels of Pillow.
    Cpu,
    /// The GPU, with its JPEG engine or else with CUDA; without nvJPEG the service does not start.
    Gpu,
}

impl Decode {
    /// Its name, as in the flag.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }
}

impl ServiceSettings {
    /// Images that are decoded at the same time.
    pub fn decode_threads(&self) -> usize {
        self.decode_threads.unwrap_or_else(cores)
    }

    /// The limits on a single image, for a model that resizes to `target`.
    pub fn limits_for(&self, target: Target) -> ImageLimits {
        ImageLimits {
            reduce_for: self.decode_reduced.then_some(target),
            ..self.image_limits()
        }
    }

    /// What of the preparation of images is not as the checkpoint's processor has it, in words that
    /// stay the same, because fingerprints are made of them. `decode` is what was decided for the
    /// model.
    pub(crate) fn identity(&self, decode: Decode) -> &'static str {
        match (decode, self.decode_reduced) {
            (Decode::Cpu, false) => "",
            (Decode::Cpu, true) => " reduced",
            (_, false) => " nvjpeg",
            (_, true) => " nvjpeg reduced",
        }
    }

    /// The limits on a single image.
    pub fn image_limits(&self) -> ImageLimits {
        ImageLimits {
            max_pixels: self.max_image_pixels as u64,
            max_jpeg_scans: u32::try_from(self.max_jpeg_scans).unwrap_or(u32::MAX),
            // A single picture fits into what all may take together.
            max_picture_bytes: ImageLimits::default()
                .max_picture_bytes
                .min(self.picture_memory()),
            apply_orientation: self.apply_orientation,
            reduce_for: None,
        }
    }

    /// Bytes that pictures may take, all together, from decoding until the engine has them.
    pub fn picture_memory(&self) -> u64 {
        MemoryUse::Pictures.part_of(self.max_request_memory)
    }
}

impl Default for ServiceSettings {
    fn default() -> Self {
        siglip2_flags::defaults()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_defaults() {
        let settings = ServiceSettings::default();
        assert_eq!(settings.image_limits(), ImageLimits::default());
        assert_eq!(settings.max_request_memory, 2 << 30);
        assert_eq!(settings.picture_memory(), 1 << 30);
    }
}
