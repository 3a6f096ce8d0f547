//! The page at `/`, the viewer at `/docs`, and what they load: who gets them, with which
//! headers, and that they need nothing from anywhere else.

use std::collections::BTreeSet;
use std::io::Read;

use crate::common::{Answer, Server, ask, get, request};
use siglip2_embeddings::http::{ApiKey, HttpSettings};

/// What browsers say that they accept.
const BROWSER: (&str, &str) = (
    "Accept",
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
);

async fn fetch(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask(server.address, request(method, path, headers, b"")).await
}

/// The paths that a page or a stylesheet or a module refers to, as it is written there.
fn references(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for before in ["href=\"", "src=\"", "from '", "import('"] {
        for rest in text.split(before).skip(1) {
            let end = rest.find(['"', '\'', ')']).unwrap_or(rest.len());
            found.insert(rest[..end].to_owned());
        }
    }
    found
}

/// The path that a reference in the file at `base` leads to.
fn resolved(base: &str, reference: &str) -> String {
    let mut path: Vec<&str> = base.split('/').collect();
    path.pop();
    for step in reference.split(['?', '#']).next().unwrap().split('/') {
        match step {
            "." => {}
            ".." => drop(path.pop()),
            step => path.push(step),
        }
    }
    path.join("/")
}

#[tokio::test]
async fn the_page_is_for_browsers_and_json_for_everybody_else() {
    let server = Server::start(HttpSettings::default()).await;
    let page = fetch(&server, "GET", "/", &[BROWSER]).await;
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(page.text().starts_with("<!doctype html>"));
    assert_eq!(page.header("vary"), Some("Accept, Accept-Encoding"));
    for headers in [
        &[][..],
        &[("Accept", "*/*")],
        &[("Accept", "application/json")],
        &[("Accept", "application/json, text/html;q=0.9")],
        &[("Accept", "text/html;q=0")],
    ] {
        let json = fetch(&server, "GET", "/", headers).await;
        assert_eq!(json.json()["openapi"], "/openapi.json", "{headers:?}");
        assert_eq!(json.header("vary"), Some("Accept"));
    }
    // Clients of text-embeddings-inference post there, whatever they accept.
    assert_eq!(fetch(&server, "POST", "/", &[BROWSER]).await.status, 400);
    let posted = fetch(&server, "POST", "/docs", &[BROWSER]).await;
    assert_eq!(
        (posted.status, posted.header("allow")),
        (405, Some("GET, HEAD, OPTIONS"))
    );
}

#[tokio::test]
async fn the_viewer_is_where_fastapi_had_it() {
    let server = Server::start(HttpSettings::default()).await;
    let docs = fetch(&server, "GET", "/docs", &[]).await;
    assert_eq!(docs.status, 200);
    assert_eq!(
        docs.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    // Relative, so that they lead where a proxy put the service.
    for (path, to) in [
        ("/redoc", "docs"),
        ("/redoc/", "../docs"),
        ("/docs/", "../docs"),
    ] {
        let answer = fetch(&server, "GET", path, &[]).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (307, Some(to)),
            "{path}"
        );
        assert_eq!(resolved(path, to), "/docs");
    }
}

