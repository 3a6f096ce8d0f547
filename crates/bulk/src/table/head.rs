//! The heads of Parquet's pages, as far as they say what a page costs, and what is of the same form.
//!
//! The reader of Parquet believes a head and takes memory for what it says. So each is read here
//! first. A head is a struct in Thrift's compact protocol: fields of a number and a type, integers
//! in groups of seven bits.

use std::io::{self, Read};

/// Types of fields.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I32: u8 = 5;
const STRUCT: u8 = 12;

/// How deep structs and lists may lie in each other.
const DEEPEST: usize = 16;

/// What a page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    DataV2,
    Dictionary,
    /// What readers pass over.
    Other,
}

/// Encodings of which the decoder keeps more than the page.
pub(super) const DELTA_LENGTH_BYTE_ARRAY: u64 = 6;
pub(super) const DELTA_BYTE_ARRAY: u64 = 7;
const PLAIN_DICTIONARY: u64 = 2;
const RLE_DICTIONARY: u64 = 8;

/// What a head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    /// Bytes of the page in the file, and when it is decompressed.
    pub(super) packed: u64,
    pub(super) unpacked: u64,
    /// Values, nulls and the ends of lists included.
    pub(super) values: u64,
    pub(super) encoding: u64,
    /// Bytes of repetition and definition levels, where they stand before the compressed part.
    pub(super) levels: (u64, u64),
    pub(super) is_compressed: bool,
}

impl Head {
    pub(super) fn is_of_dictionary(&self) -> bool {
        matches!(self.encoding, PLAIN_DICTIONARY | RLE_DICTIONARY)
    }
}

/// Reads a head, and how many bytes it has.
///
/// # Errors
///
/// When it ends too early, or is none.
pub(super) fn read(from: impl Read) -> io::Result<(Head, u64)> {
    let mut input = Input { from, read: 0 };
    let mut numbers = [0; 5];
    // Those of the kind's own struct.
    let mut own = [[0_i64; 9]; 9];
    let mut is_compressed = true;
    // As strict as can be: a field that is taken for another here than by the reader would hide
    // what a page costs.
    input.fields(&mut |input, id, kind| {
        match (id, kind) {
            (1..=3, I32) => numbers[usize::from(id)] = input.integer()?,
            (5 | 7 | 8, STRUCT) => input.fields(&mut |input, inner, kind| {
                let integers = match id {
                    5 => 1..=4,
                    7 => 1..=2,
                    _ => 1..=6,
                };
                match (inner, kind) {
                    (inner, I32) if integers.contains(&inner) => {
                        own[usize::from(id)][usize::from(inner)] = input.integer()?;
                    }
                    (inner, _) if integers.contains(&inner) => return Err(damaged()),
                    (7, TRUE) if id == 8 => is_compressed = true,
                    (7, FALSE) if id == 8 => is_compressed = false,
                    (7, _) if id == 8 => return Err(damaged()),
                    _ => input.skip(kind, 0)?,
                }
                Ok(())
            })?,
            (1..=3 | 5 | 7 | 8, _) => return Err(damaged()),
            _ => input.skip(kind, 0)?,
        }
        Ok(())
    })?;
    let of = |value: i64| u64::try_from(value).map_err(|_| damaged());
    let (kind, values, encoding) = match numbers[1] {
        0 => (Kind::Data, own[5][1], own[5][2]),
        2 => (Kind::Dictionary, own[7][1], own[7][2]),
        3 => (Kind::DataV2, own[8][1], own[8][4]),
        _ => (Kind::Other, 0, 0),
    };
    let head = Head {
        kind,
        packed: of(numbers[3])?,
        unpacked: of(numbers[2])?,
        values: of(values)?,
        encoding: of(encoding)?,
        levels: match kind {
            Kind::DataV2 => (of(own[8][6])?, of(own[8][5])?),
            _ => (0, 0),
        },
        is_compressed: is_compressed || kind != Kind::DataV2,
    };
    Ok((head, input.read))
}

/// Passes over the description of a table, which is a struct like a head.
///
/// # Errors
///
/// When it is none, or a list in it says that it has more items than there are bytes. The reader
/// of Parquet counts such items, up to 2^31 of them in each list, before it refuses the table.
pub(super) fn pass_over_description(from: impl Read) -> io::Result<()> {
    let mut input = Input { from, read: 0 };
    input.fields(&mut |input, _, kind| input.skip(kind, 0))
}

