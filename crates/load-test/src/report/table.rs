//! The report for people: its facts, and a table.

use std::fmt::Write;

use super::{Edges, Percentiles, Report, Summary};
use crate::plot::label;

impl Report {
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
