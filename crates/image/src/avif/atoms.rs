//! The boxes that an ISO media file (ISO/IEC 14496-12) is made of, and the numbers in them.
//!
//! They are called atoms here, their old name, because Rust has a `Box` of its own.

use super::{damaged, truncated};
use crate::ImageError;

/// One box: its type and what it holds.
#[derive(Clone, Copy)]
pub(super) struct Atom<'a> {
    pub(super) kind: [u8; 4],
    pub(super) body: Fields<'a>,
}

/// Bytes that are read from front to back.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], ImageError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ImageError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ImageError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ImageError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ImageError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn kind(&mut self) -> Result<[u8; 4], ImageError> {
        self.array()
    }

    /// Four bytes with meanings of their own.
    pub(super) fn four(&mut self) -> Result<[u8; 4], ImageError> {
        self.array()
    }

    /// A number of 0, 4 or 8 bytes.
    pub(super) fn sized(&mut self, bytes: u8) -> Result<u64, ImageError> {
        match bytes {
            0 => Ok(0),
            4 => self.u32().map(u64::from),
            8 => self.u64(),
            _ => Err(damaged("its item locations have numbers of an odd size")),
        }
    }

    /// The version and the flags that most boxes begin with.
    pub(super) fn version(&mut self) -> Result<(u8, u32), ImageError> {
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0x00ff_ffff))
    }

    /// The boxes in here, one after the other.
    pub(super) fn atoms(self) -> Atoms<'a> {
        Atoms(self.0)
    }

    /// The first box of this type in here.
    pub(super) fn find(self, kind: &[u8; 4]) -> Result<Option<Fields<'a>>, ImageError> {
        for atom in self.atoms() {
            let atom = atom?;
            if atom.kind == *kind {
                return Ok(Some(atom.body));
            }
        }
        Ok(None)
    }
}

/// See [`Fields::atoms`].
pub(super) struct Atoms<'a>(&'a [u8]);

impl<'a> Atoms<'a> {
    fn step(&mut self) -> Result<Atom<'a>, ImageError> {
        let mut fields = Fields(self.0);
        let (short, kind) = (fields.u32()?, fields.kind()?);
        let size = match short {
            // Up to the end of what it is in.
            0 => self.0.len() as u64,
            1 => fields.u64()?,
            size => u64::from(size),
        };
        if &kind == b"uuid" {
            fields.take(16)?;
        }
        let header = self.0.len() - fields.0.len();
        let size = usize::try_from(size).map_err(|_| truncated())?;
        let body = self.0.get(header..size).ok_or_else(truncated)?;
        self.0 = self.0.get(size..).unwrap_or_default();
        Ok(Atom {
            kind,
            body: Fields(body),
        })
    }
}

impl<'a> Iterator for Atoms<'a> {
    type Item = Result<Atom<'a>, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.0 = &[];
        }
        Some(step)
    }
}
