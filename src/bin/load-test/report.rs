//! From what was recorded to what is said: the report as JSON, and a table for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::client::Ending;
use crate::inputs::Distinct;
use crate::mix::Endpoint;
use crate::options::{Check, Options};
use crate::record::{Group, Latencies};
use crate::run::{Loop, Outcome, Plan};
use crate::schedule::End;
use crate::watch::Look;

/// A clock that is later than this for one request in a hundred measures the client.
pub const LATE_MS: f64 = 10.0;

/// Percentiles, in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Percentiles {
    /// How many requests these are of.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 95 of 100.
    pub p95: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p99_9: f64,
    /// The longest.
    pub max: f64,
}

impl Percentiles {
    fn of(latencies: &Latencies) -> Self {
        Self {
            count: latencies.count(),
            mean: latencies.mean_ms(),
            p50: latencies.quantile_ms(0.5),
            p90: latencies.quantile_ms(0.9),
            p95: latencies.quantile_ms(0.95),
            p99: latencies.quantile_ms(0.99),
            p99_9: latencies.quantile_ms(0.999),
            max: latencies.max_ms(),
        }
    }
}

/// Counts and latencies of one endpoint, or of all.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Where requests went.
    pub path: &'static str,
    /// Requests, however they ended.
    pub requests: u64,
    /// Those that were answered, with whatever status.
    pub answered: u64,
    /// Those that were answered with success and not wrong.
    pub good: u64,
    /// Answers that were wrong.
    pub wrong: u64,
    /// Good answers a second.
    pub requests_per_s: f64,
    /// Images in good answers, a second.
    pub images_per_s: f64,
    /// Texts in good answers, a second.
    pub texts_per_s: f64,
    /// Both.
    pub rows_per_s: f64,
    /// Bytes sent, heads included.
    pub bytes_sent: u64,
    /// Bytes received, heads included.
    pub bytes_received: u64,
    /// Latency of answers with success; of any answer, for hostile requests.
    pub latency_ms: Percentiles,
    /// Latency by status, or by what kept the answer away.
    pub by_status: BTreeMap<String, Percentiles>,
}

impl Summary {
    fn of(group: &Group, endpoint: Option<Endpoint>, elapsed_s: f64) -> Self {
        let rate = |count: u64| {
            if elapsed_s > 0.0 {
                count as f64 / elapsed_s
            } else {
                0.0
            }
        };
        let hostile = endpoint == Some(Endpoint::Hostile);
        let good = if hostile {
            group.requests().saturating_sub(group.wrong)
        } else {
            group.count(Ending::is_good).saturating_sub(group.wrong)
        };
        Self {
            path: endpoint.map_or("*", Endpoint::path),
            requests: group.requests(),
            answered: group.answered(),
            good,
            wrong: group.wrong,
            requests_per_s: rate(good),
            images_per_s: rate(group.images),
            texts_per_s: rate(group.texts),
            rows_per_s: rate(group.images + group.texts),
            bytes_sent: group.sent,
            bytes_received: group.received,
            latency_ms: Percentiles::of(&group.latencies(|ending| hostile || ending.is_good())),
            by_status: group
                .by_ending
                .iter()
                .map(|(ending, latencies)| (ending.name(), Percentiles::of(latencies)))
                .collect(),
        }
    }
}

/// The open loop's own honesty.
#[derive(Clone, Debug, Serialize)]
pub struct OpenLoop {
    /// Requests a second that were scheduled.
    pub offered_per_s: f64,
    /// How late requests were started.
    pub lag_ms: Percentiles,
    /// Whether the client was too late to measure the service.
    pub client_limited: bool,
}

/// One second of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Bucket {
    /// Which, from the end of the warm-up.
    pub second: usize,
    /// Good answers.
    pub good: u64,
    /// Other ends.
    pub failed: u64,
    /// Median of the good ones.
    pub p50_ms: Option<f64>,
    /// Their 99th percentile.
    pub p99_ms: Option<f64>,
}

/// The watched process.
#[derive(Clone, Debug, Serialize)]
pub struct Watched {
    /// Which.
    pub pid: u32,
    /// After the warm-up.
    pub first: Look,
    /// At the end.
    pub last: Look,
    /// The most memory, descriptors and threads at any time.
    pub max: Look,
    /// Each second.
    pub looks: Vec<Look>,
}

impl Watched {
    fn of(pid: u32, looks: &[Look]) -> Option<Self> {
        let (first, last) = (*looks.first()?, *looks.last()?);
        let max = looks.iter().fold(first, |max, look| Look {
            at_s: max.at_s,
            resident_bytes: max.resident_bytes.max(look.resident_bytes),
            descriptors: max.descriptors.max(look.descriptors),
            threads: max.threads.max(look.threads),
        });
        Some(Self {
            pid,
            first,
            last,
            max,
            looks: looks.to_vec(),
        })
    }
}

