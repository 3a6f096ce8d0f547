//! What was listed or piped in, kept on disk: a list of a hundred million paths takes no memory.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::error::InputError;

/// A file without a name that is written once.
pub(super) struct Spool(BufWriter<File>);

impl Spool {
    pub(super) fn new() -> Result<Self, InputError> {
        let file = tempfile::tempfile().map_err(|error| {
            InputError::NoRoom(format!(
                "cannot make a file for what is listed or piped in (TMPDIR says where): {error}"
            ))
        })?;
        Ok(Self(BufWriter::new(file)))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), InputError> {
        self.0.write_all(bytes).map_err(cannot_keep)
    }

    pub(super) fn end(self) -> Result<Arc<File>, InputError> {
        self.0
            .into_inner()
            .map(Arc::new)
            .map_err(|error| cannot_keep(error.into_error()))
    }
}

fn cannot_keep(error: io::Error) -> InputError {
    InputError::NoRoom(format!(
        "cannot keep what is listed or piped in (TMPDIR says where): {error}"
    ))
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
