//! Asks a target, compares its answers with the truth, and judges.

use serde::Serialize;

use crate::property::{Picture, Property, Question, properties};
use crate::target::{Failure, Rows, Target};
use crate::truth::{NoTruth, Truth};

/// How far from one the length of a vector may be: FP16 has 11 bits.
const LENGTH_TOLERANCE: f32 = 2e-3;

/// How far a probability may be from the right one, if its logit is computed from vectors in
/// half precision; SigLIP 2 multiplies cosines with about 100.
const PROBABILITY_TOLERANCE: f32 = 0.02;

/// Characters by which a text is named.
const LONGEST_NAME: usize = 48;

/// Why a target cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There are no right vectors.
    #[error(transparent)]
    NoTruth(#[from] NoTruth),
    /// The target's vectors are of another length, so it has another model.
    #[error(
        "the server's vectors have {theirs} floats and the model's {own}: it has another model; \
         give that with --model"
    )]
    OtherModel {
        /// The length of the target's vectors.
        theirs: usize,
        /// The length of the right ones.
        own: usize,
    },
}

/// The judgement on a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The server has the property.
    Pass,
    /// It does not: it gave other vectors, or failed.
    Fail,
    /// It refused the input with a status of 4xx.
    Refused,
    /// The dialect or the server has nothing of the kind.
    NotOffered,
}

/// The result for one property.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The property's identifier.
    pub id: &'static str,
    /// What a server that has it does.
    pub title: &'static str,
    /// What a server that does not have it probably does instead.
    pub why: &'static str,
    /// The judgement.
    pub verdict: Verdict,
    /// The lowest cosine to the right vectors, over its cases.
    pub cosine: Option<f32>,
    /// The case with the lowest cosine.
    pub worst: Option<String>,
    /// What the error costs in ranking: for how many of the cases another picture (for a text)
    /// or text (for a picture) of this kit's comes first, and of how many cases.
    pub moved: Option<(usize, usize)>,
    /// What else there is to say: why the server refused, or what was wrong.
    pub detail: Option<String>,
}

/// Vectors of the truth by which rankings are compared.
struct Gallery {
    texts: Rows,
    pictures: Rows,
}

