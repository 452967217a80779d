//! What was measured, as `results.json` keeps it: every round of every figure, the raw reports
//! behind them, and on what they were taken.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::machine::Machine;
use super::rounds::{Spread, floor};

/// All scenarios that a folder has results of; one that is run again replaces its record.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) scenarios: Vec<Record>,
}

/// One scenario, as it was run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) scenario: String,
    pub(crate) about: String,
    pub(crate) machine: Machine,
    /// Seconds of one measurement, and how often each was taken.
    pub(crate) seconds: u64,
    pub(crate) rounds: usize,
    /// The A/A pair: one thing under two names.
    pub(crate) pair: Option<[String; 2]>,
    /// Versions of what took part, by name.
    pub(crate) versions: BTreeMap<String, String>,
    /// What could not take part, and why.
    pub(crate) absent: BTreeMap<String, String>,
    /// Measurements that failed, which therefore are in no figure.
    pub(crate) failures: Vec<String>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) timelines: Vec<Timeline>,
    /// Every command of the first round, by what it was for.
    pub(crate) commands: BTreeMap<String, String>,
    /// What the load generator and the process said, measurement by measurement.
    pub(crate) raw: Vec<Value>,
}

/// One figure of one subject in one setting, round by round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) setting: String,
    pub(crate) subject: String,
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) rounds: Vec<f64>,
}

/// A figure over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Timeline {
    pub(crate) setting: String,
    pub(crate) subject: String,
    pub(crate) name: String,
    pub(crate) unit: String,
    /// What the first number of a point counts: `s`, `wave`.
    pub(crate) along: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// One value on its way into a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
}

impl Record {
    /// Adds what one round gave.
    pub(crate) fn add(&mut self, setting: &str, subject: &str, values: &[Measure]) {
        for value in values {
            let known = self.figures.iter_mut().find(|figure| {
                figure.setting == setting && figure.subject == subject && figure.name == value.name
            });
            match known {
                Some(figure) => figure.rounds.push(value.value),
                None => self.figures.push(Figure {
                    setting: setting.to_owned(),
                    subject: subject.to_owned(),
                    name: value.name.to_owned(),
                    unit: value.unit.to_owned(),
                    rounds: vec![value.value],
                }),
            }
        }
    }

    /// A figure's rounds.
    pub(crate) fn rounds_of(&self, setting: &str, subject: &str, name: &str) -> Option<&[f64]> {
        self.figures
            .iter()
            .find(|it| it.setting == setting && it.subject == subject && it.name == name)
            .map(|figure| figure.rounds.as_slice())
    }

    /// The spread of a figure.
    pub(crate) fn spread(&self, setting: &str, subject: &str, name: &str) -> Option<Spread> {
        Spread::of(self.rounds_of(setting, subject, name)?)
    }

    /// The noise floor of a figure in a setting, where the A/A pair was run.
    pub(crate) fn floor(&self, setting: &str, name: &str) -> Option<f64> {
        let [one, again] = self.pair.as_ref()?;
        floor(
            self.rounds_of(setting, one, name)?,
            self.rounds_of(setting, again, name)?,
        )
    }

    /// The settings, in the order in which they were first measured.
    pub(crate) fn settings(&self) -> Vec<&str> {
        unique(self.figures.iter().map(|figure| figure.setting.as_str()))
    }

    /// The subjects of a setting.
    pub(crate) fn subjects(&self, setting: &str) -> Vec<&str> {
        let here = self.figures.iter().filter(|it| it.setting == setting);
        unique(here.map(|figure| figure.subject.as_str()))
    }

    /// The figures of a setting, with their units, in the order in which the first of the pair
    /// has them: it has all that anybody has.
    pub(crate) fn names(&self, setting: &str) -> Vec<(&str, &str)> {
        let first = self.pair.as_ref().map(|pair| pair[0].as_str());
        let here = || self.figures.iter().filter(|it| it.setting == setting);
        let ours = here().filter(|it| Some(it.subject.as_str()) == first);
        unique(
            ours.chain(here())
                .map(|figure| (figure.name.as_str(), figure.unit.as_str())),
        )
    }

