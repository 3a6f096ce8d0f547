//! The program as its users run it: how long it takes to start, what it holds in
//! memory, and what it answers per second.
//!
//! ```text
//! cargo bench --bench service -- --model demo
//! cargo bench --bench service -- --model DIR [--seconds N] [--rate-only]
//! ```
//!
//! It starts the program, waits for its first embedding, looks at its resident
//! memory (Linux: VmRSS, of which RssFile are mapped weights), and sends texts and
//! 64x64 PNGs over 1 and over 32 connections: many different ones, because the service
//! computes once what several ask for at the same time. Client and service share the cores.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;

/// Different texts and pictures that are asked for in turn.
const DISTINCT: usize = 1024;

#[derive(Parser)]
struct Arguments {
    /// `demo`, or a checkpoint directory.
    #[arg(long, default_value = "demo")]
    model: String,
    /// Seconds per row of the table.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Starts to take the median of.
    #[arg(long, default_value_t = 5)]
    starts: usize,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let texts: Vec<_> = (0..DISTINCT).map(text_request).collect();
    let images = (0..DISTINCT)
        .map(|number| Ok(image_request(&picture(number)?)))
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let text = &texts[0];

    // The first start brings the files into the page cache and is not counted.
    let mut starts = Vec::new();
    let mut running = Running::start(&arguments.model, text)?;
    for _ in 0..arguments.starts {
        drop(running);
        running = Running::start(&arguments.model, text)?;
        starts.push(running.first_answer.as_secs_f64());
    }
    starts.sort_by(f64::total_cmp);
    println!(
        "{}: start to first answer {:.3} s (median of {}, {:.3} to {:.3})",
        arguments.model,
        starts[starts.len() / 2],
        starts.len(),
        starts[0],
        starts[starts.len() - 1]
    );
    println!("memory at rest: {}", running.memory()?);
    println!("request  connections  requests/s  p50 ms  p99 ms");
    for (what, requests) in [("text", &texts), ("image", &images)] {
        for connections in [1, 32] {
            let duration = Duration::from_secs_f64(arguments.seconds);
            let (rate, took) = load(&running.address, requests, connections, duration)?;
            let percentile = |share: f64| took[(took.len() as f64 * share) as usize] * 1e3;
            println!(
                "{what:<8} {connections:>11} {rate:>11.0} {:>7.2} {:>7.2}",
                percentile(0.5),
                percentile(0.99)
            );
        }
    }
    println!("memory under load: {}", running.memory()?);
    Ok(())
}

/// The program, running, and when it first answered.
struct Running {
    child: Child,
    address: String,
    first_answer: Duration,
}

impl Running {
    fn start(model: &str, request: &[u8]) -> Result<Self, Box<dyn Error>> {
        let started = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_siglip2-embeddings"))
            .args(["--model", model, "--host", "127.0.0.1", "--port", "0"])
            // The same text is asked again and again, and is to be computed each time.
            .args(["--text-cache-bytes", "0"])
            .args(["--json-output", "--log-level", "info,siglip2_http=warn"])
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no log")?).lines();
        let mut address = None;
        for line in lines.by_ref() {
            let line: serde_json::Value = serde_json::from_str(&line?)?;
            if line["message"] == "ready" {
                address = line["address"].as_str().map(str::to_owned);
                break;
            }
        }
        let address = address.ok_or("the program ended before it was ready")?;
        std::thread::spawn(move || lines.for_each(drop));
        Connection::open(&address)?.ask(request)?;
        Ok(Self {
            child,
            address,
            first_answer: started.elapsed(),
        })
    }

    fn memory(&self) -> Result<String, Box<dyn Error>> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mib = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key));
            let kib = line.and_then(|line| line.split_whitespace().nth(1));
            kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
        };
        Ok(format!(
            "{} MiB resident ({} MiB its own, {} MiB mapped files), peak {} MiB",
            mib("VmRSS:"),
            mib("RssAnon:"),
            mib("RssFile:"),
            mib("VmHWM:")
        ))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers per second, and the seconds of each answer in order.
fn load(
    address: &str,
    requests: &[Vec<u8>],
    connections: usize,
    duration: Duration,
) -> Result<(f64, Vec<f64>), Box<dyn Error>> {
    let one = |number: usize| -> Result<Vec<f64>, String> {
        let first = number * requests.len() / connections;
        let mut turn = requests.iter().cycle().skip(first);
        let mut connection = Connection::open(address).map_err(|error| error.to_string())?;
        let mut took = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < duration {
            let asked = Instant::now();
            let request = turn.next().ok_or("there is no request")?;
            connection.ask(request).map_err(|error| error.to_string())?;
            took.push(asked.elapsed().as_secs_f64());
        }
        Ok(took)
    };
    let begun = Instant::now();
    let mut took = Vec::new();
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|number| scope.spawn(move || one(number)))
            .collect();
        threads
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect()
    });
    for result in results {
        took.extend(result.map_err(|_| "a client panicked")??);
    }
    let rate = took.len() as f64 / begun.elapsed().as_secs_f64();
    took.sort_by(f64::total_cmp);
    Ok((rate, took))
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request and reads its answer, which must be a 200.
    fn ask(&mut self, request: &[u8]) -> Result<(), Box<dyn Error>> {
        self.0.get_mut().write_all(request)?;
        let mut status = String::new();
        self.0.read_line(&mut status)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse()?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        if !status.starts_with("HTTP/1.1 200") {
            return Err(format!("{status}{}", String::from_utf8_lossy(&body)).into());
        }
        Ok(())
    }
}

fn text_request(number: usize) -> Vec<u8> {
    let body = format!(r#"{{"texts": ["three blue stars {number}"]}}"#);
    post("/embed/text", "application/json", body.as_bytes())
}

fn image_request(picture: &[u8]) -> Vec<u8> {
    let mut body = b"--X\r\nContent-Disposition: form-data; name=\"file\"; \
                     filename=\"a.png\"\r\n\r\n"
        .to_vec();
    body.extend(picture);
    body.extend(b"\r\n--X--\r\n");
    post("/embed/image", "multipart/form-data; boundary=X", &body)
}

fn post(path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A gradient of 64x64 pixels, as PNG; each number has its own first pixel.
fn picture(number: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 64, 64);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header()?;
    let pixels = (0..64u32 * 64).flat_map(|i| [i % 64 * 4, i / 64 * 4, (i % 64 + i / 64) * 2]);
    let mut pixels: Vec<u8> = pixels.map(|value| value as u8).collect();
    pixels[..2].copy_from_slice(&(number as u16).to_le_bytes());
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(bytes)
}
