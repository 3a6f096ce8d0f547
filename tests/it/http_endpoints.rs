//! The seven endpoints over a real socket: what a client sends and gets.

use crate::common::{Client, Form, Server, ask, chunked, get, png, post_json, request};
use serde_json::{Value, json};
use siglip2_embeddings::http::HttpSettings;

async fn server() -> Server {
    Server::start(HttpSettings::default()).await
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{e}: {value}"))
}

#[tokio::test]
async fn health_and_info_say_what_runs() {
    let server = server().await;
    let info = server.service.info();
    let health = ask(server.address, get("/health")).await;
    assert_eq!(health.status, 200);
    assert_eq!(
        health.json(),
        json!({"status": "ok", "model": info.name, "device": info.device, "dimensions": info.dimensions})
    );
    let told = ask(server.address, get("/info")).await.json();
    assert_eq!(told["model"], info.name);
    assert_eq!(told["device"], info.device);
    assert_eq!(told["text_dim"], info.dimensions);
    assert_eq!(told["vision_dim"], info.dimensions);
    assert_eq!(told["image_size"], info.images.square());
    assert_eq!(told["cross_modal"], true);
    assert!(told["description"].is_string());
    assert_eq!(told["engine"], info.engine);
    assert_eq!(told["precision"], info.precision);
    assert!(told["limits"]["max_images_per_request"].is_u64());
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let server = server().await;
    for path in ["/health", "/info", "/openapi.json", "/"] {
        let whole = ask(server.address, get(path)).await;
        let mut client = Client::connect(server.address).await;
        client.send(request("HEAD", path, &[], b"")).await;
        let head = client.answer_to("HEAD").await;
        assert_eq!(head.status, 200, "{path}");
        assert_eq!(
            head.header("content-length"),
            whole.header("content-length"),
            "{path}"
        );
        // The connection goes on right behind it.
        client.send(get("/health")).await;
        assert_eq!(client.answer().await.status, 200);
    }
}

#[tokio::test]
async fn the_root_leads_to_the_description() {
    let server = server().await;
    let root = ask(server.address, get("/")).await.json();
    let description = ask(server.address, get(root["openapi"].as_str().unwrap()))
        .await
        .json();
    assert_eq!(description["openapi"], "3.1.0");
    for path in [
        "/health",
        "/info",
        "/embed/text",
        "/embed/image",
        "/embed/images",
        "/similarity",
        "/rank",
    ] {
        assert!(description["paths"][path].is_object(), "{path}");
    }
}