    /// Adds a figure that is made of others, behind the one that it belongs to.
    pub(crate) fn derive(&mut self, behind: &str, figure: Figure) {
        let at = self.figures.iter().position(|it| {
            it.setting == figure.setting && it.subject == figure.subject && it.name == behind
        });
        let at = at.map_or(self.figures.len(), |at| at + 1);
        self.figures.insert(at, figure);
    }

    /// Brings the figures of these cases into their order, whatever the rounds' order was, behind
    /// those that were there before.
    pub(crate) fn arrange(&mut self, cases: &[(String, String)]) {
        let place = |figure: &Figure| {
            let same = |(setting, subject): &(String, String)| {
                *setting == figure.setting && *subject == figure.subject
            };
            cases.iter().position(same).map_or(0, |at| at + 1)
        };
        self.figures.sort_by_key(place);
    }
}

impl Results {
    /// What a folder has; nothing when it has none yet.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        if !file.is_file() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{}", file.display()))
    }

    /// Puts a record in, in place of an earlier one of the same scenario.
    pub(crate) fn put(&mut self, record: Record) {
        match self
            .scenarios
            .iter_mut()
            .find(|it| it.scenario == record.scenario)
        {
            Some(old) => *old = record,
            None => self.scenarios.push(record),
        }
    }

    /// The record of a scenario.
    pub(crate) fn of(&self, scenario: &str) -> Option<&Record> {
        self.scenarios.iter().find(|it| it.scenario == scenario)
    }
}

/// Without repetitions, in order.
fn unique<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &'static str, value: f64) -> Measure {
        Measure {
            name,
            unit: "µs",
            value,
        }
    }

    #[test]
    fn rounds_of_a_figure_come_together() {
        let mut record = Record {
            pair: Some(["a".into(), "b".into()]),
            ..Record::default()
        };
        for round in [10.0, 12.0, 11.0] {
            record.add("s", "a", &[value("cpu", round)]);
            record.add("s", "b", &[value("cpu", round + 1.0)]);
        }
        assert_eq!(record.rounds_of("s", "a", "cpu").unwrap().len(), 3);
        assert_eq!(record.spread("s", "a", "cpu").unwrap().median, 11.0);
        assert!(record.floor("s", "cpu").unwrap() > 0.08);
        assert_eq!(record.floor("s", "rate"), None);
        assert_eq!(record.subjects("s"), ["a", "b"]);
    }

    #[test]
    fn a_record_survives_the_file_and_replaces_its_forerunner() {
        let mut results = Results::default();
        let mut record = Record {
            scenario: "unary".into(),
            ..Record::default()
        };
        record.add("s", "a", &[value("cpu", 1.5)]);
        results.put(record);
        let text = serde_json::to_string(&results).unwrap();
        let mut back: Results = serde_json::from_str(&text).unwrap();
        assert_eq!(back.of("unary").unwrap().figures[0].rounds, [1.5]);
        back.put(Record {
            scenario: "unary".into(),
            rounds: 9,
            ..Record::default()
        });
        assert_eq!(back.scenarios.len(), 1);
        assert_eq!(back.of("unary").unwrap().rounds, 9);
    }

    #[test]
    fn columns_stand_as_the_pair_has_them() {
        let mut record = Record {
            pair: Some(["a".into(), "b".into()]),
            ..Record::default()
        };
        record.add("s", "nobody", &[value("rate", 1.0), value("p50", 1.0)]);
        let whole = [value("rate", 1.0), value("cpu", 1.0), value("p50", 1.0)];
        record.add("s", "a", &whole);
        record.derive(
            "cpu",
            Figure {
                setting: "s".into(),
                subject: "a".into(),
                name: "part".into(),
                unit: String::new(),
                rounds: vec![0.5],
            },
        );
        let names: Vec<&str> = record.names("s").into_iter().map(|it| it.0).collect();
        assert_eq!(names, ["rate", "cpu", "part", "p50"]);
    }

    #[test]
    fn figures_are_brought_into_the_order_of_the_cases() {
        let mut record = Record::default();
        record.add("two", "a", &[value("cpu", 1.0)]);
        record.add("one", "b", &[value("cpu", 1.0)]);
        record.arrange(&[("one".into(), "b".into()), ("two".into(), "a".into())]);
        assert_eq!(record.settings(), ["one", "two"]);
    }
}
