//! Token ids are those of transformers' AutoTokenizer. The truth is in
//! tests/fixtures/tokenizers, made by tools/make_tokenizer_fixtures.py.

use std::path::PathBuf;

use serde_json::{Value, json};
use siglip2_model::files::ModelFiles;
use siglip2_model::text::{TextOptions, TextTokenizer, TokenizerError, TokenizerFiles};

use crate::fixture;

const OPTIONS: TextOptions = TextOptions {
    max_tokens: 64,
    vocab_size: 1100,
    lower_case: None,
};

fn directory(name: &str) -> PathBuf {
    fixture("tokenizers").join(name)
}

/// The tokenizer of a directory of tokenizer files, which has no image processor.
fn open(name: &str, options: TextOptions) -> Result<TextTokenizer, TokenizerError> {
    let directory = directory(name);
    let files = ModelFiles::read(&directory, |file| match file {
        "preprocessor_config.json" => Ok(Some(b"{}".to_vec())),
        file => Ok::<_, siglip2_model::checkpoint::CheckpointError>(
            std::fs::read(directory.join(file)).ok(),
        ),
    });
    TextTokenizer::new(files.unwrap().tokenizer_files(), options)
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(directory(name)).unwrap()
}

fn texts() -> Vec<String> {
    serde_json::from_slice(&read("texts.json")).unwrap()
}

/// The ids of each text, padding at the end written out.
pub fn expected(name: &str) -> Vec<Vec<i32>> {
    let truth: Value = serde_json::from_slice(&read(&format!("{name}/expected.json"))).unwrap();
    let rows = truth["ids"].as_array().unwrap().iter();
    rows.map(|row| {
        let mut ids = Vec::new();
        for value in row.as_array().unwrap() {
            match value.as_i64() {
                Some(id) => ids.push(id as i32),
                None => {
                    let count = value[1].as_u64().unwrap() as usize;
                    ids.resize(ids.len() + count, value[0].as_i64().unwrap() as i32);
                }
            }
        }
        ids
    })
    .collect()
}

/// That a tokenizer makes the ids that were recorded.
#[track_caller]
pub fn assert_ids(tokenizer: &TextTokenizer, truth: &str) {
    let wrong = wrong_ids(tokenizer, truth);
    assert!(wrong.is_empty(), "{truth}\n{}", wrong.join("\n"));
}

/// The texts whose ids differ.
fn differences(name: &str, options: TextOptions, truth: &str) -> Vec<String> {
    wrong_ids(&open(name, options).unwrap(), truth)
}

fn wrong_ids(tokenizer: &TextTokenizer, truth: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let (texts, expected) = (texts(), expected(truth));
    assert_eq!(texts.len(), expected.len());
    for (text, expected) in texts.iter().zip(&expected) {
        let ids = tokenizer.encode(text).unwrap();
        if ids != *expected {
            let text: String = text.chars().take(60).collect();
            wrong.push(format!("{text:?}\n  {ids:?}\n  {expected:?}"));
        }
    }
    wrong
}

#[track_caller]
fn assert_equal(name: &str) {
    let wrong = differences(name, OPTIONS, name);
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn saved_by_siglip2_tokenizer() {
    assert_equal("siglip2");
}

#[test]
fn hub_files_of_model_type_siglip_keep_their_case() {
    assert_equal("siglip2_hub");
}

#[test]
fn hub_files_of_model_type_siglip2_are_lower_cased() {
    assert_equal("siglip2_hub_naflex");
}

#[test]
fn other_sides_and_another_pad_token() {
    assert_equal("siglip2_left");
}

#[test]
fn tokenizer_json_alone() {
    assert_equal("plain");
}

#[test]
fn siglip1() {
    assert_equal("siglip1");
}

#[test]
fn siglip1_from_spiece_model_alone() {
    assert_equal("siglip1_spiece");
}

/// Counts strings with equal ids; the truth is made by tools/compare_tokens.py, which runs
/// this.
#[test]
#[ignore = "tools/compare_tokens.py runs it"]
fn many_strings() {
    #[derive(serde::Deserialize)]
    struct Truth {
        directory: String,
        texts: Vec<String>,
        ids: Vec<Vec<i32>>,
    }
    let folder = PathBuf::from(std::env::var_os("TOKEN_TRUTH").expect("TOKEN_TRUTH"));
    let (mut equal, mut all) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let truth: Truth = serde_json::from_slice(&std::fs::read(entry.path()).unwrap()).unwrap();
        let name = entry
            .path()
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let options = TextOptions {
            vocab_size: 256_000,
            ..OPTIONS
        };
        let tokenizer = open(&truth.directory, options).unwrap();
        let mut same = 0;
        for (text, expected) in truth.texts.iter().zip(&truth.ids) {
            match tokenizer.encode(text) {
                Ok(ids) if ids == *expected => same += 1,
                other => println!("{name}: {text:?}\n  {other:?}\n  {expected:?}"),
            }
        }
        println!("{name}: {same} of {} equal", truth.texts.len());
        equal += same;
        all += truth.texts.len();
    }
    println!("together: {equal} of {all} equal");
    assert_eq!(equal, all);
}

