//! What the service counts and times, for `/metrics` and `Server-Timing`.
//!
//! ```text
//! http, service, batcher --observe--> Metrics --encode--> /metrics (Prometheus text)
//!                                 +-> Timings (one request) --> Server-Timing, log line
//! ```
//!
//! Every series exists from the start with the value 0, so that a rate or an alert on it needs
//! no special case for an event that has not happened yet.
//!
//! Where several models are served, every series that belongs to one of them has the label
//! `model`; where there is one model no series has it. [`Metrics`] is a view: all models of a
//! process write to the same series, each under its own label.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::text::encode;

use siglip2_model::Tower;

mod labels;
mod memory;
mod model_label;
mod series;
mod timings;

use labels::of_process;
use model_label::ModelLabel;
use series::{Own, Series};

pub(crate) use memory::MemoryMetrics;
pub use timings::{Lookup, Stage, StageTiming, Timings};

/// What happened to a span of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanFate {
    /// It was recorded.
    Recorded,
    /// The collector accepted it.
    Exported,
    /// The collector did not accept it.
    Failed,
}

impl SpanFate {
    const ALL: [Self; 3] = [SpanFate::Recorded, SpanFate::Exported, SpanFate::Failed];

    fn as_str(self) -> &'static str {
        match self {
            SpanFate::Recorded => "recorded",
            SpanFate::Exported => "exported",
            SpanFate::Failed => "failed",
        }
    }
}

/// Everything that is counted, as one model or the whole process writes it.
#[derive(Debug)]
pub struct Metrics {
    series: Arc<Series>,
    /// The model that this is a view of, where there are several.
    model: ModelLabel,
    /// What has no other label than the model.
    own: Own,
}

