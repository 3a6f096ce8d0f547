//! Turns the record into the report: JSON, and a table for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::client::Ending;
use crate::inputs::Distinct;
use crate::mix::Endpoint;
use crate::options::{Check, Options};
use crate::origin::Origin;
use crate::plot::label;
use crate::record::{Group, Latencies, Recorder};
use crate::run::{Loop, Outcome, Plan};
use crate::service::Info;
use crate::watch::Watched;
use crate::window::End;

/// If one request in a hundred is later than this, the run measures the client.
pub const LATE_MS: f64 = 10.0;

/// Percentiles, in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Percentiles {
    /// The number of requests.
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
    /// The endpoint.
    pub path: &'static str,
    /// Requests, however they ended.
    pub requests: u64,
    /// Requests that were answered, with any status.
    pub answered: u64,
    /// Requests that were answered successfully and correctly.
    pub good: u64,
    /// Wrong answers.
    pub wrong: u64,
    /// Good answers per second.
    pub requests_per_s: f64,
    /// Images in good answers, per second.
    pub images_per_s: f64,
    /// Texts in good answers, per second.
    pub texts_per_s: f64,
    /// Both.
    pub rows_per_s: f64,
    /// Bytes sent, including heads.
    pub bytes_sent: u64,
    /// The same per second.
    pub bytes_sent_per_s: f64,
    /// Bytes received, including heads.
    pub bytes_received: u64,
    /// The same per second.
    pub bytes_received_per_s: f64,
    /// Latency of successful answers; for hostile requests, of any answer.
    pub latency_ms: Percentiles,
    /// Latency by status, or by the reason why there was no answer.
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
            bytes_sent_per_s: rate(group.sent),
            bytes_received: group.received,
            bytes_received_per_s: rate(group.received),
            latency_ms: Percentiles::of(&group.latencies(|ending| hostile || ending.is_good())),
            by_status: group
                .by_ending
                .iter()
                .map(|(ending, latencies)| (ending.name(), Percentiles::of(latencies)))
                .collect(),
        }
    }
}

/// The load of the open loop, and its results. Hostile requests are included.
#[derive(Clone, Debug, Serialize)]
pub struct OpenLoop {
    /// The requested rate, in requests per second.
    pub rate_per_s: f64,
    /// `Poisson` or `even`.
    pub arrivals: &'static str,
    /// Requests per second that arrived in the window: with random arrivals this differs
    /// slightly from the requested rate.
    pub offered_per_s: f64,
    /// Requests per second that were answered in the window, with any status.
    pub answered_per_s: f64,
    /// How late requests were started.
    pub lag_ms: Percentiles,
    /// Whether the client was too slow to measure the service.
    pub client_limited: bool,
}

/// Requests that cross the edges of the window.
#[derive(Clone, Debug, Serialize)]
pub struct Edges {
    /// Requests that ended in the warm-up; they are not counted.
    pub warm_up_requests: u64,
    /// Requests that were started in the warm-up and ended after it.
    pub carried_in: u64,
    /// Requests in flight at the window's end; they are not counted elsewhere.
    pub unfinished: u64,
    /// Their ages at that time.
    pub unfinished_age_ms: Percentiles,
}

/// One interval of a run: a second, or longer in runs of more than ten minutes.
#[derive(Clone, Debug, Serialize)]
pub struct Bucket {
    /// Its middle, in seconds from the end of the warm-up.
    pub at_s: f64,
    /// Its length in seconds.
    pub width_s: f64,
    /// Requests started per second.
    pub begun_per_s: f64,
    /// Good answers per second.
    pub good_per_s: f64,
    /// 429 answers per second.
    pub refused_per_s: f64,
    /// Other outcomes per second.
    pub failed_per_s: f64,
    /// Median latency of the good answers.
    pub p50_ms: Option<f64>,
    /// Their 99th percentile.
    pub p99_ms: Option<f64>,
}

fn timeline(recorder: &Recorder) -> Vec<Bucket> {
    let mut begin_s = 0.0;
    let mut timeline = Vec::with_capacity(recorder.buckets.len());
    for bucket in &recorder.buckets {
        let width_s = bucket.width.as_secs_f64();
        let rate = |count: u64| count as f64 / width_s.max(1e-9);
        timeline.push(Bucket {
            at_s: begin_s + width_s / 2.0,
            width_s,
            begun_per_s: rate(bucket.begun),
            good_per_s: rate(bucket.good),
            refused_per_s: rate(bucket.refused),
            failed_per_s: rate(bucket.failed),
            p50_ms: bucket.quantile_ms(0.5),
            p99_ms: bucket.quantile_ms(0.99),
        });
        begin_s += width_s;
    }
    timeline
}

