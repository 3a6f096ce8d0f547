//! Forms that are cut, lie, or hold too much.

use super::case::{Case, case};
use crate::common::{Form, png, request};

fn raw(content_type: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    request(
        "POST",
        "/embed/images",
        &[("Content-Type", content_type)],
        body.as_ref(),
    )
}

/// A path, a tab, and what turns the direction of writing.
const PATH: &str = "../../etc/pass\twd\u{202e}<script>.png";

pub fn cases() -> Vec<Case> {
    const FORM: &str = "multipart/form-data; boundary=X";
    let image = png(1, 2, 3);
    let one = Form::new().file("files", "a.png", &image);
    let whole = one.body();
    let long = format!("multipart/form-data; boundary={}", "b".repeat(300));
    let tiny = (0..5000).fold(Form::new(), |form, at| form.text(&format!("x{at}"), ""));
    let named = |filename: &str| {
        Form::new()
            .file("files", filename, &image)
            .text("query", "a")
            .post("/rank")
    };
    let mut cases = names();
    cases.extend(vec![
        case("a form cut in a part's header", raw(FORM, &whole[..20]), &[400]),
        case("a form cut in a part's body", raw(FORM, &whole[..whole.len() - 20]), &[400]),
        case("a form without its last boundary", raw(FORM, &whole[..whole.len() - 7]), &[400]),
        case("no boundary", raw("multipart/form-data", &whole), &[400]),
        case("an empty boundary", raw("multipart/form-data; boundary=", &whole), &[400]),
        case("a boundary of 300 characters", raw(&long, &whole), &[400]),
        case("another boundary", raw("multipart/form-data; boundary=Y", &whole), &[400]),
        case("a part without a name", Form::new().raw("Content-Disposition: form-data", &image).post("/embed/images"), &[400]),
        case("a part without a disposition", Form::new().raw("X: y", &image).post("/embed/images"), &[400]),
        case("a part header of 100 KB", Form::new().raw(format!("X: {}", "a".repeat(100_000)), "").post("/embed/images"), &[400, 413]),
        case("5000 parts", tiny.post("/embed/images"), &[413]),
        case("a form in a form", Form::new().raw("Content-Disposition: form-data; name=\"files\"; filename=\"a\"\r\nContent-Type: multipart/mixed; boundary=Y", "--Y\r\n\r\nx\r\n--Y--").post("/embed/images"), &[400]),
        case("a query twice", one.clone().text("query", "a").text("query", "b").post("/rank"), &[200]),
        case("no files", Form::new().text("normalize", "1").post("/embed/images"), &[422]),
        case("an empty file", Form::new().file("files", "a.png", b"").post("/embed/images"), &[400]),
        case("300 images", (0..300).fold(Form::new(), |form, _| form.file("files", "a", &image)).post("/embed/images"), &[413]),
        case("zeros for a form", raw(FORM, vec![0; 10 << 20]), &[400]),
        case("a file name with control characters", named("a\u{1}\u{7f}.png"), &[200])
            .checked(|answer| answer.json()["rankings"][0]["filename"] == "a\u{1}\u{7f}.png"),
        case("a file name with a path", named(PATH), &[200])
            .checked(|answer| answer.json()["rankings"][0]["filename"] == PATH),
    ]);
    cases
}

/// A /rank with one file whose Content-Disposition ends in these bytes.
fn ranked(disposition: &[u8]) -> Vec<u8> {
    let body = [
        b"--X\r\nContent-Disposition: form-data; name=\"files\"; ".as_slice(),
        disposition,
        b"\r\n\r\n",
        &png(1, 2, 3),
        b"\r\n--X\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\na\r\n--X--\r\n",
    ]
    .concat();
    let form = [("Content-Type", "multipart/form-data; boundary=X")];
    request("POST", "/rank", &form, &body)
}

/// File names: told back to the letter, in JSON that holds them, or refused.
fn names() -> Vec<Case> {
    let long = "n".repeat(4000);
    // What is sent as filename="...", and what that names.
    let told: [(&str, &str, &str); 10] = [
        (
            // FastAPI's parser leaves the path out, and so does the service.
            "a path of Windows",
            r"C:\\temp\\x.png",
            "x.png",
        ),
        ("quotes that are escaped", r#"a\"b.png"#, r#"a"b.png"#),
        ("an end of JSON", r#"\"}],\"x\":[{\""#, r#""}],"x":[{""#),
        (
            "a semicolon and an equals sign",
            "a; name=query; b=c.png",
            "a; name=query; b=c.png",
        ),
        ("percent signs", "%00%0d%0a%22.png", "%00%0d%0a%22.png"),
        (
            "line separators of Unicode",
            "a\u{2028}\u{2029}\u{feff}b",
            "a\u{2028}\u{2029}\u{feff}b",
        ),
        (
            "characters outside the first plane",
            "\u{1f600}\u{10ffff}",
            "\u{1f600}\u{10ffff}",
        ),
        ("dots alone", "..", ".."),
        ("spaces alone", "   ", "   "),
        ("4000 characters", &long, &long),
    ];
    let mut cases: Vec<Case> = told
        .into_iter()
        .map(|(name, sent, named)| {
            let sent = ranked(format!("filename=\"{sent}\"").as_bytes());
            let named = named.to_owned();
            case(format!("a file name of {name}"), sent, &[200, 400]).checked(move |answer| {
                answer.status == 400 || answer.json()["rankings"][0]["filename"] == named
            })
        })
        .collect();
    for (name, sent, named) in [
        ("a NUL", &b"filename=\"a\0b.png\""[..], "a\0b.png"),
        (
            "an escape",
            b"filename=\"a\x1b[31mb.png\"",
            "a\u{1b}[31mb.png",
        ),
        ("a DEL", b"filename=\"\x7f\"", "\u{7f}"),
        (
            "what escapes",
            b"filename=\"\xff\x81\xff\xc0\"",
            "\u{ff}\u{81}\u{ff}\u{c0}",
        ),
    ] {
        cases.push(
            case(format!("a file name with {name}"), ranked(sent), &[200])
                .checked(move |answer| answer.json()["rankings"][0]["filename"] == named),
        );
    }
    let refused: [(&str, &[u8]); 1] = [("a bare line feed", b"filename=\"a\nb.png\"")];
    cases.extend(
        refused.map(|(name, sent)| case(format!("a file name with {name}"), ranked(sent), &[400])),
    );
    let either: [(&str, &[u8]); 6] = [
        // What has no closing quote goes to the end of its line.
        ("quotes that do not end", b"filename=\"a.png"),
        (
            "quotes over two lines",
            b"filename=\"a\r\nX-Injected: b.png\"",
        ),
        (
            "bytes that are no UTF-8",
            b"filename=\"\xff\xfe\xc0\x80.png\"",
        ),
        (
            "two forms",
            b"filename=\"a.png\"; filename*=UTF-8''%00b.png",
        ),
        ("an unknown charset", b"filename*=x-none''b.png"),
        ("a broken escape", b"filename*=UTF-8''%zz%1"),
    ];
    cases.extend(either.map(|(name, sent)| {
        case(
            format!("a file name in {name}"),
            ranked(sent),
            &[200, 400, 422],
        )
        .checked(|answer| {
            answer.status != 200 || answer.json()["rankings"][0]["filename"].is_string()
        })
    }));
    cases
}
