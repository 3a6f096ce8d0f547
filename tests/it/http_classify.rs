//! Zero-shot classification, in the service's own form and in that of Hugging Face's endpoints.

use serde_json::{Value, json};

use crate::common::dialects::{good, images, refusals, server, texts, told};
use crate::common::{Form, Server, ask, encoded, png, post_json, uri};
use siglip2_embeddings::http::HttpSettings;

/// The scores of a label in a result.
fn score<'a>(result: &'a Value, label: &str) -> &'a Value {
    let scores = result["scores"].as_array().unwrap();
    scores.iter().find(|score| score["label"] == label).unwrap()
}

#[tokio::test]
async fn zero_shot_scores_are_those_of_similarity() {
    let server = server().await;
    let labels = ["cat", "two dogs"];
    let sentences = labels.map(|label| format!("This is a photo of {label}."));
    let form =
        Form::new()
            .file("files", "a.png", png(1, 20, 30))
            .file("files", "b.png", png(200, 20, 30));
    let similarity = form.clone().text("texts", json!(sentences).to_string());
    let similarity = ask(server.address, similarity.post("/similarity"))
        .await
        .json();
    let by_form = form.clone().text("labels", json!(labels).to_string());
    let by_form = ask(server.address, by_form.post("/classify")).await;
    assert_eq!(by_form.status, 200, "{}", by_form.text());
    let by_form = by_form.json();
    let body = json!({ "images": [encoded(1), uri(200)], "labels": labels });
    let by_json = good(&server, "/classify", &body).await;
    let vectors = images(&server, &[1, 200]).await;
    let given = json!({ "embeddings": vectors, "labels": labels });
    let by_vector = good(&server, "/classify", &given).await;
    for picture in 0..2 {
        for (at, label) in labels.iter().enumerate() {
            let expected = similarity["similarities"][at][picture].as_f64().unwrap();
            for answer in [&by_form, &by_json, &by_vector] {
                let got = score(&answer["results"][picture], label);
                let probability = got["score"].as_f64().unwrap();
                assert!(
                    (probability - expected).abs() < 1e-6,
                    "{got} is not {expected}"
                );
                let logit = got["logit"].as_f64().unwrap();
                assert!((1.0 / (1.0 + (-logit).exp()) - probability).abs() < 1e-12);
                assert!(got["cosine"].as_f64().unwrap().abs() <= 1.0 + 1e-6);
            }
        }
    }
    assert_eq!(by_form["results"][1]["filename"], "b.png");
    assert_eq!(
        by_json["hypothesis_templates"],
        json!(["This is a photo of {}."])
    );

    let body = json!({ "images": [encoded(1)], "labels": labels, "activation": "softmax" });
    let softmax = good(&server, "/classify", &body).await;
    let scores = softmax["results"][0]["scores"].as_array().unwrap();
    let sum: f64 = scores
        .iter()
        .filter_map(|score| score["score"].as_f64())
        .sum();
    assert!((sum - 1.0).abs() < 1e-12);
    assert!(scores[0]["score"].as_f64() >= scores[1]["score"].as_f64());

    let hugging = json!({ "inputs": encoded(1), "parameters": { "candidate_labels": labels } });
    let hugging = good(&server, "/classify", &hugging).await;
    let first = &by_json["results"][0]["scores"][0];
    assert_eq!(
        hugging[0],
        json!({ "label": first["label"], "score": first["score"] })
    );
    assert_eq!(hugging.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn several_templates_are_averaged() {
    let server = server().await;
    let templates = ["a {}.", "the {} here"];
    let vectors: Vec<Vec<f64>> = texts(&server, &["a cat.", "the cat here"])
        .await
        .into_iter()
        .map(|row| serde_json::from_value(row).unwrap())
        .collect();
    let mean: Vec<f64> = vectors[0]
        .iter()
        .zip(&vectors[1])
        .map(|(a, b)| a + b)
        .collect();
    let norm = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
    let picture: Vec<f64> = serde_json::from_value(images(&server, &[1]).await.remove(0)).unwrap();
    let expected: f64 = mean.iter().zip(&picture).map(|(a, b)| a / norm * b).sum();
    let body =
        json!({ "images": [encoded(1)], "labels": ["cat"], "hypothesis_templates": templates });
    let answer = good(&server, "/classify", &body).await;
    let got = answer["results"][0]["scores"][0]["cosine"]
        .as_f64()
        .unwrap();
    assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
}

/// The cosine of two vectors of length 1.
fn cosine(a: &Value, b: &Value) -> f64 {
    let numbers = |row: &Value| -> Vec<f64> { serde_json::from_value(row.clone()).unwrap() };
    let pairs = numbers(a).into_iter().zip(numbers(b));
    pairs.map(|(a, b)| a * b).sum()
}

#[tokio::test]
async fn classes_may_be_shown_by_pictures_or_by_vectors_of_them() {
    let server = server().await;
    let vectors = images(&server, &[1, 120, 200]).await;
    let sentences = texts(&server, &["This is a photo of cat."]).await;
    let pictures = json!([encoded(1), encoded(120)]);
    let form =
        Form::new()
            .file("files", "a.png", png(1, 20, 30))
            .file("files", "b.png", png(120, 20, 30));
    let by_pictures = json!([
        { "label": "first", "images": [encoded(1)] },
        { "label": "third", "images": [uri(200)] },
    ]);
    let by_vectors = json!([
        { "label": "first", "embeddings": [vectors[0]] },
        { "label": "third", "embeddings": [vectors[2]] },
    ]);
    let mut answers = Vec::new();
    for examples in [&by_pictures, &by_vectors] {
        for labels in [None, Some(json!(["cat"]))] {
            // What is classified: pictures of a form, pictures in JSON, vectors.
            let mut form = form.clone().text("examples", examples.to_string());
            let mut bodies = [
                json!({ "images": pictures, "examples": examples }),
                json!({ "embeddings": vectors[..2], "examples": examples }),
            ];
            if let Some(labels) = &labels {
                form = form.text("labels", labels.to_string());
                for body in &mut bodies {
                    body["labels"] = labels.clone();
                }
            }
            let answer = ask(server.address, form.post("/classify")).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            answers.push((labels.is_some(), answer.json()));
            for body in &bodies {
                let answer = good(&server, "/classify", body).await;
                answers.push((labels.is_some(), answer));
            }
        }
    }
    assert_eq!(answers.len(), 12);
    for (has_labels, answer) in &answers {
        for picture in 0..2 {
            let result = &answer["results"][picture];
            let of = |label: &str| score(result, label)["cosine"].as_f64().unwrap();
            let expected = |class: &Value| cosine(class, &vectors[picture]);
            assert!((of("first") - expected(&vectors[0])).abs() < 1e-6);
            assert!((of("third") - expected(&vectors[2])).abs() < 1e-6);
            if *has_labels {
                assert!((of("cat") - expected(&sentences[0])).abs() < 1e-6);
            }
            let classes = result["scores"].as_array().unwrap().len();
            assert_eq!(classes, 2 + usize::from(*has_labels));
        }
        // A picture is most like itself.
        assert_eq!(answer["results"][0]["scores"][0]["label"], "first");
    }

    // Several pictures of a class are averaged, wherever each comes from.
    let both = json!([{ "label": "both", "images": [encoded(1)], "embeddings": [vectors[2]] }]);
    let body = json!({ "images": [encoded(120)], "examples": both });
    let answer = good(&server, "/classify", &body).await;
    let got = answer["results"][0]["scores"][0]["cosine"]
        .as_f64()
        .unwrap();
    let sum = cosine(&vectors[0], &vectors[1]) + cosine(&vectors[2], &vectors[1]);
    let length = (2.0 + 2.0 * cosine(&vectors[0], &vectors[2])).sqrt();
    assert!((got - sum / length).abs() < 1e-6, "{got}");
}

#[tokio::test]
async fn a_bad_picture_costs_its_own_result_where_each_is_for_itself() {
    let server = server().await;
    let labels = json!(["cat", "two dogs"]);
    let all = good(
        &server,
        "/classify",
        &json!({ "images": [encoded(1), encoded(200)], "labels": labels }),
    )
    .await;
    assert!(all.get("errors").is_none());
    let form = Form::new()
        .text("partial", "true")
        .text("labels", labels.to_string())
        .file("files", "a.png", png(1, 20, 30))
        .file("files", "bad.png", b"nothing")
        .file("files", "b.png", png(200, 20, 30));
    let by_form = ask(server.address, form.post("/classify")).await;
    assert_eq!(by_form.status, 200, "{}", by_form.text());
    let body = json!({
        "images": [encoded(1), "bm90aGluZw==", encoded(200)], "labels": labels, "partial": true,
        "examples": [{ "label": "shown", "images": [encoded(120)] }],
    });
    let by_json = good(&server, "/classify", &body).await;
    for (answer, name) in [(by_form.json(), "files[1]"), (by_json, "images[1]")] {
        for (picture, of_all) in [(0, 0), (2, 1)] {
            let (got, want) = (&answer["results"][picture], &all["results"][of_all]);
            assert_eq!(score(got, "cat"), score(want, "cat"));
        }
        assert_eq!(answer["results"][1]["scores"], json!([]));
        let errors = answer["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0]["index"], 1);
        assert_eq!(errors[0]["status"], 400);
        let detail = errors[0]["detail"].as_str().unwrap();
        assert!(detail.starts_with(name), "{detail}");
    }
}

#[tokio::test]
async fn a_bad_class_costs_itself_where_each_is_for_itself() {
    let settings = HttpSettings {
        max_text_bytes: 100,
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let long = "x".repeat(101);
    // It fits, and in the template it does not.
    let nearly = "y".repeat(90);
    let bad_picture = "bm90aGluZw==";
    let examples = json!([
        { "label": "damaged", "images": [encoded(120), bad_picture, bad_picture] },
        { "label": "shown", "images": [encoded(120)] },
        { "label": long, "images": [encoded(120)] },
        { "label": "no base64", "images": ["%"] },
    ]);
    let labels = json!(["cat", long, nearly, "two dogs"]);
    let good_only = json!({
        "images": [encoded(1), encoded(200)], "labels": ["cat", "two dogs"], "activation": "softmax",
        "examples": [{ "label": "shown", "images": [encoded(120)] }],
    });
    let expected = good(&server, "/classify", &good_only).await;
    let body = json!({
        "images": [encoded(1), bad_picture, encoded(200)], "labels": labels, "examples": examples,
        "partial": true, "activation": "softmax",
    });
    let by_json = good(&server, "/classify", &body).await;
    let form = Form::new()
        .text("partial", "true")
        .text("activation", "softmax")
        .text("labels", labels.to_string())
        .text("examples", examples.to_string())
        .file("files", "a.png", png(1, 20, 30))
        .file("files", "bad.png", b"nothing")
        .file("files", "b.png", png(200, 20, 30));
    let by_form = ask(server.address, form.post("/classify")).await;
    assert_eq!(by_form.status, 200, "{}", by_form.text());
    for answer in [by_json, by_form.json()] {
        assert_eq!(
            answer["results"][0]["scores"],
            expected["results"][0]["scores"]
        );
        assert_eq!(answer["results"][1]["scores"], json!([]));
        assert_eq!(
            answer["results"][2]["scores"],
            expected["results"][1]["scores"]
        );
        let told = |field: &str| -> Vec<(u64, u64, String)> {
            let errors = answer[field].as_array().unwrap().iter();
            let number = |error: &Value, field: &str| error[field].as_u64().unwrap();
            errors
                .map(|it| {
                    let detail = it["detail"].as_str().unwrap().to_owned();
                    (number(it, "index"), number(it, "status"), detail)
                })
                .collect()
        };
        let kinds = |field: &str| -> Vec<(u64, u64)> {
            told(field).iter().map(|it| (it.0, it.1)).collect()
        };
        assert_eq!(kinds("errors"), [(1, 400)]);
        assert_eq!(kinds("label_errors"), [(1, 413), (2, 413)]);
        assert_eq!(kinds("example_errors"), [(0, 400), (2, 413), (3, 400)]);
        for (field, name) in [("label_errors", "labels"), ("example_errors", "examples")] {
            for (index, _, detail) in told(field) {
                assert!(detail.starts_with(&format!("{name}[{index}]")), "{detail}");
            }
        }
    }

    // Too many tokens, which only the tokenizer knows; vectors in place of pictures.
    let row = images(&server, &[1]).await.remove(0);
    let many = "a b ".repeat(20);
    let body = json!({
        "embeddings": [row], "labels": ["cat", many], "hypothesis_templates": ["{}", "a {}"],
        "truncate": false,
    });
    let refused = ask(server.address, post_json("/classify", &body.to_string())).await;
    assert_eq!(refused.status, 413, "{}", refused.text());
    let mut partial = body;
    partial["partial"] = json!(true);
    let answer = good(&server, "/classify", &partial).await;
    assert_eq!(answer["label_errors"].as_array().unwrap().len(), 1);
    assert_eq!(answer["label_errors"][0]["index"], 1);
    assert_eq!(answer["example_errors"], json!([]));
    let scores = answer["results"][0]["scores"].as_array().unwrap();
    assert_eq!(scores.len(), 1);
    assert_eq!(scores[0]["label"], "cat");

    // Nothing is left, and the request is right all the same.
    let body = json!({ "images": [encoded(1)], "labels": [long], "partial": true });
    let answer = good(&server, "/classify", &body).await;
    assert_eq!(answer["results"][0]["scores"], json!([]));

    // Hugging Face's form has no place for errors.
    let body = json!({
        "inputs": encoded(1), "parameters": { "candidate_labels": ["cat", long] }, "partial": true,
    });
    let refused = ask(server.address, post_json("/classify", &body.to_string())).await;
    assert_eq!(refused.status, 413, "{}", refused.text());
}

#[tokio::test]
async fn a_bad_query_fails_the_request_whatever_is_for_itself() {
    let settings = HttpSettings {
        max_text_bytes: 100,
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let long = "x".repeat(101);
    for partial in [false, true] {
        let body = json!({ "image_base64": [encoded(1)], "query": long, "partial": partial });
        let by_json = ask(server.address, post_json("/rank", &body.to_string())).await;
        let form = Form::new()
            .text("partial", partial.to_string())
            .text("query", &*long)
            .file("files", "a.png", png(1, 20, 30));
        let by_form = ask(server.address, form.post("/rank")).await;
        for answer in [by_json, by_form] {
            assert_eq!(answer.status, 413, "partial {partial}: {}", answer.text());
            assert!(
                answer.text().contains("query has 101 bytes"),
                "{}",
                answer.text()
            );
        }
    }
}

#[tokio::test]
async fn zero_shot_refuses_with_a_sentence() {
    let settings = HttpSettings {
        max_text_bytes: 1000,
        max_images_per_request: 3,
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let dimensions = server.service.info().dimensions;
    let row = vec![0.5; dimensions];
    refusals(&server, "/classify", "error", &[
        (json!({ "images": [encoded(1)] }), 400, "must have classes"),
        (json!({ "images": [encoded(1)], "labels": [], "examples": [] }), 400, "must have classes"),
        (json!({ "images": [encoded(1)], "examples": {} }), 400, "examples must be a list"),
        (json!({ "images": [encoded(1)], "examples": [[]] }), 400, "examples[0] must be an object"),
        (json!({ "images": [encoded(1)], "examples": [{ "images": [encoded(1)] }] }), 400, "examples[0] must have a label"),
        (json!({ "images": [encoded(1)], "examples": [{ "label": "a" }] }), 400, "examples[0] must have images"),
        (json!({ "images": [encoded(1)], "examples": [{ "label": "a", "images": [] }] }), 400, "examples[0] must have images"),
        (json!({ "images": [encoded(1)], "examples": [{ "label": 1, "images": [encoded(1)] }] }), 400, "examples[0] must be a string"),
        (json!({ "images": [encoded(1)], "examples": [{ "label": "a", "images": ["QUJD"] }] }), 400, "examples[0]"),
        (json!({ "images": [encoded(1)], "examples": [{ "label": "a", "embeddings": [[1.0]] }] }), 400, "embeddings[0] must be a list"),
        (json!({ "images": vec![encoded(1); 2], "examples": [{ "label": "a", "images": vec![encoded(1); 2] }] }), 413, "the limit of 3"),
        (json!({ "images": [encoded(1)], "labels": ["a"], "partial": 1 }), 400, "partial must be true or false"),
        (json!({ "images": [encoded(1)], "labels": "cat" }), 400, "labels must be a list"),
        (json!({ "images": [encoded(1)], "labels": ["a", 1] }), 400, "labels[1]"),
        (json!({ "labels": ["a"] }), 400, "one of: images, embeddings, inputs"),
        (json!({ "images": [], "embeddings": [], "labels": ["a"] }), 400, "one of: images"),
        (json!({ "images": ["QUJD"], "labels": ["a"] }), 400, "images[0]"),
        (json!({ "images": ["http://x"], "labels": ["a"] }), 400, "fetches none"),
        (json!({ "embeddings": [[1.0]], "labels": ["a"] }), 400, "embeddings[0] must be a list"),
        (json!({ "embeddings": [row, vec!["x"; dimensions]], "labels": ["a"] }), 400, "embeddings[1]"),
        (json!({ "embeddings": vec![row.clone(); 4], "labels": ["a"] }), 413, "the limit of 3"),
        (json!({ "images": [], "labels": ["a"], "hypothesis_template": "x" }), 400, "has no {}"),
        (
            json!({ "images": [], "labels": ["a"], "hypothesis_template": "{}", "hypothesis_templates": ["{}"] }),
            400,
            "both",
        ),
        (json!({ "images": [], "labels": ["a"], "activation": "tanh" }), 400, "activation"),
        // A label in each of many holes: refused before the sentence is made.
        (json!({ "images": [], "labels": ["x".repeat(900)], "hypothesis_template": "{}".repeat(400) }), 413, "labels[0] has 360000 bytes"),
        (json!({ "images": [], "labels": ["a"], "hypothesis_templates": vec!["{}"; 129] }), 413, "128"),
    ])
    .await;
    let far = format!(
        r#"{{"labels": ["a"], "embeddings": [[{}1e39]]}}"#,
        "0,".repeat(dimensions - 1)
    );
    let answer = ask(server.address, post_json("/classify", &far)).await;
    assert_eq!(told(&answer, "error").0, 400);
    let form = Form::new().file("files", "a.png", png(1, 2, 3));
    for (form, status, said) in [
        (form.clone(), 400, "must have classes"),
        (
            form.clone().text("examples", "[{"),
            400,
            "examples is not valid JSON",
        ),
        (
            form.clone().text("examples", "[{\"label\": \"a\"}]"),
            400,
            "examples[0]",
        ),
        (
            form.clone().text("labels", "cat"),
            400,
            "labels is not valid JSON",
        ),
        (
            form.clone()
                .text("labels", "[\"a\"]")
                .text("activation", "x"),
            400,
            "activation",
        ),
        (Form::new().text("labels", "[\"a\"]"), 422, "files"),
    ] {
        let answer = ask(server.address, form.post("/classify")).await;
        let (got, sentence) = told(&answer, "error");
        assert_eq!(got, status, "{sentence}");
        assert!(sentence.contains(said), "{sentence}");
    }
}
