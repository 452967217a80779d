//! The results as Markdown: a table a setting, with spread, ratio and noise floor.

use std::fmt::Write as _;

use super::budgets::{self, Verdict};
use super::matrix;
use super::measure::name;
use super::results::{Record, Results};
use super::rounds::{Compared, Spread, compare};
use super::scenarios::{self, guests, translations};
use super::subjects::Subject;

/// What stands before all figures: how they were taken, and what they are called.
const HEAD: &str = include_str!("head.txt");

/// The whole page: what was kept of the budgets, then every scenario.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::from(HEAD);
    let _ = writeln!(text, "{}\n", tally(results));
    text.push_str(&budgets(results));
    for record in &results.scenarios {
        text.push_str(&scenario(record));
    }
    text
}

/// How many budgets hold.
fn tally(results: &Results) -> String {
    let rows = budgets::judge(results);
    let count = |is: fn(&Verdict) -> bool| rows.iter().filter(|row| is(&row.verdict)).count();
    format!(
        "Of {}, {} hold, {} are missed and {} were not measured.",
        rows.len(),
        count(|it| *it == Verdict::Holds),
        count(|it| *it == Verdict::Missed),
        count(|it| matches!(it, Verdict::NotMeasured(_))),
    )
}

/// The table of budgets.
pub(crate) fn budgets(results: &Results) -> String {
    let mut text = String::from(
        "| what | budget | figure | spread | ratio | verdict |\n|---|---|---|---|---|---|\n",
    );
    for row in budgets::judge(results) {
        let figure = row.figure.map_or("–".into(), |it| number(it.median));
        let spread = row.figure.map_or("–".into(), spread);
        let ratio = row.ratio.map_or("–".into(), |ratio| format!("{ratio:.2}"));
        let verdict = match &row.verdict {
            Verdict::Holds if row.close => "holds, within the noise".to_owned(),
            Verdict::Holds => "holds".to_owned(),
            Verdict::Missed if row.close => "**missed**, within the noise".to_owned(),
            Verdict::Missed => "**missed**".to_owned(),
            Verdict::NotMeasured(why) => format!("not measured: {why}"),
        };
        let unit = if row.figure.is_some() { row.unit } else { "" };
        let _ = writeln!(
            text,
            "| {} | {} | {figure} {unit} | {spread} | {ratio} | {verdict} |",
            row.what, row.budget
        );
    }
    text
}

