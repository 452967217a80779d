//! Reads a page of OpenMetrics: the values of samples, and which families are gauges.

use std::collections::{BTreeMap, BTreeSet};

/// The samples of one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Metrics {
    /// By name and labels, as the page writes them: `name{label="value"}`.
    samples: BTreeMap<String, f64>,
    gauges: BTreeSet<String>,
}

impl Metrics {
    /// Reads a page; lines that are none of OpenMetrics' are passed over.
    pub(crate) fn read(page: &str) -> Self {
        let mut read = Self::default();
        for line in page.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                if let Some((name, "gauge")) = kind.split_once(' ') {
                    read.gauges.insert(name.to_owned());
                }
            } else if !line.starts_with('#')
                && let Some((series, value)) = sample(line)
            {
                read.samples.insert(series.to_owned(), value);
            }
        }
        read
    }

    /// The sum over all samples of a name; none when there is no such sample.
    pub(crate) fn sum(&self, name: &str) -> Option<f64> {
        let values = self
            .samples
            .iter()
            .filter(|(series, _)| family(series) == name)
            .map(|(_, value)| *value);
        values.reduce(|sum, value| sum + value)
    }

    /// The sum over those of its samples that have a label; 0 when there is none.
    pub(crate) fn sum_of(&self, name: &str, label: &str) -> f64 {
        let samples = self.samples.iter();
        samples
            .filter(|(series, _)| family(series) == name && series.contains(label))
            .map(|(_, value)| value)
            .sum()
    }

    /// Every gauge with its value.
    pub(crate) fn gauges(&self) -> impl Iterator<Item = (&str, f64)> {
        self.samples
            .iter()
            .filter(|(series, _)| self.gauges.contains(family(series)))
            .map(|(series, value)| (series.as_str(), *value))
    }
}

/// The name of a series, without its labels.
pub(crate) fn family(series: &str) -> &str {
    series.split_once('{').map_or(series, |(name, _)| name)
}

/// A series and its value; labels may hold spaces, exemplars and timestamps may follow.
fn sample(line: &str) -> Option<(&str, f64)> {
    let end = match line.find('{') {
        Some(open) => open + closing(&line[open..])? + 1,
        None => line.find(' ')?,
    };
    let value = line[end..].split_ascii_whitespace().next()?;
    Some((&line[..end], value.parse().ok()?))
}

/// Where the brace closes that opens at 0; not within a quoted value.
fn closing(labels: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in labels.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a_seconds A.\n# TYPE a_seconds counter\n\
        a_seconds_total{plugin=\"x } \\\" y\"} 1.5\na_seconds_total{plugin=\"z\"} 0.25 # {} 1\n\
        # TYPE open gauge\nopen 3\nopen{listener=\"b\"} 4\n# EOF\n";

    #[test]
    fn samples_are_added_up_by_name() {
        let read = Metrics::read(PAGE);
        assert_eq!(read.sum("a_seconds_total"), Some(1.75));
        assert_eq!(read.sum("b"), None);
        assert_eq!(read.sum_of("a_seconds_total", "plugin=\"z\""), 0.25);
        assert_eq!(read.sum_of("a_seconds_total", "plugin=\"y\""), 0.0);
    }

    #[test]
    fn gauges_are_told_from_counters() {
        let read = Metrics::read(PAGE);
        let gauges: Vec<_> = read.gauges().collect();
        assert_eq!(gauges, [("open", 3.0), ("open{listener=\"b\"}", 4.0)]);
    }
}
