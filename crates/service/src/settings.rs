//! The bounds of the service.

use siglip2_image::ImageLimits;

/// See the module.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// Rows (images and texts together) that may be under way at once.
    pub max_queued_rows: usize,
    /// What an image may be.
    pub image_limits: ImageLimits,
    /// Images that are decoded at the same time.
    pub decoders: usize,
    /// Bytes that pictures may take, all together, from their decoding until the engine
    /// has them.
    pub max_decoded_bytes: u64,
    /// Bytes that remembered text embeddings may take; 0 remembers none.
    pub text_cache_bytes: usize,
    /// Bytes that remembered image embeddings may take; 0 remembers none.
    pub image_cache_bytes: usize,
}
