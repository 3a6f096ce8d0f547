//! What the endpoints that embed answer, as types: serde writes them, utoipa describes them.
//!
//! A matrix of 1024 x 768 floats is 10 MB of JSON. It is written row by row in the shortest
//! form that reads back as the same f32, without a tree of values between.

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::json_writer::Numbers;
use super::problem::Problem;
use super::row_error::RowError;
use siglip2_service::{Embeddings, Hit, Ranked, Service, Similarity};

/// Rows of floats, one for each image or text, in the order of the request.
#[derive(Serialize, ToSchema)]
#[schema(as = Embeddings)]
pub(crate) struct EmbeddingsAnswer<'a> {
    /// One row for each image or text, in their order.
    #[serde(serialize_with = "rows")]
    #[schema(value_type = Vec<Vec<f32>>)]
    embeddings: &'a Embeddings,
    /// Floats in a row.
    dimensions: usize,
    /// The model's name.
    model: &'a str,
    /// Of texts: those whose end was cut off, because they have more tokens than the model
    /// reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    truncated: Option<u64>,
    /// Of texts, where the request asked for it: tokens that were read of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    tokens: Option<Vec<usize>>,
    /// Where a bad image or text was to cost its own row only: the bad ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    errors: Option<Vec<RowError>>,
}

/// What an answer tells besides its rows.
#[derive(Default)]
pub(crate) struct RowsTold {
    /// Of texts: how much was read of them.
    pub(crate) texts: Option<TextsTold>,
    /// Of images or texts that are each for itself: the bad ones.
    pub(crate) errors: Option<Vec<RowError>>,
}

/// How much of the texts of a request the model read.
pub(crate) struct TextsTold {
    /// Texts whose end was cut off.
    pub(crate) truncated: u64,
    /// Tokens that were read of each text, where the request asked for them.
    pub(crate) tokens: Option<Vec<usize>>,
}

impl<'a> EmbeddingsAnswer<'a> {
    /// These rows, which are numbers.
    pub(crate) fn of(embeddings: &'a Embeddings, model: &'a str, told: RowsTold) -> Self {
        let RowsTold { texts, errors } = told;
        Self {
            errors,
            embeddings,
            dimensions: embeddings.dimensions(),
            model,
            truncated: texts.as_ref().map(|texts| texts.truncated),
            tokens: texts.and_then(|texts| texts.tokens),
        }
    }
}

/// How well every text fits every image.
#[derive(Serialize, ToSchema)]
#[schema(as = Similarity)]
pub(crate) struct SimilarityAnswer<'a> {
    /// A row for each text, a column for each image: sigmoid probabilities, 0 to 1; null for an
    /// image of `errors` and for a text of `text_errors`.
    #[serde(serialize_with = "vectors")]
    #[schema(value_type = Vec<Vec<Option<f32>>>)]
    similarities: &'a [Vec<f32>],
    /// L2-normalized; the row of a text of `text_errors` is empty.
    #[serde(serialize_with = "rows")]
    #[schema(value_type = Vec<Vec<f32>>)]
    text_embeddings: &'a Embeddings,
    /// L2-normalized; the row of an image of `errors` is empty.
    #[serde(serialize_with = "rows")]
    #[schema(value_type = Vec<Vec<f32>>)]
    image_embeddings: &'a Embeddings,
    /// The cosines of the same pairs, where `details` asked for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Vec<Vec<Option<f64>>>>)]
    cosines: Option<Vec<Vec<f64>>>,
    /// `exp(logit_scale) * cosine + logit_bias` of the same pairs, where `details` asked for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Vec<Vec<Option<f64>>>>)]
    logits: Option<Vec<Vec<f64>>>,
    /// What the numbers are.
    note: &'static str,
    /// Texts whose end was cut off, because they have more tokens than the model reads.
    truncated: u64,
    /// With `partial`: the bad images.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    errors: Option<Vec<RowError>>,
    /// With `partial`: the texts that are too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    text_errors: Option<Vec<RowError>>,
}

