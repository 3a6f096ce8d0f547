//! The best of many, in little memory.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A row and how near it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The cosine.
    pub score: f32,
    /// The row's number in the index.
    pub row: u64,
}

impl Eq for Found {}

/// The better one is the greater: by score, and of equals the first row.
impl Ord for Found {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score
            .total_cmp(&other.score)
            .then(other.row.cmp(&self.row))
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The best `most` of all that were offered.
pub(super) struct Top {
    most: usize,
    /// The worst of them on top.
    heap: BinaryHeap<Reverse<Found>>,
}

impl Top {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            heap: BinaryHeap::new(),
        }
    }

    pub(super) fn offer(&mut self, found: Found) {
        // What is no number is near to nothing.
        if found.score.is_nan() {
            return;
        }
        if self.heap.len() < self.most {
            self.heap.push(Reverse(found));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && found > worst.0
        {
            *worst = Reverse(found);
        }
    }

    pub(super) fn take(&mut self, other: Self) {
        for Reverse(found) in other.heap {
            self.offer(found);
        }
    }

    /// Best first.
    pub(super) fn sorted(self) -> Vec<Found> {
        let mut all: Vec<Found> = self.heap.into_iter().map(|Reverse(found)| found).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_those_of_a_sort() {
        let mut random = fastrand::Rng::with_seed(7);
        for most in [0, 1, 3, 100] {
            // Few different scores, so that many are equal.
            let mut all: Vec<Found> = (0..50)
                .map(|row| Found {
                    score: random.i8(-3..3).into(),
                    row,
                })
                .collect();
            random.shuffle(&mut all);
            let (mut one, mut other) = (Top::new(most), Top::new(most));
            for (index, found) in all.iter().enumerate() {
                if index % 2 == 0 { &mut one } else { &mut other }.offer(*found);
            }
            one.take(other);
            all.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
            all.truncate(most);
            assert_eq!(one.sorted(), all);
        }
    }

    #[test]
    fn what_is_no_number_is_not_found() {
        let mut top = Top::new(2);
        for (row, score) in [f32::NAN, 0.5, -f32::NAN, 0.7].into_iter().enumerate() {
            let row = row as u64;
            top.offer(Found { score, row });
        }
        let found: Vec<u64> = top.sorted().iter().map(|found| found.row).collect();
        assert_eq!(found, [3, 1]);
    }
}
