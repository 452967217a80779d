//! The results as one HTML page that needs nothing else: the plots, the tables behind them, light
//! and dark as the reader's system is.

use std::fmt::Write as _;

use super::measure::name;
use super::plot::{Bar, Group, Line, Marks, bars, escaped, lines, marks};
use super::results::{Record, Results};
use super::subjects::Subject;
use super::table;

/// The style sheet of every page. Colours that the colour-blind can tell apart.
const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(crate) fn html(results: &Results) -> String {
    let mut body = String::from("<h1>Benchmarks</h1>\n<h2>Budgets</h2>\n");
    body.push_str(&rendered(&table::budgets(results)));
    for record in &results.scenarios {
        body.push_str(&scenario(record));
    }
    document("Tollgate: benchmarks", &body)
}

/// A page around a body.
pub(crate) fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
         name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" \
         content=\"light dark\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <main>\n{body}</main>\n</body>\n</html>\n",
        escaped(title)
    )
}

fn scenario(record: &Record) -> String {
    let mut text = format!(
        "<h2 id=\"{0}\">{0}</h2>\n<p>{1}. {2} rounds of {3} s.</p>\n<p class=\"small\">{4}</p>\n",
        escaped(&record.scenario),
        escaped(&record.about),
        record.rounds,
        record.seconds,
        escaped(&record.machine.line()),
    );
    for (who, why) in &record.absent {
        let _ = writeln!(text, "<p>{}: {}</p>", escaped(who), escaped(why));
    }
    for failure in &record.failures {
        let _ = writeln!(text, "<p class=\"missed\">failed: {}</p>", escaped(failure));
    }
    for (figure, unit) in figures(record) {
        let drawn = if let Some(parts) = parts_of(figure) {
            text.push_str(LEGEND);
            bars(
                figure,
                &grouped(record, figure, |it| stacked(record, it, figure, parts)),
            )
        } else {
            bars(
                figure,
                &grouped(record, figure, |it| plain(record, it, figure)),
            )
        };
        let unit = if unit.is_empty() {
            String::new()
        } else {
            format!(", {unit}")
        };
        let _ = writeln!(
            text,
            "<figure><figcaption>{}{unit}</figcaption>{drawn}</figure>",
            escaped(figure)
        );
    }
    for (names, what) in [
        (name::P, "latency"),
        (name::FIRST, "first token"),
        (name::BETWEEN, "from token to token"),
    ] {
        let groups = grouped(record, names[0], |it| percentiles(record, it, names));
        if !groups.is_empty() {
            let _ = writeln!(
                text,
                "<figure><figcaption>{what}, µs: p50 · p90 · p99, logarithmic</figcaption>{}</figure>",
                marks(what, &groups)
            );
        }
    }
    text.push_str(&timelines(record));
    let _ = writeln!(
        text,
        "<details><summary>Tables and commands</summary>\n{}\n<pre>{}</pre></details>",
        rendered(&tables(record)),
        record
            .commands
            .iter()
            .map(|(what, line)| format!("# {}\n{}\n", escaped(what), escaped(line)))
            .collect::<String>(),
    );
    text
}

const LEGEND: &str = "<p class=\"legend\"><span class=\"k ours\"></span> host \
     <span class=\"k guests\"></span> guests <span class=\"k check\"></span> token check \
     <span class=\"k peer\"></span> others, whole</p>\n";

/// The figures with a plot of their own: percentiles share one, parts lie within their whole.
fn figures(record: &Record) -> Vec<(&str, &str)> {
    let inside = [name::GUEST, name::CHECK, name::TOLD, name::GUEST_TOKEN];
    let together = [name::P, name::FIRST, name::BETWEEN].concat();
    let mut all: Vec<(&str, &str)> = Vec::new();
    for figure in &record.figures {
        let known = (figure.name.as_str(), figure.unit.as_str());
        if !all.contains(&known) && !inside.contains(&known.0) && !together.contains(&known.0) {
            all.push(known);
        }
    }
    all
}