/// Everything about one run, or several of the same kind.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `closed` or `open`.
    pub mode: &'static str,
    /// The loop, in words.
    pub load: String,
    /// The service.
    pub url: String,
    /// The model it says it runs.
    pub model: String,
    /// Weights of the endpoints.
    pub mix: String,
    /// Percent of hostile requests.
    pub hostile_percent: f64,
    /// Texts in a request that has texts.
    pub texts_per_request: u32,
    /// Images in a request that has several.
    pub images_per_request: u32,
    /// How varied the inputs were.
    pub distinct: Distinct,
    /// What they were derived from.
    pub seed: u64,
    /// What was verified.
    pub checked: &'static str,
    /// From the end of the warm-up to the end of the last request.
    pub duration_s: f64,
    /// The warm-up.
    pub warm_up_s: f64,
    /// Its requests, which count nowhere else.
    pub warm_up_requests: u64,
    /// Requests that no connection could be opened for.
    pub connect_errors: u64,
    /// Connections opened.
    pub connections_opened: u64,
    /// Requests sent again because the server had closed a kept connection.
    pub reconnects: u64,
    /// All requests but the hostile ones.
    pub total: Summary,
    /// Answers to all requests, the hostile ones included.
    pub answered: u64,
    /// Wrong answers, those to hostile requests included.
    pub wrong: u64,
    /// The first of them, described.
    pub wrong_examples: Vec<String>,
    /// By endpoint.
    pub endpoints: BTreeMap<&'static str, Summary>,
    /// In an open loop.
    pub open_loop: Option<OpenLoop>,
    /// The watched process.
    pub watched: Option<Watched>,
    /// By second.
    pub timeline: Vec<Bucket>,
}

impl Report {
    /// Reports an outcome.
    pub fn of(
        options: &Options,
        plan: &Plan,
        url: &str,
        model: &str,
        distinct: Distinct,
        outcome: &Outcome,
    ) -> Self {
        let elapsed = outcome.elapsed.as_secs_f64();
        let recorder = &outcome.recorder;
        let total = Summary::of(&recorder.honest(), None, elapsed);
        let endpoints: BTreeMap<_, _> = recorder
            .groups
            .iter()
            .map(|(endpoint, group)| {
                (
                    endpoint.name(),
                    Summary::of(group, Some(*endpoint), elapsed),
                )
            })
            .collect();
        let (mode, load) = match plan.mode {
            Loop::Closed(clients) => ("closed", format!("{clients} clients")),
            Loop::Open(rate) => ("open", format!("{rate} requests/s")),
        };
        let length = match plan.end {
            End::After(duration) => format!("{:.1} s", duration.as_secs_f64()),
            End::Requests(requests) => format!("{requests} requests"),
        };
        let open_loop = match plan.mode {
            Loop::Closed(_) => None,
            Loop::Open(rate) => {
                let lag_ms = Percentiles::of(&recorder.lag);
                Some(OpenLoop {
                    offered_per_s: rate,
                    client_limited: lag_ms.p99 > LATE_MS,
                    lag_ms,
                })
            }
        };
        Self {
            mode,
            load: format!("{mode} loop, {load}, for {length}"),
            url: url.to_owned(),
            model: model.to_owned(),
            mix: options.mix.to_string(),
            hostile_percent: options.hostile,
            texts_per_request: options.texts_per_request,
            images_per_request: options.images_per_request,
            distinct,
            seed: options.seed,
            checked: match options.check {
                Check::All => "every answer in full",
                Check::Sample => "1 answer in 16 in full, the number of rows in all",
                Check::None => "nothing but the status",
            },
            duration_s: elapsed,
            warm_up_s: plan.warm_up.as_secs_f64(),
            warm_up_requests: outcome.warm_up_requests,
            connect_errors: recorder
                .groups
                .values()
                .map(|group| group.count(|ending| ending == Ending::Connect))
                .sum(),
            connections_opened: outcome.opened,
            reconnects: outcome.reconnects,
            answered: recorder.groups.values().map(Group::answered).sum(),
            wrong: recorder.wrong(),
            wrong_examples: recorder.examples.clone(),
            total,
            endpoints,
            open_loop,
            watched: plan.watch.and_then(|pid| Watched::of(pid, &outcome.looks)),
            timeline: recorder
                .seconds
                .iter()
                .enumerate()
                .map(|(second, bucket)| Bucket {
                    second,
                    good: bucket.good,
                    failed: bucket.failed,
                    p50_ms: bucket.quantile_ms(0.5),
                    p99_ms: bucket.quantile_ms(0.99),
                })
                .collect(),
        }
    }

