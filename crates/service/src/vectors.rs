//! The arithmetic on embeddings: norms, cosines, probabilities, order.

use crate::tokens::TextError;
use siglip2_image::ImageError;

/// Rows of floats, one per text or image of a request, in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    dimensions: usize,
    rows: Vec<Vec<f32>>,
}

impl Embeddings {
    /// Rows of `dimensions` floats each.
    pub(super) fn new(dimensions: usize, rows: Vec<Vec<f32>>) -> Self {
        Self { dimensions, rows }
    }

    /// Floats per row.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.rows.iter().map(Vec::as_slice)
    }

    /// Divides every row by its Euclidean norm, as transformers' SigLIP does before it
    /// compares. A row of zeros has no direction and stays as it is.
    pub(super) fn normalize(&mut self) {
        for row in &mut self.rows {
            let norm = dot(row, row).sqrt();
            if norm > 0.0 {
                for value in row {
                    *value = (f64::from(*value) / norm) as f32;
                }
            }
        }
    }
}

impl Embeddings {
    /// The mean of every `group` consecutive rows, L2-normalized: how a class is made from
    /// several templates (Radford et al. 2021, "Learning Transferable Visual Models From
    /// Natural Language Supervision", section 3.1.4). Rows at the end that do not fill a group
    /// are left out.
    #[must_use]
    pub fn means(&self, group: usize) -> Self {
        let group = group.max(1);
        self.means_of(std::iter::repeat_n(group, self.rows.len() / group))
    }

    /// The same for groups of different sizes, which follow each other. A group that is empty, or for which
    /// there are no rows left, has the mean of no rows: zeros.
    #[must_use]
    pub fn means_of(&self, groups: impl IntoIterator<Item = usize>) -> Self {
        let mean = |rows: &[Vec<f32>]| {
            let mut sum = vec![0.0_f64; self.dimensions];
            for row in rows {
                for (sum, &value) in sum.iter_mut().zip(row) {
                    *sum += f64::from(value);
                }
            }
            let count = rows.len().max(1) as f64;
            sum.into_iter().map(|sum| (sum / count) as f32).collect()
        };
        let mut left = &self.rows[..];
        let groups = groups.into_iter().map(|size| {
            let (group, rest) = left.split_at(size.min(left.len()));
            left = rest;
            mean(group)
        });
        let mut means = Self::new(self.dimensions, groups.collect());
        means.normalize();
        means
    }

    /// The cosine of each row with `other`, where all are L2-normalized.
    pub fn cosines(&self, other: &[f32]) -> impl Iterator<Item = f32> {
        self.rows.iter().map(|row| dot(row, other) as f32)
    }

    /// Rows that a client sent, each as long as the others, L2-normalized.
    #[must_use]
    pub fn given(dimensions: usize, rows: Vec<Vec<f32>>) -> Self {
        let mut given = Self::new(dimensions, rows);
        given.normalize();
        given
    }

    /// Removes the rows from index `at` on, and returns them.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        let rows = self.rows.split_off(at.min(self.rows.len()));
        Self::new(self.dimensions, rows)
    }
}

/// Embeddings of images, some of which may be bad.
#[derive(Clone, Debug, PartialEq)]
pub struct PartialEmbeddings {
    /// One row per image, in order; that of a bad image has no floats.
    pub embeddings: Embeddings,
    /// The bad images: their index from 0, and what is wrong with each.
    pub bad: Vec<(usize, ImageError)>,
}

/// How well a text matches an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The cosine of the angle between their embeddings.
    pub cosine: f64,
    /// `scale * cosine + bias`.
    pub logit: f64,
    /// The sigmoid of the logit.
    pub probability: f64,
}

impl Score {
    /// Of two L2-normalized rows.
    pub(super) fn of(text: &[f32], image: &[f32], scale: f64, bias: f64) -> Self {
        Self::of_cosine(dot(text, image), scale, bias)
    }

    /// Of two rows with this cosine.
    pub(super) fn of_cosine(cosine: f64, scale: f64, bias: f64) -> Self {
        let logit = scale * cosine + bias;
        Self {
            cosine,
            logit,
            probability: sigmoid(logit),
        }
    }
}

/// How well texts match images.
#[derive(Clone, Debug, PartialEq)]
pub struct Similarity {
    /// `similarities[t][i]`: the probability, 0 to 1, that text `t` belongs to image `i`.
    pub similarities: Vec<Vec<f32>>,
    /// The texts' embeddings, L2-normalized.
    pub texts: Embeddings,
    /// The images' embeddings, L2-normalized.
    pub images: Embeddings,
}

/// How well texts match images, some of which may be bad.
#[derive(Clone, Debug, PartialEq)]
pub struct PartialSimilarity {
    /// The pairs of a bad image or text are NaN, and its row in the embeddings has no floats.
    pub similarity: Similarity,
    /// The bad images: their index from 0, and what is wrong with each.
    pub bad_images: Vec<(usize, ImageError)>,
    /// The bad texts: their index from 0, and what is wrong with each.
    pub bad_texts: Vec<(usize, TextError)>,
}

/// A ranking of images, some of which may be bad.
#[derive(Clone, Debug, PartialEq)]
pub struct PartialRanking {
    /// The good ones, best first.
    pub ranked: Vec<Ranked>,
    /// The bad images: their index from 0, and what is wrong with each.
    pub bad: Vec<(usize, ImageError)>,
}