fn damaged() -> io::Error {
    io::Error::other("the head of a page is damaged")
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

struct Input<R> {
    from: R,
    read: u64,
}

impl<R: Read> Input<R> {
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

    fn integer(&mut self) -> io::Result<i64> {
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
    fn fields(
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

    /// Passes over a field of this type.
    fn skip(&mut self, kind: u8, depth: usize) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(damaged());
        }
        match kind {
            // The type is the value.
            1 | 2 => Ok(()),
            3 => self.leap(1),
            4..=6 => self.unsigned().map(drop),
            7 => self.leap(8),
            8 => {
                let length = self.unsigned()?;
                self.leap(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.unsigned()?,
                    count => u64::from(count),
                };
                for _ in 0..count {
                    match head & 0xf {
                        1 | 2 => self.leap(1)?,
                        element => self.skip(element, depth + 1)?,
                    }
                }
                Ok(())
            }
            12 => {
                let mut inner = |input: &mut Self, _: u8, kind: u8| input.skip(kind, depth + 1);
                self.fields(&mut inner)
            }
            _ => Err(damaged()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn unsigned(mut value: u64, into: &mut Vec<u8>) {
        while value > 0x7f {
            into.push(value as u8 | 0x80);
            value >>= 7;
        }
        into.push(value as u8);
    }

    /// Fields of integers, each the next number after the one before.
    fn integers(values: &[i64], into: &mut Vec<u8>) {
        for value in values {
            into.push(0x15);
            unsigned((value << 1 ^ value >> 63) as u64, into);
        }
    }

    /// The head of a page of the first form: 0 for data, 2 for a dictionary.
    pub(crate) fn head(
        kind: i64,
        unpacked: i64,
        packed: i64,
        values: i64,
        encoding: i64,
    ) -> Vec<u8> {
        let mut head = Vec::new();
        integers(&[kind, unpacked, packed], &mut head);
        head.push(if kind == 0 { 0x2c } else { 0x4c });
        let inner = [values, encoding, 3, 3];
        integers(&inner[..if kind == 0 { 4 } else { 2 }], &mut head);
        head.extend([0, 0]);
        head
    }

    /// The head of a page of the second form that has no value, only as many nulls and bytes of levels.
    pub(crate) fn head_of_nulls(nulls: i64, levels: i64) -> Vec<u8> {
        let mut head = Vec::new();
        integers(&[3, levels, levels], &mut head);
        head.push(0x5c);
        integers(&[nulls, nulls, nulls, 0, levels, 0], &mut head);
        head.extend([0, 0]);
        head
    }

    #[test]
    fn a_head_is_read_to_its_end_and_what_is_not_known_is_passed_over() {
        let bytes = head(0, 1 << 30, 77, 12, 8);
        let (found, length) = read(&bytes[..]).unwrap();
        assert_eq!(length, bytes.len() as u64);
        assert_eq!(
            (found.kind, found.unpacked, found.packed),
            (Kind::Data, 1 << 30, 77)
        );
        assert_eq!((found.values, found.encoding), (12, 8));
        assert!(found.is_of_dictionary());
        // A checksum, statistics within, a list and a text of later versions.
        let mut bytes = Vec::new();
        integers(&[3, 100, 50, -1], &mut bytes);
        bytes.push(0x4c);
        integers(&[9, 1, 8, 6, 4, 2], &mut bytes);
        // Not compressed, and a struct with a text.
        bytes.extend([0x12, 0x1c, 0x18, 2, b'x', b'y', 0, 0]);
        bytes.extend([0x19, 0x21, 1, 0, 0x18, 1, b'z', 0, 99]);
        let (found, length) = read(&bytes[..]).unwrap();
        assert_eq!(length, bytes.len() as u64 - 1);
        assert_eq!(found.kind, Kind::DataV2);
        assert_eq!((found.values, found.encoding, found.levels), (9, 6, (2, 4)));
        assert!(!found.is_compressed);
        for end in 0..bytes.len() - 1 {
            assert!(read(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn what_is_no_head_is_an_error() {
        let mut deep = vec![0x1c; 10_000];
        deep[0] = 0x9c;
        // A list of more elements than there are bytes, a text likewise, a negative size.
        let list = [0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x7f, 0];
        let text = [0x18, 0xff, 0xff, 0xff, 0x7f, 0];
        // Sizes as another type, and as a field whose number wraps around to that of sizes.
        let other_type = [0x15, 0, 0x16, 8, 0x15, 8, 0];
        let other_number = [0x15, 0, 0x05, 0x84, 0x80, 0x08, 8, 0x05, 6, 8, 0];
        for bytes in [
            &deep[..],
            &list,
            &text,
            &head(0, -1, 1, 1, 0),
            &[0x1d],
            &other_type,
            &other_number,
        ] {
            assert!(read(bytes).is_err());
        }
    }
}