/// Whatever form a file gives its merges, and files whose model no builder should see.
#[test]
fn merges_in_every_form_and_broken_ones() {
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut json: Value = serde_json::from_slice(&read("siglip2/tokenizer.json")).unwrap();
        edit(&mut json);
        let tokenizer = serde_json::to_vec(&json).unwrap();
        let config = read("siglip2/tokenizer_config.json");
        let files = TokenizerFiles {
            tokenizer: &tokenizer,
            tokenizer_config: Some(&config),
            ..TokenizerFiles::default()
        };
        TextTokenizer::new(files, OPTIONS)
    };
    let truth = tokenizer("siglip2");
    let old = edited(&|json| {
        let model = &mut json["model"];
        let merges = model["merges"].as_array_mut().unwrap();
        for merge in merges.iter_mut() {
            if let [left, right] = merge.as_array().unwrap().as_slice() {
                let text = format!("{} {}", left.as_str().unwrap(), right.as_str().unwrap());
                *merge = text.into();
            }
        }
        merges.insert(0, "#version: 0.2".into());
        model.as_object_mut().unwrap().remove("type");
    });
    let old = old.unwrap();
    for text in texts() {
        assert_eq!(old.encode(&text).ok(), truth.encode(&text).ok(), "{text:?}");
    }
    type Edit = fn(&mut Value);
    let broken: [(Edit, &str); 12] = [
        (
            |json| json["model"]["merges"] = json!([["a", "b", "c"]]),
            "two tokens",
        ),
        (
            |json| json["model"]["merges"] = json!(["a b c"]),
            "two tokens",
        ),
        (
            |json| json["model"]["merges"] = json!([["a"]]),
            "two tokens",
        ),
        // Longer together than any token.
        (
            |json| json["model"]["merges"] = json!([["a".repeat(90), "b".repeat(90)]]),
            "lacks",
        ),
        (
            |json| json["model"]["merges"] = json!([["a", "\u{1F600}"]]),
            "vocabulary",
        ),
        (|json| json["model"]["vocab"] = json!([["a", 0.5]]), "BPE"),
        (|json| json["model"]["type"] = json!("WordLevel"), "BPE"),
        (|json| json["model"]["dropout"] = json!(7), "0 and 1"),
        // What the class does not use is read all the same, as transformers reads it.
        (|json| json["version"] = json!("2.0"), "version"),
        (
            |json| json["decoder"] = json!({"type": "Nothing"}),
            "Decoder",
        ),
        (
            |json| json["normalizer"] = json!({"type": "Nothing"}),
            "Normalizer",
        ),
        (
            |json| json["truncation"] = json!({"max_length": "x"}),
            "usize",
        ),
    ];
    for (edit, reason) in broken {
        let error = edited(&edit).unwrap_err().to_string();
        assert!(
            error.contains("tokenizer.json") && error.contains(reason),
            "{error}"
        );
    }
}

