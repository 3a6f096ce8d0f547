//! Counts and latencies of many requests.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::client::Ending;
use crate::mix::Endpoint;
use crate::record::{Group, Latencies};

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
    pub(super) fn of(latencies: &Latencies) -> Self {
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
    pub(super) fn of(group: &Group, endpoint: Option<Endpoint>, elapsed_s: f64) -> Self {
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
