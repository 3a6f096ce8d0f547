//! What the service may hold at one time.

use clap::Args;
use serde::Serialize;
use siglip2_flags::{bytes, cores, count, some_bytes};
use siglip2_image::ImageLimits;

/// Bounds of the service.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Queue, decoding, caches")]
pub struct ServiceSettings {
    /// Images and texts that may be under way at once, over all requests; a request
    /// that finds no room is answered 429.
    #[arg(long, env = "MAX_QUEUED_ROWS", default_value = "4096", value_parser = count)]
    pub max_queued_rows: usize,

    /// Pixels that an image may have; refused from its header, before it is decoded.
    #[arg(long, env = "MAX_IMAGE_PIXELS", default_value_t = ImageLimits::default().max_pixels as usize, value_parser = count)]
    pub max_image_pixels: usize,

    /// Scans that a JPEG may have: each walks over the whole picture.
    #[arg(long, env = "MAX_JPEG_SCANS", default_value_t = ImageLimits::default().max_jpeg_scans as usize, value_parser = count)]
    pub max_jpeg_scans: usize,

    /// Images that are decoded at the same time; by default one per core.
    #[arg(long, env = "DECODE_THREADS", default_value_t = cores(), value_parser = count)]
    pub decode_threads: usize,

    /// Bytes that pictures may take, all together, from their decoding until the engine
    /// has them.
    #[arg(long, env = "MAX_DECODED_BYTES", default_value = "512MiB", value_parser = some_bytes::<u64>)]
    pub max_decoded_bytes: u64,

    /// Bytes that remembered text embeddings may take; 0 remembers none.
    #[arg(long, env = "TEXT_CACHE_BYTES", default_value = "64MiB", value_parser = bytes::<usize>)]
    pub text_cache_bytes: usize,

    /// Bytes that remembered image embeddings may take; 0 remembers none.
    #[arg(long, env = "IMAGE_CACHE_BYTES", default_value = "0", value_parser = bytes::<usize>)]
    pub image_cache_bytes: usize,
}

impl ServiceSettings {
    /// What an image may be.
    pub fn image_limits(&self) -> ImageLimits {
        ImageLimits {
            max_pixels: self.max_image_pixels as u64,
            max_jpeg_scans: u32::try_from(self.max_jpeg_scans).unwrap_or(u32::MAX),
            ..ImageLimits::default()
        }
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
        assert_eq!(settings.max_decoded_bytes, 512 << 20);
    }
}