/// An image's place in a ranking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Index of the image in the request, from 0.
    pub index: usize,
    /// The probability, 0 to 1, that the query belongs to it.
    pub score: f32,
    /// The same score with its parts, unrounded.
    pub pair: Score,
}

/// `sigmoid(scale * cos(text, image) + bias)` for every pair: the loss of SigLIP
/// (Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", equation 1)
/// makes exactly this the probability that the two belong together. `scale` is the
/// exponential of the checkpoint's `logit_scale`. Pairs of an image or a text
/// without a row are NaN.
pub(super) fn similarity(
    texts: Embeddings,
    images: Embeddings,
    scale: f64,
    bias: f64,
) -> Similarity {
    let similarities = texts
        .rows()
        .map(|text| {
            images
                .rows()
                .map(|image| match (text, image) {
                    ([], _) | (_, []) => f32::NAN,
                    _ => Score::of(text, image, scale, bias).probability as f32,
                })
                .collect()
        })
        .collect();
    Similarity {
        similarities,
        texts,
        images,
    }
}

/// Best first, of images with their indexes; equal scores keep the order of the images.
pub(super) fn rank(pairs: impl Iterator<Item = (usize, Score)>) -> Vec<Ranked> {
    let ranked = pairs.map(|(index, pair)| Ranked {
        index,
        score: pair.probability as f32,
        pair,
    });
    let mut ranking: Vec<Ranked> = ranked.collect();
    ranking.sort_by(|a, b| b.score.total_cmp(&a.score));
    ranking
}

/// Summed in f64, so that neither a row's length nor the order of the sum shows. There are eight sums, since one
/// alone would wait for each addition.
/// Rows of different lengths are compared as far as both go.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let length = a.len().min(b.len());
    let (a, b) = (&a[..length], &b[..length]);
    let product = |(&a, &b): (&f32, &f32)| f64::from(a) * f64::from(b);
    let (a, b) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.0.iter().zip(b.0) {
        for (sum, pair) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += product(pair);
        }
    }
    let rest = a.1.iter().zip(b.1).map(product);
    sums.into_iter().chain(rest).sum()
}

fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_rows_of_every_length_are_summed() {
        let number = |at: usize| ((at * 37 % 101) as f32 - 50.0) / 64.0;
        for (long, short) in [
            (7, 7),
            (8, 8),
            (9, 9),
            (19, 19),
            (768, 768),
            (17, 9),
            (0, 3),
        ] {
            let a: Vec<f32> = (0..long).map(number).collect();
            let b: Vec<f32> = (0..short).map(|at| number(at + 5)).collect();
            // Multiples of 2^-12, so that no sum is rounded.
            let pairs = a.iter().zip(&b);
            let expected: f64 = pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            assert_eq!(dot(&a, &b), expected, "{long}, {short}");
            assert_eq!(dot(&b, &a), expected, "{short}, {long}");
        }
    }

    #[test]
    fn a_row_of_zeros_has_no_direction_and_stays() {
        let mut embeddings = Embeddings::new(2, vec![vec![0.0, 0.0], vec![3.0, -4.0]]);
        embeddings.normalize();
        let rows: Vec<&[f32]> = embeddings.rows().collect();
        assert_eq!(rows, [&[0.0, 0.0], &[0.6, -0.8]]);
    }

    #[test]
    fn the_similarity_is_the_sigmoid_of_the_scaled_cosine() {
        let texts = Embeddings::new(2, vec![vec![1.0, 0.0]]);
        let images = Embeddings::new(2, vec![vec![1.0, 0.0], vec![0.0, 1.0]]);
        let similarity = similarity(texts, images, 10.0, -5.0);
        // torch.sigmoid(torch.tensor([10 * 1 - 5, 10 * 0 - 5], dtype=torch.float64))
        let expected = [0.993_307_1, 0.006_692_851];
        for (got, want) in similarity.similarities[0].iter().zip(expected) {
            assert!((got - want).abs() < 1e-7, "{got} is not {want}");
        }
    }

    #[test]
    fn pairs_of_what_has_no_row_are_no_numbers() {
        let texts = Embeddings::new(2, vec![vec![1.0, 0.0], vec![]]);
        let images = Embeddings::new(2, vec![vec![], vec![1.0, 0.0]]);
        let [good, bad] = &similarity(texts, images, 10.0, -5.0).similarities[..] else {
            panic!("two texts have two rows");
        };
        assert!(good[0].is_nan());
        assert!(good[1] > 0.99);
        assert!(bad.iter().all(|pair| pair.is_nan()));
    }

    #[test]
    fn a_class_is_the_direction_of_the_mean_of_its_templates() {
        let rows = vec![
            vec![1.0, 0.0],
            vec![0.0, 1.0],
            vec![0.0, 1.0],
            vec![0.0, 1.0],
        ];
        let means = Embeddings::new(2, rows).means(2);
        let half = std::f32::consts::FRAC_1_SQRT_2;
        let rows: Vec<&[f32]> = means.rows().collect();
        assert_eq!(rows, [&[half, half], &[0.0, 1.0]]);
    }

    #[test]
    fn ties_keep_the_order_of_the_images() {
        let pairs = [0.5, 0.9, 0.5, 0.1].map(|probability| Score {
            cosine: 0.0,
            logit: 0.0,
            probability,
        });
        let order: Vec<usize> = rank(pairs.into_iter().enumerate())
            .iter()
            .map(|ranked| ranked.index)
            .collect();
        assert_eq!(order, [1, 0, 2, 3]);
    }
}
