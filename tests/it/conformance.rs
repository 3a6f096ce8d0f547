//! `conformance`: holds for this service in every dialect, and finds the faults that it is
//! there for.

use std::collections::BTreeMap;
use std::process::{Output, Stdio};

use serde_json::Value;
use siglip2_conformance::property::{Question, properties};
use siglip2_image::ImageError;

use crate::common::Program;
use crate::common::model::fixture;
use crate::common::program::command;

/// Runs the check of a server.
fn conformance(url: &str, flags: &[&str]) -> Output {
    let mut check = command(&["conformance", url]);
    check
        .args(flags)
        .stdout(Stdio::piped())
        .output()
        .expect("it runs")
}

/// The verdicts by property.
fn verdicts(output: &Output) -> BTreeMap<String, String> {
    let error = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no JSON, and on standard error: {error}"));
    let outcomes = report["outcomes"].as_array().expect("outcomes");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    outcomes
        .iter()
        .map(|outcome| (text(&outcome["id"]), text(&outcome["verdict"])))
        .collect()
}

fn those(verdicts: &BTreeMap<String, String>, wanted: &str) -> Vec<String> {
    let of = verdicts.iter().filter(|(_, verdict)| *verdict == wanted);
    of.map(|(id, _)| id.clone()).collect()
}

#[test]
fn this_service_has_every_property_in_every_dialect() {
    let server = Program::demo(&[]);
    let root = format!("http://{}", server.address);
    let version = format!("{root}/v1");
    for (dialect, url, without) in [
        ("native", &root, &[][..]),
        ("openai", &root, &["answers.probabilities"]),
        ("openai", &version, &["answers.probabilities"]),
        ("infinity", &version, &["answers.probabilities"]),
        ("vllm", &root, &["answers.probabilities", "pictures.batch"]),
        ("weaviate", &root, &["answers.probabilities"]),
    ] {
        let output = conformance(url, &["--model", "demo", "--dialect", dialect, "--json"]);
        let verdicts = verdicts(&output);
        assert_eq!(those(&verdicts, "fail"), [""; 0], "{dialect}");
        assert_eq!(those(&verdicts, "refused"), [""; 0], "{dialect}");
        assert_eq!(those(&verdicts, "not-offered"), without, "{dialect}");
        assert!(output.status.success(), "{dialect}");
    }
    let output = conformance(&root, &["--model", "demo", "--dialect", "tei", "--json"]);
    let verdicts = verdicts(&output);
    let texts = verdicts.iter().filter(|(id, _)| id.starts_with("texts."));
    assert!(texts.clone().count() >= 10);
    for (id, verdict) in texts {
        assert_eq!(verdict, "pass", "{id}");
    }
    assert_eq!(verdicts["pictures.plain"], "not-offered");
}

#[test]
fn a_server_that_keeps_upper_case_is_found_out_and_for_nothing_else() {
    let server = Program::demo(&["--lower-case", "false"]);
    let url = format!("http://{}", server.address);
    // Its dialect and its model are found without being named.
    let output = conformance(&url, &["--json"]);
    assert_eq!(those(&verdicts(&output), "fail"), ["texts.upper-case"]);
    assert_eq!(output.status.code(), Some(1));

    let folder = tempfile::tempdir().expect("a folder");
    let table = folder.path().join("table.md");
    let table_name = table.to_str().expect("a path");
    let output = conformance(&url, &["--markdown", table_name]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("FAIL         upper case"), "{said}");
    assert!(said.contains("usual cause: SigLIP 2's tokenizer"), "{said}");
    assert!(
        said.contains(", 1 fail, 0 refused, 0 not offered"),
        "{said}"
    );
    let table = std::fs::read_to_string(table).expect("the table");
    assert!(table.contains("| FAIL: "), "{table}");
}

#[test]
fn a_server_that_cannot_be_checked_is_code_2_and_a_sentence() {
    let server = Program::demo(&[]);
    let url = format!("http://{}", server.address);
    for (url, flags, sentence) in [
        ("http://127.0.0.1:1", &[][..], "is it running?"),
        (&url, &["--model", "/nowhere/at/all"], "/nowhere/at/all"),
        (
            &url,
            &["--model", &fixture("golden/patch16")],
            "another model",
        ),
        (&url, &["--least-cosine", "2"], "a number from 0 to 1"),
    ] {
        let output = conformance(url, flags);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(sentence), "{said}");
    }
}

#[test]
fn every_format_that_this_service_reads_is_asked_for() {
    let sentence = ImageError::NotAnImage.to_string();
    let (_, names) = sentence.split_once("are not ").expect("a list of names");
    let names: Vec<_> = names.split(", ").flat_map(|it| it.split(" or ")).collect();
    assert!(names.len() >= 19, "{names:?}");
    let properties = properties();
    for name in names {
        let named = properties.iter().any(|property| {
            matches!(property.question, Question::Pictures(_)) && property.title.contains(name)
        });
        assert!(named, "{name}");
    }
}
