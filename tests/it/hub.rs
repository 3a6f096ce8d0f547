//! A model by its hub name, from a local server in place of the hub.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::model::fixture;
use siglip2_embeddings::checkpoint::Checkpoint;
use siglip2_embeddings::checkpoint::hub::{HubError, HubSettings, locate};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub that has the files of one directory, under `some/model`.
struct Hub {
    endpoint: String,
    requests: Arc<AtomicUsize>,
}

impl Hub {
    fn of(directory: PathBuf, token: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::new(AtomicUsize::new(0));
        std::thread::spawn({
            let requests = Arc::clone(&requests);
            move || {
                for stream in listener.incoming().flatten() {
                    let (directory, requests) = (directory.clone(), Arc::clone(&requests));
                    std::thread::spawn(move || {
                        while answer(&stream, &directory, token).is_some() {
                            requests.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }
            }
        });
        Self { endpoint, requests }
    }
}

/// Answers one request as the hub does; `None` when the connection has ended.
fn answer(stream: &TcpStream, directory: &std::path::Path, token: Option<&str>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_ascii_lowercase()),
        }
    }
    let path = head.first()?.split(' ').nth(1)?.to_owned();
    let header = |name: &str| {
        let prefix = format!("{name}: ");
        head.iter()
            .find_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
    };
    let allowed =
        token.is_none_or(|token| header("authorization") == Some(format!("bearer {token}")));
    let mut stream = stream;
    let mut send = |status: &str, headers: &str, body: &[u8]| {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n");
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body))
            .ok()
    };
    if !allowed {
        return send("401 Unauthorized", "", b"");
    }
    if path.starts_with("/api/models/some/model") {
        let files = std::fs::read_dir(directory).expect("the fixture");
        let names: Vec<String> = files
            .flatten()
            .map(|file| {
                format!(
                    r#"{{"rfilename": {:?}}}"#,
                    file.file_name().to_string_lossy()
                )
            })
            .collect();
        let body = format!(
            r#"{{"sha": "{COMMIT}", "siblings": [{}]}}"#,
            names.join(",")
        );
        return send(
            "200 OK",
            "content-type: application/json\r\n",
            body.as_bytes(),
        );
    }
    let file = path.strip_prefix("/some/model/resolve/main/");
    let Some(bytes) = file.and_then(|file| std::fs::read(directory.join(file)).ok()) else {
        return send("404 Not Found", "", b"");
    };
    let range = header("range").unwrap_or_else(|| "bytes=0-".into());
    let (first, last) = range.trim_start_matches("bytes=").split_once('-')?;
    let first: usize = first.parse().ok()?;
    let last = last.parse().unwrap_or(bytes.len() - 1).min(bytes.len() - 1);
    let headers = format!(
        "etag: \"{:x}\"\r\nx-repo-commit: {COMMIT}\r\naccept-ranges: bytes\r\n\
         content-range: bytes {first}-{last}/{}\r\n",
        bytes.len() * 31 + path.len(),
        bytes.len()
    );
    send("206 Partial Content", &headers, &bytes[first..=last])
}

fn settings(home: &tempfile::TempDir, endpoint: &str) -> HubSettings {
    HubSettings {
        home: Some(home.path().to_owned()),
        endpoint: Some(endpoint.to_owned()),
        token: None,
        offline: false,
    }
}

#[test]
fn a_model_is_downloaded_once_and_then_found_without_a_network() {
    for shape in ["patch16", "patch14"] {
        let home = tempfile::tempdir().expect("a directory");
        let hub = Hub::of(fixture(&format!("golden/{shape}")).into(), None);
        let mut settings = settings(&home, &hub.endpoint);
        let directory = locate("some/model", "main", &settings).expect("a download");
        assert!(directory.starts_with(home.path().join("hub/models--some--model/snapshots")));
        Checkpoint::open(&directory).expect("the whole checkpoint");

        let asked = hub.requests.load(Ordering::SeqCst);
        assert_eq!(
            locate("some/model", "main", &settings).expect("a hit"),
            directory
        );
        settings.offline = true;
        settings.endpoint = Some("http://127.0.0.1:1".into());
        assert_eq!(
            locate("some/model", "main", &settings).expect("a hit"),
            directory
        );
        assert_eq!(
            hub.requests.load(Ordering::SeqCst),
            asked,
            "the hub was asked again"
        );
    }
}

#[test]
fn a_half_downloaded_model_is_completed() {
    let home = tempfile::tempdir().expect("a directory");
    let hub = Hub::of(fixture("golden/patch16").into(), None);
    let mut settings = settings(&home, &hub.endpoint);
    let directory = locate("some/model", "main", &settings).expect("a download");
    std::fs::remove_file(directory.join("model.safetensors")).expect("a file");
    settings.offline = true;
    assert!(locate("some/model", "main", &settings).is_err());
    settings.offline = false;
    let directory = locate("some/model", "main", &settings).expect("a download");
    Checkpoint::open(&directory).expect("the whole checkpoint");
}

#[test]
fn a_token_opens_a_gated_model() {
    let home = tempfile::tempdir().expect("a directory");
    let hub = Hub::of(fixture("golden/patch16").into(), Some("hf_secret"));
    let mut settings = settings(&home, &hub.endpoint);
    let error = locate("some/model", "main", &settings).expect_err("no token");
    assert!(error.to_string().contains("HF_TOKEN"), "{error}");
    settings.token = Some("hf_secret".into());
    locate("some/model", "main", &settings).expect("a download");
}

#[test]
fn what_is_missing_is_said_in_one_sentence() {
    let home = tempfile::tempdir().expect("a directory");
    let hub = Hub::of(fixture("golden/patch16").into(), None);
    let mut settings = settings(&home, &hub.endpoint);

    let error = locate("some/other", "main", &settings).expect_err("no such model");
    let said = error.to_string();
    assert!(
        said.contains("some/other") && said.contains("--model demo"),
        "{said}"
    );
    assert!(said.contains("does not know it"), "{said}");

    settings.endpoint = Some("http://127.0.0.1:1".into());
    let said = locate("some/model", "main", &settings)
        .expect_err("no hub")
        .to_string();
    assert!(
        said.contains("cannot be reached") && said.contains("--model demo"),
        "{said}"
    );
    assert!(!said.contains('\n'), "{said}");

    settings.offline = true;
    let said = locate("some/model", "main", &settings)
        .expect_err("offline")
        .to_string();
    assert!(
        said.contains("HF_HUB_OFFLINE") && said.contains("--model demo"),
        "{said}"
    );
}

#[test]
fn a_repository_that_is_no_checkpoint_is_refused_before_its_weights_are_fetched() {
    let home = tempfile::tempdir().expect("a directory");
    let hub = Hub::of(fixture("golden/images").into(), None);
    let error = locate("some/model", "main", &settings(&home, &hub.endpoint));
    assert!(
        matches!(&error, Err(HubError::NotACheckpoint { file, .. }) if file == "config.json"),
        "{error:?}"
    );
}
