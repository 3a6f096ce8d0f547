//! Asks a target, compares its answers with the truth, and judges.

mod cases;
mod outcome;

use std::cell::Cell;

use self::cases::{Answer, Cases, alone, together};
pub use self::outcome::{Outcome, Verdict};
use crate::property::{Picture, Property, Question, properties};
use crate::target::{Failure, Rows, Target};
use crate::truth::{NoTruth, Truth};
use crate::vector::{cosine, is_lower, is_near, length, nearest};

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
    /// The target gives no vectors at all, as without its key.
    #[error("nothing could be checked, the server gives no vectors: {0}")]
    NoVectors(String),
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
    let checker = Checker {
        target,
        truth,
        least,
        gallery: &gallery,
        is_the_model: Cell::new(false),
    };
    let mut outcomes = Vec::with_capacity(properties.len());
    for property in &properties {
        let mut outcome = Outcome::of(property);
        checker.judge(property, &mut outcome)?;
        done(&outcome);
        outcomes.push(outcome);
    }
    let judged = |outcome: &Outcome| matches!(outcome.verdict, Verdict::Pass | Verdict::Fail);
    if !outcomes.iter().any(judged) {
        let mut details = outcomes.iter().filter_map(|it| it.detail.as_deref());
        let detail = details.next().unwrap_or("nothing is offered");
        return Err(CheckError::NoVectors(detail.to_owned()));
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
                Question::UnitLength(_)
                | Question::PicturesUnitLength(_)
                | Question::Probabilities(..)
                | Question::Damaged { .. } => {}
            }
        }
        Ok(Self {
            texts: truth.texts(&texts)?,
            pictures: truth.pictures(&pictures)?,
        })
    }
}

/// What is needed to judge properties.
struct Checker<'a> {
    target: &'a dyn Target,
    truth: &'a dyn Truth,
    least: f32,
    gallery: &'a Gallery,
    /// Whether there was a vector as long as the model's. One of another length is then no sign of
    /// another model, but wrong.
    is_the_model: Cell<bool>,
}

impl Checker<'_> {
    fn judge(&self, property: &Property, outcome: &mut Outcome) -> Result<(), CheckError> {
        match &property.question {
            Question::Texts(texts) => {
                let right = self.truth.texts(texts)?;
                let got = self.each_text(texts);
                self.vectors(
                    outcome,
                    Ok(got),
                    &right,
                    &quoted(texts),
                    &self.gallery.pictures,
                )
            }
            Question::TextsTogether(texts) => {
                let right = self.truth.texts(texts)?;
                let got = together(self.target.texts(texts), texts.len());
                self.vectors(outcome, got, &right, &quoted(texts), &self.gallery.pictures)
            }
            Question::Pictures(pictures) => {
                let right = self.truth.pictures(pictures)?;
                let got = self.each_picture(pictures);
                self.vectors(
                    outcome,
                    Ok(got),
                    &right,
                    &named(pictures),
                    &self.gallery.texts,
                )
            }
            Question::PicturesTogether(pictures) => {
                let right = self.truth.pictures(pictures)?;
                let got = together(self.target.pictures(pictures), pictures.len());
                self.vectors(outcome, got, &right, &named(pictures), &self.gallery.texts)
            }
            Question::UnitLength(texts) => {
                let got = together(self.target.texts(texts), texts.len());
                unit_length(outcome, got, &quoted(texts));
                Ok(())
            }
            Question::PicturesUnitLength(pictures) => {
                unit_length(outcome, Ok(self.each_picture(pictures)), &named(pictures));
                Ok(())
            }
            Question::Probabilities(texts, pictures) => {
                self.probabilities(outcome, texts, pictures)
            }
            Question::Damaged { whole, damaged } => {
                self.damaged(outcome, *whole, *damaged);
                Ok(())
            }
        }
    }

    fn each_text(&self, texts: &[&str]) -> Vec<Answer> {
        let each = texts.iter().map(|text| self.target.texts(&[text]));
        each.map(alone).collect()
    }

    fn each_picture(&self, pictures: &[Picture]) -> Vec<Answer> {
        let each = pictures.iter().map(|it| self.target.pictures(&[*it]));
        each.map(alone).collect()
    }

    /// Compares vectors with the right ones, and what is nearest to both in `gallery`.
    fn vectors(
        &self,
        outcome: &mut Outcome,
        got: Result<Vec<Answer>, Failure>,
        right: &Rows,
        names: &[String],
        gallery: &Rows,
    ) -> Result<(), CheckError> {
        let got = match got {
            Ok(got) => got,
            Err(failure) => {
                outcome.failed(&failure);
                return Ok(());
            }
        };
        let (mut cases, mut vectors, mut moved) = (Cases::default(), 0, 0);
        for ((got, right), name) in got.into_iter().zip(right).zip(names) {
            let got = match got {
                Ok(got) => got,
                Err(failure) => {
                    cases.failed(name, failure);
                    continue;
                }
            };
            if got.len() != right.len() {
                let (theirs, own) = (got.len(), right.len());
                if theirs > 0 && !self.is_the_model.get() {
                    return Err(CheckError::OtherModel { theirs, own });
                }
                let wrong = format!("a vector has {theirs} floats and should have {own}");
                cases.failed(name, Failure::Broken(wrong));
                continue;
            }
            self.is_the_model.set(true);
            let cosine = cosine(&got, right);
            // One that is not a number is not at least anything.
            let is_right = cosine >= self.least;
            cases.answered(is_right);
            if outcome.cosine.is_none_or(|lowest| is_lower(cosine, lowest)) {
                outcome.cosine = Some(cosine);
                outcome.worst = (!is_right).then(|| name.clone());
            }
            vectors += 1;
            moved += usize::from(nearest(&got, gallery) != nearest(right, gallery));
        }
        outcome.moved = (vectors > 0).then_some((moved, vectors));
        outcome.judged(&cases);
        Ok(())
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
                outcome.failed(&failure);
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

    fn damaged(&self, outcome: &mut Outcome, whole: Picture, damaged: Picture) {
        // A server that refuses every picture has not looked at this one.
        if let Err(failure) = alone(self.target.pictures(&[whole])) {
            outcome.failed(&failure);
            return;
        }
        match self.target.pictures(&[damaged]) {
            Err(Failure::Refused { .. }) => {}
            Err(failure) => outcome.failed(&failure),
            Ok(_) => outcome.fail("it was answered with a vector".to_owned()),
        }
    }
}

fn unit_length(outcome: &mut Outcome, got: Result<Vec<Answer>, Failure>, names: &[String]) {
    let got = match got {
        Ok(got) => got,
        Err(failure) => return outcome.failed(&failure),
    };
    let mut cases = Cases::default();
    let mut furthest: Option<f32> = None;
    for (got, name) in got.into_iter().zip(names) {
        match got {
            Err(failure) => cases.failed(name, failure),
            Ok(vector) => {
                let length = length(&vector);
                let is_one = is_near(length, 1.0, LENGTH_TOLERANCE);
                cases.answered(is_one);
                let off = |length: f32| (length - 1.0).abs();
                if !is_one && furthest.is_none_or(|other| off(length) > off(other)) {
                    furthest = Some(length);
                }
            }
        }
    }
    outcome.judged(&cases);
    if let Some(length) = furthest {
        outcome.fail(format!("a vector has length {length:.4}"));
    }
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
