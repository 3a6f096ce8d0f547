//! Turns the record into the report: JSON, and a table for people.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::client::Ending;
use crate::inputs::Distinct;
use crate::options::{Check, Options};
use crate::origin::Origin;
use crate::plot::label;
use crate::record::Group;
use crate::run::{Loop, Outcome, Plan};
use crate::service::Info;
use crate::watch::Watched;
use crate::window::End;

mod summary;
mod table;
mod timeline;

pub use summary::{Percentiles, Summary};
pub use table::aligned;
pub use timeline::Bucket;
use timeline::timeline;

/// If one request in a hundred is later than this, the run measures the client.
pub const LATE_MS: f64 = 10.0;

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
}
