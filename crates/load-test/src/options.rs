//! What the load test is told: flags, each validated where it is read.
//!
//! A value that cannot be used ends the program with a sentence that names it; nothing
//! after this module checks a flag again.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};

use crate::mix::Mix;
use crate::schedule::Arrivals;

/// Measures a service that embeds images and texts, and checks what it answers.
///
/// Without --rate the loop is closed: --concurrency clients, each sending its next
/// request when the last is answered. With --rate it is open: requests arrive on
/// schedule whether or not answers come, and latency counts from the scheduled arrival.
///
/// How it counts: the window of the measuring opens when the warm-up ends and closes
/// after --duration, or with the answer to the last of --requests. Rates are what was
/// answered in the window, divided by its length: requests, rows and bytes. A request
/// that was begun in the warm-up and answered in the window counts, with its whole
/// latency; one that is in flight when the window closes does not, and is reported as
/// unfinished. So both edges of the window are treated alike.
#[derive(Clone, Debug, Parser)]
#[command(name = "load-test", version, args_override_self = true)]
pub struct Options {
    /// The service to measure; plain HTTP.
    #[arg(long, default_value = "http://127.0.0.1:8091")]
    pub url: String,

    /// Clients of the closed loop.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub concurrency: u32,

    /// Requests a second, in an open loop.
    #[arg(long, value_parser = rate)]
    pub rate: Option<f64>,

    /// How arrivals of the open loop are spaced: at random, as independent clients come,
    /// or evenly.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    pub arrivals: Arrivals,

    /// Let clients of the closed loop send on at once when they are refused with
    /// Retry-After (429 or 503), instead of waiting as long as it says.
    #[arg(long)]
    pub ignore_retry_after: bool,

    /// Connections that the open loop may hold; a request that waits for one waits on
    /// the clock.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_connections: u32,

    /// Weights of the endpoints: text, image, images, similarity, rank.
    #[arg(long, default_value = "image=1")]
    pub mix: Mix,

    /// Texts in a request to /embed/text and /similarity.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub texts_per_request: u32,

    /// Images in a request to /embed/images, /similarity and /rank.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub images_per_request: u32,

    /// Send the images of this folder, as they are, instead of drawn ones.
    #[arg(long, conflicts_with_all = ["drawn", "drawn_format"])]
    pub images: Option<PathBuf>,

    /// Sizes of drawn images, in turn: 224x224 or 224x224,1920x1080.
    #[arg(long, default_value = "224x224", value_delimiter = ',', value_parser = size)]
    pub drawn: Vec<(u32, u32)>,

    /// Format of drawn images.
    #[arg(long, value_enum, default_value_t = DrawnFormat::Jpeg)]
    pub drawn_format: DrawnFormat,

    /// How many different texts, and how many different images, are sent before they
    /// come again; by default 1000000 texts, and no image twice.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub distinct: Option<u32>,

    /// Send the same files again and again: those of --images, or 64 drawn ones (or
    /// --distinct of them). Without this each image that is sent is another file with a
    /// number in a comment, which no cache of answers knows.
    #[arg(long)]
    pub repeat_images: bool,

    /// What texts, drawings and the order of requests are derived from. By default
    /// another one on each run, because a service may remember the texts of the last;
    /// the report names it.
    #[arg(long, default_value_t = seed_of_now(), hide_default_value = true)]
    pub seed: u64,

    /// Ask for vectors of unit length.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub normalize: bool,

    /// Key to send as X-API-Key.
    #[arg(long, env = "API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,

    /// Sent as X-Request-Timeout-Ms; the client itself gives up half a second later. By
    /// default nothing is sent and the client gives up after a minute.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub timeout_ms: Option<u64>,

    /// How long to measure: 30s, 500ms, 5m. By default 30s, and 10s for each step of
    /// --search-rate.
    #[arg(long, value_parser = duration, conflicts_with = "requests")]
    pub duration: Option<Duration>,

