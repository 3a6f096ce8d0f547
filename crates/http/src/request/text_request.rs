//! The JSON of `/embed/text`, read as FastAPI read it.
//!
//! Only the fields that are known are looked at; each is kept as a piece of JSON until it is read.

use std::fmt;

use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::json::invalid;
use super::json_text;
use super::model::FIELD;
use super::text_limits::TextLimits;
use super::text_list::strings;
use crate::answer::problem::Problem;
use crate::answer::validation::{Input, Issue, Issues, bool_word};

/// Texts.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
pub(crate) struct TextRequest {
    /// The texts; there may be none, and one may be empty.
    pub(crate) texts: Vec<String>,
    /// Whether the embeddings are L2-normalized.
    #[schema(required = false, default = true)]
    pub(crate) normalize: bool,
    /// Whether a text of more tokens than the model reads is cut; if not, it is refused (413).
    #[schema(required = false, default = true)]
    pub(crate) truncate: bool,
    /// Whether the answer tells how many tokens of each text were read.
    #[schema(required = false, default = false)]
    pub(crate) tokens: bool,
    /// Whether a text that is too long costs its own row only, which is then empty, and told in
    /// `errors`.
    #[schema(required = false, default = false)]
    pub(crate) partial: bool,
    /// Where several models are served, the name of one.
    #[schema(nullable = false)]
    pub(crate) model: Option<String>,
}

/// Reads the body of `/embed/text`.
pub(crate) fn parse(body: &[u8], limits: TextLimits) -> Result<TextRequest, Problem> {
    let body = json_text::decode(body).map_err(invalid)?;
    if body.is_empty() {
        return Err(Issue::missing(None, Input::Null).into());
    }
    let whole: &RawValue = serde_json::from_str(&body).map_err(invalid)?;
    if !whole.get().starts_with('{') {
        return Err(Issue::not_an_object(Input::json(whole)).into());
    }
    let fields = serde_json::Deserializer::from_str(whole.get())
        .deserialize_map(FieldsVisitor)
        .map_err(invalid)?;
    let mut issues = Issues::default();
    let partial = match fields.partial {
        Some(raw) => boolean("partial", raw, &mut issues)?,
        None => false,
    };
    let texts = match fields.texts {
        Some(raw) => strings(raw, limits.unless_each_for_itself(partial), &mut issues)?,
        None => {
            issues.push(Issue::missing(Some("texts"), Input::json(whole)));
            Vec::new()
        }
    };
    let normalize = match fields.normalize {
        Some(raw) => boolean("normalize", raw, &mut issues)?,
        None => true,
    };
    let truncate = match fields.truncate {
        Some(raw) => boolean("truncate", raw, &mut issues)?,
        None => true,
    };
    let tokens = match fields.tokens {
        Some(raw) => boolean("tokens", raw, &mut issues)?,
        None => false,
    };
    let model = match fields.model {
        // Any other value of a field that few read is no reason to refuse anything.
        Some(raw) if raw.get().starts_with('"') => {
            Some(serde_json::from_str(raw.get()).map_err(invalid)?)
        }
        _ => None,
    };
    Ok(issues.or(TextRequest {
        texts,
        normalize,
        truncate,
        tokens,
        partial,
        model,
    })?)
}

/// A boolean as pydantic takes it when it is not strict.
fn boolean(field: &'static str, raw: &RawValue, issues: &mut Issues) -> Result<bool, Problem> {
    let text = raw.get();
    let word = match text.as_bytes().first() {
        Some(b't') => return Ok(true),
        Some(b'f') => return Ok(false),
        Some(b'"') => bool_word(&serde_json::from_str::<String>(text).map_err(invalid)?),
        Some(b'-' | b'0'..=b'9') => match whole_number(text) {
            Some(0) => Some(false),
            Some(1) => Some(true),
            Some(_) => None,
            None => {
                issues.push(Issue::not_a_bool(field, Input::json(raw)));
                return Ok(true);
            }
        },
        _ => {
            issues.push(Issue::not_a_bool(field, Input::json(raw)));
            return Ok(true);
        }
    };
    Ok(word.unwrap_or_else(|| {
        issues.push(Issue::unclear_bool(field, Input::json(raw)));
        true
    }))
}

