//! Holds what is answered to the OpenAPI document: every route, status, header and field.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::{Value, json};
use siglip2_embeddings::http::openapi_document;

use super::client::Answer;

/// Headers that belong to HTTP itself and to no operation.
const OF_HTTP: [&str; 10] = [
    "access-control-allow-headers",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "transfer-encoding",
    "vary",
];

/// What a request may be refused with before its path counts.
const BEFORE_ROUTING: [u16; 7] = [400, 401, 408, 414, 417, 431, 500];

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(openapi_document()).expect("JSON"));

/// The schemas, with nothing allowed in an object that is not described.
static SCHEMAS: LazyLock<Value> = LazyLock::new(|| {
    let mut schemas = DOCUMENT["components"]["schemas"].clone();
    close(&mut schemas);
    schemas
});

fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(close);
            if map.get("type") == Some(&json!("object")) && map.contains_key("properties") {
                map.insert("additionalProperties".into(), false.into());
            }
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}

/// Panics if the document does not describe this answer to this request. What is not a
/// request with a method, a path and a version can be answered by any refusal.
pub fn check(request: &[u8], answer: &Answer) {
    let line = request.split(|&byte| byte == b'\r').next().unwrap_or(&[]);
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return;
    };
    if is_for_the_page(method, target, request) {
        return;
    }
    if let Err(why) = described(method, target, answer) {
        panic!("{line}: {why}: {answer:?}");
    }
}

/// Whether it asks for the page or what the page loads, which people read and the document
/// leaves out; the tests of `http_page` hold their answers.
fn is_for_the_page(method: &str, target: &str, request: &[u8]) -> bool {
    let head = String::from_utf8_lossy(request).to_ascii_lowercase();
    let paths = ["/docs", "/docs/", "/redoc", "/redoc/"];
    let is_root = target == "/" && head.contains("\r\naccept: text/html");
    let is_read = matches!(method, "GET" | "HEAD");
    (is_read && is_root) || paths.contains(&target) || target.starts_with("/assets/")
}

/// What the document has at a path; a name in braces stands for one segment or several.
fn at(path: &str) -> &'static Value {
    let paths = &DOCUMENT["paths"];
    if !paths[path].is_null() {
        return &paths[path];
    }
    let templates = paths.as_object().into_iter().flatten();
    let fits = |template: &str| {
        let (before, rest) = template.split_once('{')?;
        let (_, behind) = rest.split_once('}')?;
        let value = path.strip_prefix(before)?.strip_suffix(behind)?;
        value
            .split('/')
            .all(|segment| !segment.is_empty())
            .then_some(())
    };
    // The one that says most counts.
    let fitting = templates.filter(|(template, _)| fits(template).is_some());
    fitting
        .max_by_key(|(template, _)| template.len())
        .map_or(&Value::Null, |(_, item)| item)
}

/// The path of an operation behind `/models/NAME`, where a path begins so. Behind a name that is
/// served there may be nothing.
fn behind_model(path: &str, status: u16) -> &str {
    let Some(named) = path.strip_prefix("/models/") else {
        return path;
    };
    let mut ends = named.match_indices('/').map(|(at, _)| &named[at..]);
    match ends.find(|end| !at(end).is_null()) {
        Some(end) => end,
        None if status == 404 => path,
        None => "/",
    }
}

fn described(method: &str, target: &str, answer: &Answer) -> Result<(), String> {
    let path = target.split(['?', '#']).next().unwrap_or(target);
    let path = match path.strip_suffix('/') {
        Some(without) if !without.is_empty() && !without.ends_with('/') => without,
        _ => path,
    };
    let status = answer.status;
    let of_path = at(behind_model(path, status));
    let operation = match method {
        "HEAD" => &of_path["get"],
        _ => &of_path[method.to_ascii_lowercase()],
    };
    if operation.is_null() {
        let expected = match (of_path.is_null(), method) {
            (false, "OPTIONS") => 204,
            (false, _) => 405,
            (true, _) => 404,
        };
        return match status {
            405 | 204 if answer.header("allow").is_none() => Err("no Allow".into()),
            _ if status == expected || BEFORE_ROUTING.contains(&status) => Ok(()),
            204 if target == "*" => Ok(()),
            _ => Err(format!("{status} instead of {expected}")),
        };
    }
    let response = &operation["responses"][status.to_string()];
    if response.is_null() {
        return Err(format!("the status {status} is not described"));
    }
    for (name, _) in &answer.headers {
        let described = !response["headers"][name].is_null();
        if !described && !OF_HTTP.contains(&name.as_str()) {
            return Err(format!("the header {name} is not described"));
        }
    }
    if response["content"].is_null() {
        return match answer.body.is_empty() {
            true => Ok(()),
            false => Err("a body that is not described".into()),
        };
    }
    let kind = answer.header("content-type").unwrap_or_default();
    let content = &response["content"][kind];
    if content.is_null() {
        return Err(format!("the content type {kind:?} is not described"));
    }
    // What comes compressed is held to what comes as it is.
    let is_coded = answer.header("content-encoding").is_some();
    if method == "HEAD" || kind != "application/json" || is_coded {
        return Ok(());
    }
    let key = content["schema"]["$ref"]
        .as_str()
        .ok_or("the schema is not a reference")?;
    let body: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let mut validators = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    let validator = validators.entry(key.to_owned()).or_insert_with(|| {
        let schema = json!({ "$ref": key, "components": { "schemas": *SCHEMAS } });
        jsonschema::draft202012::new(&schema).expect("a schema")
    });
    validator
        .validate(&body)
        .map_err(|error| format!("{error} at {}", error.instance_path()))
}

static VALIDATORS: LazyLock<Mutex<HashMap<String, Validator>>> = LazyLock::new(Mutex::default);
