//! Request heads, framing, and the order of things on a connection.

use super::case::{Case, Step, case, script};
use crate::common::{Form, chunked, get, png, post_json};
use Step::{Drip, Finish, Pause, Send};

const JSON: &str = r#"{"texts": ["a"]}"#;
/// A request that must not be answered where it hides in another one's body.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n";

fn text(headers: &str, body: &str) -> String {
    format!(
        "POST /embed/text HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n{headers}\r\n{body}"
    )
}

fn with_header(line: &str) -> String {
    format!("GET /health HTTP/1.1\r\nHost: t\r\n{line}\r\n\r\n")
}

pub fn cases() -> Vec<Case> {
    let mut cases = malformed();
    cases.extend(framing());
    cases.extend(slow());
    cases.extend(methods());
    cases.extend(hosts_and_targets());
    cases.extend(odd_headers());
    cases
}

/// Every method at every path: what a path does not have is 405 and says what it has.
fn methods() -> Vec<Case> {
    const READ: [&str; 5] = ["/health", "/ready", "/metrics", "/info", "/openapi.json"];
    const WORK: [&str; 6] = [
        "/embed/text",
        "/embed/image",
        "/embed/images",
        "/similarity",
        "/rank",
        "/search",
    ];
    let mut cases = Vec::new();
    let sent = |method: &str, path: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n")
    };
    for (paths, wrong) in [(&READ[..], "POST"), (&WORK[..], "GET")] {
        for path in paths {
            for method in [wrong, "PUT", "DELETE", "TRACE", "get"] {
                cases.push(
                    case(format!("{method} {path}"), sent(method, path), &[405])
                        .checked(|answer| answer.header("allow").is_some()),
                );
            }
            cases.push(
                case(format!("OPTIONS {path}"), sent("OPTIONS", path), &[204])
                    .checked(|answer| answer.header("allow").is_some()),
            );
        }
    }
    cases
}

/// Targets and hosts that are none, or that proxies may read in another way.
fn hosts_and_targets() -> Vec<Case> {
    let hosts = [
        "a b", "a/b", "a\\b", "user@a", "a:b", "a:-1", "a:65536", "a:80:80", "[::1", "[x]", "::1",
        "a?b", "a#b", "<a>", "\"a\"", "a,b c",
    ];
    let mut cases: Vec<Case> = hosts
        .iter()
        .map(|host| {
            let sent = format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n");
            case(format!("the Host {host:?}"), sent, &[400])
        })
        .collect();
    for host in [
        "",
        "a",
        "a:",
        "a:1",
        "[::1]:80",
        "127.0.0.1",
        "xn--a.example",
    ] {
        let sent = format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n");
        cases.push(case(format!("the good Host {host:?}"), sent, &[200]));
    }
    for (target, statuses) in [
        ("health", &[400][..]),
        ("t:80", &[400]),
        ("*", &[400]),
        ("?health", &[400]),
        ("./health", &[400]),
        ("//health", &[400, 404]),
        ("///", &[400, 404]),
        ("/health//", &[404]),
        ("/HEALTH", &[404]),
        ("/health/", &[200]),
        ("/health?", &[200]),
        ("/%68ealth", &[404]),
        ("/health%00", &[404]),
        ("/health;x=y", &[404]),
        ("http://t", &[200, 404]),
    ] {
        let sent = format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n");
        cases.push(case(format!("the target {target}"), sent, statuses));
    }
    for (name, sent) in [
        (
            "in the request line",
            "GET /health HTTP/1.1\nHost: t\r\n\r\n",
        ),
        (
            "behind a header",
            "GET /health HTTP/1.1\r\nHost: t\nX: y\r\n\r\n",
        ),
        ("at the end", "GET /health HTTP/1.1\r\nHost: t\r\n\n"),
        (
            "before the request",
            "\nGET /health HTTP/1.1\r\nHost: t\r\n\r\n",
        ),
    ] {
        cases.push(case(format!("a bare LF {name}"), sent, &[400]).closes());
    }
    cases.push(case(
        "empty lines before the request",
        "\r\n\r\nGET /health HTTP/1.1\r\nHost: t\r\n\r\n",
        &[200],
    ));
    cases
}

