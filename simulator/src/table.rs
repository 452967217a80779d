//! Reports side by side as a text table.

use crate::report::{Report, Spread};

/// Name and report of each; a line for each figure.
#[must_use]
pub fn table(reports: &[(String, Report)]) -> String {
    type Row = (&'static str, Box<dyn Fn(&Report) -> String>);
    let spread = |of: fn(&Report) -> &Spread| {
        move |report: &Report| {
            let it = of(report);
            let all = [it.p50, it.p90, it.p99, it.most];
            all.map(number).join(" / ")
        }
    };
    let rows: Vec<Row> = vec![
        ("requests", Box::new(|it| it.came.to_string())),
        ("served", Box::new(|it| it.done.to_string())),
        ("  after the deadline", Box::new(|it| it.late.to_string())),
        ("turned away", Box::new(rejections)),
        ("offered, 1/s", Box::new(|it| number(it.offered))),
        ("throughput, 1/s", Box::new(|it| number(it.throughput))),
        (
            "  of the ideal",
            Box::new(|it| percent(it.throughput / it.ideal)),
        ),
        ("output, 1/s", Box::new(|it| number(it.output_rate))),
        (
            "wait, ms: p50 / p90 / p99 / max",
            Box::new(spread(|it| &it.wait)),
        ),
        ("first output, ms", Box::new(spread(|it| &it.first))),
        ("latency, ms", Box::new(spread(|it| &it.latency))),
        ("prompts found in caches", Box::new(|it| percent(it.cached))),
        ("utilisation", Box::new(|it| percent(it.utilisation))),
        ("mean batch", Box::new(|it| number(it.mean_batch))),
        (
            "fairness (Jain)",
            Box::new(|it| it.fairness.map_or("–".into(), |it| format!("{it:.3}"))),
        ),
        (
            "priority inversions",
            Box::new(|it| it.inversions.to_string()),
        ),
        (
            "replaced by the fallback",
            Box::new(|it| it.replaced.to_string()),
        ),
        ("actions refused", Box::new(|it| it.refused.to_string())),
    ];
    let mut columns = vec![vec![String::new()]];
    columns[0].extend(rows.iter().map(|(name, _)| (*name).to_owned()));
    for (name, report) in reports {
        let mut column = vec![name.clone()];
        column.extend(rows.iter().map(|(_, show)| show(report)));
        columns.push(column);
    }
    let mut text = String::new();
    for row in 0..=rows.len() {
        for (at, column) in columns.iter().enumerate() {
            let wide = column
                .iter()
                .map(|it| it.chars().count())
                .max()
                .unwrap_or(0);
            let cell = &column[row];
            let space = " ".repeat(wide - cell.chars().count());
            // Names stand to the left, figures to the right.
            if at == 0 {
                text.push_str(&format!("{cell}{space}"));
            } else {
                text.push_str(&format!("  {space}{cell}"));
            }
        }
        text.push('\n');
    }
    text
}

fn rejections(report: &Report) -> String {
    if report.rejected.is_empty() {
        return "0".into();
    }
    let all = report.rejected.iter();
    let all: Vec<_> = all
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    all.join(", ")
}

pub(crate) fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// Three figures, and no more than two after the point.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
