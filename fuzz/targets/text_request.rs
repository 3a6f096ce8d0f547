//! The JSON of `/embed/text`, and of the field `texts`: what is taken is what serde_json
//! reads in it, and within the limits; what should be taken is.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use siglip2_embeddings::http::HttpSettings;
use siglip2_embeddings::http::fuzzing::{text_field, text_request};

const MAX_TEXTS: usize = 4;
const MAX_BYTES: usize = 16;

static SETTINGS: LazyLock<HttpSettings> = LazyLock::new(|| HttpSettings {
    max_texts_per_request: MAX_TEXTS,
    max_text_bytes: MAX_BYTES,
    ..HttpSettings::default()
});

/// The strings of a list that has only strings, if it keeps to the limits.
fn strings(value: &Value) -> Option<Vec<String>> {
    let items = value.as_array()?;
    let texts: Option<Vec<String>> = items
        .iter()
        .map(|item| item.as_str().map(str::to_owned))
        .collect();
    texts.filter(|texts| {
        texts.len() <= MAX_TEXTS && texts.iter().all(|text| text.len() <= MAX_BYTES)
    })
}

fuzz_target!(|data: &[u8]| {
    let json = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    let value = serde_json::from_slice::<Value>(json).ok();

    let ours = text_request(data, &SETTINGS);
    if let Ok((texts, _)) = &ours {
        assert!(texts.len() <= MAX_TEXTS && texts.iter().all(|text| text.len() <= MAX_BYTES));
    }
    // serde_json makes no value of numbers beyond f64 and of lone surrogates in what is
    // skipped; then there is nothing to compare.
    if let Some(value) = &value {
        let texts = value.get("texts").and_then(strings);
        match &ours {
            Ok((ours, _)) => assert_eq!(Some(ours), texts.as_ref()),
            Err(why) => {
                let normalize = value.get("normalize").is_none_or(Value::is_boolean);
                assert!(texts.is_none() || !normalize, "refused: {why}");
            }
        }
        if let (Ok((_, ours)), Some(Value::Bool(normalize))) = (&ours, value.get("normalize")) {
            assert_eq!(ours, normalize);
        }
    }

    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let field = text_field(text, &SETTINGS).ok();
    match serde_json::from_str::<Value>(text) {
        Ok(value) => assert_eq!(field, strings(&value)),
        Err(error) => assert!(field.is_none(), "taken, and is no JSON: {error}"),
    }
});