/// Ids that transformers' own class would not give are refused, not given.
#[test]
fn another_class_and_what_it_sets_are_refused() {
    let with = |fixture: &str, edit: &dyn Fn(&mut Value)| {
        let json = read(&format!("{fixture}/tokenizer.json"));
        let settings = read(&format!("{fixture}/tokenizer_config.json"));
        let mut settings: Value = serde_json::from_slice(&settings).unwrap();
        edit(&mut settings);
        let settings = serde_json::to_vec(&settings).unwrap();
        let files = TokenizerFiles {
            tokenizer: &json,
            tokenizer_config: Some(&settings),
            ..TokenizerFiles::default()
        };
        TextTokenizer::new(files, OPTIONS)
    };
    for class in [
        "LlamaTokenizer",
        "LlamaTokenizerFast",
        "CLIPTokenizer",
        "BertTokenizerFast",
        "T5Tokenizer",
    ] {
        let error = with("siglip2", &|settings| {
            settings["tokenizer_class"] = json!(class)
        });
        let error = error.unwrap_err().to_string();
        let name = class.strip_suffix("Fast").unwrap_or(class);
        assert!(
            error.contains(name) && error.contains("PreTrainedTokenizerFast"),
            "{error}"
        );
    }
    for class in [
        "PreTrainedTokenizer",
        "PreTrainedTokenizerFast",
        "TokenizersBackend",
    ] {
        assert!(
            with("siglip2", &|settings| settings["tokenizer_class"] =
                json!(class))
            .is_ok()
        );
    }
    let error = with("siglip2", &|settings| settings["pad_token"] = Value::Null);
    assert!(error.unwrap_err().to_string().contains("pad_token"));

    // transformers 5.24 with `split_special_tokens`: "<eos>" in a text is four tokens.
    let split = with("siglip2", &|settings| {
        settings["split_special_tokens"] = json!(true)
    })
    .unwrap();
    let ids = |tokenizer: &TextTokenizer| tokenizer.tokenize("a <eos> b").unwrap().tokens;
    assert!(ids(&split) > ids(&tokenizer("siglip2")));
    let error = with("siglip1", &|settings| {
        settings["split_special_tokens"] = json!(true)
    });
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("split_special_tokens")
    );
}

#[test]
fn the_setting_for_lower_case_wins() {
    let lower = |lower_case| TextOptions {
        lower_case: Some(lower_case),
        ..OPTIONS
    };
    for (name, lower_case, truth) in [
        ("siglip2_hub", true, "siglip2_hub_naflex"),
        ("siglip2_hub_naflex", false, "siglip2_hub"),
    ] {
        let wrong = differences(name, lower(lower_case), truth);
        assert!(wrong.is_empty(), "{name}: {}", wrong.join("\n"));
    }
}

fn tokenizer(name: &str) -> TextTokenizer {
    open(name, OPTIONS).unwrap()
}

/// The cut changes nothing: `plain` has the same vocabulary, merges and added tokens as
/// `siglip2_hub_naflex`, but is of a class whose texts are never cut.
#[test]
fn long_texts_have_the_same_ids_cut_and_whole() {
    let (cut, whole) = (tokenizer("siglip2_hub_naflex"), tokenizer("plain"));
    let texts = texts();
    let mut random = fastrand::Rng::with_seed(7);
    let mut draw = |below: usize| random.usize(..below);
    let glue = [
        "", " ", "  ", "\n", "▁", "a", "<eos>", "\u{301}", "É", "<", "猫", "[multi",
    ];
    let (mut long, mut ends) = (0, 0);
    for number in 0..250 {
        let mut text = String::new();
        let joint = glue[draw(glue.len())];
        // One in five is so short that some of them are read to their end.
        let length = if number % 5 == 0 {
            1
        } else {
            100 + draw(6_000)
        };
        while text.len() < length {
            let part = &texts[draw(texts.len())];
            let part: String = part.chars().take(1 + draw(60)).collect();
            text += &part.repeat(1 + draw(3) * draw(30));
            text += joint;
        }
        long += usize::from(text.len() > 1_024);
        // Ids, tokens and whether its end was cut off.
        let tokenized = cut.tokenize(&text).unwrap();
        assert_eq!(tokenized, whole.tokenize(&text).unwrap(), "{text:?}");
        ends += usize::from(!tokenized.is_cut);
    }
    assert!(ends > 0, "{ends} texts were read to their end");
    assert!(long > 150, "{long}");
}