/// Checks every property, and passes each outcome to `done` as soon as it is known.
///
/// A vector is right if its cosine to the truth is at least `least`.
///
/// # Errors
///
/// See [`CheckError`].
pub fn check(
    target: &dyn Target,
    truth: &dyn Truth,
    least: f32,
    mut done: impl FnMut(&Outcome),
) -> Result<Vec<Outcome>, CheckError> {
    let properties = properties();
    let gallery = Gallery::of(&properties, truth)?;
    let mut outcomes = Vec::with_capacity(properties.len());
    for property in &properties {
        let checker = Checker {
            target,
            truth,
            least,
            gallery: &gallery,
        };
        let mut outcome = Outcome {
            id: property.id,
            title: property.title,
            why: property.why,
            verdict: Verdict::Pass,
            cosine: None,
            worst: None,
            moved: None,
            detail: None,
        };
        checker.judge(property, &mut outcome)?;
        done(&outcome);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

impl Gallery {
    fn of(properties: &[Property], truth: &dyn Truth) -> Result<Self, NoTruth> {
        let (mut texts, mut pictures) = (Vec::new(), Vec::new());
        for property in properties {
            match &property.question {
                Question::Texts(more) | Question::TextsTogether(more) => texts.extend(*more),
                Question::Pictures(more) | Question::PicturesTogether(more) => {
                    pictures.extend(more.iter().copied());
                }
                Question::UnitLength(_) | Question::Probabilities(..) | Question::Damaged(_) => {}
            }
        }
        Ok(Self {
            texts: truth.texts(&texts)?,
            pictures: truth.pictures(&pictures)?,
        })
    }
}

/// What is needed to judge one property.
struct Checker<'a> {
    target: &'a dyn Target,
    truth: &'a dyn Truth,
    least: f32,
    gallery: &'a Gallery,
}

impl Checker<'_> {
    fn judge(&self, property: &Property, outcome: &mut Outcome) -> Result<(), CheckError> {
        match &property.question {
            Question::Texts(texts) => {
                let got = texts.iter().map(|text| self.target.texts(&[text]));
                let got = flattened(got);
                self.vectors(
                    outcome,
                    got,
                    self.truth.texts(texts)?,
                    &quoted(texts),
                    false,
                )
            }
            Question::TextsTogether(texts) => {
                let got = self.target.texts(texts);
                self.vectors(
                    outcome,
                    got,
                    self.truth.texts(texts)?,
                    &quoted(texts),
                    false,
                )
            }
            Question::Pictures(pictures) => {
                let got = pictures
                    .iter()
                    .map(|picture| self.target.pictures(&[*picture]));
                let got = flattened(got);
                let right = self.truth.pictures(pictures)?;
                self.vectors(outcome, got, right, &named(pictures), true)
            }
            Question::PicturesTogether(pictures) => {
                let got = self.target.pictures(pictures);
                let right = self.truth.pictures(pictures)?;
                self.vectors(outcome, got, right, &named(pictures), true)
            }
            Question::UnitLength(texts) => {
                self.unit_length(outcome, self.target.texts(texts));
                Ok(())
            }
            Question::Probabilities(texts, pictures) => {
                self.probabilities(outcome, texts, pictures)
            }
            Question::Damaged(picture) => {
                match self.target.pictures(&[*picture]) {
                    Err(Failure::Refused { .. }) => {}
                    Err(failure) => outcome.failed(failure),
                    Ok(_) => outcome.fail("it was answered with a vector".to_owned()),
                }
                Ok(())
            }
        }
    }

    /// Compares vectors with the right ones.
    fn vectors(
        &self,
        outcome: &mut Outcome,
        got: Result<Rows, Failure>,
        right: Rows,
        names: &[String],
        are_pictures: bool,
    ) -> Result<(), CheckError> {
        let got = match got {
            Ok(got) => got,
            Err(failure) => {
                outcome.failed(failure);
                return Ok(());
            }
        };
        if got.len() != right.len() {
            let (got, sent) = (got.len(), right.len());
            outcome.fail(format!("{got} vectors were answered for {sent} inputs"));
            return Ok(());
        }
        let gallery = match are_pictures {
            true => &self.gallery.texts,
            false => &self.gallery.pictures,
        };
        let mut moved = 0;
        for ((got, right), name) in got.iter().zip(&right).zip(names) {
            if got.len() != right.len() {
                let (theirs, own) = (got.len(), right.len());
                return Err(CheckError::OtherModel { theirs, own });
            }
            let cosine = cosine(got, right);
            if outcome.cosine.is_none_or(|lowest| cosine < lowest) {
                outcome.cosine = Some(cosine);
                outcome.worst = Some(name.clone());
            }
            moved += usize::from(first(got, gallery) != first(right, gallery));
        }
        outcome.moved = Some((moved, names.len()));
        // One that is not a number is not at least anything.
        if !outcome.cosine.is_some_and(|lowest| lowest >= self.least) {
            outcome.verdict = Verdict::Fail;
        }
        Ok(())
    }

    fn unit_length(&self, outcome: &mut Outcome, got: Result<Rows, Failure>) {
        match got {
            Err(failure) => outcome.failed(failure),
            Ok(rows) => {
                let lengths = rows.iter().map(|row| dot(row, row).sqrt());
                let off = lengths.filter(|length| !is_near(*length, 1.0, LENGTH_TOLERANCE));
                if let Some(length) = off.max_by(|a, b| (a - 1.0).abs().total_cmp(&(b - 1.0).abs()))
                {
                    outcome.fail(format!("a vector has length {length:.4}"));
                }
            }
        }
    }

    fn probabilities(
        &self,
        outcome: &mut Outcome,
        texts: &[&str],
        pictures: &[Picture],
    ) -> Result<(), CheckError> {
        let got = match self.target.probabilities(texts, pictures) {
            Ok(got) => got,
            Err(failure) => {
                outcome.failed(failure);
                return Ok(());
            }
        };
        let (rows, columns) = (self.truth.texts(texts)?, self.truth.pictures(pictures)?);
        if got.len() != rows.len() || got.iter().any(|row| row.len() != columns.len()) {
            outcome.fail("there is not one score for each pair".to_owned());
            return Ok(());
        }
        for (scores, text) in got.iter().zip(&rows) {
            for (score, picture) in scores.iter().zip(&columns) {
                let right = self.truth.probability(cosine(text, picture));
                if !is_near(*score, right, PROBABILITY_TOLERANCE) {
                    outcome.fail(format!("a score is {score:.4} and should be {right:.4}"));
                }
            }
        }
        Ok(())
    }
}

impl Outcome {
    fn fail(&mut self, detail: String) {
        self.verdict = Verdict::Fail;
        self.detail = Some(detail);
    }

    fn failed(&mut self, failure: Failure) {
        self.verdict = match failure {
            Failure::NotOffered => Verdict::NotOffered,
            Failure::Refused { .. } => Verdict::Refused,
            Failure::Broken(_) => Verdict::Fail,
        };
        self.detail = (failure != Failure::NotOffered).then(|| failure.to_string());
    }
}

/// Whether a number is so near to another. One that is not a number is near to none.
fn is_near(number: f32, other: f32, tolerance: f32) -> bool {
    (number - other).abs() <= tolerance
}

/// The rows of several answers, or the first failure.
fn flattened(answers: impl Iterator<Item = Result<Rows, Failure>>) -> Result<Rows, Failure> {
    let answers = answers.collect::<Result<Vec<Rows>, Failure>>()?;
    Ok(answers.into_iter().flatten().collect())
}

fn quoted(texts: &[&str]) -> Vec<String> {
    let short = |text: &str| match text.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{:?} and so on", &text[..end]),
        None => format!("{text:?}"),
    };
    texts.iter().map(|text| short(text)).collect()
}

fn named(pictures: &[Picture]) -> Vec<String> {
    pictures
        .iter()
        .map(|picture| picture.name.to_owned())
        .collect()
}

/// The index of the row that is nearest to a vector.
fn first(vector: &[f32], gallery: &[Vec<f32>]) -> Option<usize> {
    let cosines = gallery.iter().map(|row| cosine(vector, row));
    cosines
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(index, _)| index)
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum::<f64>() as f32
}

/// The cosine of two vectors of any length; not a number if one is zero.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
