//! The report as one HTML file that needs nothing else: tables, and plots over time.
//! Colours follow the reader's choice of light or dark.

use std::fmt::Write;

use crate::plot::{Line, Plot, escaped};
use crate::report::{Bucket, Report};
use crate::search::Probe;
use crate::watch::{Look, Watched};

const STYLE: &str = "
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2024; --faint: #6b7280; \
--grid: #e3e6ea; --one: #0969b8; --two: #c2560c; --bad: #c01c28; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e6e8ea; \
--faint: #9aa3ad; --grid: #2d3339; --one: #5db2f5; --two: #f5a04c; --bad: #ff6b70; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; \
max-width: 940px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } \
h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
.scroll { overflow-x: auto; margin: .8rem 0; } table { border-collapse: collapse; font-size: 13px; }
td, th { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--grid); \
font-variant-numeric: tabular-nums; white-space: nowrap; }
td:first-child, th:first-child { text-align: left; }
.facts td { text-align: left; white-space: normal; } \
.facts td:first-child { color: var(--faint); white-space: nowrap; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
.grid { stroke: var(--grid); } .axis { stroke: var(--faint); }
.one { stroke: var(--one); } .two { stroke: var(--two); } .bad { stroke: var(--bad); } \
.faint { stroke: var(--faint); }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.dot { stroke: none; } .dot.one { fill: var(--one); } .dot.two { fill: var(--two); } \
.dot.bad { fill: var(--bad); } .dot.faint { fill: var(--faint); }
.wrong { color: var(--bad); font-weight: 600; }
";

/// A stretch shorter than this at the end of a run is left out of the plots: a rate of a
/// few milliseconds is noise.
const SHORTEST_S: f64 = 0.5;

/// Longer runs are plotted by minutes.
const MINUTES_FROM_S: f64 = 600.0;

/// The page of one run.
pub fn of_one(title: &str, report: &Report) -> String {
    let mut page = begun(title);
    run(&mut page, report);
    one_service(&mut page, report);
    ended(page)
}

/// The page of two services: their ratios, both in the same plots, and each by itself.
pub fn of_two(ratios: &[Vec<String>], reports: [&Report; 2]) -> String {
    let mut page = begun("Load test: two services");
    let names = ["A", "B"];
    let classes = ["one", "two"];
    table(&mut page, ratios);
    let lines = |value: &dyn Fn(&Bucket) -> Option<f64>, what: &str| -> Vec<Line> {
        (0..2)
            .map(|n| {
                let name = format!("{} {what}", names[n]);
                Line::new(name, classes[n], by_time(reports[n], value))
            })
            .collect()
    };
    let refused: Vec<_> = lines(&|b| Some(b.refused_per_s + b.failed_per_s), "not good")
        .into_iter()
        .filter(Line::has_values)
        .map(Line::dashed)
        .collect();
    let p99 = lines(&|b| b.p99_ms, "p99").into_iter().map(Line::dashed);
    let (end, across) = axis(reports[0].duration_s.max(reports[1].duration_s));
    plots(
        &mut page,
        &format!("{across}; the rounds follow each other"),
        end,
        [lines(&|b| Some(b.good_per_s), "good"), refused].concat(),
        lines(&|b| b.p50_ms, "p50").into_iter().chain(p99).collect(),
    );
    for (n, report) in reports.into_iter().enumerate() {
        let _ = writeln!(page, "<h2>{}: {}</h2>", names[n], escaped(&report.url));
        run(&mut page, report);
        watched(&mut page, report);
    }
    ended(page)
}

/// The page of a search: what was tried, and the run at the highest rate held.
pub fn of_search(
    verdict: &str,
    rows: &[Vec<String>],
    probes: &[Probe],
    bound_ms: f64,
    report: &Report,
) -> String {
    let mut page = begun("Load test: the highest rate held");
    let _ = writeln!(page, "<p><b>{}</b></p>", escaped(verdict));
    table(&mut page, rows);
    let mut probes = probes.to_vec();
    probes.sort_by(|a, b| a.offered_per_s.total_cmp(&b.offered_per_s));
    let by_rate = |value: &dyn Fn(&Probe) -> Option<f64>| -> Vec<_> {
        let point = |probe: &Probe| (probe.offered_per_s, value(probe));
        probes.iter().map(point).collect()
    };
    let goodput = Plot {
        title: "Goodput by offered rate",
        across: "requests/s offered".to_owned(),
        up: "requests/s",
        lines: vec![
            Line::new("good answers", "one", by_rate(&|p| Some(p.goodput_per_s))),
            Line::new("offered", "faint", by_rate(&|p| Some(p.offered_per_s))).dashed(),
        ],
        bound: None,
        end: 0.0,
    };
    // Far beyond the knee latency is that of a queue, and would flatten all the rest.
    let shown = |ms: f64| (ms > 0.0).then_some(ms.min(4.0 * bound_ms));
    let latency = Plot {
        title: "Latency by offered rate",
        across: "requests/s offered (more than 4 times the bound is drawn at 4 times)".to_owned(),
        up: "ms",
        lines: vec![
            Line::new("p99", "two", by_rate(&|p| shown(p.p99_ms))),
            Line::new("bound", "bad", Vec::new()).dashed(),
        ],
        bound: Some(bound_ms),
        end: 0.0,
    };
    goodput.write(&mut page);
    latency.write(&mut page);
    let _ = writeln!(page, "<h2>{}</h2>", escaped(&report.load));
    run(&mut page, report);
    one_service(&mut page, report);
    ended(page)
}

fn begun(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{0}</title>\n<style>{STYLE}</style>\n<h1>{0}</h1>\n",
        escaped(title)
    )
}

