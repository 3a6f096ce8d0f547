//! Whole images: what is decoded has the size that the header said, comes out the same in
//! memory that was lent, and takes no more memory than the limits say.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;
use siglip2_embeddings::image::{
    ImageFormat, ImageLimits, PixelMemory, decode, decode_into, inspect,
};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const LIMITS: ImageLimits = ImageLimits {
    max_pixels: 1 << 16,
    max_jpeg_scans: 10,
    max_picture_bytes: 1 << 19,
};

/// Tables, states and buffers of decoders that do not depend on the image.
const FIXED: usize = 256 << 10;

/// image-webp makes room for a partition of a lossy frame before it looks whether the
/// file has so many bytes; its length has 24 bits.
const WEBP_PARTITION: usize = 1 << 24;

struct Lent(Vec<u8>);

impl PixelMemory for Lent {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

fuzz_target!(|data: &[u8]| {
    let header = inspect(data, &LIMITS);
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let image = decode(data, &LIMITS);
    let took = MEMORY.peak_usage().saturating_sub(before);

    let header = match header {
        Ok(header) => header,
        Err(error) => {
            assert_eq!(image, Err(error));
            return;
        }
    };
    let pixels = header.width as usize * header.height as usize * 3;
    let partition = match header.format {
        ImageFormat::WebP => WEBP_PARTITION,
        _ => 0,
    };
    let allowed = partition + pixels + LIMITS.max_picture_bytes as usize + 3 * data.len() + FIXED;
    assert!(took <= allowed, "{took} bytes of {allowed} for {header:?}");

    let lent = Box::new(Lent(vec![0xa5; pixels]));
    assert_eq!(image, decode_into(data, &LIMITS, Some(lent)));
    if let Ok(image) = image {
        assert_eq!(
            (image.width(), image.height()),
            (header.width, header.height)
        );
        assert_eq!(image.pixels().len(), pixels);
    }
});
