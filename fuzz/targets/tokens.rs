//! Texts to token ids: always as many ids as asked for, each of the vocabulary, and the
//! same whether a long text was cut beforehand and read word by word, or all at once.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use siglip2_embeddings::checkpoint::Checkpoint;
use siglip2_embeddings::text::{TextOptions, TextTokenizer};

/// So few that texts of a few hundred bytes are long ones, which are cut.
const TOKENS: usize = 4;

static TOKENIZER: LazyLock<(TextTokenizer, usize)> = LazyLock::new(|| {
    let checkpoint = Checkpoint::demo().expect("the demo model");
    let vocab_size = checkpoint.config.text.vocab_size;
    let tokenizer = TextTokenizer::new(
        checkpoint.files.tokenizer_files(),
        TextOptions {
            max_tokens: TOKENS,
            vocab_size,
            lower_case: None,
        },
    );
    (tokenizer.expect("the demo tokenizer"), vocab_size)
});

fuzz_target!(|text: &str| {
    let (tokenizer, vocab_size) = &*TOKENIZER;
    let ids = tokenizer.encode(text).expect("any text has tokens");
    assert_eq!(ids.len(), TOKENS);
    assert!(ids.iter().all(|&id| (0..*vocab_size as i32).contains(&id)));
    assert_eq!(
        ids,
        tokenizer.encode_whole(text).expect("any text has tokens")
    );
});