/// A number of JSON that is whole and of a size that pydantic looks at.
fn whole_number(text: &str) -> Option<i64> {
    const MOST: f64 = 9.2e18;
    text.parse().ok().or_else(|| {
        let float: f64 = text.parse().ok()?;
        (float.fract() == 0.0 && float.abs() < MOST).then_some(float as i64)
    })
}

/// The fields that are read; of each the last one counts, as in Python.
#[derive(Default)]
struct RawFields<'a> {
    texts: Option<&'a RawValue>,
    normalize: Option<&'a RawValue>,
    truncate: Option<&'a RawValue>,
    tokens: Option<&'a RawValue>,
    partial: Option<&'a RawValue>,
    model: Option<&'a RawValue>,
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = RawFields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = RawFields::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "texts" => fields.texts = Some(map.next_value()?),
                "normalize" => fields.normalize = Some(map.next_value()?),
                "truncate" => fields.truncate = Some(map.next_value()?),
                "tokens" => fields.tokens = Some(map.next_value()?),
                "partial" => fields.partial = Some(map.next_value()?),
                FIELD => fields.model = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TextLimits = TextLimits {
        count: 4,
        bytes: 16,
    };

    fn ok(body: &str) -> TextRequest {
        parse(body.as_bytes(), LIMITS).unwrap_or_else(|problem| panic!("{body}: {problem:?}"))
    }

    /// The `detail` of a 422.
    fn issues(body: &str) -> String {
        match parse(body.as_bytes(), LIMITS) {
            Err(Problem::Invalid(issues)) => serde_json::to_string(&issues).unwrap(),
            other => panic!("{body}: {other:?}"),
        }
    }

    fn request(texts: &[&str], normalize: bool) -> TextRequest {
        TextRequest {
            texts: texts.iter().map(|&text| text.to_owned()).collect(),
            normalize,
            truncate: true,
            tokens: false,
            partial: false,
            model: None,
        }
    }

    #[test]
    fn what_fastapi_takes_is_taken() {
        assert_eq!(ok(r#"{"texts":["a","b"]}"#), request(&["a", "b"], true));
        assert_eq!(
            ok(r#" {"texts" : [ ] , "normalize" : false } "#),
            request(&[], false)
        );
        assert_eq!(ok("\u{feff}{\"texts\":[\"\"]}"), request(&[""], true));
        assert_eq!(
            ok(r#"{"texts":5,"texts":["\u00e4\ud83d\ude00"]}"#),
            request(&["ä😀"], true)
        );
        assert_eq!(
            ok(r#"{"\u0074exts":["a"],"x":{"y":[1,null]}}"#),
            request(&["a"], true)
        );
        for (written, expected) in [
            ("0", false),
            ("1", true),
            ("1.0", true),
            ("-0.0", false),
            ("\"YES\"", true),
            ("\"t\"", true),
            ("\"Off\"", false),
            ("true", true),
            ("1e0", true),
        ] {
            assert_eq!(
                ok(&format!(r#"{{"texts":[],"normalize":{written}}}"#)).normalize,
                expected,
                "{written}"
            );
        }
    }

    /// The expected texts were written by FastAPI 0.165 with pydantic 2.14.
    #[test]
    fn mistakes_are_told_as_by_fastapi() {
        let cases = [
            (
                "",
                r#"[{"type":"missing","loc":["body"],"msg":"Field required","input":null}]"#,
            ),
            (
                "{}",
                r#"[{"type":"missing","loc":["body","texts"],"msg":"Field required","input":{}}]"#,
            ),
            (
                "[]",
                r#"[{"type":"model_attributes_type","loc":["body"],"msg":"Input should be a valid dictionary or object to extract fields from","input":[]}]"#,
            ),
            (
                "null",
                r#"[{"type":"model_attributes_type","loc":["body"],"msg":"Input should be a valid dictionary or object to extract fields from","input":null}]"#,
            ),
            (
                r#"{"texts":"a"}"#,
                r#"[{"type":"list_type","loc":["body","texts"],"msg":"Input should be a valid list","input":"a"}]"#,
            ),
            (
                r#"{"texts":null}"#,
                r#"[{"type":"list_type","loc":["body","texts"],"msg":"Input should be a valid list","input":null}]"#,
            ),
            (
                r#"{"texts":[1,null,"a",["x"]]}"#,
                r#"[{"type":"string_type","loc":["body","texts",0],"msg":"Input should be a valid string","input":1},{"type":"string_type","loc":["body","texts",1],"msg":"Input should be a valid string","input":null},{"type":"string_type","loc":["body","texts",3],"msg":"Input should be a valid string","input":["x"]}]"#,
            ),
            (
                r#"{"normalize":"x"}"#,
                r#"[{"type":"missing","loc":["body","texts"],"msg":"Field required","input":{"normalize":"x"}},{"type":"bool_parsing","loc":["body","normalize"],"msg":"Input should be a valid boolean, unable to interpret input","input":"x"}]"#,
            ),
            (
                r#"{"texts":[],"normalize":null}"#,
                r#"[{"type":"bool_type","loc":["body","normalize"],"msg":"Input should be a valid boolean","input":null}]"#,
            ),
            (
                r#"{"texts":[],"normalize":0.5}"#,
                r#"[{"type":"bool_type","loc":["body","normalize"],"msg":"Input should be a valid boolean","input":0.5}]"#,
            ),
            (
                r#"{"texts":[],"normalize":2.0}"#,
                r#"[{"type":"bool_parsing","loc":["body","normalize"],"msg":"Input should be a valid boolean, unable to interpret input","input":2.0}]"#,
            ),
            (
                r#"{"texts":[],"normalize":18446744073709551616}"#,
                r#"[{"type":"bool_type","loc":["body","normalize"],"msg":"Input should be a valid boolean","input":18446744073709551616}]"#,
            ),
            (
                r#"{"texts":[],"normalize":[]}"#,
                r#"[{"type":"bool_type","loc":["body","normalize"],"msg":"Input should be a valid boolean","input":[]}]"#,
            ),
            // Not by FastAPI: no float holds it, and the answer is to be JSON for everybody.
            (
                r#"{"texts":[1e999999]}"#,
                r#"[{"type":"string_type","loc":["body","texts",0],"msg":"Input should be a valid string","input":"1e999999"}]"#,
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(issues(body), expected, "{body}");
        }
    }

    #[test]
    fn what_is_no_json_is_a_bad_request() {
        for body in [
            " ",
            "{",
            r#"{"texts":["a"]"#,
            r#"{"texts":["a"],}"#,
            "nonsense",
            "{'texts':[]}",
            r#"{"texts":[NaN]}"#,
            r#"{"texts":["\ud800"]}"#,
            r#"{"texts":["a"]} x"#,
            "\u{0}",
            r#"{"\ud800":1}"#,
            "{\"texts\":[\"a\nb\"]}",
            r#"{"texts":[],"normalize":"\ud800"}"#,
        ] {
            assert!(
                matches!(parse(body.as_bytes(), LIMITS), Err(Problem::BadRequest(_))),
                "{body:?}"
            );
        }
        assert!(matches!(
            parse(b"{\"texts\":[\"\xff\"]}", LIMITS),
            Err(Problem::BadRequest(_))
        ));
    }

    #[test]
    fn limits_are_kept_and_huge_mistakes_stay_small() {
        let too_large =
            |body: &str| matches!(parse(body.as_bytes(), LIMITS), Err(Problem::TooLarge(_)));
        assert!(too_large(r#"{"texts":["a","a","a","a","a"]}"#));
        assert!(too_large(r#"{"texts":["12345678901234567"]}"#));
        assert!(!too_large(r#"{"texts":["1234567890123456"]}"#));
        assert!(too_large(&format!(
            "{{\"texts\":[{}0]}}",
            "0,".repeat(100_000)
        )));
        let deep = format!(
            "{{\"texts\":{}{}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(issues(&deep).len() < 4000);
        assert!(matches!(
            parse("[".repeat(100_000).as_bytes(), LIMITS),
            Err(Problem::BadRequest(_))
        ));
    }
}