    /// What was run, as pairs of a name and a value.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let distinct = &self.distinct;
        let mut facts = vec![
            ("target", format!("{} ({})", self.url, self.model)),
            ("mode", self.load.clone()),
            (
                "measured",
                format!(
                    "{:.2} s after a warm-up of {:.1} s ({} requests)",
                    self.duration_s, self.warm_up_s, self.warm_up_requests
                ),
            ),
            (
                "mix",
                format!(
                    "{}; {} texts and {} images per request; {}% hostile",
                    self.mix, self.texts_per_request, self.images_per_request, self.hostile_percent
                ),
            ),
            (
                "distinct",
                format!(
                    "{} texts ({} sent), {} images ({} sent), seed {}",
                    distinct.texts,
                    distinct.texts_sent,
                    distinct.images,
                    distinct.images_sent,
                    self.seed
                ),
            ),
            ("checked", self.checked.to_owned()),
            (
                "answers",
                format!(
                    "{} of {} good, {} wrong",
                    self.total.good, self.total.requests, self.wrong
                ),
            ),
            (
                "throughput",
                format!(
                    "{:.1} requests/s, {:.1} rows/s ({:.1} images/s, {:.1} texts/s)",
                    self.total.requests_per_s,
                    self.total.rows_per_s,
                    self.total.images_per_s,
                    self.total.texts_per_s
                ),
            ),
            (
                "bytes",
                format!(
                    "{:.2} MB sent, {:.2} MB received",
                    self.total.bytes_sent as f64 / 1e6,
                    self.total.bytes_received as f64 / 1e6
                ),
            ),
            (
                "connections",
                format!(
                    "{} opened, {} reconnects, {} connect errors",
                    self.connections_opened, self.reconnects, self.connect_errors
                ),
            ),
        ];
        if let Some(open) = &self.open_loop {
            let mut lag = format!("p99 {:.2} ms late", open.lag_ms.p99);
            if open.client_limited {
                lag.push_str(
                    ": THE CLIENT WAS THE LIMIT; these latencies are not the service's alone",
                );
            }
            facts.push(("scheduler", lag));
        }
        if let Some(watched) = &self.watched {
            let row = |look: &Look| {
                format!(
                    "{:.1} MB, {} descriptors, {} threads",
                    look.resident_bytes as f64 / 1e6,
                    look.descriptors
                        .map_or_else(|| "?".to_owned(), |number| number.to_string()),
                    look.threads
                )
            };
            facts.push((
                "process",
                format!(
                    "{}: first {}; last {}; max {}",
                    watched.pid,
                    row(&watched.first),
                    row(&watched.last),
                    row(&watched.max)
                ),
            ));
        }
        facts
    }

    /// The head of the table and its rows: each endpoint by status, and all of them.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![
            [
                "endpoint", "status", "count", "wrong", "req/s", "rows/s", "p50 ms", "p90", "p95",
                "p99", "p99.9", "max",
            ]
            .map(str::to_owned)
            .to_vec(),
        ];
        let row = |name: &str, status: &str, summary: Option<&Summary>, p: &Percentiles| {
            let of = |value: fn(&Summary) -> String| summary.map(value).unwrap_or_default();
            let mut cells = vec![
                name.to_owned(),
                status.to_owned(),
                p.count.to_string(),
                of(|s| s.wrong.to_string()),
                of(|s| format!("{:.1}", s.requests_per_s)),
                of(|s| format!("{:.1}", s.rows_per_s)),
            ];
            cells.extend(
                [p.p50, p.p90, p.p95, p.p99, p.p99_9, p.max].map(|value| format!("{value:.2}")),
            );
            cells
        };
        for (name, summary) in &self.endpoints {
            for (n, (status, percentiles)) in summary.by_status.iter().enumerate() {
                let sums = (n == 0).then_some(summary);
                rows.push(row(name, status, sums, percentiles));
            }
        }
        let total = &self.total;
        rows.push(row("all", "good", Some(total), &total.latency_ms));
        rows
    }

    /// The report for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.facts() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:<12} {value}");
        }
        text.push('\n');
        text.push_str(&aligned(&self.rows(), 2));
        for wrong in &self.wrong_examples {
            let _ = writeln!(text, "wrong: {wrong}");
        }
        text
    }
}

/// Cells under each other: the first columns to the left, numbers to the right.
pub fn aligned(rows: &[Vec<String>], left: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if column < left {
                write!(line, "{cell:<width$}  ")
            } else {
                write!(line, "{cell:>width$}  ")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
