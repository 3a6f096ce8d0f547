//! What was listed or piped in, kept on disk: a list of a hundred million paths takes no memory.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A file without a name that is written once.
pub(super) struct Spool(BufWriter<File>);

impl Spool {
    pub(super) fn new() -> Result<Self, String> {
        let file = tempfile::tempfile().map_err(|error| {
            format!("cannot make a file for the list of inputs (TMPDIR says where): {error}")
        })?;
        Ok(Self(BufWriter::new(file)))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.0
            .write_all(bytes)
            .map_err(|error| format!("cannot write the list of inputs: {error}"))
    }

    pub(super) fn end(self) -> Result<Arc<File>, String> {
        self.0
            .into_inner()
            .map(Arc::new)
            .map_err(|error| format!("cannot write the list of inputs: {error}"))
    }
}

/// Reads from a place on, whoever else reads the file.
pub(super) struct ReadFrom {
    pub(super) file: Arc<File>,
    pub(super) at: u64,
}

impl Read for ReadFrom {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
