//! HTTPS: the same service, under the same bounds, with a certificate that may change.

// The lock that holds the fake engine up is taken by its thread alone, not by a task.
#![allow(clippy::await_holding_lock)]

use std::sync::Arc;
use std::time::Duration;

use siglip2_embeddings::http::HttpSettings;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::common::http2::{self, Http2};
use crate::common::program::command;
use crate::common::tls::{Files, connect, pair};
use crate::common::{Client, Form, Program, Server, ask, get, png, post_json, quick};

const TEXT: &str = r#"{"texts": ["a"]}"#;
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks once over HTTP/1.1, and reads to the end of the connection.
async fn once(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // It ends with a close_notify, or this is an error.
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8(answer).unwrap()
}

fn closing(request: &[u8]) -> Vec<u8> {
    let request = String::from_utf8_lossy(request);
    request
        .replacen("\r\n", "\r\nConnection: close\r\n", 1)
        .into_bytes()
}

async fn until(server: &Server, series: &str) {
    while !server.service.metrics().text().contains(series) {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn clients_get_the_same_answers_over_whatever_they_speak() {
    let plain = Server::start(HttpSettings::default()).await;
    let expected = ask(plain.address, post_json("/embed/text", TEXT))
        .await
        .json();
    let files = Files::new();
    let server = Server::start(files.with(HttpSettings::default())).await;
    let cert = std::fs::read_to_string(files.cert()).unwrap();
    for protocols in [&["http/1.1"][..], &[]] {
        let stream = connect(server.address, &[&cert], protocols).await.unwrap();
        let answer = once(stream, &closing(&post_json("/embed/text", TEXT))).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body, expected);
    }
    let stream = connect(server.address, &[&cert], &["h2", "http/1.1"])
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = Http2::over(stream).await;
    let answer = client.good(http2::post_json("/embed/text", TEXT)).await;
    assert_eq!(answer.json(), expected);
    // Megabytes up, and the client that knows no common protocol is told so.
    let pictures = (0..50).fold(Form::new(), |form, at| {
        let padding = vec![at; 100_000];
        form.file("files", "a.png", [png(at, 1, 2), padding].concat())
    });
    let kind = [("content-type", "multipart/form-data; boundary=X")];
    let request = http2::of("POST", "/embed/images", &kind, &pictures.body());
    assert_eq!(client.good(request).await.status, 200);
    assert!(
        connect(server.address, &[&cert], &["spdy/3"])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn http_without_tls_is_told_to_use_it() {
    let files = Files::new();
    let server = Server::start(files.with(HttpSettings::default())).await;
    let mut client = Client::connect(server.address).await;
    client.send(get("/health")).await;
    let (status, detail) = client.answer().await.error();
    assert_eq!(status, 400);
    assert!(detail.contains("https://"), "{detail}");
    assert!(client.is_closed().await);
    // Garbage is no handshake either.
    let mut client = Client::connect(server.address).await;
    client.send([22, 3, 1, 0, 5, 9, 9, 9, 9, 9]).await;
    let mut stream = client.into_stream();
    let mut said = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut said))
        .await
        .unwrap();
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
}

#[tokio::test]
async fn a_handshake_has_the_time_of_a_head() {
    let files = Files::new();
    let server = Server::start(files.with(quick())).await;
    // Nothing, a byte, a record that does not end.
    for sent in [&[][..], &[22], &[22, 3, 1, 1, 0, 1, 0]] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut said = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut said))
            .await
            .unwrap();
        assert!(said.is_empty(), "{said:?}");
    }
    // And who ends it and then says nothing has no more.
    let cert = std::fs::read_to_string(files.cert()).unwrap();
    for protocol in ["http/1.1", "h2"] {
        let mut stream = connect(server.address, &[&cert], &[protocol])
            .await
            .unwrap();
        let mut said = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut said))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_half_handshake_counts_as_a_connection() {
    let files = Files::new();
    let cert = std::fs::read_to_string(files.cert()).unwrap();
    let settings = HttpSettings {
        max_connections_per_client: 2,
        header_timeout: Duration::from_secs(3600),
        ..HttpSettings::default()
    };
    let server = Server::start(files.with(settings)).await;
    let halves = [
        TcpStream::connect(server.address).await.unwrap(),
        TcpStream::connect(server.address).await.unwrap(),
    ];
    assert!(connect(server.address, &[&cert], &[]).await.is_err());
    drop(halves);
    let answer = loop {
        if let Ok(stream) = connect(server.address, &[&cert], &[]).await {
            break once(stream, &closing(&get("/health"))).await;
        }
        sleep(Duration::from_millis(5)).await;
    };
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn idle_handshakes_make_room_for_others() {
    let files = Files::new();
    let cert = std::fs::read_to_string(files.cert()).unwrap();
    let settings = HttpSettings {
        max_connections: 2,
        header_timeout: Duration::from_secs(3600),
        ..HttpSettings::default()
    };
    let server = Server::start(files.with(settings)).await;
    let _halves = [
        TcpStream::connect(server.address).await.unwrap(),
        TcpStream::connect(server.address).await.unwrap(),
    ];
    let stream = connect(server.address, &[&cert], &[]).await.unwrap();
    let answer = once(stream, &closing(&get("/health"))).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_bad_one_is_not() {
    let files = Files::new();
    let settings = files.with(HttpSettings {
        header_timeout: Duration::from_secs(3600),
        ..HttpSettings::default()
    });
    let tls = settings.tls.clone().unwrap();
    let server = Server::start(settings).await;
    let first = std::fs::read_to_string(files.cert()).unwrap();
    let open = connect(server.address, &[&first], &[]).await.unwrap();
    let second = pair();
    files.write(&(second.0.clone(), pair().1));
    assert!(tls.reload().is_err());
    assert!(connect(server.address, &[&first], &[]).await.is_ok());
    files.write(&second);
    tls.reload().unwrap();
    assert!(connect(server.address, &[&second.0], &[]).await.is_ok());
    assert!(connect(server.address, &[&first], &[]).await.is_err());
    // By itself, after a while.
    let third = pair();
    files.write(&third);
    while connect(server.address, &[&third.0], &[]).await.is_err() {
        sleep(Duration::from_millis(50)).await;
    }
    // Who was there before goes on.
    let answer = once(open, &closing(&get("/health"))).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn what_was_accepted_is_answered_at_the_end() {
    let files = Files::new();
    let cert = std::fs::read_to_string(files.cert()).unwrap();
    let server = Server::start(files.with(HttpSettings::default())).await;
    let orders = Arc::clone(&server.orders);
    let held = orders.gate.lock().unwrap();
    let first = connect(server.address, &[&cert], &["http/1.1"])
        .await
        .unwrap();
    let first = tokio::spawn(async move { once(first, &post_json("/embed/text", TEXT)).await });
    let second = connect(server.address, &[&cert], &["h2"]).await.unwrap();
    let mut second = Http2::over(second).await;
    let other = r#"{"texts": ["b"]}"#;
    let second =
        tokio::spawn(async move { second.ask(http2::post_json("/embed/text", other)).await });
    until(&server, "siglip2_requests_in_flight 2\n").await;
    // A handshake that never ends keeps nobody.
    let half = TcpStream::connect(server.address).await.unwrap();
    let service = server.service.clone();
    let served = server.stop();
    drop(held);
    assert!(first.await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(second.await.unwrap().unwrap().status, 200);
    served.await.unwrap().unwrap();
    assert!(
        service
            .metrics()
            .text()
            .contains("siglip2_requests_in_flight 0\n")
    );
    drop(half);
}

#[tokio::test]
async fn who_goes_before_the_answer_is_not_worked_for() {
    let files = Files::new();
    let cert = std::fs::read_to_string(files.cert()).unwrap();
    let server = Server::start(files.with(HttpSettings::default())).await;
    let held = server.orders.gate.lock().unwrap();
    let mut client = connect(server.address, &[&cert], &["http/1.1"])
        .await
        .unwrap();
    client
        .write_all(&post_json("/embed/text", TEXT))
        .await
        .unwrap();
    until(&server, "siglip2_requests_in_flight 1\n").await;
    // With a close_notify, as clients do that end well.
    client.shutdown().await.unwrap();
    drop(client);
    until(
        &server,
        "siglip2_requests_total{endpoint=\"embed_text\",status=\"499\"} 1\n",
    )
    .await;
    drop(held);
}

#[test]
fn wrong_files_end_the_program_with_a_sentence() {
    let files = Files::new();
    let (cert, key) = (files.cert(), files.key());
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    for (flags, said) in [
        (&["--tls-cert", cert][..], "given together"),
        (&["--tls-key", key], "given together"),
        (&["--tls-cert", cert, "--tls-key", cert], "no private key"),
        (&["--tls-cert", key, "--tls-key", key], "no certificate"),
        (&["--tls-cert", "/nowhere", "--tls-key", key], "/nowhere"),
    ] {
        let mut command = command(&["--model", "demo", "--port", "0"]);
        let output = command.args(flags).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {log}");
        assert!(log.contains(said), "{flags:?}: {log}");
        assert_eq!(log.trim().lines().count(), 1, "{log}");
    }
}

#[tokio::test]
async fn the_program_reads_its_certificate_again_on_sighup() {
    let files = Files::new();
    let first = std::fs::read_to_string(files.cert()).unwrap();
    let (cert, key) = (files.cert(), files.key());
    let program = Program::demo(&[
        "--tls-cert",
        cert.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ]);
    let stream = connect(program.address, &[&first], &["h2"]).await.unwrap();
    let mut client = Http2::over(stream).await;
    assert_eq!(client.good(http2::get("/ready")).await.status, 200);
    let second = pair();
    files.write(&second);
    program.signal("-HUP");
    while connect(program.address, &[&second.0], &[]).await.is_err() {
        sleep(Duration::from_millis(5)).await;
    }
}
