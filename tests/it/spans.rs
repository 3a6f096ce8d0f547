//! What a collector gets of a request: a collector in the test, that takes OTLP over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::common::engine;
use crate::common::program::command;
use crate::common::{Program, Server, ask, request};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use siglip2_embeddings::http::Spans;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Takes what is sent to it, with its path.
fn collector() -> (SocketAddr, Receiver<(String, ExportTraceServiceRequest)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sent, received) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut path, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                if path.is_empty() {
                    path = line.split(' ').nth(1).unwrap().to_owned();
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let batch = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
            // Before the answer: who has flushed finds it.
            if sent.send((path, batch)).is_err() {
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            reader.get_mut().write_all(answer).unwrap();
        }
    });
    (address, received)
}

fn text(traceparent: &str) -> Vec<u8> {
    request(
        "POST",
        "/embed/text",
        &[
            ("Content-Type", "application/json"),
            ("traceparent", traceparent),
        ],
        br#"{"texts":["a"]}"#,
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], key: &str) -> Value {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    let value = found.and_then(|attribute| attribute.value.clone()?.value);
    value.unwrap_or_else(|| panic!("{key} is not in {attributes:?}"))
}

#[tokio::test]
async fn a_request_continues_the_trace_of_its_client_and_its_stages_are_in_it() {
    let (address, received) = collector();
    let (service, _orders) = engine::service(64);
    let metrics = std::sync::Arc::clone(service.metrics());
    let spans = Spans::to(&format!("http://{address}/"), "search", metrics).unwrap();
    let server = Server::sending_spans(service, spans.clone()).await;
    let sampled = format!("00-{TRACE}-{PARENT}-01");
    assert_eq!(ask(server.address, text(&sampled)).await.status, 200);
    // The client says that nobody wants this one.
    let unwanted = format!("00-{TRACE}-{PARENT}-00");
    assert_eq!(ask(server.address, text(&unwanted)).await.status, 200);
    let lonely = request("GET", "/nowhere", &[], b"");
    assert_eq!(ask(server.address, lonely).await.status, 404);
    let metrics = std::sync::Arc::clone(server.service.metrics());
    server.stop().await.unwrap().unwrap();
    tokio::task::spawn_blocking(move || spans.flush(Duration::from_secs(10)))
        .await
        .unwrap();

    let mut all: Vec<Span> = Vec::new();
    while let Ok((path, batch)) = received.try_recv() {
        assert_eq!(path, "/v1/traces");
        for resource in batch.resource_spans {
            let attributes = resource.resource.unwrap().attributes;
            assert_eq!(
                attribute(&attributes, "service.name"),
                Value::StringValue("search".into())
            );
            all.extend(
                resource
                    .scope_spans
                    .into_iter()
                    .flat_map(|scope| scope.spans),
            );
        }
    }
    let (continued, own): (Vec<Span>, Vec<Span>) = all
        .iter()
        .cloned()
        .partition(|span| hex(&span.trace_id) == TRACE);
    assert_eq!(own.len(), 1, "{own:?}");
    assert_eq!(own[0].name, "unknown");
    assert!(own[0].parent_span_id.is_empty());
    let request: Vec<&Span> = continued
        .iter()
        .filter(|span| hex(&span.parent_span_id) == PARENT)
        .collect();
    assert_eq!(request.len(), 1, "{continued:?}");
    let request = request[0];
    assert_eq!(request.name, "embed_text");
    for (key, expected) in [
        ("http.response.status_code", Value::IntValue(200)),
        ("url.path", Value::StringValue("/embed/text".into())),
        ("http.request.method", Value::StringValue("POST".into())),
    ] {
        assert_eq!(attribute(&request.attributes, key), expected);
    }
    let mut stages: Vec<&str> = Vec::new();
    for span in continued
        .iter()
        .filter(|span| span.span_id != request.span_id)
    {
        assert_eq!(span.parent_span_id, request.span_id, "{span:?}");
        assert!(
            request.start_time_unix_nano <= span.start_time_unix_nano
                && span.start_time_unix_nano <= span.end_time_unix_nano,
            "{span:?}"
        );
        stages.push(&span.name);
    }
    assert_eq!(stages, ["receive", "queue", "compute", "write"]);
    let told = metrics.text();
    for series in ["recorded\"} 6", "exported\"} 6", "failed\"} 0"] {
        let series = format!("siglip2_spans_total{{result=\"{series}\n");
        assert!(told.contains(&series), "{series} is not in\n{told}");
    }
}

#[test]
fn the_program_sends_its_last_spans_before_it_ends() {
    let (address, received) = collector();
    let mut command = command(&["--model", "demo"]);
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"))
        // By itself it would send them in a minute.
        .env("OTEL_BSP_SCHEDULE_DELAY", "60000");
    let mut program = Program::start(command, |lines| lines.for_each(drop));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sent = text(&format!("00-{TRACE}-{PARENT}-01"));
    assert_eq!(runtime.block_on(ask(program.address, sent)).status, 200);
    program.signal("-TERM");
    assert_eq!(program.child.wait().unwrap().code(), Some(0));
    let (_, batch) = received.recv().unwrap();
    let resource = batch.resource_spans.first().unwrap();
    assert_eq!(
        attribute(
            &resource.resource.as_ref().unwrap().attributes,
            "service.name"
        ),
        Value::StringValue("siglip2-embeddings".into())
    );
    let span = &resource.scope_spans[0].spans[0];
    assert_eq!(hex(&span.trace_id), TRACE);
}

#[tokio::test]
async fn a_collector_that_is_down_holds_nothing_up() {
    // Taken and given back: nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (service, _orders) = engine::service(64);
    let metrics = std::sync::Arc::clone(service.metrics());
    let endpoint = format!("http://{address}/v1/traces");
    let spans = Spans::to(&endpoint, "search", std::sync::Arc::clone(&metrics)).unwrap();
    let server = Server::sending_spans(service, spans.clone()).await;
    let sampled = format!("00-{TRACE}-{PARENT}-01");
    assert_eq!(ask(server.address, text(&sampled)).await.status, 200);
    tokio::task::spawn_blocking(move || spans.flush(Duration::from_secs(10)))
        .await
        .unwrap();
    let told = metrics.text();
    assert!(
        told.contains("siglip2_spans_total{result=\"failed\"} 5\n"),
        "{told}"
    );
    assert_eq!(ask(server.address, text(&sampled)).await.status, 200);
}

#[test]
fn an_endpoint_that_is_none_is_told() {
    let metrics = siglip2_embeddings::service::metrics::Metrics::new();
    for wrong in [
        "localhost:4318",
        "grpc://localhost:4317",
        "http://",
        "http://a b",
    ] {
        let error = Spans::to(wrong, "x", std::sync::Arc::clone(&metrics)).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("--otlp-endpoint"), "{said}");
    }
}
