//! Every error of the contract's table that a single well-formed exchange can cause.

use crate::common::engine;
use crate::common::{
    Client, Form, Server, ask, chunked, get, png, png_that_claims, post_json, request,
};
use serde_json::json;
use siglip2_embeddings::http::{ApiKey, HttpSettings};

async fn server() -> Server {
    Server::start(HttpSettings::default()).await
}

fn post_form(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    request("POST", path, &[("Content-Type", content_type)], body)
}

const FORMS: [&str; 4] = ["/embed/image", "/embed/images", "/similarity", "/rank"];

#[tokio::test]
async fn unknown_paths_and_wrong_methods() {
    let server = server().await;
    for path in [
        "/nowhere",
        "/embeds",
        "/embed/texts",
        "/health/x",
        "//",
        "/embed/text//",
    ] {
        let answer = ask(server.address, get(path)).await;
        assert_eq!(answer.error(), (404, "Not Found".into()), "{path}");
    }
    for path in ["/health", "/info", "/openapi.json"] {
        let answer = ask(server.address, request("POST", path, &[], b"{}")).await;
        assert_eq!(answer.error(), (405, "Method Not Allowed".into()), "{path}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
    }
    for path in FORMS.into_iter().chain(["/embed/text"]) {
        for method in ["GET", "PUT", "DELETE", "PATCH", "BREW"] {
            let answer = ask(server.address, request(method, path, &[], b"")).await;
            assert_eq!(answer.error().0, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("OPTIONS, POST"));
        }
    }
}

#[tokio::test]
async fn a_key_is_wanted_where_one_is_set() {
    let settings = HttpSettings {
        api_key: Some(ApiKey::parse("se cret").unwrap()),
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    assert_eq!(ask(server.address, get("/health")).await.status, 200);
    for path in ["/info", "/openapi.json", "/nowhere"] {
        let answer = ask(server.address, get(path)).await;
        assert_eq!(answer.error().0, 401, "{path}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    for (name, value, status) in [
        ("Authorization", "Bearer se cret", 200),
        ("authorization", "bearer  se cret", 200),
        ("X-API-Key", "se cret", 200),
        ("api-key", "se cret", 200),
        ("api-key", "secret", 401),
        ("X-API-Key", "secret", 401),
        ("X-API-Key", "", 401),
        ("Authorization", "Bearer", 401),
        ("Authorization", "Basic se cret", 401),
        ("Authorization", "se cret", 401),
    ] {
        let answer = ask(
            server.address,
            request("GET", "/info", &[(name, value)], b""),
        )
        .await;
        assert_eq!(answer.status, status, "{name}: {value}");
    }
    // Refused before the body is read: none is sent.
    let head = "POST /embed/text HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n";
    assert_eq!(ask(server.address, head).await.error().0, 401);
}

#[tokio::test]
async fn wrong_content_types() {
    let server = server().await;
    for content_type in [
        "text/plain",
        "multipart/form-data; boundary=X",
        "application/x-www-form-urlencoded",
        "garbage",
        "",
    ] {
        let answer = ask(
            server.address,
            post_form("/embed/text", content_type, br#"{"texts":[]}"#),
        )
        .await;
        let (status, detail) = answer.error();
        assert_eq!(status, 415, "{content_type}");
        assert!(detail.contains("application/json"), "{detail}");
    }
    for path in FORMS {
        for content_type in ["text/plain", "multipart/mixed; boundary=X", "garbage"] {
            let (status, detail) = ask(server.address, post_form(path, content_type, b"{}"))
                .await
                .error();
            assert_eq!(status, 415, "{path} {content_type}");
            assert!(detail.contains("multipart/form-data"), "{detail}");
        }
        assert_eq!(
            ask(server.address, request("POST", path, &[], b"abc"))
                .await
                .error()
                .0,
            415
        );
    }
}

#[tokio::test]
async fn json_that_is_none() {
    let server = server().await;
    for body in [
        "nonsense",
        r#"{"texts": ["a"]"#,
        " ",
        r#"{"texts": ["\ud800"]}"#,
    ] {
        let (status, detail) = ask(server.address, post_json("/embed/text", body))
            .await
            .error();
        assert_eq!(status, 400, "{body}");
        assert!(
            detail.starts_with("The body is not valid JSON: "),
            "{detail}"
        );
    }
}

#[tokio::test]
async fn fields_that_are_missing_or_mistyped_have_fastapi_s_shape() {
    let server = server().await;
    let missing = |field: &str| json!({"type": "missing", "loc": ["body", field], "msg": "Field required", "input": null});
    let unclear = json!({"type": "bool_parsing", "loc": ["body", "normalize"], "msg": "Input should be a valid boolean, unable to interpret input", "input": "maybe"});
    let no_file = |loc: serde_json::Value, input: &str| json!({"type": "value_error", "loc": loc, "msg": "Value error, Expected UploadFile, received: <class 'str'>", "input": input, "ctx": {"error": {}}});
    let image = png(1, 2, 3);
    let cases = [
        ("/embed/images", Form::new(), json!([missing("files")])),
        (
            "/embed/images",
            Form::new().text("normalize", "maybe"),
            json!([missing("files"), unclear]),
        ),
        (
            "/embed/images",
            Form::new().file("file", "a.png", &image),
            json!([missing("files")]),
        ),
        (
            "/embed/images",
            Form::new().text("files", "abc"),
            json!([no_file(json!(["body", "files", 0]), "abc")]),
        ),
        (
            "/embed/images",
            Form::new().file("files", "a", &image).text("files", ""),
            json!([no_file(json!(["body", "files", 1]), "")]),
        ),
        (
            "/embed/image",
            Form::new().text("file", "abc"),
            json!([no_file(json!(["body", "file"]), "abc")]),
        ),
        (
            "/embed/image",
            Form::new()
                .file("file", "a", &image)
                .text("normalize", "maybe"),
            json!([unclear]),
        ),
        (
            "/similarity",
            Form::new(),
            json!([missing("files"), missing("texts")]),
        ),
        (
            "/similarity",
            Form::new().text("texts", "[]"),
            json!([missing("files")]),
        ),
        (
            "/similarity",
            Form::new().file("files", "a", &image).text("texts", ""),
            json!([missing("texts")]),
        ),
        (
            "/rank",
            Form::new().file("files", "a", &image),
            json!([missing("query")]),
        ),
        (
            "/rank",
            Form::new().text("query", "x"),
            json!([missing("files")]),
        ),
        (
            "/embed/image",
            Form::new().file("image_base64", "x", b"QUJD"),
            json!([{"type": "string_type", "loc": ["body", "image_base64"], "msg": "Input should be a valid string", "input": {"filename": "x", "size": 4}}]),
        ),
        (
            "/rank",
            Form::new()
                .file("files", "a", &image)
                .file("query", "x", b"QUJD"),
            json!([{"type": "string_type", "loc": ["body", "query"], "msg": "Input should be a valid string", "input": {"filename": "x", "size": 4}}]),
        ),
        (
            "/embed/image",
            Form::new()
                .file("file", "a", &image)
                .file("normalize", "x", b"true"),
            json!([{"type": "bool_type", "loc": ["body", "normalize"], "msg": "Input should be a valid boolean", "input": {"filename": "x", "size": 4}}]),
        ),
    ];
    for (path, form, expected) in cases {
        let answer = ask(server.address, form.post(path)).await;
        assert_eq!(answer.status, 422, "{path}: {}", answer.text());
        assert_eq!(answer.json(), json!({ "detail": expected }), "{path}");
    }
    let answer = ask(
        server.address,
        post_json("/embed/text", r#"{"texts": ["a", 1]}"#),
    )
    .await;
    assert_eq!(answer.status, 422);
    assert_eq!(
        answer.json()["detail"][0]["loc"],
        json!(["body", "texts", 1])
    );
    for texts in ["a cat", "{}", "[1]", "\"a\""] {
        let form = Form::new().file("files", "a", &image).text("texts", texts);
        let answer = ask(server.address, form.post("/similarity")).await;
        assert_eq!(answer.status, 422, "{texts}");
        let issue = &answer.json()["detail"][0];
        assert_eq!(issue["loc"], json!(["body", "texts"]));
        assert!(
            issue["msg"]
                .as_str()
                .unwrap()
                .contains("JSON array of strings"),
            "{issue}"
        );
    }
    // No body at all is a form without fields.
    let answer = ask(server.address, request("POST", "/embed/images", &[], b"")).await;
    assert_eq!(
        (answer.status, answer.json()),
        (422, json!({"detail": [missing("files")]}))
    );
}

#[tokio::test]
async fn no_image_provided() {
    let server = server().await;
    for form in [
        Form::new(),
        Form::new().text("normalize", "true"),
        Form::new().file("file", "", b""),
        Form::new().file("file", "", png(1, 2, 3)),
        Form::new().text("image_base64", ""),
    ] {
        let answer = ask(server.address, form.post("/embed/image")).await;
        assert_eq!(answer.error(), (400, "No image provided".into()));
    }
    for sent in [
        request("POST", "/embed/image", &[], b""),
        post_form("/embed/image", "multipart/form-data; boundary=X", b""),
        post_form(
            "/embed/image",
            "application/x-www-form-urlencoded",
            b"normalize=true",
        ),
    ] {
        assert_eq!(
            ask(server.address, sent).await.error(),
            (400, "No image provided".into())
        );
    }
}

#[tokio::test]
async fn bad_base64() {
    let server = server().await;
    for text in ["QUJDR", "QUJDRA", "data:image/png;base64", "!QQ"] {
        let (status, detail) = ask(
            server.address,
            Form::new().text("image_base64", text).post("/embed/image"),
        )
        .await
        .error();
        assert_eq!(status, 400, "{text}");
        assert!(detail.contains("base64"), "{detail}");
    }
    // Good base64 of no image.
    let (status, detail) = ask(
        server.address,
        Form::new()
            .text("image_base64", "QUJD")
            .post("/embed/image"),
    )
    .await
    .error();
    assert_eq!(status, 400);
    assert!(detail.starts_with("image_base64: "), "{detail}");
}

#[tokio::test]
async fn a_bad_image_is_named() {
    let server = server().await;
    let good = png(1, 2, 3);
    // Into the pixels: Pillow, and so we, do without the checksums behind them.
    let cut = &good[..good.len() - 28];
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\0";
    let huge = png_that_claims(0x4000_0008);
    for (bytes, expected) in [
        (b"no image at all".as_slice(), 400),
        (b"", 400),
        (cut, 400),
        (heic, 415),
        (&huge, 413),
    ] {
        for (path, extra) in [
            ("/embed/images", None),
            ("/similarity", Some(("texts", "[\"a\"]"))),
            ("/rank", Some(("query", "a"))),
        ] {
            let mut form = Form::new().file("files", "good.png", &good).file(
                "files",
                "b\u{202e}ad.png",
                bytes,
            );
            if let Some((name, value)) = extra {
                form = form.text(name, value);
            }
            let (status, detail) = ask(server.address, form.post(path)).await.error();
            assert_eq!(status, expected, "{path}: {detail}");
            assert!(
                detail.starts_with("files[1] (\"b\\u{202e}ad.png\"): "),
                "{detail}"
            );
        }
        let (status, detail) = ask(
            server.address,
            Form::new()
                .file("file", "b.png", bytes)
                .post("/embed/image"),
        )
        .await
        .error();
        assert_eq!(status, expected, "{detail}");
        assert!(detail.starts_with("file (\"b.png\"): "), "{detail}");
    }
}

#[tokio::test]
async fn more_than_one_request_may_hold() {
    let settings = HttpSettings {
        max_images_per_request: 2,
        max_texts_per_request: 2,
        max_text_bytes: 10,
        payload_limit: 20_000,
        max_text_body_bytes: 2_000,
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let image = png(1, 2, 3);
    let three = Form::new()
        .file("files", "a", &image)
        .file("files", "b", &image)
        .file("files", "c", &image);
    for path in ["/embed/images", "/similarity", "/rank"] {
        let (status, detail) = ask(server.address, three.post(path)).await.error();
        assert_eq!(
            (status, detail.contains("images than the limit of 2")),
            (413, true),
            "{detail}"
        );
    }
    let one = Form::new().file("files", "a", &image);
    for request in [
        post_json("/embed/text", r#"{"texts": ["a", "b", "c"]}"#),
        post_json("/embed/text", r#"{"texts": ["12345678901"]}"#),
        one.clone()
            .text("texts", r#"["a", "b", "c"]"#)
            .post("/similarity"),
        one.clone()
            .text("texts", r#"["12345678901"]"#)
            .post("/similarity"),
        one.clone().text("query", "12345678901").post("/rank"),
        one.clone().text("query", "x".repeat(3_000)).post("/rank"),
        // Too many parts of other names.
        (0..80)
            .fold(Form::new(), |form, at| form.text(&format!("x{at}"), ""))
            .post("/rank"),
    ] {
        let (status, detail) = ask(server.address, request).await.error();
        assert_eq!(status, 413, "{detail}");
    }
    // Too many bytes, known from Content-Length: none of them is waited for.
    for (path, content_type, length) in [
        ("/embed/text", "application/json", 2_001),
        ("/embed/images", "multipart/form-data; boundary=X", 20_001),
        ("/embed/image", "application/x-www-form-urlencoded", 20_001),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: t\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        );
        let answer = ask(server.address, head).await;
        assert_eq!(answer.error().0, 413, "{path}");
        assert_eq!(answer.header("connection"), Some("close"));
    }
    // The same without Content-Length.
    let big = Form::new().file("files", "a", vec![b'x'; 90_000]).body();
    let head = "POST /embed/images HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=X\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = ask(
        server.address,
        [head.as_bytes(), &chunked(&big, 1000)].concat(),
    )
    .await;
    assert_eq!(answer.error().0, 413);
    // What is refused leaves nothing behind.
    assert_eq!(
        ask(server.address, one.post("/embed/images")).await.status,
        200
    );
}

#[tokio::test]
async fn a_client_that_is_still_sending_reads_why_it_was_refused() {
    let settings = HttpSettings {
        payload_limit: 100_000,
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let length = 8 << 20;
    let mut client = Client::connect(server.address).await;
    client.send(format!("POST /embed/images HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=X\r\nContent-Length: {length}\r\n\r\n")).await;
    // Sends all of it before it looks for an answer, as most clients do.
    assert!(client.send_lossy(vec![b'x'; length]).await);
    assert_eq!(client.answer().await.error().0, 413);
}

#[tokio::test]
async fn bodies_that_take_all_the_room_are_refused_and_the_room_comes_back() {
    let settings = HttpSettings {
        payload_limit: 1_500_000,
        ..HttpSettings::default()
    };
    // 1,500,000 of them for bodies.
    let (service, _) = engine::with_memory(64, 4_000_000);
    let server = Server::serving(service, settings).await;
    let held = async |bytes: usize| {
        let series = format!("siglip2_memory_bytes{{use=\"bodies\"}} {bytes}\n");
        while !server.service.metrics().text().contains(&series) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    // A part that is skipped, and of which the end does not come.
    let head = b"--X\r\nContent-Disposition: form-data; name=\"ignored\"\r\n\r\n";
    let body = [head.as_slice(), &vec![b'x'; 1_200_000]].concat();
    let mut holder = Client::connect(server.address).await;
    holder.send("POST /embed/images HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=X\r\nContent-Length: 1500000\r\n\r\n").await;
    holder.send(&body).await;
    held(body.len()).await;
    let form =
        Form::new()
            .file("ignored", "a", vec![b'x'; 400_000])
            .file("files", "a", png(1, 2, 3));
    let answer = ask(server.address, form.post("/embed/images")).await;
    assert_eq!(answer.status, 429, "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    held(body.len()).await;
    drop(holder);
    held(0).await;
    let answer = ask(server.address, form.post("/embed/images")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}
