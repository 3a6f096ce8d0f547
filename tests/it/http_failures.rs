//! What a client is told when it is not its fault: a full queue, an engine that is
//! slow, fails, panics or answers nonsense; and what is left behind when it goes.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use crate::common::{Client, Form, Server, ask, get, png, post_json, quick};
use siglip2_embeddings::http::HttpSettings;
use tokio::time::sleep;

const TEXT: &str = r#"{"texts": ["a"]}"#;

async fn until(mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(10), "it never came");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_engine_that_fails_is_our_fault_and_says_no_more() {
    let server = Server::start(HttpSettings::default()).await;
    let form = Form::new().file("files", "a.png", png(1, 2, 3));
    for order in [
        &server.orders.fail,
        &server.orders.panic,
        &server.orders.not_a_number,
    ] {
        order.store(true, SeqCst);
        let request = form.post("/embed/images");
        let answer = ask(server.address, &request).await;
        let (status, detail) = answer.error();
        assert_eq!(status, 500, "{detail}");
        let id = answer.header("x-request-id").unwrap();
        assert_eq!(answer.json()["id"], id);
        assert!(detail.contains(id), "{detail}");
        assert!(
            !answer.text().contains("secret") && !answer.text().contains("panic"),
            "{detail}"
        );
        order.store(false, SeqCst);
        // One failure is no death.
        assert_eq!(ask(server.address, &request).await.status, 200);
    }
}

#[tokio::test]
async fn a_panic_while_an_image_is_prepared_is_our_fault() {
    let server = Server::start(HttpSettings::default()).await;
    server.orders.panic_in_prepare.store(true, SeqCst);
    let form = Form::new().file("file", "a.png", png(1, 2, 3));
    assert_eq!(
        ask(server.address, form.post("/embed/image"))
            .await
            .error()
            .0,
        500
    );
    server.orders.panic_in_prepare.store(false, SeqCst);
    assert_eq!(
        ask(server.address, form.post("/embed/image")).await.status,
        200
    );
}

#[tokio::test]
async fn a_dead_engine_is_unavailable_before_a_body_is_read() {
    let server = Server::start(HttpSettings::default()).await;
    server.orders.fail.store(true, SeqCst);
    for _ in 0..10 {
        let status = ask(server.address, post_json("/embed/text", TEXT))
            .await
            .status;
        assert!(status == 500 || status == 503, "{status}");
    }
    let health = ask(server.address, get("/health")).await;
    assert_eq!(health.status, 503);
    assert_eq!(health.json()["status"], "failed");
    assert_eq!(
        health.json()["dimensions"],
        server.service.info().dimensions
    );
    assert!(health.header("retry-after").is_some());
    let head = "POST /embed/images HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=X\r\nContent-Length: 1000\r\n\r\n";
    let answer = ask(server.address, head).await;
    assert_eq!(answer.error().0, 503);
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn a_service_that_starts_says_so() {
    let server = Server::starting().await;
    let health = ask(server.address, get("/health")).await;
    assert_eq!(health.status, 503);
    assert_eq!(health.json()["status"], "starting");
    assert_eq!(ask(server.address, get("/info")).await.status, 200);
    let answer = ask(server.address, post_json("/embed/text", TEXT)).await;
    assert_eq!(answer.error().0, 503);
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn a_full_queue_is_told_at_once_and_leaves_nothing_behind() {
    let server = Server::with_rows(2, HttpSettings::default()).await;
    let gate = server.orders.gate.lock();
    let mut waiting = Client::connect(server.address).await;
    waiting
        .send(post_json("/embed/text", r#"{"texts": ["a", "b"]}"#))
        .await;
    // As soon as those two are in, nothing else is.
    let mut refused = None;
    for _ in 0..200 {
        let mut client = Client::connect(server.address).await;
        client.send(post_json("/embed/text", TEXT)).await;
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(100), client.answer()).await
        {
            refused = Some(answer);
            break;
        }
    }
    let answer = refused.unwrap();
    assert_eq!(answer.error().0, 429);
    assert!(
        answer
            .header("retry-after")
            .unwrap()
            .parse::<u32>()
            .unwrap()
            >= 1
    );
    drop(gate);
    assert_eq!(waiting.answer().await.status, 200);
    // Those that were given up while they waited took nothing with them.
    let began = Instant::now();
    while ask(
        server.address,
        post_json("/embed/text", r#"{"texts": ["a", "b"]}"#),
    )
    .await
    .status
        != 200
    {
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    // More than the queue holds when it is empty will never fit.
    let (status, detail) = ask(
        server.address,
        post_json("/embed/text", r#"{"texts": ["a", "b", "c"]}"#),
    )
    .await
    .error();
    assert_eq!(status, 413, "{detail}");
}

#[tokio::test]
async fn a_request_that_waits_too_long_is_given_up() {
    let server = Server::start(quick()).await;
    server.orders.delay.store(1500, SeqCst);
    let began = Instant::now();
    let answer = ask(server.address, post_json("/embed/text", TEXT)).await;
    assert_eq!(answer.error().0, 504);
    assert!(
        began.elapsed() < Duration::from_millis(1400),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn the_work_of_a_client_that_has_gone_is_not_done() {
    let server = Server::with_rows(4, HttpSettings::default()).await;
    {
        let _gate = server.orders.gate.lock();
        let mut first = Client::connect(server.address).await;
        first.send(post_json("/embed/text", TEXT)).await;
        sleep(Duration::from_millis(150)).await;
        let mut gone = Client::connect(server.address).await;
        gone.send(post_json("/embed/text", r#"{"texts": ["b", "c", "d"]}"#))
            .await;
        sleep(Duration::from_millis(150)).await;
        drop(gone);
        drop(first);
        let under_way = "siglip2_requests_in_flight 0\n";
        until(|| server.service.metrics().text().contains(under_way)).await;
    }
    // Only the batch that had begun was computed.
    until(|| server.orders.rows.load(SeqCst) == 1).await;
    let answer = ask(
        server.address,
        post_json("/embed/text", r#"{"texts": ["e", "f", "g", "h"]}"#),
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(server.orders.rows.load(SeqCst), 5);
}

#[tokio::test]
async fn one_bad_image_fails_its_own_request_and_no_other() {
    let server = Server::start(HttpSettings::default()).await;
    let good = png(9, 8, 7);
    let cut = &good[..good.len() - 30];
    let mut asked = Vec::new();
    for at in 0..20 {
        let bytes = if at % 2 == 0 { &good[..] } else { cut };
        let request = Form::new()
            .file("file", "x.png", bytes)
            .post("/embed/image");
        asked.push(tokio::spawn(ask(server.address, request)));
    }
    for (at, asked) in asked.into_iter().enumerate() {
        assert_eq!(
            asked.await.unwrap().status,
            if at % 2 == 0 { 200 } else { 400 }
        );
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let server = Server::start(quick()).await;
    let text = format!("{{\"texts\": [{}\"a\"]}}", "\"a\",".repeat(1000));
    let mut client = Client::connect(server.address).await;
    let began = Instant::now();
    // Far more answers than the buffers of both sides hold, and none is read.
    let request = post_json("/embed/text", &text);
    let mut sent = 0;
    while client.send_lossy(&request).await {
        sent += 1;
        assert!(sent < 10_000 && began.elapsed() < Duration::from_secs(15));
    }
}
