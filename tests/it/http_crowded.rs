//! Who makes room when there is none left: connections whose answers nobody reads, requests whose bodies do not
//! come, and pictures whose hosts do not send them. The timers that would end them by themselves are hours away.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use siglip2_embeddings::http::{HttpSettings, Networks, PictureHosts, PictureUrlSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{sleep, timeout};

use crate::common::model::service;
use crate::common::{Answer, Client, Form, Server, ask, get, png, post_json, request};

const HOURS: Duration = Duration::from_secs(36_000);

/// So many connections of one client are many.
const MANY: usize = 8;

/// The addresses of a client that takes all there is, and of another one.
const GREEDY: [u8; 4] = [127, 0, 0, 2];
const OTHER: [u8; 4] = [127, 0, 0, 3];

/// Bytes of a query that is told back.
const QUERY: usize = (2 << 20) + (64 << 10);

/// A client at an address. The greedy one has little room for what comes.
async fn client(source: [u8; 4], server: &Server) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((source, 0))).unwrap();
    if source == GREEDY {
        socket.set_recv_buffer_size(4096).unwrap();
    }
    Client::over(socket.connect(server.address).await.unwrap())
}

/// A request with an answer of megabytes, which tells the query back.
fn long_answer() -> Vec<u8> {
    let form = Form::new().file("files", "a.png", png(1, 2, 3));
    form.text("query", "q".repeat(QUERY)).post("/rank")
}

fn settings() -> HttpSettings {
    HttpSettings {
        write_timeout: HOURS,
        body_timeout: HOURS,
        body_idle_timeout: HOURS,
        max_text_bytes: 4 << 20,
        ..HttpSettings::default()
    }
}

