//! Base64 and data URIs: what is valid is read as the `base64` crate reads it, with or
//! without the oddities that Python allows in it.

#![no_main]

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, PAD, STANDARD};
use libfuzzer_sys::fuzz_target;
use siglip2_embeddings::http::fuzzing::base64;

fn is_data(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '+' | '/')
}

fuzz_target!(|data: &[u8]| {
    // Any bytes come back, plain, in lines, and as a data URI.
    let encoded = STANDARD.encode(data);
    assert_eq!(base64(&encoded).as_deref(), Some(data));
    let lines: String = encoded
        .char_indices()
        .flat_map(|(at, character)| (at % 7 == 6).then_some('\n').into_iter().chain([character]))
        .collect();
    assert_eq!(base64(&lines).as_deref(), Some(data));
    let uri = format!(" Data:image/png;base64,{encoded}");
    assert_eq!(base64(&uri).as_deref(), Some(data));

    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let ours = base64(text);
    if let Ok(expected) = STANDARD.decode(text) {
        assert_eq!(ours.as_ref(), Some(&expected));
    }
    let start = text.trim_start();
    let is_uri = start
        .get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    if is_uri && !start.contains(',') {
        assert_eq!(ours, None);
        return;
    }
    let payload = if is_uri {
        // Its parameters may have commas in them.
        start.rsplit_once(',').map_or("", |(_, payload)| payload)
    } else {
        start
    };
    if let Some(bytes) = &ours {
        assert!(bytes.len() * 4 <= payload.chars().filter(|&c| is_data(c)).count() * 3);
    }
    // Without padding, all that is not of the alphabet is as if it were not there.
    if !payload.contains('=') {
        let lenient = GeneralPurpose::new(&ALPHABET, PAD.with_decode_allow_trailing_bits(true));
        let only: String = payload.chars().filter(|&c| is_data(c)).collect();
        assert_eq!(ours, lenient.decode(only).ok());
    }
});
