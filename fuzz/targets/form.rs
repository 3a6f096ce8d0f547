//! Forms. The input is a Content-Type up to the first line feed, and a body.
//!
//! However the body is cut into pieces, the same form comes out of it, or a refusal; what
//! comes out keeps to the limits; and little more memory is wanted than the body has bytes.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;
use siglip2_embeddings::http::HttpSettings;
use siglip2_embeddings::http::fuzzing::{Parts, form};
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Buffers and futures that do not depend on the body.
const FIXED: usize = 256 << 10;

const MAX_IMAGES: usize = 3;
const MAX_TEXT: usize = 64;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
});

static SETTINGS: LazyLock<HttpSettings> = LazyLock::new(|| HttpSettings {
    max_images_per_request: MAX_IMAGES,
    max_text_body_bytes: MAX_TEXT,
    ..HttpSettings::default()
});

/// Cuts `body` into pieces of 1 to `longest` bytes, as the seed has it.
fn pieces(body: &Bytes, mut seed: u64, longest: u64) -> Vec<Bytes> {
    let mut rest = body.clone();
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        // xorshift64 (Marsaglia).
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let length = 1 + (seed % longest) as usize;
        pieces.push(rest.split_to(length.min(rest.len())));
    }
    pieces
}

fn check(parts: &Parts, many: bool, body: &Bytes) {
    let images: usize = parts.images.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(images <= body.len(), "more bytes than the body has");
    assert!(parts.images.len() <= if many { MAX_IMAGES } else { 1 });
    for (_, bytes) in parts.images.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        assert!(
            body.windows(bytes.len()).any(|window| window == bytes),
            "an image that is not in the body"
        );
    }
    if many {
        let inspected: Vec<_> = parts
            .inspected
            .iter()
            .map(|(_, name, length)| (name, *length))
            .collect();
        let images: Vec<_> = parts
            .images
            .iter()
            .map(|(name, bytes)| (name, bytes.len()))
            .collect();
        assert_eq!(inspected, images, "an image that was not looked at");
        // Latin-1 grows to twice its length when it becomes UTF-8.
        let texts: usize = parts.texts.iter().map(String::len).sum();
        assert!(texts <= 2 * MAX_TEXT, "more text than allowed");
    }
}

fuzz_target!(|data: &[u8]| {
    let at = data.iter().position(|&byte| byte == b'\n').unwrap_or(0);
    let (content_type, body) = data.split_at(at);
    let body = Bytes::copy_from_slice(body.strip_prefix(b"\n").unwrap_or(body));
    let seed = data.iter().fold(1, |seed: u64, &byte| {
        (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3) | 1
    });
    for many in [true, false] {
        let whole = if body.is_empty() {
            vec![]
        } else {
            vec![body.clone()]
        };
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        let whole = RUNTIME.block_on(form(content_type, whole, many, &SETTINGS));
        let took = MEMORY.peak_usage().saturating_sub(before);
        assert!(took <= 4 * data.len() + FIXED, "{took} bytes for a form");
        let longest = if body.len() < 256 { 2 } else { 64 };
        let pieces = pieces(&body, seed, longest);
        let cut = RUNTIME.block_on(form(content_type, pieces, many, &SETTINGS));
        // Of two faults in one body, which is told depends on what arrives together.
        assert_eq!(
            whole.as_ref().ok(),
            cut.as_ref().ok(),
            "the form depends on how it arrived: {:?} {:?}",
            whole.as_ref().err(),
            cut.as_ref().err()
        );
        if let Ok(parts) = &whole {
            check(parts, many, &body);
        }
    }
});
