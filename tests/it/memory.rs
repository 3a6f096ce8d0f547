//! What requests make the process hold: everything is pressed on at once, and the peak is read
//! from the system.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::common::program::command;
use crate::common::{Form, Program, post_json, request};

/// `--max-request-memory`: 96 MiB for bodies, 128 for pictures, 32 for answers.
const TOTAL: u64 = 256 << 20;
/// The worst of this length fits the part of bodies: one in Latin-1, which takes twice as much
/// as text, and three quarters of that again when it is read as base64.
const BODY: usize = 20 << 20;
/// So many texts that the socket does not take the answer.
const TEXTS: usize = 8192;

/// What `/proc` says of the program's memory, in bytes.
fn resident(program: &Program, key: &str) -> u64 {
    let status = format!("/proc/{}/status", program.child.id());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes << 10
}

/// Sends a request and reads the status of its answer, and all of it if it is wanted. Who is
/// refused may be cut off while it still sends.
fn ask(address: SocketAddr, request: &[u8], read: bool) -> (Option<u16>, Vec<u8>, TcpStream) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(120)))
        .unwrap();
    let _ = stream.write_all(request);
    let mut head = [0; 12];
    let status = stream.read_exact(&mut head).ok().map(|()| {
        let status = std::str::from_utf8(&head[9..]).unwrap();
        status.parse().unwrap()
    });
    let mut rest = Vec::new();
    if read {
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut rest);
    }
    (status, rest, stream)
}

/// Sends a picture until it is taken. It may be refused for its own few kilobytes while bodies have all of
/// their part, but waits for the memory of its pixels.
fn ask_patiently(address: SocketAddr, request: &[u8]) -> (Option<u16>, Vec<u8>, TcpStream) {
    loop {
        let answer = ask(address, request, true);
        if answer.0 != Some(429) {
            return answer;
        }
        let said = String::from_utf8_lossy(&answer.1);
        assert!(said.contains("that bodies may take"), "{said}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A picture of one colour, as a PNG of a few kilobytes: its pixels take 108 MB.
fn large_picture() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 6000, 6000);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&vec![7; 6000 * 6000 * 3]).unwrap();
    writer.finish().unwrap();
    bytes
}

/// So many bytes of JSON that is none. Each chunk is six bytes on its way, and would be a piece of its own.
fn in_chunks_of_one(bytes: usize) -> Vec<u8> {
    let head = "POST /v1/embeddings HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    [head, &"1\r\n[\r\n".repeat(bytes), "0\r\n\r\n"]
        .concat()
        .into_bytes()
}

/// What holds the most of each kind: bodies in every form in which they come, pictures, and
/// answers.
fn presses() -> Vec<(&'static str, Vec<u8>)> {
    let picture = large_picture();
    let base64 = vec![b'A'; BODY - 4096];
    let urlencoded = ("Content-Type", "application/x-www-form-urlencoded");
    let texts: Vec<String> = (0..TEXTS).map(|number| format!("text {number}")).collect();
    vec![
        (
            "file",
            Form::new()
                .file("file", "a", vec![0; BODY - 4096])
                .post("/embed/image"),
        ),
        (
            "base64",
            Form::new()
                .text("image_base64", &base64)
                .post("/embed/image"),
        ),
        (
            "base64 of bytes that are not text",
            Form::new()
                .text("image_base64", vec![0xff; BODY - 4096])
                .post("/embed/image"),
        ),
        (
            "urlencoded",
            request(
                "POST",
                "/embed/image",
                &[urlencoded],
                &[b"image_base64=", base64.as_slice()].concat(),
            ),
        ),
        (
            "picture",
            Form::new()
                .file("file", "a.png", &picture)
                .post("/embed/image"),
        ),
        (
            "answer",
            post_json(
                "/embed/text",
                &serde_json::json!({ "texts": texts }).to_string(),
            ),
        ),
        (
            "a number that is none",
            post_json(
                "/v1/embeddings",
                &format!(
                    r#"{{"input":"a","dimensions":"{}"}}"#,
                    "\u{7f}".repeat(BODY - 4096)
                ),
            ),
        ),
        (
            "nesting",
            post_json("/v1/embeddings", &"[".repeat(BODY - 4096)),
        ),
        ("chunks of one byte", in_chunks_of_one(1 << 20)),
    ]
}

#[test]
fn requests_hold_no_more_than_the_bound_whatever_is_sent() {
    let mut command = command(&["--model", "demo"]);
    command
        .args(["--max-request-memory", &TOTAL.to_string()])
        .args(["--payload-limit", &BODY.to_string()])
        .args(["--text-cache-bytes", "0"])
        .args(["--max-texts-per-request", &TEXTS.to_string()])
        .args(["--max-queued-rows", &(8 * TEXTS).to_string()]);
    let program = Program::start(command, |lines| lines.for_each(drop));
    let presses = presses();
    // One of each, so that what is made once for all requests is there.
    let mut alone = Vec::new();
    for (name, request) in &presses {
        alone.push((*name, ask(program.address, request, true).0));
    }
    let expected = [
        ("file", Some(400)),
        ("base64", Some(400)),
        ("base64 of bytes that are not text", Some(400)),
        ("urlencoded", Some(400)),
        ("picture", Some(200)),
        ("answer", Some(200)),
        ("a number that is none", Some(400)),
        ("nesting", Some(400)),
        ("chunks of one byte", Some(400)),
    ];
    assert_eq!(alone, expected);
    // What the last of them freed goes back within a fifth of a second. If it has not, more is allowed.
    thread::sleep(Duration::from_millis(500));
    let rest = resident(&program, "VmRSS:");
    let statuses: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .flat_map(|_| &presses)
            .map(|(name, request)| {
                let address = program.address;
                scope.spawn(move || {
                    let answer = match *name {
                        "picture" => ask_patiently(address, request),
                        // Such clients do not read while the others are at work.
                        "answer" => ask(address, request, false),
                        _ => ask(address, request, true),
                    };
                    (*name, answer)
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    let peak = resident(&program, "VmHWM:");
    let refused = |name| {
        let of = statuses.iter().filter(|(of, _)| *of == name);
        of.filter(|(_, (status, _, _))| matches!(status, None | Some(429)))
            .count()
    };
    assert!(refused("file") > 0 && refused("urlencoded") > 0);
    let mut pictures = statuses.iter().filter(|(name, _)| *name == "picture");
    assert!(pictures.all(|(_, (status, _, _))| *status == Some(200)));
    let bound = rest + TOTAL + TOTAL / 10;
    println!("{} MiB at rest, {} at the peak", rest >> 20, peak >> 20);
    // A press that is none would prove nothing.
    assert!(peak >= rest + TOTAL / 2, "{} MiB at the peak", peak >> 20);
    assert!(
        peak <= bound,
        "{} MiB at the peak, {} at rest, {} allowed",
        peak >> 20,
        rest >> 20,
        bound >> 20
    );
}