/// One scenario: on what, with what, and its tables.
pub(crate) fn scenario(record: &Record) -> String {
    let reads = scenarios::named(&record.scenario).map_or("", |it| it.reads);
    let rounds = if record.rounds == 1 {
        "round"
    } else {
        "rounds"
    };
    let mut text = format!(
        "\n## {}\n\n{}. {reads}\n\n{} {rounds} of {} s; {}.\n\n`cargo xtask bench {}`",
        record.scenario,
        capital(&record.about),
        record.rounds,
        record.seconds,
        record.machine.line(),
        record.scenario,
    );
    for (name, version) in &record.versions {
        let _ = write!(text, "; {name}: {version}");
    }
    text.push('\n');
    for (name, why) in &record.absent {
        let _ = write!(text, "\n{name}: {why}\n");
    }
    for failure in &record.failures {
        let first = failure.lines().next().unwrap_or_default();
        let _ = write!(text, "\nfailed, and in no figure: {first}\n");
    }
    match record.scenario.as_str() {
        translations::NAME => text.push_str(&matrix::markdown(record)),
        guests::NAME => text.push_str(&beside(record)),
        _ => {
            for setting in record.settings() {
                text.push_str(&table(record, setting));
            }
        }
    }
    text
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// The plugins without a proxy: a line for each case, the sandbox beside native code.
fn beside(record: &Record) -> String {
    let mut text = String::from(
        "\n### Sandbox beside native\n\n| | native, µs | sandbox, µs | sandbox over native |\n\
         |---|---:|---:|---:|\n",
    );
    for setting in record.settings() {
        let of = |subject| record.spread(setting, subject, guests::TIME);
        let shown = |it: Option<Spread>| {
            it.map_or("–".into(), |it| {
                format!("{} ({})", number(it.median), spread(it))
            })
        };
        let (native, sandbox) = (of(guests::NATIVE), of(guests::SANDBOX));
        let ratio = native.zip(sandbox).map_or("–".into(), |(native, sandbox)| {
            format!("{:.2} ×", sandbox.median / native.median)
        });
        let _ = writeln!(
            text,
            "| {setting} | {} | {} | {ratio} |",
            shown(native),
            shown(sandbox)
        );
    }
    text
}

fn table(record: &Record, setting: &str) -> String {
    let names = record.names(setting);
    let mut text = format!("\n### {setting}\n\n| |");
    for (figure, unit) in &names {
        // `requests/s` says it already.
        let unit = if unit.is_empty() || figure.ends_with(unit) {
            String::new()
        } else {
            format!(", {unit}")
        };
        let floor = record.floor(setting, figure);
        let floor = floor.map_or(String::new(), |it| format!(" ± {:.0} %", it * 100.0));
        let _ = write!(text, " {figure}{unit}{floor} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---:|".repeat(names.len()));
    text.push('\n');
    for subject in record.subjects(setting) {
        let _ = write!(text, "| {subject} |");
        for (figure, unit) in &names {
            let cell = record.spread(setting, subject, figure).map_or_else(
                || "–".to_owned(),
                |it| {
                    // A count is what it is.
                    if unit.is_empty() && it.min == it.max {
                        return number(it.median);
                    }
                    let ratio = ratio(record, setting, subject, figure, it);
                    format!("{} ({}){ratio}", number(it.median), spread(it))
                },
            );
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

/// Tollgate over a peer, behind the peer's figure.
fn ratio(record: &Record, setting: &str, subject: &str, figure: &str, theirs: Spread) -> String {
    let ours = Subject::Tollgate.name();
    let peers = Subject::PEERS.map(Subject::name);
    if !peers.contains(&subject) {
        return check(record, setting, subject, figure, theirs);
    }
    let Some(ours) = record.spread(setting, ours, figure) else {
        return String::new();
    };
    match compare(ours.median, theirs.median, record.floor(setting, figure)) {
        Compared::Ratio(ratio) => format!(", Tollgate {ratio:.2} ×"),
        Compared::NotDistinguishable if record.floor(setting, figure).is_none() => {
            format!(", Tollgate {:.2} ×", ours.median / theirs.median)
        }
        Compared::NotDistinguishable => ", not distinguishable".to_owned(),
    }
}

/// The check of tokens is a difference of two: where it lies within the noise, that is said.
fn check(record: &Record, setting: &str, subject: &str, figure: &str, cost: Spread) -> String {
    let whole = record.spread(setting, subject, name::CPU);
    let floor = record.floor(setting, name::CPU);
    match whole.zip(floor) {
        Some((whole, floor))
            if figure == name::CHECK && cost.median.abs() <= floor * whole.median =>
        {
            ", not distinguishable from none".to_owned()
        }
        _ => String::new(),
    }
}

fn spread(spread: Spread) -> String {
    format!("{}–{}", number(spread.min), number(spread.max))
}

/// A number with three digits that mean something; larger ones whole, with commas.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1000.0 {
        return grouped(value);
    }
    let digits = match size {
        100.0.. => 0,
        10.0.. => 1,
        0.1.. => 2,
        _ if size == 0.0 => 0,
        _ => 3,
    };
    format!("{value:.digits$}")
}

fn grouped(value: f64) -> String {
    let whole = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 {
        text.insert(0, '-');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::Measure;

    fn add(record: &mut Record, subject: Subject, rounds: [f64; 3]) {
        for value in rounds {
            let measure = Measure {
                name: name::CPU,
                unit: "µs",
                value,
            };
            record.add("OpenAI", subject.name(), &[measure]);
        }
    }

    fn record() -> Record {
        let mut record = Record {
            scenario: "unary".into(),
            pair: Some(["Tollgate".into(), "Tollgate again".into()]),
            ..Record::default()
        };
        add(&mut record, Subject::Tollgate, [40.0, 41.0, 42.0]);
        add(&mut record, Subject::Again, [42.0, 42.0, 42.0]);
        add(&mut record, Subject::Nginx, [41.0, 42.0, 43.0]);
        add(&mut record, Subject::Envoy, [150.0, 151.0, 149.0]);
        record
    }

    #[test]
    fn numbers_are_short_and_keep_what_means_something() {
        assert_eq!(number(1_234_567.4), "1,234,567");
        assert_eq!(number(-1234.0), "-1,234");
        assert_eq!(number(234.4), "234");
        assert_eq!(number(33.44), "33.4");
        assert_eq!(number(0.123_4), "0.12");
        assert_eq!(number(0.012_34), "0.012");
        assert_eq!(number(0.0), "0");
    }

    #[test]
    fn a_ratio_stands_where_it_is_one() {
        let text = scenario(&record());
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap();
        assert!(
            line("| Envoy |").contains("150 (149–151), Tollgate 0.27 ×"),
            "{text}"
        );
        assert!(line("| nginx |").contains("not distinguishable"), "{text}");
        assert!(text.contains("CPU a request, µs ± 5 %"), "{text}");
    }

    #[test]
    fn what_failed_or_was_not_there_is_told() {
        let mut record = record();
        record.failures.push("round 1: broken\nmore".into());
        record.absent.insert("Envoy".into(), "not here: why".into());
        let text = scenario(&record);
        assert!(text.contains("failed, and in no figure: round 1: broken\n"));
        assert!(text.contains("Envoy: not here: why"));
    }

    #[test]
    fn nothing_measured_is_no_verdict() {
        let text = budgets(&Results::default());
        assert!(
            !text.contains("holds") && !text.contains("missed"),
            "{text}"
        );
        assert!(text.contains("not measured"));
    }

    #[test]
    fn the_page_says_first_how_it_came_about_and_how_many_budgets_hold() {
        let text = markdown(&Results::default());
        let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what}"));
        assert!(place("## How it is measured") < place("## Budgets"));
        let all = budgets::judge(&Results::default()).len();
        let tally = format!("Of {all}, 0 hold, 0 are missed and {all} were not measured.");
        assert!(place(&tally) > place("## Budgets"), "{text}");
    }

    #[test]
    fn plugins_alone_stand_beside_each_other_in_one_line() {
        let mut record = Record {
            scenario: guests::NAME.into(),
            ..Record::default()
        };
        for (subject, value) in [(guests::NATIVE, 10.0), (guests::SANDBOX, 25.0)] {
            let measure = Measure {
                name: guests::TIME,
                unit: "µs",
                value,
            };
            record.add("pass OpenAI", subject, &[measure]);
        }
        let text = scenario(&record);
        let line = "| pass OpenAI | 10.0 (10.0–10.0) | 25.0 (25.0–25.0) | 2.50 × |";
        assert!(text.contains(line), "{text}");
    }
}
