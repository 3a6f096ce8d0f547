//! Multipart as clients write it, well, oddly and with intent.

use std::time::Instant;

use crate::common::{Client, Form, Server, ask, get, png, request};
use siglip2_embeddings::http::HttpSettings;

async fn server() -> Server {
    Server::start(HttpSettings::default()).await
}

fn post(content_type: &str, body: &[u8]) -> Vec<u8> {
    request("POST", "/rank", &[("Content-Type", content_type)], body)
}

/// The names that `/rank` gives back for images sent under these parameters.
async fn ranked(server: &Server, parameters: &[&[u8]]) -> Vec<String> {
    let mut form = Form::new().text("query", "x");
    for (at, parameter) in parameters.iter().enumerate() {
        let head = [
            b"Content-Disposition: form-data; name=\"files\"; ".as_slice(),
            parameter,
        ]
        .concat();
        form = form.raw(head, png(at as u8, 0, 0));
    }
    let answer = ask(server.address, form.post("/rank")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    json["rankings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["filename"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn odd_file_names_come_back_as_they_are() {
    let server = server().await;
    for (parameter, expected) in [
        (b"filename=\"a;b.jpg\"".as_slice(), "a;b.jpg"),
        (b"filename=\"a\\\"b.jpg\"", "a\"b.jpg"),
        (b"filename=\"a.jpg\\\"", "a.jpg\\"),
        (b"filename=\"C:\\dir\\a.jpg\"", "a.jpg"),
        (b"filename=\"\\\\host\\a.jpg\"", "\\host\\a.jpg"),
        (b"filename=\"dir/a.jpg\"", "dir/a.jpg"),
        (b"filename=a.jpg", "a.jpg"),
        (b"filename=\"\xe4.jpg\"", "ä.jpg"),
        ("filename=\"你好.jpg\"".as_bytes(), "你好.jpg"),
        (b"filename*=UTF-8''%e4%bd%a0.jpg", "你.jpg"),
        (
            b"filename=\"x.jpg\"; filename*=UTF-8''%e4%bd%a0.jpg",
            "你.jpg",
        ),
        (b"FileName = \"sp.jpg\"", "sp.jpg"),
        (b"filename=\"name=files\"", "name=files"),
        (b"filename=\"\"", ""),
    ] {
        assert_eq!(
            ranked(&server, &[parameter]).await,
            [expected],
            "{}",
            String::from_utf8_lossy(parameter)
        );
    }
}

#[tokio::test]
async fn forms_are_read_in_every_form_that_they_may_have() {
    let server = server().await;
    let form = Form::new()
        .text("query", "x")
        .file("files", "a.png", png(1, 2, 3));
    let body = form.body();
    for content_type in [
        "multipart/form-data; boundary=X",
        "multipart/form-data; boundary=\"X\"",
        "Multipart/Form-Data; charset=utf-8; Boundary=X; foo=\"b;ar\"",
        "multipart/form-data;boundary=X",
    ] {
        assert_eq!(
            ask(server.address, post(content_type, &body)).await.status,
            200,
            "{content_type}"
        );
    }
    let content_type = "multipart/form-data; boundary=X";
    let trimmed = &body[..body.len() - 2];
    for body in [
        trimmed.to_vec(),
        [b"\r\n", body.as_slice()].concat(),
        [b"a preamble\r\n", body.as_slice()].concat(),
        [body.as_slice(), b"an epilogue"].concat(),
    ] {
        assert_eq!(
            ask(server.address, post(content_type, &body)).await.status,
            200,
            "{}",
            String::from_utf8_lossy(&body)
        );
    }
    let latin = Form::new()
        .text("query", b"\xe4")
        .file("files", "a.png", png(1, 2, 3));
    assert_eq!(
        ask(server.address, latin.post("/rank")).await.json()["query"],
        "ä"
    );
    let twice = form.text("query", "y");
    assert_eq!(
        ask(server.address, twice.post("/rank")).await.json()["query"],
        "y"
    );
    // A long boundary with all the characters that may be in one.
    let boundary = "'()+_,-./:=?0aZ".repeat(4);
    let body = String::from_utf8_lossy(&Form::new().text("query", "x").body())
        .replace("--X", &format!("--{boundary}"));
    let (status, detail) = {
        let answer = ask(
            server.address,
            post(
                &format!("multipart/form-data; boundary=\"{boundary}\""),
                body.as_bytes(),
            ),
        )
        .await;
        (answer.status, answer.text().to_owned())
    };
    assert_eq!(status, 422, "{detail}");
}

#[tokio::test]
async fn forms_that_are_broken() {
    let server = server().await;
    let body = Form::new()
        .text("query", "x")
        .file("files", "a.png", png(1, 2, 3))
        .body();
    let multipart = "multipart/form-data; boundary=X";
    let many_headers = Form::new()
        .raw(
            format!(
                "Content-Disposition: form-data; name=\"x\"{}",
                "\r\nA: b".repeat(50)
            ),
            "",
        )
        .body();
    for (content_type, body, what) in [
        (
            "multipart/form-data",
            body.as_slice(),
            "Missing boundary in multipart.",
        ),
        ("multipart/form-data; boundary=", &body, "boundary"),
        ("multipart/form-data; boundary=\"\"", &body, "boundary"),
        ("multipart/form-data; boundary=Y", &body, "boundary"),
        (multipart, &body[..body.len() - 7], "ends early"),
        (multipart, &body[..body.len() / 2], "ends early"),
        (multipart, &body[..20], "ends early"),
        (multipart, b"--X", "ends early"),
        (multipart, b"{\"texts\": []}", "ends early"),
        (
            multipart,
            b"--X\r\nContent-Type: image/png\r\n\r\nabc\r\n--X--\r\n",
            "Content-Disposition",
        ),
        (
            multipart,
            b"--X\r\nContent-Disposition: form-data; filename=\"a\"\r\n\r\nabc\r\n--X--\r\n",
            "\"name\"",
        ),
        (
            multipart,
            b"--X\r\nno header\r\n\r\nabc\r\n--X--\r\n",
            "valid multipart",
        ),
        (
            multipart,
            b"--X\nContent-Disposition: form-data; name=\"a\"\n\nabc\n--X--\n",
            "ends early",
        ),
        (multipart, &many_headers, "valid multipart"),
    ] {
        let answer = ask(server.address, post(content_type, body)).await;
        let (status, detail) = answer.error();
        assert_eq!(status, 400, "{}: {detail}", String::from_utf8_lossy(body));
        assert!(detail.contains(what), "{detail}");
    }
    let long = format!("multipart/form-data; boundary={}", "x".repeat(300));
    assert_eq!(ask(server.address, post(&long, &body)).await.error().0, 400);
}

/// A part header without an end is scanned again and again by multer, as long as it
/// is fed: 32 MB of it take 6 s. Here it is not fed.
#[tokio::test]
async fn an_unterminated_part_header_is_given_up_early() {
    let server = server().await;
    for start in [
        "--X\r\nContent-Disposition: ",
        "",
        "--X\r\nA: b\r\n",
        "--X \t",
    ] {
        for size in [1, 3000, 1 << 20] {
            let mut client = Client::connect(server.address).await;
            client.send("POST /rank HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=X\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            let junk = vec![b'a'; 2 << 20];
            let mut body = start.as_bytes().to_vec();
            body.extend_from_slice(if size == 1 { &junk[..200_000] } else { &junk });
            let began = Instant::now();
            let sending = crate::common::chunked(&body, size);
            client.send_lossy(sending).await;
            let answer = client.answer().await;
            assert_eq!(answer.error().0, 400, "{start:?} {size}: {}", answer.text());
            assert!(
                began.elapsed().as_secs_f64() < 3.0,
                "{start:?} {size}: {:?}",
                began.elapsed()
            );
        }
    }
    assert_eq!(ask(server.address, get("/health")).await.status, 200);
}

/// Headers that lie across the pieces in which the body arrives are found all the same.
#[tokio::test]
async fn headers_may_lie_across_pieces() {
    let server = server().await;
    for padding in (0..60).chain([8_100, 8_190, 16_300, 65_400, 65_530]) {
        let form = Form::new()
            .file("skipped", "x", vec![b'y'; padding])
            .text("query", "x")
            .file("files", &"n".repeat(4000), png(1, 2, 3))
            .file("files", "b", png(1, 2, 3));
        let answer = ask(server.address, form.post("/rank")).await;
        assert_eq!(answer.status, 200, "{padding}: {}", answer.text());
        assert_eq!(answer.json()["rankings"].as_array().unwrap().len(), 2);
    }
}

/// Content that looks like a boundary for as long as it can.
#[tokio::test]
async fn contents_may_look_like_a_boundary() {
    let server = server().await;
    for tail in [
        "\r",
        "\r\n",
        "\r\n-",
        "\r\n--",
        "\r\n--Y",
        "--X",
        "\n--X--",
        "\r\n\r\n--",
    ] {
        for padding in [1, 8_180, 8_190, 65_520] {
            let query = format!("{}{tail}", "q".repeat(padding));
            let form = Form::new()
                .text("query", &query)
                .file("files", "a", png(7, 7, 7));
            let answer = ask(server.address, form.post("/rank")).await;
            assert_eq!(answer.status, 200, "{tail:?}: {}", answer.text());
            assert_eq!(answer.json()["query"], query);
        }
    }
}

/// A form without files may name their field as often as it has room: each time is one
/// image that is missing, and there is a limit to those.
#[tokio::test]
async fn images_that_are_only_named_are_counted() {
    let server = server().await;
    let most = HttpSettings::default().max_images_per_request;
    for (times, status) in [(most, 422), (most + 1, 413)] {
        let sent = request(
            "POST",
            "/embed/images",
            &[("Content-Type", "application/x-www-form-urlencoded")],
            "files&".repeat(times).as_bytes(),
        );
        let answer = ask(server.address, sent).await;
        assert_eq!(answer.status, status, "{times}: {}", answer.text());
    }
}
