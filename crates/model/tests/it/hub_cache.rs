//! A hub cache that lacks files, or has them damaged.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use siglip2_model::checkpoint::hub::{HubError, locate};
use siglip2_model::checkpoint::{Checkpoint, Source};

use crate::fixture;
use crate::hub::{assert_same, settings, tree};
use crate::odd_hub::{COMMIT, Mode, OddHub};

/// A cache in which some file is not there, and of which nothing says that the model lacks
/// it, is completed where that can be.
#[test]
fn a_cache_that_lacks_a_file_is_completed() {
    for file in [
        "model.safetensors",
        "tokenizer_config.json",
        "preprocessor_config.json",
        "tokenizer.json",
    ] {
        let cache = tempfile::tempdir().unwrap();
        let source = fixture("golden/patch16");
        let hub = OddHub::of(&source, &[]);
        let mut settings = settings(cache.path(), &hub);
        let directory = locate("some/model", "main", &settings).expect("a download");
        fs::remove_file(directory.join(file)).unwrap();
        settings.offline = true;
        let found = locate("some/model", "main", &settings);
        if file == "tokenizer_config.json" {
            // What is there is taken, and refused by who needs more.
            let said = Checkpoint::open(&found.unwrap())
                .and_then(|it| Ok(it.files.text_tokenizer(&it.config, None)?))
                .unwrap_err();
            assert!(said.to_string().contains("tokenizer_config.json"), "{said}");
        } else {
            assert!(
                matches!(&found, Err(HubError::Incomplete { file: lacks, .. }) if lacks == file),
                "{found:?}"
            );
        }
        settings.offline = false;
        let directory = locate("some/model", "main", &settings).expect("a download");
        assert_same(&directory, &source);
        assert!(directory.join(file).exists());
        let fetched = 1 + usize::from(file == "model.safetensors");
        assert_eq!(hub.asked_for("/model.safetensors"), fetched, "{file}");
    }
}

/// A file that cannot be had does not keep the next from being asked for.
#[test]
fn each_file_that_a_cache_lacks_is_asked_for() {
    let cache = tempfile::tempdir().unwrap();
    let source = fixture("golden/patch16");
    let hub = OddHub::of(&source, &[]);
    let directory = locate("some/model", "main", &settings(cache.path(), &hub)).unwrap();
    let absent = cache
        .path()
        .join("models--some--model/.no_exist")
        .join(COMMIT);
    let lose = || {
        fs::remove_file(absent.join("processor_config.json")).unwrap();
        fs::remove_file(directory.join("tokenizer_config.json")).unwrap();
    };
    for modes in [&[Mode::ProcessorDown][..], &[Mode::Flaky]] {
        lose();
        let hub = OddHub::of(&source, modes);
        let again = locate("some/model", "main", &settings(cache.path(), &hub)).unwrap();
        assert_eq!(again, directory);
        assert!(
            directory.join("tokenizer_config.json").exists(),
            "{modes:?}"
        );
        assert_same(&directory, &source);
        let (tries, known) = match modes {
            [Mode::Flaky] => (3, true),
            _ => (5, false),
        };
        assert_eq!(hub.asked_for("/processor_config.json"), tries, "{modes:?}");
        assert_eq!(absent.join("processor_config.json").exists(), known);
        // What stayed unknown is asked for at the next start.
        let hub = OddHub::of(&source, &[]);
        locate("some/model", "main", &settings(cache.path(), &hub)).unwrap();
        assert!(absent.join("processor_config.json").exists());
    }

    // A machine without a network does not wait for it.
    lose();
    let mut settings = settings(cache.path(), &hub);
    settings.endpoint = Some("http://127.0.0.1:1".into());
    settings.patience = Duration::from_secs(100_000);
    assert_eq!(locate("some/model", "main", &settings).unwrap(), directory);
}

/// What can happen to the file with the weights in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Truncated,
    OtherBytes,
    /// Where the file system has no links, the file is a copy.
    DamagedCopy,
}

impl Damage {
    fn happen(self, file: &Path) {
        let mut bytes = fs::read(file).unwrap();
        match self {
            Damage::Truncated => bytes.truncate(10),
            Damage::OtherBytes => bytes[5000] ^= 1,
            Damage::DamagedCopy => {
                bytes[5000] ^= 1;
                fs::remove_file(file).unwrap();
            }
        }
        fs::write(file, bytes).unwrap();
    }
}

