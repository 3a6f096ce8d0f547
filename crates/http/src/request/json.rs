//! JSON read field by field, without a tree of values: a body may have hundreds of megabytes,
//! and what is not asked for is walked over and forgotten. Nothing is copied but what must be
//! unescaped, and no depth is too deep, since nobody descends.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::answer::problem::Problem;

/// What a piece of JSON is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A string.
    Text,
    /// A list.
    List,
    /// An object.
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::Text => "a string",
            Kind::List => "a list",
            Kind::Object => "an object",
        })
    }
}

/// What a piece of JSON is, by its first character.
pub(crate) fn kind(raw: &RawValue) -> Kind {
    match raw.get().as_bytes().first() {
        Some(b'n') | None => Kind::Null,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'"') => Kind::Text,
        Some(b'[') => Kind::List,
        Some(b'{') => Kind::Object,
        Some(_) => Kind::Number,
    }
}

/// A refusal of a field, in a sentence.
pub(crate) fn wrong(sentence: impl Into<String>) -> Problem {
    Problem::BadRequest(sentence.into().into())
}

/// The bytes that walking over JSON takes at most: one for each list or object that is open,
/// in a buffer that grows.
pub(crate) fn nesting_bytes(json: &[u8]) -> usize {
    3 * memchr::memchr2_iter(b'[', b'{', json).count()
}

/// A body as one piece of JSON.
pub(crate) fn whole(body: &str) -> Result<&RawValue, Problem> {
    serde_json::from_str(body).map_err(invalid)
}

/// A body that is not JSON.
pub(crate) fn invalid(error: impl fmt::Display) -> Problem {
    wrong(format!("The body is not valid JSON: {error}."))
}

/// These fields of an object; of each the last one counts, and null is none.
pub(crate) fn fields<'a, const N: usize>(
    what: impl fmt::Display,
    raw: &'a RawValue,
    names: [&'static str; N],
) -> Result<[Option<&'a RawValue>; N], Problem> {
    match kind(raw) {
        Kind::Object => serde_json::Deserializer::from_str(raw.get())
            .deserialize_map(FieldsVisitor { names })
            .map_err(invalid),
        other => Err(wrong(format!("{what} must be an object, and is {other}."))),
    }
}

struct FieldsVisitor<const N: usize> {
    names: [&'static str; N],
}

impl<'de, const N: usize> Visitor<'de> for FieldsVisitor<N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = [None; N];
        while let Some(known) = map.next_key_seed(Known(&self.names))? {
            match known {
                Some(at) => {
                    let value: &RawValue = map.next_value()?;
                    fields[at] = (kind(value) != Kind::Null).then_some(value);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(fields)
    }
}

/// Which of some names a key is; it may be long, and is not copied.
struct Known<'a>(&'a [&'static str]);

impl<'de> DeserializeSeed<'de> for Known<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Known<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

/// The items of a list; a list of more is refused.
pub(crate) fn list(
    what: impl fmt::Display,
    raw: &RawValue,
    most: usize,
) -> Result<Vec<&RawValue>, Problem> {
    if kind(raw) != Kind::List {
        return Err(wrong(format!(
            "{what} must be a list, and is {}.",
            kind(raw)
        )));
    }
    let list = ListSeed { most }
        .deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
        .map_err(invalid)?;
    list.ok_or_else(|| {
        Problem::TooLarge(format!("{what} has more items than the limit of {most}."))
    })
}

struct ListSeed {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for ListSeed {
    type Value = Option<Vec<&'de RawValue>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ListSeed {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while list.len() < self.most {
            match items.next_element::<&RawValue>()? {
                Some(item) => list.push(item),
                None => return Ok(Some(list)),
            }
        }
        let mut more = false;
        while items.next_element::<IgnoredAny>()?.is_some() {
            more = true;
        }
        Ok((!more).then_some(list))
    }
}

/// The first item of a list that has one.
pub(crate) fn first(raw: &RawValue) -> Option<u8> {
    let inside = raw.get().strip_prefix('[')?.trim_start();
    inside.bytes().next().filter(|&byte| byte != b']')
}

/// Whether it is a list that has no item.
pub(crate) fn is_empty_list(raw: &RawValue) -> bool {
    kind(raw) == Kind::List && first(raw).is_none()
}

/// A string, borrowed where nothing in it is escaped.
pub(crate) fn text<'a>(
    what: impl fmt::Display,
    raw: &'a RawValue,
) -> Result<Cow<'a, str>, Problem> {
    let quoted = raw.get();
    if kind(raw) != Kind::Text {
        return Err(wrong(format!(
            "{what} must be a string, and is {}.",
            kind(raw)
        )));
    }
    match quoted.get(1..quoted.len() - 1) {
        Some(inside) if memchr::memchr(b'\\', inside.as_bytes()).is_none() => {
            Ok(Cow::Borrowed(inside))
        }
        _ => serde_json::from_str(quoted)
            .map(Cow::Owned)
            .map_err(invalid),
    }
}

