//! Huffman tables (ITU-T T.81, annex C and F.2.2.3).

/// Codes with the values behind them are found with one look if they have up to so many bits together.
const FAST: u32 = 10;

/// What one code and the bits behind it say.
///
/// ```text
/// bits 31..16  the value, with its sign
///      15..8   the symbol: zeros before the value, its bits
///      6       set
///      4..0    how many bits the code and the value have
/// ```
#[derive(Clone, Copy)]
pub(crate) struct Symbol(u32);

/// Set in what is whole; without it in a table, the value does not fit and `bits` is of the code alone.
const WHOLE: u32 = 1 << 6;

impl Symbol {
    /// How many bits are passed; at most 31.
    #[inline(always)]
    pub(crate) fn bits(self) -> u32 {
        // As many as a shift of 64 bits looks at, of which the uppermost is never set.
        self.0 & 63
    }

    /// How many coefficients before this one are zero.
    #[inline(always)]
    pub(crate) fn zeros(self) -> usize {
        (self.0 >> 12 & 15) as usize
    }

    /// The coefficient, or the difference to the last one. Zero where the symbol has no value.
    #[inline(always)]
    pub(crate) fn value(self) -> i16 {
        (self.0 as i32 >> 16) as i16
    }

    /// Whether it ends a block, if its value is zero and it is one of AC.
    #[inline(always)]
    pub(crate) fn ends_block(self) -> bool {
        self.0 & 0xff00 == 0
    }
}

/// A Huffman table, for decoding.
pub(crate) struct Codes {
    /// For the next bits: a [`Symbol`]; 0 where the code is longer.
    fast: [u32; 1 << FAST],
    /// For each length: what is above all codes of it, at 16 bits.
    ends: [u32; 17],
    /// For each length: what to add to a code to have the place of its symbol.
    places: [i32; 17],
    symbols: Vec<u8>,
}

impl Codes {
    /// From the numbers of codes of 1 to 16 bits, and their symbols, of which none has a value of more
    /// than 11 bits. `None` where there are more codes than fit, or one has only ones.
    pub(crate) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        if symbols.iter().any(|&symbol| symbol & 15 > 11) {
            return None;
        }
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
                    fill(entries, length, symbol);
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

    /// Whether a table of AC says nothing but what is in a block of its own: without a value there is the end of the
    /// block, or a run of 16 zeros.
    pub(crate) fn is_of_one_block(&self) -> bool {
        let mut symbols = self.symbols.iter();
        symbols.all(|&symbol| symbol & 15 > 0 || matches!(symbol, 0 | 0xf0))
    }

    /// The symbol at the top of `bits`, of which at least 27 are the next ones.
    #[inline(always)]
    pub(crate) fn next(&self, bits: u64) -> Option<Symbol> {
        let entry = self.fast[(bits >> (64 - FAST)) as usize];
        if entry & WHOLE == 0 {
            return self.next_slowly(bits, entry);
        }
        Some(Symbol(entry))
    }

    /// The same, for what is not in the table as a whole.
    fn next_slowly(&self, bits: u64, entry: u32) -> Option<Symbol> {
        let code = match entry {
            0 => self.find_long((bits >> 48) as u32)?,
            code => code,
        };
        let (length, size) = (code & 31, code >> 8 & 15);
        let value = match size {
            0 => 0,
            size => extended((bits << length >> (64 - size)) as u32, size),
        };
        Some(Symbol(
            (value as u32) << 16 | (code & 0xff00) | WHOLE | (length + size),
        ))
    }

    /// The code at the beginning of 16 bits, where it is none of the short ones.
    fn find_long(&self, bits: u32) -> Option<u32> {
        let mut length = FAST + 1;
        while bits >= *self.ends.get(length as usize)? {
            length += 1;
        }
        let code = (bits >> (16 - length)) as i32;
        let place = usize::try_from(code + self.places[length as usize]).ok()?;
        let &symbol = self.symbols.get(place)?;
        Some(u32::from(symbol) << 8 | length)
    }
}

/// The entries that begin with a code of `length` bits.
fn fill(entries: &mut [u32], length: u32, symbol: u8) {
    let size = u32::from(symbol & 15);
    let code = u32::from(symbol) << 8 | length;
    // How many bits of an entry are behind the code and its value.
    let Some(behind) = (FAST - length).checked_sub(size) else {
        entries.fill(code);
        return;
    };
    for (nth, entry) in (0_u32..).zip(entries) {
        let value = match size {
            0 => 0,
            size => extended(nth >> behind, size),
        };
        *entry = (value as u32) << 16 | (code + size) | WHOLE;
    }
}

/// The number that `size` bits stand for: those that begin with a zero are negative (F.2.2.1, EXTEND).
fn extended(bits: u32, size: u32) -> i32 {
    let bits = bits as i32;
    if bits >> (size - 1) == 0 {
        bits - (1 << size) + 1
    } else {
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes 0, 10, 110, ... of 1 to 16 bits, each with a symbol of its own.
    fn comb() -> Codes {
        let symbols: Vec<u8> = (0..16).map(|nth| (nth << 4) | (nth % 12)).collect();
        Codes::new(&[1; 16], &symbols).unwrap()
    }

    #[test]
    fn codes_of_all_lengths_are_found_with_their_values() {
        let codes = comb();
        for length in 1..=16_u32 {
            let size = (length - 1) % 12;
            for raw in [0, 1, (1_u64 << size) - 1, 1 << size >> 1] {
                let raw = raw & ((1 << size) - 1);
                let code = (1_u64 << length) - 2;
                let bits = (code << size | raw) << (64 - length - size);
                // Whatever follows.
                for behind in [0, u64::MAX >> (length + size)] {
                    let symbol = codes.next(bits | behind).unwrap();
                    assert_eq!(symbol.bits(), length + size);
                    assert_eq!(symbol.zeros(), length as usize - 1);
                    let expected = match raw as i64 {
                        _ if size == 0 => 0,
                        raw if raw >> (size - 1) == 0 => raw - (1 << size) + 1,
                        raw => raw,
                    };
                    assert_eq!(i64::from(symbol.value()), expected, "{length} {raw}");
                    assert_eq!(symbol.ends_block(), length == 1);
                }
            }
        }
        assert!(codes.next(u64::MAX).is_none());
    }

    #[test]
    fn tables_that_are_none_are_refused() {
        let one_more = |length: usize, count| {
            let mut counts = [0; 16];
            counts[length - 1] = count;
            Codes::new(&counts, &vec![0; count.into()]).is_some()
        };
        assert!(one_more(1, 1) && one_more(2, 3) && one_more(8, 255));
        // One of only ones, more than fit, and none.
        assert!(!one_more(1, 2) && !one_more(2, 4) && !one_more(3, 200) && !one_more(1, 0));
        // Fewer and more symbols than codes, and a value of 12 bits.
        assert!(Codes::new(&[1; 16], &[0; 15]).is_none());
        assert!(Codes::new(&[1; 16], &[0; 17]).is_none());
        assert!(Codes::new(&[1; 16], &[12; 16]).is_none());
    }
}