#[tokio::test]
async fn nothing_but_the_service_itself_may_run_or_be_asked() {
    let server = Server::start(HttpSettings::default()).await;
    for path in ["/", "/docs", "/assets/js/api.js", "/assets/icon.svg"] {
        let answer = fetch(&server, "GET", path, &[BROWSER]).await;
        let policy = answer.header("content-security-policy").expect(path);
        let rules: Vec<&str> = policy.split(';').map(str::trim).collect();
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(rules.contains(&rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    }
}

#[tokio::test]
async fn what_the_browser_has_is_not_sent_again() {
    let server = Server::start(HttpSettings::default()).await;
    for path in [
        "/",
        "/docs",
        "/assets/css/base.css",
        "/assets/samples/red-circle.png",
    ] {
        let first = fetch(&server, "GET", path, &[BROWSER]).await;
        assert_eq!(first.header("cache-control"), Some("no-cache"), "{path}");
        let tag = first.header("etag").expect(path).to_owned();
        let again = fetch(&server, "GET", path, &[BROWSER, ("If-None-Match", &tag)]).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!(again.header("etag"), Some(tag.as_str()));
        assert_eq!(again.header("vary"), first.header("vary"));
        let other = [BROWSER, ("If-None-Match", "W/\"0123456789abcdef\"")];
        assert_eq!(
            fetch(&server, "GET", path, &other).await.status,
            200,
            "{path}"
        );
    }
}

#[tokio::test]
async fn files_are_compressed_for_those_who_take_it() {
    let server = Server::start(HttpSettings::default()).await;
    let gzip = ("Accept-Encoding", "gzip, deflate, br");
    for path in ["/", "/docs", "/assets/css/base.css", "/assets/js/main.js"] {
        let plain = fetch(&server, "GET", path, &[BROWSER]).await;
        assert_eq!(plain.header("content-encoding"), None, "{path}");
        let packed = fetch(&server, "GET", path, &[BROWSER, gzip]).await;
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{path}");
        assert!(packed.header("vary").unwrap().contains("Accept-Encoding"));
        let mut unpacked = Vec::new();
        let mut reader = flate2::read::GzDecoder::new(&packed.body[..]);
        reader.read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain.body, "{path}");
        assert!(packed.body.len() < plain.body.len());
    }
    // A picture is compressed already.
    let picture = fetch(&server, "GET", "/assets/samples/red-circle.png", &[gzip]).await;
    assert_eq!(picture.header("content-encoding"), None);
    assert_eq!(picture.header("content-type"), Some("image/png"));
}

#[tokio::test]
async fn head_says_what_get_would() {
    let server = Server::start(HttpSettings::default()).await;
    for path in ["/", "/docs", "/assets/js/main.js", "/assets/icon.svg"] {
        let get = fetch(&server, "GET", path, &[BROWSER]).await;
        let head = fetch(&server, "HEAD", path, &[BROWSER]).await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        for name in ["content-type", "content-length", "etag", "vary"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
    }
}

#[tokio::test]
async fn a_file_that_there_is_not_is_a_problem_like_any_other() {
    let server = Server::start(HttpSettings::default()).await;
    for path in [
        "/assets/",
        "/assets/js/none.js",
        "/assets/index.html",
        "/assets/../Cargo.toml",
        "/assets/%2e%2e/Cargo.toml",
    ] {
        let answer = fetch(&server, "GET", path, &[]).await;
        assert_eq!(answer.error(), (404, "Not Found".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn the_page_needs_no_key_and_what_it_asks_does() {
    let server = Server::start(HttpSettings {
        api_key: ApiKey::parse("secret").ok(),
        ..HttpSettings::default()
    })
    .await;
    for path in ["/", "/docs", "/assets/js/main.js", "/assets/css/try.css"] {
        assert_eq!(
            fetch(&server, "GET", path, &[BROWSER]).await.status,
            200,
            "{path}"
        );
    }
    for path in ["/", "/info", "/metrics", "/openapi.json", "/nowhere"] {
        assert_eq!(fetch(&server, "GET", path, &[]).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn the_page_is_counted_by_its_own_name() {
    let server = Server::start(HttpSettings::default()).await;
    fetch(&server, "GET", "/", &[BROWSER]).await;
    fetch(&server, "GET", "/docs", &[]).await;
    fetch(&server, "GET", "/redoc", &[]).await;
    fetch(&server, "GET", "/assets/none", &[]).await;
    let metrics = ask(server.address, get("/metrics")).await.text().to_owned();
    for (name, status, count) in [
        ("page", 200, 2),
        ("page", 307, 1),
        ("page", 404, 1),
        ("root", 200, 0),
    ] {
        let line =
            format!("siglip2_requests_total{{endpoint=\"{name}\",status=\"{status}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}");
    }
}

#[tokio::test]
async fn every_file_that_is_referred_to_is_served_and_every_file_is_referred_to() {
    let server = Server::start(HttpSettings::default()).await;
    let mut seen = BTreeSet::new();
    let mut left = vec!["/".to_owned(), "/docs".to_owned()];
    while let Some(path) = left.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let answer = fetch(&server, "GET", &path, &[BROWSER]).await;
        assert_eq!(answer.status, 200, "{path}");
        let kind = answer.header("content-type").unwrap();
        if !kind.starts_with("text/") {
            continue;
        }
        let text = answer.text();
        for reference in references(text) {
            let to = resolved(&path, &reference);
            let is_ours = path == "/" || path == "/docs" || path.starts_with("/assets/");
            if is_ours
                && !reference.starts_with('#')
                && !reference.contains("${")
                && to != "/openapi.json"
            {
                left.push(if to.is_empty() { "/".to_owned() } else { to });
            }
        }
    }
    for asset in siglip2_page::assets() {
        let path = format!("/assets/{}", asset.path);
        let is_page = asset.path.ends_with(".html");
        let is_listed = asset.path.starts_with("samples/");
        assert!(
            is_page || is_listed || seen.contains(&path),
            "{path} is referred to by nothing"
        );
    }
}

#[tokio::test]
async fn every_sample_that_is_listed_is_there_and_the_service_reads_it() {
    let server = Server::start(HttpSettings::default()).await;
    let listed = fetch(&server, "GET", "/assets/samples/samples.json", &[]).await;
    let samples: serde_json::Value = serde_json::from_slice(&listed.body).unwrap();
    let samples = samples.as_array().unwrap();
    assert!(samples.len() >= 20);
    for sample in samples {
        let file = sample["file"].as_str().unwrap();
        assert!(!sample["caption"].as_str().unwrap().is_empty());
        let asset = siglip2_page::asset(&format!("samples/{file}")).expect(file);
        let form = crate::common::Form::new().file("file", file, asset.bytes);
        let answer = ask(server.address, form.post("/embed/image")).await;
        assert_eq!(answer.status, 200, "{file}: {}", answer.text());
    }
}

#[test]
fn no_file_names_another_host_or_holds_a_script_within_markup() {
    for asset in siglip2_page::assets() {
        let Ok(text) = std::str::from_utf8(asset.bytes) else {
            continue;
        };
        // The names of XML's vocabularies are not fetched.
        let text = text.replace("http://www.w3.org/2000/svg", "");
        for scheme in [
            "http://", "https://", "ws://", "wss://", "src=\"//", "url(//",
        ] {
            assert!(!text.contains(scheme), "{} has {scheme}", asset.path);
        }
        if asset.path.ends_with(".html") {
            for inline in ["<style", " style=", " onclick=", " onload=", "javascript:"] {
                assert!(!text.contains(inline), "{} has {inline}", asset.path);
            }
            let scripts = text.matches("<script").count();
            assert_eq!(
                scripts,
                text.matches("\"></script>").count(),
                "{}",
                asset.path
            );
        }
        if asset.path.ends_with(".js") {
            for sink in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(!text.contains(sink), "{} has {sink}", asset.path);
            }
        }
    }
}
