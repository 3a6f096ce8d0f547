//! The paths of other services: JSON that is deep, long, wide or lies about itself.

use super::case::{Case, case};
use super::pictures;
use crate::common::{Form, png, post_json, request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A path, and a body of it with something in its place.
type Shape = (&'static str, fn(&str) -> String);

const SHAPES: [Shape; 10] = [
    ("/v1/embeddings", |x| format!(r#"{{"input": {x}}}"#)),
    ("/v1/embeddings", |x| format!(r#"{{"messages": {x}}}"#)),
    ("/v2/embed", |x| format!(r#"{{"texts": {x}}}"#)),
    ("/v2/embed", |x| format!(r#"{{"inputs": {x}}}"#)),
    ("/embed", |x| format!(r#"{{"inputs": {x}}}"#)),
    ("/", |x| format!(r#"{{"inputs": {x}}}"#)),
    ("/vectorize", |x| format!(r#"{{"images": {x}}}"#)),
    ("/classify", |x| {
        format!(r#"{{"embeddings": [], "labels": {x}}}"#)
    }),
    ("/classify", |x| {
        format!(r#"{{"labels": ["a"], "embeddings": {x}}}"#)
    }),
    ("/v2/models/siglip2/infer", |x| {
        format!(r#"{{"inputs": {x}}}"#)
    }),
];

pub fn cases() -> Vec<Case> {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let deep_objects = format!(
        "{}0{}",
        "{\"content\":".repeat(100_000),
        "}".repeat(100_000)
    );
    let wide = format!("[{}0]", "0,".repeat(1 << 20));
    let texts = format!("[{}\"\"]", "\"\",".repeat(1 << 20));
    let long = format!("[\"{}\"]", "a".repeat(10 << 20));
    let parts = format!("[{{\"content\": [{}{{}}]}}]", "{},".repeat(1 << 19));
    let mut cases = Vec::new();
    for (at, (path, body)) in SHAPES.iter().enumerate() {
        let mut add = |what: &str, inside: &str, statuses: &[u16]| {
            let name = format!("{path} ({at}), {what}");
            cases.push(case(name, post_json(path, &body(inside)), statuses));
        };
        add("deep lists", &deep, &[400, 413]);
        add("deep lists in a list", &format!("[{deep}]"), &[400, 413]);
        add("deep objects", &format!("[{deep_objects}]"), &[400, 413]);
        add("a million zeros", &wide, &[400, 413]);
        add("a million texts", &texts, &[400, 413]);
        add("a text of 10 MB", &long, &[400, 413]);
        add("half a million parts", &parts, &[400, 413]);
        add("half a surrogate", r#"["\ud800"]"#, &[400]);
        add("no number", "[NaN]", &[400]);
        add("a number beyond any", "1e999999", &[400]);
        add("broken off", "[", &[400]);
        add("null", "null", &[200, 400]);
        let wrong = request(
            "POST",
            path,
            &[("Content-Type", "application/json")],
            b"{\"input\": [\"\xff\"]}",
        );
        cases.push(case(format!("{path} ({at}), no UTF-8"), wrong, &[400]));
    }
    // Deep where nobody looks is no business of anybody.
    let aside = format!(r#"{{"input": "a", "x": {deep}}}"#);
    cases.push(case(
        "deep beside",
        post_json("/v1/embeddings", &aside),
        &[200],
    ));
    images(&mut cases);
    tensors(&mut cases);
    cases
}

fn images(cases: &mut Vec<Case>) {
    let large = STANDARD.encode(vec![0; 20 << 20]);
    let claims = STANDARD.encode(crate::common::png_that_claims(60_000));
    let flat = STANDARD.encode(pictures::flat_png(3000, 3000));
    let uri = |data: &str| format!("data:image/png;base64,{data}");
    for (what, data, status) in [
        ("20 MB of zeros", large.as_str(), 400),
        ("a size that is a lie", &claims, 400),
        ("a picture", &flat, 200),
        ("nothing", "", 400),
        ("signs of no alphabet", "!!!!", 400),
        ("a group cut short", "QUJDR", 400),
    ] {
        let text = serde_json::json!(uri(data));
        for (path, body) in [
            ("/v1/embeddings", format!(r#"{{"input": [{text}]}}"#)),
            ("/v2/embed", format!(r#"{{"images": [{text}]}}"#)),
            ("/embed", format!(r#"{{"inputs": {text}}}"#)),
            ("/vectorize", format!(r#"{{"images": [{text}]}}"#)),
            (
                "/classify",
                format!(r#"{{"labels": ["a"], "images": [{text}]}}"#),
            ),
        ] {
            let statuses = [status, if status == 400 { 413 } else { status }];
            cases.push(case(
                format!("{path}, {what}"),
                post_json(path, &body),
                &statuses,
            ));
        }
    }
    // Everything in it escaped: what is decoded is a copy, and is counted.
    let escaped: String = uri(&STANDARD.encode(png(1, 2, 3)))
        .chars()
        .map(|c| format!("\\u{:04x}", u32::from(c)))
        .collect();
    let body = format!(r#"{{"input": "{escaped}"}}"#);
    cases.push(case(
        "an escaped picture",
        post_json("/v1/embeddings", &body),
        &[200],
    ));
    let many = vec![uri(&STANDARD.encode(png(1, 2, 3))); 300];
    let body = serde_json::json!({ "input": many }).to_string();
    cases.push(case(
        "300 pictures",
        post_json("/v1/embeddings", &body),
        &[413],
    ));
    let holes = serde_json::json!({
        "labels": vec!["x".repeat(1000); 100], "embeddings": [],
        "hypothesis_template": "{}".repeat(100_000),
    });
    cases.push(case(
        "a template of holes",
        post_json("/classify", &holes.to_string()),
        &[413],
    ));
    for entries in [
        "[",
        "{}",
        "[[[[",
        "\u{0}",
        r#"{"clip": {"visual": {}, "textual": {}}}"#,
    ] {
        let form = Form::new().text("entries", entries).post("/predict");
        cases.push(case(format!("entries {entries:?}"), form, &[400]));
    }
}

fn tensors(cases: &mut Vec<Case>) {
    const PATH: &str = "/v2/models/siglip2/infer";
    let infer = |json: &str, length: &str, behind: &[u8]| {
        let body = [json.as_bytes(), behind].concat();
        request(
            "POST",
            PATH,
            &[("Inference-Header-Content-Length", length)],
            &body,
        )
    };
    let tensor = |shape: &str, size: &str| {
        format!(
            r#"{{"inputs": [{{"name": "texts", "datatype": "BYTES", "shape": {shape}, "parameters": {{"binary_data_size": {size}}}}}]}}"#
        )
    };
    for (what, shape, size, behind) in [
        (
            "a length beyond the end",
            "[1]",
            "8",
            &b"\xff\xff\xff\xff...."[..],
        ),
        ("a length of 3 bytes", "[1]", "3", b"\0\0\0"),
        (
            "a shape without end",
            "[18446744073709551615]",
            "4",
            b"\0\0\0\0",
        ),
        (
            "a shape that overflows",
            "[4294967296, 4294967296]",
            "4",
            b"\0\0\0\0",
        ),
        (
            "a shape of many sides",
            "[1,1,1,1,1,1,1,1,1,1,1,1]",
            "4",
            b"\0\0\0\0",
        ),
        ("no side at all", "[]", "99", b"\0\0\0\0"),
        (
            "a size beyond the end",
            "[1]",
            "18446744073709551615",
            b"\0\0\0\0",
        ),
        ("a negative size", "[1]", "-4", b"\0\0\0\0"),
        (
            "a million of nothing",
            "[1000000]",
            "4000000",
            &[0; 4_000_000],
        ),
    ] {
        let json = tensor(shape, size);
        let sent = infer(&json, &json.len().to_string(), behind);
        cases.push(case(format!("a tensor with {what}"), sent, &[400, 413]));
    }
    for length in ["99999999999999999999", "-1", "1.5", "", "\u{e4}"] {
        let sent = infer("{}", length, b"");
        cases.push(case(format!("a JSON of length {length:?}"), sent, &[400]));
    }
}
