//! Forms that are cut, lie, or hold too much.

use super::case::{Case, case};
use super::common::{Form, png, request};

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
    vec![
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
        case("a file name with control characters", named("a\u{1}\u{7f}.png"), &[400]),
        case("a file name with a path", named(PATH), &[200])
            .checked(|answer| answer.json()["rankings"][0]["filename"] == PATH),
    ]
}
