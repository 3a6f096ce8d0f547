//! JSON and base64.

use super::case::{Case, case};
use crate::common::{Form, post_json, request};

pub fn cases() -> Vec<Case> {
    let deep = format!(
        r#"{{"texts": {}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let mut cases = vec![
        case("deep JSON", post_json("/embed/text", &deep), &[400, 422]),
        case(
            "a string of 10 MB",
            post_json(
                "/embed/text",
                &format!(r#"{{"texts": ["{}"]}}"#, "a".repeat(10 << 20)),
            ),
            &[413],
        ),
        case(
            "a million zeros",
            post_json(
                "/embed/text",
                &format!(r#"{{"texts": [{}0]}}"#, "0,".repeat(1 << 20)),
            ),
            &[413],
        ),
        case(
            "invalid UTF-8",
            request(
                "POST",
                "/embed/text",
                &[("Content-Type", "application/json")],
                b"{\"texts\": [\"\xff\"]}",
            ),
            &[400],
        ),
        case("no JSON body", post_json("/embed/text", ""), &[422]),
    ];
    for (body, status) in [
        (r#"{"texts": [NaN]}"#, 400),
        (r#"{"texts": ["\ud800"]}"#, 400),
        (r#"{"texts": [1e999999]}"#, 422),
        (r#"{"texts": ["a"], "normalize": 1e999999}"#, 422),
        (r#"{"texts": ["\u0000"]}"#, 200),
        (r#"{"texts": []}"#, 200),
        ("[", 400),
        ("null", 422),
    ] {
        cases.push(case(body, post_json("/embed/text", body), &[status]));
    }
    for text in [
        "====",
        "QUJDR",
        "data:image/png;base64",
        "data:,",
        "\u{1f600}\u{1f600}",
        "QUJD",
        "\0\0",
    ] {
        let sent = Form::new().text("image_base64", text).post("/embed/image");
        cases.push(case(format!("base64 {text:?}"), sent, &[400]));
    }
    cases
}
