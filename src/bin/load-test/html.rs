//! The report as one HTML file that needs nothing else: tables, and plots over time as
//! SVG. Colours follow the reader's choice of light or dark.

use std::fmt::Write;

use crate::report::Report;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;

const STYLE: &str = "
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2024; --faint: #6b7280; \
--grid: #e3e6ea; --one: #0969b8; --two: #c2410c; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e6e8ea; \
--faint: #9aa3ad; --grid: #2d3339; --one: #5db2f5; --two: #fb923c; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; \
max-width: 900px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } h3 { font-size: 1rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; }
td, th { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--grid); \
font-variant-numeric: tabular-nums; white-space: nowrap; }
td:first-child, th:first-child { text-align: left; }
.facts td { text-align: left; white-space: normal; } .facts td:first-child { color: var(--faint); }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
.grid { stroke: var(--grid); } .axis { stroke: var(--faint); }
.one { stroke: var(--one); } .two { stroke: var(--two); }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.dot.one { fill: var(--one); } .dot.two { fill: var(--two); }
.wrong { color: var(--two); font-weight: 600; }
";

/// A line of a plot: its name in the legend, and its points. A gap is no point.
type Series<'s> = (&'s str, Vec<(f64, Option<f64>)>);

/// The page. `tables` are shown before the runs: a comparison, the steps of a search.
pub fn page(
    title: &str,
    tables: &[(String, Vec<Vec<String>>)],
    runs: &[(String, &Report)],
) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{0}</title>\n<style>{STYLE}</style>\n<h1>{0}</h1>\n",
        escaped(title)
    );
    for (name, rows) in tables {
        // Writing to a string does not fail, here and below.
        let _ = writeln!(page, "<h2>{}</h2>", escaped(name));
        table(&mut page, rows);
    }
    for (name, report) in runs {
        if runs.len() > 1 {
            let _ = writeln!(page, "<h2>{}</h2>", escaped(name));
        }
        run(&mut page, report);
    }
    page.push_str("</html>\n");
    page
}

fn run(page: &mut String, report: &Report) {
    page.push_str("<table class=\"facts\">\n");
    for (name, value) in report.facts() {
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
    // The last second is seldom a whole one, and would look like a fall.
    let whole = report.duration_s.floor() as usize;
    let seconds: Vec<_> = report
        .timeline
        .iter()
        .filter(|bucket| report.timeline.len() <= 2 || bucket.second < whole)
        .collect();
    let by_second = |value: &dyn Fn(&crate::report::Bucket) -> Option<f64>| -> Vec<_> {
        seconds
            .iter()
            .map(|bucket| (bucket.second as f64, value(bucket)))
            .collect()
    };
    plot(
        page,
        "Throughput",
        "requests/s",
        &[
            ("good answers", by_second(&|b| Some(b.good as f64))),
            ("other ends", by_second(&|b| Some(b.failed as f64))),
        ],
    );
    plot(
        page,
        "Latency of good answers",
        "ms",
        &[
            ("p50", by_second(&|b| b.p50_ms)),
            ("p99", by_second(&|b| b.p99_ms)),
        ],
    );
    if let Some(watched) = &report.watched {
        let looks = |value: &dyn Fn(&crate::watch::Look) -> Option<f64>| -> Vec<_> {
            watched
                .looks
                .iter()
                .map(|look| (look.at_s, value(look)))
                .collect()
        };
        plot(
            page,
            "Resident memory of the service",
            "MB",
            &[("resident", looks(&|l| Some(l.resident_bytes as f64 / 1e6)))],
        );
        plot(
            page,
            "File descriptors and threads of the service",
            "number",
            &[
                (
                    "file descriptors",
                    looks(&|l| l.descriptors.map(|n| n as f64)),
                ),
                ("threads", looks(&|l| Some(l.threads as f64))),
            ],
        );
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

/// A round step, so that an axis has about five of them.
fn step(range: f64) -> f64 {
    let rough = (range / 5.0).max(1e-9);
    let power = 10f64.powf(rough.log10().floor());
    let factor = rough / power;
    power
        * if factor <= 1.0 {
            1.0
        } else if factor <= 2.0 {
            2.0
        } else if factor <= 5.0 {
            5.0
        } else {
            10.0
        }
}

fn ticks(top: f64) -> Vec<f64> {
    let step = step(top);
    let count = (top / step).ceil().max(1.0) as usize;
    (0..=count).map(|n| n as f64 * step).collect()
}

fn label(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn plot(page: &mut String, title: &str, unit: &str, series: &[Series<'_>]) {
    let points = || series.iter().flat_map(|(_, points)| points.iter());
    let most = points().filter_map(|(_, y)| *y).fold(0.0, f64::max);
    let end = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let ys = ticks(if most > 0.0 { most } else { 1.0 });
    let top = ys.last().copied().unwrap_or(1.0);
    let x = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * value / end;
    let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top;
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let _ = writeln!(
        page,
        "<h3>{0}</h3>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0} over time\">",
        escaped(title)
    );
    for tick in &ys {
        let _ = writeln!(
            page,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/>\
             <text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>",
            y(*tick),
            LEFT - 8.0,
            y(*tick) + 4.0,
            label(*tick)
        );
    }
    for tick in ticks(end).into_iter().filter(|tick| *tick <= end) {
        let _ = writeln!(
            page,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(tick),
            bottom + 18.0,
            label(tick)
        );
    }
    let middle = (TOP + bottom) / 2.0;
    let _ = writeln!(
        page,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
         <line class=\"axis\" x1=\"{LEFT}\" x2=\"{LEFT}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
         <text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">time, s</text>\
         <text transform=\"translate(14 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        (LEFT + right) / 2.0,
        HEIGHT - 8.0,
        escaped(unit)
    );
    for (n, (name, points)) in series.iter().enumerate() {
        let class = if n == 0 { "one" } else { "two" };
        let mut path = String::new();
        let mut pen = 'M';
        for (px, py) in points {
            match py {
                Some(py) => {
                    let _ = write!(path, "{pen}{:.1} {:.1}", x(*px), y(*py));
                    pen = 'L';
                    if points.len() <= 60 {
                        let _ = write!(
                            page,
                            "<circle class=\"dot {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"/>",
                            x(*px),
                            y(*py)
                        );
                    }
                }
                None => pen = 'M',
            }
        }
        let at = LEFT + 16.0 + n as f64 * 150.0;
        let _ = writeln!(
            page,
            "<path class=\"line {class}\" d=\"{path}\"/>\
             <line class=\"line {class}\" x1=\"{at}\" x2=\"{}\" y1=\"10\" y2=\"10\"/>\
             <text x=\"{}\" y=\"14\">{}</text>",
            at + 22.0,
            at + 28.0,
            escaped(name)
        );
    }
    page.push_str("</svg>\n");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_steps_and_hold_the_largest_value() {
        for top in [0.004, 1.0, 7.3, 99.0, 1234.0] {
            let ticks = ticks(top);
            assert!((2..=8).contains(&ticks.len()), "{top}: {ticks:?}");
            assert!(ticks.last().is_some_and(|last| *last >= top), "{top}");
        }
        assert_eq!(
            (label(20.0), label(0.05)),
            ("20".to_owned(), "0.05".to_owned())
        );
    }

    #[test]
    fn nothing_in_a_page_is_taken_for_markup() {
        let rows = vec![vec!["<script>".to_owned()]];
        let page = page("a & b", &[("\"x\"".to_owned(), rows)], &[]);
        assert!(page.contains("a &amp; b") && page.contains("&lt;script&gt;"));
        assert!(!page.contains("<script>"));
    }
}
