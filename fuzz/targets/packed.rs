//! Many pictures in one body: a tar archive, or each behind its length. Whatever comes out is bytes of the
//! body and no copy of them, and no more than was allowed.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;
use siglip2_embeddings::http::fuzzing::{length_prefixed, tar};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const MOST: usize = 8;

/// What does not depend on the body: buffers of the reader of tars, names, a message.
const FIXED: usize = 64 << 10;

fn check(body: &Bytes, files: &[Bytes]) {
    assert!(files.len() <= MOST);
    let range = body.as_ptr_range();
    for file in files.iter().filter(|file| !file.is_empty()) {
        let of_file = file.as_ptr_range();
        assert!(
            range.start <= of_file.start && of_file.end <= range.end,
            "a copy"
        );
    }
}

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    if let Ok(files) = length_prefixed(body.clone(), MOST) {
        check(&body, &files);
        // Nothing is left over.
        let bytes: usize = files.iter().map(|file| 4 + file.len()).sum();
        assert_eq!(bytes, body.len());
    }
    if let Ok(files) = tar(&body, MOST) {
        let (names, files): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        check(&body, &files);
        assert!(names.iter().all(|name| name.len() <= 3 * 256));
    }
    let took = MEMORY.peak_usage().saturating_sub(before);
    assert!(took <= FIXED, "{took} bytes beside the body");
});
