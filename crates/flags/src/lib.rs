//! Parsers for the values of flags and environment variables, shared by every program of the
//! project.
//!
//! For every setting, white space around a value is ignored and an empty variable counts as
//! unset: container files and shells often leave both behind.
//!
//! ```
//! use std::time::Duration;
//!
//! assert_eq!(siglip2_flags::seconds("1.5"), Ok(Duration::from_millis(1500)));
//! assert_eq!(siglip2_flags::seconds("2min"), Ok(Duration::from_secs(120)));
//! assert_eq!(siglip2_flags::bytes("256MiB"), Ok(256_u64 << 20));
//! assert_eq!(siglip2_flags::switch(" yes "), Ok(true));
//! assert!(siglip2_flags::count("0").is_err());
//! ```
//!
//! Settings are structs that derive [`clap::Args`] in the crate that uses them, and are
//! flattened into the settings of a program. [`try_parse_from`] reads them; [`defaults`]
//! returns their default values, so that each default is written in one place.

#![forbid(unsafe_code)]

mod choice;
mod command;
mod values;

pub use choice::{Choice, choice};
pub use command::{defaults, try_parse_command, try_parse_flags, try_parse_from};
pub use values::{
    as_seconds, bytes, cores, count, duration, number, path, seconds, some_bytes, switch, text,
};
