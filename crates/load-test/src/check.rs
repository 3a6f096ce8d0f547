//! Checks whether an answer is correct.
//!
//! A full check parses the JSON once, typed, and keeps no numbers: each row is reduced
//! to its length, its norm and its range while it is read. In answers outside the sample
//! only the rows are counted, by a scan for brackets that costs less than receiving
//! them; if that count is not the expected one, the full check decides. All of this
//! happens after the latency was measured.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use crate::options::{Answers, Check};
use crate::wrong::Wrong;

/// How far from 1 the norm of a vector may be.
const TOLERANCE: f64 = 1e-3;

/// One answer in this many is checked in full.
const SAMPLE: u64 = 16;

/// The expected answer to a request.
#[derive(Clone, Debug)]
pub enum Expected {
    /// A number of embeddings.
    Rows {
        /// How many.
        rows: usize,
        /// Whether they must have unit length.
        unit: bool,
    },
    /// A probability for each pair.
    Pairs {
        /// Texts of the request.
        texts: usize,
        /// Images of the request.
        images: usize,
    },
    /// The files, best first.
    Ranking {
        /// The query.
        query: String,
        /// The filenames that were sent.
        files: Vec<String>,
    },
    /// Anything but a server error.
    Refusal,
}

/// A row of numbers, reduced while it is read.
#[derive(Clone, Copy, Debug)]
struct Row {
    len: usize,
    square: f64,
    low: f64,
    high: f64,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            len: 0,
            square: 0.0,
            low: f64::INFINITY,
            high: f64::NEG_INFINITY,
        }
    }
}

impl Row {
    fn add(&mut self, number: f64) {
        self.len += 1;
        self.square += number * number;
        self.low = self.low.min(number);
        self.high = self.high.max(number);
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reduce;
        impl<'de> Visitor<'de> for Reduce {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row of numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Row, A::Error> {
                let mut row = Row::default();
                while let Some(number) = numbers.next_element::<f64>()? {
                    row.add(number);
                }
                Ok(row)
            }
        }
        deserializer.deserialize_seq(Reduce)
    }
}

#[derive(Deserialize)]
struct Embeddings {
    embeddings: Vec<Row>,
    dimensions: usize,
}

#[derive(Deserialize)]
struct Similarity {
    similarities: Vec<Row>,
    text_embeddings: Vec<Row>,
    image_embeddings: Vec<Row>,
}

#[derive(Deserialize)]
struct Ranking {
    query: String,
    rankings: Vec<Ranked>,
}

#[derive(Deserialize)]
struct Ranked {
    filename: String,
    score: f64,
    rank: usize,
}

/// Checks answers of one service.
#[derive(Clone, Copy, Debug)]
pub struct Checker {
    /// Dimensions of its embeddings, according to /info.
    pub dimensions: usize,
    /// How much is checked.
    pub how: Check,
    /// What embeddings were asked for as.
    pub answers: Answers,
}

impl Checker {
    /// What is wrong with the answer to request `number`, if anything. A refusal (429, 503,
    /// ...) is counted as an error, but is not a wrong answer.
    pub fn wrong(
        &self,
        number: u64,
        expected: &Expected,
        status: u16,
        body: &[u8],
    ) -> Option<String> {
        if matches!(expected, Expected::Refusal) {
            return (status >= 500).then(|| format!("a hostile request was answered {status}"));
        }
        if !(200..300).contains(&status) {
            return None;
        }
        if let (Answers::Bytes, Expected::Rows { rows, unit }) = (self.answers, expected) {
            let is_checked = self.how != Check::None;
            return is_checked
                .then(|| self.bytes(body, *rows, *unit).err())
                .flatten()
                .map(|wrong| wrong.to_string());
        }
        let in_full = match self.how {
            Check::All => true,
            Check::Sample => number.is_multiple_of(SAMPLE) || !counts_fit(expected, body),
            Check::None => false,
        };
        if in_full {
            self.in_full(expected, body)
                .err()
                .map(|wrong| wrong.to_string())
        } else {
            None
        }
    }

    fn in_full(&self, expected: &Expected, body: &[u8]) -> Result<(), Wrong> {
        match expected {
            Expected::Rows { rows, unit } => {
                let answer: Embeddings = parse(body)?;
                if answer.dimensions != self.dimensions {
                    return Err(Wrong::Dimensions {
                        found: answer.dimensions,
                        expected: self.dimensions,
                    });
                }
                self.rows("embeddings", &answer.embeddings, *rows, *unit)
            }
            Expected::Pairs { texts, images } => {
                let answer: Similarity = parse(body)?;
                self.rows("text_embeddings", &answer.text_embeddings, *texts, true)?;
                self.rows("image_embeddings", &answer.image_embeddings, *images, true)?;
                let rows = &answer.similarities;
                if rows.len() != *texts || rows.iter().any(|row| row.len != *images) {
                    let (texts, images) = (*texts, *images);
                    return Err(Wrong::Shape { texts, images });
                }
                if rows.iter().any(|row| row.low < 0.0 || row.high > 1.0) {
                    return Err(Wrong::Similarity);
                }
                Ok(())
            }
            Expected::Ranking { query, files } => ranking(&parse(body)?, query, files),
            Expected::Refusal => Ok(()),
        }
    }

