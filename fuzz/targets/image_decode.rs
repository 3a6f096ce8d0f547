//! Whole images: what is decoded has the size that the header said, comes out the same in
//! memory that was lent, takes no more memory than its header said and no more than 2 s of
//! work, and ends when it is told to.

#![no_main]

use std::cell::Cell;

use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;
use siglip2_image::{ImageError, ImageLimits, MAX_WORK, PixelMemory, Stop, decode_into, inspect};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What the service takes by default.
const LIMITS: ImageLimits = ImageLimits {
    max_pixels: 178_956_970,
    max_jpeg_scans: 100,
    max_picture_bytes: 256 << 20,
    apply_orientation: true,
    reduce_for: None,
};

/// Buffers of the allocator and of libraries that do not depend on the image.
const FIXED: usize = 1 << 20;

/// Two seconds of work, as the decoders reckon it: beyond it is a finding for an input of a
/// few kilobytes. A question comes with every 5 ms.
const MOST_STEPS: u64 = 2_000 / 5;

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
    const { assert!(MAX_WORK > 2_000_000_000) };
    let Ok(header) = inspect(data, &LIMITS) else {
        return;
    };
    let steps = Cell::new(0);
    let stopped = || {
        steps.set(steps.get() + 1);
        false
    };
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let image = decode_into(data, &header, &LIMITS, None, &Stop::when(&stopped));
    let took = MEMORY.peak_usage().saturating_sub(before);

    let pixels = header.pixel_bytes() as usize;
    let said = header.whole_bytes() as usize;
    assert!(
        took <= said + said / 10 + FIXED,
        "{took} bytes of {said} for {header:?}"
    );
    assert!(
        steps.get() <= MOST_STEPS,
        "{} steps for {header:?}",
        steps.get()
    );

    // Small ones again, in memory that was lent, and ended in the middle.
    if pixels > 1 << 22 {
        return;
    }
    let lent = Box::new(Lent(vec![0xa5; pixels]));
    assert_eq!(
        image,
        decode_into(data, &header, &LIMITS, Some(lent), &Stop::never())
    );
    if steps.get() > 0 {
        let asked = Cell::new(0);
        let stopped = || {
            asked.set(asked.get() + 1);
            asked.get() > steps.get() / 2
        };
        let ended = decode_into(data, &header, &LIMITS, None, &Stop::when(&stopped));
        assert_eq!(ended, Err(ImageError::Stopped));
    }
    if let Ok(image) = image {
        assert_eq!(
            (image.width(), image.height()),
            (header.width, header.height)
        );
        assert_eq!(image.pixels().len(), pixels);
    }
});
