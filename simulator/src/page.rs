//! Reports as one HTML page with plots: everything inline, nothing fetched, light and dark.

use std::fmt::Write as _;

use crate::report::Report;
use crate::table::{number, table};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 24.0;
/// Colours of the style sheet; more schedulers than that begin again.
const COLOURS: usize = 6;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--faint:#8a929c;--paper:#fff;--line:#d8dde3}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--faint:#8a929c;--paper:#15181c;--line:#343a42}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:56rem;margin:2rem auto;padding:0 1rem}
pre{overflow-x:auto;font-size:13px;border:1px solid var(--line);padding:.75rem}
svg{width:100%;height:auto}text{font:11px system-ui,sans-serif;fill:var(--faint)}
.axis{stroke:var(--line);fill:none}.line{fill:none;stroke-width:1.6}
.c0{stroke:#2f6fde}.c1{stroke:#d9622b}.c2{stroke:#2c9a5b}.c3{stroke:#9a4fc4}.c4{stroke:#c23b5a}.c5{stroke:#8a7a1f}
.f0{fill:#2f6fde}.f1{fill:#d9622b}.f2{fill:#2c9a5b}.f3{fill:#9a4fc4}.f4{fill:#c23b5a}.f5{fill:#8a7a1f}
.key{display:inline-block;margin-right:1rem}.key svg{width:1rem;height:.7rem;vertical-align:middle}";

struct Line {
    points: Vec<(f64, f64)>,
}

/// A page; `title` and `setup` say what was simulated.
#[must_use]
pub fn page(title: &str, setup: &str, reports: &[(String, Report)]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title>\
         <style>{STYLE}</style></head><body><h1>{0}</h1><pre>{1}</pre><p>",
        escaped(title),
        escaped(setup)
    );
    for (at, (name, _)) in reports.iter().enumerate() {
        let _ = write!(
            html,
            r#"<span class="key"><svg viewBox="0 0 10 7"><rect class="f{}" width="10" height="7"/></svg> {}</span>"#,
            at % COLOURS,
            escaped(name)
        );
    }
    let _ = write!(html, "</p><pre>{}</pre>", escaped(&table(reports)));
    let over_time = |which: usize| -> Vec<Line> {
        let lines = reports.iter().map(|(_, report)| Line {
            points: report
                .timeline
                .iter()
                .map(|it| (it[0], it[which]))
                .collect(),
        });
        lines.collect()
    };
    for (heading, which) in [
        ("Requests that came in a second", 1),
        ("Requests served in a second", 2),
        ("Requests turned away in a second", 3),
        ("Requests waiting, at most", 4),
    ] {
        let _ = write!(
            html,
            "<h2>{heading}</h2>{}",
            plot(heading, "s", &over_time(which))
        );
    }
    let latencies = reports.iter().map(|(_, report)| {
        let it = &report.latency;
        let all = [
            (50.0, it.p50),
            (90.0, it.p90),
            (99.0, it.p99),
            (100.0, it.most),
        ];
        Line {
            points: all.to_vec(),
        }
    });
    let _ = write!(
        html,
        "<h2>Latency by percentile, ms</h2>{}",
        plot("latency", "%", &latencies.collect::<Vec<_>>())
    );
    let sizes = reports.iter().map(|(_, report)| Line {
        points: report
            .batches
            .iter()
            .map(|(size, count)| (*size as f64, *count as f64))
            .collect(),
    });
    let _ = writeln!(
        html,
        "<h2>Batches by size</h2>{}</body></html>",
        plot("batches", "", &sizes.collect::<Vec<_>>())
    );
    html
}

/// Lines over a common axis from zero.
fn plot(what: &str, unit: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let least = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let right = points().map(|point| point.0).fold(0.0, f64::max);
    let top = points().map(|point| point.1).fold(0.0, f64::max).max(1e-9);
    let least = if least.is_finite() { least } else { 0.0 };
    let span = (right - least).max(1e-9);
    let x = |value: f64| LEFT + (value - least) / span * (WIDTH - LEFT - 10.0);
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - 12.0);
    let mut svg = format!(
        r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}"><path class="axis" d="M{LEFT} 8V{:.1}H{WIDTH}"/>"#,
        escaped(what),
        y(0.0)
    );
    for (value, at) in [(0.0, y(0.0)), (top / 2.0, y(top / 2.0)), (top, y(top))] {
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 6.0,
            at + 4.0,
            number(value)
        );
    }
    for value in [least, least + span / 2.0, right] {
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{} {unit}</text>"#,
            x(value).min(WIDTH - 24.0),
            HEIGHT - 6.0,
            number(value)
        );
    }
    for (at, line) in lines.iter().enumerate() {
        let mut path = String::new();
        for (n, point) in line.points.iter().enumerate() {
            let letter = if n == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", x(point.0), y(point.1));
        }
        let colour = at % COLOURS;
        if line.points.len() == 1 {
            let (px, py) = line.points[0];
            let (px, py) = (x(px), y(py));
            let _ = write!(
                svg,
                r#"<circle class="f{colour}" cx="{px:.1}" cy="{py:.1}" r="3"/>"#
            );
        }
        let _ = write!(svg, r#"<path class="line c{colour}" d="{path}"/>"#);
    }
    svg.push_str("</svg>");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