/// Headers that are read, with values that mean nothing.
fn odd_headers() -> Vec<Case> {
    let length = JSON.len();
    let with = |line: &str| text(&format!("{line}\r\nContent-Length: {length}\r\n"), JSON);
    [
        ("X-Request-Timeout-Ms: 0", &[400][..]),
        ("X-Request-Timeout-Ms: -1", &[400]),
        ("X-Request-Timeout-Ms: 1.5", &[400]),
        ("X-Request-Timeout-Ms: soon", &[400]),
        ("X-Request-Timeout-Ms: 99999999999999999999999", &[200]),
        ("X-Request-Timeout-Ms: 18446744073709551615", &[200]),
        ("X-Request-Timeout-Ms: 60000", &[200]),
        ("X-Request-Id: a b \"c\"", &[200]),
        ("X-Request-Id: ", &[200]),
        ("traceparent: nonsense", &[200]),
        ("Content-Encoding: deflate", &[415]),
        ("Content-Encoding: br, identity", &[415]),
        ("Content-Encoding: identity", &[200]),
        ("Content-Encoding:", &[200]),
        ("Accept-Encoding: zstd;q=1.0, *;q=0", &[200]),
        ("Accept: image/png", &[200]),
        ("Range: bytes=0-1", &[200]),
        ("If-None-Match: *", &[200]),
        ("Expect: nothing", &[417]),
        ("Expect: 100-continue, 200-ok", &[417]),
        ("Authorization: Bearer x", &[200]),
        ("Cookie: a=b", &[200]),
        ("X-Forwarded-For: not-an-address", &[200]),
        ("Connection: keep-alive, close", &[200]),
        ("Connection: X-Nothing", &[200]),
        ("TE: trailers", &[200]),
    ]
    .into_iter()
    .map(|(line, statuses)| case(line, with(line), statuses))
    .collect()
}

