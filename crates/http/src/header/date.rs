//! The header `Date`, by the clock as it is: hyper keeps the one that it wrote last until the
//! clock has passed it, which after a jump back may take days.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::HeaderValue;

/// The date now.
pub(crate) fn now() -> HeaderValue {
    at(SystemTime::now())
}

/// The date at a time, written once a second.
fn at(time: SystemTime) -> HeaderValue {
    static LAST: Mutex<Option<(u64, HeaderValue)>> = Mutex::new(None);
    let second = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let mut last = LAST
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    match &*last {
        Some((of, written)) if *of == second => written.clone(),
        _ => {
            let written = text(second);
            *last = Some((second, written.clone()));
            written
        }
    }
}

fn text(second: u64) -> HeaderValue {
    // Beyond the year 9999 there is no way to write it.
    let time = UNIX_EPOCH + Duration::from_secs(second.min(253_402_300_799));
    HeaderValue::from_str(&httpdate::fmt_http_date(time))
        .unwrap_or_else(|_| HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_is_followed_both_ways() {
        for (second, expected) in [
            (1_700_000_000, "Tue, 14 Nov 2023 22:13:20 GMT"),
            (1_800_000_000, "Fri, 15 Jan 2027 08:00:00 GMT"),
            (1_600_000_000, "Sun, 13 Sep 2020 12:26:40 GMT"),
            (1_600_000_000, "Sun, 13 Sep 2020 12:26:40 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        ] {
            assert_eq!(at(UNIX_EPOCH + Duration::from_secs(second)), expected);
        }
        assert_eq!(text(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
