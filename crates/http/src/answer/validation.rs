//! FastAPI's 422, word for word.
//!
//! Clients of the service that this one replaces read `detail[].loc` and
//! `detail[].msg`; the types and messages here are those of pydantic 2. What a
//! client sent is echoed in `input`, as pydantic does, but bounded: a mistake in a
//! body of 16 MiB must not become an answer of 16 MiB.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// The longest `input` that is echoed whole, in bytes.
const MAX_ECHO: usize = 1024;

/// So many mistakes are told; who made more will find them in the second round.
pub(crate) const MAX_ISSUES: usize = 64;

/// One step on the way to the mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Location)]
pub(crate) enum Loc {
    /// The name of a field.
    Field(&'static str),
    /// The position in a list.
    Index(usize),
}

/// What the client sent there.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Input {
    /// Nothing.
    Null,
    /// A piece of JSON, as it was written.
    Json(Box<RawValue>),
    /// A text.
    Text(String),
    /// A file part where a text was expected.
    File {
        /// Its name.
        filename: String,
        /// Its length in bytes.
        size: usize,
    },
}

impl Input {
    /// A piece of JSON that stands in the body, cut if it is long. What the grammar allows
    /// and readers of JSON do not take, such as the number 1e999999 or half a surrogate
    /// pair, is told as a text.
    pub(crate) fn json(raw: &RawValue) -> Self {
        let text = raw.get();
        if text.len() <= MAX_ECHO && serde_json::from_str::<serde_json::Value>(text).is_ok() {
            Input::Json(raw.to_owned())
        } else {
            Input::text(text)
        }
    }

    /// A text, cut if it is long; of bytes that are none, such as those of a file that came
    /// as a text, only how many they are.
    pub(crate) fn text(text: &str) -> Self {
        let start = &text[..text.floor_char_boundary(MAX_ECHO)];
        if start
            .chars()
            .any(|c| c.is_control() && !c.is_ascii_whitespace())
        {
            return Input::Text(format!("({} bytes that are not text)", text.len()));
        }
        if text.len() <= MAX_ECHO {
            return Input::Text(text.to_owned());
        }
        let end = text.floor_char_boundary(MAX_ECHO);
        Input::Text(format!("{}... ({} bytes)", &text[..end], text.len()))
    }
}

/// One mistake of a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ValidationError)]
pub(crate) struct Issue {
    /// What kind of mistake it is, in pydantic's words.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Where it is: `body`, the field, the position in it.
    loc: Vec<Loc>,
    /// What is wrong, in pydantic's words.
    msg: String,
    /// What the client sent there, cut if it is long.
    #[schema(value_type = serde_json::Value)]
    input: Input,
    /// Of a `value_error`: an empty object, where pydantic has its exception.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ctx: Option<ErrorContext>,
}

/// An empty object.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct ErrorContext {
    /// Always empty.
    #[schema(value_type = Object)]
    error: BTreeMap<&'static str, ()>,
}

impl Issue {
    fn new(kind: &'static str, loc: Vec<Loc>, msg: &str, input: Input) -> Self {
        Self {
            kind,
            loc,
            msg: msg.to_owned(),
            input,
            ctx: (kind == "value_error").then(ErrorContext::default),
        }
    }

    /// A required field is not there.
    pub(crate) fn missing(field: Option<&'static str>, input: Input) -> Self {
        let loc = field.map(Loc::Field).into_iter();
        Self::new(
            "missing",
            std::iter::once(Loc::Field("body")).chain(loc).collect(),
            "Field required",
            input,
        )
    }

    /// The body is JSON, and not an object.
    pub(crate) fn not_an_object(input: Input) -> Self {
        Self::new(
            "model_attributes_type",
            vec![Loc::Field("body")],
            "Input should be a valid dictionary or object to extract fields from",
            input,
        )
    }

    /// Not a list.
    pub(crate) fn not_a_list(field: &'static str, input: Input) -> Self {
        Self::new(
            "list_type",
            at(field, None),
            "Input should be a valid list",
            input,
        )
    }

    /// Not a string.
    pub(crate) fn not_a_string(field: &'static str, index: Option<usize>, input: Input) -> Self {
        Self::new(
            "string_type",
            at(field, index),
            "Input should be a valid string",
            input,
        )
    }

    /// Of a type that can be no boolean.
    pub(crate) fn not_a_bool(field: &'static str, input: Input) -> Self {
        Self::new(
            "bool_type",
            at(field, None),
            "Input should be a valid boolean",
            input,
        )
    }

