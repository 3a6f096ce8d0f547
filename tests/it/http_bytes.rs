//! Bytes instead of JSON and of forms, bad images that cost their own rows alone, and scores in
//! full: on the service's own paths.

use serde_json::json;

use crate::common::{Answer, Form, Server, ask, encoded, png, post_json, request};
use siglip2_embeddings::http::HttpSettings;

async fn server() -> Server {
    Server::start(HttpSettings::default()).await
}

fn rows(answer: &Answer) -> Vec<Vec<f32>> {
    serde_json::from_value(answer.json()["embeddings"].clone()).unwrap()
}

fn bytes_of(rows: &[Vec<f32>]) -> Vec<u8> {
    rows.concat().iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn form() -> Form {
    Form::new()
        .file("files", "a.png", png(1, 20, 30))
        .file("files", "b.png", png(2, 20, 30))
}

/// Files behind their lengths.
fn packed(files: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for file in files {
        body.extend((file.len() as u32).to_le_bytes());
        body.extend(*file);
    }
    body
}

fn post(path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    request("POST", path, &[("Content-Type", kind)], body)
}

/// A request with an `Accept`.
type Sent<'a> = &'a dyn Fn(&str) -> Vec<u8>;

const OCTETS: &str = "application/octet-stream";

#[tokio::test]
async fn rows_come_as_bytes_where_accept_asks_for_them() {
    let server = server().await;
    let dimensions = server.service.info().dimensions;
    let texts = json!({ "texts": ["a cat", "two dogs"] }).to_string();
    let text = |accept: &str| {
        let headers = [("Content-Type", "application/json"), ("Accept", accept)];
        request("POST", "/embed/text", &headers, texts.as_bytes())
    };
    let images = |accept: &str| form().post_with("/embed/images", &[("Accept", accept)]);
    let one = Form::new().file("file", "a.png", png(1, 20, 30));
    let image = |accept: &str| one.post_with("/embed/image", &[("Accept", accept)]);
    let all: [Sent<'_>; 3] = [&text, &images, &image];
    for sent in all {
        let numbers = rows(&ask(server.address, sent("*/*")).await);
        let shape = format!("{},{dimensions}", numbers.len());
        let answer = ask(server.address, sent(OCTETS)).await;
        assert_eq!(answer.header("content-type"), Some(OCTETS));
        assert_eq!(answer.header("x-embedding-dtype"), Some("float32"));
        assert_eq!(answer.header("x-embedding-shape"), Some(shape.as_str()));
        assert_eq!(answer.body, bytes_of(&numbers));

        let answer = ask(server.address, sent("application/x-npy")).await;
        assert!(answer.body.starts_with(b"\x93NUMPY"));
        assert!(answer.body.ends_with(&bytes_of(&numbers)));

        let answer = ask(
            server.address,
            sent("application/octet-stream;dtype=float16"),
        )
        .await;
        assert_eq!(answer.header("x-embedding-dtype"), Some("float16"));
        assert_eq!(answer.body.len(), 2 * dimensions * numbers.len());

        let answer = ask(server.address, sent("application/octet-stream;dtype=int8")).await;
        assert_eq!(answer.header("x-embedding-dtype"), Some("int8"));
        assert_eq!(answer.body.len(), dimensions * numbers.len());
        for (row, numbers) in answer.body.chunks(dimensions).zip(&numbers) {
            let largest = numbers.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            for (x, number) in row.iter().zip(numbers) {
                let back = f32::from(x.cast_signed()) * largest / 127.0;
                assert!((back - number).abs() <= largest / 254.0 + 1e-6);
            }
        }
        let answer = ask(
            server.address,
            sent("application/octet-stream;dtype=binary"),
        )
        .await;
        let of_row = dimensions.div_ceil(8);
        let shape = format!("{},{of_row}", numbers.len());
        assert_eq!(answer.header("x-embedding-shape"), Some(shape.as_str()));
        assert_eq!(answer.body.len(), of_row * numbers.len());

        // `arrow_rows` and tools/check-clients read it back.
        let arrow = "application/vnd.apache.arrow.stream";
        let answer = ask(server.address, sent(arrow)).await;
        assert_eq!(answer.header("content-type"), Some(arrow));
        assert_eq!(answer.header("content-encoding"), None);
        let all = bytes_of(&numbers);
        assert!(answer.body.windows(all.len()).any(|window| window == all));
    }
    // A refusal is JSON, whatever was asked for.
    let headers = [("Content-Type", "application/json"), ("Accept", OCTETS)];
    let refused = ask(
        server.address,
        request("POST", "/embed/text", &headers, b"{"),
    )
    .await;
    assert_eq!(refused.error().0, 400);
}

#[tokio::test]
async fn a_body_may_be_a_file_or_several_behind_their_lengths() {
    let server = server().await;
    let (one, two) = (png(1, 20, 30), png(2, 20, 30));
    let expected = rows(&ask(server.address, form().post("/embed/images")).await);
    for kind in ["image/png", "image/anything", OCTETS] {
        let answer = ask(server.address, post("/embed/image", kind, &one)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(rows(&answer), expected[..1]);
    }
    let answer = ask(
        server.address,
        post("/embed/images", OCTETS, &packed(&[&one, &two])),
    )
    .await;
    assert_eq!(rows(&answer), expected);
    let mut archive = tar::Builder::new(Vec::new());
    for (name, file) in [("a.png", &one), ("b.png", &two)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.len() as u64);
        archive.append_data(&mut header, name, &file[..]).unwrap();
    }
    let archive = archive.into_inner().unwrap();
    let sent = post("/embed/images", "application/x-tar", &archive);
    assert_eq!(rows(&ask(server.address, sent).await), expected);
    let cut = post("/embed/images", "application/x-tar", &archive[..600]);
    let (status, sentence) = ask(server.address, cut).await.error();
    assert!(
        status == 400 && sentence.contains("tar archive"),
        "{sentence}"
    );
    let none = ask(server.address, post("/embed/images", OCTETS, b"")).await;
    assert_eq!(rows(&none).len(), 0);

    let raw = Form::new()
        .file("file", "a", &one)
        .text("normalize", "false");
    let raw = rows(&ask(server.address, raw.post("/embed/image")).await);
    for path in [
        "/embed/image?normalize=false",
        "/embed/image?normalize=1&normalize=no",
    ] {
        let answer = ask(server.address, post(path, "image/png", &one)).await;
        assert_eq!(rows(&answer), raw, "{path}");
        assert_eq!(answer.header("x-ignored"), None);
    }
    for (sent, said) in [
        (post("/embed/image", "image/png", b""), "The body"),
        (post("/embed/image", "image/png", b"nothing"), "The body"),
        (
            post("/embed/image?normalize=x", "image/png", &one),
            "normalize",
        ),
        (post("/embed/images", OCTETS, b"\x01\0\0"), "image 0"),
        (
            post("/embed/images", OCTETS, &packed(&[&one])[..40]),
            "image 0",
        ),
        (
            post("/embed/images", OCTETS, &packed(&[&one, b"nothing"])),
            "files[1]",
        ),
    ] {
        let (status, sentence) = ask(server.address, sent).await.error();
        assert_eq!(status, 400, "{sentence}");
        assert!(sentence.contains(said), "{sentence}");
    }
    let few = HttpSettings {
        max_images_per_request: 2,
        ..HttpSettings::default()
    };
    let few = Server::start(few).await;
    let three = post("/embed/images", OCTETS, &packed(&[&one, &two, &one]));
    assert_eq!(ask(few.address, three).await.error().0, 413);
}

#[tokio::test]
async fn a_bad_image_costs_its_own_row_where_each_is_for_itself() {
    let server = server().await;
    let expected = rows(&ask(server.address, form().post("/embed/images")).await);
    let huge = crate::common::png_that_claims(60_000);
    let with_bad = |form: Form| {
        form.file("files", "a.png", png(1, 20, 30))
            .file("files", "bad.png", b"nothing")
            .file("files", "b.png", png(2, 20, 30))
            .file("files", "huge.png", &huge)
    };
    let answer = ask(
        server.address,
        with_bad(Form::new().text("partial", "true")).post("/embed/images"),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let got = rows(&answer);
    assert_eq!(
        got,
        [expected[0].clone(), vec![], expected[1].clone(), vec![]]
    );
    let errors = answer.json()["errors"].clone();
    assert_eq!(
        (&errors[0]["index"], &errors[0]["status"]),
        (&json!(1), &json!(400))
    );
    assert!(
        errors[0]["detail"].as_str().unwrap().contains("bad.png"),
        "{errors}"
    );
    assert_eq!(errors[1]["index"], 3);
    assert_eq!(errors.as_array().unwrap().len(), 2);

    // As bytes: NaN, which is no vector, and where.
    let body = packed(&[&png(1, 20, 30), b"nothing"]);
    let headers = [("Content-Type", OCTETS), ("Accept", OCTETS)];
    let sent = request("POST", "/embed/images?partial=true", &headers, &body);
    let answer = ask(server.address, sent).await;
    assert_eq!(answer.header("x-embedding-errors"), Some("1"));
    assert_eq!(answer.header("x-embedding-error-count"), Some("1"));
    let (good, bad) = answer.body.split_at(answer.body.len() / 2);
    assert_eq!(good, bytes_of(&expected[..1]));
    for number in bad.as_chunks::<4>().0 {
        assert!(f32::from_le_bytes(*number).is_nan());
    }
    // Nothing is bad: no errors, and the field is there all the same.
    let good = form().text("partial", "1").post("/embed/images");
    assert_eq!(ask(server.address, good).await.json()["errors"], json!([]));
    // It is not asked for, or too late to be of use.
    for form in [
        with_bad(Form::new()),
        with_bad(Form::new()).text("partial", "true"),
    ] {
        let (status, sentence) = ask(server.address, form.post("/embed/images"))
            .await
            .error();
        assert_eq!(status, 400);
        assert!(sentence.contains("files[1]"), "{sentence}");
    }
}

#[tokio::test]
async fn a_bad_image_of_a_comparison_costs_its_own_column_or_rank() {
    let server = server().await;
    let texts = r#"["a cat", "two dogs"]"#;
    let good = form().text("texts", texts).text("query", "a cat");
    let good = good.text("details", "true");
    let with_bad = |first: Form| {
        first
            .text("texts", texts)
            .text("query", "a cat")
            .text("details", "true")
            .file("files", "a.png", png(1, 20, 30))
            .file("files", "bad.png", b"nothing")
            .file("files", "b.png", png(2, 20, 30))
    };
    let partial = with_bad(Form::new().text("partial", "true"));
    let body = json!({
        "image_base64": [encoded(1), "bm90aGluZw==", encoded(2)], "texts": ["a cat", "two dogs"], "query": "a cat",
        "details": true, "partial": true,
    });

    let expected = ask(server.address, good.post("/similarity")).await.json();
    assert!(expected.get("errors").is_none());
    let by_form = ask(server.address, partial.post("/similarity")).await;
    let by_json = ask(server.address, post_json("/similarity", &body.to_string())).await;
    for (answer, name) in [(by_form, "bad.png"), (by_json, "image_base64[1]")] {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        for matrix in ["similarities", "cosines", "logits"] {
            for text in 0..2 {
                let (got, want) = (&answer[matrix][text], &expected[matrix][text]);
                assert_eq!(got, &json!([want[0], null, want[1]]), "{matrix}");
            }
        }
        let (got, want) = (&answer["image_embeddings"], &expected["image_embeddings"]);
        assert_eq!(got, &json!([want[0], [], want[1]]));
        assert_eq!(answer["text_embeddings"], expected["text_embeddings"]);
        assert_eq!(answer["errors"].as_array().map(Vec::len), Some(1));
        let error = &answer["errors"][0];
        assert_eq!(
            (&error["index"], &error["status"]),
            (&json!(1), &json!(400))
        );
        assert!(error["detail"].as_str().unwrap().contains(name), "{error}");
    }

    let expected = ask(server.address, good.post("/rank")).await.json();
    assert!(expected.get("errors").is_none());
    let answer = ask(server.address, partial.post("/rank")).await.json();
    assert_eq!(answer["rankings"], expected["rankings"]);
    assert_eq!(answer["errors"][0]["index"], 1);
    let answer = ask(server.address, post_json("/rank", &body.to_string()))
        .await
        .json();
    let ranked = answer["rankings"].as_array().unwrap();
    let names: Vec<_> = ranked
        .iter()
        .map(|ranking| ranking["filename"].as_str())
        .collect();
    assert_eq!(names.len(), 2);
    assert!(!names.contains(&Some("image_base64[1]")), "{names:?}");
    assert_eq!(answer["errors"][0]["index"], 1);

    // Base64 that is cut off is a bad image like any other.
    let body = json!({
        "image_base64": [encoded(1), "QQQQQ", encoded(2)], "texts": ["a cat"], "query": "a cat", "partial": true,
    });
    for path in ["/embed/images", "/similarity", "/rank"] {
        let answer = ask(server.address, post_json(path, &body.to_string())).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let error = answer.json()["errors"][0].clone();
        assert_eq!(
            (&error["index"], &error["status"]),
            (&json!(1), &json!(400))
        );
        let detail = error["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("image_base64[1] is not valid base64"),
            "{detail}"
        );
    }

    // All are bad: nothing is compared, and that is no error of the request.
    let none = Form::new()
        .text("partial", "true")
        .text("query", "a cat")
        .file("files", "bad.png", b"nothing");
    let answer = ask(server.address, none.post("/rank")).await.json();
    assert_eq!(answer["rankings"], json!([]));
    assert_eq!(answer["errors"][0]["index"], 0);
    // It is not asked for.
    for path in ["/similarity", "/rank"] {
        let answer = ask(server.address, with_bad(Form::new()).post(path)).await;
        assert_eq!(answer.error().0, 400, "{path}");
    }
}

#[tokio::test]
async fn a_text_that_is_too_long_costs_its_own_row() {
    let settings = HttpSettings {
        max_text_bytes: 4000,
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let asked = |more: serde_json::Value| {
        let mut body =
            json!({ "texts": ["a cat", "x".repeat(5000), "word ".repeat(200), "two dogs"] });
        let fields = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(fields);
        post_json("/embed/text", &body.to_string())
    };
    let good = post_json(
        "/embed/text",
        r#"{"texts": ["a cat", "two dogs"], "tokens": true}"#,
    );
    let good = ask(server.address, good).await;
    let (rows_of_good, good) = (rows(&good), good.json());

    let answer = json!({ "partial": true, "truncate": false, "tokens": true });
    let answer = ask(server.address, asked(answer)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expected = [
        rows_of_good[0].clone(),
        vec![],
        vec![],
        rows_of_good[1].clone(),
    ];
    assert_eq!(rows(&answer), expected);
    let answer = answer.json();
    assert_eq!(
        answer["tokens"],
        json!([good["tokens"][0], 0, 0, good["tokens"][1]])
    );
    assert_eq!(answer["truncated"], 0);
    let errors = answer["errors"].as_array().unwrap();
    let told: Vec<_> = errors
        .iter()
        .map(|error| (&error["index"], &error["status"]))
        .collect();
    assert_eq!(told, [(&json!(1), &json!(413)), (&json!(2), &json!(413))]);
    for (error, said) in errors.iter().zip([
        "texts[1]: the text has 5000 bytes, more than the limit of 4000.",
        "texts[2]: the text has more than",
    ]) {
        assert!(
            error["detail"].as_str().unwrap().starts_with(said),
            "{error}"
        );
    }

    // What may be cut is no error.
    let answer = ask(server.address, asked(json!({ "partial": true })))
        .await
        .json();
    assert_eq!(answer["errors"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["truncated"], 1);
    // Nothing is bad: no errors, and the field is there all the same.
    let all = post_json(
        "/embed/text",
        r#"{"texts": ["a cat", "two dogs"], "partial": true}"#,
    );
    let all = ask(server.address, all).await;
    assert_eq!(rows(&all), rows_of_good);
    assert_eq!(all.json()["errors"], json!([]));
    // It is not asked for.
    assert_eq!(ask(server.address, asked(json!({}))).await.error().0, 413);
}

#[tokio::test]
async fn a_text_of_a_comparison_that_is_too_long_costs_its_own_row() {
    let settings = HttpSettings {
        max_text_bytes: 4000,
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let texts = json!(["a cat", "x".repeat(5000), "word ".repeat(200), "two dogs"]);
    let good = form().text("texts", r#"["a cat", "two dogs"]"#);
    let good = good.text("details", "true").post("/similarity");
    let good = ask(server.address, good).await.json();
    let by_form = Form::new()
        .text("partial", "true")
        .text("truncate", "false")
        .text("details", "true")
        .text("texts", texts.to_string())
        .file("files", "a.png", png(1, 20, 30))
        .file("files", "b.png", png(2, 20, 30))
        .post("/similarity");
    let by_json = json!({
        "partial": true, "truncate": false, "details": true, "texts": texts, "image_base64": [encoded(1), encoded(2)],
    });
    let by_json = post_json("/similarity", &by_json.to_string());
    for request in [by_form, by_json] {
        let answer = ask(server.address, request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        let none = json!([null, null]);
        for matrix in ["similarities", "cosines", "logits"] {
            let want = &good[matrix];
            assert_eq!(
                answer[matrix],
                json!([want[0], none, none, want[1]]),
                "{matrix}"
            );
        }
        let rows = &good["text_embeddings"];
        assert_eq!(answer["text_embeddings"], json!([rows[0], [], [], rows[1]]));
        assert_eq!(answer["image_embeddings"], good["image_embeddings"]);
        assert_eq!(answer["errors"], json!([]));
        let errors = answer["text_errors"].as_array().unwrap();
        let told: Vec<_> = errors
            .iter()
            .map(|error| (&error["index"], &error["status"]))
            .collect();
        assert_eq!(told, [(&json!(1), &json!(413)), (&json!(2), &json!(413))]);
    }
    // The one query of a ranking is for all images.
    let long = json!({ "partial": true, "query": "x".repeat(5000), "image_base64": [encoded(1)] });
    let answer = ask(server.address, post_json("/rank", &long.to_string())).await;
    assert_eq!(answer.error().0, 413);
}

#[tokio::test]
async fn a_dtype_that_does_not_exist_is_refused() {
    let server = server().await;
    let body = br#"{"texts": ["a cat"]}"#;
    for (accept, status) in [
        ("application/x-npy;dtype=float64", 400),
        ("application/octet-stream; dtype=int4", 400),
        ("application/x-npy;dtype=float64, application/json", 200),
    ] {
        let headers = [("content-type", "application/json"), ("accept", accept)];
        let answer = ask(
            server.address,
            request("POST", "/embed/text", &headers, body),
        )
        .await;
        assert_eq!(answer.status, status, "{accept}");
        if status == 400 {
            let (_, sentence) = answer.error();
            assert!(
                sentence.contains("must be one of: float32, float16, int8, binary"),
                "{sentence}"
            );
        }
    }
}

#[tokio::test]
async fn scores_are_told_in_full_where_details_are_asked_for() {
    let server = server().await;
    let form = form()
        .text("texts", r#"["a cat", "two dogs"]"#)
        .text("query", "a cat");
    let plain = ask(server.address, form.post("/similarity")).await.json();
    assert!(plain.get("cosines").is_none() && plain.get("logits").is_none());
    let with = form.clone().text("details", "true");
    let full = ask(server.address, with.post("/similarity")).await.json();
    assert_eq!(full["similarities"], plain["similarities"]);
    let at = |name: &str, text: usize, image: usize| full[name][text][image].as_f64().unwrap();
    for text in 0..2 {
        for image in 0..2 {
            let sigmoid = 1.0 / (1.0 + (-at("logits", text, image)).exp());
            assert!((sigmoid - at("similarities", text, image)).abs() < 1e-7);
            let row = |name: &str, at: usize| -> Vec<f64> {
                serde_json::from_value(full[name][at].clone()).unwrap()
            };
            let (text_row, image_row) =
                (row("text_embeddings", text), row("image_embeddings", image));
            let cosine: f64 = text_row.iter().zip(&image_row).map(|(a, b)| a * b).sum();
            assert!((cosine - at("cosines", text, image)).abs() < 1e-6);
        }
    }
    let ranked = ask(server.address, with.post("/rank")).await.json();
    for ranking in ranked["rankings"].as_array().unwrap() {
        let image = usize::from(ranking["filename"] == "b.png");
        let probability = ranking["probability"].as_f64().unwrap();
        assert!((probability - at("similarities", 0, image)).abs() < 1e-7);
        assert!((probability - ranking["score"].as_f64().unwrap()).abs() <= 5e-5);
        assert_eq!(ranking["cosine"], full["cosines"][0][image]);
        assert_eq!(ranking["logit"], full["logits"][0][image]);
    }
    let plain = ask(server.address, form.post("/rank")).await.json();
    assert_eq!(
        plain["rankings"][0].as_object().map(serde_json::Map::len),
        Some(3)
    );
}

#[tokio::test]
async fn dialects_carry_the_fingerprint_and_keep_to_the_one_expected() {
    let service = crate::common::model::service("demo", &[]);
    let server = Server::of(service).await;
    let own = post_json("/embed/text", r#"{"texts": ["a"]}"#);
    let own = ask(server.address, own).await;
    let own = own.header("x-embedding-fingerprint").unwrap();
    for (path, body) in [
        ("/v1/embeddings", r#"{"input": "a"}"#),
        ("/v2/embed", r#"{"texts": ["a"]}"#),
        ("/embed", r#"{"inputs": "a"}"#),
        ("/vectorize", r#"{"texts": ["a"]}"#),
        ("/classify", r#"{"labels": ["a"], "images": []}"#),
    ] {
        let answer = ask(server.address, post_json(path, body)).await;
        assert_eq!(
            answer.header("x-embedding-fingerprint"),
            Some(own),
            "{path}"
        );
        let headers = [
            ("Content-Type", "application/json"),
            ("X-Expect-Fingerprint", "0123456789abcdef"),
        ];
        let other = ask(
            server.address,
            request("POST", path, &headers, body.as_bytes()),
        )
        .await;
        assert_eq!(other.status, 412, "{path}");
        assert!(other.json()["detail"].is_string());
    }
}