/// Bytes that answers hold.
fn held(server: &Server) -> usize {
    let metrics = server.service.metrics().text();
    let series = metrics
        .lines()
        .find_map(|line| line.strip_prefix(r#"siglip2_memory_bytes{use="answers"} "#));
    series.expect("a series").parse().expect("a number")
}

/// Asks again as long as there is no room; any other answer is the one.
async fn once_there_is_room(server: &Server, source: [u8; 4], request: &[u8]) -> Answer {
    let asking = async {
        loop {
            let mut client = client(source, server).await;
            client.send(request).await;
            let answer = client.answer().await;
            if answer.status != 429 {
                return answer;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let answer = timeout(Duration::from_secs(60), asking).await;
    answer.expect("there is room in the end")
}

#[tokio::test]
async fn who_sends_heads_and_no_bodies_makes_room_for_others() {
    let server = Server::start(HttpSettings {
        max_concurrent_requests: 2,
        ..settings()
    })
    .await;
    let json = ("Content-Type", "application/json");
    let whole = request("POST", "/embed/text", &[json], &[b' '; 1000]);
    let mut silent = Vec::new();
    for count in 1..=2 {
        let mut client = client(GREEDY, &server).await;
        client.send(&whole[..whole.len() - 999]).await;
        let series = format!("siglip2_requests_in_flight {count}\n");
        while !server.service.metrics().text().contains(&series) {
            sleep(Duration::from_millis(5)).await;
        }
        silent.push(client);
    }
    let text = post_json("/embed/text", r#"{"texts": ["a"]}"#);
    let answer = once_there_is_room(&server, OTHER, &text).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // The one that had been silent for longer; the other one is alone now, and has its time.
    let (status, sentence) = silent[0].answer().await.error();
    assert!(
        status == 429 && sentence.contains("made room"),
        "{sentence}"
    );
    silent[1].send(&whole[whole.len() - 999..]).await;
    assert_eq!(silent[1].answer().await.status, 400);
}

/// A request for the vectors of pictures at these URLs.
fn pictures_at(urls: &[String]) -> Vec<u8> {
    let inputs: Vec<Value> = urls.iter().map(|url| json!({ "image_url": url })).collect();
    post_json("/v1/embeddings", &json!({ "input": inputs }).to_string())
}

#[tokio::test]
async fn who_names_pictures_that_do_not_come_makes_room_for_others() {
    let listen = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        (listener, url)
    };
    let ((silent, silent_url), (host, url)) = tokio::join!(listen(), listen());
    let hosts = [&silent_url, &url].map(|url| url[7..].trim_end_matches('/'));
    let server = Server::start(HttpSettings {
        picture_urls: PictureUrlSettings {
            picture_url_hosts: Some(PictureHosts::parse(&hosts.join(",")).unwrap()),
            picture_url_networks: Some(Networks::parse("127.0.0.1").unwrap()),
            picture_url_timeout: HOURS,
            max_picture_fetches: 4,
            ..HttpSettings::default().picture_urls
        },
        ..settings()
    })
    .await;
    // All turns, and one that waits. Whoever is accepted has a turn.
    let mut greedy = Vec::new();
    let mut held = Vec::new();
    for (pictures, accepted) in [(3, 3), (2, 1)] {
        let mut client = client(GREEDY, &server).await;
        client
            .send(pictures_at(&vec![silent_url.clone(); pictures]))
            .await;
        for _ in 0..accepted {
            held.push(silent.accept().await.unwrap());
        }
        greedy.push(client);
    }
    let sends = async {
        let (mut stream, _) = host.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut head).await.unwrap() > 0);
        }
        let picture = png(1, 2, 3);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            picture.len()
        );
        stream
            .write_all(&[head.as_bytes(), &picture].concat())
            .await
            .unwrap();
    };
    let request = pictures_at(&[url]);
    let asks = once_there_is_room(&server, OTHER, &request);
    let (answer, ()) = tokio::join!(asks, sends);
    assert_eq!(answer.status, 200, "{answer:?}");
    let (status, sentence) = greedy[0].answer().await.error();
    assert!(
        status == 429 && sentence.contains("input[0] did not come"),
        "{sentence}"
    );
}

#[tokio::test]
async fn nobody_makes_room_for_himself() {
    let server = Server::start(HttpSettings {
        max_concurrent_requests: 2,
        ..settings()
    })
    .await;
    let head = "POST /embed/text HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n";
    let mut silent = Vec::new();
    for count in 1..=2 {
        let mut client = Client::connect(server.address).await;
        client.send(head).await;
        let series = format!("siglip2_requests_in_flight {count}\n");
        while !server.service.metrics().text().contains(&series) {
            sleep(Duration::from_millis(5)).await;
        }
        silent.push(client);
    }
    // Long enough for the bodies to be late.
    sleep(Duration::from_millis(1100)).await;
    let text = post_json("/embed/text", r#"{"texts": ["a"]}"#);
    assert_eq!(ask(server.address, text).await.error().0, 429);
    for mut client in silent {
        client.send("{\"texts\":[").await;
        assert_eq!(client.answer().await.status, 400);
    }
}

#[tokio::test]
async fn who_does_not_read_makes_room_for_others() {
    let server = Server::start(HttpSettings {
        max_connections: MANY,
        max_connections_per_client: MANY,
        ..settings()
    })
    .await;
    let mut unread = Vec::new();
    for _ in 0..MANY {
        let mut client = client(GREEDY, &server).await;
        client.send(long_answer()).await;
        unread.push(client);
    }
    let answer = once_there_is_room(&server, OTHER, &get("/health")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn answers_that_are_not_read_give_back_their_memory_to_others() {
    // 16 MiB for answers. One is reckoned to take six times its query before it is made, for which two
    // that have been made leave no room.
    let service = service(
        "demo",
        &["--max-request-memory", "128MiB", "--payload-limit", "16MiB"],
    );
    let server = Server::serving(service, settings()).await;
    let mut unread = Vec::new();
    for count in 1..=2 {
        let mut client = client(GREEDY, &server).await;
        client.send(long_answer()).await;
        while !(count * QUERY..6 * QUERY).contains(&held(&server)) {
            sleep(Duration::from_millis(5)).await;
        }
        unread.push(client);
    }
    // One that has many connections is asked to make room sooner.
    let mut many = Vec::new();
    for _ in 0..MANY {
        many.push(client(GREEDY, &server).await);
    }
    let answer = once_there_is_room(&server, OTHER, &long_answer()).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn idle_connections_make_room_though_one_is_given_back_now_and_then() {
    let server = Server::start(HttpSettings {
        max_connections: 2,
        idle_timeout: HOURS,
        ..settings()
    })
    .await;
    let mut idle = Client::connect(server.address).await;
    idle.send(get("/health")).await;
    assert_eq!(idle.answer().await.status, 200);
    let busy = async {
        // One always waits for the place of the other, and not for long.
        let asks = || async {
            loop {
                assert_eq!(ask(server.address, get("/health")).await.status, 200);
            }
        };
        tokio::join!(asks(), asks(), asks());
    };
    tokio::select! {
        () = async { assert!(idle.is_closed().await) } => {}
        () = busy => {}
    }
}
