//! JSON and base64.

use super::case::{Case, case};
use crate::common::{Form, png, post_json, request};

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
    cases.extend(bodies());
    cases.extend(encodings());
    cases.extend(base64());
    cases.extend(url_encoded());
    cases.extend(fields());
    cases
}

/// JSON of every kind that is not a request, or only just one.
fn bodies() -> Vec<Case> {
    let long_key = format!(r#"{{"{}": 1, "texts": ["a"]}}"#, "k".repeat(100_000));
    let many_keys: String = (0..10_000).map(|at| format!("\"k{at}\":0,")).collect();
    let many_keys = format!(r#"{{{many_keys}"texts":["a"]}}"#);
    let nested = format!(
        r#"{{"x": {}{}, "texts": ["a"]}}"#,
        "{\"y\":".repeat(1000),
        "1".to_owned() + &"}".repeat(1000)
    );
    let number = format!(
        r#"{{"texts": ["a"], "normalize": {}}}"#,
        "9".repeat(100_000)
    );
    let escapes = format!(r#"{{"texts": ["{}"]}}"#, "\\u0041".repeat(20_000));
    [
        ("", &[422][..]),
        ("true", &[422]),
        ("0", &[422]),
        ("\"texts\"", &[422]),
        ("[]", &[422]),
        ("{}", &[422]),
        ("{} {}", &[400]),
        ("{\"texts\": [\"a\"]}x", &[400]),
        ("{\"texts\": [\"a\"],}", &[400]),
        ("{\"texts\": [\"a\",]}", &[400]),
        ("{\"texts\": [,]}", &[400]),
        ("{\"texts\": [\"a\" \"b\"]}", &[400]),
        ("{texts: [\"a\"]}", &[400]),
        ("{'texts': ['a']}", &[400]),
        ("{\"texts\": [\"a\"]", &[400]),
        ("{\"texts\": [\"a]}", &[400]),
        ("{\"texts\" [\"a\"]}", &[400]),
        ("{\"texts\": \"a\"}", &[422]),
        ("{\"texts\": {\"0\": \"a\"}}", &[422]),
        ("{\"texts\": [null]}", &[422]),
        ("{\"texts\": [[\"a\"]]}", &[422]),
        ("{\"texts\": [true, false]}", &[422]),
        ("{\"texts\": [-0]}", &[422]),
        ("{\"texts\": [01]}", &[400]),
        ("{\"texts\": [+1]}", &[400]),
        ("{\"texts\": [.5]}", &[400]),
        ("{\"texts\": [1.]}", &[400]),
        ("{\"texts\": [Infinity]}", &[400]),
        ("{\"texts\": [\"\\x41\"]}", &[400]),
        ("{\"texts\": [\"\\u12\"]}", &[400]),
        ("{\"texts\": [\"\\udc00\\ud800\"]}", &[400]),
        ("{\"texts\": [\"\\ud83d\\ude00\"]}", &[200]),
        ("{\"texts\": [\"a\tb\"]}", &[400]),
        ("{\"texts\": [\"a\"], \"texts\": []}", &[200]),
        ("{\"texts\": [\"a\"], \"normalize\": \"maybe\"}", &[422]),
        ("{\"texts\": [\"a\"], \"normalize\": [true]}", &[422]),
        ("{\"texts\": [\"a\"], \"normalize\": 2}", &[422]),
        ("{\"texts\": [\"a\"], \"normalize\": \"ON\"}", &[200]),
        ("{\"texts\": [\"a\"] // a comment\n}", &[400]),
        ("\u{feff}{\"texts\": [\"a\"]}", &[200]),
        ("\u{feff}\u{feff}{\"texts\": [\"a\"]}", &[400]),
        ("{\"texts\": [\"\u{202e}\u{200b}\u{fffd}\"]}", &[200]),
        ("<?xml version=\"1.0\"?><texts/>", &[400]),
        (&long_key, &[200]),
        (&many_keys, &[200]),
        (&nested, &[200, 400]),
        (&number, &[400, 422]),
        (&escapes, &[200]),
    ]
    .into_iter()
    .map(|(body, statuses)| {
        let shown: String = body.chars().take(40).collect();
        case(
            format!("the JSON {shown}"),
            post_json("/embed/text", body),
            statuses,
        )
    })
    .collect()
}

/// Texts in other encodings, whole and cut.
fn encodings() -> Vec<Case> {
    let json = "{\"texts\": [\"\u{e4}\u{1f600}\"]}";
    let utf16: Vec<u8> = json.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf32: Vec<u8> = json
        .chars()
        .flat_map(|character| u32::from(character).to_be_bytes())
        .collect();
    let sent = |body: &[u8]| {
        request(
            "POST",
            "/embed/text",
            &[("Content-Type", "application/json")],
            body,
        )
    };
    vec![
        case("UTF-16", sent(&utf16), &[200]),
        case("UTF-16 cut", sent(&utf16[..utf16.len() - 1]), &[400]),
        case(
            "UTF-16 that is half",
            sent(&[&utf16[..10], b"\0\xd8"].concat()),
            &[400],
        ),
        case("UTF-32", sent(&utf32), &[200]),
        case("UTF-32 cut", sent(&utf32[..utf32.len() - 3]), &[400]),
        case(
            "UTF-32 beyond Unicode",
            sent(b"\0\0\xfe\xff\0\x11\0\0"),
            &[400],
        ),
        case("a mark of UTF-16 alone", sent(b"\xff\xfe"), &[422]),
        case("a mark of UTF-32 alone", sent(b"\0\0\xfe\xff"), &[422]),
        case("zeros", sent(&[0; 100]), &[400]),
        case("one zero", sent(&[0]), &[400]),
        case("UTF-8 cut", sent(b"{\"texts\": [\"\xe2\x82\"]}"), &[400]),
        case(
            "an overlong zero",
            sent(b"{\"texts\": [\"\xc0\x80\"]}"),
            &[400],
        ),
        case(
            "a surrogate in UTF-8",
            sent(b"{\"texts\": [\"\xed\xa0\x80\"]}"),
            &[400],
        ),
    ]
}

/// What stands where base64 belongs; none of it is an image.
fn base64() -> Vec<Case> {
    let long = "A".repeat(1 << 20);
    let blanks = " ".repeat(1 << 20);
    let pads = "=".repeat(1 << 20);
    let commas = format!("data:{}", ",".repeat(100_000));
    [
        "https://example.com/a.jpg",
        "HTTP://127.0.0.1:1/",
        "file:///etc/passwd",
        "b'iVBORw0KGgo='",
        "iVBORw0KGgo_-A==",
        "iVBORw0KGgo AAAA",
        "%69%56%42%4f",
        "data:image/png;base64,",
        "data:image/png;name=\"a,b\";base64,AAAA",
        "data:image/png,plain",
        "DATA:;BASE64,AAAA",
        "data:",
        "data",
        "A",
        "AA",
        "AAA",
        "AAAA=",
        "=AAA",
        "A=A=",
        "AA==AA==",
        "AAAA\u{0}AAAA",
        "\u{feff}AAAA",
        "\r\n\r\n",
        long.as_str(),
        &blanks,
        &pads,
        &commas,
    ]
    .into_iter()
    .map(|text| {
        let shown: String = text.chars().take(40).collect();
        let sent = Form::new().text("image_base64", text).post("/embed/image");
        case(format!("as base64 {shown:?}"), sent, &[400])
    })
    .collect()
}

/// Forms without a part.
fn url_encoded() -> Vec<Case> {
    let pairs = "a=b&".repeat(100_000);
    let names = format!("{}=1", "n".repeat(100_000));
    [
        ("", &[400][..]),
        ("&", &[400]),
        ("=", &[400]),
        ("&&&===", &[400]),
        ("file=a.jpg", &[422]),
        ("file=", &[422]),
        ("image_base64", &[400]),
        ("image_base64=", &[400]),
        ("image_base64=%", &[400]),
        ("image_base64=%zz", &[400]),
        ("image_base64=%00%01", &[400]),
        ("image_base64=AAAA&image_base64=", &[400]),
        ("normalize=maybe&image_base64=AAAA", &[422]),
        ("%66ile=x", &[422]),
        ("image%5Fbase64=AAAA", &[400]),
        ("image_base64[]=AAAA", &[400]),
        ("%ff%fe=%80", &[400]),
        (pairs.as_str(), &[400, 413]),
        (&names, &[400, 413]),
    ]
    .into_iter()
    .map(|(body, statuses)| {
        let shown: String = body.chars().take(40).collect();
        let kind = ("Content-Type", "application/x-www-form-urlencoded");
        let sent = request("POST", "/embed/image", &[kind], body.as_bytes());
        case(format!("urlencoded {shown:?}"), sent, statuses)
    })
    .collect()
}

/// The field `texts` of /similarity.
fn fields() -> Vec<Case> {
    let many = format!("[{}\"a\"]", "\"a\",".repeat(5000));
    [
        ("a cat", 422),
        ("\"a\"", 422),
        ("null", 422),
        ("{}", 422),
        ("[1]", 422),
        ("[\"a\", null]", 422),
        ("[\"a\"", 422),
        ("[\"a\"] x", 422),
        ("['a']", 422),
        ("[\"\\ud800\"]", 422),
        ("[[]]", 422),
        ("", 422),
        (" ", 422),
        ("[]", 200),
        (" [ \"a\" ] ", 200),
        (many.as_str(), 413),
    ]
    .into_iter()
    .map(|(texts, status)| {
        let shown: String = texts.chars().take(40).collect();
        let form = Form::new()
            .file("files", "a.png", png(1, 2, 3))
            .text("texts", texts);
        case(
            format!("the texts {shown:?}"),
            form.post("/similarity"),
            &[status],
        )
    })
    .collect()
}
