//! What is said of a property.

use serde::Serialize;

use super::cases::{Cases, verdict};
use crate::property::Property;
use crate::target::Failure;

/// The judgement on a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The server has the property.
    Pass,
    /// It does not: it gave another vector for at least one case, or failed.
    Fail,
    /// It refused at least one input with a status of 4xx, and was right about all others.
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
    /// The lowest cosine to the right vectors, over the cases that have a vector. One that is not
    /// a number, as that of a vector of zeros, is the lowest; in JSON it is `null`.
    pub cosine: Option<f32>,
    /// The case with the lowest cosine, if its vector is wrong.
    pub worst: Option<String>,
    /// What the error costs in ranking: for how many of the cases another picture (for a text)
    /// or text (for a picture) of this kit's comes first, and of how many cases with a vector.
    pub moved: Option<(usize, usize)>,
    /// What else there is to say: why the server refused, or what was wrong.
    pub detail: Option<String>,
}

impl Outcome {
    /// Nothing is wrong yet.
    pub(super) fn of(property: &Property) -> Self {
        Self {
            id: property.id,
            title: property.title,
            why: property.why,
            verdict: Verdict::Pass,
            cosine: None,
            worst: None,
            moved: None,
            detail: None,
        }
    }

    pub(super) fn fail(&mut self, detail: String) {
        self.verdict = Verdict::Fail;
        self.detail = Some(detail);
    }

    /// There is an answer to none of its cases.
    pub(super) fn failed(&mut self, failure: &Failure) {
        self.verdict = verdict(failure);
        self.detail = (*failure != Failure::NotOffered).then(|| failure.to_string());
    }

    pub(super) fn judged(&mut self, cases: &Cases) {
        self.verdict = cases.verdict();
        self.detail = cases.detail();
    }
}
