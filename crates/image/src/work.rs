//! How long a decode may take, and how it is ended early.
//!
//! Work is estimated in nanoseconds of one core, from what the file says and from measured costs
//! (release build, one core of a server from 2023). The estimate is coarse, but it is always the
//! same for the same file, which the limits and the tests depend on.
//!
//! * Before a picture is decoded, its decoder estimates an upper bound and refuses what exceeds
//!   [`MAX_WORK`] ([`check`]).
//! * During decoding, the decoder reports the work it has done ([`Stop::work`]), and once every
//!   [`STEP`] the caller is asked whether anybody is still waiting.

use std::cell::Cell;

use super::{ImageError, ImageFormat};

/// The most work that a picture may take, in nanoseconds. A file that takes longer was made to do
/// so: the largest pictures that cameras and encoders write take less than a third of it.
pub const MAX_WORK: u64 = 8_000_000_000;

/// How much work is done between two calls that ask whether to go on, in nanoseconds.
pub(super) const STEP: u64 = 5_000_000;

/// Tells a decoder whether its result is still wanted. It is asked every few milliseconds of work.
///
/// Once the answer is no, the decode ends with [`ImageError::Stopped`] and does not ask again.
pub struct Stop<'a> {
    ask: &'a dyn Fn() -> bool,
    since: Cell<u64>,
    stopped: Cell<bool>,
}

impl<'a> Stop<'a> {
    /// Ends the decode when `stopped` says so.
    pub fn when(stopped: &'a dyn Fn() -> bool) -> Self {
        Self {
            ask: stopped,
            since: Cell::new(0),
            stopped: Cell::new(false),
        }
    }

    /// Never ends it.
    pub fn never() -> Stop<'static> {
        Stop::when(&|| false)
    }

    /// Notes work that was done, in nanoseconds.
    pub(super) fn work(&self, nanoseconds: u64) -> Result<(), ImageError> {
        let since = self.since.get().saturating_add(nanoseconds);
        if since < STEP {
            self.since.set(since);
            return Ok(());
        }
        self.since.set(0);
        if self.stopped.get() || (self.ask)() {
            self.stopped.set(true);
            return Err(ImageError::Stopped);
        }
        Ok(())
    }

    /// Whether the decode was ended. If so, the error that another crate's decoder returned for it
    /// says nothing about the file.
    pub(super) fn was_stopped(&self) -> bool {
        self.stopped.get()
    }
}

/// Refuses a picture that would take more than [`MAX_WORK`]. `what` names the part of it that
/// takes so long.
pub(super) fn check(format: ImageFormat, nanoseconds: u64, what: &str) -> Result<(), ImageError> {
    if nanoseconds > MAX_WORK {
        return Err(ImageError::TooComplex {
            format,
            reason: format!(
                "{what} would take about {} s of computing; at most {} s are allowed",
                nanoseconds.div_ceil(1_000_000_000),
                MAX_WORK / 1_000_000_000
            ),
        });
    }
    Ok(())
}
