//! A stream as libjpeg is to see it.

use std::io::{self, BufRead, Read};

use super::parts::Cursor;
use crate::work::Stop;

/// What a piece of the stream is.
pub(super) enum Piece<'a> {
    Header,
    File(&'a [u8]),
    Marker([u8; 2]),
}

/// The stream as libjpeg is to see it: the new header, the data of all parts, and a marker of the
/// end however often it is asked for.
pub(super) struct Coded<'a> {
    pub(super) header: Vec<u8>,
    pub(super) cursor: Cursor<'a>,
    pub(super) piece: Piece<'a>,
    pub(super) at: usize,
    /// Restart markers so far, and whether the strip that is being read is followed by one.
    pub(super) restarts: u8,
    pub(super) restart: bool,
    pub(super) stop: &'a Stop<'a>,
}

impl<'a> Coded<'a> {
    /// Between two pieces is asked whether anybody still waits.
    pub(super) const PIECE: usize = 4096;

    pub(super) fn new(header: Vec<u8>, cursor: Cursor<'a>, stop: &'a Stop<'a>) -> Self {
        let is_strip = (1..cursor.parts.strips).contains(&cursor.part);
        Self {
            header,
            restart: is_strip && !cursor.rest.is_empty(),
            cursor,
            // libjpeg's source asks for the first piece before it moves this to where it stays: a
            // header is on the heap, and does not move with it.
            piece: Piece::Header,
            at: 0,
            restarts: 0,
            stop,
        }
    }

    pub(super) fn piece(&self) -> &[u8] {
        match &self.piece {
            Piece::Header => &self.header,
            Piece::File(bytes) => bytes,
            Piece::Marker(bytes) => bytes,
        }
    }

    pub(super) fn next(&mut self) {
        self.at = 0;
        let cursor = &mut self.cursor;
        if cursor.rest.is_empty() {
            if std::mem::take(&mut self.restart) {
                self.piece = Piece::Marker([0xff, 0xd0 + self.restarts % 8]);
                self.restarts = self.restarts.wrapping_add(1);
                return;
            }
            while cursor.rest.is_empty() {
                cursor.part += 1;
                let Some(rest) = cursor.parts.get(cursor.part) else {
                    self.piece = Piece::Marker([0xff, 0xd9]);
                    return;
                };
                cursor.rest = rest;
            }
            self.restart = cursor.part < cursor.parts.strips;
        }
        let (now, later) = cursor.rest.split_at(cursor.rest.len().min(Self::PIECE));
        cursor.rest = later;
        self.piece = Piece::File(now);
    }
}

impl BufRead for Coded<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.piece().len() {
            self.next();
            let work = self.piece().len() as u64 * 4 * super::BYTE;
            self.stop.work(work).map_err(io::Error::other)?;
        }
        Ok(self.piece().get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Coded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.fill_buf()?;
        let read = rest.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
