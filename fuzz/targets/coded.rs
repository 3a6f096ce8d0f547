//! Bodies that come compressed. The first byte of the input says how, and in what pieces the rest comes.
//! However it is cut, the same comes out of it, or a refusal; no more memory is taken than is held for it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;
use siglip2_embeddings::http::fuzzing::coded;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What a body may take with its decoder: a window of zstd may have 8 MiB.
const MOST: u64 = 32 << 20;

/// What the budget and the messages take.
const FIXED: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((&how, body)) = data.split_first() else {
        return;
    };
    let is_zstd = how & 1 == 1;
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let whole = coded(is_zstd, body, body.len(), MOST);
    let took = MEMORY.peak_usage().saturating_sub(before);
    // The target keeps what was decoded once more, in a list that doubles.
    assert!(took <= 4 * MOST as usize + FIXED, "{took} bytes for a body");
    let cut = coded(is_zstd, body, 1 + usize::from(how >> 1), MOST);
    match (&whole, &cut) {
        (Ok(whole), Ok(cut)) => assert!(whole == cut, "it depends on the pieces"),
        // What is held depends on the pieces.
        (Err(why), Ok(_)) | (Ok(_), Err(why)) => assert!(why.contains("held"), "{why}"),
        (Err(_), Err(_)) => {}
    }
});
