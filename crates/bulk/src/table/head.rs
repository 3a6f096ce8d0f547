//! The heads of Parquet's pages, as far as they say what a page costs.
//!
//! The reader of Parquet believes a head and takes memory for what it says. So each is read here
//! first.

use std::io::{self, Read};

use super::description::STATISTICS;
use super::thrift::Known::{Flag, Integer, Struct};
use super::thrift::{FALSE, Fields, I32, Input, STRUCT, TRUE, damaged};

/// The fields of a head: its kind, sizes and checksum, and what there is for each kind.
const HEAD: Fields = &[
    (1, Integer),
    (2, Integer),
    (3, Integer),
    (4, Integer),
    (5, Struct(DATA)),
    // An index's page, of which nothing is known.
    (6, Struct(&[])),
    (7, Struct(DICTIONARY)),
    (8, Struct(DATA_V2)),
];

const DATA: Fields = &[
    (1, Integer),
    (2, Integer),
    (3, Integer),
    (4, Integer),
    (5, STATISTICS),
];

const DICTIONARY: Fields = &[(1, Integer), (2, Integer), (3, Flag)];

const DATA_V2: Fields = &[
    (1, Integer),
    (2, Integer),
    (3, Integer),
    (4, Integer),
    (5, Integer),
    (6, Integer),
    (7, Flag),
    (8, STATISTICS),
];

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
    let mut input = Input::new(from);
    let mut numbers = [0; 5];
    // Those of the kind's own struct.
    let mut own = [[0_i64; 9]; 9];
    let mut is_compressed = true;
    // As strict as can be: a field that is taken for another here than by the reader would hide
    // what a page costs.
    input.fields(&mut |input, id, kind| {
        match (id, kind) {
            (1..=3, I32) => numbers[usize::from(id)] = input.integer()?,
            (5 | 7 | 8, STRUCT) => {
                let (integers, fields) = match id {
                    5 => (1..=4, DATA),
                    7 => (1..=2, DICTIONARY),
                    _ => (1..=6, DATA_V2),
                };
                input.fields(&mut |input, inner, kind| {
                    match (inner, kind) {
                        (inner, I32) if integers.contains(&inner) => {
                            own[usize::from(id)][usize::from(inner)] = input.integer()?;
                        }
                        (7, TRUE | FALSE) if id == 8 => is_compressed = kind == TRUE,
                        _ => input.pass_field(fields, inner, kind)?,
                    }
                    Ok(())
                })?;
            }
            _ => input.pass_field(HEAD, id, kind)?,
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
    Ok((head, input.passed()))
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
        bytes.extend([0x19, 0x23, 1, 0, 0x18, 1, b'z', 0, 99]);
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
    fn nothing_is_taken_for_another_field_than_by_the_reader() {
        // A size of 2^31 - 1 bytes, hidden where the reader finds it and this might not.
        let size = [0x05, 4, 0xfe, 0xff, 0xff, 0xff, 0x0f];
        let with = |field: &[u8]| {
            let mut bytes = head(0, 8, 8, 1, 0);
            bytes.pop();
            bytes.extend_from_slice(field);
            bytes.extend_from_slice(&size);
            bytes.push(0);
            bytes
        };
        // To the reader flags of a list have no bytes.
        let flags = with(&[0x09, 0xc8, 1, 0x71]);
        // It does not look at the type of a field that it knows: a checksum that is a text.
        let checksum = with(&[0x08, 8, 7]);
        let index = with(&[0x08, 12, 7]);
        for bytes in [flags, checksum, index] {
            assert!(read(&bytes[..]).is_err(), "{bytes:?}");
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
