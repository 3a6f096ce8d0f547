//! JPEGs: plain ones are decoded by this project, as far as nothing is wrong in them, and the rest by libjpeg. What comes
//! out is what libjpeg alone makes of the file, pixel for pixel and refusal for refusal.

#![no_main]

use libfuzzer_sys::fuzz_target;
use siglip2_image::fuzzing::jpeg_twice;

fuzz_target!(|data: &[u8]| {
    if let Some([by_libjpeg, as_it_comes]) = jpeg_twice(data) {
        assert!(
            by_libjpeg == as_it_comes,
            "{:?} {:?}",
            by_libjpeg.as_ref().err(),
            as_it_comes.as_ref().err()
        );
    }
});
