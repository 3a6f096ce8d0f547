//! Bodies of KServe's protocol with numbers behind the JSON. The input is the length of the JSON, two bytes
//! in little-endian order, and the body. What comes out are bytes of the body, and no more than was
//! allowed.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;
use siglip2_embeddings::http::fuzzing::tensors;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const MOST: usize = 8;

/// What does not depend on the body.
const FIXED: usize = 64 << 10;

fuzz_target!(|data: &[u8]| {
    let Some((length, body)) = data.split_first_chunk::<2>() else {
        return;
    };
    let body = Bytes::copy_from_slice(body);
    let length = usize::from(u16::from_le_bytes(*length));
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let elements = tensors(&body, length, MOST);
    let took = MEMORY.peak_usage().saturating_sub(before);
    // Lists of JSON are kept as what they point to: 16 bytes for one of two.
    assert!(took <= 16 * data.len() + FIXED, "{took} bytes for a body");
    if let Ok(elements) = elements {
        assert!(elements.len() <= 2 * MOST);
        let bytes: usize = elements.iter().map(Vec::len).sum();
        assert!(bytes <= body.len(), "more bytes than the body has");
    }
});
