//! What a client of HTTP/2 may not do to others: floods, bombs, and answers that are not read.

use std::time::Duration;

use siglip2_embeddings::http::HttpSettings;
use tokio::time::sleep;

use crate::common::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, Http2, PING, RST_STREAM,
    Raw, SETTINGS, block, get, head,
};
use crate::common::{Server, quick};

/// The setting for how much a client may be sent on a stream before it says that it read.
const INITIAL_WINDOW: u16 = 4;
const MAX_STREAMS: u16 = 3;

async fn until(server: &Server, series: &str) {
    while !server.service.metrics().text().contains(series) {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Others are served.
async fn serves(server: &Server) {
    let mut client = Http2::connect(server.address).await;
    assert_eq!(client.good(get("/health")).await.status, 200);
}

#[tokio::test]
async fn a_flood_of_resets_ends_the_connection() {
    let server = Server::start(HttpSettings::default()).await;
    let mut raw = Raw::connect(server.address, &[]).await;
    let mut sent = 0;
    for stream in (1..200_000).step_by(2) {
        let head = Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, head("/info"));
        let reset = Frame::new(RST_STREAM, 0, stream, [0, 0, 0, 8]);
        if !raw.bytes(&[head.bytes(), reset.bytes()].concat()).await {
            break;
        }
        sent += 1;
    }
    assert!(sent < 100_000 - 1, "all were taken");
    assert!(raw.ends().await);
    serves(&server).await;
    until(&server, "siglip2_requests_in_flight 0\n").await;
}

#[tokio::test]
async fn frames_that_ask_for_nothing_end_the_connection() {
    let server = Server::start(HttpSettings::default()).await;
    for frame in [
        Frame::new(PING, 0, 0, [0; 8]),
        Frame::new(SETTINGS, 0, 0, []),
        Frame::new(200, 0, 0, [1, 2, 3]),
    ] {
        let mut raw = Raw::connect(server.address, &[]).await;
        let flood = frame.bytes().repeat(2000);
        raw.bytes(&flood).await;
        assert!(raw.ends().await);
    }
    serves(&server).await;
}

#[tokio::test]
async fn heads_without_an_end_are_given_up() {
    let server = Server::start(quick()).await;
    for end in [0, 1] {
        let mut raw = Raw::connect(server.address, &[]).await;
        let frame = Frame::new(HEADERS, 0, 1, head("/health")).bytes();
        raw.bytes(&frame[..frame.len() - end]).await;
        assert!(raw.ends().await);
    }
    // Nor do they go on for ever.
    let server = Server::start(HttpSettings {
        header_timeout: Duration::from_secs(3600),
        ..HttpSettings::default()
    })
    .await;
    let mut raw = Raw::connect(server.address, &[]).await;
    raw.send(Frame::new(HEADERS, 0, 1, head("/health"))).await;
    let more = Frame::new(CONTINUATION, 0, 1, block(&[("x", "y")])).bytes();
    for _ in 0..10_000 {
        raw.bytes(&more).await;
    }
    assert!(raw.ends().await);
    serves(&server).await;
}

#[tokio::test]
async fn a_bomb_of_headers_is_not_unpacked() {
    let server = Server::start(HttpSettings::default()).await;
    let mut raw = Raw::connect(server.address, &[]).await;
    // A field of 3 KiB that is put into the table, and then named a thousand times by one byte.
    let long = "x".repeat(3000);
    let mut field = block(&[("bomb", &long)]);
    field[0] = 0x40;
    let bomb = [head("/health"), field, vec![0x80 | 62; 1000]].concat();
    raw.send(Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, bomb))
        .await;
    let refused = loop {
        match raw.next().await {
            None => break true,
            Some(frame) if frame.kind == HEADERS => {
                // 431, as four bytes of a literal.
                let said = frame.payload.windows(3).any(|window| window == b"431");
                // Or Huffman-coded.
                break said || frame.payload.len() < 64;
            }
            Some(frame) if frame.kind == RST_STREAM || frame.kind == GOAWAY => break true,
            Some(_) => {}
        }
    };
    assert!(refused);
    assert!(
        !server
            .service
            .metrics()
            .text()
            .contains("endpoint=\"health\",status=\"200\"} 1\n")
    );
    serves(&server).await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let server = Server::start(HttpSettings {
        idle_timeout: Duration::from_secs(3600),
        ..quick()
    })
    .await;
    let mut raw = Raw::connect(server.address, &[(INITIAL_WINDOW, 0)]).await;
    let large = Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, head("/openapi.json"));
    raw.send(large).await;
    raw.next_of(HEADERS).await.expect("an answer begins");
    let end = raw.next_of(RST_STREAM).await.expect("the connection stays");
    assert_eq!(end.stream, 1);
    until(
        &server,
        "siglip2_requests_total{endpoint=\"openapi\",status=\"499\"} 1\n",
    )
    .await;
    // A small one too, which h2 would hold for ever.
    raw.send(Frame::new(
        HEADERS,
        END_HEADERS | END_STREAM,
        3,
        head("/health"),
    ))
    .await;
    let end = raw.next_of(RST_STREAM).await.expect("the connection stays");
    assert_eq!(end.stream, 3);
}

#[tokio::test]
async fn who_reads_slowly_gets_all() {
    let server = Server::start(HttpSettings {
        write_timeout: Duration::from_secs(3),
        ..HttpSettings::default()
    })
    .await;
    let mut raw = Raw::connect(server.address, &[(INITIAL_WINDOW, 0)]).await;
    let large = Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, head("/openapi.json"));
    raw.send(large).await;
    let mut read = 0;
    loop {
        // Room for one piece at a time: each within the time that nothing may be taken, and all
        // together beyond it.
        sleep(Duration::from_millis(600)).await;
        let room = 16_384_u32.to_be_bytes();
        raw.send(Frame::new(8, 0, 1, room)).await;
        raw.send(Frame::new(8, 0, 0, room)).await;
        let data = raw.next_of(DATA).await.expect("more");
        read += data.payload.len();
        if data.flags & END_STREAM != 0 {
            break;
        }
    }
    assert!(read > 50_000, "{read}");
}

#[tokio::test]
async fn streams_are_bounded_and_idle_ones_cost_no_other() {
    let server = Server::start(HttpSettings {
        body_idle_timeout: Duration::from_secs(3),
        min_body_rate: 0,
        ..HttpSettings::default()
    })
    .await;
    let mut raw = Raw::connect(server.address, &[]).await;
    let settings = raw.next_of(SETTINGS).await.unwrap();
    let most = settings
        .payload
        .chunks(6)
        .find(|setting| setting[..2] == MAX_STREAMS.to_be_bytes())
        .map(|setting| u32::from_be_bytes(setting[2..].try_into().unwrap()))
        .expect("a bound");
    // Heads whose bodies never come: one more than there may be is refused, the others time out.
    let post = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/embed/text"),
        (":authority", "t"),
    ];
    for at in 0..=most {
        raw.send(Frame::new(HEADERS, END_HEADERS, 1 + 2 * at, block(&post)))
            .await;
    }
    let refused = raw.next_of(RST_STREAM).await.expect("the connection stays");
    assert_eq!(
        (refused.stream, &refused.payload[..]),
        (1 + 2 * most, &[0, 0, 0, 7][..])
    );
    serves(&server).await;
    for _ in 0..most {
        raw.next_of(HEADERS).await.expect("an answer");
    }
    until(&server, "siglip2_requests_in_flight 0\n").await;
}
