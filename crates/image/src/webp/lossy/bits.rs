//! The boolean decoder (RFC 6386, section 7): bits, each with its own probability, out of bytes.

/// Bits of a partition, from front to back.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    rest: &'a [u8],
    /// What was read and not used up yet, its next eight bits from `bits` on.
    value: u64,
    /// Bits of `value` below the eight that are looked at; below 0 more are needed.
    bits: i32,
    /// The range less one, from 127 to 254.
    range: u32,
    /// Whether it was read beyond the last byte. Zeros are read there.
    ended: bool,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            value: 0,
            bits: -8,
            range: 254,
            ended: false,
        }
    }

    /// Whether more was asked for than there is, as libwebp notices it.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    #[inline]
    fn load(&mut self) {
        if let Some(word) = self.rest.first_chunk() {
            self.value = self.value << 56 | u64::from_be_bytes(*word) >> 8;
            self.bits += 56;
            self.rest = &self.rest[7..];
        } else {
            self.load_last();
        }
    }

    #[cold]
    fn load_last(&mut self) {
        let byte = self.rest.split_first();
        if byte.is_none() && self.ended {
            // Nothing that is read from here on is used.
            self.bits = 0;
            return;
        }
        self.ended = byte.is_none();
        let (byte, rest) = byte.unwrap_or((&0, &[]));
        self.rest = rest;
        self.value = self.value << 8 | u64::from(*byte);
        self.bits += 8;
    }

    /// A bit that is 0 in `probability` of 256 cases.
    #[inline(always)]
    pub(super) fn get(&mut self, probability: u8) -> bool {
        if self.bits < 0 {
            self.load();
        }
        let split = (self.range * u32::from(probability)) >> 8;
        let bit = (self.value >> self.bits) as u32 > split;
        let range = if bit {
            self.value -= u64::from(split + 1) << self.bits;
            self.range - split
        } else {
            split + 1
        };
        let shift = range.leading_zeros() - 24;
        self.bits -= shift as i32;
        self.range = (range << shift) - 1;
        bit
    }

    /// `value`, or `-value` if the next bit says so, without a branch: which it is cannot be foretold. It
    /// must not be the first bit of a partition: it is wrong for the initial range of 254.
    #[inline(always)]
    pub(super) fn signed(&mut self, value: i32) -> i32 {
        if self.bits < 0 {
            self.load();
        }
        let split = self.range >> 1;
        // All bits if there is more than `split`. Where a first byte is larger than any encoder writes, it may
        // be so much more that it looks like less, in libwebp as here.
        let next = (self.value >> self.bits) as u32;
        let mask = ((split.wrapping_sub(next) as i32) >> 31) as u32;
        self.value -= u64::from((split + 1) & mask) << self.bits;
        self.range = self.range.wrapping_add(mask) | 1;
        self.bits -= 1;
        (value ^ mask as i32).wrapping_sub(mask as i32)
    }

    /// A bit that is as likely 0 as 1.
    pub(super) fn flag(&mut self) -> bool {
        self.get(128)
    }

    /// A number of so many bits, the highest first.
    pub(super) fn number(&mut self, bits: u32) -> u8 {
        (0..bits).fold(0, |value, _| value << 1 | u8::from(self.flag()))
    }

    /// A number of so many bits, then its sign.
    pub(super) fn signed_number(&mut self, bits: u32) -> i32 {
        let value = i32::from(self.number(bits));
        if self.flag() { -value } else { value }
    }

    /// A number with its sign, if it is there.
    pub(super) fn optional(&mut self, bits: u32) -> i32 {
        if self.flag() {
            self.signed_number(bits)
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Bits;

    /// The boolean encoder of RFC 6386, section 7.3, to read back what it wrote.
    #[derive(Default)]
    struct Encoder {
        bytes: Vec<u8>,
        range: u32,
        bottom: u32,
        count: i32,
    }

    impl Encoder {
        fn new() -> Self {
            Self {
                range: 255,
                count: 24,
                ..Self::default()
            }
        }

        fn carry(&mut self) {
            for byte in self.bytes.iter_mut().rev() {
                *byte = byte.wrapping_add(1);
                if *byte != 0 {
                    break;
                }
            }
        }

        fn put(&mut self, bit: bool, probability: u8) {
            let split = 1 + (((self.range - 1) * u32::from(probability)) >> 8);
            if bit {
                let (bottom, carry) = self.bottom.overflowing_add(split);
                self.bottom = bottom;
                self.range -= split;
                if carry {
                    self.carry();
                }
            } else {
                self.range = split;
            }
            while self.range < 128 {
                self.range <<= 1;
                if self.bottom & 1 << 31 != 0 {
                    self.carry();
                }
                self.bottom <<= 1;
                self.count -= 1;
                if self.count == 0 {
                    self.bytes.push((self.bottom >> 24) as u8);
                    self.bottom &= (1 << 24) - 1;
                    self.count = 8;
                }
            }
        }
    }

    #[test]
    fn bits_come_out_as_they_were_put_in() {
        let mut random = fastrand::Rng::with_seed(1);
        let put: Vec<(bool, u8)> = (0..100_000)
            .map(|nth| match nth % 7 {
                // A sign, which never comes first.
                3 => (random.bool(), 128),
                _ => {
                    let probability = random.u8(1..);
                    (random.u8(..) >= probability, probability)
                }
            })
            .collect();
        let mut encoder = Encoder::new();
        for &(bit, probability) in &put {
            encoder.put(bit, probability);
        }
        for _ in 0..32 {
            encoder.put(false, 128);
        }
        let mut bits = Bits::new(&encoder.bytes);
        for (nth, &(bit, probability)) in put.iter().enumerate() {
            if nth % 7 == 3 {
                assert_eq!(bits.signed(5), if bit { -5 } else { 5 }, "{nth}");
            } else {
                assert_eq!(bits.get(probability), bit, "{nth}");
            }
        }
        assert!(!bits.ended());
    }

    #[test]
    fn zeros_are_behind_the_end_and_it_is_said() {
        let mut bits = Bits::new(&[]);
        assert!(!bits.flag() && bits.ended());
        let mut bits = Bits::new(&[0x55, 0xff, 3]);
        for _ in 0..1000 {
            bits.get(3);
        }
        assert!(bits.ended());
    }
}
