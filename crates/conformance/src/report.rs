//! The result for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::check::{Outcome, Verdict};

/// The result of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The server's address.
    pub url: String,
    /// How it was spoken to.
    pub dialect: String,
    /// What the server calls its model.
    pub server_model: String,
    /// The checkpoint of the truth.
    pub model: String,
    /// The precision of the truth.
    pub precision: String,
    /// The lowest cosine that passes.
    pub least_cosine: f32,
    /// The version of this program.
    pub version: String,
    /// For each property.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// Whether no property failed.
    pub fn holds(&self) -> bool {
        self.count(Verdict::Fail) == 0
    }

    fn count(&self, verdict: Verdict) -> usize {
        let outcomes = self.outcomes.iter();
        outcomes
            .filter(|outcome| outcome.verdict == verdict)
            .count()
    }

    /// How many passed, failed, were refused and are not offered.
    pub fn summary(&self) -> String {
        format!(
            "{} of {} properties hold, {} fail, {} refused, {} not offered",
            self.count(Verdict::Pass),
            self.outcomes.len(),
            self.count(Verdict::Fail),
            self.count(Verdict::Refused),
            self.count(Verdict::NotOffered),
        )
    }

    /// A table in Markdown.
    pub fn markdown(&self) -> String {
        let mut table = format!(
            "`{}` over {}, model {}; truth: {} in {} by siglip2-embeddings {}\n\n\
             | property | | lowest cosine | another neighbour first |\n| --- | --- | --- | --- |\n",
            self.url, self.dialect, self.server_model, self.model, self.precision, self.version
        );
        for outcome in &self.outcomes {
            let cosine = outcome.cosine.map(shown).unwrap_or_default();
            let moved = outcome.moved.map(|(moved, of)| format!("{moved} of {of}"));
            let said = [&outcome.worst, &outcome.detail];
            let said: Vec<_> = said.into_iter().flatten().map(|it| cell(it)).collect();
            let detail = match said.is_empty() {
                true => String::new(),
                false => format!(": {}", said.join("; ")),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                table,
                "| {} | {}{detail} | {cosine} | {} |",
                cell(outcome.title),
                word(outcome.verdict),
                moved.unwrap_or_default(),
            );
        }
        let _ = writeln!(table, "\n{}.", self.summary());
        table
    }
}

/// One property as lines for a terminal.
pub fn lines(outcome: &Outcome) -> String {
    let mut lines = format!("{:<12} {}", word(outcome.verdict), outcome.title);
    if let Some(cosine) = outcome.cosine {
        let _ = write!(lines, "  [cosine {}]", shown(cosine));
    }
    if let Some(detail) = &outcome.detail {
        let _ = write!(lines, "\n{:13}{detail}", "");
    }
    if let Some(worst) = &outcome.worst {
        let _ = write!(lines, "\n{:13}worst: {worst}", "");
        if let Some((moved, of)) = outcome.moved {
            let _ = write!(
                lines,
                "\n{:13}another neighbour comes first for {moved} of {of}",
                ""
            );
        }
        let _ = write!(lines, "\n{:13}usual cause: {}", "", outcome.why);
    }
    lines
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "FAIL",
        Verdict::Refused => "refused",
        Verdict::NotOffered => "not offered",
    }
}

/// Six digits, so that 0.999999 does not look like 1. A vector that is zero or not finite has no
/// cosine.
fn shown(cosine: f32) -> String {
    match cosine.is_finite() {
        true => format!("{cosine:.6}"),
        false => "none: the vector is zero or not finite".to_owned(),
    }
}

/// Text that neither ends a cell nor a line.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