impl Metrics {
    /// All counters at 0, of a process that serves one model.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::view(&Arc::new(Series::new()), ModelLabel::default()))
    }

    /// All counters at 0, of a process that serves these models: what writes for the process,
    /// and what writes for each model.
    pub fn of_models(names: &[String]) -> (Arc<Self>, Vec<Arc<Self>>) {
        if let [_] = names {
            let only = Self::new();
            return (Arc::clone(&only), vec![only]);
        }
        let series = Arc::new(Series::new());
        let of_models = names
            .iter()
            .map(|name| Arc::new(Self::view(&series, ModelLabel::of(name))));
        let of_models = of_models.collect();
        let process = Self {
            model: ModelLabel::default(),
            own: Own::default(),
            series,
        };
        process.declare_process();
        // Of requests that were read and named no model.
        let receive = process.of_stage(Stage::Receive);
        drop(process.series.stage_seconds.get_or_create(&receive));
        (Arc::new(process), of_models)
    }

    /// The view of one model, whose series are created.
    fn view(series: &Arc<Series>, model: ModelLabel) -> Self {
        let own = Own::default();
        let of_models = &series.of_models;
        of_models.engine_up.add(&model, &own.engine_up);
        of_models.rebuilds.add(&model, &own.rebuilds);
        of_models.cut_texts.add(&model, &own.cut_texts);
        of_models.index_rows.add(&model, &own.index_rows);
        of_models.searches.add(&model, &own.searches);
        of_models.searched_rows.add(&model, &own.searched_rows);
        of_models.search_seconds.add(&model, &own.search_seconds);
        let metrics = Self {
            series: Arc::clone(series),
            model,
            own,
        };
        for stage in Stage::ALL {
            drop(series.stage_seconds.get_or_create(&metrics.of_stage(stage)));
        }
        for tower in [Tower::Image, Tower::Text] {
            let labels = metrics.of_tower(tower);
            drop(series.batch_rows.get_or_create(&labels));
            drop(series.queued.get_or_create(&labels));
            drop(series.expired.get_or_create(&labels));
            drop(series.dropped.get_or_create(&labels));
            drop(series.failed_batches.get_or_create(&labels));
        }
        for result in Lookup::ALL.map(Lookup::as_str) {
            let labels = metrics.of_result(result);
            drop(series.text_lookups.get_or_create(&labels));
            drop(series.image_lookups.get_or_create(&labels));
        }
        metrics.declare_process();
        metrics
    }

    /// Creates the series that no model has, which every view writes to.
    fn declare_process(&self) {
        for result in SpanFate::ALL.map(SpanFate::as_str) {
            drop(self.series.spans.get_or_create(&of_process(result)));
        }
    }

    /// Creates the series of an endpoint before its first request: one for each status that it
    /// may answer.
    pub fn declare_endpoint(&self, endpoint: &'static str, statuses: &[u16]) {
        let Series {
            requests,
            request_seconds,
            ..
        } = &*self.series;
        for &status in statuses {
            drop(requests.get_or_create(&self.of_request(endpoint, status)));
        }
        drop(request_seconds.get_or_create(&self.of_endpoint(endpoint)));
    }

    /// Counts the result of looking up a text's or an image's row.
    pub fn looked_up(&self, tower: Tower, what: Lookup) {
        let lookups = match tower {
            Tower::Image => &self.series.image_lookups,
            Tower::Text => &self.series.text_lookups,
        };
        lookups.get_or_create(&self.of_result(what.as_str())).inc();
    }

    /// Counts texts whose end was cut off.
    pub fn cut(&self, texts: usize) {
        self.own.cut_texts.inc_by(texts as u64);
    }

    /// Records how many rows the index has.
    pub(crate) fn index_rows(&self, rows: u64) {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        self.own.index_rows.set(rows);
    }

    /// Counts a search, with the rows it scanned unless it was interrupted.
    pub(crate) fn searched(&self, rows: Option<u64>, took: Duration) {
        if let Some(rows) = rows {
            self.own.searches.inc();
            self.own.searched_rows.inc_by(rows);
            self.own.search_seconds.observe(took.as_secs_f64());
        }
    }

    /// Counts what happened to spans.
    pub fn spans(&self, fate: SpanFate, count: usize) {
        self.series
            .spans
            .get_or_create(&of_process(fate.as_str()))
            .inc_by(count as u64);
    }

    /// All series in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(32 << 10);
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.series.registry);
        text
    }

    /// Counts an answered request.
    pub fn answered(&self, endpoint: &'static str, status: u16, took: Duration) {
        self.series
            .requests
            .get_or_create(&self.of_request(endpoint, status))
            .inc();
        self.series
            .request_seconds
            .get_or_create(&self.of_endpoint(endpoint))
            .observe(took.as_secs_f64());
    }

    /// Records how long a stage took, for a request or for one of its rows.
    pub fn stage(&self, stage: Stage, took: Duration) {
        self.series
            .stage_seconds
            .get_or_create(&self.of_stage(stage))
            .observe(took.as_secs_f64());
    }

    /// Counts a batch of this many rows that has started.
    pub fn batch(&self, tower: Tower, rows: usize) {
        self.series
            .batch_rows
            .get_or_create(&self.of_tower(tower))
            .observe(rows as f64);
    }

    /// Records how many rows wait.
    pub fn queued(&self, tower: Tower, rows: usize) {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        self.series
            .queued
            .get_or_create(&self.of_tower(tower))
            .set(rows);
    }

    /// Counts a row whose last deadline passed while it waited.
    pub fn expired(&self, tower: Tower) {
        self.series
            .expired
            .get_or_create(&self.of_tower(tower))
            .inc();
    }

    /// Counts a row whose last client left while it waited.
    pub fn dropped(&self, tower: Tower) {
        self.series
            .dropped
            .get_or_create(&self.of_tower(tower))
            .inc();
    }

    /// Counts a failed batch.
    pub fn failed_batch(&self, tower: Tower) {
        self.series
            .failed_batches
            .get_or_create(&self.of_tower(tower))
            .inc();
    }

    /// Records whether the engine embeds.
    pub fn engine_up(&self, up: bool) {
        self.own.engine_up.set(i64::from(up));
    }

    /// Announces how many engines will be reported to [`Metrics::engine_busy`].
    pub fn declare_engines(&self, engines: usize) {
        for engine in 0..engines {
            self.engine_busy(engine, Duration::ZERO);
        }
    }

    /// Adds how long an engine has had work since the last call for it.
    pub fn engine_busy(&self, engine: usize, took: Duration) {
        self.series
            .engine_busy
            .get_or_create(&self.of_engine(engine))
            .inc_by(took.as_secs_f64());
    }

    /// Counts an engine that was rebuilt.
    pub fn rebuilt(&self) {
        self.own.rebuilds.inc();
    }

    /// Records how many log lines have been dropped since the start.
    pub fn dropped_log_lines(&self, lines: u64) {
        self.series
            .dropped_log_lines
            .inner()
            .fetch_max(lines, Ordering::Relaxed);
    }

    /// How many requests have been accepted and not answered yet.
    pub fn in_flight(&self, requests: usize) {
        self.series
            .in_flight
            .set(i64::try_from(requests).unwrap_or(i64::MAX));
    }

    /// The memory that requests hold.
    pub(crate) fn memory(&self) -> &MemoryMetrics {
        &self.series.memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_series_are_there_from_the_start() {
        let metrics = Metrics::new();
        metrics.declare_endpoint("embed_text", &[200, 429]);
        let text = metrics.text();
        for series in [
            "siglip2_requests_total{endpoint=\"embed_text\",status=\"429\"} 0",
            "siglip2_stage_seconds_count{stage=\"decode\"} 0",
            "siglip2_batch_rows_count{tower=\"image\"} 0",
            "siglip2_queue_rows{tower=\"text\"} 0",
            "siglip2_text_cache_total{result=\"hit\"} 0",
            "siglip2_image_cache_total{result=\"shared\"} 0",
            "siglip2_engine_up 0",
            "siglip2_searches_total 0",
            "siglip2_stage_seconds_count{stage=\"search\"} 0",
        ] {
            assert!(text.contains(series), "{series} is not in\n{text}");
        }
    }

    #[test]
    fn several_models_are_told_apart_and_none_is_counted_without_its_name() {
        let (process, models) = Metrics::of_models(&["a".to_owned(), "b \"x\"".to_owned()]);
        models[0].engine_up(true);
        models[1].answered("embed_text", 200, Duration::ZERO);
        models[1].cut(3);
        process.answered("health", 200, Duration::ZERO);
        let text = process.text();
        for series in [
            r#"siglip2_engine_up{model="a"} 1"#,
            r#"siglip2_engine_up{model="b \"x\""} 0"#,
            r#"siglip2_cut_texts_total{model="b \"x\""} 3"#,
            r#"siglip2_queue_rows{model="a",tower="text"} 0"#,
            r#"siglip2_requests_total{model="b \"x\"",endpoint="embed_text",status="200"} 1"#,
            r#"siglip2_requests_total{endpoint="health",status="200"} 1"#,
            r#"siglip2_search_seconds_count{model="a"} 0"#,
            r#"siglip2_spans_total{result="failed"} 0"#,
        ] {
            assert!(text.contains(series), "{series} is not in\n{text}");
        }
        assert_eq!(text.matches("# TYPE siglip2_engine_up gauge").count(), 1);
        assert!(!text.contains("siglip2_engine_up 0"), "{text}");
        assert!(!text.contains("{}"), "{text}");
    }
}