/// What of a figure is told apart.
fn parts_of(figure: &str) -> Option<&'static [(&'static str, &'static str)]> {
    match figure {
        name::CPU => Some(&[("guests", name::GUEST), ("check", name::CHECK)]),
        name::CPU_TOKEN => Some(&[("guests", name::GUEST_TOKEN)]),
        _ => None,
    }
}

/// A row for each subject that has the figure, setting by setting.
fn grouped<R>(
    record: &Record,
    figure: &str,
    mut row: impl FnMut((&str, &str)) -> Option<R>,
) -> Vec<Group<R>> {
    let mut groups = Vec::new();
    for setting in record.settings() {
        let rows: Vec<R> = record
            .subjects(setting)
            .into_iter()
            .filter(|subject| record.rounds_of(setting, subject, figure).is_some())
            .filter_map(|subject| row((setting, subject)))
            .collect();
        if !rows.is_empty() {
            groups.push(Group {
                title: setting.to_owned(),
                rows,
            });
        }
    }
    groups
}

fn class(subject: &str) -> &'static str {
    let ours = [
        Subject::Tollgate,
        Subject::Again,
        Subject::Open,
        Subject::Swapped,
        Subject::Beside,
        Subject::Traced,
        Subject::Silent,
    ]
    .map(Subject::name);
    if ours.contains(&subject) || subject == super::scenarios::guests::SANDBOX {
        "ours"
    } else {
        "peer"
    }
}

fn plain(record: &Record, (setting, subject): (&str, &str), figure: &str) -> Option<Bar> {
    let spread = record.spread(setting, subject, figure)?;
    Some(Bar {
        label: subject.to_owned(),
        parts: vec![(class(subject), spread.median)],
        spread: Some((spread.min, spread.max)),
    })
}

