//! Plots as inline SVG: bars with spread, percentiles on a line, and figures over time. Colours
//! are classes of the page's style sheet, so that one drawing serves light and dark.

use std::fmt::Write as _;

use super::table::number;

/// Drawing units; the page scales them.
const WIDTH: f64 = 760.0;
const LABELS: f64 = 190.0;
/// What a number behind a bar needs, and three behind marks.
const NOTES: f64 = 70.0;
const THREE: f64 = 170.0;
const ROW: f64 = 20.0;
const HEAD: f64 = 24.0;
/// Colours of lines, `c0` to `c6`; more lines than that begin again.
pub(crate) const COLOURS: usize = 7;

/// Rows under a heading.
pub(crate) struct Group<R> {
    pub(crate) title: String,
    pub(crate) rows: Vec<R>,
}

/// A bar of one or more parts, each of a class.
pub(crate) struct Bar {
    pub(crate) label: String,
    /// Class of the style sheet, and how long.
    pub(crate) parts: Vec<(&'static str, f64)>,
    /// Least and largest.
    pub(crate) spread: Option<(f64, f64)>,
}

/// Marks on a line, in rising order.
pub(crate) struct Marks {
    pub(crate) label: String,
    pub(crate) class: &'static str,
    pub(crate) values: Vec<f64>,
}

/// Points over time under a name.
pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Text as HTML and SVG hold it.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Horizontal bars from zero, with whiskers.
pub(crate) fn bars(what: &str, groups: &[Group<Bar>]) -> String {
    let end = groups
        .iter()
        .flat_map(|group| &group.rows)
        .map(|bar| length(bar).max(bar.spread.map_or(0.0, |spread| spread.1)))
        .fold(0.0, f64::max);
    let scale = scale(end);
    rows(what, groups, |svg, bar, y| {
        let mut x = LABELS;
        for (class, value) in &bar.parts {
            let wide = value.max(0.0) * scale;
            let _ = write!(
                svg,
                r#"<rect class="{class}" x="{x:.1}" y="{:.1}" width="{wide:.1}" height="13"/>"#,
                y - 7.0
            );
            x += wide;
        }
        if let Some((least, most)) = bar.spread {
            let (from, to) = (LABELS + least.max(0.0) * scale, LABELS + most * scale);
            let _ = write!(
                svg,
                r#"<path class="whisker" d="M{from:.1} {:.1}v6m0 -3H{to:.1}m0 -3v6"/>"#,
                y - 3.5
            );
            x = x.max(to);
        }
        note(svg, x, y, &number(length(bar)));
    })
}

/// Percentiles on a common logarithmic scale.
pub(crate) fn marks(what: &str, groups: &[Group<Marks>]) -> String {
    let all = || groups.iter().flat_map(|group| &group.rows);
    let values = || {
        all()
            .flat_map(|marks| &marks.values)
            .filter(|it| **it > 0.0)
    };
    let least = values().copied().fold(f64::INFINITY, f64::min);
    let most = values().copied().fold(0.0, f64::max);
    let span = (most / least).ln().max(1e-9);
    let x = |value: f64| LABELS + (value / least).ln() / span * (WIDTH - LABELS - THREE);
    rows(what, groups, |svg, marks, y| {
        let shown: Vec<f64> = marks
            .values
            .iter()
            .copied()
            .filter(|it| *it > 0.0)
            .collect();
        let Some((first, last)) = shown.first().zip(shown.last()) else {
            return;
        };
        let _ = write!(
            svg,
            r#"<path class="range" d="M{:.1} {y:.1}H{:.1}"/>"#,
            x(*first),
            x(*last)
        );
        for value in &shown {
            let _ = write!(
                svg,
                r#"<circle class="{}" cx="{:.1}" cy="{y:.1}" r="4"/>"#,
                marks.class,
                x(*value)
            );
        }
        let text: Vec<String> = shown.iter().map(|value| number(*value)).collect();
        note(svg, x(*last), y, &text.join(" · "));
    })
}

/// The frame that bars and marks share: headings, labels, and a row for each.
fn rows<R: Labelled>(
    what: &str,
    groups: &[Group<R>],
    mut draw: impl FnMut(&mut String, &R, f64),
) -> String {
    let mut inner = String::new();
    let mut y = 4.0;
    for group in groups {
        y += HEAD;
        let _ = write!(
            inner,
            r#"<text class="group" x="0" y="{:.1}">{}</text>"#,
            y - 8.0,
            escaped(&group.title)
        );
        for row in &group.rows {
            let middle = y + ROW / 2.0;
            let _ = write!(
                inner,
                r#"<text class="label" x="{:.1}" y="{:.1}">{}</text>"#,
                LABELS - 8.0,
                middle + 4.0,
                escaped(row.label())
            );
            draw(&mut inner, row, middle);
            y += ROW;
        }
    }
    framed(what, y + 8.0, &inner)
}

/// Figures over time, with a legend.
pub(crate) fn lines(what: &str, along: &str, lines: &[Line]) -> String {
    const TALL: f64 = 220.0;
    const LEFT: f64 = 64.0;
    const TOP: f64 = 12.0;
    let points = || lines.iter().flat_map(|line| &line.points);
    let far = points().map(|point| point.0).fold(0.0, f64::max);
    let near = points().map(|point| point.0).fold(far, f64::min);
    let step = step(points().map(|point| point.1).fold(0.0, f64::max) / 4.0);
    let high = 4.0 * step;
    let x = |at: f64| LEFT + (at - near) / (far - near).max(1e-9) * (WIDTH - LEFT - 40.0);
    let y = |value: f64| TOP + TALL - value.max(0.0) / high * TALL;
    let mut inner = String::new();
    for nth in 0..=4 {
        let value = step * f64::from(nth);
        let _ = write!(
            inner,
            r#"<path class="grid" d="M{LEFT} {0:.1}H{WIDTH}"/><text class="label" x="{1}" y="{2:.1}">{3}</text>"#,
            y(value),
            LEFT - 6.0,
            y(value) + 4.0,
            round(value)
        );
    }
    let across = self::step((far - near) / 8.0);
    let mut at = (near / across).ceil() * across;
    while at <= far {
        let _ = write!(
            inner,
            r#"<text text-anchor="middle" x="{:.1}" y="{:.1}">{}</text>"#,
            x(at),
            TOP + TALL + 16.0,
            round(at)
        );
        at += across;
    }
    let _ = write!(
        inner,
        r#"<text text-anchor="end" x="{WIDTH}" y="{:.1}">{}</text>"#,
        TOP + TALL + 16.0,
        escaped(along)
    );
    let mut legend = TOP + TALL + 38.0;
    for (at, line) in lines.iter().enumerate() {
        let class = at % COLOURS;
        let mut path = String::new();
        for (nth, (along, value)) in line.points.iter().enumerate() {
            let step = if nth == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", x(*along), y(*value));
        }
        let _ = write!(
            inner,
            r#"<path class="line l{class}" d="{path}"/><rect class="c{class}" x="{LEFT}" y="{:.1}" width="14" height="4"/><text x="{}" y="{legend:.1}">{}</text>"#,
            legend - 6.0,
            LEFT + 20.0,
            escaped(&line.label)
        );
        legend += 17.0;
    }
    framed(what, legend, &inner)
}

/// A round step that is at least this: 1, 2, 2.5 or 5 times a power of ten.
fn step(least: f64) -> f64 {
    let least = least.max(1e-6);
    let power = 10_f64.powf(least.log10().floor());
    let round = [1.0, 2.0, 2.5, 5.0, 10.0];
    let times = round
        .into_iter()
        .find(|times| times * power >= least * (1.0 - 1e-9));
    times.unwrap_or(10.0) * power
}

/// A round number as short as it is.
fn round(value: f64) -> String {
    if value.abs() >= 1000.0 {
        return number(value);
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Something with a name before its row.
trait Labelled {
    fn label(&self) -> &str;
}

impl Labelled for Bar {
    fn label(&self) -> &str {
        &self.label
    }
}

impl Labelled for Marks {
    fn label(&self) -> &str {
        &self.label
    }
}

fn length(bar: &Bar) -> f64 {
    bar.parts.iter().map(|(_, value)| value.max(0.0)).sum()
}

fn scale(end: f64) -> f64 {
    (WIDTH - LABELS - NOTES) / end.max(1e-9)
}

fn note(svg: &mut String, x: f64, y: f64, text: &str) {
    let _ = write!(
        svg,
        r#"<text class="note" x="{:.1}" y="{:.1}">{}</text>"#,
        x + 7.0,
        y + 4.0,
        escaped(text)
    );
}

fn framed(what: &str, tall: f64, inner: &str) -> String {
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {tall:.0}" role="img" aria-label="{}">{inner}</svg>"#,
        escaped(what)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widths(svg: &str) -> Vec<f64> {
        svg.split("<rect ")
            .skip(1)
            .map(|rect| {
                let width = rect.split("width=\"").nth(1).unwrap();
                width.split('"').next().unwrap().parse().unwrap()
            })
            .collect()
    }

    #[test]
    fn bars_are_as_long_as_their_values_and_stay_inside() {
        let bar = |label: &str, parts: &[f64]| Bar {
            label: label.into(),
            parts: parts.iter().map(|value| ("ours", *value)).collect(),
            spread: Some((1.0, 40.0)),
        };
        let group = Group {
            title: "<way>".into(),
            rows: vec![bar("a", &[10.0, 10.0]), bar("b", &[40.0, -3.0])],
        };
        let svg = bars("x", &[group]);
        let wide = widths(&svg);
        assert!((wide[0] - wide[2] / 4.0).abs() < 0.2, "{wide:?}");
        assert_eq!(wide[3], 0.0);
        assert!(wide[2] <= WIDTH - LABELS - NOTES + 0.1);
        assert!(svg.contains("&lt;way&gt;") && !svg.contains("<way>"));
    }

    #[test]
    fn odd_values_draw_no_odd_numbers() {
        let nothing = marks("x", &[]);
        let zero = Marks {
            label: "z".into(),
            class: "ours",
            values: vec![0.0, 0.0],
        };
        let group = Group {
            title: "g".into(),
            rows: vec![zero],
        };
        let flat = Line {
            label: "l".into(),
            points: vec![(5.0, 0.0)],
        };
        let empty = Line {
            label: "e".into(),
            points: vec![],
        };
        for svg in [
            nothing,
            marks("x", &[group]),
            lines("x", "s", &[flat, empty]),
            lines("x", "s", &[]),
            bars("x", &[]),
        ] {
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn steps_are_round_and_no_smaller_than_asked() {
        for (least, wanted) in [
            (19.2, 20.0),
            (0.7, 1.0),
            (2.1, 2.5),
            (26.0, 50.0),
            (1.0, 1.0),
        ] {
            assert!(
                (step(least) - wanted).abs() < 1e-9,
                "{least}: {}",
                step(least)
            );
        }
        assert_eq!(
            (round(2.5), round(20.0), round(0.0)),
            ("2.5".into(), "20".into(), "0".into())
        );
    }

    #[test]
    fn a_line_goes_through_its_points() {
        let line = Line {
            label: "a".into(),
            points: vec![(0.0, 0.0), (10.0, 5.0), (20.0, 10.0)],
        };
        let svg = lines("x", "s", &[line]);
        assert!(svg.contains("M64.0 232.0L392.0 122.0L720.0 12.0"), "{svg}");
    }
}