#[test]
fn a_text_says_how_many_tokens_it_has_and_whether_that_is_all() {
    for name in ["siglip2_hub", "plain"] {
        let tokenizer = tokenizer(name);
        let pad = *tokenizer.encode("").unwrap().last().unwrap();
        let mut fits = 0;
        // The tokens of a text that fits grow with it, up to all that are read; from there on
        // it is cut, and the ids stay what they are but for the end token.
        let mut before = 0;
        for words in 0..200 {
            let text = "a photo of a cat ".repeat(words);
            let tokenized = tokenizer.tokenize(text.trim_end()).unwrap();
            let padding = tokenized.ids.iter().filter(|&&id| id == pad).count();
            assert_eq!(tokenized.tokens, 64 - padding, "{name}: {words}");
            assert!(tokenized.tokens >= before, "{name}: {words}");
            before = tokenized.tokens;
            fits += usize::from(!tokenized.is_cut);
            assert_eq!(tokenized.is_cut, fits < words + 1, "{name}: {words}");
            assert!(
                !tokenized.is_cut || tokenized.tokens == 64,
                "{name}: {words}"
            );
        }
        assert!((5..60).contains(&fits), "{name}: {fits}");
    }
}

#[test]
fn of_ten_megabytes_only_what_counts_is_read() {
    let tokenizer = tokenizer("siglip2_hub");
    let text = "A photo of a cat. ".repeat(600_000);
    let ids = tokenizer.encode(&text).unwrap();
    assert_eq!(ids, tokenizer.encode(&text[..600]).unwrap());
    // A text without any place to cut it is refused, not computed for minutes.
    let error = tokenizer.encode(&"a".repeat(10 << 20)).unwrap_err();
    assert!(matches!(error, TokenizerError::TooLong { .. }), "{error}");
}

#[test]
fn ids_outside_the_model_are_an_error() {
    let small = TextOptions {
        vocab_size: 300,
        ..OPTIONS
    };
    let error = open("siglip2", small).unwrap_err();
    assert!(
        matches!(error, TokenizerError::OutsideVocabulary { .. }),
        "{error}"
    );

    // A token that only tokenizer_config.json brings gets the next id, which this model
    // has no row for: an error where it is used, and nowhere else.
    let exact = TextOptions {
        vocab_size: 997,
        ..OPTIONS
    };
    let tokenizer = open("plain", exact).unwrap();
    assert!(tokenizer.encode("a cat").is_ok());
    let error = tokenizer.encode("a <brand new> cat").unwrap_err();
    assert_eq!(
        error.to_string(),
        "token \"<brand new>\" has the id 997, but the text model knows only 997 tokens: \
         the tokenizer belongs to another checkpoint"
    );
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let json = read("siglip2_hub/tokenizer.json");
    let with = |config: &'static str, options| {
        let files = TokenizerFiles {
            tokenizer: &json,
            tokenizer_config: Some(config.as_bytes()),
            ..TokenizerFiles::default()
        };
        TextTokenizer::new(files, options).map(|_| ()).unwrap_err()
    };
    let error = with("{", OPTIONS);
    assert!(
        error
            .to_string()
            .starts_with("tokenizer_config.json cannot be used: "),
        "{error}"
    );
    let error = with("{}", OPTIONS);
    assert_eq!(error, TokenizerError::NoPadToken(None));
    let short = TextOptions {
        max_tokens: 1,
        ..OPTIONS
    };
    let error = with(r#"{"pad_token": "<pad>"}"#, short);
    let expected = TokenizerError::TooShort {
        special: 1,
        max_tokens: 1,
    };
    assert_eq!(error, expected);
    let files = TokenizerFiles {
        tokenizer: b"{}",
        ..TokenizerFiles::default()
    };
    let error = TextTokenizer::new(files, OPTIONS).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("tokenizer.json cannot be used: "),
        "{error}"
    );
}

#[test]
fn many_threads_can_share_a_tokenizer() {
    let tokenizer = tokenizer("siglip2_hub_naflex");
    let (texts, expected) = (texts(), expected("siglip2_hub_naflex"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (text, expected) in texts.iter().zip(&expected) {
                    assert_eq!(tokenizer.encode(text).unwrap(), *expected);
                }
            });
        }
    });
}
