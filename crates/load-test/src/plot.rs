//! A plot as SVG: lines over an axis, readable in light and dark, with no script. The
//! classes it uses get their colours from the page.

use std::fmt::Write;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;

/// Up to here each point gets a dot, with its values for whoever points at it.
const DOTS: usize = 64;

/// About the width of a character, for the legend.
const CHARACTER: f64 = 6.6;

/// A line. A gap is a point without a value.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// The class that colours it.
    pub class: &'static str,
    /// Whether it is dashed.
    pub dashed: bool,
    /// Its points.
    pub points: Vec<(f64, Option<f64>)>,
}

impl Line {
    /// A solid line.
    pub fn new(
        name: impl Into<String>,
        class: &'static str,
        points: Vec<(f64, Option<f64>)>,
    ) -> Self {
        Self {
            name: name.into(),
            class,
            dashed: false,
            points,
        }
    }

    /// The same, dashed.
    pub fn dashed(self) -> Self {
        Self {
            dashed: true,
            ..self
        }
    }

    /// Whether there is anything to see.
    pub fn has_values(&self) -> bool {
        self.points.iter().any(|(_, y)| y.is_some_and(|y| y > 0.0))
    }
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What it shows.
    pub title: &'static str,
    /// What the horizontal axis counts.
    pub across: String,
    /// What the vertical one counts.
    pub up: &'static str,
    /// Its lines.
    pub lines: Vec<Line>,
    /// A value that was not to be passed.
    pub bound: Option<f64>,
    /// Where the horizontal axis ends, if not at the last point.
    pub end: f64,
}

/// A round step, so that an axis has about five of them.
fn step(range: f64) -> f64 {
    let rough = (range / 5.0).max(1e-9);
    let power = 10f64.powf(rough.log10().floor());
    let factor = rough / power;
    let round = [1.0, 2.0, 5.0].into_iter().find(|round| factor <= *round);
    power * round.unwrap_or(10.0)
}

/// From 0 in round steps to a value that is not below `top`.
fn ticks(top: f64) -> Vec<f64> {
    let step = step(top);
    let count = (top / step).ceil().max(1.0) as usize;
    (0..=count).map(|n| n as f64 * step).collect()
}

/// A number with up to three decimals, and none that is 0.
pub fn label(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Text as markup.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

impl Plot {
    /// Writes it under its title.
    pub fn write(&self, page: &mut String) {
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let most = points()
            .filter_map(|(_, y)| *y)
            .chain(self.bound)
            .fold(0.0, f64::max);
        let end = points().map(|(x, _)| *x).fold(self.end.max(1e-3), f64::max);
        let ys = ticks(if most > 0.0 { most } else { 1.0 });
        let top = ys.last().copied().unwrap_or(1.0);
        let scale = Scale { end, top };
        // Writing to a string does not fail, here and below.
        let _ = writeln!(
            page,
            "<h3>{0}</h3>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}, {1}\">",
            escaped(self.title),
            escaped(&self.across)
        );
        self.axes(page, &scale, &ys);
        if let Some(bound) = self.bound {
            let _ = writeln!(
                page,
                "<line class=\"bad\" stroke-dasharray=\"2 4\" x1=\"{LEFT}\" x2=\"{0}\" y1=\"{1:.1}\" y2=\"{1:.1}\"/>",
                WIDTH - RIGHT,
                scale.y(bound)
            );
        }
        let mut legend = LEFT;
        for line in &self.lines {
            self.line(page, &scale, line);
            let _ = writeln!(
                page,
                "<line class=\"line {}\"{} x1=\"{legend}\" x2=\"{}\" y1=\"14\" y2=\"14\"/>\
                 <text x=\"{}\" y=\"18\">{}</text>",
                line.class,
                dashes(line),
                legend + 22.0,
                legend + 28.0,
                escaped(&line.name)
            );
            legend += 48.0 + CHARACTER * line.name.chars().count() as f64;
        }
        page.push_str("</svg>\n");
    }

    fn axes(&self, page: &mut String, scale: &Scale, ys: &[f64]) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in ys {
            let y = scale.y(*tick);
            let _ = writeln!(
                page,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                label(*tick)
            );
        }
        for tick in ticks(scale.end)
            .into_iter()
            .filter(|tick| *tick <= scale.end)
        {
            let x = scale.x(tick);
            let _ = writeln!(
                page,
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{}\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 5.0,
                bottom + 19.0,
                label(tick)
            );
        }
        let middle = (TOP + bottom) / 2.0;
        let _ = writeln!(
            page,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
             <line class=\"axis\" x1=\"{LEFT}\" x2=\"{LEFT}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
             <text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(16 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            (LEFT + right) / 2.0,
            HEIGHT - 6.0,
            escaped(&self.across),
            escaped(self.up)
        );
    }

    fn line(&self, page: &mut String, scale: &Scale, line: &Line) {
        let mut path = String::new();
        let mut pen = 'M';
        for (x, y) in &line.points {
            let Some(y) = y else {
                pen = 'M';
                continue;
            };
            let (px, py) = (scale.x(*x), scale.y(*y));
            let _ = write!(path, "{pen}{px:.1} {py:.1}");
            pen = 'L';
            if line.points.len() <= DOTS {
                let _ = write!(
                    page,
                    "<circle class=\"dot {}\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"2.5\"><title>{}: {} \
                     {} at {}</title></circle>",
                    line.class,
                    escaped(&line.name),
                    label(*y),
                    escaped(self.up),
                    label(*x)
                );
            }
        }
        let _ = writeln!(
            page,
            "<path class=\"line {}\"{} d=\"{path}\"/>",
            line.class,
            dashes(line)
        );
    }
}

fn dashes(line: &Line) -> &'static str {
    if line.dashed {
        " stroke-dasharray=\"6 4\""
    } else {
        ""
    }
}

/// From values to places.
struct Scale {
    end: f64,
    top: f64,
}

impl Scale {
    fn x(&self, value: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * value / self.end
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self.top
    }
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
    fn a_gap_breaks_the_line_and_every_point_lies_in_the_frame() {
        let points = vec![
            (0.5, Some(3.0)),
            (1.5, None),
            (2.5, Some(7.0)),
            (3.5, Some(0.0)),
        ];
        let plot = Plot {
            title: "T",
            across: "time, s".to_owned(),
            up: "ms",
            lines: vec![Line::new("a < b", "one", points)],
            bound: Some(12.0),
            end: 4.0,
        };
        let mut page = String::new();
        plot.write(&mut page);
        let path = page
            .split(" d=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let path = path.expect("a path");
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert_eq!(path.matches('L').count(), 1, "{path}");
        let numbers = path
            .split(|c: char| "ML ".contains(c))
            .filter(|part| !part.is_empty());
        for (n, number) in numbers.enumerate() {
            let number: f64 = number.parse().expect("a number");
            let range = if n % 2 == 0 {
                LEFT..=WIDTH - RIGHT
            } else {
                TOP..=HEIGHT - BOTTOM
            };
            assert!(range.contains(&number), "{path}");
        }
        assert!(page.contains("a &lt; b") && !page.contains("a < b"));
    }
}