    /// Of a type that could be a boolean, and is none.
    pub(crate) fn unclear_bool(field: &'static str, input: Input) -> Self {
        Self::new(
            "bool_parsing",
            at(field, None),
            "Input should be a valid boolean, unable to interpret input",
            input,
        )
    }

    /// A text part where a file part was expected.
    pub(crate) fn not_a_file(field: &'static str, index: Option<usize>, input: Input) -> Self {
        Self::new(
            "value_error",
            at(field, index),
            "Value error, Expected UploadFile, received: <class 'str'>",
            input,
        )
    }

    /// A text field with a JSON array of strings in it does not hold one.
    pub(crate) fn not_json_strings(field: &'static str, what: &str, input: Input) -> Self {
        Self::new(
            "value_error",
            at(field, None),
            &format!("Value error, {field} must be a JSON array of strings: {what}"),
            input,
        )
    }
}

fn at(field: &'static str, index: Option<usize>) -> Vec<Loc> {
    let mut loc = vec![Loc::Field("body"), Loc::Field(field)];
    loc.extend(index.map(Loc::Index));
    loc
}

/// All the mistakes of a request, which is what `detail` holds.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Issues(Vec<Issue>);

impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, issue) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "; " })?;
            for (at, step) in issue.loc.iter().enumerate() {
                let dot = if at == 0 { "" } else { "." };
                match step {
                    Loc::Field(name) => write!(f, "{dot}{name}")?,
                    Loc::Index(index) => write!(f, "[{index}]")?,
                }
            }
            write!(f, ": {}", issue.msg)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with the fields of a request.
#[derive(Serialize, ToSchema)]
#[schema(as = HTTPValidationError)]
pub(crate) struct ValidationErrors<'a> {
    /// One for each mistake, up to 64.
    #[schema(value_type = Vec<Issue>)]
    pub(crate) detail: &'a Issues,
}

impl Issues {
    /// Adds one, unless there are many already.
    pub(crate) fn push(&mut self, issue: Issue) {
        if self.0.len() < MAX_ISSUES {
            self.0.push(issue);
        }
    }

    /// `value`, if there was no mistake.
    pub(crate) fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }
}

impl From<Issue> for Issues {
    fn from(issue: Issue) -> Self {
        Self(vec![issue])
    }
}

/// The words that pydantic takes for a boolean, in any case and without spaces.
pub(crate) fn bool_word(word: &str) -> Option<bool> {
    const TRUE: [&str; 6] = ["1", "on", "t", "true", "y", "yes"];
    const FALSE: [&str; 6] = ["0", "off", "f", "false", "n", "no"];
    let is = |words: [&str; 6]| words.iter().any(|known| known.eq_ignore_ascii_case(word));
    match (is(TRUE), is(FALSE)) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(issue: Issue) -> String {
        serde_json::to_string(&Issues::from(issue)).unwrap()
    }

    #[test]
    fn issues_are_written_as_fastapi_writes_them() {
        assert_eq!(
            json(Issue::missing(Some("texts"), Input::Null)),
            r#"[{"type":"missing","loc":["body","texts"],"msg":"Field required","input":null}]"#
        );
        assert_eq!(
            json(Issue::not_a_string(
                "texts",
                Some(2),
                Input::Text("x\"".into())
            )),
            r#"[{"type":"string_type","loc":["body","texts",2],"msg":"Input should be a valid string","input":"x\""}]"#
        );
        assert_eq!(
            json(Issue::not_a_file(
                "files",
                Some(0),
                Input::Text("abc".into())
            )),
            r#"[{"type":"value_error","loc":["body","files",0],"msg":"Value error, Expected UploadFile, received: <class 'str'>","input":"abc","ctx":{"error":{}}}]"#
        );
    }

    #[test]
    fn what_is_echoed_is_bounded() {
        let long = "é".repeat(5000);
        let Input::Text(text) = Input::text(&long) else {
            panic!()
        };
        assert!(text.len() < MAX_ECHO + 32, "{}", text.len());
        let mut issues = Issues::default();
        for _ in 0..1000 {
            issues.push(Issue::missing(None, Input::Null));
        }
        assert_eq!(issues.0.len(), MAX_ISSUES);
    }

    #[test]
    fn booleans_are_those_of_pydantic() {
        for word in ["true", "TRUE", "1", "Yes", "y", "on", "T"] {
            assert_eq!(bool_word(word), Some(true), "{word}");
        }
        for word in ["false", "0", "No", "n", "OFF", "f"] {
            assert_eq!(bool_word(word), Some(false), "{word}");
        }
        for word in ["", " true", "2", "maybe", "1.0"] {
            assert_eq!(bool_word(word), None, "{word}");
        }
    }
}
