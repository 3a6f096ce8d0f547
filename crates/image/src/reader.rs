//! Feeds a file to a decoder in pieces, so that the decoder can be stopped between two of them,
//! and so that a file that is cut short can be told from one that is damaged otherwise.

use std::cell::Cell;
use std::io::{self, BufRead, Read, Seek, SeekFrom};

use super::work::Stop;

/// Shared with a reader while a decoder owns it.
pub(super) struct Watch {
    /// Whether the decoder asked for more bytes than there are.
    pub(super) ran_out: Cell<bool>,
    /// After this many more pieces, reading fails.
    pub(super) pieces_left: Cell<usize>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            ran_out: Cell::new(false),
            pieces_left: Cell::new(usize::MAX),
        }
    }
}

/// See the module.
pub(super) struct Pieces<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the piece that is being read ends.
    end: usize,
    piece: usize,
    /// What a piece may cost the decoder, in nanoseconds.
    work: u64,
    stop: &'a Stop<'a>,
    watch: &'a Watch,
    /// Whether reading past the end is an error rather than the end of the file.
    complete: bool,
}

impl<'a> Pieces<'a> {
    /// Pieces of `piece` bytes, each of which costs `work`. Asking for more than there is
    /// is an error if the file is to be `complete`.
    pub(super) fn new(
        bytes: &'a [u8],
        (piece, work): (usize, u64),
        stop: &'a Stop<'a>,
        watch: &'a Watch,
        complete: bool,
    ) -> Self {
        Self {
            bytes,
            at: 0,
            end: 0,
            piece,
            work,
            stop,
            watch,
            complete,
        }
    }
}

impl BufRead for Pieces<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.end {
            self.stop.work(self.work).map_err(io::Error::other)?;
            let left = self.watch.pieces_left.get();
            let left = left
                .checked_sub(1)
                .ok_or_else(|| io::Error::other("enough was read"))?;
            self.watch.pieces_left.set(left);
            if self.at >= self.bytes.len() {
                self.watch.ran_out.set(true);
                if self.complete {
                    return Err(io::Error::other("the file is cut short"));
                }
            }
            self.end = self.at.saturating_add(self.piece).min(self.bytes.len());
        }
        Ok(self.bytes.get(self.at..self.end).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at = self.at.saturating_add(amount).min(self.end);
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.fill_buf()?;
        let read = rest.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl Seek for Pieces<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => i128::from(at),
            SeekFrom::Current(by) => self.at as i128 + i128::from(by),
            SeekFrom::End(by) => self.bytes.len() as i128 + i128::from(by),
        };
        let at = u64::try_from(at).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.at = usize::try_from(at)
            .unwrap_or(usize::MAX)
            .min(self.bytes.len());
        self.end = self.at;
        Ok(at)
    }
}
