//! Figures that other parts own (queue depths, pool gauges, plugin counts), read at scrape time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::labels::escape;

type LabelSet = Vec<(&'static str, String)>;
/// What fills in the samples of one scrape.
pub(crate) type Source = Box<dyn Fn(&mut Samples) + Send + Sync>;

/// Samples of one scrape, gathered by name: a metric whose samples come from several sources is
/// still written as one family, as OpenMetrics demands.
#[derive(Debug)]
pub struct Samples {
    room: usize,
    dropped: u64,
    families: BTreeMap<&'static str, Family>,
}

#[derive(Debug)]
struct Family {
    help: &'static str,
    kind: Kind,
    samples: BTreeMap<LabelSet, Sample>,
}

#[derive(Debug)]
enum Sample {
    Value(f64),
    Histogram { sum: f64, buckets: Vec<(f64, u64)> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gauge,
    Counter,
    Histogram,
}

impl Samples {
    /// Room for at most `max` samples; more are counted and left out.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            room: max,
            dropped: 0,
            families: BTreeMap::new(),
        }
    }

    /// A value that goes up and down. `name` is without the prefix `tollgate_`; by the conventions
    /// of OpenMetrics its unit is its last word. Label values are configured names or values of a
    /// closed set.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        self.add(Kind::Gauge, name, help, labels, Sample::Value(value));
    }

    /// A value that only grows; `_total` is appended to its name.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        // Exact up to 2^53; a counter that grows a million times a second gets there in 285 years.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        self.add(
            Kind::Counter,
            name,
            help,
            labels,
            Sample::Value(value as f64),
        );
    }

    /// Time that only grows, in seconds; the name ends in `seconds`, and `_total` is appended.
    pub fn time(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: Duration,
    ) {
        let value = Sample::Value(value.as_secs_f64());
        self.add(Kind::Counter, name, help, labels, value);
    }

    /// Lengths of time in buckets; the name ends in `seconds`. Each bucket comes with its upper
    /// bound, without one for the last, and counts what is not in the one before.
    pub fn times(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        sum: Duration,
        buckets: impl Iterator<Item = (Option<Duration>, u64)>,
    ) {
        let seconds = |bound: Option<Duration>| bound.map_or(f64::MAX, |it| it.as_secs_f64());
        let sample = Sample::Histogram {
            sum: sum.as_secs_f64(),
            buckets: buckets
                .map(|(bound, count)| (seconds(bound), count))
                .collect(),
        };
        self.add(Kind::Histogram, name, help, labels, sample);
    }

    fn add(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        sample: Sample,
    ) {
        // A histogram takes a line a bucket, and two more.
        let lines = match &sample {
            Sample::Value(_) => 1,
            Sample::Histogram { buckets, .. } => buckets.len() + 2,
        };
        if self.room < lines {
            self.dropped += 1;
            return;
        }
        let family = self.families.entry(name).or_insert_with(|| Family {
            help,
            kind,
            samples: BTreeMap::new(),
        });
        let labels = labels.iter().map(|(k, v)| (*k, escape(v).into_owned()));
        let labels: LabelSet = labels.collect();
        // One name with two kinds, or one series twice, would make the whole page unreadable.
        if family.kind != kind || family.samples.contains_key(&labels) {
            self.dropped += 1;
            return;
        }
        self.room -= lines;
        family.samples.insert(labels, sample);
    }
}

/// The sources, as the registry's collector.
#[derive(Clone)]
pub(crate) struct Sources {
    max_samples: usize,
    sources: Arc<RwLock<Vec<Source>>>,
}

impl Sources {
    pub(crate) fn new(max_samples: usize) -> Self {
        Self {
            max_samples,
            sources: Arc::default(),
        }
    }

    pub(crate) fn add(&self, source: Source) {
        self.sources.write().push(source);
    }

    fn scrape(&self) -> Samples {
        let mut samples = Samples::new(self.max_samples);
        for source in self.sources.read().iter() {
            source(&mut samples);
        }
        samples
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let samples = self.scrape();
        for (name, family) in &samples.families {
            let kind = match family.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(name, family.help, None, kind)?;
            for (labels, sample) in &family.samples {
                let mut encoder = metric.encode_family(labels)?;
                match (family.kind, sample) {
                    (_, Sample::Histogram { sum, buckets }) => {
                        let count = buckets.iter().map(|(_, count)| count).sum();
                        encoder.encode_histogram::<LabelSet>(*sum, count, buckets, None)?;
                    }
                    (Kind::Counter, Sample::Value(value)) => {
                        ConstCounter::new(*value).encode(encoder)?;
                    }
                    (_, Sample::Value(value)) => ConstGauge::new(*value).encode(encoder)?,
                }
            }
        }
        let metric = encoder.encode_descriptor(
            "samples_left_out",
            "Samples of this scrape that had no room or stood twice",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(samples.dropped).encode(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_a_bound_and_one_kind_a_name() {
        let mut samples = Samples::new(2);
        samples.gauge("a", "A", &[("x", "1")], 1.0);
        samples.gauge("a", "A", &[("x", "1")], 2.0);
        samples.counter("a", "A", &[("x", "2")], 3);
        assert_eq!((samples.room, samples.dropped), (1, 2));
        samples.counter("b", "B", &[], 4);
        samples.gauge("c", "C", &[], 5.0);
        assert_eq!((samples.room, samples.dropped), (0, 3));
    }

    #[test]
    fn a_histogram_takes_the_room_of_its_lines() {
        let mut samples = Samples::new(5);
        let buckets = [(Some(Duration::from_millis(1)), 2), (None, 1)];
        let sum = Duration::from_secs(1);
        samples.times("a_seconds", "A", &[], sum, buckets.into_iter());
        assert_eq!((samples.room, samples.dropped), (1, 0));
        samples.times("a_seconds", "A", &[("x", "1")], sum, buckets.into_iter());
        assert_eq!((samples.room, samples.dropped), (1, 1));
    }
}
