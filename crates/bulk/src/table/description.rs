//! The description of a table, at the end of its file: columns, row groups, statistics.
//!
//! The structs below are those of parquet.thrift (Apache Parquet 2.11), as far as readers know them.

use std::io::{self, Read};

use super::thrift::Known::{Byte, Bytes, Double, Flag, Integer, List, Long, Short, Struct};
use super::thrift::{Input, Known, STRUCT};

/// Passes over a description.
///
/// # Errors
///
/// When it is none, or a list in it says that it has more items than there are bytes.
pub(super) fn pass_over(from: impl Read) -> io::Result<()> {
    Input::new(from).pass(&FILE, STRUCT)
}

const EMPTY: Known = Struct(&[]);

const FILE: Known = Struct(&[
    (1, Integer),
    (2, List(&SCHEMA_ELEMENT)),
    (3, Long),
    (4, List(&ROW_GROUP)),
    (5, List(&KEY_VALUE)),
    (6, Bytes),
    (7, List(&COLUMN_ORDER)),
    (8, ENCRYPTION),
    (9, Bytes),
]);

const SCHEMA_ELEMENT: Known = Struct(&[
    (1, Integer),
    (2, Integer),
    (3, Integer),
    (4, Bytes),
    (5, Integer),
    (6, Integer),
    (7, Integer),
    (8, Integer),
    (9, Integer),
    (10, LOGICAL_TYPE),
]);

const LOGICAL_TYPE: Known = Struct(&[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    // Decimals.
    (5, Struct(&[(1, Integer), (2, Integer)])),
    (6, EMPTY),
    (7, TIME),
    (8, TIME),
    // Integers.
    (10, Struct(&[(1, Byte), (2, Flag)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    // Variants, and places on the earth.
    (16, Struct(&[(1, Byte)])),
    (17, Struct(&[(1, Bytes)])),
    (18, Struct(&[(1, Bytes), (2, Integer)])),
    (19, EMPTY),
]);

const TIME: Known = Struct(&[
    (1, Flag),
    (2, Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)])),
]);

const ROW_GROUP: Known = Struct(&[
    (1, List(&COLUMN)),
    (2, Long),
    (3, Long),
    (4, List(&Struct(&[(1, Integer), (2, Flag), (3, Flag)]))),
    (5, Long),
    (6, Long),
    (7, Short),
]);

const COLUMN: Known = Struct(&[
    (1, Bytes),
    (2, Long),
    (3, COLUMN_DATA),
    (4, Long),
    (5, Integer),
    (6, Long),
    (7, Integer),
    (8, COLUMN_ENCRYPTION),
    (9, Bytes),
]);

const COLUMN_DATA: Known = Struct(&[
    (1, Integer),
    (2, List(&Integer)),
    (3, List(&Bytes)),
    (4, Integer),
    (5, Long),
    (6, Long),
    (7, Long),
    (8, List(&KEY_VALUE)),
    (9, Long),
    (10, Long),
    (11, Long),
    (12, STATISTICS),
    (
        13,
        List(&Struct(&[(1, Integer), (2, Integer), (3, Integer)])),
    ),
    (14, Long),
    (15, Integer),
    // Sizes of what is not packed, and histograms of levels.
    (16, Struct(&[(1, Long), (2, List(&Long)), (3, List(&Long))])),
    (17, Struct(&[(1, BOX), (2, List(&Integer))])),
]);

/// The lowest and the highest values of a column or of a page.
pub(super) const STATISTICS: Known = Struct(&[
    (1, Bytes),
    (2, Bytes),
    (3, Long),
    (4, Long),
    (5, Bytes),
    (6, Bytes),
    (7, Flag),
    (8, Flag),
    (9, Long),
]);

const BOX: Known = Struct(&[
    (1, Double),
    (2, Double),
    (3, Double),
    (4, Double),
    (5, Double),
    (6, Double),
    (7, Double),
    (8, Double),
]);

const KEY_VALUE: Known = Struct(&[(1, Bytes), (2, Bytes)]);

const COLUMN_ORDER: Known = Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]);

const COLUMN_ENCRYPTION: Known =
    Struct(&[(1, EMPTY), (2, Struct(&[(1, List(&Bytes)), (2, Bytes)]))]);

const ENCRYPTION: Known = Struct(&[(1, CIPHER), (2, CIPHER)]);

const CIPHER: Known = Struct(&[(1, Bytes), (2, Bytes), (3, Flag)]);

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of a number that nobody knows, with a list of 2^31 - 1 items that have no bytes.
    const ENDLESS: [u8; 9] = [0x09, 0xc8, 0x01, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07];

    /// The reader counted what hides here for seconds.
    #[test]
    fn lists_have_no_more_items_than_bytes_wherever_they_hide() {
        let endless = ENDLESS.repeat(20);
        let passes = |before: &[u8], behind: &[u8]| {
            let bytes = [before, &endless, behind].concat();
            pass_over(&bytes[..]).is_ok()
        };
        assert!(!passes(&[], &[0]));
        // To the reader flags of a list have no bytes.
        assert!(!passes(&[0x09, 0xc8, 0x01, 0xf1, 0xb4, 0x01], &[0]));
        // It does not look at the type of a field that it knows: a version that is a text.
        assert!(!passes(&[0x18, 0xb4, 0x01], &[0]));
        // The same, of a column's length in a schema, and of a time's flag.
        assert!(!passes(&[0x29, 0x1c, 0x28, 0xb4, 0x01], &[0, 0]));
        assert!(!passes(
            &[0x29, 0x1c, 0xac, 0x7c, 0x18, 0xb4, 0x01],
            &[0, 0, 0, 0]
        ));
        // A map of flags.
        assert!(!passes(&[0x0b, 0xc8, 0x01, 0xb4, 0x01, 0x81], &[0]));
        // All of this is a text of a field that nobody knows, to the reader as well.
        assert!(passes(&[0x08, 0xc8, 0x01, 0xb4, 0x01], &[0]));
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        // A map of a text and a number, a UUID, an empty list of flags.
        let map = [0x0b, 0xc8, 0x01, 1, 0x85, 1, b'a', 2];
        let uuid = [&[0x0d, 0xca, 0x01][..], &[7; 16]].concat();
        let list = [0x09, 0xcc, 0x01, 0x01];
        let bytes = [&map[..], &uuid, &list, &[0]].concat();
        assert!(pass_over(&bytes[..]).is_ok());
        for end in 0..bytes.len() {
            assert!(pass_over(&bytes[..end]).is_err(), "{end}");
        }
    }
}
