//! Names that come from users and servers, checked before they become URLs and paths.

use crate::files::is_inside;

/// Whether the hub could have a model of this name: `name` or `owner/name` of letters, digits,
/// `-`, `_` and `.`, as huggingface_hub's `validate_repo_id` has it.
pub fn is_repository(name: &str) -> bool {
    let part = |part: &str| {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (1..=96).contains(&part.len())
            && part.chars().all(|c| word(c) || c == '-' || c == '.')
            && part.starts_with(word)
            && part.ends_with(word)
    };
    name.split('/').count() <= 2
        && name.split('/').all(part)
        && !name.contains("--")
        && !name.contains("..")
        && !name.ends_with(".git")
}

/// Whether this can be a branch, a tag or a commit, and a path below `refs/`.
pub(super) fn is_revision(revision: &str) -> bool {
    is_inside(revision) && !revision.contains(char::is_whitespace)
}

/// Whether this is a commit: 40 hexadecimal digits.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40
        && revision
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The name of a blob in the cache, from a server's ETag, as huggingface_hub makes it; `None`
/// for one that is not the plain name of a file.
pub(super) fn blob(etag: &str) -> Option<&str> {
    let name = etag.trim_start_matches(['W', '/']).trim_matches('"');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let whole = (1..=128).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('.')
        && !name.ends_with(".incomplete");
    whole.then_some(name)
}

/// A path within a URL: what is not plain is escaped, slashes with it unless they are `kept`.
pub(super) fn escaped(text: &str, kept: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || (kept && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_named_as_the_hub_names_them() {
        for name in ["google/siglip2-base-patch16-224", "gpt2", "a/b.c_d", "0x/1"] {
            assert!(is_repository(name), "{name:?}");
        }
        for name in [
            "", "a/", "/a", "a/b/c", "a b", "a/..", "../a", "a--b", "a..b", ".a", "a-", "a/b.git",
            "a\\b", "café", "a%2fb", "a?b", "a\n",
        ] {
            assert!(!is_repository(name), "{name:?}");
        }
    }

    #[test]
    fn revisions_stay_below_refs() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        for revision in ["main", "v1.0", "refs/pr/3", commit] {
            assert!(is_revision(revision), "{revision:?}");
        }
        for revision in ["", "../main", "/main", "a b", "a\n"] {
            assert!(!is_revision(revision), "{revision:?}");
        }
        assert!(is_commit(commit));
        assert!(!is_commit("main") && !is_commit(&commit.to_uppercase()));
    }

    #[test]
    fn etags_become_names_of_files_or_nothing() {
        assert_eq!(blob("\"abc\""), Some("abc"));
        assert_eq!(blob("W/\"abc-1\""), Some("abc-1"));
        for etag in [
            "",
            "\"\"",
            "\"../../x\"",
            "\"/etc/passwd\"",
            "\"a/b\"",
            "..",
            "\".\"",
            "\"a\\b\"",
            "\"a b\"",
            "\"x.incomplete\"",
        ] {
            assert_eq!(blob(etag), None, "{etag:?}");
        }
    }

    #[test]
    fn paths_are_escaped() {
        assert_eq!(escaped("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(escaped("a b/ü?.json", true), "a%20b/%C3%BC%3F.json");
    }
}
