//! Thrift's compact protocol, which Parquet's heads and descriptions are in: structs of fields with a
//! number and a type, integers in groups of seven bits.
//!
//! What is read here is read again by the reader of Parquet, and must mean the same to both. That reader
//! looks at no type of a field that it knows, takes flags in a list for nothing at all, and counts a
//! list's items, up to 2^31, before it finds that they are not there. So here each field that it knows must
//! have its type, and a list with items that take no bytes is refused.

use std::io::{self, Read};

/// Types of fields.
pub(super) const TRUE: u8 = 1;
pub(super) const FALSE: u8 = 2;
pub(super) const I32: u8 = 5;
pub(super) const STRUCT: u8 = 12;

/// How deep structs and lists may lie in each other.
const DEEPEST: usize = 16;

/// What a field holds that the reader knows.
pub(super) enum Known {
    Flag,
    Byte,
    Short,
    Integer,
    Long,
    Double,
    Bytes,
    List(&'static Known),
    Struct(Fields),
}

/// The fields of a struct that are known, by their numbers; others are passed over.
pub(super) type Fields = &'static [(u8, Known)];

impl Known {
    /// Whether a field of this type may be it.
    fn is(&self, kind: u8) -> bool {
        match self {
            Self::Flag => matches!(kind, TRUE | FALSE),
            Self::Byte => kind == 3,
            Self::Short => kind == 4,
            Self::Integer => kind == I32,
            Self::Long => kind == 6,
            Self::Double => kind == 7,
            Self::Bytes => kind == 8,
            Self::List(_) => kind == 9,
            Self::Struct(_) => kind == STRUCT,
        }
    }
}

pub(super) fn damaged() -> io::Error {
    io::Error::other("a head or the description is damaged")
}

/// A number in groups of seven bits, the last without the eighth.
pub(super) fn groups_of_seven(mut byte: impl FnMut() -> io::Result<u8>) -> io::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = byte()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(damaged())
}

/// What is read, and how much of it was.
pub(super) struct Input<R> {
    from: R,
    read: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, read: 0 }
    }

    /// Bytes that were read.
    pub(super) fn passed(&self) -> u64 {
        self.read
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.from.read_exact(&mut byte)?;
        self.read += 1;
        Ok(byte[0])
    }

    fn unsigned(&mut self) -> io::Result<u64> {
        groups_of_seven(|| self.byte())
    }

    fn signed(&mut self) -> io::Result<i64> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(super) fn integer(&mut self) -> io::Result<i64> {
        let value = self.signed()?;
        i32::try_from(value).map(i64::from).map_err(|_| damaged())
    }

    /// Passes over so many bytes.
    fn leap(&mut self, bytes: u64) -> io::Result<()> {
        let passed = io::copy(&mut self.from.by_ref().take(bytes), &mut io::sink())?;
        self.read += passed;
        if passed < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Visits the fields of a struct: their numbers and types. The visitor reads what they hold.
    pub(super) fn fields(
        &mut self,
        visit: &mut dyn FnMut(&mut Self, u8, u8) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut id = 0_i64;
        loop {
            let head = self.byte()?;
            let kind = head & 0xf;
            if kind == 0 {
                return Ok(());
            }
            id = match head >> 4 {
                0 => self.signed()?,
                step => id + i64::from(step),
            };
            let known = i16::try_from(id).map_err(|_| damaged())?;
            // Numbers that are not known are those of fields to pass over.
            visit(self, u8::try_from(known).unwrap_or(u8::MAX), kind)?;
        }
    }

    /// Passes over a field of this type that the reader does not know.
    pub(super) fn skip(&mut self, kind: u8, depth: usize) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(damaged());
        }
        match kind {
            // The type is the value.
            TRUE | FALSE => Ok(()),
            3 => self.leap(1),
            4..=6 => self.unsigned().map(drop),
            7 => self.leap(8),
            8 => {
                let length = self.unsigned()?;
                self.leap(length)
            }
            9 | 10 => {
                let (count, element) = self.list()?;
                (0..count).try_for_each(|_| self.skip(element, depth + 1))
            }
            // A map.
            11 => {
                let count = self.unsigned()?;
                if count == 0 {
                    return Ok(());
                }
                let types = self.byte()?;
                let (key, value) = (types >> 4, types & 0xf);
                if matches!(key, TRUE | FALSE) || matches!(value, TRUE | FALSE) {
                    return Err(damaged());
                }
                (0..count).try_for_each(|_| {
                    self.skip(key, depth + 1)?;
                    self.skip(value, depth + 1)
                })
            }
            STRUCT => {
                let mut inner = |input: &mut Self, _: u8, kind: u8| input.skip(kind, depth + 1);
                self.fields(&mut inner)
            }
            // A UUID.
            13 => self.leap(16),
            _ => Err(damaged()),
        }
    }

    /// Items of a list, and their type.
    fn list(&mut self) -> io::Result<(u64, u8)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.unsigned()?,
            count => u64::from(count),
        };
        match head & 0xf {
            TRUE | FALSE if count > 0 => Err(damaged()),
            element => Ok((count, element)),
        }
    }

    /// Passes over a field of this type, which must be what is known of it.
    pub(super) fn pass(&mut self, known: &Known, kind: u8) -> io::Result<()> {
        if !known.is(kind) {
            return Err(damaged());
        }
        match known {
            Known::List(item) => {
                let (count, element) = self.list()?;
                (0..count).try_for_each(|_| self.pass(item, element))
            }
            Known::Struct(fields) => {
                self.fields(&mut |input, id, kind| input.pass_field(fields, id, kind))
            }
            _ => self.skip(kind, 0),
        }
    }

    /// Passes over a field of a struct in which these are known.
    pub(super) fn pass_field(&mut self, fields: Fields, id: u8, kind: u8) -> io::Result<()> {
        match fields.iter().find(|(known, _)| *known == id) {
            Some((_, known)) => self.pass(known, kind),
            None => self.skip(kind, 0),
        }
    }
}
