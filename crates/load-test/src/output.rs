//! Where reports go: standard output and a file.

use std::io::Write;

use crate::options::Options;
use crate::report::Report;

/// Prints a report, as a table or as JSON.
pub fn say(
    options: &Options,
    report: &impl serde::Serialize,
    table: impl Fn() -> String,
) -> Result<(), String> {
    let text = if options.json {
        serde_json::to_string_pretty(report)
            .map_err(|error| format!("the report cannot be written as JSON: {error}"))?
    } else {
        table()
    };
    writeln!(std::io::stdout(), "{}", text.trim_end())
        .map_err(|error| format!("the report cannot be printed: {error}"))
}

/// Writes the page, if one is wanted.
pub fn write_page(options: &Options, page: impl Fn() -> String) -> Result<(), String> {
    let Some(path) = &options.html else {
        return Ok(());
    };
    std::fs::write(path, page())
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

/// Whether no answer was wrong and some were good. A run of hostile requests only has no
/// good ones.
pub fn is_right(report: &Report) -> bool {
    let some = report.total.good > 0 || report.hostile_percent >= 100.0;
    if report.wrong == 0 && !some {
        eprintln!("error: no request was answered with success");
    }
    report.wrong == 0 && some
}
