//! Bits of a VP8L stream, the least significant first.

use super::super::damaged;
use crate::ImageError;

/// Reads bits; behind the end there are zeros, and `check` says that it was passed.
pub(super) struct Bits<'a> {
    rest: &'a [u8],
    /// Bits that were taken from `rest` and not yet read, the next one lowest.
    value: u64,
    /// How many of them there are.
    count: u32,
    /// Zeros among them that stand for bits behind the end.
    invented: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            value: 0,
            count: 0,
            invented: 0,
        }
    }

    /// Makes sure that at least 56 bits can be looked at.
    #[inline]
    pub(super) fn fill(&mut self) {
        if self.count >= 56 {
            return;
        }
        if let Some((bytes, _)) = self.rest.split_first_chunk::<8>() {
            self.value |= u64::from_le_bytes(*bytes) << self.count;
            let taken = (63 - self.count) / 8;
            self.rest = &self.rest[taken as usize..];
            self.count += taken * 8;
            return;
        }
        while self.count < 56 {
            let byte = match self.rest.split_first() {
                Some((&byte, rest)) => {
                    self.rest = rest;
                    byte
                }
                None => {
                    self.invented += 8;
                    0
                }
            };
            self.value |= u64::from(byte) << self.count;
            self.count += 8;
        }
    }

    /// The next bits, as many as there are.
    #[inline]
    pub(super) fn look(&self) -> u64 {
        self.value
    }

    /// Goes on by so many bits that were looked at; at most as many as `fill` promised.
    #[inline]
    pub(super) fn skip(&mut self, count: u32) {
        self.value >>= count;
        self.count = self.count.saturating_sub(count);
    }

    /// A number of at most 32 bits.
    #[inline]
    pub(super) fn number(&mut self, bits: u32) -> u32 {
        self.fill();
        let number = self.value & ((1 << bits) - 1);
        self.skip(bits);
        number as u32
    }

    /// One bit.
    pub(super) fn flag(&mut self) -> bool {
        self.number(1) == 1
    }

    /// An error if bits were read that are not there.
    #[inline]
    pub(super) fn check(&self) -> Result<(), ImageError> {
        if self.invented > self.count {
            return Err(damaged("the file is cut short"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Bits;

    #[test]
    fn all_bits_come_in_order_and_the_end_is_noticed() {
        let bytes: Vec<u8> = (0..40u8).map(|n| n.wrapping_mul(37)).collect();
        for width in 1..=20u32 {
            let mut bits = Bits::new(&bytes);
            let mut at = 0;
            while at + width <= 320 {
                let expected = (0..width).fold(0, |sum, nth| {
                    let bit = at + nth;
                    sum | u32::from(bytes[(bit / 8) as usize] >> (bit % 8) & 1) << nth
                });
                assert_eq!(bits.number(width), expected);
                assert!(bits.check().is_ok());
                at += width;
            }
            bits.number(width);
            assert_eq!(bits.check().is_err(), at + width > 320, "{width}");
        }
    }
}
