//! The flags of the load test, each validated when it is parsed.
//!
//! A value that cannot be used ends the program with a sentence that names it; no code
//! after this module checks a flag again.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};

use crate::mix::Mix;
use crate::origin::Origin;
use crate::schedule::Arrivals;

/// The longest time that a flag may say: the end of a window is a point in time.
const LONGEST: Duration = Duration::from_secs(1_000_000);

/// Measures a service that embeds images and texts, and checks its answers.
///
/// Without --rate the loop is closed: --concurrency clients, each sending its next
/// request when the last is answered. With --rate it is open: requests arrive on
/// schedule whether or not answers come, and latency counts from the scheduled arrival.
///
/// How it counts: the measuring window opens when the warm-up ends and closes after
/// --duration, or with the answer to the last of --requests. Rates are the requests, rows
/// and bytes answered in the window, divided by its length. A request that was started
/// in the warm-up and answered in the window counts, with its whole latency; one that is
/// in flight when the window closes does not, and is reported as unfinished. So both
/// edges of the window are treated alike.
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

    /// How arrivals of the open loop are spaced: at random, like those of independent clients,
    /// or evenly.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    pub arrivals: Arrivals,

    /// Let clients of the closed loop continue at once when they are refused with Retry-After
    /// (429 or 503), instead of waiting as long as it says.
    #[arg(long)]
    pub ignore_retry_after: bool,

    /// The most connections of the open loop; waiting for a free one counts as latency.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_connections: u32,

    /// Weights of the endpoints: text, image, images, similarity, rank.
    #[arg(long, default_value = "image=1")]
    pub mix: Mix,

    /// Texts per request to /embed/text and /similarity.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub texts_per_request: u32,

    /// Images per request to /embed/images, /similarity and /rank.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub images_per_request: u32,

    /// Send the images of this folder, unchanged, instead of drawn ones.
    #[arg(long, conflicts_with_all = ["drawn", "drawn_format"])]
    pub images: Option<PathBuf>,

    /// Sizes of drawn images, in turn: 224x224 or 224x224,1920x1080.
    #[arg(long, default_value = "224x224", value_delimiter = ',', value_parser = size)]
    pub drawn: Vec<(u32, u32)>,

    /// Format of drawn images.
    #[arg(long, value_enum, default_value_t = DrawnFormat::Jpeg)]
    pub drawn_format: DrawnFormat,

    /// How many distinct texts, and how many distinct images, to send before they repeat; by
    /// default 1000000 texts, and no image is repeated.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub distinct: Option<u32>,

    /// Send the same files repeatedly: those of --images, or 64 drawn ones (or --distinct of
    /// them). Without this, each image sent is a different file, with a number in a comment, so
    /// that no cache of answers has it.
    #[arg(long)]
    pub repeat_images: bool,

    /// The seed for texts, drawings and the order of requests. By default it differs on each
    /// run, because a service may cache the texts of the last run; the report names it.
    #[arg(long, default_value_t = seed_of_now(), hide_default_value = true)]
    pub seed: u64,

    /// Request vectors of unit length.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub normalize: bool,

    /// What embeddings are asked for as: JSON, or float32 as bytes (application/octet-stream).
    #[arg(long, value_enum, default_value_t = Answers::Json)]
    pub answers: Answers,

    /// Key to send as X-API-Key.
    #[arg(long, env = "API_KEY", hide_env_values = true, value_parser = siglip2_flags::text)]
    pub api_key: Option<String>,

    /// Sent as X-Request-Timeout-Ms; the client itself times out half a second later. By
    /// default nothing is sent and the client times out after a minute.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub timeout_ms: Option<u64>,

    /// How long to measure: 30s, 500ms, 5m. By default 30s, and 10s for each step of
    /// --search-rate.
    #[arg(long, value_parser = duration, conflicts_with = "requests")]
    pub duration: Option<Duration>,

    /// Measure until this many requests have ended instead.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,

    /// How long to run before the measuring window opens. It should be longer than the
    /// slowest request.
    #[arg(long, default_value = "3s", value_parser = duration)]
    pub warm_up: Duration,

    /// How many answers to parse and verify number by number. The rows of every answer are
    /// counted unless this is `none`.
    #[arg(long, value_enum, default_value_t = Check::Sample)]
    pub check: Check,

    /// Percent of requests that are hostile (1 or 1%): damaged, lying or cut off. A 5xx answer
    /// to one is wrong.
    #[arg(long, default_value_t = 0.0, value_parser = percent)]
    pub hostile: f64,

    /// A second service: both run in turn with the same inputs, and are compared.
    #[arg(long, value_name = "URL", conflicts_with = "search_rate")]
    pub compare: Option<String>,

    /// How often to run each, with --compare.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// Find the highest rate that the service holds.
    #[arg(long, conflicts_with = "requests")]
    pub search_rate: bool,

    /// The bound on the 99th percentile of latency, with --search-rate.
    #[arg(long, default_value_t = 250.0, value_parser = positive)]
    pub p99_ms: f64,

    /// Process of the service at --url: its memory, file descriptors and threads are sampled
    /// each second, and reported at rest, after the warm-up, at the end, and at the largest
    /// deviation from the values after the warm-up.
    #[arg(long, value_name = "PID")]
    pub watch_pid: Option<u32>,

    /// Print the whole report as JSON.
    #[arg(long)]
    pub json: bool,

    /// Write the report as one HTML file with plots over time.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// When, and by which command, this is measured.
    #[arg(skip)]
    pub origin: Origin,
}

/// The format of drawn images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DrawnFormat {
    /// Quality 85, as used by cameras and web sites.
    Jpeg,
    /// Lossless.
    Png,
}

/// What embeddings are asked for as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Answers {
    /// Decimal numbers.
    Json,
    /// Rows of little-endian f32.
    Bytes,
}

/// How much of the answers to verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// Every answer in full.
    All,
    /// One answer in 16 in full, the number of rows in all.
    Sample,
    /// Only the status.
    None,
}

/// A time as the service's flags have it, of at most [`LONGEST`].
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration = siglip2_flags::duration(text)?;
    match duration <= LONGEST {
        true => Ok(duration),
        false => Err(format!("it must be at most {} s", LONGEST.as_secs())),
    }
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
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in ["", "s", "-1s", "20 days", "1e99s", "1e99", "NaN", "ä"] {
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
