//! Lists of texts, in JSON and in the field of a form.
//!
//! A list is read without a tree of values: a body of 16 MiB with eight million zeros in it must not
//! become eight million values before it is refused. An item that is not a string is kept as the
//! piece of JSON that it is, for the error.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::invalid;
use super::text_limits::TextLimits;
use crate::answer::problem::Problem;
use crate::answer::validation::{Input, Issue, Issues, MAX_ISSUES};

/// Reads the field `texts` of a form: a JSON array of strings.
pub(crate) fn parse_field(text: &str, limits: TextLimits) -> Result<Vec<String>, Problem> {
    let not_strings =
        |what: &str| Problem::from(Issue::not_json_strings("texts", what, Input::text(text)));
    let raw: &RawValue = serde_json::from_str(text)
        .map_err(|error| not_strings(&format!("it is not valid JSON ({error})")))?;
    if !raw.get().starts_with('[') {
        return Err(not_strings("it is not an array"));
    }
    let list = list(raw, limits.count).map_err(|error| not_strings(&error.to_string()))?;
    if list.too_many {
        return Err(too_many(limits.count));
    }
    if let Some((index, _)) = list.others.first() {
        return Err(not_strings(&format!("item {index} is not a string")));
    }
    check_all(&list.texts, limits)?;
    Ok(list.texts)
}

/// Reads a list in the body of `/embed/text`; what is wrong with its items is added to `issues`.
pub(super) fn strings(
    raw: &RawValue,
    limits: TextLimits,
    issues: &mut Issues,
) -> Result<Vec<String>, Problem> {
    if !raw.get().starts_with('[') {
        issues.push(Issue::not_a_list("texts", Input::json(raw)));
        return Ok(Vec::new());
    }
    let list = list(raw, limits.count).map_err(invalid)?;
    if list.too_many {
        return Err(too_many(limits.count));
    }
    check_all(&list.texts, limits)?;
    for (index, raw) in list.others {
        issues.push(Issue::not_a_string("texts", Some(index), Input::json(raw)));
    }
    Ok(list.texts)
}

fn check_all(texts: &[String], limits: TextLimits) -> Result<(), Problem> {
    texts
        .iter()
        .enumerate()
        .try_for_each(|(index, text)| limits.check(format_args!("texts[{index}]"), text))
}

fn too_many(most: usize) -> Problem {
    Problem::TooLarge(format!(
        "The request has more texts than the limit of {most}."
    ))
}

/// The items of a list: its strings, and with their places the first few others.
#[derive(Default)]
struct List<'a> {
    texts: Vec<String>,
    others: Vec<(usize, &'a RawValue)>,
    too_many: bool,
}

fn list(raw: &RawValue, most: usize) -> serde_json::Result<List<'_>> {
    ListSeed { most }.deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
}

struct ListSeed {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for ListSeed {
    type Value = List<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ListSeed {
    type Value = List<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = List::default();
        let mut index = 0;
        while index < self.most {
            let Some(item) = items.next_element::<&RawValue>()? else {
                return Ok(list);
            };
            if item.get().starts_with('"') {
                list.texts
                    .push(serde_json::from_str(item.get()).map_err(serde::de::Error::custom)?);
            } else if list.others.len() < MAX_ISSUES {
                list.others.push((index, item));
            }
            index += 1;
        }
        while items.next_element::<IgnoredAny>()?.is_some() {
            list.too_many = true;
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TextLimits = TextLimits {
        count: 4,
        bytes: 16,
    };

    #[test]
    fn the_field_of_a_form() {
        assert_eq!(parse_field(r#" ["a", "b"] "#, LIMITS).unwrap(), ["a", "b"]);
        assert_eq!(parse_field("[]", LIMITS).unwrap(), [""; 0]);
        for (text, what) in [
            ("a cat", "it is not valid JSON"),
            ("\"a cat\"", "it is not an array"),
            ("{}", "it is not an array"),
            ("[\"a\", 1]", "item 1 is not a string"),
            ("[\"\\ud800\"]", "texts must be a JSON array of strings"),
        ] {
            match parse_field(text, LIMITS) {
                Err(Problem::Invalid(issues)) => {
                    let written = serde_json::to_string(&issues).unwrap();
                    assert!(written.contains(what), "{text}: {written}");
                    assert!(
                        written.contains("must be a JSON array of strings"),
                        "{written}"
                    );
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
