//! Brace ranges and globs: `shards/{00000..00099}.tar`, `photos/**/*.jpg`.

use std::path::PathBuf;

use glob::{MatchOptions, glob_with};

use crate::error::InputError;

/// Words that one pattern may stand for, before globs are looked up.
const MOST_WORDS: usize = 1_000_000;

/// Gives every path that an input stands for to `take`, in order.
///
/// # Errors
///
/// When a pattern is wrong or nothing matches it, and those of `take`.
pub(super) fn each_path(
    input: &str,
    take: &mut dyn FnMut(PathBuf) -> Result<(), InputError>,
) -> Result<(), InputError> {
    let path = PathBuf::from(input);
    // A file may be called so.
    if path.exists() {
        return take(path);
    }
    let mut words = Vec::new();
    expand(input, &mut words)?;
    for word in words {
        if !word.contains(['*', '?', '[']) {
            take(PathBuf::from(word))?;
            continue;
        }
        let options = MatchOptions {
            require_literal_leading_dot: true,
            ..MatchOptions::default()
        };
        let paths = glob_with(&word, options).map_err(|error| format!("{word}: {error}"))?;
        let mut found = false;
        let mut walked: Option<PathBuf> = None;
        for path in paths {
            found = true;
            let path = path.map_err(|error| format!("cannot read {error}"))?;
            // A folder is walked whole; what a pattern finds below it is there already.
            if walked
                .as_ref()
                .is_some_and(|folder| path.starts_with(folder))
            {
                continue;
            }
            if path.is_dir() {
                walked = Some(path.clone());
            }
            take(path)?;
        }
        if !found {
            return Err(format!("nothing matches {word}").into());
        }
    }
    Ok(())
}

/// Every word that a pattern with braces stands for: `{a,b}` or `{000..009}`, also several,
/// also one in another.
fn expand(pattern: &str, words: &mut Vec<String>) -> Result<(), InputError> {
    let Some((start, end)) = first_braces(pattern) else {
        if words.len() >= MOST_WORDS {
            return Err(format!("a pattern stands for more than {MOST_WORDS} paths").into());
        }
        words.push(pattern.to_owned());
        return Ok(());
    };
    let (before, inner, behind) = (
        &pattern[..start],
        &pattern[start + 1..end],
        &pattern[end + 1..],
    );
    if let Some(numbers) = range(inner) {
        for number in numbers {
            expand(&format!("{before}{number}{behind}"), words)?;
        }
        return Ok(());
    }
    let choices = choices(inner);
    if choices.len() < 2 {
        return Err(format!(
            "{{{inner}}} in {pattern} is no range such as {{000..099}} and no list such as {{a,b}}"
        )
        .into());
    }
    for choice in choices {
        expand(&format!("{before}{choice}{behind}"), words)?;
    }
    Ok(())
}

/// Where the first pair of braces is.
fn first_braces(pattern: &str) -> Option<(usize, usize)> {
    let start = pattern.find('{')?;
    let mut depth = 0;
    for (at, letter) in pattern[start..].char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((start, start + at));
        }
    }
    None
}

/// `000..099`: as many digits as the longer end has, if one begins with 0.
fn range(inner: &str) -> Option<impl Iterator<Item = String> + use<>> {
    let (first, last) = inner.split_once("..")?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (from, to) = (number(first)?, number(last)?);
    let padded = [first, last]
        .iter()
        .any(|it| it.len() > 1 && it.starts_with('0'));
    let width = if padded {
        first.len().max(last.len())
    } else {
        0
    };
    let count = from.abs_diff(to);
    let step = move |index: u64| {
        if from <= to {
            from + index
        } else {
            from - index
        }
    };
    // One more than fits is enough to be refused.
    let most = count.min(MOST_WORDS as u64);
    Some((0..=most).map(move |index| format!("{:0width$}", step(index))))
}

/// The parts between commas that are in no further braces.
fn choices(inner: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pattern: &str) -> Vec<String> {
        let mut words = Vec::new();
        expand(pattern, &mut words).unwrap();
        words
    }

    #[test]
    fn braces_are_those_of_a_shell() {
        // As bash prints them.
        assert_eq!(words("a{0..2}"), ["a0", "a1", "a2"]);
        assert_eq!(words("a{08..10}.tar"), ["a08.tar", "a09.tar", "a10.tar"]);
        assert_eq!(words("{2..0}"), ["2", "1", "0"]);
        assert_eq!(words("{a,b}{0..1}"), ["a0", "a1", "b0", "b1"]);
        assert_eq!(words("{a,b{0..1}}"), ["a", "b0", "b1"]);
        assert_eq!(words("plain"), ["plain"]);
        assert_eq!(words("open{"), ["open{"]);
    }

    #[test]
    fn what_stands_for_too_much_or_nothing_is_refused() {
        let mut none = Vec::new();
        assert!(expand("{0..99999999999}", &mut none).is_err());
        assert!(expand("{a}", &mut Vec::new()).is_err());
        let error = each_path("/nowhere/*.jpg", &mut |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("nothing matches"), "{error}");
    }

    #[test]
    fn what_is_in_a_folder_that_matches_is_taken_once() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        std::fs::write(root.path().join("a/b/1.jpg"), b"x").unwrap();
        std::fs::write(root.path().join("2.jpg"), b"x").unwrap();
        for pattern in ["**", "**/*"] {
            let mut found = Vec::new();
            let pattern = format!("{}/{pattern}", root.path().display());
            each_path(&pattern, &mut |path| {
                found.push(path);
                Ok(())
            })
            .unwrap();
            for (at, path) in found.iter().enumerate() {
                let again = found[..at].iter().any(|folder| path.starts_with(folder));
                assert!(!again, "{pattern}: {found:?}");
            }
        }
    }
}
