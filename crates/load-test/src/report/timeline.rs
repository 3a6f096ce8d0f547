//! The run by time.

use serde::Serialize;

use crate::record::Recorder;

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

/// A recorder's intervals.
pub(super) fn timeline(recorder: &Recorder) -> Vec<Bucket> {
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
