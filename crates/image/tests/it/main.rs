//! Pictures: decoded as Pillow decodes them, resized as transformers resizes them, within
//! the memory and the work that was said before.
//!
//! The fixtures are in the repository's `tests/fixtures`, because the tests of the whole
//! send them as well.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod avif;
mod coefficients;
mod crop;
mod decode;
mod fax;
mod fixtures;
mod intact;
#[path = "../../../../tests/it/common/jpegs.rs"]
mod jpegs;
mod large;
mod limits;
mod made;
mod naflex;
#[path = "../../../../tests/it/common/noise.rs"]
mod noise;
mod orientation;
mod reduced;
mod resize;
mod rows;
mod stop;
mod written;
