//! The sizes that batches are padded to, and the optimization profiles that cover them.
//!
//! A batch has a number of rows. Where pictures are of variable resolution (NaFlex) a batch of
//! them also has a number of patches, which those of fewer are padded to.

use std::fmt;

use serde::{Deserialize, Serialize};
use siglip2_engine::Tower;

use super::{Manifest, ManifestError};

/// A picture of this many patches counts as one row of work: google's NaFlex checkpoints have it
/// as their maximum.
pub const ROW_OF_PATCHES: usize = 256;

/// Numbers of patches that pictures are padded to, if they can have half as many more.
const PATCHES: [usize; 5] = [64, 128, 256, 576, 1024];

/// How the image tower takes pictures of variable resolution: packed, as
/// [`siglip2_model::graph::patches`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchEntry {
    /// Side of a patch, in pixels.
    pub size: usize,
    /// The numbers of patches that pictures are padded to, in order. No picture can have more
    /// than the last.
    pub buckets: Vec<usize>,
}

impl PatchEntry {
    /// For pictures of up to `most` patches whose side is `size` pixels.
    pub fn new(size: usize, most: usize) -> Self {
        let fewer = PATCHES
            .into_iter()
            .filter(|&patches| patches + patches / 2 <= most);
        Self {
            size,
            buckets: fewer.chain([most]).collect(),
        }
    }

    /// The most patches that a picture can have.
    pub fn most(&self) -> usize {
        self.buckets.last().copied().unwrap_or(0)
    }

    /// Whether it contradicts itself.
    pub(super) fn check(&self) -> Result<(), ManifestError> {
        let rising = self.buckets.is_sorted_by(|a, b| a < b) && self.buckets.first() > Some(&0);
        if rising && self.size > 0 {
            return Ok(());
        }
        Err(ManifestError::Contradiction(format!(
            "patches are of {} pixels, padded to {:?}; both must be at least 1, and rise",
            self.size, self.buckets
        )))
    }
}

/// The size of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchSize {
    /// Rows.
    pub rows: usize,
    /// Patches of each row, where pictures are of variable resolution.
    pub patches: Option<usize>,
}

impl BatchSize {
    /// What a batch of it computes, in rows, or in patches where they differ.
    pub fn work(self) -> usize {
        self.rows * self.patches.unwrap_or(1)
    }
}

impl fmt::Display for BatchSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows", self.rows)?;
        match self.patches {
            Some(patches) => write!(f, " of {patches} patches"),
            None => Ok(()),
        }
    }
}

/// The sizes that batches up to `max_batch` are padded to, and `max_batch` itself: powers of two
/// and, from 8 on, the numbers halfway between them. With powers of two alone 33 rows would cost
/// as much as 64. Below 8 a batch costs about the same whatever its size.
pub fn buckets(max_batch: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1_usize), |size| size.checked_mul(2));
    let mut buckets: Vec<usize> = powers
        .take_while(|&size| size < max_batch)
        .flat_map(|size| match size < 8 {
            true => vec![size],
            false => vec![size, size + size / 2],
        })
        .take_while(|&size| size < max_batch)
        .collect();
    buckets.push(max_batch.max(1));
    buckets
}

/// The optimization profiles of an engine for up to `max_batch`: one for a single row, whose
/// kernels differ most from those of a full batch, and one for all sizes, optimized for full
/// batches.
pub fn profiles(max_batch: usize) -> Vec<[usize; 3]> {
    let max = max_batch.max(1);
    let mut profiles = vec![[1, 1, 1]];
    if max > 1 {
        profiles.push([1, max, max]);
    }
    profiles
}

/// The most rows of a batch whose pictures have so many patches: a batch of large pictures is as
/// much work as `max_batch` pictures of [`ROW_OF_PATCHES`].
fn most_rows(max_batch: usize, patches: usize) -> usize {
    (max_batch * ROW_OF_PATCHES / patches.max(1)).clamp(1, max_batch.max(1))
}

/// The optimization profiles of a tower: the sizes it is compiled for, each the least, the one
/// optimized for, and the most. Every number of patches has its own.
pub fn size_profiles(
    profiles: &[[usize; 3]],
    max_batch: usize,
    patches: Option<&PatchEntry>,
) -> Vec<[BatchSize; 3]> {
    let of = |rows: [usize; 3], patches| rows.map(|rows| BatchSize { rows, patches });
    let Some(entry) = patches else {
        return profiles.iter().map(|&rows| of(rows, None)).collect();
    };
    let mut all = Vec::new();
    for &patches in &entry.buckets {
        let rows = self::profiles(most_rows(max_batch, patches));
        all.extend(rows.into_iter().map(|rows| of(rows, Some(patches))));
    }
    all
}

impl Manifest {
    /// How a tower takes pictures of variable resolution, if it does.
    pub fn patches_of(&self, tower: Tower) -> Option<&PatchEntry> {
        self.patches.as_ref().filter(|_| tower == Tower::Image)
    }

    /// The optimization profiles of a tower's engine, of two that of the largest batches.
    pub fn profiles_of(&self, tower: Tower) -> Vec<[BatchSize; 3]> {
        size_profiles(&self.profiles, self.max_batch, self.patches_of(tower))
    }

    /// The optimization profiles of each engine of a tower, that of small batches first, if those
    /// have one.
    pub fn profiles_of_engines(&self, tower: Tower) -> Vec<Vec<[BatchSize; 3]>> {
        let of =
            |rows: Vec<[usize; 3]>| size_profiles(&rows, self.max_batch, self.patches_of(tower));
        self.profiles_by_engine().into_iter().map(of).collect()
    }

