//! Prefix codes of a VP8L stream, and their groups of five.

use super::super::damaged;
use super::bits::Bits;
use crate::work::Stop;
use crate::{ImageError, ImageFormat};

/// The longest code.
const LONGEST: usize = 15;
/// Codes up to this length are found at once, longer ones in a second table.
const ROOT: u32 = 8;

/// Bytes that the tables of all groups may take together. libwebp's encoder makes 2,600
/// groups at most, of hardly more than 7 KB each.
const MOST_TABLES: u64 = 24 << 20;

/// What one group takes at most: libwebp's bounds on tables of these sizes, in bytes.
const LARGEST_GROUP: u64 = 4 * (2704 + 3 * 630 + 410);

/// Bytes of tables that a byte of codes may call for at most (1,100 measured: a code of all
/// 2,328 symbols takes 11 bytes).
const TABLES_PER_BYTE: u64 = 2_000;

/// Bytes that the tables of so many packed bytes take at most.
pub(super) fn most_tables(packed: usize) -> u64 {
    MOST_TABLES.min(packed as u64 * TABLES_PER_BYTE) + LARGEST_GROUP
}

/// The tables of all codes, one behind the other.
///
/// An entry is a symbol (low 16 bits) and the bits to go on by (next 8); or, in a first
/// table, where a second one begins and how many bits choose in it, with [`Self::SECOND`].
pub(super) struct Tables {
    entries: Vec<u32>,
    /// Room for the symbols of a code in their order.
    sorted: Vec<u16>,
}

/// Where the table of a code begins, and how many bits choose in it.
#[derive(Clone, Copy, Default)]
pub(super) struct Code {
    start: u32,
    bits: u32,
}

/// The codes for green, red, blue, alpha and distance.
pub(super) type Group = [Code; 5];

/// Bytes for the groups of so many blocks of the picture: a list that doubles as it grows,
/// and what says which groups are used.
pub(super) fn most_groups(blocks: u64) -> u64 {
    blocks.min(1 << 16) * (2 * size_of::<Group>() as u64 + 3)
}

impl Tables {
    const SECOND: u32 = 1 << 31;

    pub(super) fn new() -> Self {
        Self {
            entries: Vec::new(),
            sorted: Vec::new(),
        }
    }

    /// Reads one symbol; at most 15 bits, which must be there to be looked at.
    #[inline]
    pub(super) fn symbol(&self, code: Code, bits: &mut Bits<'_>) -> u32 {
        let look = bits.look() as u32;
        let mut entry = self.entry(code.start + (look & ((1 << code.bits) - 1)));
        if entry & Self::SECOND != 0 {
            let choice = (look >> ROOT) & ((1 << (entry >> 24 & 15)) - 1);
            bits.skip(ROOT);
            entry = self.entry(code.start + (entry & 0xffff) + choice);
        }
        bits.skip(entry >> 16 & 0xff);
        entry & 0xffff
    }

    #[inline]
    fn entry(&self, at: u32) -> u32 {
        self.entries.get(at as usize).copied().unwrap_or(0)
    }

    /// Adds the table of a code, by the lengths of its symbols; none if they are no code.
    fn add(&mut self, lengths: &[u8]) -> Option<Code> {
        let counts = counts(lengths)?;
        let start = self.entries.len();
        let longest = counts.iter().rposition(|&count| count > 0)?;
        let total: u32 = counts.iter().sum();
        if total == 1 {
            // A code of one symbol takes no bits.
            let symbol = lengths.iter().position(|&length| length > 0)? as u32;
            self.entries.push(symbol);
            return Some(Code {
                start: u32::try_from(start).ok()?,
                bits: 0,
            });
        }
        let root = ROOT.min(longest as u32);
        let size = 1usize << root;
        self.entries.resize(start + size, 0);
        let mut next = first_codes(&counts);
        // Of the second tables: the one that is being filled, and its bits.
        let mut second: Option<(u32, usize, u32)> = None;
        let mut left = counts;
        let mut sorted = sorted(lengths, &counts, &mut self.sorted);
        for length in 1..=LONGEST {
            let (these, longer) = sorted.split_at(counts[length] as usize);
            sorted = longer;
            for &symbol in these {
                let code = next[length];
                next[length] += 1;
                // Codes are packed from their first bit on.
                let reversed = code.reverse_bits() >> (32 - length);
                let entry = u32::from(symbol) | (length as u32) << 16;
                if length as u32 <= root {
                    let step = 1usize << length;
                    for at in (reversed as usize..size).step_by(step) {
                        *self.entries.get_mut(start + at)? = entry;
                    }
                    continue;
                }
                let prefix = reversed & ((1 << root) - 1);
                let (at, bits) = match second {
                    Some((of, at, bits)) if of == prefix => (at, bits),
                    _ => {
                        let bits = second_bits(&left, length, root);
                        let at = self.entries.len();
                        self.entries.resize(at + (1 << bits), 0);
                        let offset = u32::try_from(at - start).ok()?;
                        *self.entries.get_mut(start + prefix as usize)? =
                            Self::SECOND | bits << 24 | offset;
                        second = Some((prefix, at, bits));
                        (at, bits)
                    }
                };
                let entry = u32::from(symbol) | (length as u32 - root) << 16;
                let step = 1usize << (length as u32 - root);
                for nth in ((reversed >> root) as usize..1 << bits).step_by(step) {
                    *self.entries.get_mut(at + nth)? = entry;
                }
                left[length] -= 1;
            }
        }
        Some(Code {
            start: u32::try_from(start).ok()?,
            bits: root,
        })
    }
}