/// Everything about one run, or several of the same kind.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `closed` or `open`.
    pub mode: &'static str,
    /// A description of the loop.
    pub load: String,
    /// The service.
    pub url: String,
    /// The model that the service reports.
    pub model: String,
    /// What else it reports of itself.
    pub service: Info,
    /// When, and by which command, it was measured.
    pub origin: Origin,
    /// Whether the user ended it early.
    pub interrupted: bool,
    /// Weights of the endpoints.
    pub mix: String,
    /// Percent of hostile requests.
    pub hostile_percent: f64,
    /// Texts in a request that has texts.
    pub texts_per_request: u32,
    /// Images in a request that has several.
    pub images_per_request: u32,
    /// How many distinct inputs there were.
    pub distinct: Distinct,
    /// The seed they were derived from.
    pub seed: u64,
    /// How the answers were verified.
    pub checked: &'static str,
    /// The window: from the end of the warm-up to the end of the duration, or to the
    /// answer to the last of the requests.
    pub duration_s: f64,
    /// The warm-up.
    pub warm_up_s: f64,
    /// Requests that cross its edges.
    pub edges: Edges,
    /// Requests for which no connection could be opened.
    pub connect_errors: u64,
    /// Connections opened.
    pub connections_opened: u64,
    /// Requests retried because the server had closed a kept connection.
    pub reconnects: u64,
    /// How often a client of the closed loop waited as `Retry-After` asked.
    pub back_offs: u64,
    /// Good answers per second, without hostile requests.
    pub goodput_per_s: f64,
    /// Latency of 429 answers: how fast a full queue refuses.
    pub refusals_ms: Percentiles,
    /// All requests except hostile ones.
    pub total: Summary,
    /// Answers to all requests, including hostile ones.
    pub answered: u64,
    /// Wrong answers, including those to hostile requests.
    pub wrong: u64,
    /// The first of them, described.
    pub wrong_examples: Vec<String>,
    /// By endpoint.
    pub endpoints: BTreeMap<&'static str, Summary>,
    /// In an open loop.
    pub open_loop: Option<OpenLoop>,
    /// The watched process.
    pub watched: Option<Watched>,
    /// By time.
    pub timeline: Vec<Bucket>,
}

