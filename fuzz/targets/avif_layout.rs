//! The boxes of an AVIF file, its items, grids and sequence headers: all that is read before AV1 is decoded,
//! which is so slow that a target that decodes gets to nothing else.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;
use siglip2_image::fuzzing::avif_layout;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What does not depend on the file: 16,384 pieces that items may lie in, whose places can take no bytes at
/// all, are 16 bytes each in a list that doubles, and as much again while they are looked up.
const FIXED: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let layout = avif_layout(data);
    let took = MEMORY.peak_usage().saturating_sub(before);
    assert!(
        took <= 16 * data.len() + FIXED,
        "{took} bytes for {} bytes",
        data.len()
    );
    if let Ok(((width, height), tiles)) = layout {
        assert!(width > 0 && height > 0 && tiles > 0);
    }
});
