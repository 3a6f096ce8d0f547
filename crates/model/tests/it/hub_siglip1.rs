//! What hubs keep for SigLIP 1 and for slow tokenizers: `spiece.model` and `added_tokens.json`.

use std::fs;
use std::path::{Path, PathBuf};

use siglip2_model::checkpoint::hub::{HubError, HubSettings, locate};
use siglip2_model::checkpoint::{Checkpoint, CheckpointError};

use crate::hub::{assert_same, settings};
use crate::odd_hub::{COMMIT, Mode, OddHub};
use crate::text_tokens::{assert_ids, expected};
use crate::{copy, fixture};

const SPIECE: &str = "spiece.model";

/// A whole SigLIP 1 checkpoint with these files for its texts, each from a directory of tokenizers.
fn siglip1(files: &[(&str, &str)]) -> tempfile::TempDir {
    let source = copy(&fixture("golden/patch16"));
    for own in ["tokenizer.json", "tokenizer_config.json"] {
        fs::remove_file(source.path().join(own)).unwrap();
    }
    for (tokenizer, file) in files {
        let from = fixture("tokenizers").join(tokenizer).join(file);
        fs::copy(from, source.path().join(file)).unwrap();
    }
    source
}

/// That a checkpoint makes the ids that transformers makes of `spiece.model`.
#[track_caller]
fn assert_ids_of_spiece(directory: &Path) {
    let checkpoint = Checkpoint::open(directory).expect("the whole checkpoint");
    let tokenizer = checkpoint.files.text_tokenizer(&checkpoint.config, None);
    assert_ids(&tokenizer.expect("a tokenizer"), "siglip1_spiece");
}

/// What is downloaded from a hub, whose files are the checkpoint's.
#[track_caller]
fn downloaded(source: &Path, settings: &HubSettings) -> PathBuf {
    let directory = locate("some/model", "main", settings).expect("a download");
    assert_same(&directory, source);
    assert_ids_of_spiece(&directory);
    directory
}

#[test]
fn siglip1_is_downloaded_from_spiece_model_alone() {
    for modes in [&[][..], &[Mode::Gzip, Mode::Chunked, Mode::ResolveCache]] {
        let source = siglip1(&[("siglip1_spiece", SPIECE)]);
        let cache = tempfile::tempdir().unwrap();
        let hub = OddHub::of(source.path(), modes);
        let mut settings = settings(cache.path(), &hub);
        let directory = downloaded(source.path(), &settings);

        // Without a network it is whole as it is, and without its vocabulary it is not.
        settings.offline = true;
        assert_eq!(locate("some/model", "main", &settings).unwrap(), directory);
        fs::remove_file(directory.join(SPIECE)).unwrap();
        let lacks = locate("some/model", "main", &settings);
        assert!(
            matches!(&lacks, Err(HubError::Incomplete { .. })),
            "{lacks:?}"
        );
        settings.offline = false;
        let directory = locate("some/model", "main", &settings).expect("what it lacks");
        assert_ids_of_spiece(&directory);
        assert_eq!(hub.asked_for("/model.safetensors"), 1);
    }
}

/// As google's checkpoints have it: transformers makes a `SiglipTokenizer` of the second.
#[test]
fn spiece_model_is_fetched_where_tokenizer_json_lies_beside_it() {
    assert_ne!(expected("siglip1"), expected("siglip1_spiece"));
    let source = siglip1(&[("siglip1", "tokenizer.json"), ("siglip1_spiece", SPIECE)]);
    let cache = tempfile::tempdir().unwrap();
    let hub = OddHub::of(source.path(), &[]);
    let settings = settings(cache.path(), &hub);
    let directory = downloaded(source.path(), &settings);

    // A cache without it can be run, and would make other ids.
    fs::remove_file(directory.join(SPIECE)).unwrap();
    let directory = locate("some/model", "main", &settings).expect("what it lacks");
    assert_ids_of_spiece(&directory);
}