#[test]
fn damaged_files_in_the_cache_are_fetched_anew() {
    use Damage::*;
    use Mode::*;
    let source = fixture("golden/patch16");
    for modes in [&[][..], &[Lfs], &[WeakEtag, Gzip], &[NoEtag]] {
        for damage in [Truncated, OtherBytes, DamagedCopy] {
            let cache = tempfile::tempdir().unwrap();
            let hub = OddHub::of(&source, modes);
            let mut settings = settings(cache.path(), &hub);
            let directory = locate("some/model", "main", &settings).unwrap();
            let before = tree(&directory);
            damage.happen(&directory.join("model.safetensors"));
            damage.happen(&directory.join("tokenizer.json"));

            // It is not read through at each start.
            let found = Source::of("some/model").unwrap().open("main", &settings);
            if damage == Truncated {
                let said = found.unwrap_err().to_string();
                let advice = "siglip2-embeddings download some/model --force";
                assert!(said.contains(advice), "{said}");
            }
            settings.anew = true;
            settings.offline = true;
            let said = locate("some/model", "main", &settings).unwrap_err();
            assert!(said.to_string().contains("HF_HUB_OFFLINE"), "{said}");
            settings.offline = false;
            let again = locate("some/model", "main", &settings).unwrap();
            assert_eq!(again, directory);
            assert_same(&directory, &source);
            assert_eq!(tree(&directory), before, "{modes:?} {damage:?}");
        }
    }
}

/// What is right in the cache is not written again, and stays there when the hub fails.
#[test]
fn files_that_are_whole_are_kept() {
    let cache = tempfile::tempdir().unwrap();
    let source = fixture("golden/patch16");
    let hub = OddHub::of(&source, &[]);
    let mut settings = settings(cache.path(), &hub);
    let directory = locate("some/model", "main", &settings).unwrap();
    let blobs = cache.path().join("models--some--model/blobs");
    // A file that is written again is another one, while the first is held open.
    let held: Vec<_> = tree(&blobs)
        .into_iter()
        .map(|path| (fs::File::open(&path).unwrap(), path))
        .collect();
    settings.anew = true;
    locate("some/model", "main", &settings).unwrap();
    for (file, path) in &held {
        let now = fs::metadata(path).unwrap().ino();
        assert_eq!(file.metadata().unwrap().ino(), now, "{path:?}");
    }
    settings.endpoint = Some("http://127.0.0.1:1".into());
    let said = locate("some/model", "main", &settings).unwrap_err();
    let said = said.to_string();
    assert!(
        said.contains("cannot be fetched anew") && said.contains("cannot be reached"),
        "{said}"
    );
    assert_same(&directory, &source);
}

/// A blob that no file is linked to is not taken for what its name says.
#[test]
fn a_blob_is_checked_before_it_gets_a_name() {
    let source = fixture("golden/patch16");
    for damage in [Damage::Truncated, Damage::OtherBytes] {
        for file in ["model.safetensors", "tokenizer.json"] {
            let cache = tempfile::tempdir().unwrap();
            let hub = OddHub::of(&source, &[]);
            let settings = settings(cache.path(), &hub);
            let directory = locate("some/model", "main", &settings).unwrap();
            damage.happen(&directory.join(file));
            fs::remove_file(directory.join(file)).unwrap();
            locate("some/model", "main", &settings).unwrap();
            assert!(directory.join(file).exists());
            assert_same(&directory, &source);
        }
    }
}

/// As transformers finds it, whose cache may have been put together by hand.
#[test]
fn a_snapshot_is_found_by_its_name() {
    let cache = tempfile::tempdir().unwrap();
    let hub = OddHub::of(&fixture("golden/patch16"), &[]);
    let mut settings = settings(cache.path(), &hub);
    let directory = locate("some/model", "main", &settings).unwrap();
    settings.offline = true;
    let named = directory.with_file_name("as-of-may");
    fs::rename(&directory, &named).unwrap();
    assert_eq!(locate("some/model", "as-of-may", &settings).unwrap(), named);
    locate("some/model", "main", &settings).unwrap_err();
    locate("some/model", "as-of", &settings).unwrap_err();
    let refs = cache.path().join("models--some--model/refs");
    fs::write(refs.join("main"), "as-of-may").unwrap();
    assert_eq!(locate("some/model", "main", &settings).unwrap(), named);
}
