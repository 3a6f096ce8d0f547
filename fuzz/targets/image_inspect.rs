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
    // A TIFF's directory is the largest thing that is made of a file here.
    assert!(
        took <= 8 * data.len() + 4096,
        "{took} bytes for a look at the header"
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
