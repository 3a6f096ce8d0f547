//! Time, order and end of connections: slow clients, pipelines, truncated bodies,
//! malformed heads, shutdown.

use std::time::{Duration, Instant};

use crate::common::{Client, Form, Server, ask, get, png, post_json, quick, request};
use siglip2_embeddings::http::{HttpSettings, ServeError};
use tokio::time::sleep;

const FORM_HEAD: &str =
    "POST /embed/images HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=X\r\n";

async fn millis(count: u64) {
    sleep(Duration::from_millis(count)).await;
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_given_up() {
    let server = Server::start(quick()).await;
    for head in [
        format!("{FORM_HEAD}Content-Length: 1000\r\n\r\n--X\r\n"),
        format!("{FORM_HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\n--X\r\n\r\n"),
        "POST /embed/text HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n{".to_owned(),
    ] {
        let mut client = Client::connect(server.address).await;
        let began = Instant::now();
        client.send(head).await;
        let answer = client.answer().await;
        assert_eq!(answer.error().0, 408);
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(
            began.elapsed() >= Duration::from_millis(250),
            "{:?}",
            began.elapsed()
        );
        assert!(client.is_closed().await);
    }
}

#[tokio::test]
async fn a_body_that_arrives_too_slowly_is_given_up() {
    // Of the bounds of each, one ends first whatever else the machine does.
    for (min_body_rate, idle, whole, what) in [
        (0, 3600, 1, "within the time"),
        (u64::MAX, 1, 3600, "too slowly"),
    ] {
        let settings = HttpSettings {
            min_body_rate,
            body_idle_timeout: Duration::from_secs(idle),
            body_timeout: Duration::from_secs(whole),
            ..HttpSettings::default()
        };
        let server = Server::start(settings).await;
        let mut client = Client::connect(server.address).await;
        client
            .send(format!("{FORM_HEAD}Content-Length: 1000\r\n\r\n--X\r\n"))
            .await;
        for _ in 0..30 {
            client.send_lossy("a").await;
            millis(50).await;
        }
        let (status, detail) = client.answer().await.error();
        assert_eq!((status, detail.contains(what)), (408, true), "{detail}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_given_up() {
    // A second and more between two bytes that are a tenth apart would be too much.
    let header_timeout = Duration::from_millis(1500);
    let server = Server::start(HttpSettings {
        header_timeout,
        ..HttpSettings::default()
    })
    .await;
    let mut client = Client::connect(server.address).await;
    // A byte now and then does not help.
    for byte in b"GET /health" {
        client.send_lossy([*byte]).await;
        millis(40).await;
    }
    assert_eq!(client.answer().await.error().0, 408);
    assert!(client.is_closed().await);
    // On a connection that has served a request before, too.
    let mut client = Client::connect(server.address).await;
    client.send(get("/health")).await;
    assert_eq!(client.answer().await.status, 200);
    // The time before a head is none of it.
    sleep(header_timeout + Duration::from_millis(200)).await;
    client.send("GET /heal").await;
    millis(100).await;
    client.send("th HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    client.send("GET /heal").await;
    assert_eq!(client.answer().await.error().0, 408);
}

#[tokio::test]
async fn idle_connections_are_closed_in_silence() {
    // One that has had no request is closed as one whose head does not come.
    let server = Server::start(HttpSettings {
        idle_timeout: Duration::from_secs(3600),
        ..quick()
    })
    .await;
    let mut fresh = Client::connect(server.address).await;
    assert!(fresh.is_closed().await);

    let server = Server::start(quick()).await;
    let mut used = Client::connect(server.address).await;
    used.send(get("/health")).await;
    let began = Instant::now();
    assert_eq!(used.answer().await.status, 200);
    assert!(used.is_closed().await);
    let idle = began.elapsed();
    assert!(idle >= quick().idle_timeout, "{idle:?}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(HttpSettings::default()).await;
    let mut client = Client::connect(server.address).await;
    let form = Form::new()
        .file("files", "a", png(1, 2, 3))
        .post("/embed/images");
    let all = [
        get("/health"),
        post_json("/embed/text", r#"{"texts": ["a"]}"#),
        form.clone(),
        get("/nowhere"),
        post_json("/embed/text", "nonsense"),
        request("PUT", "/rank", &[], b"an unwanted body"),
        post_json("/nowhere", "an unwanted body"),
        request(
            "POST",
            "/embed/text",
            &[("Content-Type", "text/plain")],
            b"{}",
        ),
        request("GET", "/health", &[], b"a body where none belongs"),
        form,
    ];
    client.send(all.concat()).await;
    for status in [200, 200, 200, 404, 400, 405, 404, 415, 200, 200] {
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("connection"), None);
    }
}

#[tokio::test]
async fn a_large_unwanted_body_ends_the_connection() {
    let server = Server::start(HttpSettings::default()).await;
    let mut client = Client::connect(server.address).await;
    client
        .send(post_json("/nowhere", &"x".repeat(1 << 20)))
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.error().0, 404);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn truncated_bodies_are_bad_requests() {
    let server = Server::start(HttpSettings::default()).await;
    let body = Form::new().file("files", "a", png(1, 2, 3)).body();
    for sent in [
        // Content-Length says more than comes.
        [
            format!("{FORM_HEAD}Content-Length: {}\r\n\r\n", body.len() + 50).as_bytes(),
            &body,
        ]
        .concat(),
        [
            format!("{FORM_HEAD}Content-Length: {}\r\n\r\n", body.len()).as_bytes(),
            &body[..40],
        ]
        .concat(),
        // A chunk without its end, and the last chunk missing.
        [
            format!(
                "{FORM_HEAD}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n",
                body.len() + 9
            )
            .as_bytes(),
            &body,
        ]
        .concat(),
        [
            format!(
                "{FORM_HEAD}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n",
                body.len()
            )
            .as_bytes(),
            &body,
            b"\r\n",
        ]
        .concat(),
        // A chunk size that is none.
        format!("{FORM_HEAD}Transfer-Encoding: chunked\r\n\r\nzz\r\nabc").into_bytes(),
    ] {
        let mut client = Client::connect(server.address).await;
        client.send(&sent).await;
        client.finish().await;
        let (status, detail) = client.answer().await.error();
        assert_eq!(status, 400, "{detail}");
        assert!(
            detail.contains("ended early or is badly framed"),
            "{detail}"
        );
        assert!(client.is_closed().await);
    }
    // Content-Length says less than comes: what is left is no request.
    let mut client = Client::connect(server.address).await;
    client
        .send(
            [
                format!("{FORM_HEAD}Content-Length: {}\r\n\r\n", body.len()).as_bytes(),
                &body,
                b"\0\x01rest\r\n\r\n",
            ]
            .concat(),
        )
        .await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.answer().await.error().0, 400);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_body_is_asked_for_only_if_it_is_wanted() {
    let server = Server::start(HttpSettings::default()).await;
    let body = r#"{"texts": ["a"]}"#;
    let head = |path: &str, kind: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: t\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            body.len()
        )
    };
    let mut client = Client::connect(server.address).await;
    client.send(head("/embed/text", "application/json")).await;
    assert_eq!(client.answer().await.status, 100);
    client.send(body).await;
    assert_eq!(client.answer().await.status, 200);
    for (path, kind, status) in [
        ("/nowhere", "application/json", 404),
        ("/health", "application/json", 405),
        ("/embed/text", "text/plain", 415),
        ("/rank", "text/plain", 415),
    ] {
        let mut client = Client::connect(server.address).await;
        client.send(head(path, kind)).await;
        let answer = client.answer().await;
        assert_eq!(answer.error().0, status, "{path}");
        assert_eq!(answer.header("connection"), Some("close"));
    }
}

#[tokio::test]
async fn malformed_heads_are_told_why() {
    let server = Server::start(HttpSettings::default()).await;
    let long = "x".repeat(70_000);
    let many = "A: b\r\n".repeat(200);
    for (sent, status) in [
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("GET /\u{1} HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), 400),
        (
            "POST /rank HTTP/1.1\r\nContent-Length: many\r\n\r\n".to_owned(),
            400,
        ),
        (
            "POST /rank HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(),
            400,
        ),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), 431),
    ] {
        let mut client = Client::connect(server.address).await;
        client.send_lossy(&sent).await;
        let answer = client.answer().await;
        assert!(
            answer.status == status || answer.status == 414,
            "{}: {}",
            &sent[..30.min(sent.len())],
            answer.status
        );
        answer.error();
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(client.is_closed().await);
    }
    // TLS on the wrong port, and HTTP/2 without being asked: no answer can help.
    for sent in [
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = Client::connect(server.address).await;
        client.send(sent).await;
        client.finish().await;
    }
    assert_eq!(ask(server.address, get("/health")).await.status, 200);
}

#[tokio::test]
async fn an_old_client_is_answered_and_hung_up_on() {
    let server = Server::start(HttpSettings::default()).await;
    let mut client = Client::connect(server.address).await;
    client.send("GET /health HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    assert!(client.is_closed().await);
    let mut client = Client::connect(server.address).await;
    client
        .send("GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 200);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_slot() {
    let server = Server::start(HttpSettings {
        max_connections: 2,
        ..HttpSettings::default()
    })
    .await;
    let mut first = Client::connect(server.address).await;
    let mut second = Client::connect(server.address).await;
    for client in [&mut first, &mut second] {
        client.send(get("/health")).await;
        assert_eq!(client.answer().await.status, 200);
    }
    let mut third = Client::connect(server.address).await;
    third.send(get("/health")).await;
    let answer = third.answer();
    tokio::pin!(answer);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), &mut answer)
            .await
            .is_err()
    );
    drop(first);
    assert_eq!(answer.await.status, 200);
}

#[tokio::test]
async fn idle_connections_make_room_when_it_is_crowded() {
    let settings = HttpSettings {
        max_connections: 2,
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let mut silent = Client::connect(server.address).await;
    let mut idle = Client::connect(server.address).await;
    idle.send(get("/health")).await;
    assert_eq!(idle.answer().await.status, 200);
    let began = Instant::now();
    for _ in 0..2 {
        assert_eq!(ask(server.address, get("/health")).await.status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(silent.is_closed().await);
    assert!(idle.is_closed().await);
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let server = Server::start(HttpSettings::default()).await;
    let mut fresh = Client::connect(server.address).await;
    let mut idle = Client::connect(server.address).await;
    idle.send(get("/health")).await;
    assert_eq!(idle.answer().await.status, 200);
    let address = server.address;
    let began = Instant::now();
    let ended = server.stop();
    ended.await.unwrap().unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert!(fresh.is_closed().await);
    assert!(idle.is_closed().await);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_is_under_way_is_answered_before_the_end() {
    let server = Server::start(HttpSettings::default()).await;
    let mut client = Client::connect(server.address).await;
    let sent = post_json("/embed/text", r#"{"texts": ["a"]}"#);
    let (early, late) = sent.split_at(sent.len() - 4);
    client.send(early).await;
    millis(100).await;
    let ended = server.stop();
    millis(100).await;
    client.send(late).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed().await);
    ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_does_not_finish_is_cut() {
    let settings = HttpSettings {
        drain_timeout: Duration::from_millis(300),
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let mut client = Client::connect(server.address).await;
    client
        .send(format!("{FORM_HEAD}Content-Length: 1000\r\n\r\n--X\r\n"))
        .await;
    millis(100).await;
    let ended = server.stop().await.unwrap();
    let Err(ServeError::Cut {
        connections,
        within,
    }) = ended
    else {
        panic!("{ended:?}");
    };
    assert_eq!((connections, within), (1, Duration::from_millis(300)));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_draining_service_takes_nothing_new() {
    let server = Server::start(HttpSettings::default()).await;
    server.service.drain();
    let health = ask(server.address, get("/health")).await;
    assert_eq!(
        (health.status, &health.json()["status"]),
        (503, &"draining".into())
    );
    assert!(health.header("retry-after").is_some());
    assert_eq!(ask(server.address, get("/info")).await.status, 200);
    // Refused before the body is asked for.
    let head = "POST /embed/text HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n";
    let answer = ask(server.address, head).await;
    assert_eq!(answer.error().0, 503);
    assert!(answer.header("retry-after").is_some());
}

/// A process that the system gives few descriptors takes as many connections as fit, and
/// closes idle ones for those that wait.
#[tokio::test]
async fn connections_are_never_more_than_the_descriptors_allow() {
    let plain = crate::common::program::command(&["--model", "demo"]);
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "ulimit -n 160 && exec \"$0\" \"$@\""])
        .arg(plain.get_program())
        .args(plain.get_args())
        .env("HF_HUB_OFFLINE", "1")
        .env_remove("MODEL_NAME")
        .env_remove("API_KEY")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped());
    let (said, says) = std::sync::mpsc::channel();
    let program = crate::common::Program::start(limited, move |lines| {
        for line in lines.map_while(Result::ok) {
            let _ = said.send(line);
        }
    });
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(Client::connect(program.address).await);
    }
    let answer = ask(program.address, get("/health")).await;
    assert_eq!(answer.status, 200);
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", program.child.id()));
    let held = descriptors.unwrap().count();
    assert!(held < 160, "{held} descriptors");
    drop(program);
    // It ran out of none.
    for line in says {
        assert!(!line.contains("could not be accepted"), "{line}");
    }
}
