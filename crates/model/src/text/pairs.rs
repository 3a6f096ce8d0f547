//! Which characters can stand side by side in a token, and so be merged.

use std::collections::HashSet;

/// Pairs of characters.
pub(super) struct Pairs {
    /// Those of ASCII and "▁", which are nearly all that is asked for: a bit for the right one, for each left one.
    near: Box<[[u64; 3]; NEAR]>,
    far: HashSet<(char, char)>,
}

/// ASCII and "▁".
const NEAR: usize = 129;

/// Where a character stands among those.
fn near(character: char) -> Option<usize> {
    match character {
        '▁' => Some(NEAR - 1),
        _ if character.is_ascii() => Some(character as usize),
        _ => None,
    }
}

impl Default for Pairs {
    fn default() -> Self {
        Self {
            near: Box::new([[0; 3]; NEAR]),
            far: HashSet::new(),
        }
    }
}

impl Pairs {
    /// Those of adjacent characters in these tokens; none if bytes are merged, because adjacent bytes are not
    /// adjacent characters.
    pub(super) fn of<'a>(tokens: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut pairs = Self::default();
        for token in tokens {
            if token.len() > "<0x00>".len() && token.contains("<0x") {
                return None;
            }
            pairs.add(token);
        }
        Some(pairs)
    }

    /// Adds those of a token, in whatever form it is looked up.
    pub(super) fn add(&mut self, token: &str) {
        let lower = || token.chars().flat_map(char::to_lowercase);
        self.add_adjacent(token.chars());
        // There are hundreds of thousands, and most have but one form.
        if !token.chars().eq(lower()) {
            self.add_adjacent(lower());
        }
        if token.contains(' ') {
            self.add_adjacent(lower().map(normalized_space));
        }
    }

    fn add_adjacent(&mut self, characters: impl Iterator<Item = char>) {
        let mut left = None;
        for right in characters {
            if let Some(left) = left {
                match (near(left), near(right)) {
                    (Some(left), Some(right)) => self.near[left][right / 64] |= 1 << (right % 64),
                    _ => _ = self.far.insert((left, right)),
                }
            }
            left = Some(right);
        }
    }

    /// Whether the two stand side by side in some token.
    pub(super) fn has(&self, left: char, right: char) -> bool {
        match (near(left), near(right)) {
            (Some(left), Some(right)) => self.near[left][right / 64] >> (right % 64) & 1 == 1,
            _ => self.far.contains(&(left, right)),
        }
    }
}

/// How the supported tokenizers write a space.
pub(super) fn normalized_space(character: char) -> char {
    if character == ' ' { '▁' } else { character }
}