/// How many symbols have a code of each length; none if they do not fill the space of codes,
/// unless there is one alone.
fn counts(lengths: &[u8]) -> Option<[u32; LONGEST + 1]> {
    let mut counts = [0u32; LONGEST + 1];
    for &length in lengths.iter().filter(|&&length| length > 0) {
        *counts.get_mut(usize::from(length))? += 1;
    }
    let total: u32 = counts.iter().sum();
    let space: u32 = (1..=LONGEST)
        .map(|length| counts[length] << (LONGEST - length))
        .sum();
    (total == 1 || space == 1 << LONGEST).then_some(counts)
}

/// The symbols that have codes, by the lengths of those and then by number.
fn sorted<'a>(lengths: &[u8], counts: &[u32; LONGEST + 1], room: &'a mut Vec<u16>) -> &'a [u16] {
    let mut next = [0; LONGEST + 1];
    let mut total = 0;
    for (next, &count) in next.iter_mut().zip(counts) {
        *next = total;
        total += count as usize;
    }
    room.clear();
    room.resize(total, 0);
    for (symbol, &length) in lengths.iter().enumerate() {
        if length > 0 {
            let next = &mut next[usize::from(length)];
            room[*next] = symbol as u16;
            *next += 1;
        }
    }
    room
}

/// The first code of each length.
fn first_codes(counts: &[u32; LONGEST + 1]) -> [u32; LONGEST + 2] {
    let mut next = [0; LONGEST + 2];
    for length in 1..=LONGEST {
        next[length + 1] = (next[length] + counts[length]) << 1;
    }
    next
}

/// Bits of a second table that begins with a code of this length: as many as the codes that
/// follow fill it with.
fn second_bits(left: &[u32; LONGEST + 1], length: usize, root: u32) -> u32 {
    let mut bits = length as u32 - root;
    let mut free = 1u32 << bits;
    for &count in &left[length..LONGEST] {
        match free.checked_sub(count) {
            Some(rest @ 1..) => free = rest << 1,
            _ => break,
        }
        bits += 1;
    }
    bits
}

/// How many symbols each of the five codes of a group has, without those of a cache.
const SYMBOLS: [usize; 5] = [256 + 24, 256, 256, 256, 40];

/// Reads groups; `used` says which of them the picture refers to, and only those come back.
/// Others are read and checked, and not built.
pub(super) fn read_groups(
    bits: &mut Bits<'_>,
    cache_size: usize,
    used: &[bool],
    most_bytes: u64,
    stop: &Stop<'_>,
) -> Result<(Tables, Vec<Group>), ImageError> {
    // All at once, so that it need not grow: what is not written takes no memory.
    let mut tables = Tables::new();
    tables.entries.reserve_exact(most_bytes as usize / 4);
    let mut groups = Vec::new();
    let mut lengths = vec![0; SYMBOLS[0] + cache_size];
    for &used in used {
        let mut group = Group::default();
        for (nth, (code, symbols)) in group.iter_mut().zip(SYMBOLS).enumerate() {
            let symbols = if nth == 0 {
                symbols + cache_size
            } else {
                symbols
            };
            let lengths = &mut lengths[..symbols];
            read_lengths(bits, lengths)?;
            stop.work(symbols as u64 * 8)?;
            let broken = || damaged("its prefix codes are broken");
            if used {
                *code = tables.add(lengths).ok_or_else(broken)?;
            } else {
                counts(lengths).ok_or_else(broken)?;
            }
        }
        if used {
            groups.push(group);
        }
        bits.check()?;
        let bytes = tables.entries.len() as u64 * 4 + LARGEST_GROUP;
        if bytes > most_bytes {
            return Err(ImageError::TooComplex {
                format: ImageFormat::WebP,
                reason: format!("its prefix codes need more than {most_bytes} bytes"),
            });
        }
    }
    Ok((tables, groups))
}

/// The lengths of a code's symbols.
fn read_lengths(bits: &mut Bits<'_>, lengths: &mut [u8]) -> Result<(), ImageError> {
    lengths.fill(0);
    if bits.flag() {
        let two = bits.flag();
        let first_bits = if bits.flag() { 8 } else { 1 };
        let mut put = |symbol: u32| {
            if let Some(length) = lengths.get_mut(symbol as usize) {
                *length = 1;
            }
        };
        put(bits.number(first_bits));
        if two {
            put(bits.number(8));
        }
        return Ok(());
    }
    const ORDER: [usize; 19] = [
        17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
    ];
    let broken = || damaged("its prefix codes are broken");
    let mut own = [0; 19];
    let count = 4 + bits.number(4) as usize;
    for &at in ORDER.get(..count).ok_or_else(broken)? {
        own[at] = bits.number(3) as u8;
    }
    let mut table = Tables::new();
    let code = table.add(&own).ok_or_else(broken)?;
    let mut left = lengths.len();
    if bits.flag() {
        let width = 2 + 2 * bits.number(3);
        let most = 2 + bits.number(width) as usize;
        if most > lengths.len() {
            return Err(broken());
        }
        left = most;
    }
    let mut at = 0;
    let mut previous = 8;
    while at < lengths.len() && left > 0 {
        left -= 1;
        bits.fill();
        let (length, repeat) = match table.symbol(code, bits) {
            length @ 0..16 => (length as u8, 1),
            16 => (previous, 3 + bits.number(2) as usize),
            17 => (0, 3 + bits.number(3) as usize),
            _ => (0, 11 + bits.number(7) as usize),
        };
        if length > 0 {
            previous = length;
        }
        let run = lengths.get_mut(at..at + repeat).ok_or_else(broken)?;
        run.fill(length);
        at += repeat;
    }
    bits.check()
}
