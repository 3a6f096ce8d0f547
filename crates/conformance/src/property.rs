//! The properties: what is asked, and why servers get it wrong.

mod pictures;
mod texts;

pub use pictures::Picture;

/// One thing that a server can get right or wrong.
#[derive(Debug)]
pub struct Property {
    /// Its identifier in reports for programs.
    pub id: &'static str,
    /// What a server that has it does.
    pub title: &'static str,
    /// What a server that does not have it probably does instead.
    pub why: &'static str,
    /// What is asked.
    pub question: Question,
}

/// What is asked to check a property.
#[derive(Debug)]
pub enum Question {
    /// The vectors of these texts, each in a request of its own.
    Texts(&'static [&'static str]),
    /// The vectors of these texts in one request.
    TextsTogether(&'static [&'static str]),
    /// The vectors of these pictures, each in a request of its own.
    Pictures(&'static [Picture]),
    /// The vectors of these pictures in one request.
    PicturesTogether(&'static [Picture]),
    /// Whether the vectors of these texts, asked in one request, have length one.
    UnitLength(&'static [&'static str]),
    /// Whether the vectors of these pictures, each asked alone, have length one.
    PicturesUnitLength(&'static [Picture]),
    /// The probabilities of all pairs of a text and a picture.
    Probabilities(&'static [&'static str], &'static [Picture]),
    /// A picture that must be refused. That says something only of a server that takes `whole`.
    Damaged {
        /// A picture of the same format that is as it should be.
        whole: Picture,
        /// The one that must be refused.
        damaged: Picture,
    },
}

/// Why the length of a vector matters.
const NOT_NORMALIZED: &str = "cosines are computed as plain products of vectors, which needs \
                              length one; the server returns them as the tower does";

/// All properties, in the order in which they are checked.
pub fn properties() -> Vec<Property> {
    let answers = [
        Property {
            id: "answers.unit-length",
            title: "vectors of texts have length one",
            why: NOT_NORMALIZED,
            question: Question::UnitLength(&texts::SENTENCES),
        },
        Property {
            id: "answers.unit-length-pictures",
            title: "vectors of pictures have length one",
            why: NOT_NORMALIZED,
            question: Question::PicturesUnitLength(&pictures::PLAIN),
        },
        Property {
            id: "answers.probabilities",
            title: "scores are sigmoid(scale * cosine + bias) with the checkpoint's numbers",
            why: "the server uses a softmax over the texts of a request, as for CLIP, or leaves \
                  out the bias",
            question: Question::Probabilities(&texts::SENTENCES, &pictures::PLAIN),
        },
    ];
    let mut all = texts::properties();
    all.extend(pictures::properties());
    all.extend(answers);
    all
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::properties;

    #[test]
    fn every_property_has_an_identifier_of_its_own_and_says_why_it_matters() {
        let all = properties();
        let ids: HashSet<_> = all.iter().map(|property| property.id).collect();
        assert_eq!(ids.len(), all.len());
        for property in &all {
            assert!(property.why.len() > 20, "{}", property.id);
        }
    }
}
