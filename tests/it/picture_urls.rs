//! Pictures that a request names by their URLs: off unless hosts are named, and then from those
//! alone, at public addresses or in networks that are named too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use siglip2_embeddings::http::{HttpSettings, Networks, PictureHosts, PictureUrlSettings};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::common::tls::Files;
use crate::common::{Client, Server, ask, png, post_json, uri};

const PATIENCE: Duration = Duration::from_secs(20);

/// A host of pictures.
struct Host {
    address: SocketAddr,
    /// Notified when a client has gone before it was answered.
    left: Arc<Notify>,
}

impl Host {
    /// One that answers as the path says.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let left = Arc::new(Notify::new());
        let leaves = Arc::clone(&left);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&leaves)));
            }
        });
        Self { address, left }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Settings that allow this host, in its network.
    fn allowed(&self) -> HttpSettings {
        settings(&self.address.to_string(), "127.0.0.1")
    }
}

fn settings(hosts: &str, networks: &str) -> HttpSettings {
    HttpSettings {
        picture_urls: PictureUrlSettings {
            picture_url_hosts: Some(PictureHosts::parse(hosts).unwrap()),
            picture_url_networks: Some(Networks::parse(networks).unwrap()),
            max_picture_urls_per_request: 3,
            max_picture_url_bytes: 100_000,
            picture_url_timeout: Duration::from_secs(2),
            ..HttpSettings::default().picture_urls
        },
        ..HttpSettings::default()
    }
}

/// Answers one request as its path says.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, left: Arc<Notify>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read_buf(&mut head).await, Ok(read) if read > 0) {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let whole = |body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let redirect =
        |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    let bytes = match path.split_once('?').unwrap_or((path, "")) {
        ("/a.png" | "/gr%C3%B6%C3%9Fer%20als.png" | "/gr%F6%DFer.png", _) => whole(&png(1, 20, 30)),
        ("/b.png", _) => whole(&png(2, 20, 30)),
        // In UTF-8 and in Latin-1.
        ("/umlauts", _) => redirect("/gr\u{f6}\u{df}er als.png").into_bytes(),
        ("/latin", _) => {
            b"HTTP/1.1 302 Found\r\nLocation: /gr\xf6\xdfer.png\r\nContent-Length: 0\r\n\r\n"
                .to_vec()
        }
        ("/text", _) => whole(b"a text"),
        ("/large", _) => whole(&vec![0; 100_001]),
        ("/endless", _) => {
            let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for _ in 0..20 {
                bytes.extend_from_slice(b"2000\r\n");
                bytes.extend_from_slice(&[0; 0x2000]);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes
        }
        ("/broken", _) => b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc".to_vec(),
        ("/coded", _) => {
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\na".to_vec()
        }
        ("/garbage", _) => b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(),
        ("/nowhere", _) => b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n".to_vec(),
        ("/to", location) => redirect(location).into_bytes(),
        ("/again", _) => redirect("/again").into_bytes(),
        ("/silent", _) => {
            // Until the client has gone.
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            left.notify_one();
            return;
        }
        _ => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
    };
    assert!(
        head.contains("\r\nuser-agent: siglip2-embeddings/"),
        "{head}"
    );
    assert!(
        !head.contains("authorization") && !head.contains("x-api-key"),
        "{head}"
    );
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
}

/// A request with pictures at these URLs.
fn request(urls: &[&str]) -> Vec<u8> {
    let inputs: Vec<Value> = urls.iter().map(|url| json!({ "image_url": url })).collect();
    post_json("/v1/embeddings", &json!({ "input": inputs }).to_string())
}

/// What a request with a picture at this URL is refused with.
async fn refusal(server: &Server, url: &str) -> (u16, String) {
    let answer = ask(server.address, request(&[url])).await;
    let json = answer.json();
    let sentence = json["detail"]
        .as_str()
        .unwrap_or_else(|| panic!("{url}: {json}"));
    (answer.status, sentence.to_owned())
}

fn vectors(json: &Value) -> Vec<Value> {
    let rows = json["data"].as_array().unwrap_or_else(|| panic!("{json}"));
    rows.iter().map(|row| row["embedding"].clone()).collect()
}

