//! The free parts of a region: allocates first fit, and joins neighbours when they are freed.

use std::collections::BTreeMap;

/// The free parts of a region, by where they start.
#[derive(Debug)]
pub(super) struct Gaps(BTreeMap<usize, usize>);

impl Gaps {
    /// A region of `length` bytes, all of it free.
    pub(super) fn new(length: usize) -> Self {
        Self(BTreeMap::from([(0, length)]))
    }

    /// Takes `length` bytes from the first gap that is large enough, and returns their start.
    pub(super) fn take(&mut self, length: usize) -> Option<usize> {
        let (&start, &gap) = self.0.iter().find(|&(_, &gap)| gap >= length)?;
        self.0.remove(&start);
        if gap > length {
            self.0.insert(start + length, gap - length);
        }
        Some(start)
    }

    /// Gives back what [`Gaps::take`] took.
    pub(super) fn give(&mut self, mut start: usize, mut length: usize) {
        if let Some((&before, &gap)) = self.0.range(..start).next_back()
            && before + gap == start
        {
            self.0.remove(&before);
            start = before;
            length += gap;
        }
        if let Some(gap) = self.0.remove(&(start + length)) {
            length += gap;
        }
        self.0.insert(start, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_never_overlaps_and_all_comes_back_as_one() {
        let mut gaps = Gaps::new(1000);
        let mut taken: Vec<(usize, usize)> = Vec::new();
        let mut state = 7_u64;
        let mut refused = 0;
        for _ in 0..20_000 {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let number = (state >> 33) as usize;
            if number.is_multiple_of(3) && !taken.is_empty() {
                let (start, length) = taken.swap_remove(number / 3 % taken.len());
                gaps.give(start, length);
                continue;
            }
            let length = 1 + number / 3 % 200;
            match gaps.take(length) {
                None => refused += 1,
                Some(start) => {
                    assert!(start + length <= 1000);
                    for &(other, size) in &taken {
                        assert!(start + length <= other || other + size <= start);
                    }
                    taken.push((start, length));
                }
            }
        }
        assert!(refused > 100, "the region was never full");
        for (start, length) in taken {
            gaps.give(start, length);
        }
        assert_eq!(gaps.0, BTreeMap::from([(0, 1000)]));
    }
}
