//! The progress of a build, on standard error: a bar on a terminal, log lines otherwise.
//!
//! TensorRT reports nested phases, from one or more of its own threads. The bar counts the steps
//! of the outermost phase; beside it stands the name of the phase that began last.

use std::io::{IsTerminal, stderr};
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use trtx::interfaces::MonitorProgress;

pub(super) struct Progress {
    label: String,
    started: Instant,
    bar: Option<ProgressBar>,
    /// The name of the outermost phase, once it has begun.
    outermost: OnceLock<String>,
}

impl Progress {
    pub fn new(label: &str) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0).with_prefix(label.to_owned());
            let style = "{prefix} [{bar:30}] {pos}/{len} {msg}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar
        });
        Self {
            label: label.to_owned(),
            started: Instant::now(),
            bar,
            outermost: OnceLock::new(),
        }
    }
}

impl MonitorProgress for Progress {
    fn phase_start(&self, phase: &str, parent: Option<&str>, steps: i32) {
        if parent.is_none() && self.outermost.set(phase.to_owned()).is_ok() {
            if let Some(bar) = &self.bar {
                bar.set_length(u64::from(steps.unsigned_abs()));
            }
            tracing::info!("{}: {phase}", self.label);
        } else {
            tracing::debug!("{}: {phase}", self.label);
        }
        if let Some(bar) = &self.bar {
            bar.set_message(phase.to_owned());
        }
    }

    fn step_complete(&self, phase: &str, step: i32) -> ControlFlow<()> {
        if let Some(bar) = &self.bar
            && self.outermost.get().is_some_and(|name| name == phase)
        {
            bar.set_position(u64::from(step.unsigned_abs()) + 1);
        }
        ControlFlow::Continue(())
    }

    fn phase_finish(&self, phase: &str) {
        if self.outermost.get().is_some_and(|name| name == phase) {
            if let Some(bar) = &self.bar {
                bar.finish_and_clear();
            }
            let seconds = self.started.elapsed().as_secs_f64();
            tracing::info!(seconds, "{}: built", self.label);
        }
    }
}
