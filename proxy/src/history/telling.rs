//! The samples as JSON: in columns, so that a page asks for seconds and not for names again and
//! again; and the last minute put together.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tollgate_telemetry::spread::{Counts, Few};

use super::{EVERY, History, Sample};
use crate::overseer::SIZE_LABELS;

/// Samples of the last minute.
const MINUTE: usize = 60;

/// Percentiles that are told, and the parts of all that they stand for.
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

impl History {
    /// The samples from the one of this number on, as far as they are kept; from the oldest on where
    /// the number is not one of theirs.
    pub(crate) fn since(&self, since: u64) -> Value {
        let samples = self.samples.lock();
        let kept = u64::try_from(samples.kept.len()).unwrap_or_default();
        let oldest = samples.next - kept;
        let first = if (oldest..=samples.next).contains(&since) {
            since
        } else {
            oldest
        };
        let skipped = usize::try_from(first - oldest).unwrap_or_default();
        let told: Vec<&Sample> = samples.kept.iter().skip(skipped).collect();
        json!({
            "interval-ms": u64::try_from(EVERY.as_millis()).unwrap_or_default(),
            "room": samples.room,
            "first": first,
            "next": samples.next,
            "at": column(&told, |it| it.at),
            "columns": {
                "requests": column(&told, |it| it.took.total()),
                "refused": column(&told, |it| it.refused),
                "failed": column(&told, |it| it.failed),
                "gone": column(&told, |it| it.gone),
                "tokens-in": column(&told, |it| it.tokens_in),
                "tokens-out": column(&told, |it| it.tokens_out),
                "sent": column(&told, |it| it.sent),
                "running": column(&told, |it| it.running),
                "queued": column(&told, |it| it.queued),
                "took": percentiles(&told, |it| &it.took),
                "first-byte": percentiles(&told, |it| &it.first_byte),
                "waited": percentiles(&told, |it| &it.waited),
                "guests": guests(&told),
            },
        })
    }

    /// The last minute, put together.
    pub(crate) fn last_minute(&self) -> Value {
        let samples = self.samples.lock();
        let last: Vec<&Sample> = samples.kept.iter().rev().take(MINUTE).collect();
        let sum = |of: fn(&Sample) -> u64| last.iter().map(|it| of(it)).sum::<u64>();
        let whole = |of: fn(&Sample) -> &Few| {
            let mut counts = Counts::default();
            for sample in &last {
                counts.add(of(sample));
            }
            let told = QUANTILES.iter().map(|(name, part)| {
                let millis = counts.quantile(*part).map(|it| it.as_secs_f64() * 1000.0);
                ((*name).to_owned(), json!(millis))
            });
            Value::Object(told.collect())
        };
        json!({
            "seconds": last.len(),
            "requests": sum(|it| it.took.total()),
            "refused": sum(|it| it.refused),
            "failed": sum(|it| it.failed),
            "gone": sum(|it| it.gone),
            "tokens-in": sum(|it| it.tokens_in),
            "tokens-out": sum(|it| it.tokens_out),
            "took": whole(|it| &it.took),
            "first-byte": whole(|it| &it.first_byte),
            "waited": whole(|it| &it.waited),
        })
    }

    /// Requests by the size of the batch that they went in, over all that is kept.
    pub(crate) fn batch_sizes(&self) -> Value {
        let samples = self.samples.lock();
        let told = SIZE_LABELS.iter().enumerate().map(|(at, label)| {
            let count: u64 = samples.kept.iter().map(|it| it.sizes[at]).sum();
            json!({"size": label, "requests": count})
        });
        Value::Array(told.collect())
    }
}

fn column(samples: &[&Sample], of: fn(&Sample) -> u64) -> Vec<u64> {
    samples.iter().map(|it| of(it)).collect()
}

/// In milliseconds; null where there was nothing.
fn percentiles(samples: &[&Sample], of: fn(&Sample) -> &Few) -> Value {
    let told = QUANTILES.iter().map(|(name, part)| {
        let millis = samples.iter().map(|it| {
            let quantile = of(it).quantile(*part);
            quantile.map(|it| it.as_secs_f64() * 1000.0)
        });
        ((*name).to_owned(), json!(millis.collect::<Vec<_>>()))
    });
    Value::Object(told.collect())
}

/// Milliseconds a second, by plugin and `scheduler:NAME`; null where it was not there.
fn guests(samples: &[&Sample]) -> Value {
    let mut told: BTreeMap<&str, Vec<Option<f64>>> = BTreeMap::new();
    for (at, sample) in samples.iter().enumerate() {
        for (name, millis) in &sample.guests {
            let column = told
                .entry(name)
                .or_insert_with(|| vec![None; samples.len()]);
            column[at] = Some(*millis);
        }
    }
    json!(told)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tollgate_telemetry::spread::Spread;

    use super::*;

    /// Seconds with so many requests, each of which took 10 ms.
    fn history(seconds: &[u64]) -> History {
        let history = History::new();
        for (at, requests) in (1..).zip(seconds) {
            let spread = Spread::new();
            for _ in 0..*requests {
                spread.observe(Duration::from_millis(10));
            }
            let guests = vec![(Arc::from(format!("p{}", at % 2)), 1.5)];
            history.take(Sample {
                at,
                took: spread.counts().since(&Counts::default()),
                sizes: [1, 0, 0, 0, 0, 0, 0, 2],
                guests,
                ..Sample::default()
            });
        }
        history
    }

    #[test]
    fn a_page_gets_what_is_new_to_it() {
        let history = history(&[3, 0, 5]);
        let told = history.since(0);
        assert_eq!((&told["first"], &told["next"]), (&json!(0), &json!(3)));
        assert_eq!(told["at"], json!([1, 2, 3]));
        let columns = &told["columns"];
        assert_eq!(columns["requests"], json!([3, 0, 5]));
        assert_eq!(columns["took"]["p99"][1], Value::Null);
        let millis = columns["took"]["p99"][2].as_f64().unwrap();
        assert!((9.3..10.7).contains(&millis), "{millis}");
        assert_eq!(columns["guests"]["p0"], json!([null, 1.5, null]));
        assert_eq!(columns["guests"]["p1"], json!([1.5, null, 1.5]));

        let told = history.since(2);
        assert_eq!(told["columns"]["requests"], json!([5]));
        let told = history.since(3);
        assert_eq!((&told["first"], &told["at"]), (&json!(3), &json!([])));
        // Of a proxy that began anew a page may know more than there is.
        assert_eq!(history.since(900)["first"], 0);
    }

    #[test]
    fn a_minute_is_put_together() {
        let seconds: Vec<u64> = (0..100).map(|at| u64::from(at >= 40)).collect();
        let told = history(&seconds).last_minute();
        assert_eq!(
            (&told["seconds"], &told["requests"]),
            (&json!(60), &json!(60))
        );
        assert!(told["took"]["p50"].as_f64().unwrap() > 9.0);
        assert_eq!(told["waited"]["p50"], Value::Null);
        let sizes = history(&[1, 1]).batch_sizes();
        assert_eq!(sizes[0], json!({"size": "1", "requests": 2}));
        assert_eq!(sizes[7], json!({"size": "65+", "requests": 4}));
    }
}
