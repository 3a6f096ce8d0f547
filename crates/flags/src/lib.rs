//! What the values of flags and environment variables mean, the same for every program of
//! the project.
//!
//! White space around a value is ignored, and a variable that is empty counts as unset, for
//! every setting alike: container files and shells leave both behind.
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
//! Settings are structs that derive [`clap::Args`] in the crate that obeys them, and are
//! flattened into the settings of a program. [`parse`] reads them; [`defaults`] is what they
//! are when nothing is said, so that the defaults stand in one place.

#![forbid(unsafe_code)]

mod command;
mod values;

pub use command::{defaults, parse, try_parse_from};
pub use values::{as_seconds, bytes, cores, count, path, seconds, some_bytes, switch, text};