    /// Measure until so many requests have ended instead.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,

    /// How long to run before the window of the measuring opens. It should be longer than
    /// the slowest request.
    #[arg(long, default_value = "3s", value_parser = duration)]
    pub warm_up: Duration,

    /// How many answers are parsed and verified number by number. The rows of every
    /// answer are counted unless this is `none`.
    #[arg(long, value_enum, default_value_t = Check::Sample)]
    pub check: Check,

    /// Percent of the requests that are hostile (1 or 1%): damaged, lying or cut off; an
    /// answer 5xx to one is wrong.
    #[arg(long, default_value_t = 0.0, value_parser = percent)]
    pub hostile: f64,

    /// A second service: both are run in turn with the same inputs, and compared.
    #[arg(long, value_name = "URL", conflicts_with = "search_rate")]
    pub compare: Option<String>,

    /// How often each is run, with --compare.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// Find the highest rate that is held.
    #[arg(long, conflicts_with = "requests")]
    pub search_rate: bool,

    /// The 99th percentile of latency that a rate must keep, with --search-rate.
    #[arg(long, default_value_t = 250.0, value_parser = positive)]
    pub p99_ms: f64,

    /// Process of the service at --url: its memory, file descriptors and threads are
    /// sampled each second, and reported at rest, after the warm-up, at the end and where
    /// they strayed furthest from what they were after the warm-up.
    #[arg(long, value_name = "PID")]
    pub watch_pid: Option<u32>,

    /// Print the whole report as JSON.
    #[arg(long)]
    pub json: bool,

    /// Write the report as one HTML file with plots over time.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// The format of drawn images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DrawnFormat {
    /// Quality 85, as cameras and sites write them.
    Jpeg,
    /// Lossless.
    Png,
}

/// How much of the answers is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// Every answer in full.
    All,
    /// One answer in 16 in full, the number of rows in all.
    Sample,
    /// Nothing but the status.
    None,
}

/// Reads `30s`, `500ms`, `5m`, `1h`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("write a time as 30s, 500ms, 5m or 1h".to_owned()),
    };
    digits
        .parse::<f64>()
        .ok()
        .map(|number| number * scale)
        .filter(|seconds| (0.0..=1e6).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "write a time as 30s, 500ms, 5m or 1h".to_owned())
}

fn seed_of_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |now| now.as_micros() as u64)
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|value| value.is_finite() && *value > 0.0)
        .ok_or_else(|| "it must be a number above 0".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    positive(text).and_then(|rate| {
        if (0.01..=1e6).contains(&rate) {
            Ok(rate)
        } else {
            Err("it must be between 0.01 and 1000000 requests a second".to_owned())
        }
    })
}

fn percent(text: &str) -> Result<f64, String> {
    text.strip_suffix('%')
        .unwrap_or(text)
        .parse::<f64>()
        .ok()
        .filter(|value| (0.0..=100.0).contains(value))
        .ok_or_else(|| "it must be a number from 0 to 100".to_owned())
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let parse = |part: &str| {
        part.parse::<u32>()
            .ok()
            .filter(|side| (1..=16_384).contains(side))
    };
    text.split_once('x')
        .and_then(|(width, height)| Some((parse(width)?, parse(height)?)))
        .ok_or_else(|| "write a size as 224x224, sides from 1 to 16384".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_units() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        for wrong in ["", "s", "-1s", "3 days", "1e99s", "NaN", "ä"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_and_shares_have_bounds() {
        assert_eq!(size("640x480"), Ok((640, 480)));
        assert!(size("0x4").is_err() && size("640").is_err() && size("9x99999").is_err());
        assert_eq!((percent("1%"), percent("0.5")), (Ok(1.0), Ok(0.5)));
        assert!(percent("100").is_ok() && percent("101").is_err() && percent("NaN").is_err());
        assert!(rate("0").is_err() && rate("inf").is_err() && rate("12.5").is_ok());
    }
}
