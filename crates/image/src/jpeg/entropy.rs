//! Walks through the entropy-coded data of a baseline JPEG, code by code, and keeps nothing.
//!
//! ```text
//! bits --DC code, its bits--> [--AC code, its bits--> ...] a block, 64 coefficients at most
//! blocks of a unit, units of a restart interval, its marker, ... the end marker
//! ```
//!
//! ITU-T T.81: canonical codes (annex C), blocks (F.2.2), restart intervals (E.2.4). It is stricter
//! than libjpeg, which pads and goes on with what is wrong here.

/// Codes of up to so many bits are found with one look.
const FAST: u32 = 10;

/// A Huffman table, for decoding.
pub(super) struct Codes {
    /// For the next bits: how many the code and the bits behind it are, in the upper byte, and the
    /// symbol; 0 where the code is longer.
    fast: [u16; 1 << FAST],
    /// For each length: what is above all codes of it, at 16 bits.
    ends: [u32; 17],
    /// For each length: what to add to a code to have the place of its symbol.
    places: [i32; 17],
    symbols: Vec<u8>,
}

impl Codes {
    /// From the numbers of codes of 1 to 16 bits, and their symbols. `None` where there are more
    /// codes than fit, or one has only ones.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut codes = Self {
            fast: [0; 1 << FAST],
            ends: [0; 17],
            places: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, &count) in (1_u32..).zip(counts) {
            codes.places[length as usize] = place as i32 - code as i32;
            for _ in 0..count {
                let &symbol = symbols.get(place)?;
                if length <= FAST {
                    let first = (code << (FAST - length)) as usize;
                    let entries = codes.fast.get_mut(first..first + (1 << (FAST - length)))?;
                    entries.fill((length as u16 + behind(symbol)) << 8 | u16::from(symbol));
                }
                code += 1;
                place += 1;
            }
            if code >= 1 << length {
                return None;
            }
            codes.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        (place == symbols.len() && place > 0).then_some(codes)
    }

    /// The code at the beginning of 16 bits, where it is none of the short ones: as in `fast`.
    #[cold]
    fn find_long(&self, bits: u32) -> Option<u16> {
        let mut length = FAST + 1;
        while bits >= *self.ends.get(length as usize)? {
            length += 1;
        }
        let code = (bits >> (16 - length)) as i32;
        let place = usize::try_from(code + self.places[length as usize]).ok()?;
        let &symbol = self.symbols.get(place)?;
        Some((length as u16 + behind(symbol)) << 8 | u16::from(symbol))
    }
}

/// How many bits of a value follow a symbol: those of a DC code are below 12.
fn behind(symbol: u8) -> u16 {
    u16::from(symbol & 15)
}

/// The bits of entropy-coded data. Behind their end come ones, which are counted.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits, the first at the top.
    bits: u64,
    /// How many there are, and how many of them at the end are not from the data.
    count: u32,
    padding: u32,
}

impl Bits<'_> {
    /// At least 32 bits.
    #[inline(always)]
    fn fill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some(next) = self.data.get(self.at..).and_then(|rest| rest.first_chunk()) {
            let word = u64::from_be_bytes(*next);
            // No byte of it is 0xFF: no byte of its complement is 0.
            let other = !word;
            let ones = other.wrapping_sub(0x0101_0101_0101_0101) & !other & 0x8080_8080_8080_8080;
            if ones == 0 {
                let bytes = (64 - self.count) / 8;
                let taken = word & (u64::MAX << (64 - 8 * bytes));
                self.bits |= taken >> self.count;
                self.count += 8 * bytes;
                self.at += bytes as usize;
                return;
            }
        }
        self.fill_slowly();
    }

    /// The same, where there are bytes of 0xFF or the end.
    fn fill_slowly(&mut self) {
        while self.count <= 56 {
            let byte = match (self.data.get(self.at), self.data.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 2;
                    0xff
                }
                // A marker, or the end of the file.
                (Some(0xff), _) | (None, _) => {
                    self.padding += 8;
                    0xff
                }
                (Some(&byte), _) => {
                    self.at += 1;
                    byte
                }
            };
            self.bits |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    fn skip(&mut self, bits: u32) {
        self.bits <<= bits;
        self.count -= bits;
    }

    /// Passes the next code and what is behind it; returns its symbol.
    #[inline(always)]
    fn symbol(&mut self, codes: &Codes) -> Option<u8> {
        self.fill();
        let found = match codes.fast[(self.bits >> (64 - FAST)) as usize] {
            0 => codes.find_long((self.bits >> 48) as u32)?,
            found => found,
        };
        self.skip(u32::from(found >> 8));
        Some(found as u8)
    }

    /// Ends an interval: less than a byte is left, and a marker follows, which is returned.
    fn marker(&mut self) -> Option<u8> {
        let left = self.count.checked_sub(self.padding)?;
        let &[begin, marker] = self.data.get(self.at..)?.first_chunk()?;
        if left >= 8 || begin != 0xff || marker == 0 {
            return None;
        }
        self.at += 2;
        (self.bits, self.count, self.padding) = (0, 0, 0);
        Some(marker)
    }
}

/// The tables of one block of a unit.
pub(super) struct BlockCodes<'a> {
    pub(super) dc: &'a Codes,
    pub(super) ac: &'a Codes,
}

/// Walks through `units` units of these blocks, with a restart marker after each `interval` of them
/// (0: none). Returns how many bytes they have, with the end marker; `None` if a code is none,
/// a block has too many coefficients, or markers are not where they belong.
pub(super) fn walk(
    data: &[u8],
    blocks: &[BlockCodes<'_>],
    units: u64,
    interval: u64,
) -> Option<usize> {
    const EOI: u8 = 0xd9;
    const RST0: u8 = 0xd0;
    let mut bits = Bits {
        data,
        at: 0,
        bits: 0,
        count: 0,
        padding: 0,
    };
    let mut restarts = 0_u8;
    for unit in 0..units {
        if interval > 0 && unit > 0 && unit.is_multiple_of(interval) {
            if bits.marker()? != RST0 + restarts {
                return None;
            }
            restarts = (restarts + 1) % 8;
        }
        for block in blocks {
            walk_block(&mut bits, block)?;
        }
        // Bits that are not there were used: the data ended early.
        if bits.padding > bits.count {
            return None;
        }
    }
    (bits.marker()? == EOI).then_some(bits.at)
}

fn walk_block(bits: &mut Bits<'_>, codes: &BlockCodes<'_>) -> Option<()> {
    bits.symbol(codes.dc)?;
    let mut next = 1_u8;
    while next < 64 {
        let symbol = bits.symbol(codes.ac)?;
        if symbol == 0 {
            return Some(());
        }
        next += (symbol >> 4) + 1;
    }
    (next == 64).then_some(())
}