    /// Checks rows of little-endian f32.
    fn bytes(&self, body: &[u8], rows: usize, unit: bool) -> Result<(), Wrong> {
        let (numbers, rest) = body.as_chunks::<4>();
        if !rest.is_empty() || numbers.len() != rows * self.dimensions {
            return Err(Wrong::Bytes {
                bytes: body.len(),
                rows,
                dimensions: self.dimensions,
            });
        }
        let numbers = numbers.chunks_exact(self.dimensions.max(1));
        let rows: Vec<Row> = numbers
            .map(|row| {
                let mut reduced = Row::default();
                row.iter()
                    .for_each(|number| reduced.add(f64::from(f32::from_le_bytes(*number))));
                reduced
            })
            .collect();
        self.rows("embeddings", &rows, rows.len(), unit)
    }

    fn rows(
        &self,
        field: &'static str,
        rows: &[Row],
        expected: usize,
        unit: bool,
    ) -> Result<(), Wrong> {
        if rows.len() != expected {
            return Err(Wrong::Rows {
                field,
                found: rows.len(),
                expected,
            });
        }
        for (row, numbers) in rows.iter().enumerate() {
            if numbers.len != self.dimensions {
                return Err(Wrong::Length {
                    row,
                    field,
                    found: numbers.len,
                    expected: self.dimensions,
                });
            }
            let norm = numbers.square.sqrt();
            if !norm.is_finite() {
                return Err(Wrong::NotFinite { row, field });
            }
            if unit && (norm - 1.0).abs() > TOLERANCE {
                return Err(Wrong::Norm { row, field, norm });
            }
        }
        Ok(())
    }
}

fn ranking(answer: &Ranking, query: &str, files: &[String]) -> Result<(), Wrong> {
    if answer.query != query {
        return Err(Wrong::Query);
    }
    let mut sent: Vec<&str> = files.iter().map(String::as_str).collect();
    let mut named: Vec<&str> = answer
        .rankings
        .iter()
        .map(|r| r.filename.as_str())
        .collect();
    sent.sort_unstable();
    named.sort_unstable();
    if sent != named {
        return Err(Wrong::Files(files.len()));
    }
    for (n, ranked) in answer.rankings.iter().enumerate() {
        if ranked.rank != n + 1 {
            return Err(Wrong::Rank {
                entry: n + 1,
                rank: ranked.rank,
            });
        }
        if !(0.0..=1.0).contains(&ranked.score) {
            return Err(Wrong::Score(ranked.score));
        }
    }
    if answer
        .rankings
        .windows(2)
        .any(|pair| pair[0].score < pair[1].score)
    {
        return Err(Wrong::Order);
    }
    Ok(())
}

fn parse<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Wrong> {
    Ok(serde_json::from_slice(body)?)
}

