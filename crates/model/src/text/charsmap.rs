//! sentencepiece's table of characters: which bytes are replaced by which others.
//!
//! The crate `tokenizers` has such a table too, but looks up whole graphemes by their shortest
//! entry. sentencepiece takes the longest entry at each place.
//!
//! The format is that of a compiled model: the length of a trie in bytes, the trie (a
//! double array of darts-clone, one `u32` per unit), and the replacements, each ended by
//! a zero byte.

/// A table of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CharsMap {
    trie: Vec<u32>,
    replacements: Vec<u8>,
}

impl CharsMap {
    /// Parses a table; `None` if it is not one.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (trie, replacements) = rest.split_at_checked(length)?;
        let (units, odd) = trie.as_chunks();
        let trie: Vec<u32> = units.iter().map(|&unit| u32::from_le_bytes(unit)).collect();
        (odd.is_empty() && !trie.is_empty()).then(|| Self {
            trie,
            replacements: replacements.to_owned(),
        })
    }

    /// The text with the longest entry replaced at each place.
    pub fn apply(&self, text: &str) -> String {
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some(&first) = rest.first() {
            let (length, replacement) = match self.longest(rest) {
                Some((length, at)) => (length, self.replacement(at)),
                None => {
                    // A whole character.
                    let length = match first {
                        0x00..0x80 => 1,
                        0x80..0xe0 => 2,
                        0xe0..0xf0 => 3,
                        _ => 4,
                    };
                    let length = length.min(rest.len());
                    (length, &rest[..length])
                }
            };
            out.extend_from_slice(replacement);
            rest = &rest[length..];
        }
        String::from_utf8(out)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// The length of the longest entry at the start of `bytes`, and the offset of its
    /// replacement.
    fn longest(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut found = None;
        let mut at = offset(*self.trie.first()?);
        for (index, &byte) in bytes.iter().enumerate() {
            at ^= usize::from(byte);
            let Some(&unit) = self.trie.get(at) else {
                break;
            };
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            at ^= offset(unit);
            if unit >> 8 & 1 == 1
                && let Some(&leaf) = self.trie.get(at)
            {
                found = Some((index + 1, (leaf & !(1 << 31)) as usize));
            }
        }
        found
    }

    fn replacement(&self, at: usize) -> &[u8] {
        let rest = self.replacements.get(at..).unwrap_or_default();
        rest.split(|&byte| byte == 0).next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "a" becomes "x", "ab" becomes "y", by a trie written by hand: unit 0 is the root.
    #[test]
    fn the_longest_entry_is_taken() {
        let mut trie = vec![0_u32; 512];
        let (root, a, ab) = (256_usize, 384_usize, 448_usize);
        trie[0] = (root as u32) << 10;
        let at = root ^ usize::from(b'a');
        trie[at] = ((at ^ a) as u32) << 10 | 1 << 8 | u32::from(b'a');
        trie[a] = 1 << 31;
        let next = a ^ usize::from(b'b');
        trie[next] = ((next ^ ab) as u32) << 10 | 1 << 8 | u32::from(b'b');
        trie[ab] = 1 << 31 | 2;
        let mut bytes = (trie.len() as u32 * 4).to_le_bytes().to_vec();
        bytes.extend(trie.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend(b"x\0y\0");
        let map = CharsMap::read(&bytes).unwrap();
        assert_eq!(map.apply("aababc\u{e9}猫🐱a"), "xyyc\u{e9}猫🐱x");
        assert_eq!(map.apply(""), "");
        assert_eq!(CharsMap::read(&bytes[..100]), None);
        assert_eq!(CharsMap::read(b""), None);
    }
}
