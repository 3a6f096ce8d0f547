//! What the values of a page say of themselves before they are decoded: how many items the rows
//! of a list have, and how many lengths stand before texts.

use std::io;

use super::thrift::groups_of_seven;

/// Items of rows, over all pages of a column.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Items of the last row so far: it may go on in the next page.
    run: u64,
}

impl Rows {
    /// Items of the longest row that is in a page or ends in it. `levels` are its repetition
    /// levels, of so many bits each: 0 begins a row.
    pub(super) fn longest(&mut self, levels: &[u8], bits: u32, values: u64) -> u64 {
        let (mut levels, mut left) = (levels, values);
        let mut longest = self.run;
        while left > 0 {
            let Some(head) = number(&mut levels) else {
                break;
            };
            if head & 1 == 0 {
                let Some(value) = take(&mut levels, u64::from(bits.div_ceil(8))) else {
                    break;
                };
                let count = left.min(head >> 1);
                left -= count;
                if value.iter().any(|&byte| byte != 0) || count == 0 {
                    self.run = self.run.saturating_add(count);
                } else {
                    longest = longest.max(self.run);
                    self.run = 1;
                }
                continue;
            }
            let Some(packed) = take(&mut levels, (head >> 1).saturating_mul(bits.into())) else {
                break;
            };
            let bits = bits as usize;
            for first in (0..packed.len() * 8).step_by(bits).take(clamp(left)) {
                let mut bits = first..first + bits;
                left -= 1;
                if bits.any(|bit| packed[bit / 8] >> (bit % 8) & 1 == 1) {
                    self.run = self.run.saturating_add(1);
                } else {
                    longest = longest.max(self.run);
                    self.run = 1;
                }
            }
        }
        // What is missing is refused by the decoder; until then it belongs to the last row.
        self.run = self.run.saturating_add(left);
        longest.max(self.run)
    }

    /// The same where the levels are not known: all are of one row.
    pub(super) fn all(&mut self, values: u64) -> u64 {
        self.run = self.run.saturating_add(values);
        self.run
    }

    /// A page was passed over.
    pub(super) fn skip(&mut self) {
        self.run = 0;
    }
}

/// How many lengths stand before values that are encoded by differences (`DELTA_LENGTH_BYTE_ARRAY`,
/// and twice in `DELTA_BYTE_ARRAY`): the larger number of the lists. None where they are damaged.
pub(super) fn lengths(values: &[u8], lists: usize) -> Option<u64> {
    let mut rest = values;
    let mut most = 0;
    for list in 0..lists {
        let block = number(&mut rest)?;
        let parts = number(&mut rest)?;
        let count = number(&mut rest)?;
        let _first = number(&mut rest)?;
        most = most.max(count);
        if list + 1 == lists {
            break;
        }
        // On to the next list. A block has a number, a width for each of its parts, and the parts.
        let part = block.checked_div(parts)?;
        if !part.is_multiple_of(32) || part == 0 {
            return None;
        }
        let mut left = count.saturating_sub(1);
        while left > 0 {
            let _least = number(&mut rest)?;
            for &width in take(&mut rest, parts)? {
                if left == 0 {
                    break;
                }
                take(&mut rest, part.checked_mul(width.into())? / 8)?;
                left = left.saturating_sub(part);
            }
        }
    }
    Some(most)
}

/// The length of the longest value of a dictionary of texts or bytes.
pub(super) fn longest_value(dictionary: &[u8]) -> u64 {
    let (mut left, mut longest) = (dictionary, 0);
    while let Some((length, rest)) = left.split_first_chunk::<4>() {
        let length = u64::from(u32::from_le_bytes(*length));
        left = rest;
        if take(&mut left, length).is_none() {
            break;
        }
        longest = longest.max(length);
    }
    longest
}

/// The next number in groups of seven bits.
fn number(from: &mut &[u8]) -> Option<u64> {
    let byte = || {
        let (byte, rest) = from.split_first().ok_or(io::ErrorKind::UnexpectedEof)?;
        *from = rest;
        Ok(*byte)
    };
    groups_of_seven(byte).ok()
}

/// The next bytes.
fn take<'a>(from: &mut &'a [u8], bytes: u64) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(usize::try_from(bytes).ok()?)?;
    *from = rest;
    Some(taken)
}

fn clamp(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_row_is_counted_over_runs_and_pages() {
        let mut rows = Rows::default();
        // Eight packed levels of one bit: 0 1 1 0 1 0 1 1, then five times 1.
        let levels = [0b11, 0b1101_0110, 10, 1];
        assert_eq!(rows.longest(&levels, 1, 13), 8);
        // The last row goes on, and another one of two begins.
        assert_eq!(rows.longest(&[6, 1, 2, 0, 2, 1], 1, 5), 11);
        assert_eq!(rows.longest(&[6, 1], 1, 3), 5);
        rows.skip();
        // A thousand rows of one item.
        assert_eq!(rows.longest(&[0xd0, 0x0f, 0], 1, 1000), 1);
        // A run of a million in four bytes, of levels of two bits.
        let mut rows = Rows::default();
        assert_eq!(
            rows.longest(&[2, 0, 0x80, 0x89, 0x7a, 2], 2, 1_000_001),
            1_000_001
        );
        // Levels that end too early are of the last row.
        assert_eq!(Rows::default().longest(&[2, 0], 1, 50), 50);
        assert_eq!(Rows::default().longest(&[], 1, 50), 50);
        assert_eq!(Rows::default().all(9), 9);
    }

    #[test]
    fn the_number_of_lengths_is_that_of_the_longer_list() {
        // A block of 128 in 4 parts of 32; 40 values: one part of width 8, one of width 1.
        let list = |count: u64| {
            let mut list = vec![0x80, 1, 4, count as u8, 0];
            list.extend([0, 8, 1, 7, 7]);
            list.extend([0; 36]);
            list
        };
        assert_eq!(lengths(&list(40), 1), Some(40));
        let two = [list(40), list(60)].concat();
        assert_eq!(lengths(&two, 2), Some(60));
        assert_eq!(lengths(&two, 1), Some(40));
        assert_eq!(lengths(&two[..48], 2), None);
        // One value has no block, and no parts can be no parts.
        assert_eq!(lengths(&[0x80, 1, 4, 1, 0, 0x80, 1, 4, 2, 0], 2), Some(2));
        assert_eq!(lengths(&[0x80, 1, 0, 9, 0, 0x80, 1, 4, 2, 0], 2), None);
        assert_eq!(lengths(&[], 1), None);
    }

    #[test]
    fn values_of_a_dictionary_are_measured_to_the_first_that_is_cut() {
        let dictionary = [&[2, 0, 0, 0][..], b"ab", &[0; 4], &[3, 0, 0, 0], b"abc"].concat();
        assert_eq!(longest_value(&dictionary), 3);
        assert_eq!(longest_value(&dictionary[..dictionary.len() - 1]), 2);
        assert_eq!(longest_value(&[255; 9]), 0);
    }
}
