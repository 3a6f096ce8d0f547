//! The parts of a batch that are computed one after the other, each padded to a size of its own.
//!
//! A tower of one input size computes a batch as a whole. Where pictures are of variable
//! resolution, a batch is formed by the patches of its pictures, and padding it to the largest of
//! them could multiply them. So pictures that are padded to the same number of patches make a
//! part, and smaller ones are in it only where rows would be padding otherwise.

use crate::directory::BatchSize;

/// A part of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// What it is padded to.
    pub(super) size: BatchSize,
    /// Its items, by their numbers in the batch, in the order of its rows.
    pub(super) items: Vec<usize>,
}

impl Part {
    /// All of a batch of `rows` rows, as they come.
    pub(super) fn whole(size: BatchSize, rows: usize) -> Self {
        Self {
            size,
            items: (0..rows).collect(),
        }
    }
}

/// The parts of a batch of `rows` rows for a tower with these sizes. `patches` has the number of
/// patches of each row if pictures are of variable resolution. `None` if a row, or the batch, is
/// larger than every size.
pub(super) fn parts(
    sizes: &[BatchSize],
    rows: usize,
    patches: Option<&[usize]>,
) -> Option<Vec<Part>> {
    let Some(patches) = patches else {
        let fits = sizes.iter().filter(|size| size.rows >= rows);
        let size = fits.min_by_key(|size| size.rows)?;
        return Some(vec![Part::whole(*size, rows)]);
    };
    let padded = |patches: usize| {
        let buckets = sizes.iter().filter_map(|size| size.patches);
        buckets.filter(|&bucket| bucket >= patches).min()
    };
    let mut waiting: Vec<(usize, usize)> = patches
        .iter()
        .enumerate()
        .map(|(item, &patches)| Some((padded(patches)?, item)))
        .collect::<Option<_>>()?;
    // The largest first, and as they come among those of one size.
    waiting.sort_by_key(|&(padded, item)| (std::cmp::Reverse(padded), item));
    let mut parts = Vec::new();
    while let Some(&(padded, _)) = waiting.first() {
        let alike = waiting.iter().take_while(|it| it.0 == padded).count();
        let mut rows: Vec<&BatchSize> = sizes
            .iter()
            .filter(|size| size.patches == Some(padded))
            .collect();
        rows.sort_by_key(|size| size.rows);
        let fits = rows.iter().find(|size| size.rows >= alike);
        let size = **fits.or(rows.last())?;
        let taken = size.rows.min(waiting.len());
        parts.push(Part {
            size,
            items: waiting.drain(..taken).map(|(_, item)| item).collect(),
        });
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes() -> Vec<BatchSize> {
        [
            (1, 64),
            (4, 64),
            (16, 64),
            (1, 256),
            (2, 256),
            (4, 256),
            (8, 256),
            (1, 576),
            (3, 576),
        ]
        .into_iter()
        .map(|(rows, patches)| BatchSize {
            rows,
            patches: Some(patches),
        })
        .collect()
    }

    /// Rows, patches and items of each part.
    fn of(patches: &[usize]) -> Vec<(usize, usize, Vec<usize>)> {
        let parts = parts(&sizes(), patches.len(), Some(patches)).unwrap();
        let numbers = |part: Part| (part.size.rows, part.size.patches.unwrap(), part.items);
        parts.into_iter().map(numbers).collect()
    }

    #[test]
    fn pictures_of_one_size_are_a_part_and_smaller_ones_fill_it() {
        assert_eq!(of(&[250]), [(1, 256, vec![0])]);
        assert_eq!(of(&[64, 1, 63]), [(4, 64, vec![0, 1, 2])]);
        // Three large ones are padded to four rows: the small one takes the fourth.
        assert_eq!(of(&[200, 10, 256, 65]), [(4, 256, vec![0, 2, 3, 1])]);
        // Without padding there is no place for it.
        assert_eq!(
            of(&[10, 200, 256]),
            [(2, 256, vec![1, 2]), (1, 64, vec![0])]
        );
        // More than the largest size of their number of patches.
        assert_eq!(
            of(&[500, 570, 300, 576, 64]),
            [(3, 576, vec![0, 1, 2]), (1, 576, vec![3]), (1, 64, vec![4])]
        );
    }

    #[test]
    fn every_item_is_in_one_part_that_holds_it() {
        let mut state = 7_u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as usize % below
        };
        for _ in 0..2000 {
            let rows = 1 + random(16);
            let patches: Vec<usize> = (0..rows).map(|_| 1 + random(576)).collect();
            let parts = parts(&sizes(), rows, Some(&patches)).unwrap();
            let mut items: Vec<usize> = Vec::new();
            for part in &parts {
                assert!(sizes().contains(&part.size));
                assert!((1..=part.size.rows).contains(&part.items.len()));
                for &item in &part.items {
                    assert!(Some(patches[item]) <= part.size.patches);
                }
                items.extend(&part.items);
            }
            items.sort_unstable();
            assert_eq!(items, (0..rows).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_tower_of_one_size_takes_the_batch_as_a_whole_or_not_at_all() {
        let sizes = [1, 2, 4].map(|rows| BatchSize {
            rows,
            patches: None,
        });
        assert_eq!(parts(&sizes, 3, None), Some(vec![Part::whole(sizes[2], 3)]));
        assert_eq!(parts(&sizes, 5, None), None);
        assert_eq!(parts(&self::sizes(), 1, Some(&[577])), None);
    }
}
