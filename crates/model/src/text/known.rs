//! Words whose ids are known.
//!
//! Each has one place, by its hash, and whoever comes next takes it. So it never grows, nobody waits for
//! anybody, and words that come once do not keep out those that come often.

use std::sync::{Mutex, TryLockError};

/// Places for words; with a line of the processor's cache for each, a mebibyte.
const PLACES: usize = 1 << 14;

/// The longest word that is kept, in bytes, and of how many ids: together they fill the line.
const LONGEST: usize = 30;
const MOST_IDS: usize = 6;

pub(super) struct Known(Box<[Place]>);

#[repr(align(64))]
#[derive(Default)]
struct Place(Mutex<Word>);

#[derive(Clone, Copy, Default)]
struct Word {
    ids: [u32; MOST_IDS],
    text: [u8; LONGEST],
    length: u8,
    count: u8,
}

impl Word {
    fn new(text: &str, own: &[u32]) -> Option<Self> {
        let mut word = Self {
            length: u8::try_from(text.len()).ok()?,
            count: u8::try_from(own.len()).ok()?,
            ..Self::default()
        };
        word.text
            .get_mut(..text.len())?
            .copy_from_slice(text.as_bytes());
        word.ids.get_mut(..own.len())?.copy_from_slice(own);
        Some(word)
    }

    /// Its ids; none if it is another.
    fn of(&self, text: &str) -> Option<&[u32]> {
        let own = &self.text[..usize::from(self.length)];
        // No word is empty, as the places are at first.
        (own == text.as_bytes() && !own.is_empty()).then(|| &self.ids[..usize::from(self.count)])
    }
}

impl Known {
    pub(super) fn new() -> Self {
        Self((0..PLACES).map(|_| Place::default()).collect())
    }

    /// Adds the ids of a word, if they are known.
    pub(super) fn add(&self, word: &str, ids: &mut Vec<u32>) -> bool {
        let Some(place) = self.place(word) else {
            return false;
        };
        let known = match place.0.try_lock() {
            Ok(known) => *known,
            // Only bytes are copied under it, so nothing is ever half of a word.
            Err(TryLockError::Poisoned(known)) => *known.into_inner(),
            // Finding it anew takes less than being put to sleep.
            Err(TryLockError::WouldBlock) => return false,
        };
        match known.of(word) {
            Some(own) => {
                ids.extend_from_slice(own);
                true
            }
            None => false,
        }
    }

    /// Keeps the ids of a word, if it is a short one.
    pub(super) fn keep(&self, word: &str, own: &[u32]) {
        if let (Some(place), Some(word)) = (self.place(word), Word::new(word, own))
            && let Ok(mut known) = place.0.try_lock()
        {
            *known = word;
        }
    }

    fn place(&self, word: &str) -> Option<&Place> {
        if word.len() > LONGEST {
            return None;
        }
        // FNV-1a, whose lower bits are the better ones for short words. Who finds words of one place only makes them
        // slower, at most as slow as without this.
        let hash = word.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        self.0.get(hash as usize % PLACES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_known_by_all_of_its_bytes() {
        assert_eq!(size_of::<Place>(), 64);
        let known = Known::new();
        let ids = |word: &str| {
            let mut ids = vec![7];
            let is_known = known.add(word, &mut ids);
            assert_eq!(is_known, ids.len() > 1 || word == "nothing", "{word}");
            ids.split_off(1)
        };
        assert!(ids("cat").is_empty());
        known.keep("cat", &[1, 2]);
        known.keep("nothing", &[]);
        known.keep(&"a".repeat(LONGEST), &[3; MOST_IDS]);
        assert_eq!(ids("cat"), [1, 2]);
        assert_eq!(ids(&"a".repeat(LONGEST)), [3; MOST_IDS]);
        // Longer than a place is.
        known.keep(&"b".repeat(LONGEST + 1), &[1]);
        known.keep("many", &[1; MOST_IDS + 1]);
        for other in [
            "ca",
            "cats",
            "",
            "many",
            &"b".repeat(LONGEST + 1),
            &"b".repeat(LONGEST),
        ] {
            assert!(ids(other).is_empty(), "{other}");
        }
    }

    /// More words than there are places: each is what it was or unknown, never another.
    #[test]
    fn words_of_one_place_are_not_taken_for_each_other() {
        let known = Known::new();
        let count = 3 * PLACES as u32;
        (0..count).for_each(|id| known.keep(&format!("w{id}"), &[id]));
        let mut kept = 0;
        for id in 0..count {
            let mut ids = Vec::new();
            if known.add(&format!("w{id}"), &mut ids) {
                assert_eq!(ids, [id]);
                kept += 1;
            }
        }
        assert!((PLACES / 2..=PLACES).contains(&kept), "{kept}");
    }
}
