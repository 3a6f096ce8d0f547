//! The bits of entropy-coded data (ITU-T T.81, F.2.2.5): bytes of 0xFF are followed by a zero, or begin a marker.

use crate::codes::{Codes, Symbol};

/// The bits of a scan. Behind their end come ones, which are counted.
pub(crate) struct Bits<'a> {
    /// What has not been taken up.
    rest: &'a [u8],
    /// The next bits, the first at the top; below the last of them zeros, or bits that are read again.
    bits: u64,
    /// How many there are, and how many of them at the end are not from the data.
    count: u32,
    padding: u32,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self {
            rest: data,
            bits: 0,
            count: 0,
            padding: 0,
        }
    }

    /// Whether bits were used that are not there: the data ended early.
    #[inline(always)]
    pub(crate) fn ran_out(&self) -> bool {
        self.padding > self.count
    }

    /// Passes the next code and the value behind it. `None` if no code begins so. Two can be taken for each
    /// [`Bits::fill`].
    #[inline(always)]
    pub(crate) fn take(&mut self, codes: &Codes) -> Option<Symbol> {
        let symbol = codes.next(self.bits)?;
        self.bits <<= symbol.bits();
        self.count -= symbol.bits();
        Some(symbol)
    }

    /// The next `count` bits, at most 16.
    #[inline(always)]
    pub(crate) fn get(&mut self, count: u32) -> u32 {
        if self.count < count {
            self.fill();
        }
        // In two steps, as `count` may be 0.
        let bits = (self.bits >> 1 >> (63 - count)) as u32;
        self.bits <<= count;
        self.count -= count;
        bits
    }

    /// At least 56 bits, which is more than two codes and their values have.
    #[inline(always)]
    pub(crate) fn fill(&mut self) {
        if let Some(next) = self.rest.first_chunk() {
            let word = u64::from_be_bytes(*next);
            // No byte of it is 0xFF: no byte of its complement is 0.
            let other = !word;
            let ones = other.wrapping_sub(0x0101_0101_0101_0101) & !other & 0x8080_8080_8080_8080;
            if ones == 0 && self.count < 64 {
                // Bits that do not fit are put there again when they are read. Done whether any are needed
                // or not, as that costs less than to ask.
                let bytes = (63 - self.count) / 8;
                self.bits |= word >> self.count;
                self.count += 8 * bytes;
                self.rest = &self.rest[bytes as usize..];
                return;
            }
        }
        self.fill_slowly();
    }

    /// The same, where there are bytes of 0xFF or the end.
    #[inline(never)]
    fn fill_slowly(&mut self) {
        while self.count <= 56 {
            let byte = match *self.rest {
                [0xff, 0, ref rest @ ..] => {
                    self.rest = rest;
                    0xff
                }
                // A marker, or the end of the file.
                [0xff, ..] | [] => {
                    self.padding += 8;
                    0xff
                }
                [byte, ref rest @ ..] => {
                    self.rest = rest;
                    byte
                }
            };
            self.bits |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// Ends an interval: less than a byte is left, and a marker follows, which is returned with all behind
    /// it.
    pub(crate) fn marker(&mut self) -> Option<(u8, &'a [u8])> {
        let left = self.count.checked_sub(self.padding)?;
        match *self.rest {
            [0xff, marker, ref rest @ ..] if marker != 0 && left < 8 => {
                (self.bits, self.count, self.padding) = (0, 0, 0);
                self.rest = rest;
                Some((marker, rest))
            }
            _ => None,
        }
    }
}
