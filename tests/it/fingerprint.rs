//! Vectors carry the name of their space, and a client that names another gets none.

use serde_json::{Value, json};
use siglip2_embeddings::service::Service;

use crate::common::client::{Answer, Form, ask, get, request};
use crate::common::model::{fixture, service};
use crate::common::picture::png;
use crate::common::server::Server;

const FINGERPRINT: &str = "x-embedding-fingerprint";
const EXPECT: &str = "X-Expect-Fingerprint";

/// What is sent to an endpoint, with headers besides its own.
type Send = fn(&[(&str, &str)]) -> Vec<u8>;

fn text(body: &Value, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut all = vec![("Content-Type", "application/json")];
    all.extend_from_slice(headers);
    request("POST", "/embed/text", &all, body.to_string().as_bytes())
}

/// All that gives vectors or scores, and whether it does by normalized vectors.
const ENDPOINTS: [(&str, bool, Send); 7] = [
    ("texts", true, |headers| {
        text(&json!({"texts": ["a red circle"]}), headers)
    }),
    ("pooled texts", false, |headers| {
        text(&json!({"texts": ["a"], "normalize": false}), headers)
    }),
    ("one image", true, |headers| {
        let form = Form::new().file("file", "a.png", png(9, 8, 7));
        form.post_with("/embed/image", headers)
    }),
    ("images", true, |headers| {
        let form = Form::new().file("files", "a.png", png(9, 8, 7));
        form.post_with("/embed/images", headers)
    }),
    ("pooled images", false, |headers| {
        let form = Form::new().file("files", "a.png", png(9, 8, 7));
        let form = form.text("normalize", "false");
        form.post_with("/embed/images", headers)
    }),
    ("similarity", true, |headers| {
        let form = Form::new().file("files", "a.png", png(9, 8, 7));
        let form = form.text("texts", r#"["a"]"#);
        form.post_with("/similarity", headers)
    }),
    ("rank", true, |headers| {
        let form = Form::new().file("files", "a.png", png(9, 8, 7));
        form.text("query", "a").post_with("/rank", headers)
    }),
];

async fn info(server: &Server) -> Value {
    ask(server.address, get("/info")).await.json()
}

fn refused(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 412, "{what}: {}", answer.text());
    assert!(answer.header(FINGERPRINT).is_none(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_names_its_space_and_none_is_given_in_another() {
    let server = Server::of(service("demo", &[])).await;
    let info = info(&server).await;
    let spaces = ["fingerprint", "fingerprint_pooled"].map(|field| {
        let name = info[field].as_str().expect("a fingerprint").to_owned();
        assert_eq!(name.len(), 16, "{name}");
        name
    });
    assert_ne!(spaces[0], spaces[1]);
    for (what, normalized, send) in ENDPOINTS {
        let [own, other] = match normalized {
            true => [&spaces[0], &spaces[1]],
            false => [&spaces[1], &spaces[0]],
        };
        let answer = ask(server.address, send(&[])).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        assert_eq!(answer.header(FINGERPRINT), Some(own.as_str()), "{what}");
        let upper = own.to_uppercase();
        let answer = ask(server.address, send(&[(EXPECT, &upper)])).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());

        let answer = ask(server.address, send(&[(EXPECT, other)])).await;
        refused(&answer, what);
        let detail = answer.error().1;
        assert!(detail.contains(own) && detail.contains(other), "{detail}");
        // Each that is sent must hold, whichever comes first.
        for two in [[own, other], [other, own]] {
            let two = two.map(|name| (EXPECT, name.as_str()));
            refused(&ask(server.address, send(&two)).await, what);
        }
        let answer = ask(server.address, send(&[(EXPECT, "siglip2")])).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn precision_and_model_are_other_spaces_and_a_second_start_is_the_same() {
    let of = |service: Service| service.fingerprints().expect("fingerprints");
    let demo = || of(service("demo", &[]));
    assert_eq!(demo(), demo());
    let golden = fixture("golden/patch16");
    assert_ne!(demo(), of(service(&golden, &[])));
    // Lower case is a part of what the tokenizer does.
    let cased = of(service("demo", &["--lower-case", "false"]));
    assert_ne!(demo(), cased);
    let on = |kernel: &str| of(service("demo", &["--cpu-kernel", kernel]));
    assert_eq!(
        demo(),
        on("portable"),
        "the kernel alone makes no other space"
    );
    assert_ne!(on("portable"), on("portable-int8"));
}

#[tokio::test]
async fn what_has_no_fingerprint_says_so_to_who_expects_one() {
    let server = Server::start(Default::default()).await;
    assert_eq!(info(&server).await["fingerprint"], Value::Null);
    let (what, _, send) = ENDPOINTS[0];
    let answer = ask(server.address, send(&[])).await;
    assert_eq!((answer.status, answer.header(FINGERPRINT)), (200, None));
    let answer = ask(server.address, send(&[(EXPECT, "0123456789abcdef")])).await;
    refused(&answer, what);
}