#[tokio::test]
async fn a_picture_is_the_same_wherever_it_comes_from() {
    let host = Host::start().await;
    let server = Server::start(host.allowed()).await;
    let (a, b) = (host.url("/a.png"), host.url("/b.png"));
    let relative = host.url("/to?b.png");
    let answer = ask(server.address, request(&[&b, &a, &relative])).await;
    let fetched = vectors(&answer.json());
    let (a, b) = (uri(1), uri(2));
    let answer = ask(server.address, request(&[&b, &a, &b])).await;
    assert_eq!(fetched, vectors(&answer.json()));
    // As a person writes it, and as hosts write where they lead to.
    let paths = ["/gr\u{f6}\u{df}er als.png", "/umlauts", "/latin"].map(|path| host.url(path));
    let answer = ask(
        server.address,
        request(&paths.each_ref().map(String::as_str)),
    )
    .await;
    let fetched = vectors(&answer.json());
    let answer = ask(server.address, request(&[&a, &a, &a])).await;
    assert_eq!(fetched, vectors(&answer.json()));
    // Where our own paths take base64, too.
    let url = host.url("/a.png");
    let body = json!({ "image_base64": url }).to_string();
    let answer = ask(server.address, post_json("/embed/image", &body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // Nothing of it is held any more, a moment later.
    let none = "siglip2_memory_bytes{use=\"bodies\"} 0\n";
    while !server.service.metrics().text().contains(none) {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn special_addresses_are_not_connected_to() {
    let server = Server::start(settings("*", "")).await;
    for url in [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://localhost/",
        "https://localhost/",
        "http://[::1]/",
        "http://[::]/",
        "http://0.0.0.0/",
        "http://0/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://10.0.0.1/",
        "http://172.16.0.1/",
        "http://192.168.0.1/",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
    ] {
        let (status, detail) = refusal(&server, url).await;
        assert_eq!(status, 400, "{url}: {detail}");
        assert!(
            detail.contains("not public") || detail.contains("not found"),
            "{url}: {detail}"
        );
    }
}

#[tokio::test]
async fn only_what_is_allowed_is_asked() {
    let host = Host::start().await;
    let port = host.address.port();
    let server = Server::start(host.allowed()).await;
    for (url, said) in [
        (
            format!("http://localhost:{port}/a.png"),
            "not one of the hosts",
        ),
        ("http://127.0.0.1/a.png".to_owned(), "not one of the hosts"),
        (format!("http://user@127.0.0.1:{port}/a.png"), "user"),
        ("file:///etc/passwd".to_owned(), "begin with"),
        ("s3://bucket/a.png".to_owned(), "begin with"),
        // A redirect is looked at like any other.
        (
            host.url(&format!("/to?http://localhost:{port}/a.png")),
            "not one of the hosts",
        ),
        (
            host.url("/to?http://169.254.169.254/"),
            "not one of the hosts",
        ),
        (host.url("/to?file:///etc/passwd"), "begin with"),
        (host.url("/to?gopher://127.0.0.1/"), "begin with"),
        (host.url("/nowhere"), "nowhere"),
        (host.url("/again"), "more than 3 times"),
    ] {
        let (status, detail) = refusal(&server, &url).await;
        assert_eq!(status, 400, "{url}: {detail}");
        assert!(detail.contains(said), "{url}: {detail}");
        assert!(detail.starts_with("input[0] "), "{url}: {detail}");
    }
    // A host that is named, at an address that is not.
    let server = Server::start(settings(&host.address.to_string(), "10.0.0.0/8")).await;
    let (status, detail) = refusal(&server, &host.url("/a.png")).await;
    assert_eq!(status, 400);
    assert!(detail.contains("not public"), "{detail}");
}

#[tokio::test]
async fn what_a_host_answers_is_bounded() {
    let host = Host::start().await;
    let server = Server::start(host.allowed()).await;
    for (path, status, said) in [
        ("/large", 413, "100000 bytes"),
        ("/endless", 413, "100000 bytes"),
        ("/broken", 400, "ended after"),
        ("/coded", 400, "compressed"),
        ("/garbage", 400, "could not be fetched"),
        ("/missing", 400, "answered 404"),
        ("/silent", 400, "within 2 s"),
        ("/text", 400, "input[0]"),
    ] {
        let (got, detail) = refusal(&server, &host.url(path)).await;
        assert_eq!(got, status, "{path}: {detail}");
        assert!(detail.contains(said), "{path}: {detail}");
    }
    // What the client itself says comes first.
    let body = json!({ "input": [{ "image_url": host.url("/silent") }] }).to_string();
    let headers = [
        ("content-type", "application/json"),
        ("x-request-timeout-ms", "100"),
    ];
    let hurried = crate::common::request("POST", "/v1/embeddings", &headers, body.as_bytes());
    assert_eq!(ask(server.address, hurried).await.status, 504);
    // Their number is too, and that of all images still counts.
    let url = host.url("/a.png");
    let (status, detail) = {
        let answer = ask(server.address, request(&[url.as_str(); 4])).await;
        (
            answer.status,
            answer.json()["detail"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(status, 413);
    assert!(
        detail.contains("more URLs of images than the limit of 3"),
        "{detail}"
    );
    // All together, with the body, have no more bytes than a body.
    let three = request(&[&url, &url, &url]);
    let body = three.len() - three.windows(4).position(|at| at == b"\r\n\r\n").unwrap() - 4;
    let one = png(1, 20, 30).len();
    for (pictures, status) in [(3, 200), (2, 413)] {
        let server = Server::start(HttpSettings {
            payload_limit: (body + pictures * one) as u64,
            ..host.allowed()
        })
        .await;
        assert_eq!(ask(server.address, &three).await.status, status);
    }
}

#[tokio::test]
async fn one_that_cannot_be_had_costs_only_itself_where_each_is_for_itself() {
    let host = Host::start().await;
    let server = Server::start(host.allowed()).await;
    let urls = [
        host.url("/a.png"),
        host.url("/missing"),
        host.url("/text"),
        "ftp://example/a.png".to_owned(),
        uri(2),
    ];
    let body = json!({ "image_base64": urls, "partial": true }).to_string();
    let answer = ask(server.address, post_json("/embed/images", &body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let good = json!({ "image_base64": [uri(1), uri(2)] }).to_string();
    let good = ask(server.address, post_json("/embed/images", &good)).await;
    let good = &good.json()["embeddings"];
    assert_eq!(answer["embeddings"], json!([good[0], [], [], [], good[1]]));
    let errors = answer["errors"].as_array().unwrap();
    for (at, (error, said)) in errors
        .iter()
        .zip(["answered 404", "image_base64[2]", "begin with"])
        .enumerate()
    {
        assert_eq!(error["index"], at + 1);
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{detail}");
        assert!(
            detail.starts_with(&format!("image_base64[{}]", at + 1)),
            "{detail}"
        );
    }
    assert_eq!(errors.len(), 3);
    // Too many are too many all the same.
    let url = host.url("/a.png");
    let body = json!({ "image_base64": vec![url; 4], "partial": true }).to_string();
    let answer = ask(server.address, post_json("/embed/images", &body)).await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn a_fetch_ends_when_its_client_has_gone() {
    let host = Host::start().await;
    let mut settings = host.allowed();
    settings.picture_urls.picture_url_timeout = Duration::from_secs(3600);
    settings.picture_urls.max_picture_fetches = 1;
    let server = Server::start(settings).await;
    let mut client = Client::connect(server.address).await;
    client.send(request(&[&host.url("/silent")])).await;
    while !server
        .service
        .metrics()
        .text()
        .contains("siglip2_requests_in_flight 1\n")
    {
        sleep(Duration::from_millis(5)).await;
    }
    drop(client);
    timeout(PATIENCE, host.left.notified())
        .await
        .expect("it ends");
    // And its turn is another's.
    let answer = ask(server.address, request(&[&host.url("/a.png")])).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn certificates_are_checked() {
    let files = Files::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = crate::common::tls::acceptor(&files);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(answer(stream, Arc::default()));
            }
        }
    });
    let url = format!("https://localhost:{port}/a.png");
    let mut settings = settings(&format!("localhost:{port}"), "127.0.0.1");
    let server = Server::start(settings.clone()).await;
    let (status, detail) = refusal(&server, &url).await;
    assert_eq!(status, 400);
    assert!(detail.contains("TLS"), "{detail}");
    settings.picture_urls.picture_url_ca = Some(files.cert());
    let server = Server::start(settings).await;
    let answer = ask(server.address, request(&[&url])).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // From https a redirect leads to https alone.
    let plain = format!("https://localhost:{port}/to?http://localhost:{port}/a.png");
    let (status, detail) = refusal(&server, &plain).await;
    assert_eq!(status, 400);
    assert!(detail.contains("from https to http"), "{detail}");
}
