//! The look at an image's header: quick, without big memory, and within the limits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;
use siglip2_image::{ImageLimits, MAX_SIDE, inspect};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

fuzz_target!(|data: &[u8]| {
    let limits = ImageLimits::default();
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let header = inspect(data, &limits);
    let took = MEMORY.peak_usage().saturating_sub(before);
    // A directory of TIFF is the largest thing that grows with a file here, but for the items of AVIF, whose
    // bound avif_layout explains; the rest are tables and buffers.
    let (each, fixed) = match data.get(4..8) {
        Some(b"ftyp") => (16, 1 << 20),
        _ => (8, 64 << 10),
    };
    assert!(
        took <= each * data.len() + fixed,
        "{took} bytes for a look at the header of {}",
        data.len()
    );
    match header {
        Ok(header) => {
            assert!(header.width > 0 && header.width <= MAX_SIDE);
            assert!(header.height > 0 && header.height <= MAX_SIDE);
            assert!(u64::from(header.width) * u64::from(header.height) <= limits.max_pixels);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
