//! What is kept of the cosines: the lowest, and the worst row of each canary.

use crate::directory::ranks::agreement;
use crate::directory::{Canary, Place};

/// What gets the number of each canary (`None`: mirrored), its row and cosine, and where that was.
pub(super) type Note<'a> = dyn FnMut(Option<usize>, &[f32], f64, Place) + 'a;

/// The lowest cosine so far, and where it was.
#[derive(Clone, Copy)]
pub(super) struct Lowest {
    pub(super) cosine: f64,
    pub(super) at: Option<Place>,
}

impl Default for Lowest {
    fn default() -> Self {
        Self {
            cosine: f64::INFINITY,
            at: None,
        }
    }
}

impl Lowest {
    /// One more; NaN is lower than any number.
    pub(super) fn note(&mut self, cosine: f64, at: Place) {
        if !self.cosine.is_nan() && (cosine.is_nan() || cosine < self.cosine) {
            *self = Self {
                cosine,
                at: Some(at),
            };
        }
    }
}

/// The worst row of each canary: the picture's, then those of the texts.
pub(super) struct Worst(Vec<(f64, Vec<f32>)>);

impl Worst {
    pub(super) fn new(canary: &Canary) -> Self {
        Self(vec![(f64::INFINITY, Vec::new()); 1 + canary.texts.len()])
    }

    pub(super) fn note(&mut self, item: usize, row: &[f32], cosine: f64) {
        let (worst, kept) = &mut self.0[item];
        if !worst.is_nan() && (cosine.is_nan() || cosine < *worst) {
            *worst = cosine;
            kept.clear();
            kept.extend_from_slice(row);
        }
    }

    pub(super) fn ranks(&self, canary: &Canary) -> f64 {
        let expected = std::iter::once(&canary.image_embedding).chain(&canary.text_embeddings);
        // Where batches are small, some texts were in none.
        let seen = expected
            .zip(&self.0)
            .filter(|(_, (_, row))| !row.is_empty());
        let (expected, found): (Vec<&[f32]>, Vec<&[f32]>) = seen
            .map(|(expected, (_, row))| (expected.as_slice(), row.as_slice()))
            .unzip();
        agreement(&expected, &found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_the_lowest_and_stays() {
        let mut lowest = Lowest::default();
        for (number, cosine) in [1.0, 0.5, 0.9, f64::NAN, 0.1].into_iter().enumerate() {
            let at = Place {
                rows: number,
                patches: None,
                slot: 1,
            };
            lowest.note(cosine, at);
        }
        assert!(lowest.cosine.is_nan());
        assert_eq!(lowest.at.map(|at| at.rows), Some(3));
    }
}