impl<'a> SimilarityAnswer<'a> {
    /// This comparison, which must be of numbers but for images and texts without a row, of which
    /// `errors` and `text_errors` tell; with what `scores` says of each pair, if it is given.
    pub(crate) fn of(
        similarity: &'a Similarity,
        truncated: u64,
        scores: Option<&Service>,
        [errors, text_errors]: [Option<Vec<RowError>>; 2],
    ) -> Result<Self, Problem> {
        let Similarity {
            similarities,
            texts,
            images,
        } = similarity;
        texts.rows().chain(images.rows()).try_for_each(finite)?;
        for (row, text) in similarities.iter().zip(texts.rows()) {
            let pairs = row.iter().zip(images.rows());
            let mut of_good = pairs.filter(|(_, image)| !text.is_empty() && !image.is_empty());
            of_good.try_for_each(|(value, _)| finite(std::slice::from_ref(value)))?;
        }
        let details = scores.map(|service| {
            let of_text = |text: &[f32]| {
                let pair = |image: &[f32]| match (text, image) {
                    // As JSON these are null.
                    ([], _) | (_, []) => (f64::NAN, f64::NAN),
                    _ => {
                        let score = service.score(text, image);
                        (score.cosine, score.logit)
                    }
                };
                images.rows().map(pair).unzip()
            };
            texts.rows().map(of_text).unzip()
        });
        let (cosines, logits) = details.unzip();
        Ok(Self {
            cosines,
            logits,
            similarities,
            text_embeddings: texts,
            image_embeddings: images,
            note: "Similarities are sigmoid-normalized (0-1 range)",
            truncated,
            errors,
            text_errors,
        })
    }
}

/// How well every text fits every image; or, of the sentences of text-embeddings-inference, the cosine
/// of each with the first.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = SimilarityOrCosines)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) enum SimilarityAnswers<'a> {
    /// The service's own.
    Own(SimilarityAnswer<'a>),
    /// That of text-embeddings-inference.
    Cosines(Vec<f32>),
}

/// The images, the one that fits the query best first.
#[derive(Serialize, ToSchema)]
#[schema(as = Rankings)]
pub(crate) struct RankAnswer<'a> {
    /// The query, as it was sent.
    query: &'a str,
    /// Every image once, but for those of `errors`.
    rankings: Vec<Ranking<'a>>,
    /// 1 where the end of the query was cut off, because it has more tokens than the model
    /// reads.
    truncated: u64,
    /// With `partial`: the bad images, which have no rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    errors: Option<Vec<RowError>>,
}

/// An image's place.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ranking<'a> {
    /// The file name that its client gave it.
    filename: &'a str,
    /// The sigmoid probability, rounded to 4 decimals; the order is by the one that is not.
    score: f64,
    /// From 1.
    rank: usize,
    /// The probability, unrounded, where `details` asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    probability: Option<f64>,
    /// The cosine between image and query, where `details` asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cosine: Option<f64>,
    /// `exp(logit_scale) * cosine + logit_bias`, where `details` asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    logit: Option<f64>,
}

impl<'a> RankAnswer<'a> {
    /// This order. `names` are those of the images, in the order of their parts.
    pub(crate) fn of(
        query: &'a str,
        ranked: &[Ranked],
        names: &'a [String],
        truncated: u64,
        details: bool,
        errors: Option<Vec<RowError>>,
    ) -> Result<Self, Problem> {
        let ranking = |(at, ranked): (usize, &Ranked)| {
            Ok(Ranking {
                filename: names.get(ranked.index).map_or("", String::as_str),
                score: rounded(ranked.score)?,
                rank: at + 1,
                probability: details.then_some(ranked.pair.probability),
                cosine: details.then_some(ranked.pair.cosine),
                logit: details.then_some(ranked.pair.logit),
            })
        };
        Ok(Self {
            query,
            truncated,
            errors,
            rankings: ranked
                .iter()
                .enumerate()
                .map(ranking)
                .collect::<Result<_, Problem>>()?,
        })
    }
}

/// The rows of the index that are nearest to a query, best first.
#[derive(Serialize, ToSchema)]
#[schema(as = SearchResults)]
pub(crate) struct SearchAnswer<'a> {
    /// At most as many as were asked for.
    results: Vec<SearchResult<'a>>,
    /// Rows of the index.
    rows: u64,
    /// 1 where the end of the query was cut off, because it has more tokens than the model
    /// reads.
    truncated: u64,
}

/// A row that was found.
#[derive(Serialize, ToSchema)]
pub(crate) struct SearchResult<'a> {
    /// The row's name.
    id: &'a str,
    /// The row's number in the index, from 0.
    row: u64,
    /// The sigmoid probability that a text and an image with this cosine belong together. It
    /// says no more than the cosine where both are texts, or both images.
    score: f64,
    /// The cosine of the row's vector and the query's.
    cosine: f32,
    /// The row's columns, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = HashMap<String, serde_json::Value>)]
    columns: Option<&'a RawValue>,
}

