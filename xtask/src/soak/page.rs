//! A soak as one HTML page: the checks, memory, files and threads over time, and every gauge that
//! moved.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Soak;
use super::sample::Sample;
use crate::bench::metrics::family;
use crate::bench::page::document;
use crate::bench::plot::{COLOURS, Line, escaped, lines};

/// The whole page.
pub(super) fn html(soak: &Soak) -> String {
    let mut body = format!(
        "<h1>Soak</h1>\n<p>{:.1} minutes, {} requests, {} left early, {} kills of a worker, {} \
         changes of components.</p>\n<p class=\"small\">{}</p>\n<table>\n",
        soak.minutes,
        soak.load.requests,
        soak.load.aborted,
        soak.kills,
        soak.swaps,
        escaped(&soak.machine.line())
    );
    for check in &soak.checks {
        let word = if check.holds {
            "ok"
        } else {
            "<strong>failed</strong>"
        };
        let _ = writeln!(
            body,
            "<tr><td>{word}</td><td>{}</td><td>{}</td></tr>",
            escaped(&check.what),
            escaped(&check.found)
        );
    }
    body.push_str("</table>\n<h2>The process</h2>\n");
    body.push_str(&figure(
        "RSS, MiB",
        &[line("RSS", &soak.samples, |it| Some(it.rss))],
    ));
    #[expect(clippy::cast_precision_loss, reason = "counts of files and threads")]
    let counts = [
        line("open files", &soak.samples, |it| Some(it.fds as f64)),
        line("threads", &soak.samples, |it| Some(it.threads as f64)),
    ];
    body.push_str(&figure("files and threads", &counts));
    body.push_str("<h2>Gauges that moved</h2>\n");
    for (name, series) in moving(&soak.samples) {
        // More lines than colours tell nobody anything.
        for (at, some) in series.chunks(COLOURS).enumerate() {
            let drawn: Vec<Line> = some
                .iter()
                .map(|one| {
                    let label = one.strip_prefix(name.as_str()).unwrap_or(one);
                    let label = if label.is_empty() {
                        name.as_str()
                    } else {
                        label
                    };
                    line(label, &soak.samples, |it| it.gauges.get(one).copied())
                })
                .collect();
            let title = if at == 0 {
                name.clone()
            } else {
                format!("{name}, more")
            };
            body.push_str(&figure(&title, &drawn));
        }
    }
    let errors: String = soak
        .load
        .errors
        .iter()
        .map(|(kind, count)| {
            let sample = soak.load.samples.get(kind).map_or("", String::as_str);
            format!("{}: {count}, such as {}\n", escaped(kind), escaped(sample))
        })
        .collect();
    let _ = writeln!(body, "<h2>Errors</h2>\n<pre>{errors}</pre>");
    document("Tollgate: soak", &body)
}

fn line(label: &str, samples: &[Sample], value: impl Fn(&Sample) -> Option<f64>) -> Line {
    Line {
        label: label.to_owned(),
        points: samples
            .iter()
            .filter_map(|sample| Some((sample.at, value(sample)?)))
            .collect(),
    }
}

fn figure(title: &str, drawn: &[Line]) -> String {
    format!(
        "<figure><figcaption>{}</figcaption>{}</figure>\n",
        escaped(title),
        lines(title, "s", drawn)
    )
}

/// Series by family; without those that stood still.
fn moving(samples: &[Sample]) -> BTreeMap<String, Vec<String>> {
    let mut ranges: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (series, value) in samples.iter().flat_map(|sample| &sample.gauges) {
        let range = ranges.entry(series).or_insert((*value, *value));
        *range = (range.0.min(*value), range.1.max(*value));
    }
    let mut families: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (series, (least, most)) in ranges {
        if most > least {
            let name = family(series).to_owned();
            families.entry(name).or_default().push(series.to_owned());
        }
    }
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_is_drawn_and_the_page_is_whole() {
        let mut soak = Soak::default();
        for at in 0..5 {
            let mut sample = Sample {
                at: f64::from(at),
                rss: 40.0,
                ..Sample::default()
            };
            sample.gauges.insert("still".into(), 3.0);
            sample
                .gauges
                .insert("open{a=\"<b>\"}".into(), f64::from(at));
            soak.samples.push(sample);
        }
        let page = html(&soak);
        assert!(page.contains("open") && !page.contains("still"));
        assert!(page.contains("{a=&quot;&lt;b&gt;&quot;}"), "{page}");
        assert!(!page.contains("NaN") && !page.contains("http"));
        assert_eq!(
            page.matches("<figure>").count(),
            page.matches("</figure>").count()
        );
    }
}
