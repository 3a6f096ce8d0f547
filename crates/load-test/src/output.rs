//! Where reports go: standard output and a file.

use std::fs::OpenOptions;
use std::io::Write;

use crate::error::Error;
use crate::options::Options;
use crate::report::Report;

/// Prints a report, as a table or as JSON.
pub fn say(
    options: &Options,
    report: &impl serde::Serialize,
    table: impl Fn() -> String,
) -> Result<(), Error> {
    let text = if options.json {
        serde_json::to_string_pretty(report)?
    } else {
        table()
    };
    writeln!(std::io::stdout(), "{}", text.trim_end()).map_err(Error::Print)
}

/// Checks that the page can be written, before anything is measured for it.
pub fn check_page(options: &Options) -> Result<(), Error> {
    let Some(path) = &options.html else {
        return Ok(());
    };
    let is_new = !path.exists();
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(Error::page(path))?;
    if is_new {
        // A run that ends without a report should not leave an empty page.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// Writes the page, if requested.
pub fn write_page(options: &Options, page: impl Fn() -> String) -> Result<(), Error> {
    let Some(path) = &options.html else {
        return Ok(());
    };
    std::fs::write(path, page()).map_err(Error::page(path))
}

/// Whether no answer was wrong and some were good. A run with only hostile requests has no
/// good answers.
pub fn is_right(report: &Report) -> bool {
    let some = report.total.good > 0 || report.hostile_percent >= 100.0;
    if report.wrong == 0 && !some {
        eprintln!("error: no request was answered successfully");
    }
    report.wrong == 0 && some
}