/// `config.json` names a class as well, whose vocabulary would be another file; it is the
/// tokenizer's own file that counts.
#[test]
fn the_class_may_be_in_a_file_that_is_fetched_itself() {
    let source = siglip1(&[("siglip1", "tokenizer.json"), ("siglip1_spiece", SPIECE)]);
    let config = source.path().join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replacen('{', r#"{"tokenizer_class": "GemmaTokenizer","#, 1);
    fs::write(&config, text).unwrap();
    let own = source.path().join("tokenizer_config.json");
    fs::write(&own, r#"{"tokenizer_class": "SiglipTokenizer"}"#).unwrap();

    let cache = tempfile::tempdir().unwrap();
    let hub = OddHub::of(source.path(), &[]);
    let settings = settings(cache.path(), &hub);
    let directory = downloaded(source.path(), &settings);

    for file in [SPIECE, "tokenizer_config.json"] {
        fs::remove_file(directory.join(file)).unwrap();
    }
    let directory = locate("some/model", "main", &settings).expect("what it lacks");
    assert_ids_of_spiece(&directory);
}

/// A vocabulary that would be SigLIP 1's is none for another class, which the file that lacks may
/// name.
#[test]
fn spiece_model_is_no_vocabulary_of_another_class() {
    let source = siglip1(&[("siglip1_spiece", SPIECE)]);
    let own = fixture("golden/patch16");
    let gemma = ["tokenizer_config.json", "tokenizer.json"];
    fs::copy(own.join(gemma[0]), source.path().join(gemma[0])).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let hub = OddHub::of(source.path(), &[]);
    let error = locate("some/model", "main", &settings(cache.path(), &hub)).unwrap_err();
    assert!(
        matches!(&error, HubError::NotACheckpoint { file, .. } if file == gemma[1]),
        "{error}"
    );

    // The same in a cache that somebody filled for SigLIP 1.
    fs::remove_file(source.path().join(gemma[0])).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let hub = OddHub::of(source.path(), &[]);
    let settings = settings(cache.path(), &hub);
    let directory = locate("some/model", "main", &settings).expect("a download");
    assert_ids_of_spiece(&directory);
    for file in gemma {
        fs::copy(own.join(file), source.path().join(file)).unwrap();
        let absent = cache.path().join("models--some--model/.no_exist");
        fs::remove_file(absent.join(COMMIT).join(file)).unwrap();
    }
    let again = locate("some/model", "main", &settings).expect("what it lacks");
    assert_eq!(again, directory);
    assert!(directory.join("tokenizer.json").exists());
    let ids = |directory: &Path| {
        let checkpoint = Checkpoint::open(directory).unwrap();
        let tokenizer = checkpoint.files.text_tokenizer(&checkpoint.config, None);
        tokenizer.unwrap().encode("A Cat").unwrap()
    };
    assert_eq!(ids(&directory), ids(&own));
}

#[test]
fn other_models_are_not_asked_for_spiece_model() {
    let cache = tempfile::tempdir().unwrap();
    let hub = OddHub::of(&fixture("golden/naflex16"), &[]);
    let settings = settings(cache.path(), &hub);
    locate("some/model", "main", &settings).expect("a download");
    assert_eq!(hub.asked_for(SPIECE), 0);
}

#[test]
fn a_model_without_any_vocabulary_is_refused_before_its_weights_are_fetched() {
    let source = siglip1(&[]);
    let cache = tempfile::tempdir().unwrap();
    let hub = OddHub::of(source.path(), &[]);
    let error = locate("some/model", "main", &settings(cache.path(), &hub)).unwrap_err();
    assert!(
        matches!(&error, HubError::NotACheckpoint { file, .. } if file == "tokenizer.json"),
        "{error}"
    );
    assert_eq!(hub.asked_for("/model.safetensors"), 0);
}

/// A checkpoint whose tokens lie in a file of their own is refused, from the hub as well: without
/// the file it would be taken, and make other ids.
#[test]
fn tokens_that_were_added_are_fetched_and_refused() {
    let source = copy(&fixture("golden/patch16"));
    let added = source.path().join("added_tokens.json");
    fs::write(&added, r#"{"<a>": 7}"#).unwrap();
    let refused = |directory: &Path| {
        let said = match Checkpoint::open(directory) {
            Ok(_) => panic!("it is taken without its tokens"),
            Err(error @ CheckpointError::Tokenizer(_)) => error.to_string(),
            Err(error) => panic!("{error}"),
        };
        assert!(said.contains("added_tokens.json"), "{said}");
    };
    let cache = tempfile::tempdir().unwrap();
    let hub = OddHub::of(source.path(), &[]);
    let settings = settings(cache.path(), &hub);
    let directory = locate("some/model", "main", &settings).expect("a download");
    refused(&directory);
    fs::remove_file(directory.join("added_tokens.json")).unwrap();
    refused(&locate("some/model", "main", &settings).expect("what it lacks"));

    // A model that has none says so once.
    fs::remove_file(&added).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let hub = OddHub::of(source.path(), &[]);
    let settings = crate::hub::settings(cache.path(), &hub);
    for _ in 0..2 {
        let directory = locate("some/model", "main", &settings).expect("a download");
        Checkpoint::open(&directory).expect("the whole checkpoint");
    }
    assert_eq!(hub.asked_for("/added_tokens.json"), 1);
    let absent = cache.path().join("models--some--model/.no_exist");
    assert!(absent.join(COMMIT).join("added_tokens.json").exists());
}
