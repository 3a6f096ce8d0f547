//! Two models beside each other: every request gets the vectors of the model that it names, and
//! nothing of the other.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use siglip2_embeddings::service::{Models, SameName, ServiceSettings};

use crate::common::client::{Answer, Form, ask, get, request};
use crate::common::engine::{attach, model};
use crate::common::model::{fixture, models, service};
use crate::common::picture::{encoded, png};
use crate::common::server::Server;

mod index;
mod own;
mod turns;

const FINGERPRINT: &str = "x-embedding-fingerprint";
const TEXT: &str = "a red circle";

/// A server of the demo as "old" and of another checkpoint as "lab/new", with more flags.
async fn two(flags: &[&str]) -> Server {
    let new = format!("{}=lab/new", fixture("golden/patch16"));
    let flags = [&["--also", &new], flags].concat();
    Server::of_models(models("demo=old", &flags)).await
}

fn post(path: &str, headers: &[(&str, &str)], body: &Value) -> Vec<u8> {
    let all = [&[("Content-Type", "application/json")], headers].concat();
    request("POST", path, &all, body.to_string().as_bytes())
}

async fn answer(server: &Server, sent: Vec<u8>) -> Answer {
    let answer = ask(server.address, sent).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// The vectors of a text and a picture by a service that has one model, and its fingerprint.
struct Alone {
    text: Value,
    image: Value,
    fingerprint: String,
}

impl Alone {
    async fn of(model: &str) -> Self {
        let server = Server::of(service(model, &[])).await;
        let text = answer(&server, post("/embed/text", &[], &json!({"texts": [TEXT]}))).await;
        let form = Form::new().file("file", "a.png", png(9, 8, 7));
        let image = answer(&server, form.post("/embed/image")).await;
        Self {
            fingerprint: text.header(FINGERPRINT).expect("a fingerprint").to_owned(),
            text: text.json()["embeddings"][0].clone(),
            image: image.json()["embeddings"][0].clone(),
        }
    }
}

/// A request for the vector of the text or of the picture by a model, where the vector is in the
/// answer, and whether it is that of the picture.
type Way = (Vec<u8>, &'static str, bool);

/// All the ways to name a model.
fn ways(name: &str) -> Vec<Way> {
    let by_header = [("X-Model", name)];
    let own = |path: &str| format!("/models/{name}{path}");
    let texts = json!({"texts": [TEXT]});
    let picture = || Form::new().file("file", "a.png", png(9, 8, 7));
    let escaped = name.replace('/', "%2F");
    let image = encoded(9);
    let mut ways = vec![
        (
            post("/embed/text", &by_header, &texts),
            "/embeddings/0",
            false,
        ),
        (
            post(&own("/embed/text"), &[], &texts),
            "/embeddings/0",
            false,
        ),
        (
            post(&format!("/models/{escaped}/embed/text/"), &[], &texts),
            "/embeddings/0",
            false,
        ),
        (
            post("/embed/text", &[], &json!({"model": name, "texts": [TEXT]})),
            "/embeddings/0",
            false,
        ),
        (
            picture().text("model", name).post("/embed/image"),
            "/embeddings/0",
            true,
        ),
        (picture().post(&own("/embed/image")), "/embeddings/0", true),
        (
            picture().post_with("/embed/image", &by_header),
            "/embeddings/0",
            true,
        ),
        (
            request(
                "POST",
                &own("/embed/image"),
                &[("Content-Type", "image/png")],
                &png(9, 8, 7),
            ),
            "/embeddings/0",
            true,
        ),
        (
            post(
                "/v1/embeddings",
                &[],
                &json!({"model": name, "input": TEXT}),
            ),
            "/data/0/embedding",
            false,
        ),
        // What clients are given as the address before /embeddings.
        (
            post(
                &own("/v1/embeddings"),
                &[],
                &json!({"model": "text-embedding-3-small", "input": TEXT}),
            ),
            "/data/0/embedding",
            false,
        ),
        (
            post("/v2/embed", &[], &json!({"model": name, "texts": [TEXT]})),
            "/embeddings/float/0",
            false,
        ),
        (
            post("/embed", &[], &json!({"model": name, "inputs": TEXT})),
            "/0",
            false,
        ),
        // What TEI's clients are given as the bare address.
        (post(&own(""), &[], &json!({"inputs": TEXT})), "/0", false),
        (
            post(&own("/vectorize"), &[], &json!({"texts": [TEXT]})),
            "/textVectors/0",
            false,
        ),
        (
            post(
                &format!("/v2/models/{name}/infer"),
                &[],
                &json!({
                    "inputs": [{"name": "texts", "datatype": "BYTES", "shape": [1], "data": [TEXT]}],
                    "parameters": {"normalize": true}
                }),
            ),
            "/outputs/0/data",
            false,
        ),
    ];
    let similar = json!({"model": name, "texts": [TEXT], "image_base64": [image]});
    ways.push((
        post("/similarity", &[], &similar),
        "/text_embeddings/0",
        false,
    ));
    ways
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_names_a_model_gets_the_vectors_that_it_has_alone() {
    let server = two(&[]).await;
    for (name, model) in [
        ("old", "demo".to_owned()),
        ("lab/new", fixture("golden/patch16")),
    ] {
        let alone = Alone::of(&model).await;
        // Twice: what was cached is the model's own.
        for _ in 0..2 {
            for (sent, pointer, is_picture) in ways(name) {
                let head = String::from_utf8_lossy(&sent);
                let head = head.lines().next().unwrap_or_default().to_owned();
                let answer = answer(&server, sent).await;
                assert_eq!(
                    answer.header(FINGERPRINT),
                    Some(alone.fingerprint.as_str()),
                    "{head}"
                );
                let expected = if is_picture {
                    &alone.image
                } else {
                    &alone.text
                };
                let found = answer.json();
                assert_eq!(found.pointer(pointer), Some(expected), "{head}");
            }
        }
        let entries = json!({"clip": {"textual": {"modelName": name}}}).to_string();
        let form = Form::new().text("entries", &entries).text("text", TEXT);
        let clip = answer(&server, form.post("/predict")).await.json();
        let clip: Value = serde_json::from_str(clip["clip"].as_str().expect("a text")).unwrap();
        assert_eq!(clip, alone.text);
    }
    // Nobody says which: the first.
    let first = answer(&server, post("/embed/text", &[], &json!({"texts": [TEXT]}))).await;
    assert_eq!(first.json()["model"], "old");
    let first = answer(
        &server,
        post(
            "/v2/models/siglip2/infer",
            &[],
            &json!({
                "inputs": [{"name": "texts", "datatype": "BYTES", "shape": [1], "data": [TEXT]}]
            }),
        ),
    );
    assert_eq!(first.await.json()["model_name"], "siglip2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nothing_has_is_refused_in_each_shape_and_so_are_two() {
    let server = two(&[]).await;
    let texts = json!({"texts": [TEXT]});
    let named = |field: &str| json!({"model": "x\u{7}", field: [TEXT]});
    let picture = Form::new().file("file", "a.png", png(9, 8, 7));
    let tasks = r#"{"clip": {"textual": {"modelName": "ViT-B-32__openai"}}}"#;
    for (sent, pointer) in [
        (post("/embed/text", &[("X-Model", "x")], &texts), "/detail"),
        (post("/models/x/y/embed/text", &[], &texts), "/detail"),
        (post("/embed/text", &[], &named("texts")), "/detail"),
        (picture.text("model", "x").post("/embed/image"), "/detail"),
        (
            post("/v1/embeddings", &[], &named("input")),
            "/error/message",
        ),
        (
            post(
                "/openai/deployments/x/embeddings",
                &[],
                &json!({"input": TEXT}),
            ),
            "/error/message",
        ),
        (post("/v2/embed", &[], &named("texts")), "/message"),
        (post("/embed", &[], &named("inputs")), "/error"),
        (post("/v2/models/x/infer", &[], &json!({})), "/error"),
        (
            Form::new()
                .text("entries", tasks)
                .text("text", TEXT)
                .post("/predict"),
            "/error",
        ),
        (request("GET", "/info", &[("X-Model", "x")], b""), "/detail"),
        (get("/models/x/ready"), "/detail"),
        (get("/v1/models/x"), "/error/message"),
    ] {
        let head = String::from_utf8_lossy(&sent)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        let refused = ask(server.address, sent).await;
        let json = refused.json();
        let said = json
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default();
        assert_eq!(refused.status, 404, "{head}: {json}");
        assert!(
            said.contains("\"old\"") && said.contains("\"lab/new\""),
            "{head}: {json}"
        );
    }
    for sent in [
        post("/models/old/embed/text", &[("X-Model", "lab/new")], &texts),
        post(
            "/embed/text",
            &[("X-Model", "old"), ("X-Model", "lab/new")],
            &texts,
        ),
        post(
            "/embed/text",
            &[("X-Model", "lab/new")],
            &json!({"model": "old", "texts": [TEXT]}),
        ),
        post(
            "/models/old/v1/embeddings",
            &[],
            &json!({"model": "lab/new", "input": TEXT}),
        ),
        post(
            "/openai/deployments/old/embeddings",
            &[],
            &json!({"model": "lab/new", "input": TEXT}),
        ),
        post(
            "/v2/models/old/infer",
            &[("X-Model", "lab/new")],
            &json!({"inputs": []}),
        ),
    ] {
        let refused = ask(server.address, sent).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(
            refused.text().contains("names two models"),
            "{}",
            refused.text()
        );
    }
    let refused = ask(server.address, get("/models/old/nothing")).await;
    assert_eq!(refused.status, 404);
}

#[tokio::test]
async fn one_model_answers_to_any_name_in_a_field_and_to_its_own_elsewhere() {
    let server = Server::of_models(Models::new(model("only"), vec![], settings()).unwrap()).await;
    attach(&server.service);
    for body in [
        json!({"model": "text-embedding-3-small", "input": TEXT}),
        json!({"model": 7, "input": TEXT}),
        json!({"model": null, "input": TEXT}),
    ] {
        let answer = answer(&server, post("/v1/embeddings", &[], &body)).await;
        assert_eq!(answer.json()["model"], "only");
    }
    answer(
        &server,
        post("/embed/text", &[], &json!({"model": 7, "texts": [TEXT]})),
    )
    .await;
    answer(
        &server,
        post("/embed/text", &[], &json!({"model": "x", "texts": [TEXT]})),
    )
    .await;
    let own = post(
        "/models/only/embed/text",
        &[("X-Model", "only")],
        &json!({"texts": [TEXT]}),
    );
    answer(&server, own).await;
    let other = post(
        "/embed/text",
        &[("X-Model", "other")],
        &json!({"texts": [TEXT]}),
    );
    assert_eq!(ask(server.address, other).await.error().0, 404);
    let metrics = ask(server.address, get("/metrics")).await;
    assert!(!metrics.text().contains("model="), "{}", metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_are_told_of_and_one_that_was_meant_is_named() {
    let server = two(&[]).await;
    let info = answer(&server, get("/info")).await.json();
    let told = info["models"].as_array().expect("models").clone();
    let names: Vec<_> = told
        .iter()
        .map(|model| model["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["old", "lab/new"]);
    assert_eq!(
        (&info["model"], &info["model_id"]),
        (&json!("old"), &json!("demo"))
    );
    assert_ne!(told[0]["fingerprint"], told[1]["fingerprint"]);
    let listed = answer(&server, get("/v1/models")).await.json()["data"].clone();
    for (at, name) in names.iter().enumerate() {
        let own = answer(&server, get(&format!("/models/{name}/info")))
            .await
            .json();
        let by_header = request("GET", "/info", &[("X-Model", name)], b"");
        assert_eq!(
            answer(&server, by_header).await.json()["fingerprint"],
            own["fingerprint"]
        );
        assert_eq!(own["model"], *name);
        assert_eq!(own["fingerprint"], told[at]["fingerprint"]);
        assert_eq!(own["text_dim"], told[at]["dimensions"]);
        assert_eq!(listed[at]["id"], *name);
        for field in ["fingerprint", "dimensions", "precision"] {
            assert_eq!(listed[at][field], told[at][field], "{field}");
        }
        let one = answer(&server, get(&format!("/v1/models/{name}")))
            .await
            .json();
        assert_eq!(one, listed[at]);
        answer(&server, get(&format!("/v2/models/{name}/ready"))).await;
        answer(&server, get(&format!("/models/{name}/ready"))).await;
    }
    let new = told[1]["fingerprint"].as_str().expect("a fingerprint");
    let expects = [("X-Expect-Fingerprint", new)];
    let body = json!({"texts": [TEXT]});
    let refused = ask(server.address, post("/embed/text", &expects, &body)).await;
    let (status, sentence) = refused.error();
    assert_eq!(status, 412);
    assert!(sentence.contains("that of \"lab/new\""), "{sentence}");
    answer(&server, post("/models/lab/new/embed/text", &expects, &body)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_and_remembered_has_its_model() {
    let server = two(&[]).await;
    let body = json!({"texts": [TEXT]});
    for name in ["old", "lab/new", "old"] {
        let path = format!("/models/{name}/embed/text");
        answer(&server, post(&path, &[], &body)).await;
    }
    answer(&server, get("/health")).await;
    assert_eq!(
        ask(
            server.address,
            post("/embed/text", &[("X-Model", "x")], &body)
        )
        .await
        .status,
        404
    );
    let metrics = ask(server.address, get("/metrics")).await;
    for series in [
        r#"siglip2_text_cache_total{model="old",result="hit"} 1"#,
        r#"siglip2_text_cache_total{model="old",result="miss"} 1"#,
        r#"siglip2_text_cache_total{model="lab/new",result="hit"} 0"#,
        r#"siglip2_text_cache_total{model="lab/new",result="miss"} 1"#,
        r#"siglip2_requests_total{model="old",endpoint="embed_text",status="200"} 2"#,
        r#"siglip2_requests_total{model="lab/new",endpoint="embed_text",status="200"} 1"#,
        r#"siglip2_requests_total{endpoint="embed_text",status="404"} 1"#,
        r#"siglip2_requests_total{endpoint="health",status="200"} 1"#,
        r#"siglip2_stage_seconds_count{model="old",stage="receive"} 2"#,
        r#"siglip2_engine_up{model="lab/new"} 1"#,
        r#"siglip2_batch_rows_sum{model="lab/new",tower="text"} 1.0"#,
    ] {
        assert!(
            metrics.text().contains(series),
            "{series}\n{}",
            metrics.text()
        );
    }
}

fn settings() -> ServiceSettings {
    ServiceSettings {
        decode_threads: Some(2),
        max_queued_rows: 2048,
        ..ServiceSettings::default()
    }
}

#[tokio::test]
async fn one_model_that_cannot_embed_is_named_and_the_other_goes_on() {
    let models = Models::new(model("a"), vec![model("b")], settings()).unwrap();
    let server = Server::of_models(models.clone()).await;
    let texts = json!({"texts": [TEXT]});
    let embed = |name: &str| post("/embed/text", &[("X-Model", name)], &texts);
    assert_eq!(ask(server.address, embed("a")).await.status, 503);
    let of_a = attach(models.first());
    // It answers, and the service as a whole is not ready.
    answer(&server, embed("a")).await;
    assert_eq!(ask(server.address, embed("b")).await.status, 503);
    let in_field = json!({"model": "b", "texts": [TEXT]});
    assert_eq!(
        ask(server.address, post("/embed/text", &[], &in_field))
            .await
            .status,
        503
    );
    for (path, status, said) in [
        ("/ready", 503, r#"model \"b\": the service is starting"#),
        ("/health", 503, r#"model \"b\": starting"#),
        ("/models/a/ready", 200, "ready"),
        ("/models/b/ready", 503, "starting"),
        ("/models/a/health", 200, "ok"),
        ("/v2/health/ready", 503, "starting"),
        ("/v2/models/a/ready", 200, "true"),
        ("/v2/models/b/ready", 503, "starting"),
        ("/models/b/.well-known/ready", 503, "starting"),
    ] {
        let probed = ask(server.address, get(path)).await;
        assert_eq!(probed.status, status, "{path}: {}", probed.text());
        assert!(probed.text().contains(said), "{path}: {}", probed.text());
    }
    attach(models.get("b").expect("it is served"));
    answer(&server, get("/ready")).await;

    // An engine that fails for good.
    of_a.fail.store(true, Ordering::SeqCst);
    for text in ["one", "two", "three"] {
        let body = json!({"model": "a", "texts": [text]});
        let _ = ask(server.address, post("/embed/text", &[], &body)).await;
    }
    let reason = models.engine_failure().await;
    assert!(reason.starts_with("model \"a\": "), "{reason}");
    let ready = ask(server.address, get("/ready")).await;
    assert!(
        ready
            .text()
            .contains("model \\\"a\\\": the service is failed"),
        "{}",
        ready.text()
    );
    answer(&server, embed("b")).await;
}

#[test]
fn two_models_of_one_name_are_refused() {
    let refused = Models::new(model("a"), vec![model("a")], settings()).err();
    assert_eq!(refused, Some(SameName("a".to_owned())));
}
