//! When, and by which command, something was measured, so that the measurement can be
//! repeated.

use std::time::SystemTime;

use serde::Serialize;

/// See the module documentation.
#[derive(Clone, Debug, Serialize)]
pub struct Origin {
    /// When the program was started, in UTC.
    pub date: String,
    /// Its command line, without the API key.
    pub command: String,
    /// Its version.
    pub version: &'static str,
}

impl Default for Origin {
    /// The origin of this process.
    fn default() -> Self {
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            command: command(std::env::args()),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// A command line as a shell accepts it. Reports are shared, so the key is left out.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut is_key = false;
    for (at, argument) in arguments.enumerate() {
        let shown = match argument.split_once('=') {
            _ if is_key => "***".to_owned(),
            Some(("--api-key", _)) => "--api-key=***".to_owned(),
            // The directory of the program is of no interest.
            _ if at == 0 => argument
                .rsplit(['/', '\\'])
                .next()
                .unwrap_or_default()
                .to_owned(),
            _ => quoted(&argument),
        };
        is_key = argument == "--api-key";
        words.push(shown);
    }
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,%+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_repeated_and_tells_no_key() {
        let line = |words: &[&str]| command(words.iter().map(|word| (*word).to_owned()));
        assert_eq!(
            line(&[
                "/opt/load-test",
                "--images",
                "my photos",
                "--mix=text=1",
                "it's"
            ]),
            r"load-test --images 'my photos' --mix=text=1 'it'\''s'"
        );
        assert_eq!(
            line(&["load-test", "--api-key", "secret", "--json"]),
            "load-test --api-key *** --json"
        );
        assert_eq!(
            line(&["load-test", "--api-key=secret"]),
            "load-test --api-key=***"
        );
    }
}
