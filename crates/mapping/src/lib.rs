//! Files mapped into memory for the life of the process.
//!
//! ```
//! let file = tempfile::NamedTempFile::new()?;
//! std::fs::write(file.path(), b"weights")?;
//! let mapping = siglip2_mapping::Mapping::open(file.path())?;
//! assert_eq!(mapping.bytes(), b"weights");
//! # Ok::<(), std::io::Error>(())
//! ```

// Memory-mapped weights, without which a start takes too long, require it.
#![allow(unsafe_code)]

#[cfg(unix)]
mod fault;

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

#[cfg(unix)]
pub use fault::explain_truncation;

/// A file in memory, read-only, never unmapped: the weights of a running model are needed
/// until the process ends. [`explain_truncation`] says what happens to a process whose file
/// is cut short; a caller that must survive that reads the file instead.
#[derive(Clone, Copy, Debug)]
pub struct Mapping(Option<&'static Mmap>);

impl Mapping {
    /// Maps a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or mapped.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: the bytes must not change while they are borrowed, and the file
        // must not shrink. The mapping is private and read-only, so nothing in this
        // process writes to it. Other processes are asked not to: the hub cache names
        // its files by their content and replaces them by renaming, and
        // docs/operations.md says to do the same with a directory of one's own.
        let mapping = unsafe { Mmap::map(&file)? };
        let mapping: &'static Mmap = Box::leak(Box::new(mapping));
        #[cfg(unix)]
        fault::note(mapping, path);
        Ok(Self(Some(mapping)))
    }

    /// Maps a file that has no name, and that nobody writes to any more.
    ///
    /// # Errors
    ///
    /// When the file cannot be mapped.
    pub fn unnamed(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: as above; and no other process has this file.
        let mapping = unsafe { Mmap::map(file)? };
        Ok(Self(Some(Box::leak(Box::new(mapping)))))
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &'static [u8] {
        self.0.map_or(&[], |mapping| mapping)
    }

    /// Tells the system that the pages read so far are not needed in the near future. They
    /// leave this process's memory and stay in the page cache; they can still be read again.
    pub fn release(&self) {
        #[cfg(unix)]
        if let Some(mapping) = self.0 {
            // SAFETY: this advice is called unchecked because it would discard what
            // was written to a private mapping. This one is read-only, so what a
            // later read finds is what the file holds, and that does not change (see
            // above). No borrow of the bytes is invalidated: they stay mapped.
            let advised = unsafe { mapping.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            if let Err(error) = advised {
                tracing::debug!(%error, "cannot release mapped weights");
            }
        }
    }
}