fn malformed() -> Vec<Case> {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let many: String = (0..500).map(|at| format!("X-{at}: y\r\n")).collect();
    vec![
        case(
            "a header of 1 MB",
            with_header(&format!("X: {}", "a".repeat(1 << 20))),
            &[400, 431],
        )
        .closes(),
        case(
            "a header name of 100 KB",
            with_header(&format!("{}: x", "a".repeat(100_000))),
            &[400, 431],
        )
        .closes(),
        case("500 headers", with_header(many.trim_end()), &[400, 431]).closes(),
        case(
            "a path of 200 KB",
            format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "a".repeat(200_000)),
            &[400, 414, 431],
        )
        .closes(),
        case(
            "an obsolete fold",
            with_header("X: a\r\n b: c"),
            &[200, 400],
        ),
        case("a space before the colon", with_header("X : a"), &[400]).closes(),
        case(
            "a space before the colon of Content-Length",
            format!("POST /embed/text HTTP/1.1\r\nHost: t\r\nContent-Length : 5\r\n\r\n{HIDDEN}"),
            &[400],
        )
        .closes(),
        case("a NUL in a header", with_header("X: a\0b"), &[400]).closes(),
        case(
            "a NUL in the path",
            "GET /hea\0lth HTTP/1.1\r\nHost: t\r\n\r\n",
            &[400, 404],
        ),
        case("a bare CR in a header", with_header("X: a\rY: b"), &[400]).closes(),
        case("bare LF", "GET /health HTTP/1.1\nHost: t\n\n", &[400]).closes(),
        case("a header without a name", with_header(": a"), &[400]).closes(),
        case("a header without a colon", with_header("nonsense"), &[400]).closes(),
        case(
            "high bytes in a header's value",
            [
                b"GET /health HTTP/1.1\r\nHost: t\r\nX: ".as_slice(),
                &[0xff, 0xfe, 0x80],
                b"\r\n\r\n",
            ]
            .concat(),
            &[200, 400],
        ),
        case(
            "the absolute form",
            "GET http://t/health HTTP/1.1\r\nHost: t\r\n\r\n",
            &[200],
        ),
        case(
            "the absolute form of another host",
            "GET http://169.254.169.254/latest HTTP/1.1\r\nHost: t\r\n\r\n",
            &[400, 404, 421],
        ),
        case(
            "the asterisk form",
            "OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n",
            &[204],
        ),
        case(
            "CONNECT",
            "CONNECT t:443 HTTP/1.1\r\nHost: t\r\n\r\n",
            &[400, 404, 405, 501],
        ),
        case(
            "TRACE",
            "TRACE /health HTTP/1.1\r\nHost: t\r\nX-Secret: s3cret\r\n\r\n",
            &[405],
        )
        .checked(|answer| answer.header("allow").is_some() && !answer.text().contains("s3cret")),
        case(
            "a method of 100 KB",
            format!("{} / HTTP/1.1\r\nHost: t\r\n\r\n", "A".repeat(100_000)),
            &[400, 405, 414, 431, 501],
        ),
        case(
            "a method that is none",
            "G@T{} / HTTP/1.1\r\nHost: t\r\n\r\n",
            &[400],
        )
        .closes(),
        case("HTTP/0.9", "GET /health\r\n", &[400]).closes(),
        case(
            "HTTP/1.2",
            "GET /health HTTP/1.2\r\nHost: t\r\n\r\n",
            &[200, 400, 505],
        ),
        case(
            // The whole of it begins HTTP/2, which http2_abuse.rs attacks.
            "all but the end of the HTTP/2 preface",
            "PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n",
            &[400, 505],
        )
        .or_silence()
        .closes(),
        case("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", &[400])
            .or_silence()
            .closes(),
        case(
            "an upgrade to h2c",
            with_header(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
            ),
            &[200],
        ),
        case(
            "an upgrade to a websocket",
            with_header("Connection: Upgrade\r\nUpgrade: websocket"),
            &[200],
        ),
        script("nothing at all", vec![Finish], &[]).closes(),
        script(
            "half a head",
            vec![Send(bytes("GET /health HT")), Finish],
            &[&[400, 408]],
        )
        .or_silence()
        .closes(),
        // RFC 9112, 3.2: a request of HTTP/1.1 without a Host, or with two, is a 400.
        case("no Host", "GET /health HTTP/1.1\r\n\r\n", &[400]),
        case(
            "two Hosts",
            "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            &[400],
        ),
        case(
            "dots in the path",
            get("/embed/../../../etc/passwd"),
            &[400, 404],
        ),
        case("an encoded path", get("/%2e%2e/%00/%ff/%zz"), &[400, 404]),
        case(
            "a query of 8 KB",
            get(&format!("/health?{}", "a=b&".repeat(2000))),
            &[200],
        ),
        case(
            "a scheme and no host",
            "GET http:///health HTTP/1.1\r\nHost: t\r\n\r\n",
            &[400, 404],
        ),
    ]
}

