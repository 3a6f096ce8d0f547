//! What a decode costs in time, and how it is ended before its time.
//!
//! Work is reckoned in nanoseconds of one core, from what the file says and from costs that
//! were measured (release build, one core of a server of 2023). The reckoning is coarse, and
//! always the same for the same file: that is what the limits and the tests need.
//!
//! * Before a picture is decoded, its decoder reckons what it will cost at most and refuses
//!   what is beyond [`MAX_WORK`] ([`check`]).
//! * While it is decoded, the decoder notes what it has done ([`Stop::work`]), and once in
//!   [`STEP`] the caller is asked whether anybody still waits for it.

use std::cell::Cell;

use super::{ImageError, ImageFormat};

/// The most work that a picture may be, in nanoseconds: what takes longer is built to take
/// long. The largest pictures that cameras and encoders write are below a third of it.
pub const MAX_WORK: u64 = 8_000_000_000;

/// So much work is done between two questions whether to go on, in nanoseconds.
pub(super) const STEP: u64 = 5_000_000;

/// Whether a decode is still wanted: asked every few milliseconds of work.
///
/// Once it has said that it is not, the decode ends with [`ImageError::Stopped`] and asks
/// no more.
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

    /// Whether the decode was ended: what a decoder of others then says of it is no news.
    pub(super) fn was_stopped(&self) -> bool {
        self.stopped.get()
    }
}

/// Refuses a picture whose work is beyond [`MAX_WORK`]; `what` is work and says of what.
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
