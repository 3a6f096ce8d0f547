//! One function for each kind of value.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Serializer;

/// A whole number above 0.
///
/// # Errors
///
/// When it is anything else.
pub fn count(value: &str) -> Result<usize, String> {
    match value.trim().parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("it must be a whole number above 0".to_owned()),
    }
}

/// A number of bytes: digits alone, or with a unit, such as `100MB` (10^6 bytes each) or
/// `256MiB` (2^20 bytes each).
///
/// # Errors
///
/// When it is anything else, or more than this machine can count.
pub fn bytes<T: TryFrom<u64>>(value: &str) -> Result<T, String> {
    let wrong = "it must be a number of bytes, such as 1048576, 100MB or 256MiB";
    let value = value.trim();
    // The crate accepts fractions of a byte and signs, which are always mistakes.
    if !value.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(wrong.to_owned());
    }
    let ByteSize(bytes) = value.parse().map_err(|_| wrong.to_owned())?;
    T::try_from(bytes).map_err(|_| format!("{value} is more than this machine can hold"))
}

/// Like [`bytes`], but not 0.
///
/// # Errors
///
/// As [`bytes`], and when it is 0.
pub fn some_bytes<T: TryFrom<u64>>(value: &str) -> Result<T, String> {
    match bytes::<u64>(value)? {
        0 => Err("it must be a number of bytes above 0".to_owned()),
        bytes => {
            T::try_from(bytes).map_err(|_| format!("{value} is more than this machine can hold"))
        }
    }
}

/// A number of a type, within its bounds.
///
/// # Errors
///
/// When it is none.
pub fn number<T: FromStr<Err: Display>>(value: &str) -> Result<T, String> {
    value
        .trim()
        .parse()
        .map_err(|error: T::Err| error.to_string())
}

/// A duration, which may be 0: a number of seconds, or numbers with units, such as `500ms` or
/// `2min`.
///
/// # Errors
///
/// When it is anything else.
pub fn duration(value: &str) -> Result<Duration, String> {
    let value = value.trim();
    let duration = match value.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(value).ok(),
    };
    duration.ok_or_else(|| {
        "it must be a number of seconds, or a duration such as 500ms or 2min".to_owned()
    })
}

/// A duration above 0, written as [`duration`] reads it.
///
/// # Errors
///
/// When it is anything else.
pub fn seconds(value: &str) -> Result<Duration, String> {
    let duration = duration(value).ok().filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| {
        "it must be a number of seconds above 0, or a duration such as 500ms or 2min".to_owned()
    })
}

/// On or off.
///
/// # Errors
///
/// When it is neither.
pub fn switch(value: &str) -> Result<bool, String> {
    match value.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("it must be 1 or 0 (true/false, yes/no, on/off)".to_owned()),
    }
}

/// A string that is not empty.
///
/// # Errors
///
/// When it is empty.
pub fn text(value: &str) -> Result<String, String> {
    match value.trim() {
        "" => Err("it must not be empty".to_owned()),
        value => Ok(value.to_owned()),
    }
}

/// A path in the file system.
///
/// # Errors
///
/// When it is empty.
pub fn path(value: &str) -> Result<PathBuf, String> {
    text(value).map(PathBuf::from)
}

/// How many threads this process can run at the same time: the limit of the processor, the
/// affinity mask or the control group, whichever is lowest.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Writes a duration as a number of seconds, for `#[serde(serialize_with)]`.
///
/// # Errors
///
/// Those of the serializer.
pub fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units_or_none() {
        for (value, expected) in [
            ("0", 0),
            (" 1048576 ", 1 << 20),
            ("100MB", 100_000_000),
            ("256MiB", 256 << 20),
            ("1 GiB", 1 << 30),
            ("1.5k", 1500),
        ] {
            assert_eq!(bytes::<u64>(value), Ok(expected), "{value:?}");
        }
        for value in ["", "-1", "+1", "MB", "ten", "1XB", "NaN"] {
            assert!(bytes::<u64>(value).is_err(), "{value:?}");
        }
        assert!(bytes::<u8>("256").is_err());
        assert!(some_bytes::<u64>("0").is_err());
    }

    #[test]
    fn durations_are_seconds_or_have_units() {
        for (value, expected) in [
            ("1", 1000),
            (" 0.25 ", 250),
            ("500ms", 500),
            ("2min", 120_000),
            ("1m 30s", 90_000),
        ] {
            assert_eq!(
                seconds(value),
                Ok(Duration::from_millis(expected)),
                "{value:?}"
            );
        }
        for value in [
            "", "0", "0s", "-1", "NaN", "inf", "1e400", "soon", "5 apples",
        ] {
            assert!(seconds(value).is_err(), "{value:?}");
            let is_none = matches!(value, "0" | "0s");
            assert_eq!(duration(value) == Ok(Duration::ZERO), is_none, "{value:?}");
            assert_eq!(duration(value).is_ok(), is_none, "{value:?}");
        }
    }
}