fn framing() -> Vec<Case> {
    let length = JSON.len();
    let in_chunks = String::from_utf8(chunked(JSON.as_bytes(), 4)).unwrap();
    let te = |value: &str, body: &str| text(&format!("Transfer-Encoding: {value}\r\n"), body);
    let mut cases = vec![
        // RFC 9112, 6.3: with both, Transfer-Encoding is what counts, and the
        // connection must be closed after the answer, or it is refused.
        case("Content-Length, then Transfer-Encoding", text("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", &format!("{in_chunks}{HIDDEN}")), &[400])
            .closes(),
        case("Transfer-Encoding, then Content-Length", text("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", &format!("{in_chunks}{HIDDEN}")), &[400])
            .closes(),
        case("two Content-Lengths that differ", text(&format!("Content-Length: {length}\r\nContent-Length: 3\r\n"), &format!("{JSON}{HIDDEN}")), &[400]).closes(),
        case("two Content-Lengths in one line", text(&format!("Content-Length: {length}, 3\r\n"), &format!("{JSON}{HIDDEN}")), &[400]).closes(),
        // RFC 9112, 7.1: chunked must not be applied twice.
        case("chunked twice", te("chunked, chunked", &format!("{in_chunks}{HIDDEN}")), &[400, 501]).closes(),
        case("chunked in two headers", te("chunked\r\nTransfer-Encoding: chunked", &format!("{in_chunks}{HIDDEN}")), &[400, 501]).closes(),
        case("a transfer coding behind chunked", te("chunked, identity", &in_chunks), &[400, 501]).closes(),
        case("gzip as transfer coding", te("gzip", &in_chunks), &[400, 501]).closes(),
        case("a transfer coding that is none", te("xchunked", &format!("{in_chunks}{HIDDEN}")), &[400, 501]).closes(),
        case("chunked in HTTP/1.0", format!("POST /embed/text HTTP/1.0\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{in_chunks}{HIDDEN}"), &[200, 400]).closes(),
        case("chunk extensions", te("chunked", &format!("10;a=b;c=\"d\"\r\n{JSON}\r\n0;x\r\n\r\n")), &[200]),
        case("a megabyte of chunk extension", te("chunked", &format!("10;{}\r\n{JSON}\r\n0\r\n\r\n", "a".repeat(1 << 20))), &[400]).closes(),
        case("a megabyte of trailers", te("chunked", &format!("10\r\n{JSON}\r\n0\r\n{}\r\n", "X: y\r\n".repeat(200_000))), &[400]).closes(),
        // hyper takes the line feed for a part of a trailer, and the hidden request too.
        case("a bare LF behind the last chunk", te("chunked", &format!("10\r\n{JSON}\r\n0\r\n\n{HIDDEN}")), &[400]).closes(),
        case("a bare LF behind a trailer", te("chunked", &format!("10\r\n{JSON}\r\n0\r\nX: y\n\n{HIDDEN}")), &[400]).closes(),
        case("a bare LF behind good trailers", te("chunked", &format!("10\r\n{JSON}\r\n0\r\nX: y\r\nZ: w\n\r\n{HIDDEN}")), &[400]).closes(),
        case("trailers", te("chunked", &format!("10\r\n{JSON}\r\n0\r\nX: y\r\nZ: w\r\n\r\n")), &[200]),
        case("a body without Content-Length", text("", JSON), &[411, 422, 400]),
        case("a body of one byte chunks", te("chunked", std::str::from_utf8(&chunked(format!(r#"{{"texts": ["{}"]}}"#, "b".repeat(100_000)).as_bytes(), 1)).unwrap()), &[200]),
        case("CONNECT with a body", format!("CONNECT t:1 HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc{HIDDEN}"), &[400, 404, 405, 501]).closes(),
        case("two lengths behind CONNECT", format!("CONNECT t:1 HTTP/1.1\r\nHost: t\r\n\r\n{}", text("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", &in_chunks)), &[400, 404, 405, 501]).closes(),
        case("GET with a hidden request as its body", format!("GET /health HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{HIDDEN}", HIDDEN.len()), &[200]).closes(),
    ];
    for (name, size) in [
        ("negative", "-10"),
        ("hexadecimal prefix", "0x10"),
        ("empty", ""),
        ("too large", "ffffffffffffffff"),
        ("larger still", "fffffffffffffffff0"),
        ("with a plus", "+10"),
        ("that is no number", "ten"),
        ("with a space before", " 10"),
    ] {
        // A size too large for the service but not for HTTP is one that breaks off.
        let sent = te("chunked", &format!("{size}\r\n{JSON}\r\n0\r\n\r\n"));
        cases.push(
            script(
                format!("a chunk size {name}"),
                vec![Send(sent.into_bytes()), Finish],
                &[&[400, 413]],
            )
            .closes(),
        );
    }
    for (name, value) in [
        ("negative", "-1"),
        ("with a plus", "+16"),
        ("empty", ""),
        ("that is no number", "many"),
        ("hexadecimal", "0x10"),
        ("beyond 64 bits", "18446744073709551616"),
    ] {
        cases.push(
            case(
                format!("a Content-Length {name}"),
                text(&format!("Content-Length: {value}\r\n"), JSON),
                &[400],
            )
            .closes(),
        );
    }
    for value in ["9223372036854775807", "16777217"] {
        cases.push(
            case(
                format!("a Content-Length of {value}"),
                text(&format!("Content-Length: {value}\r\n"), JSON),
                &[400, 413],
            )
            .closes(),
        );
    }
    cases.push(
        case(
            "a Content-Length of 2^64 - 1",
            text("Content-Length: 18446744073709551615\r\n", JSON),
            &[400, 413],
        )
        .closes(),
    );
    cases.extend([
        script(
            "a Content-Length too long",
            vec![
                Send(text("Content-Length: 99\r\n", JSON).into_bytes()),
                Finish,
            ],
            &[&[400, 408]],
        )
        .closes(),
        script(
            "a Content-Length too short",
            vec![Send(text("Content-Length: 5\r\n", JSON).into_bytes())],
            &[&[400], &[400]],
        )
        .closes(),
        script(
            "chunks that end in the middle",
            vec![Send(te("chunked", "10\r\n{\"tex").into_bytes()), Finish],
            &[&[400, 408]],
        )
        .closes(),
        script(
            "chunks without a last one",
            vec![
                Send(te("chunked", &format!("10\r\n{JSON}\r\n")).into_bytes()),
                Finish,
            ],
            &[&[400, 408]],
        )
        .closes(),
        case(
            "a chunk longer than its size",
            te("chunked", &format!("4\r\n{JSON}\r\n0\r\n\r\n")),
            &[400],
        )
        .closes(),
        case(
            "a chunk size ended by LF",
            te("chunked", &format!("10\n{JSON}\r\n0\r\n\r\n")),
            &[200, 400],
        ),
        script(
            "good requests after a bad one",
            vec![Send(
                [
                    post_json("/embed/text", "nonsense"),
                    get("/health"),
                    get("/health"),
                ]
                .concat(),
            )],
            &[&[400], &[200], &[200]],
        ),
        script(
            "good requests after a malformed one",
            vec![Send(
                [b"NONSENSE\r\n\r\n".to_vec(), get("/health"), get("/health")].concat(),
            )],
            &[&[400]],
        )
        .closes(),
        script(
            "a hundred requests at once, and away",
            vec![Send(get("/info").repeat(100)), Finish],
            &[&[200]],
        ),
        case(
            "Expect: something else",
            text(
                &format!("Expect: 200-ok\r\nContent-Length: {length}\r\n"),
                JSON,
            ),
            &[417],
        ),
        case(
            "Expect with the body at once",
            text(
                &format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"),
                JSON,
            ),
            &[200],
        ),
        script(
            "Expect and never a body",
            vec![Send(
                text(
                    &format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"),
                    "",
                )
                .into_bytes(),
            )],
            &[&[408]],
        )
        .closes(),
        case(
            "Expect of a GET without a body",
            with_header("Expect: 100-continue"),
            &[200],
        ),
        case(
            "Expect of more than is allowed",
            text(
                "Expect: 100-continue\r\nContent-Length: 99999999999\r\n",
                "",
            ),
            &[413],
        )
        .closes(),
    ]);
    cases
}

fn slow() -> Vec<Case> {
    let form = Form::new()
        .file("files", "a.png", png(1, 2, 3))
        .post("/embed/images");
    let (early, late) = form.split_at(form.len() / 2);
    vec![
        script(
            "a head in drips",
            vec![
                Send(b"GET /health HTTP/1.1\r\nX: ".to_vec()),
                Drip(b'a', 50),
            ],
            &[&[408]],
        )
        .closes(),
        script(
            "a body in drips",
            vec![
                Send(text("Content-Length: 1000000\r\n", "").into_bytes()),
                Drip(b' ', 50),
            ],
            &[&[408]],
        )
        .closes(),
        script(
            "chunks in drips, for ever",
            vec![
                Send(text("Transfer-Encoding: chunked\r\n", "ffffff\r\n").into_bytes()),
                Drip(b' ', 50),
            ],
            &[&[408]],
        )
        .closes(),
        script(
            "a chunk size in drips",
            vec![
                Send(text("Transfer-Encoding: chunked\r\n", "").into_bytes()),
                Drip(b'0', 50),
            ],
            &[&[400, 408]],
        )
        .closes(),
        script(
            "a body that stops",
            vec![Send(text("Content-Length: 16\r\n", "{").into_bytes())],
            &[&[408]],
        )
        .closes(),
        script(
            "a form in two halves",
            vec![Send(early.to_vec()), Pause(300), Send(late.to_vec())],
            &[&[200]],
        ),
        script(
            "gone before the answer",
            vec![Send(form.clone()), Finish],
            &[&[200]],
        )
        .or_silence(),
    ]
}