impl Report {
    /// Reports an outcome.
    pub fn of(
        options: &Options,
        plan: &Plan,
        url: &str,
        info: &Info,
        distinct: Distinct,
        outcome: &Outcome,
    ) -> Self {
        let recorder = &outcome.recorder;
        let elapsed = recorder.length.as_secs_f64();
        let rate = |count: u64| count as f64 / elapsed.max(1e-9);
        let honest = recorder.honest();
        let total = Summary::of(&honest, None, elapsed);
        let answered = recorder.groups.values().map(Group::answered).sum();
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
            Loop::Open(rate) => {
                let arrivals = plan.arrivals.name();
                (
                    "open",
                    format!("{} requests/s, {arrivals} arrivals", label(rate)),
                )
            }
        };
        let length = match plan.end {
            End::After(duration) => format!("{:.1} s", duration.as_secs_f64()),
            End::Requests(requests) => format!("{requests} requests"),
        };
        let open_loop = match plan.mode {
            Loop::Closed(_) => None,
            Loop::Open(rate_per_s) => {
                let lag_ms = Percentiles::of(&recorder.lag);
                Some(OpenLoop {
                    rate_per_s,
                    arrivals: plan.arrivals.name(),
                    offered_per_s: rate(recorder.begun()),
                    answered_per_s: rate(answered),
                    client_limited: lag_ms.p99 > LATE_MS,
                    lag_ms,
                })
            }
        };
        Self {
            mode,
            load: format!("{mode} loop, {load}, for {length}"),
            url: url.to_owned(),
            model: info.model.clone(),
            service: info.clone(),
            origin: options.origin.clone(),
            interrupted: outcome.interrupted,
            mix: options.mix.to_string(),
            hostile_percent: options.hostile,
            texts_per_request: options.texts_per_request,
            images_per_request: options.images_per_request,
            distinct,
            seed: options.seed,
            checked: match options.check {
                Check::All => "every answer in full",
                Check::Sample => "1 answer in 16 in full, the number of rows in all",
                Check::None => "only the status",
            },
            duration_s: elapsed,
            warm_up_s: plan.warm_up.as_secs_f64(),
            edges: Edges {
                warm_up_requests: recorder.warm_up,
                carried_in: recorder.carried,
                unfinished: recorder.unfinished.count(),
                unfinished_age_ms: Percentiles::of(&recorder.unfinished),
            },
            connect_errors: recorder
                .groups
                .values()
                .map(|group| group.count(|ending| ending == Ending::Connect))
                .sum(),
            connections_opened: outcome.opened,
            reconnects: outcome.reconnects,
            back_offs: outcome.back_offs,
            goodput_per_s: total.requests_per_s,
            refusals_ms: Percentiles::of(&honest.latencies(|ending| ending == Ending::Status(429))),
            answered,
            wrong: recorder.wrong(),
            wrong_examples: recorder.examples.clone(),
            total,
            endpoints,
            open_loop,
            watched: plan
                .watch
                .and_then(|pid| Watched::of(pid, outcome.at_rest, &outcome.looks)),
            timeline: timeline(recorder),
        }
    }

    /// The facts of the run, as pairs of a name and a value.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let distinct = &self.distinct;
        let mut facts = vec![
            ("target", format!("{} ({})", self.url, self.model)),
            ("service", self.service.fact()),
            ("date", self.origin.date.clone()),
            ("command", self.origin.command.clone()),
            ("load test", self.origin.version.to_owned()),
            ("mode", self.load.clone()),
            (
                "measured",
                format!(
                    "{:.2} s after a warm-up of {:.1} s ({} requests)",
                    self.duration_s, self.warm_up_s, self.edges.warm_up_requests
                ),
            ),
            ("edges", self.edges.fact()),
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
                    distinct
                        .images
                        .map_or_else(|| "all".to_owned(), |number| number.to_string()),
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
                "goodput",
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
                    "{:.2} MB sent ({:.2}/s), {:.2} MB received ({:.2}/s)",
                    self.total.bytes_sent as f64 / 1e6,
                    self.total.bytes_sent_per_s / 1e6,
                    self.total.bytes_received as f64 / 1e6,
                    self.total.bytes_received_per_s / 1e6
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
        if self.interrupted {
            facts.push((
                "INTERRUPTED",
                "this is what was measured until then".to_owned(),
            ));
        }
        let refused = &self.refusals_ms;
        if refused.count > 0 {
            let mut text = format!(
                "{} refusals (429, {:.1}/s) in {:.2} ms at p50, {:.2} ms at p95, {:.2} ms at most",
                refused.count,
                refused.count as f64 / self.duration_s.max(1e-9),
                refused.p50,
                refused.p95,
                refused.max
            );
            if self.back_offs > 0 {
                let _ = write!(text, "; {} waits as Retry-After asked", self.back_offs);
            }
            facts.push(("refused", text));
        }
        if let Some(open) = &self.open_loop {
            facts.push((
                "offered",
                format!(
                    "{:.1} requests/s ({} arrivals, {} asked for); answered {:.1}/s",
                    open.offered_per_s,
                    open.arrivals,
                    label(open.rate_per_s),
                    open.answered_per_s
                ),
            ));
            let mut lag = format!("p99 {:.2} ms late", open.lag_ms.p99);
            if open.client_limited {
                lag.push_str(
                    ": THE CLIENT WAS THE LIMIT; these latencies are not the service's alone",
                );
            }
            facts.push(("scheduler", lag));
        }
        if let Some(watched) = &self.watched {
            facts.push(("process", watched.pid.to_string()));
            facts.extend(watched.facts());
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
        let row =
            |name: &str, status: &str, per_s: f64, sums: Option<&Summary>, p: &Percentiles| {
                let of = |value: fn(&Summary) -> String| sums.map(value).unwrap_or_default();
                let mut cells = vec![
                    name.to_owned(),
                    status.to_owned(),
                    p.count.to_string(),
                    of(|s| s.wrong.to_string()),
                    format!("{per_s:.1}"),
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
                let per_s = percentiles.count as f64 / self.duration_s.max(1e-9);
                rows.push(row(name, status, per_s, sums, percentiles));
            }
        }
        let total = &self.total;
        let latency = &total.latency_ms;
        rows.push(row(
            "all",
            "good",
            total.requests_per_s,
            Some(total),
            latency,
        ));
        rows
    }

    /// The report for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.facts() {
            // Writing to a string cannot fail.
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

impl Edges {
    fn fact(&self) -> String {
        let ages = &self.unfinished_age_ms;
        let mut text = format!(
            "{} requests of the warm-up in flight at the start, {} unfinished at the end",
            self.carried_in, self.unfinished
        );
        if self.unfinished > 0 {
            let _ = write!(text, " (the oldest for {:.0} ms)", ages.max);
        }
        text
    }
}

/// Aligns cells in columns: the first columns to the left, numbers to the right.
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
