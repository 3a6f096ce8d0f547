//! What the values of flags and environment variables mean, the same for every program of
//! the project.
//!
//! ```
//! use std::time::Duration;
//!
//! assert_eq!(siglip2_flags::seconds("1.5"), Ok(Duration::from_millis(1500)));
//! assert_eq!(siglip2_flags::switch("yes"), Ok(true));
//! assert!(siglip2_flags::count("0").is_err());
//! ```

#![forbid(unsafe_code)]

use std::time::Duration;

/// A whole number above 0.
///
/// # Errors
///
/// When it is anything else.
pub fn count(value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("it must be a whole number above 0".to_owned()),
    }
}

/// A number of seconds above 0.
///
/// # Errors
///
/// When it is anything else.
pub fn seconds(value: &str) -> Result<Duration, String> {
    value
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "it must be a number of seconds above 0".to_owned())
}

/// On or off.
///
/// # Errors
///
/// When it is neither.
pub fn switch(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("it must be 1 or 0 (true/false, yes/no, on/off)".to_owned()),
    }
}