impl<'a> SearchAnswer<'a> {
    /// These rows.
    pub(crate) fn of(hits: &'a [Hit], service: &Service, truncated: u64) -> Result<Self, Problem> {
        let result = |hit: &'a Hit| {
            let columns = hit.columns.as_deref().map(serde_json::from_str).transpose();
            Ok(SearchResult {
                id: &hit.id,
                row: hit.row,
                score: service.score_of(f64::from(hit.cosine)).probability,
                cosine: hit.cosine,
                columns: columns.map_err(|error| {
                    Problem::Internal(format!("the columns of a row are not JSON: {error}"))
                })?,
            })
        };
        Ok(Self {
            results: hits.iter().map(result).collect::<Result<_, Problem>>()?,
            rows: service.index().map_or(0, |index| index.rows),
            truncated,
        })
    }
}

fn rows<S: Serializer>(embeddings: &Embeddings, serializer: S) -> Result<S::Ok, S::Error> {
    let mut rows = serializer.serialize_seq(Some(embeddings.len()))?;
    for row in embeddings.rows() {
        rows.serialize_element(&Numbers(row))?;
    }
    rows.end()
}

fn vectors<S: Serializer>(vectors: &[Vec<f32>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(vectors.iter().map(|row| Numbers(row)))
}

/// A score as it is shown, with 4 decimals, as Python's `round(score, 4)`.
fn rounded(score: f32) -> Result<f64, Problem> {
    finite(&[score])?;
    // The decimal digits decide, as in Python: `(x * 1e4).round() / 1e4` does not
    // always give the same.
    format!("{:.4}", f64::from(score))
        .parse()
        .map_err(|_| Problem::Internal(format!("the score {score} could not be rounded")))
}

/// Refuses what is not a number: serde_json would write `null` for it.
pub(crate) fn finite(row: &[f32]) -> Result<(), Problem> {
    match row.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(value) => Err(Problem::Internal(format!(
            "the engine answered {value}, which is not part of any embedding"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: Vec<Vec<f32>>) -> String {
        struct Matrix(Vec<Vec<f32>>);
        impl Serialize for Matrix {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                vectors(&self.0, serializer)
            }
        }
        let written = crate::answer::json_writer::to_vec(&Matrix(rows), 0).unwrap();
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn floats_are_written_in_the_shortest_form_that_reads_back() {
        assert_eq!(matrix(vec![]), "[]");
        assert_eq!(
            matrix(vec![vec![0.1, -0.25, 1.0], vec![1e-7, 16_777_216.0, -0.0]]),
            "[[0.1,-0.25,1.0],[1e-7,16777216.0,-0.0]]"
        );
        let mut bits = 0x9e37_79b9_u32;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from_bits(bits);
            if !value.is_finite() {
                continue;
            }
            let written = matrix(vec![vec![value]]);
            let digits = written.trim_matches(['[', ']']);
            assert_eq!(
                digits.parse::<f32>().unwrap().to_bits(),
                value.to_bits(),
                "{written}"
            );
            // As many significant digits as Rust's own shortest form has.
            let significant = |text: &str| {
                let mantissa = text.split('e').next().unwrap().replace(['.', '-'], "");
                mantissa.trim_matches('0').len()
            };
            assert_eq!(
                significant(digits),
                significant(&format!("{value:e}")),
                "{written}"
            );
        }
    }

    #[test]
    fn what_is_not_a_number_is_never_written() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(matches!(finite(&[0.0, bad]), Err(Problem::Internal(_))));
            assert!(rounded(bad).is_err());
        }
    }

    #[test]
    fn scores_are_rounded_as_in_python() {
        // round(struct.unpack("f", ..), 4) of CPython.
        for (score, expected) in [
            (0.873_412_3_f32, "0.8734"),
            (0.00005, "0.0"),
            (0.00015, "0.0002"),
            (0.031_25, "0.0312"),
            (0.999_99, "1.0"),
            (1.0, "1.0"),
            (0.0, "0.0"),
            (1e-30, "0.0"),
        ] {
            assert_eq!(
                serde_json::to_string(&rounded(score).unwrap()).unwrap(),
                expected
            );
        }
    }
}