fn stacked(
    record: &Record,
    (setting, subject): (&str, &str),
    figure: &str,
    parts: &[(&'static str, &str)],
) -> Option<Bar> {
    let mut bar = plain(record, (setting, subject), figure)?;
    for (class, part) in parts {
        if let Some(part) = record.spread(setting, subject, part) {
            // Noise can make a difference negative, which is no length; and no part is more
            // than its whole.
            let part = part.median.clamp(0.0, bar.parts[0].1);
            bar.parts[0].1 -= part;
            bar.parts.push((class, part));
        }
    }
    Some(bar)
}

fn percentiles(
    record: &Record,
    (setting, subject): (&str, &str),
    names: [&'static str; 3],
) -> Option<Marks> {
    let values: Option<Vec<f64>> = names
        .iter()
        .map(|figure| Some(record.spread(setting, subject, figure)?.median))
        .collect();
    Some(Marks {
        label: subject.to_owned(),
        class: class(subject),
        values: values?,
    })
}

/// One plot a setting, with the last round of every subject.
fn timelines(record: &Record) -> String {
    let mut text = String::new();
    let mut done: Vec<(&str, &str)> = Vec::new();
    for line in &record.timelines {
        let here = (line.setting.as_str(), line.name.as_str());
        if done.contains(&here) {
            continue;
        }
        done.push(here);
        let mut drawn: Vec<Line> = Vec::new();
        let same = record.timelines.iter();
        for one in same.filter(|it| (it.setting.as_str(), it.name.as_str()) == here) {
            let next = Line {
                label: one.subject.clone(),
                points: one.points.clone(),
            };
            match drawn.iter_mut().find(|known| known.label == one.subject) {
                Some(known) => *known = next,
                None => drawn.push(next),
            }
        }
        let _ = writeln!(
            text,
            "<figure><figcaption>{}: {}, {} over {}</figcaption>{}</figure>",
            escaped(&line.setting),
            escaped(&line.name),
            escaped(&line.unit),
            escaped(&line.along),
            lines(&line.name, &line.along, &drawn)
        );
    }
    text
}

fn tables(record: &Record) -> String {
    let text = table::scenario(record);
    // What stands before the first table is on the page already.
    text.find("\n### ")
        .map_or(String::new(), |at| text[at..].to_owned())
}

/// The Markdown of our own tables as HTML: headings of the third level, and tables.
fn rendered(markdown: &str) -> String {
    let mut text = String::new();
    let mut rows = 0;
    for line in markdown.lines().chain([""]) {
        if let Some(cells) = line.strip_prefix('|') {
            if cells.starts_with("---") {
                continue;
            }
            if rows == 0 {
                text.push_str("<div class=\"wide\"><table>\n");
            }
            let tag = if rows == 0 { "th" } else { "td" };
            text.push_str("<tr>");
            for cell in cells.trim_end_matches('|').split('|') {
                let cell = escaped(cell.trim());
                let cell = match cell.strip_prefix("**").and_then(|it| it.split_once("**")) {
                    Some((strong, rest)) => format!("<strong>{strong}</strong>{rest}"),
                    None => cell,
                };
                let _ = write!(text, "<{tag}>{cell}</{tag}>");
            }
            text.push_str("</tr>\n");
            rows += 1;
            continue;
        }
        if rows > 0 {
            text.push_str("</table></div>\n");
            rows = 0;
        }
        if let Some(heading) = line.strip_prefix("### ") {
            let _ = writeln!(text, "<h3>{}</h3>", escaped(heading));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::{Measure, Timeline};

    fn results() -> Results {
        let mut record = Record {
            scenario: "unary".into(),
            ..Record::default()
        };
        let measure = |name, value| Measure {
            name,
            unit: "µs",
            value,
        };
        record.add(
            "OpenAI & more",
            "Tollgate",
            &[
                measure(name::CPU, 40.0),
                measure(name::GUEST, 10.0),
                measure(name::CHECK, -1.0),
                measure(name::P[0], 100.0),
                measure(name::P[1], 200.0),
                measure(name::P[2], 300.0),
            ],
        );
        record.add("OpenAI & more", "nginx", &[measure(name::CPU, 30.0)]);
        record.timelines.push(Timeline {
            setting: "OpenAI".into(),
            subject: "nginx".into(),
            name: "RSS".into(),
            unit: "MiB".into(),
            along: "wave".into(),
            points: vec![(1.0, 2.0), (2.0, 2.0)],
        });
        Results {
            scenarios: vec![record],
        }
    }

    #[test]
    fn the_page_needs_nothing_else_and_is_well_formed() {
        let page = html(&results());
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("prefers-color-scheme"));
        assert!(page.contains("OpenAI &amp; more") && !page.contains("OpenAI & more"));
        for tag in ["svg", "figure", "table", "details", "div", "main"] {
            let opened = page.matches(&format!("<{tag}")).count();
            let closed = page.matches(&format!("</{tag}>")).count();
            assert!(opened > 0 && opened == closed, "{tag}: {opened}, {closed}");
        }
    }

    #[test]
    fn parts_lie_within_their_whole_and_are_never_negative() {
        let results = results();
        let record = &results.scenarios[0];
        let parts = parts_of(name::CPU).unwrap();
        let bar = stacked(record, ("OpenAI & more", "Tollgate"), name::CPU, parts).unwrap();
        assert_eq!(
            bar.parts,
            [("ours", 30.0), ("guests", 10.0), ("check", 0.0)]
        );
    }

    #[test]
    fn our_tables_become_tables() {
        let html =
            rendered("### A & b\n\n| x | y |\n|---|---:|\n| 1 | **missed** |\n\n| z |\n|---|\n");
        assert!(html.contains("<h3>A &amp; b</h3>"));
        assert!(html.contains("<tr><td>1</td><td><strong>missed</strong></td></tr>"));
        assert_eq!(html.matches("<table>").count(), 2);
        assert_eq!(html.matches("</table>").count(), 2);
    }
}