fn ended(mut page: String) -> String {
    page.push_str("</html>\n");
    page
}

fn run(page: &mut String, report: &Report) {
    page.push_str("<table class=\"facts\">\n");
    for (name, value) in report.facts() {
        // Writing to a string does not fail, here and elsewhere.
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td></tr>",
            escaped(name),
            escaped(&value)
        );
    }
    page.push_str("</table>\n");
    table(page, &report.rows());
    for wrong in &report.wrong_examples {
        let _ = writeln!(page, "<p class=\"wrong\">wrong: {}</p>", escaped(wrong));
    }
}

fn table(page: &mut String, rows: &[Vec<String>]) {
    page.push_str("<div class=\"scroll\"><table>\n");
    for (n, row) in rows.iter().enumerate() {
        let cell = if n == 0 { "th" } else { "td" };
        page.push_str("<tr>");
        for value in row {
            let _ = write!(page, "<{cell}>{}</{cell}>", escaped(value));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
}

/// Seconds or minutes, by the length of the run.
fn unit(end_s: f64) -> (f64, &'static str) {
    if end_s > MINUTES_FROM_S {
        (60.0, "min")
    } else {
        (1.0, "s")
    }
}

/// Where the axis of a run ends, and its title.
fn axis(end_s: f64) -> (f64, String) {
    let (scale, unit) = unit(end_s);
    (end_s / scale, format!("time, {unit}"))
}

fn by_time(report: &Report, value: &dyn Fn(&Bucket) -> Option<f64>) -> Vec<(f64, Option<f64>)> {
    let (scale, _) = unit(report.duration_s);
    let few = report.timeline.len() <= 2;
    report
        .timeline
        .iter()
        .filter(|bucket| few || bucket.width_s >= SHORTEST_S)
        .map(|bucket| (bucket.at_s / scale, value(bucket)))
        .collect()
}

fn plots(page: &mut String, across: &str, end: f64, throughput: Vec<Line>, latency: Vec<Line>) {
    for (title, up, lines) in [
        ("Throughput", "requests/s", throughput),
        ("Latency of good answers", "ms", latency),
    ] {
        let across = across.to_owned();
        Plot {
            title,
            across,
            up,
            lines,
            bound: None,
            end,
        }
        .write(page);
    }
}

fn one_service(page: &mut String, report: &Report) {
    let line = |name, class, value: &dyn Fn(&Bucket) -> Option<f64>| {
        Line::new(name, class, by_time(report, value))
    };
    let mut throughput = vec![line("good answers", "one", &|b| Some(b.good_per_s))];
    let offered = line("offered", "faint", &|b| Some(b.begun_per_s)).dashed();
    throughput.extend(report.open_loop.as_ref().map(|_| offered));
    let others = [
        line("refused (429)", "two", &|b| Some(b.refused_per_s)),
        line("other ends", "bad", &|b| Some(b.failed_per_s)),
    ];
    throughput.extend(others.into_iter().filter(Line::has_values));
    let latency = vec![
        line("p50", "one", &|b| b.p50_ms),
        line("p99", "two", &|b| b.p99_ms),
    ];
    let (end, across) = axis(report.duration_s);
    plots(page, &across, end, throughput, latency);
    watched(page, report);
}

fn watched(page: &mut String, report: &Report) {
    let Some(watched) = &report.watched else {
        return;
    };
    let (scale, _) = unit(report.duration_s);
    let looks = |value: &dyn Fn(&Look) -> Option<f64>| -> Vec<_> {
        let look = |look: &Look| (look.at_s / scale, value(look));
        watched.looks.iter().map(look).collect()
    };
    let mib = |look: &Look| look.resident_bytes as f64 / f64::from(1 << 20);
    let level = |value: f64| -> Vec<_> { looks(&|_| Some(value)) };
    let Watched { at_rest, .. } = watched;
    let memory = vec![
        Line::new("resident", "one", looks(&|look| Some(mib(look)))),
        Line::new("at rest, before", "faint", level(mib(at_rest))).dashed(),
    ];
    let mut counts = vec![Line::new(
        "threads",
        "two",
        looks(&|look| Some(look.threads as f64)),
    )];
    let descriptors = looks(&|look| look.descriptors.map(|number| number as f64));
    counts.insert(0, Line::new("file descriptors", "one", descriptors));
    for (title, up, lines) in [
        ("Resident memory of the service", "MiB", memory),
        (
            "File descriptors and threads of the service",
            "number",
            counts,
        ),
    ] {
        let (end, across) = axis(report.duration_s);
        Plot {
            title,
            across,
            up,
            lines,
            bound: None,
            end,
        }
        .write(page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_page_is_taken_for_markup() {
        let mut page = begun("a & b");
        table(&mut page, &[vec!["<script>".to_owned()]]);
        assert!(page.contains("a &amp; b") && page.contains("&lt;script&gt;"));
        assert!(!page.contains("<script>"));
    }
}
