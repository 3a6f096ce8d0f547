//! Targets with one fault each: the check must find that fault and no other.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use siglip2_conformance::check::{CheckError, Outcome, Verdict, check};
use siglip2_conformance::property::{Picture, Question, properties};
use siglip2_conformance::report::lines;
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
    DoublePictures,
    Swaps,
    Loses,
    OtherModel,
    TakesDamaged,
    NoGif,
    NoPictures,
    NoPng,
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
                (Fault::NoPng, name) if name.ends_with(".png") => {
                    return Err(refused(415, "no PNG"));
                }
                _ => {}
            }
        }
        let mut rows = Right.pictures(pictures).unwrap();
        if self.0 == Fault::DoublePictures {
            rows.iter_mut().flatten().for_each(|x| *x *= 2.0);
        }
        Ok(rows)
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
        (
            Fault::DoublePictures,
            &[("answers.unit-length-pictures", Fail)],
        ),
        (
            Fault::Loses,
            &[("answers.unit-length", Fail), ("texts.batch", Fail)],
        ),
        (Fault::TakesDamaged, &[("pictures.damaged", Fail)]),
        (Fault::NoGif, &[("pictures.gif", Refused)]),
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
        let expected = match id.contains("pictures") {
            true => NotOffered,
            false => Verdict::Pass,
        };
        assert_eq!(outcome.verdict, expected, "{id}");
    }
    // Who refuses whole files has not recognized the damaged one.
    assert_eq!(outcomes(Fault::NoPng)["pictures.damaged"].verdict, Refused);
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

/// What is given for one case that is asked alone, instead of the right vector.
#[derive(Clone, Copy, Debug)]
enum Given {
    Zeros,
    NotANumber,
    Infinite,
    Reversed,
    Shorter,
    NoNumbers,
    NoVector,
    TwoVectors,
    Broken,
    Refused,
    NotOffered,
}

/// A target that is right but for some cases, known by their bytes.
struct But<'a>(&'a [(&'a [u8], Given)]);

impl But<'_> {
    fn ask(&self, inputs: &[&[u8]], right: Rows) -> Result<Rows, Failure> {
        let [input] = inputs else {
            return Ok(right);
        };
        let Some((_, given)) = self.0.iter().find(|(case, _)| case == input) else {
            return Ok(right);
        };
        let mut row = right[0].clone();
        Ok(match given {
            Given::Zeros => vec![vec![0.0; DIMENSIONS]],
            Given::NotANumber => vec![vec![f32::NAN; DIMENSIONS]],
            Given::Infinite => vec![vec![f32::INFINITY; DIMENSIONS]],
            Given::Reversed => {
                row.reverse();
                vec![row]
            }
            Given::Shorter => vec![row[1..].to_vec()],
            Given::NoNumbers => vec![vec![]],
            Given::NoVector => vec![],
            Given::TwoVectors => vec![row.clone(), row],
            Given::Broken => return Err(Failure::Broken("it answered 500".to_owned())),
            Given::Refused => {
                return Err(Failure::Refused {
                    status: 415,
                    reason: "not this one".to_owned(),
                });
            }
            Given::NotOffered => return Err(Failure::NotOffered),
        })
    }
}

impl Target for But<'_> {
    fn texts(&self, texts: &[&str]) -> Result<Rows, Failure> {
        let inputs: Vec<_> = texts.iter().map(|text| text.as_bytes()).collect();
        self.ask(&inputs, Right.texts(texts).unwrap())
    }

    fn pictures(&self, pictures: &[Picture]) -> Result<Rows, Failure> {
        let right = Faulty(Fault::None).pictures(pictures)?;
        let inputs: Vec<_> = pictures.iter().map(|picture| picture.bytes).collect();
        self.ask(&inputs, right)
    }

    fn probabilities(&self, texts: &[&str], pictures: &[Picture]) -> Result<Rows, Failure> {
        Faulty(Fault::None).probabilities(texts, pictures)
    }
}

/// The cases of a question that are asked alone.
fn asked_alone(question: &Question) -> Vec<&'static [u8]> {
    match question {
        Question::Texts(texts) => texts.iter().map(|text| text.as_bytes()).collect(),
        Question::Pictures(pictures) | Question::PicturesUnitLength(pictures) => {
            pictures.iter().map(|picture| picture.bytes).collect()
        }
        Question::Damaged { whole, damaged } => vec![whole.bytes, damaged.bytes],
        Question::TextsTogether(_)
        | Question::PicturesTogether(_)
        | Question::UnitLength(_)
        | Question::Probabilities(..) => vec![],
    }
}

fn outcomes_but(given: &[(&[u8], Given)]) -> BTreeMap<&'static str, Outcome> {
    let all = check(&But(given), &Right, 0.999, |_| ()).unwrap();
    all.into_iter()
        .map(|outcome| (outcome.id, outcome))
        .collect()
}

