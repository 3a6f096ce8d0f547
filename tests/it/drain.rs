//! SIGTERM under full load, again and again: what the program accepted it answered.
//!
//! Clients on kept connections ask as fast as they can until they are refused. The
//! program's log is held against what they got: as many answers 200 as it says it
//! gave, and no request whose client it lost. A connection that is closed before the
//! first byte of an answer was not accepted: the log knows nothing of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::common::Program;
use crate::common::program::command;

const ROUNDS: u64 = 50;
const CLIENTS: usize = 12;

/// What one client got until its connection ended.
#[derive(Debug, Default)]
struct Got {
    answered: usize,
    refused: usize,
    broken: usize,
}

/// The status of the next answer, read whole; none if the connection ended before its
/// first byte, an error if it ended within it.
fn answer(reader: &mut BufReader<TcpStream>) -> Result<Option<u16>, std::io::Error> {
    let mut line = String::new();
    // A reset before the first byte is the same as an end.
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return Ok(None);
    }
    let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let status = line
        .get(9..12)
        .and_then(|s| s.parse().ok())
        .ok_or_else(broken)?;
    let mut length = 0;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(broken());
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(|_| broken())?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(status))
}

fn client(address: SocketAddr, number: usize, answered: &AtomicUsize) -> Got {
    let mut got = Got::default();
    let Ok(stream) = TcpStream::connect(address) else {
        return got;
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    let picture = include_bytes!("../../models/demo/samples/black-diamond.png");
    for request in 0.. {
        let bytes = if number.is_multiple_of(2) {
            let body = format!(r#"{{"texts":["{number} and {request}"]}}"#);
            format!(
                "POST /embed/text HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes()
        } else {
            let head =
                "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n";
            let tail = "\r\n--b--\r\n";
            let mut bytes = format!(
                "POST /embed/image HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: {}\r\n\r\n{head}",
                head.len() + picture.len() + tail.len()
            )
            .into_bytes();
            bytes.extend_from_slice(picture);
            bytes.extend_from_slice(tail.as_bytes());
            bytes
        };
        if writer.write_all(&bytes).is_err() {
            return got;
        }
        match answer(&mut reader) {
            Ok(Some(200)) => {
                got.answered += 1;
                answered.fetch_add(1, Ordering::SeqCst);
            }
            Ok(Some(503)) => {
                got.refused += 1;
                return got;
            }
            Ok(None) => return got,
            Ok(Some(_)) | Err(_) => {
                got.broken += 1;
                return got;
            }
        }
    }
    got
}

#[test]
fn nothing_that_was_accepted_is_lost() {
    let (mut all, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let (counted, count) = channel();
        let mut program = Program::start(command(&["--model", "demo"]), move |log| {
            let (mut answered, mut lost) = (0, 0);
            for line in log {
                let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
                if line["message"] == "request" {
                    answered += usize::from(line["status"] == 200);
                    lost += usize::from(line["status"] == 499);
                }
            }
            let _ = counted.send((answered, lost));
        });
        let address = program.address;
        let answered = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let answered = Arc::clone(&answered);
                thread::spawn(move || client(address, number, &answered))
            })
            .collect();
        // Every round ends at another moment of the traffic.
        let enough = 20 + round as usize * 3;
        while answered.load(Ordering::SeqCst) < enough {
            thread::sleep(Duration::from_micros(200));
        }
        program.signal("-TERM");
        let mut got = Got::default();
        for client in clients {
            let one = client.join().unwrap();
            got.answered += one.answered;
            got.refused += one.refused;
            got.broken += one.broken;
        }
        assert_eq!(
            program.child.wait().unwrap().code(),
            Some(0),
            "round {round}"
        );
        let (said, lost) = count.recv().unwrap();
        assert_eq!(
            (said, lost, got.broken),
            (got.answered, 0, 0),
            "round {round}: {got:?}"
        );
        all += got.answered;
        refused += got.refused;
    }
    println!("{ROUNDS} drains under load: {all} requests answered, {refused} refused, none lost");
}
