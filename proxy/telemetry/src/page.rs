//! The page of metrics: written in the older of its two formats, and read back, so that whatever is
//! exported elsewhere is what stands on the page and nothing is counted twice.
//!
//! The page is our own: OpenMetrics text 1.0 as `prometheus-client` writes it, without exemplars
//! and timestamps. What is read here is that, and a line that is anything else is left out.

/// One metric, with all of its series.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// As the page has it, without a series' suffix.
    pub name: String,
    /// What it says.
    pub help: String,
    /// What it counts.
    pub kind: Kind,
    /// One for each set of labels.
    pub points: Vec<Point>,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only grows.
    Counter,
    /// Values in buckets.
    Histogram,
}

/// A series' present value.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Names and values, not escaped.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: Reading,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// Of a gauge or a counter.
    Number(f64),
    /// Of a histogram.
    Buckets {
        /// Sum of what was observed.
        sum: f64,
        /// How much was.
        count: u64,
        /// Upper bounds, without the last bucket's, which has none.
        bounds: Vec<f64>,
        /// What fell into each bucket and not into the one before: one more than bounds.
        counts: Vec<u64>,
    },
}

/// A page of OpenMetrics as text of version 0.0.4: counters have their suffix in their descriptions
/// too, and there are neither units nor an end.
pub(crate) fn plain(page: &str) -> String {
    let mut plain = String::with_capacity(page.len());
    let mut help: Option<(&str, &str)> = None;
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = description(line) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((of, help)) = help.take().filter(|(of, _)| *of == name) {
                plain.push_str(&format!("# HELP {of}{suffix} {help}\n"));
            }
            plain.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            plain.push_str(line);
            plain.push('\n');
        }
    }
    plain
}

/// The name and the kind that a line tells.
fn description(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("# TYPE ")?.split_once(' ')
}

/// Reads a page.
#[must_use]
pub fn read(page: &str) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    let mut help = None;
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = description(line) {
            let Some(kind) = Kind::of(kind) else { continue };
            let help = help.take().filter(|(of, _)| *of == name);
            families.push(Family {
                name: name.to_owned(),
                help: help.map(|(_, help)| help.to_owned()).unwrap_or_default(),
                kind,
                points: Vec::new(),
            });
        } else if !line.starts_with('#')
            && let Some(family) = families.last_mut()
        {
            // A line of no known form is nobody's.
            let _ = family.line(line);
        }
    }
    families
}

impl Kind {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "gauge" => Self::Gauge,
            "counter" => Self::Counter,
            "histogram" => Self::Histogram,
            _ => return None,
        })
    }
}

impl Family {
    /// The unit, by the last word of the name; empty: it has none.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        match self.name.rsplit('_').next() {
            Some("seconds") => "s",
            Some("bytes") => "By",
            _ => "",
        }
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, read_labels(labels.strip_suffix('}')?)?),
            None => (series, Vec::new()),
        };
        let suffix = name.strip_prefix(self.name.as_str())?;
        match (self.kind, suffix) {
            (Kind::Gauge, "") | (Kind::Counter, "_total") => self.points.push(Point {
                labels,
                value: Reading::Number(value.parse().ok()?),
            }),
            // A series begins with its sum.
            (Kind::Histogram, "_sum") => self.points.push(Point {
                labels,
                value: Reading::Buckets {
                    sum: value.parse().ok()?,
                    count: 0,
                    bounds: Vec::new(),
                    counts: Vec::new(),
                },
            }),
            (Kind::Histogram, _) => {
                let Reading::Buckets {
                    count,
                    bounds,
                    counts,
                    ..
                } = &mut self.points.last_mut()?.value
                else {
                    return None;
                };
                let so_far: u64 = value.parse().ok()?;
                match suffix {
                    "_count" => *count = so_far,
                    "_bucket" => {
                        // It stands before the series' own labels.
                        let (_, bound) = labels.iter().find(|(name, _)| name == "le")?;
                        match &bound[..] {
                            "+Inf" => {}
                            bound => bounds.push(bound.parse().ok()?),
                        }
                        let before: u64 = counts.iter().sum();
                        counts.push(so_far.saturating_sub(before));
                    }
                    _ => return None,
                }
            }
            _ => return None,
        }
        Some(())
    }
}

/// `a="b",c="d"`, with escapes.
fn read_labels(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.push((name.to_owned(), value));
        text = &rest[end + 1..];
        text = text.strip_prefix(',').unwrap_or(text);
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::Metrics;

    use super::*;

    fn metrics() -> Metrics {
        let metrics = Metrics::new();
        metrics.rejected("a\"b\\c\nd, {x}", "queue-full");
        metrics.register_collector(Box::new(|samples| {
            samples.gauge("depth", "How deep", &[("x", "1")], 0.5);
            samples.gauge("depth", "How deep", &[("x", "2")], 2.0);
            let buckets = [
                (Some(Duration::from_millis(1)), 2),
                (Some(Duration::from_secs(1)), 0),
                (None, 1),
            ];
            let sum = Duration::from_secs(3);
            samples.times("wait_seconds", "A wait", &[], sum, buckets.into_iter());
        }));
        metrics
    }

    fn family(name: &str) -> Family {
        let families = read(&metrics().encode());
        let mut families = families.into_iter();
        families.find(|family| family.name == name).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let rejected = family("tollgate_rejected");
        assert_eq!(rejected.kind, Kind::Counter);
        assert_eq!(
            rejected.help,
            "Requests refused before they were dispatched."
        );
        let [point] = &rejected.points[..] else {
            panic!("{rejected:?}")
        };
        assert_eq!(point.value, Reading::Number(1.0));
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [
            label("route", "a\"b\\c\nd, {x}"),
            label("why", "queue-full"),
        ];
        assert_eq!(point.labels, expected);

        let depth = family("tollgate_depth");
        assert_eq!((depth.kind, depth.points.len()), (Kind::Gauge, 2));
        assert_eq!(depth.points[0].value, Reading::Number(0.5));

        let wait = family("tollgate_wait_seconds");
        assert_eq!(wait.unit(), "s");
        let expected = Reading::Buckets {
            sum: 3.0,
            count: 3,
            bounds: vec![0.001, 1.0],
            counts: vec![2, 0, 1],
        };
        assert_eq!(wait.points[0].value, expected);
    }

    #[test]
    fn the_older_format_names_counters_as_their_series() {
        let page = metrics().encode_plain();
        assert!(page.contains("# TYPE tollgate_rejected_total counter\ntollgate_rejected_total{"));
        assert!(page.contains("# HELP tollgate_rejected_total Requests refused"));
        assert!(page.contains("# TYPE tollgate_depth gauge\n"));
        assert!(page.contains("# TYPE tollgate_wait_seconds histogram\n"));
        assert!(!page.contains("# UNIT") && !page.contains("# EOF"));
        let comments = page.lines().filter(|line| line.starts_with('#'));
        assert!(
            comments
                .clone()
                .all(|line| line.starts_with("# HELP ") || line.starts_with("# TYPE "))
        );
        let of = |word: &str| comments.clone().filter(|line| line.contains(word)).count();
        assert_eq!(of("# HELP "), of("# TYPE "));
    }

    #[test]
    fn what_is_no_page_is_left_out() {
        for text in [
            "",
            "\n",
            "x 1",
            "# TYPE a strange\na 1",
            "# TYPE a gauge\na{b=\"1 2\na{ 3\na x",
        ] {
            assert!(
                read(text).iter().all(|family| family.points.is_empty()),
                "{text}"
            );
        }
    }
}
