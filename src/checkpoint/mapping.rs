//! Files mapped into memory for the life of the process.

use std::fs::File;
use std::io;
use std::path::Path;

/// Maps a file, read-only, and never unmaps it: the weights of a running model are
/// wanted until the process ends, and clean file pages are the kernel's to drop.
///
/// # Errors
///
/// When the file cannot be opened or mapped.
// The one `unsafe` outside the GPU engine: the memory-mapped weights that a start
// within seconds needs cannot be had without it.
#[allow(unsafe_code)]
pub(super) fn map(path: &Path) -> io::Result<&'static [u8]> {
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(&[]);
    }
    // SAFETY: the bytes must not change while they are borrowed, and the file must
    // not shrink. The mapping is private and read-only, so nothing in this process
    // writes to it. Other processes are asked not to: the hub cache names its files
    // by their content and replaces them by renaming, and docs/operations.md says
    // to do the same with a directory of one's own.
    let mapping = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Box::leak(Box::new(mapping)))
}