    /// The sizes that batches of a tower are padded to, if they have at most `max_batch` rows, and
    /// pictures at most `most` patches. A maximum below the engine's still runs in the smallest
    /// size that holds it.
    ///
    /// Where pictures are of variable resolution nearly all have about the most patches, because
    /// they are enlarged to that. So the fewer patches, which only very narrow pictures have, come
    /// with fewer numbers of rows.
    pub fn sizes_of(&self, tower: Tower, max_batch: usize, most: Option<usize>) -> Vec<BatchSize> {
        let up_to = |buckets: &[usize], wanted: usize| {
            let needed = buckets.partition_point(|&bucket| bucket < wanted) + 1;
            buckets[..needed.min(buckets.len())].to_vec()
        };
        let rows = up_to(&self.buckets, max_batch);
        let Some(entry) = self.patches_of(tower) else {
            let size = |rows| BatchSize {
                rows,
                patches: None,
            };
            return rows.into_iter().map(size).collect();
        };
        let buckets = up_to(&entry.buckets, most.unwrap_or(entry.most()));
        let usual = buckets.last().copied();
        let mut sizes = Vec::new();
        for patches in buckets {
            let limit = most_rows(self.max_batch, patches);
            let mut rows: Vec<usize> = rows.iter().copied().filter(|&it| it <= limit).collect();
            let largest = rows.last().copied();
            if usual != Some(patches) {
                let is_power_of_4 =
                    |it: usize| it.is_power_of_two() && it.ilog2().is_multiple_of(2);
                rows.retain(|&it| is_power_of_4(it) || largest == Some(it));
            }
            sizes.extend(rows.into_iter().map(|rows| BatchSize {
                rows,
                patches: Some(patches),
            }));
        }
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::manifest;
    use super::*;

    #[test]
    fn buckets_reach_the_largest_batch_and_profiles_cover_them() {
        assert_eq!(buckets(1), [1]);
        assert_eq!(buckets(6), [1, 2, 4, 6]);
        assert_eq!(buckets(8), [1, 2, 4, 8]);
        assert_eq!(buckets(10), [1, 2, 4, 8, 10]);
        assert_eq!(buckets(64), [1, 2, 4, 8, 12, 16, 24, 32, 48, 64]);
        assert_eq!(buckets(128)[10..], [96, 128]);
        for most in 1..=300 {
            let buckets = buckets(most);
            assert!(buckets.is_sorted_by(|a, b| a < b), "{buckets:?}");
            assert_eq!(buckets.last(), Some(&most));
            // A batch has at most twice its rows.
            let apart = |pair: &[usize]| pair[1] <= 2 * pair[0];
            assert!(buckets.windows(2).all(apart), "{buckets:?}");
        }
        assert_eq!(profiles(1), [[1, 1, 1]]);
        assert_eq!(profiles(64), [[1, 1, 1], [1, 64, 64]]);
    }

    #[test]
    fn sizes_of_any_number_of_patches_have_a_profile_and_the_work_of_a_full_batch() {
        assert_eq!(PatchEntry::new(16, 256).buckets, [64, 128, 256]);
        assert_eq!(PatchEntry::new(16, 50).buckets, [50]);
        assert_eq!(PatchEntry::new(16, 300).buckets, [64, 128, 300]);
        assert_eq!(PatchEntry::new(16, 1000).buckets, [64, 128, 256, 576, 1000]);
        for (engine, most) in [
            (1, 256),
            (6, 256),
            (48, 64),
            (48, 256),
            (48, 1024),
            (2, 4096),
        ] {
            let mut manifest = manifest();
            manifest.max_batch = engine;
            manifest.buckets = buckets(engine);
            manifest.profiles = profiles(engine);
            manifest.patches = Some(PatchEntry::new(16, most));
            for wanted in [1, engine.div_ceil(2), engine] {
                for served in [1, 65, most] {
                    let sizes = manifest.sizes_of(Tower::Image, wanted, Some(served));
                    let patches = sizes.iter().filter_map(|size| size.patches).max();
                    assert!(patches >= Some(served.min(most)), "{sizes:?}");
                    let work = engine * ROW_OF_PATCHES;
                    for size in &sizes {
                        assert!(size.work() <= work || size.rows == 1, "{size}");
                        let profiles = manifest.profiles_of(Tower::Image);
                        let mut fits = profiles.iter().filter(|[least, _, most]| {
                            least.patches == size.patches
                                && most.patches == size.patches
                                && (least.rows..=most.rows).contains(&size.rows)
                        });
                        assert!(fits.next().is_some(), "{size}");
                    }
                    let twice = |at: usize| sizes[..at].contains(&sizes[at]);
                    assert!(!(0..sizes.len()).any(twice), "{sizes:?}");
                }
            }
            let texts = manifest.sizes_of(Tower::Text, engine, None);
            assert!(texts.iter().all(|size| size.patches.is_none()));
            assert_eq!(texts.len(), buckets(engine).len());
        }
    }

    #[test]
    fn patches_that_contradict_themselves_are_refused() {
        assert!(PatchEntry::new(16, 256).check().is_ok());
        for (size, buckets) in [
            (0, vec![64]),
            (16, vec![]),
            (16, vec![0]),
            (16, vec![64, 64]),
        ] {
            assert!(PatchEntry { size, buckets }.check().is_err());
        }
    }
}
