//! The cases of one property: what came of each, and the judgement on all of them.
//!
//! Each case counts by itself. A server that refuses one picture and is wrong about the next is
//! wrong, and so is one whose first vector is right and whose second one is none.

use super::Verdict;
use crate::target::{Failure, Rows};

/// What came of one case: its vector, or why there is none.
pub(super) type Answer = Result<Vec<f32>, Failure>;

/// The answer to a request for one vector.
pub(super) fn alone(answer: Result<Rows, Failure>) -> Answer {
    let mut rows = answer?;
    match (rows.pop(), rows.len()) {
        (Some(row), 0) => Ok(row),
        (row, others) => Err(miscounted(others + usize::from(row.is_some()), 1)),
    }
}

/// The answers to one request for several vectors: all of them, or the failure of the request.
pub(super) fn together(
    answer: Result<Rows, Failure>,
    inputs: usize,
) -> Result<Vec<Answer>, Failure> {
    let rows = answer?;
    match rows.len() == inputs {
        true => Ok(rows.into_iter().map(Ok).collect()),
        false => Err(miscounted(rows.len(), inputs)),
    }
}

fn miscounted(vectors: usize, inputs: usize) -> Failure {
    Failure::Broken(format!(
        "{vectors} vectors were answered for {inputs} inputs"
    ))
}

/// The judgements on the cases of one property.
#[derive(Default)]
pub(super) struct Cases<'a> {
    verdicts: Vec<Verdict>,
    /// Those without a vector, by name.
    failures: Vec<(&'a str, Failure)>,
}

impl<'a> Cases<'a> {
    /// A case that was answered, rightly or not.
    pub(super) fn answered(&mut self, rightly: bool) {
        self.verdicts.push(match rightly {
            true => Verdict::Pass,
            false => Verdict::Fail,
        });
    }

    /// A case that was not.
    pub(super) fn failed(&mut self, name: &'a str, failure: Failure) {
        self.verdicts.push(verdict(&failure));
        self.failures.push((name, failure));
    }

    /// The judgement: FAIL if one case is wrong or broken, else refused if one is refused. What is
    /// not offered for some cases only is offered, and refused for those.
    pub(super) fn verdict(&self) -> Verdict {
        let any = |wanted| self.verdicts.contains(&wanted);
        match () {
            () if any(Verdict::Fail) => Verdict::Fail,
            () if any(Verdict::Refused) => Verdict::Refused,
            () if !any(Verdict::NotOffered) => Verdict::Pass,
            () if any(Verdict::Pass) => Verdict::Refused,
            () => Verdict::NotOffered,
        }
    }

    /// Why cases have no vector: the worst of the reasons, and for how many there is one.
    pub(super) fn detail(&self) -> Option<String> {
        let worst_first = [Verdict::Fail, Verdict::Refused, Verdict::NotOffered];
        let of = |wanted| {
            let mut failures = self.failures.iter();
            failures.find(|(_, failure)| verdict(failure) == wanted)
        };
        let (name, failure) = worst_first.into_iter().find_map(of)?;
        match (self.verdict(), self.verdicts.len(), self.failures.len()) {
            (Verdict::NotOffered, ..) => None,
            (_, 1, _) => Some(failure.to_string()),
            (_, cases, 1) => Some(format!("no vector for 1 of {cases}, {name}: {failure}")),
            (_, cases, without) => Some(format!(
                "no vector for {without} of {cases}, such as {name}: {failure}"
            )),
        }
    }
}

/// The judgement on a case without a vector.
pub(super) fn verdict(failure: &Failure) -> Verdict {
    match failure {
        Failure::NotOffered => Verdict::NotOffered,
        Failure::Refused { .. } => Verdict::Refused,
        Failure::Broken(_) => Verdict::Fail,
    }
}