#[tokio::test]
async fn texts_are_embedded_in_order() {
    let server = server().await;
    let dimensions = server.service.info().dimensions;
    let answer = ask(
        server.address,
        post_json("/embed/text", r#"{"texts": ["a cat", "", "two dogs"]}"#),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    assert_eq!(json["dimensions"], dimensions);
    assert_eq!(json["model"], server.service.info().name);
    let together = rows(&json["embeddings"]);
    assert_eq!(together.len(), 3);
    for (text, row) in ["a cat", "", "two dogs"].iter().zip(&together) {
        assert_eq!(row.len(), dimensions);
        let body = json!({"texts": [text], "normalize": true}).to_string();
        let alone = ask(server.address, post_json("/embed/text", &body))
            .await
            .json();
        assert_eq!(&rows(&alone["embeddings"])[0], row);
    }
    let none = ask(server.address, post_json("/embed/text", r#"{"texts": []}"#)).await;
    assert_eq!(none.status, 200);
    assert_eq!(none.json()["embeddings"], json!([]));
    assert_eq!(none.json()["dimensions"], dimensions);
}

#[tokio::test]
async fn json_is_taken_by_any_of_its_names() {
    let server = server().await;
    let body = br#"{"texts": ["a"], "extra": {"ignored": [1, 2]}}"#;
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/ld+json",
    ] {
        let sent = request(
            "POST",
            "/embed/text",
            &[("Content-Type", content_type)],
            body,
        );
        assert_eq!(
            ask(server.address, sent).await.status,
            200,
            "{content_type}"
        );
    }
    assert_eq!(
        ask(server.address, request("POST", "/embed/text", &[], body))
            .await
            .status,
        200
    );
    assert_eq!(
        ask(server.address, request("POST", "/embed/text/", &[], body))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn one_image_as_a_file_or_as_base64() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let server = server().await;
    let picture = png(200, 10, 30);
    let other = png(1, 2, 250);
    let post = async |form: Form| {
        let answer = ask(server.address, form.post("/embed/image")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let json = answer.json();
        assert_eq!(json["dimensions"], server.service.info().dimensions);
        rows(&json["embeddings"]).remove(0)
    };
    let expected = post(Form::new().file("file", "a.png", &picture)).await;
    assert_ne!(
        expected,
        post(Form::new().file("file", "a.png", &other)).await
    );
    let encoded = STANDARD.encode(&picture);
    assert_eq!(
        post(Form::new().text("image_base64", &encoded)).await,
        expected
    );
    let uri = format!("data:image/png;base64,{encoded}");
    assert_eq!(post(Form::new().text("image_base64", &uri)).await, expected);
    let lines: Vec<_> = encoded.as_bytes().chunks(76).collect();
    assert_eq!(
        post(Form::new().text("image_base64", lines.join(b"\r\n".as_slice()))).await,
        expected
    );
    // The file wins, on whichever side it stands, and of two files the last.
    let b64 = STANDARD.encode(&other);
    assert_eq!(
        post(
            Form::new()
                .text("image_base64", &b64)
                .file("file", "a.png", &picture)
        )
        .await,
        expected
    );
    assert_eq!(
        post(
            Form::new()
                .file("file", "a.png", &picture)
                .text("image_base64", &b64)
        )
        .await,
        expected
    );
    assert_eq!(
        post(
            Form::new()
                .file("file", "b.png", b"no image")
                .file("file", "a.png", &picture)
        )
        .await,
        expected
    );
    // A browser's form in which no file was chosen.
    assert_eq!(
        post(
            Form::new()
                .file("file", "", b"")
                .text("image_base64", &encoded)
        )
        .await,
        expected
    );
    // What Python's requests sends for data= without files=.
    let form: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("image_base64", &encoded)
        .append_pair("normalize", "on")
        .finish();
    let sent = request(
        "POST",
        "/embed/image",
        &[("Content-Type", "application/x-www-form-urlencoded")],
        form.as_bytes(),
    );
    let answer = ask(server.address, sent).await;
    assert_eq!(rows(&answer.json()["embeddings"]), [expected]);
}

#[tokio::test]
async fn images_come_back_in_the_order_of_their_parts() {
    let server = server().await;
    let pictures = [png(250, 0, 0), png(0, 250, 0), png(0, 0, 250)];
    let mut form = Form::new()
        .text("normalize", "Yes")
        .file("ignored", "x", b"y");
    for (at, picture) in pictures.iter().enumerate() {
        form = form.file("files", &format!("{at}.png"), picture);
    }
    let answer = ask(server.address, form.post("/embed/images")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let together = rows(&answer.json()["embeddings"]);
    assert_eq!(together.len(), 3);
    for (picture, row) in pictures.iter().zip(&together) {
        let alone = ask(
            server.address,
            Form::new()
                .file("files", "x", picture)
                .post("/embed/images"),
        )
        .await;
        assert_eq!(&rows(&alone.json()["embeddings"])[0], row);
    }
}

#[tokio::test]
async fn similarity_has_a_row_per_text_and_a_column_per_image() {
    let server = server().await;
    let form = Form::new()
        .file("files", "a.png", png(250, 0, 0))
        .file("files", "b.png", png(0, 0, 250))
        .text("texts", r#"["red", "blue", "green"]"#);
    let answer = ask(server.address, form.post("/similarity")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    let similarities = rows(&json["similarities"]);
    assert_eq!(similarities.len(), 3);
    assert!(
        similarities
            .iter()
            .all(|row| row.len() == 2 && row.iter().all(|s| (0.0..=1.0).contains(s)))
    );
    assert_eq!(rows(&json["text_embeddings"]).len(), 3);
    assert_eq!(rows(&json["image_embeddings"]).len(), 2);
    assert_eq!(
        json["note"],
        "Similarities are sigmoid-normalized (0-1 range)"
    );
    let texts = ask(
        server.address,
        post_json("/embed/text", r#"{"texts": ["red", "blue", "green"]}"#),
    )
    .await;
    assert_eq!(texts.json()["embeddings"], json["text_embeddings"]);

    let none = Form::new()
        .file("files", "a.png", png(1, 2, 3))
        .text("texts", "[]");
    let json = ask(server.address, none.post("/similarity")).await.json();
    assert_eq!(json["similarities"], json!([]));
    assert_eq!(json["text_embeddings"], json!([]));
    assert_eq!(rows(&json["image_embeddings"]).len(), 1);
}

#[tokio::test]
async fn rank_is_the_order_of_similarity() {
    let server = server().await;
    let names = ["ä \"1\".png", "b;2.png", "c.png", "c.png"];
    let pictures = [
        png(250, 0, 0),
        png(0, 250, 0),
        png(0, 0, 250),
        png(0, 0, 250),
    ];
    let mut form = Form::new();
    for (name, picture) in names.iter().zip(&pictures) {
        form = form.file("files", &name.replace('"', "\\\""), picture);
    }
    let scores = ask(
        server.address,
        form.clone()
            .text("texts", "[\"die Röte\"]")
            .post("/similarity"),
    )
    .await;
    let scores = rows(&scores.json()["similarities"]).remove(0);
    let ranked = ask(server.address, form.text("query", "die Röte").post("/rank")).await;
    assert_eq!(ranked.status, 200, "{}", ranked.text());
    let json = ranked.json();
    assert_eq!(json["query"], "die Röte");
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let rankings = json["rankings"].as_array().unwrap();
    assert_eq!(rankings.len(), names.len());
    for (at, (row, &index)) in rankings.iter().zip(&order).enumerate() {
        assert_eq!(row["rank"], at + 1);
        assert_eq!(row["filename"], names[index]);
        let score = row["score"].as_f64().unwrap();
        assert!(
            (score - scores[index]).abs() <= 0.5001e-4,
            "{score} {}",
            scores[index]
        );
        assert_eq!(score, (score * 1e4).round() / 1e4);
    }
}

#[tokio::test]
async fn bodies_may_come_in_chunks_of_any_size() {
    let server = server().await;
    let form =
        Form::new()
            .file("files", "a.png", png(1, 2, 3))
            .file("files", "b.png", png(9, 9, 9));
    let whole = ask(server.address, form.post("/embed/images")).await;
    assert_eq!(whole.status, 200, "{}", whole.text());
    for size in [1, 2, 7, 64, 100_000] {
        let head = "POST /embed/images HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=X\r\nTransfer-Encoding: chunked\r\n\r\n";
        let sent = [head.as_bytes(), &chunked(&form.body(), size)].concat();
        let answer = ask(server.address, sent).await;
        assert_eq!(answer.text(), whole.text(), "chunks of {size}");
    }
}

#[tokio::test]
async fn the_id_of_a_request_comes_back() {
    let server = server().await;
    let own = ask(
        server.address,
        request("GET", "/health", &[("X-Request-Id", "abc-1")], b""),
    )
    .await;
    assert_eq!(own.header("x-request-id"), Some("abc-1"));
    let bad = ask(
        server.address,
        request("GET", "/nowhere", &[("X-Request-Id", "a b\tc")], b""),
    )
    .await;
    let id = bad.header("x-request-id").unwrap();
    assert!(
        id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()),
        "{id}"
    );
}

#[tokio::test]
async fn the_numbers_of_an_answer_are_the_engine_s_f32() {
    let server = server().await;
    let answer = ask(
        server.address,
        post_json("/embed/text", r#"{"texts": ["a cat"], "normalize": false}"#),
    )
    .await;
    let json = answer.json();
    let expected = server
        .service
        .request(siglip2_embeddings::service::Context::default())
        .embed_texts(vec!["a cat".into()], false)
        .await
        .unwrap();
    let row: Vec<f32> = serde_json::from_value(json["embeddings"][0].clone()).unwrap();
    assert_eq!(row, expected.embeddings.rows().next().unwrap());
    // Not one digit more than an f32 needs.
    let written = answer.text();
    assert!(
        written
            .split(['[', ',', ']'])
            .all(|number| number.len() < 20 || number.contains('"')),
        "{written}"
    );
}

#[tokio::test]
async fn who_keeps_vectors_has_the_same_scores() {
    let server = Server::start(HttpSettings::default()).await;
    let info = ask(server.address, get("/info")).await.json();
    let number = |name: &str| info[name].as_f64().unwrap();
    let (scale, bias) = (number("logit_scale").exp(), number("logit_bias"));
    let form = Form::new()
        .file("files", "a.png", png(1, 2, 3))
        .file("files", "b.png", png(200, 20, 7))
        .text("texts", "[\"a\", \"some words\"]");
    let answer = ask(server.address, form.post("/similarity")).await.json();
    let vector = |name: &str, at: usize| -> Vec<f64> {
        let values = answer[name][at].as_array().unwrap().iter();
        values.map(|value| value.as_f64().unwrap()).collect()
    };
    for (text, image) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let (a, b) = (
            vector("text_embeddings", text),
            vector("image_embeddings", image),
        );
        let cosine: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
        let expected = 1.0 / (1.0 + (-(scale * cosine + bias)).exp());
        let score = answer["similarities"][text][image].as_f64().unwrap();
        assert!((score - expected).abs() < 1e-5, "{score} {expected}");
    }
}
