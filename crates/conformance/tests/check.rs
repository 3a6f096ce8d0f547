//! Targets with one fault each: the check must find that fault and no other.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use siglip2_conformance::check::{CheckError, Outcome, Verdict, check};
use siglip2_conformance::property::Picture;
use siglip2_conformance::target::{Failure, Rows, Target};
use siglip2_conformance::truth::{NoTruth, Truth};

const DIMENSIONS: usize = 64;

/// A vector of length one that depends on every byte.
fn vector(bytes: &[u8]) -> Vec<f32> {
    let mut state = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    let mut vector: Vec<f32> = (0..DIMENSIONS)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}

fn probability(cosine: f32) -> f32 {
    1.0 / (1.0 + (-(10.0 * cosine - 3.0)).exp())
}

struct Right;

impl Truth for Right {
    fn texts(&self, texts: &[&str]) -> Result<Rows, NoTruth> {
        Ok(texts.iter().map(|text| vector(text.as_bytes())).collect())
    }
    fn pictures(&self, pictures: &[Picture]) -> Result<Rows, NoTruth> {
        Ok(pictures
            .iter()
            .map(|picture| vector(picture.bytes))
            .collect())
    }
    fn probability(&self, cosine: f32) -> f32 {
        probability(cosine)
    }
}

/// What a target does otherwise than right.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    LowerCase,
    Trims,
    Double,
    Swaps,
    Loses,
    NotANumber,
    OtherModel,
    TakesDamaged,
    NoGif,
    NoPictures,
    BreaksOnGrey,
    Softmax,
}

struct Faulty(Fault);

impl Target for Faulty {
    fn texts(&self, texts: &[&str]) -> Result<Rows, Failure> {
        let read = texts.iter().map(|text| match self.0 {
            Fault::LowerCase => text.to_lowercase(),
            Fault::Trims => text.trim().to_owned(),
            _ => (*text).to_owned(),
        });
        let mut rows: Rows = read.map(|text| vector(text.as_bytes())).collect();
        match self.0 {
            Fault::Double => rows.iter_mut().flatten().for_each(|x| *x *= 2.0),
            Fault::Swaps => rows.reverse(),
            Fault::Loses if rows.len() > 1 => drop(rows.pop()),
            Fault::NotANumber if texts == [""] => rows[0][0] = f32::NAN,
            Fault::OtherModel => rows.iter_mut().for_each(|row| row.truncate(32)),
            _ => {}
        }
        Ok(rows)
    }

    fn pictures(&self, pictures: &[Picture]) -> Result<Rows, Failure> {
        let refused = |status, reason: &str| Failure::Refused {
            status,
            reason: reason.to_owned(),
        };
        if self.0 == Fault::NoPictures {
            return Err(Failure::NotOffered);
        }
        for picture in pictures {
            match (self.0, picture.name) {
                (Fault::TakesDamaged, "damaged.png") => {}
                (_, "damaged.png") => return Err(refused(400, "it is damaged")),
                (Fault::NoGif, "animated.gif") => return Err(refused(415, "no GIF")),
                (Fault::BreaksOnGrey, "grey.png") => {
                    return Err(Failure::Broken("it answered 500".to_owned()));
                }
                _ => {}
            }
        }
        Ok(Right.pictures(pictures).unwrap())
    }

    fn probabilities(&self, texts: &[&str], pictures: &[Picture]) -> Result<Rows, Failure> {
        let (texts, pictures) = (
            Right.texts(texts).unwrap(),
            Right.pictures(pictures).unwrap(),
        );
        let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let row = |text: &Vec<f32>| -> Vec<f32> {
            let cosines: Vec<f32> = pictures.iter().map(|it| cosine(text, it)).collect();
            let sum: f32 = cosines.iter().map(|cosine| cosine.exp()).sum();
            match self.0 {
                Fault::Softmax => cosines.iter().map(|cosine| cosine.exp() / sum).collect(),
                _ => cosines.into_iter().map(probability).collect(),
            }
        };
        Ok(texts.iter().map(row).collect())
    }
}

fn outcomes(fault: Fault) -> BTreeMap<&'static str, Outcome> {
    let all = check(&Faulty(fault), &Right, 0.999, |_| ()).unwrap();
    all.into_iter()
        .map(|outcome| (outcome.id, outcome))
        .collect()
}

#[test]
fn a_fault_is_found_where_it_is_and_nowhere_else() {
    use Verdict::{Fail, NotOffered, Refused};
    for (fault, expected) in [
        (Fault::None, &[][..]),
        (Fault::LowerCase, &[("texts.upper-case", Fail)]),
        (Fault::Trims, &[("texts.white-space", Fail)]),
        (Fault::Double, &[("answers.unit-length", Fail)]),
        (Fault::Swaps, &[("texts.batch", Fail)]),
        (Fault::Loses, &[("texts.batch", Fail)]),
        (Fault::NotANumber, &[("texts.empty", Fail)]),
        (Fault::TakesDamaged, &[("pictures.damaged", Fail)]),
        (Fault::NoGif, &[("pictures.gif", Refused)]),
        (Fault::BreaksOnGrey, &[("pictures.grey", Fail)]),
        (Fault::Softmax, &[("answers.probabilities", Fail)]),
    ] {
        let outcomes = outcomes(fault);
        let not_passed: Vec<_> = outcomes
            .values()
            .filter(|outcome| outcome.verdict != Verdict::Pass)
            .map(|outcome| (outcome.id, outcome.verdict))
            .collect();
        assert_eq!(not_passed, expected);
    }
    let without = outcomes(Fault::NoPictures);
    for (id, outcome) in without {
        let expected = match id.starts_with("pictures.") {
            true => NotOffered,
            false => Verdict::Pass,
        };
        assert_eq!(outcome.verdict, expected, "{id}");
    }
}

#[test]
fn the_worst_case_and_its_cost_are_named() {
    let upper_case = &outcomes(Fault::LowerCase)["texts.upper-case"];
    assert!(upper_case.cosine.unwrap() < 0.9);
    let (moved, of) = upper_case.moved.unwrap();
    assert!(moved > 0 && of == 4, "{moved} of {of}");
    assert!(upper_case.worst.as_ref().unwrap().starts_with('"'));
    let right = &outcomes(Fault::None)["texts.upper-case"];
    assert_eq!(right.moved, Some((0, 4)));
}

#[test]
fn another_model_is_no_list_of_faults() {
    let error = check(&Faulty(Fault::OtherModel), &Right, 0.999, |_| ()).unwrap_err();
    assert!(matches!(error, CheckError::OtherModel { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("32 floats and the model's 64"), "{said}");
}