/// Whether the number of rows is right, by counting something that each row has once.
fn counts_fit(expected: &Expected, body: &[u8]) -> bool {
    let brackets = || body.iter().filter(|byte| **byte == b'[').count();
    match expected {
        Expected::Rows { rows, .. } => brackets() == rows + 1,
        Expected::Pairs { texts, images } => brackets() == 2 * texts + images + 3,
        Expected::Ranking { files, .. } => {
            let key = br#""rank""#;
            body.windows(key.len()).filter(|found| found == key).count() == files.len()
        }
        Expected::Refusal => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKER: Checker = Checker {
        dimensions: 2,
        how: Check::All,
        answers: Answers::Json,
    };

    fn wrong(expected: &Expected, body: &str) -> Option<String> {
        CHECKER.wrong(1, expected, 200, body.as_bytes())
    }

    #[test]
    fn embeddings_as_bytes() {
        let checker = Checker {
            answers: Answers::Bytes,
            ..CHECKER
        };
        let expected = Expected::Rows {
            rows: 2,
            unit: true,
        };
        let wrong = |numbers: &[f32]| {
            let body: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            checker.wrong(1, &expected, 200, &body)
        };
        assert_eq!(wrong(&[0.6, 0.8, 1.0, 0.0]), None);
        for (numbers, word) in [
            ([0.6, 0.8, 1.0].as_slice(), "12 bytes"),
            (&[0.6, 0.8, 0.9, 0.0], "norm 0.9"),
            (&[0.6, 0.8, f32::NAN, 1.0], "not finite"),
        ] {
            let said = wrong(numbers).unwrap();
            assert!(said.contains(word), "{said}");
        }
    }

    #[test]
    fn embeddings() {
        let expected = Expected::Rows {
            rows: 2,
            unit: true,
        };
        let good = r#"{"embeddings": [[0.6, 0.8], [1, 0]], "dimensions": 2, "model": "[x]"}"#;
        assert_eq!(wrong(&expected, good), None);
        for (body, word) in [
            (
                r#"{"embeddings": [[0.6, 0.8]], "dimensions": 2}"#,
                "1 rows where 2",
            ),
            (
                r#"{"embeddings": [[0.6, 0.8], [1]], "dimensions": 2}"#,
                "row 1",
            ),
            (
                r#"{"embeddings": [[0.6, 0.8], [0.9, 0]], "dimensions": 2}"#,
                "norm 0.9",
            ),
            (
                r#"{"embeddings": [[0.6, 0.8], [null, 1]], "dimensions": 2}"#,
                "cannot be read",
            ),
            (
                r#"{"embeddings": [[0.6, 0.8], [NaN, 1]], "dimensions": 2}"#,
                "cannot be read",
            ),
            (
                r#"{"embeddings": [[0.6, 0.8], [1e200, 1e200]], "dimensions": 2}"#,
                "finite",
            ),
            (
                r#"{"embeddings": [[0.6, 0.8], [1, 0]], "dimensions": 3}"#,
                "dimensions",
            ),
            (r#"{"embeddings": [[0.6, 0."#, "cannot be read"),
        ] {
            let error = wrong(&expected, body).unwrap_or_else(|| panic!("accepted: {body}"));
            assert!(error.contains(word), "{error}");
        }
        let raw = Expected::Rows {
            rows: 2,
            unit: false,
        };
        assert_eq!(
            wrong(&raw, r#"{"embeddings": [[6, 8], [9, 0]], "dimensions": 2}"#),
            None
        );
    }

    #[test]
    fn similarities() {
        let expected = Expected::Pairs {
            texts: 1,
            images: 2,
        };
        let body = |similarities: &str| {
            format!(
                r#"{{"similarities": {similarities}, "text_embeddings": [[1, 0]],
                "image_embeddings": [[0, 1], [0.6, 0.8]], "note": "(0-1 range)"}}"#
            )
        };
        assert_eq!(wrong(&expected, &body("[[0, 1]]")), None);
        assert!(counts_fit(&expected, body("[[0, 1]]").as_bytes()));
        for similarities in ["[[0, 1.01]]", "[[-0.1, 1]]", "[[0.5]]", "[[0, 1], [0, 1]]"] {
            assert!(
                wrong(&expected, &body(similarities)).is_some(),
                "{similarities}"
            );
        }
    }

    #[test]
    fn rankings() {
        let expected = Expected::Ranking {
            query: "q".to_owned(),
            files: vec!["a".to_owned(), "b".to_owned()],
        };
        let body = |first: (&str, f64, u32), second: (&str, f64, u32)| {
            let entry = |(filename, score, rank): (&str, f64, u32)| serde_json::json!({"filename": filename, "score": score, "rank": rank});
            serde_json::json!({"query": "q", "rankings": [entry(first), entry(second)]}).to_string()
        };
        let good = body(("b", 0.9, 1), ("a", 0.1, 2));
        assert_eq!(wrong(&expected, &good), None);
        assert!(counts_fit(&expected, good.as_bytes()));
        for wrong_body in [
            body(("b", 0.1, 1), ("a", 0.9, 2)),
            body(("b", 0.9, 1), ("b", 0.1, 2)),
            body(("b", 0.9, 1), ("c", 0.1, 2)),
            body(("b", 0.9, 0), ("a", 0.1, 1)),
            body(("b", 1.9, 1), ("a", 0.1, 2)),
            good.replace("\"q\"", "\"p\""),
        ] {
            assert!(wrong(&expected, &wrong_body).is_some(), "{wrong_body}");
        }
    }

    #[test]
    fn a_sample_still_counts_every_row() {
        let checker = Checker {
            how: Check::Sample,
            answers: Answers::Json,
            ..CHECKER
        };
        let expected = Expected::Rows {
            rows: 2,
            unit: true,
        };
        let short = br#"{"embeddings": [[0.6, 0.8]], "dimensions": 2}"#;
        let long = br#"{"embeddings": [[9, 9], [9, 9]], "dimensions": 2}"#;
        assert!(checker.wrong(1, &expected, 200, short).is_some());
        assert!(checker.wrong(1, &expected, 200, long).is_none());
        assert!(checker.wrong(16, &expected, 200, long).is_some());
        // A bracket in the model's name is not a missing row.
        let named = br#"{"embeddings": [[0.6, 0.8], [1, 0]], "dimensions": 2, "model": "[x"}"#;
        assert!(checker.wrong(1, &expected, 200, named).is_none());
        let none = Checker {
            how: Check::None,
            answers: Answers::Json,
            ..CHECKER
        };
        assert!(none.wrong(16, &expected, 200, short).is_none());
    }

    #[test]
    fn refusals_are_not_wrong_and_server_errors_to_hostile_requests_are() {
        assert!(CHECKER.wrong(0, &Expected::Refusal, 400, b"").is_none());
        assert!(CHECKER.wrong(0, &Expected::Refusal, 500, b"").is_some());
        let rows = Expected::Rows {
            rows: 1,
            unit: true,
        };
        assert!(CHECKER.wrong(0, &rows, 429, b"").is_none());
    }
}
