//! Plain JPEGs, by `siglip2_jpeg`, as far as nothing is wrong in them.

use siglip2_jpeg::{Failed, Plain, RowSink, Vectors};

use super::note_row;
use super::scans::BLOCK;
use crate::ImageError;
use crate::decode::{Job, Rows};

/// How far a file was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Whole,
    /// So many rows: libjpeg makes the same of them, and knows what to do with the rest.
    Rows(usize),
}

/// Decodes a file if it is plain and not to be reduced, until something is wrong in it.
pub(super) fn decode(
    job: &Job<'_>,
    rows: &mut dyn Rows,
    vectors: Vectors,
) -> Result<Decoded, ImageError> {
    if job.header.reduction > 1 {
        return Ok(Decoded::Rows(0));
    }
    let plain = Plain::read(job.bytes).filter(|it| (it.width(), it.height()) == job.size());
    let Some(plain) = plain else {
        return Ok(Decoded::Rows(0));
    };
    match plain.decode(vectors, &mut Noted { job, rows }) {
        Ok(()) => Ok(Decoded::Whole),
        Err(Failed::Unusual { rows }) => Ok(Decoded::Rows(rows)),
        Err(Failed::Sink(error)) => Err(error),
    }
}

/// Rows whose work is noted.
struct Noted<'a, 'b> {
    job: &'a Job<'b>,
    rows: &'a mut dyn Rows,
}

impl RowSink for Noted<'_, '_> {
    type Error = ImageError;

    fn row(&mut self) -> Result<&mut [u8], ImageError> {
        note_row(self.job.stop, self.job.size().0)?;
        self.rows.next_row()
    }

    fn worked(&mut self, blocks: usize) -> Result<(), ImageError> {
        self.job.stop.work(blocks as u64 * BLOCK)
    }
}

/// The rows behind those that are done, for a decoder that begins at the first.
pub(super) struct RowsBehind<'a> {
    rows: &'a mut dyn Rows,
    left: usize,
    /// What the rows that are done are written to once more.
    again: Vec<u8>,
}

impl<'a> RowsBehind<'a> {
    pub(super) fn new(job: &Job<'_>, rows: &'a mut dyn Rows, done: usize) -> Self {
        let row = if done > 0 { job.size().0 * 3 } else { 0 };
        Self {
            rows,
            left: done,
            again: vec![0; row],
        }
    }
}

impl Rows for RowsBehind<'_> {
    fn next_row(&mut self) -> Result<&mut [u8], ImageError> {
        match self.left.checked_sub(1) {
            None => self.rows.next_row(),
            Some(left) => {
                self.left = left;
                Ok(&mut self.again)
            }
        }
    }
}
