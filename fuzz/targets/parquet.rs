//! Parquet tables that `embed` reads: refused, or read to their end, within 256 MiB. That the code of others
//! panics is not a finding where it is caught: only what comes out of it ends the run.

#![no_main]

use std::path::PathBuf;
use std::sync::{LazyLock, Once};

use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;
use siglip2_embeddings::bulk::fuzzing::parquet;
use siglip2_embeddings::bulk::options::{Kind, Reading};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const MOST: usize = 256 << 20;

/// Rows that a table may claim without having their bytes are told in one shard each; so few are read.
const SHARD: usize = 1024;

static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
    let name = format!("fuzz-{}.parquet", std::process::id());
    std::env::temp_dir().join(name)
});

/// libFuzzer's would end the process at every panic, caught or not.
static NO_HOOK: Once = Once::new();

fuzz_target!(|data: &[u8]| {
    NO_HOOK.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    if std::fs::write(PATH.as_path(), data).is_err() {
        return;
    }
    for kind in [Kind::Pictures, Kind::Texts] {
        let reading = Reading {
            kind,
            shard_size: SHARD,
            ..Reading::default()
        };
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        let _ = parquet(&PATH, &reading);
        let took = MEMORY.peak_usage().saturating_sub(before);
        assert!(took <= MOST, "{took} bytes for a table");
    }
});