/// A boolean, where there is one.
pub(crate) fn boolean(
    what: impl fmt::Display,
    raw: Option<&RawValue>,
) -> Result<Option<bool>, Problem> {
    match raw.map(RawValue::get) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(wrong(format!("{what} must be true or false."))),
    }
}

/// A whole number from 0, where there is one.
pub(crate) fn count(
    what: impl fmt::Display,
    raw: Option<&RawValue>,
) -> Result<Option<u64>, Problem> {
    raw.map(|raw| {
        // Not by serde: its error would hold all of a string that stands here.
        let number = match kind(raw) {
            Kind::Number => raw.get().parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| {
            wrong(format!(
                "{what} must be a whole number that is not negative."
            ))
        })
    })
    .transpose()
}

/// Refuses the name of a prompt, as clients of text-embeddings-inference may send it.
pub(crate) fn no_prompt(prompt: Option<&RawValue>) -> Result<(), Problem> {
    match prompt {
        None => Ok(()),
        Some(_) => Err(wrong(
            "prompt_name must be left out: this model has no prompts; put the prompt into the text itself.",
        )),
    }
}

/// Refuses to cut texts elsewhere than at their end, as the same clients may ask for.
pub(crate) fn only_cut_at_the_end(direction: Option<&RawValue>) -> Result<(), Problem> {
    let directions = [("right", true), ("left", false)];
    match word("truncation_direction", direction, &directions)? {
        Some(false) => Err(wrong(
            "truncation_direction must be right: texts are never cut at the start.",
        )),
        _ => Ok(()),
    }
}

/// A word out of a few, in any case, where there is one; what it stands for.
pub(crate) fn word<T: Copy>(
    what: impl fmt::Display,
    raw: Option<&RawValue>,
    words: &[(&str, T)],
) -> Result<Option<T>, Problem> {
    let Some(raw) = raw else { return Ok(None) };
    let said = match kind(raw) {
        Kind::Text => text(&what, raw)?,
        _ => Cow::Borrowed(""),
    };
    let known = words
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(&said));
    match known {
        Some((_, value)) => Ok(Some(*value)),
        None => {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            Err(wrong(format!(
                "{what} must be one of: {}.",
                words.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_what_is_not_asked_for_is_walked_over() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let body = format!(r#" {{"a":1,"x":{deep},"\u0062":"t\u00e4","c":null,"a":[2, 3]}} "#);
        let raw = whole(&body).unwrap();
        let [a, b, c, d] = fields("The body", raw, ["a", "b", "c", "d"]).unwrap();
        assert_eq!(a.map(RawValue::get), Some("[2, 3]"));
        assert_eq!(text("b", b.unwrap()).unwrap(), "t\u{e4}");
        assert!(c.is_none() && d.is_none());
        let items = list("a", a.unwrap(), 2).unwrap();
        assert_eq!(
            items.iter().map(|raw| raw.get()).collect::<Vec<_>>(),
            ["2", "3"]
        );
        assert!(matches!(
            list("a", a.unwrap(), 1),
            Err(Problem::TooLarge(_))
        ));
        assert_eq!(first(a.unwrap()), Some(b'2'));
        for (json, is_empty) in [
            ("[ ]", true),
            ("[]", true),
            ("[[]]", false),
            ("\"\"", false),
        ] {
            assert_eq!(is_empty_list(whole(json).unwrap()), is_empty, "{json}");
        }
        assert!(fields("The body", a.unwrap(), ["a"]).is_err());
    }

    #[test]
    fn words_are_taken_in_any_case_and_others_are_told() {
        let raw = whole("\"FLOAT\"").unwrap();
        let words = [("float", 1), ("base64", 2)];
        assert_eq!(word("x", Some(raw), &words).unwrap(), Some(1));
        let other = whole("7").unwrap();
        let problem = word("x", Some(other), &words).unwrap_err();
        assert_eq!(problem.to_string(), "x must be one of: float, base64.");
    }
}
