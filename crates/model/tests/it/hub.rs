//! A model by its hub name, from a local server in place of the hub.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use siglip2_model::checkpoint::Checkpoint;
use siglip2_model::checkpoint::hub::{HubError, HubSettings, NoCache, locate};

use crate::odd_hub::{COMMIT, Mode, OddHub, TOKEN};
use crate::{copy, fixture};

pub fn settings(cache: &Path, hub: &OddHub) -> HubSettings {
    HubSettings {
        cache: Ok(cache.to_owned()),
        endpoint: Some(hub.endpoint.clone()),
        patience: Duration::from_millis(1),
        ..HubSettings::default()
    }
}

/// Every file below a directory.
pub fn tree(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// What is downloaded is what the hub has.
pub fn assert_same(directory: &Path, source: &Path) {
    Checkpoint::open(directory).expect("the whole checkpoint");
    for path in tree(directory) {
        let name = path.strip_prefix(directory).unwrap();
        assert_eq!(
            fs::read(&path).unwrap(),
            fs::read(source.join(name)).unwrap(),
            "{}",
            name.display()
        );
    }
}

#[test]
fn a_model_is_downloaded_once_and_then_found_without_a_network() {
    for shape in ["patch16", "patch14"] {
        let cache = tempfile::tempdir().unwrap();
        let source = fixture(&format!("golden/{shape}"));
        let hub = OddHub::of(&source, &[]);
        let mut settings = settings(cache.path(), &hub);
        let directory = locate("some/model", "main", &settings).expect("a download");
        let expected = cache
            .path()
            .join("models--some--model/snapshots")
            .join(COMMIT);
        assert_eq!(directory, expected);
        assert_same(&directory, &source);

        let asked = hub.requests().len();
        for revision in ["main", COMMIT] {
            let hit = locate("some/model", revision, &settings).expect("a hit");
            assert_eq!(hit, directory);
        }
        settings.offline = true;
        settings.endpoint = Some("http://127.0.0.1:1".into());
        assert_eq!(
            locate("some/model", "main", &settings).expect("a hit"),
            directory
        );
        assert_eq!(hub.requests().len(), asked, "the hub was asked again");
    }
}

/// Each alone, and several together, as mirrors have them.
#[test]
fn whatever_a_hub_does_the_files_are_the_same() {
    use Mode::*;
    for modes in [
        &[NoRanges][..],
        &[Gzip],
        &[Chunked],
        &[Gzip, Chunked, WeakEtag],
        &[Lfs],
        &[LfsRelative],
        &[ResolveCache],
        &[RelativeQuery],
        &[RelativeDots],
        &[RelativeDots, Lfs, Gzip],
        &[Lfs, ResolveCache, Gzip],
        &[WeakEtag],
        &[NoEtag],
        &[NoEtag, Gzip, Chunked],
        &[NoCommit],
        &[RateLimit],
        &[RateLimitDate],
        &[Flaky],
        &[Break],
        &[Break, Lfs],
        &[DamagedOnce],
        &[DamagedOnce, Lfs, NoRanges],
        &[Auth, Lfs, ResolveCache],
    ] {
        let cache = tempfile::tempdir().unwrap();
        let source = fixture("golden/patch14");
        let hub = OddHub::of(&source, modes);
        let mut settings = settings(cache.path(), &hub);
        settings.token = Some(TOKEN.into());
        let directory = locate("some/model", "main", &settings)
            .unwrap_or_else(|error| panic!("{modes:?}: {error}"));
        assert_same(&directory, &source);
        settings.offline = true;
        assert_eq!(locate("some/model", "main", &settings).unwrap(), directory);
        let left = tree(cache.path());
        let partial = left
            .iter()
            .filter(|path| path.extension().is_some_and(|it| it == "incomplete"));
        assert_eq!(partial.count(), 0, "{modes:?}: {left:?}");
    }
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let cache = tempfile::tempdir().unwrap();
    let hub = OddHub::of(&fixture("golden/patch16"), &[Mode::Auth, Mode::Lfs]);
    let mut settings = settings(cache.path(), &hub);
    settings.token = Some(TOKEN.into());
    locate("some/model", "main", &settings).expect("a download");
    let requests = hub.requests();
    let (other, own): (Vec<_>, Vec<_>) = requests
        .iter()
        .partition(|request| request.path.starts_with("/cdn/"));
    assert!(!other.is_empty() && !own.is_empty());
    assert!(
        own.iter()
            .all(|it| it.headers.contains_key("authorization"))
    );
    assert!(
        other
            .iter()
            .all(|it| !it.headers.contains_key("authorization"))
    );
}

#[test]
fn what_a_hub_will_not_give_is_said_in_one_sentence() {
    use Mode::*;
    for (modes, words) in [
        (&[Auth][..], &["HF_TOKEN", "401"][..]),
        (&[Gated], &["granted access", "HF_TOKEN"]),
        (
            &[Hidden],
            &["no such model, or it is private", "401", "Invalid username"],
        ),
        (
            &[Forbidden],
            &[
                "refuses to give it, status 403",
                r#"\"it\"\tis disabled. é"#,
            ],
        ),
        (&[OtherForbidden, Lfs], &["refuses to give it, status 403"]),
        (&[RateLimitLong], &["3600 s"]),
        (&[RateLimitLongDate], &["3600 s"]),
        (&[Down], &["5 times", "status 500"]),
        (&[BreakAlways], &["model.safetensors", "broke off 5 times"]),
        (&[Damaged], &["model.safetensors", "damaged twice"]),
        (&[TooLong], &["model.safetensors", "were announced"]),
        (&[FileRedirect], &["file:///etc/passwd", "not followed"]),
        (&[Loop], &["not followed"]),
        (&[NoCommitAtAll], &["X-Repo-Commit"]),
        (&[Huge], &["more than"]),
    ] {
        let cache = tempfile::tempdir().unwrap();
        let hub = OddHub::of(&fixture("golden/patch16"), modes);
        let error =
            locate("some/model", "main", &settings(cache.path(), &hub)).expect_err("no checkpoint");
        let said = error.to_string();
        assert!(
            !said.contains('\n') && said.contains("--model demo"),
            "{said}"
        );
        for word in words {
            assert!(said.contains(word), "{modes:?}: {said}");
        }
        assert!(said.len() < 1000, "{modes:?}: {said}");
    }
}

#[test]
fn a_wrong_name_token_endpoint_or_revision_is_said() {
    let cache = tempfile::tempdir().unwrap();
    let hub = OddHub::of(&fixture("golden/patch16"), &[]);
    let mut settings = settings(cache.path(), &hub);
    let said = |name: &str, revision: &str, settings: &HubSettings| {
        let error = locate(name, revision, settings).expect_err("no such model");
        error.to_string()
    };
    let unknown = said("some/other", "main", &settings);
    assert!(
        unknown.contains("some/other") && unknown.contains("does not know it"),
        "{unknown}"
    );
    assert!(said("../other", "main", &settings).contains("cannot be the name"));
    assert!(said("some/model", "../main", &settings).contains("--revision"));
    let refusing = OddHub::of(&fixture("golden/patch16"), &[Mode::Auth]);
    settings.endpoint = Some(refusing.endpoint.clone());
    settings.token = Some("hf_wrong".into());
    let refused = said("some/model", "main", &settings);
    assert!(
        refused.contains("refuses the token") && refused.contains("Invalid credentials"),
        "{refused}"
    );
    assert!(!refused.contains("hf_wrong"), "{refused}");
    let hiding = OddHub::of(&fixture("golden/patch16"), &[Mode::Hidden]);
    settings.endpoint = Some(hiding.endpoint.clone());
    let hidden = said("some/model", "main", &settings);
    assert!(hidden.contains("the one that was sent may not"), "{hidden}");
    settings.endpoint = Some(hub.endpoint.clone());
    settings.token = Some("hf_a\nb".into());
    assert!(said("some/model", "main", &settings).contains("HF_TOKEN"));
    settings.token = None;
    settings.endpoint = Some("hub".into());
    assert!(said("some/model", "main", &settings).contains("HF_ENDPOINT"));
    settings.endpoint = Some("http://127.0.0.1:1".into());
    let unreachable = said("some/model", "main", &settings);
    assert!(unreachable.contains("cannot be reached"), "{unreachable}");
    settings.offline = true;
    assert!(said("some/model", "main", &settings).contains("HF_HUB_OFFLINE"));
    settings.cache = Err(NoCache::NoHome);
    assert!(said("some/model", "main", &settings).contains("HF_HOME"));
}

/// Everything that is written lies in the cache, whatever a server calls it.
#[test]
fn a_hostile_mirror_writes_nothing_outside_the_cache() {
    use Mode::*;
    for (modes, index) in [
        (&[PathEtag][..], None),
        (&[PathCommit, NoCommitAtAll], None),
        (&[PathEtag, Lfs], None),
        (&[], Some("/tmp/escaped.safetensors")),
        (&[], Some("../../../../escaped.safetensors")),
        (&[], Some("a/../../../../../escaped.safetensors")),
        (&[], Some("..\\escaped.safetensors")),
    ] {
        let outside = tempfile::tempdir().unwrap();
        let cache = outside.path().join("a/b");
        let source = copy(&fixture("golden/patch14"));
        if let Some(name) = index {
            let index = source.path().join("model.safetensors.index.json");
            let text = format!(r#"{{"weight_map": {{"logit_scale": {name:?}}}}}"#);
            fs::write(index, text).unwrap();
        }
        let hub = OddHub::of(source.path(), modes);
        let found = locate("some/model", "main", &settings(&cache, &hub));
        if index.is_some() {
            let said = found.expect_err("a path").to_string();
            assert!(said.contains("not a file in its directory"), "{said}");
            assert_eq!(hub.asked_for("escaped.safetensors"), 0);
        }
        let written = tree(outside.path());
        assert!(
            written.iter().all(|path| path.starts_with(&cache)),
            "{written:?}"
        );
        assert!(
            written.iter().all(|path| !path.ends_with("escaped")),
            "{written:?}"
        );
    }
}

#[test]
fn weights_may_lie_in_subfolders() {
    let source = copy(&fixture("golden/patch14"));
    let index = source.path().join("model.safetensors.index.json");
    let text = fs::read_to_string(&index).unwrap();
    fs::write(&index, text.replace("\"model-", "\"weights/a/model-")).unwrap();
    let folder = source.path().join("weights/a");
    fs::create_dir_all(&folder).unwrap();
    for part in [1, 2] {
        let name = format!("model-0000{part}-of-00002.safetensors");
        fs::rename(source.path().join(&name), folder.join(&name)).unwrap();
    }
    Checkpoint::open(source.path()).expect("the whole checkpoint");

    let cache = tempfile::tempdir().unwrap();
    let hub = OddHub::of(source.path(), &[Mode::Lfs]);
    let mut settings = settings(cache.path(), &hub);
    let directory = locate("some/model", "main", &settings).expect("a download");
    assert_same(&directory, source.path());
    settings.offline = true;
    assert_eq!(locate("some/model", "main", &settings).unwrap(), directory);
}

#[test]
fn a_download_that_broke_off_is_resumed_by_the_next_process() {
    let cache = tempfile::tempdir().unwrap();
    let source = fixture("golden/patch16");
    let hub = OddHub::of(&source, &[Mode::BreakAlways]);
    locate("some/model", "main", &settings(cache.path(), &hub)).expect_err("no weights");
    let partial = tree(cache.path())
        .into_iter()
        .find(|path| path.extension().is_some_and(|it| it == "incomplete"))
        .expect("a part");
    let weights = fs::read(source.join("model.safetensors")).unwrap();
    fs::write(&partial, &weights[..500_000]).unwrap();

    let hub = OddHub::of(&source, &[]);
    let directory = locate("some/model", "main", &settings(cache.path(), &hub)).unwrap();
    assert_same(&directory, &source);
    let ranges: Vec<_> = hub
        .requests()
        .into_iter()
        .filter_map(|request| request.headers.get("range").cloned())
        .collect();
    assert_eq!(ranges, ["bytes=500000-"]);

    // A part that is not one of the right file is found out by its hash.
    fs::remove_dir_all(cache.path().join("models--some--model/blobs")).unwrap();
    fs::remove_dir_all(cache.path().join("models--some--model/snapshots")).unwrap();
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, vec![7; 400_000]).unwrap();
    let directory = locate("some/model", "main", &settings(cache.path(), &hub)).unwrap();
    assert_same(&directory, &source);
}

#[test]
fn two_at_once_download_each_file_once() {
    let cache = tempfile::tempdir().unwrap();
    let source = fixture("golden/patch14");
    let hub = OddHub::of(&source, &[]);
    let settings = settings(cache.path(), &hub);
    thread::scope(|scope| {
        let all = [(); 4].map(|()| scope.spawn(|| locate("some/model", "main", &settings)));
        for one in all {
            assert_same(&one.join().unwrap().expect("a download"), &source);
        }
    });
}

#[test]
fn a_repository_that_is_no_checkpoint_is_refused_before_its_weights_are_fetched() {
    let cache = tempfile::tempdir().unwrap();
    let hub = OddHub::of(&fixture("golden/images"), &[]);
    let error = locate("some/model", "main", &settings(cache.path(), &hub));
    assert!(
        matches!(&error, Err(HubError::NotACheckpoint { file, .. }) if file == "config.json"),
        "{error:?}"
    );
}

#[test]
fn weights_in_pytorchs_format_alone_are_refused_with_what_to_do() {
    let source = copy(&fixture("golden/patch16"));
    fs::rename(
        source.path().join("model.safetensors"),
        source.path().join("pytorch_model.bin"),
    )
    .unwrap();
    let hub = OddHub::of(source.path(), &[]);
    let cache = tempfile::tempdir().unwrap();
    let error = locate("some/model", "main", &settings(cache.path(), &hub)).unwrap_err();
    assert!(error.to_string().contains("save_pretrained"), "{error}");
    let error = Checkpoint::open(source.path()).unwrap_err();
    assert!(error.to_string().contains("save_pretrained"), "{error}");
}