#[test]
fn a_fault_in_the_last_case_of_any_property_is_found() {
    for property in properties() {
        let cases = asked_alone(&property.question);
        let is_compared = matches!(
            property.question,
            Question::Texts(_) | Question::Pictures(_)
        );
        let Some(last) = cases.last().filter(|_| is_compared) else {
            continue;
        };
        for given in [
            Given::Zeros,
            Given::NotANumber,
            Given::Infinite,
            Given::Reversed,
            Given::Shorter,
            Given::NoNumbers,
            Given::NoVector,
            Given::TwoVectors,
            Given::Broken,
            Given::Refused,
            Given::NotOffered,
        ] {
            let expected = match given {
                Given::Refused => Verdict::Refused,
                Given::NotOffered if cases.len() == 1 => Verdict::NotOffered,
                Given::NotOffered => Verdict::Refused,
                _ => Verdict::Fail,
            };
            let outcomes = outcomes_but(&[(last, given)]);
            let (id, outcome) = (property.id, &outcomes[property.id]);
            assert_eq!(outcome.verdict, expected, "{id}, {given:?}");
            for other in properties() {
                if !asked_alone(&other.question).contains(last) {
                    let verdict = outcomes[other.id].verdict;
                    assert_eq!(verdict, Verdict::Pass, "{}, {id}, {given:?}", other.id);
                }
            }
        }
    }
}

#[test]
fn a_refused_case_hides_no_wrong_one() {
    let cases = ["cat", "star", "a", "7"].map(str::as_bytes);
    let [first, second, third, _] = cases;
    for wrong in [Given::Zeros, Given::Reversed, Given::Broken] {
        for given in [
            [(first, Given::Refused), (second, wrong)],
            [(first, wrong), (second, Given::Refused)],
            [(first, Given::NotOffered), (third, wrong)],
        ] {
            let outcome = &outcomes_but(&given)["texts.one-word"];
            assert_eq!(outcome.verdict, Verdict::Fail, "{given:?}");
        }
    }
    let outcome = &outcomes_but(&[(second, Given::Refused)])["texts.one-word"];
    assert_eq!(outcome.verdict, Verdict::Refused);
    assert!(outcome.cosine.unwrap() > 0.999);
    assert_eq!(outcome.moved, Some((0, 3)));
    let detail = outcome.detail.as_ref().unwrap();
    assert_eq!(detail, "no vector for 1 of 4, \"star\": 415: not this one");
    let outcome = &outcomes_but(&[(second, Given::Refused), (third, Given::Broken)]);
    let detail = outcome["texts.one-word"].detail.as_ref().unwrap();
    assert_eq!(
        detail,
        "no vector for 2 of 4, such as \"a\": it answered 500"
    );
    let none = cases.map(|case| (case, Given::NotOffered));
    let outcome = &outcomes_but(&none)["texts.one-word"];
    assert_eq!(outcome.verdict, Verdict::NotOffered);
}

#[test]
fn a_vector_without_a_direction_is_the_worst_and_ranks_nothing() {
    let (second, third) = ("star".as_bytes(), "a".as_bytes());
    for given in [Given::Zeros, Given::NotANumber, Given::Infinite] {
        let outcomes = outcomes_but(&[(second, given), (third, Given::Reversed)]);
        let outcome = &outcomes["texts.one-word"];
        assert!(!outcome.cosine.unwrap().is_finite(), "{given:?}");
        assert_eq!(outcome.worst.as_deref(), Some("\"star\""), "{given:?}");
        assert!(outcome.moved.unwrap().0 >= 1, "{given:?}");
        let said = lines(outcome);
        assert!(said.contains("[cosine none: the vector is zero"), "{said}");
        assert!(said.contains("worst: \"star\""), "{said}");
    }
}

#[test]
fn lengths_of_pictures_are_those_of_every_answer() {
    let last = match properties().pop().unwrap().question {
        Question::Probabilities(_, pictures) => pictures.last().unwrap().bytes,
        other => panic!("{other:?}"),
    };
    for (given, expected) in [
        (Given::Zeros, Verdict::Fail),
        (Given::NotANumber, Verdict::Fail),
        (Given::NoVector, Verdict::Fail),
        (Given::Broken, Verdict::Fail),
        (Given::Refused, Verdict::Refused),
        (Given::Reversed, Verdict::Pass),
    ] {
        let outcome = &outcomes_but(&[(last, given)])["answers.unit-length-pictures"];
        assert_eq!(outcome.verdict, expected, "{given:?}");
    }
}

#[test]
fn a_server_that_gives_nothing_holds_nothing() {
    struct Denies;
    impl Target for Denies {
        fn texts(&self, _texts: &[&str]) -> Result<Rows, Failure> {
            Err(Failure::Refused {
                status: 401,
                reason: "no key".to_owned(),
            })
        }
    }
    let error = check(&Denies, &Right, 0.999, |_| ()).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("nothing could be checked"), "{error}");
    assert!(error.contains("401: no key"), "{error}");
}
