//! The budgets of the design, each looked up in what was measured and judged.

use super::matrix;
use super::measure::name;
use super::results::{Record, Results};
use super::rounds::{Compared, Spread, compare};
use super::scenarios::{batching, guests, hostile, idle, start, stream, swap, translations};
use super::subjects::{
    OPENAI, OPENAI_TGIS, Subject, TGIS, TGIS_OPENAI, V2_GRPC, V2_GRPC_REST, V2_REST, V2_REST_GRPC,
    Way,
};

/// What may be said of a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Holds,
    Missed,
    NotMeasured(String),
}

/// A budget and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) budget: String,
    pub(crate) unit: &'static str,
    pub(crate) figure: Option<Spread>,
    /// Over what the budget compares it with, where it does.
    pub(crate) ratio: Option<f64>,
    /// Whether it lies no further from its bound than the noise floor: another run may say
    /// otherwise.
    pub(crate) close: bool,
    pub(crate) verdict: Verdict,
}

/// Where a figure stands.
#[derive(Clone)]
struct At {
    scenario: &'static str,
    setting: String,
    subject: String,
    name: &'static str,
}

/// How a figure is judged.
enum Bound {
    /// It is at most this.
    Most(f64),
    /// It is at least this.
    Least(f64),
    /// Over another it is at most this.
    MostOf(At, f64),
    /// Over another it is at least this.
    LeastOf(At, f64),
    /// It is at most this more than another.
    MostAbove(At, f64),
}

/// A budget.
struct Budget {
    what: String,
    text: String,
    unit: &'static str,
    figure: At,
    bound: Bound,
}

/// Every budget with its verdict, in the design's order.
pub(crate) fn judge(results: &Results) -> Vec<Row> {
    let mut rows: Vec<Row> = budgets()
        .into_iter()
        .map(|budget| judged(results, budget))
        .collect();
    rows.extend([false, true].map(|streamed| dearest(results, streamed)));
    rows
}

/// The dearest of all translations.
fn dearest(results: &Results, streamed: bool) -> Row {
    let unit = if streamed { "token" } else { "request" };
    let row = Row {
        what: format!("every translation, CPU a {unit}"),
        budget: format!("≤ {} × {}", matrix::MOST, translations::base(false)),
        unit: "µs",
        figure: None,
        ratio: None,
        close: false,
        verdict: Verdict::Holds,
    };
    match matrix::dearest(results, streamed) {
        Ok(found) => Row {
            what: format!("{}; the dearest: {}", row.what, found.setting),
            figure: Some(found.figure),
            ratio: Some(found.ratio),
            close: found.close,
            verdict: if found.ratio <= matrix::MOST {
                Verdict::Holds
            } else {
                Verdict::Missed
            },
            ..row
        },
        Err(why) => Row {
            verdict: Verdict::NotMeasured(why),
            ..row
        },
    }
}

fn judged(results: &Results, budget: Budget) -> Row {
    let row = Row {
        what: budget.what.clone(),
        budget: budget.text.clone(),
        unit: budget.unit,
        figure: None,
        ratio: None,
        close: false,
        verdict: Verdict::Holds,
    };
    match measured(results, &budget, row.clone()) {
        Ok(row) => row,
        Err(why) => Row {
            verdict: Verdict::NotMeasured(why),
            ..row
        },
    }
}

fn measured(results: &Results, budget: &Budget, row: Row) -> Result<Row, String> {
    let figure = find(results, &budget.figure)?;
    let ours = figure.median;
    // The bound in the figure's own unit, what it is compared with, and which side is good.
    let (bound, other, below) = match &budget.bound {
        Bound::Most(most) => (*most, None, true),
        Bound::Least(least) => (*least, None, false),
        Bound::MostOf(other, times) => {
            let other = find(results, other)?.median;
            (other * times, Some(other), true)
        }
        Bound::LeastOf(other, times) => {
            let other = find(results, other)?.median;
            (other * times, Some(other), false)
        }
        Bound::MostAbove(other, more) => {
            let other = find(results, other)?.median;
            (other + more, Some(other), true)
        }
    };
    let holds = if below { ours <= bound } else { ours >= bound };
    let at = &budget.figure;
    let floor = results
        .of(at.scenario)
        .and_then(|record| record.floor(&at.setting, at.name));
    Ok(Row {
        figure: Some(figure),
        ratio: other.map(|other| ours / other),
        close: floor.is_some() && compare(ours, bound, floor) == Compared::NotDistinguishable,
        verdict: if holds {
            Verdict::Holds
        } else {
            Verdict::Missed
        },
        ..row
    })
}

fn find(results: &Results, at: &At) -> Result<Spread, String> {
    let record: &Record = results
        .of(at.scenario)
        .ok_or_else(|| format!("`{}` was not run", at.scenario))?;
    record
        .spread(&at.setting, &at.subject, at.name)
        .ok_or_else(|| {
            record.absent.get(&at.subject).map_or_else(
                || format!("no {} of {}", at.name, at.subject),
                |why| format!("{} is {why}", at.subject),
            )
        })
}

fn at(scenario: &'static str, setting: &str, subject: Subject, name: &'static str) -> At {
    At {
        scenario,
        setting: setting.to_owned(),
        subject: subject.name().to_owned(),
        name,
    }
}

fn budgets() -> Vec<Budget> {
    let mut list = passing();
    list.extend(translating());
    list.extend(streaming());
    list.extend(holding());
    list.extend(large());
    list.extend(batched());
    list.extend(starting());
    list
}

/// Passing on, 1 KB, 32 connections.
fn passing() -> Vec<Budget> {
    let cpu = |subject| at("unary", OPENAI.name, subject, name::CPU);
    let over = |subject, text: &str, bound| Budget {
        what: format!("passing on, CPU a request, over {}", Subject::name(subject)),
        text: text.to_owned(),
        unit: "µs",
        figure: cpu(Subject::Tollgate),
        bound,
    };
    vec![
        over(
            Subject::Bare,
            "≤ bare hyper + 12 µs",
            Bound::MostAbove(cpu(Subject::Bare), 12.0),
        ),
        over(
            Subject::Nginx,
            "≤ 1.5 × nginx",
            Bound::MostOf(cpu(Subject::Nginx), 1.5),
        ),
        over(
            Subject::Envoy,
            "≤ 0.45 × Envoy",
            Bound::MostOf(cpu(Subject::Envoy), 0.45),
        ),
    ]
}

/// Translating, unary: in the sandbox against native, and against Envoy's plain forwarding of
/// what the client speaks.
fn translating() -> Vec<Budget> {
    let mut list = Vec::new();
    for (way, plain) in [(&OPENAI_TGIS, &OPENAI), (&TGIS_OPENAI, &TGIS)] {
        let case = |subject| alone(guests::unary(way), subject);
        list.push(Budget {
            what: format!("{}, plugins of a request", way.name),
            text: "≤ 1.3 × linked natively".to_owned(),
            unit: "µs",
            figure: case(guests::SANDBOX),
            bound: Bound::MostOf(case(guests::NATIVE), 1.3),
        });
        list.push(Budget {
            what: format!("{}, CPU a request", way.name),
            text: format!("≤ 0.7 × Envoy forwarding {}", plain.name),
            unit: "µs",
            figure: at("unary", way.name, Subject::Tollgate, name::CPU),
            bound: Bound::MostOf(at("unary", plain.name, Subject::Envoy, name::CPU), 0.7),
        });
    }
    list
}

/// A token through two guests, and that it does not wait.
fn streaming() -> Vec<Budget> {
    let mut list = Vec::new();
    for way in [&OPENAI_TGIS, &TGIS_OPENAI] {
        for (per_write, most) in [(1, 6.0), (16, 2.5)] {
            list.push(Budget {
                what: format!("{}, plugins of a token, {per_write} a call", way.name),
                text: format!("≤ {most} µs"),
                unit: "µs",
                figure: alone(guests::streamed(way, per_write), guests::SANDBOX),
                bound: Bound::Most(most),
            });
            list.push(Budget {
                what: format!("{}, the same within the proxy", way.name),
                text: format!("≤ {most} µs"),
                unit: "µs",
                figure: at(
                    "stream",
                    &stream::setting(way, per_write, 1_000),
                    Subject::Tollgate,
                    name::GUEST_TOKEN,
                ),
                bound: Bound::Most(most),
            });
        }
    }
    let between = |subject| {
        let setting = stream::setting(&OPENAI, 1, 1);
        at("stream", &setting, subject, name::BETWEEN[2])
    };
    list.push(Budget {
        what: "a stream, p99 from token to token, over bare hyper".to_owned(),
        text: "no added wait: ≤ 100 µs more".to_owned(),
        unit: "µs",
        figure: between(Subject::Tollgate),
        bound: Bound::MostAbove(between(Subject::Bare), 100.0),
    });
    list
}

/// Memory.
fn holding() -> Vec<Budget> {
    let mut list = vec![Budget {
        what: "idle, all plugins".to_owned(),
        text: "≤ 64 MiB RSS".to_owned(),
        unit: "MiB",
        figure: at("start", start::WARM, Subject::Tollgate, name::RSS),
        bound: Bound::Most(64.0),
    }];
    for way in [&OPENAI, &OPENAI_TGIS, &TGIS] {
        list.push(Budget {
            what: format!("{}, an idle open stream of up to 10,000", way.name),
            text: "≤ 48 KiB".to_owned(),
            unit: "KiB",
            figure: at(
                "idle",
                &idle::setting(way, idle::MANY),
                Subject::Tollgate,
                name::RSS_STREAM,
            ),
            bound: Bound::Most(48.0),
        });
    }
    for way in [&OPENAI, &OPENAI_TGIS] {
        list.push(Budget {
            what: format!(
                "{}, RSS after the last of 20 waves, over the third",
                way.name
            ),
            text: "flat: ≤ 1.05 ×".to_owned(),
            unit: "×",
            figure: at("wave", way.name, Subject::Tollgate, name::GROWTH),
            bound: Bound::Most(1.05),
        });
    }
    list
}

/// Large prompts and tensors.
fn large() -> Vec<Budget> {
    let rate = |subject| at("prompts", OPENAI.name, subject, name::RATE);
    let mut list = vec![
        Budget {
            what: "prompts of 220 KB, requests a second".to_owned(),
            text: "≥ 0.8 × bare hyper".to_owned(),
            unit: "/s",
            figure: rate(Subject::Tollgate),
            bound: Bound::LeastOf(rate(Subject::Bare), 0.8),
        },
        Budget {
            what: "prompts of 220 KB, first token late over early".to_owned(),
            text: "no ramp: ≤ 1.2 ×".to_owned(),
            unit: "×",
            figure: at("prompts", OPENAI.name, Subject::Tollgate, name::RAMP),
            bound: Bound::Most(1.2),
        },
    ];
    for (way, plain) in [(&V2_REST_GRPC, &V2_REST), (&V2_GRPC_REST, &V2_GRPC)] {
        let rate = |way: &Way| at("tensors", way.name, Subject::Tollgate, name::MIB);
        list.push(Budget {
            what: format!("{}, tensors of 16 MiB", way.name),
            text: format!("≥ 0.8 × {} passed on", plain.name),
            unit: "MiB/s",
            figure: rate(way),
            bound: Bound::LeastOf(rate(plain), 0.8),
        });
    }
    list
}

/// Batches that the scheduler makes, before a real server.
fn batched() -> Vec<Budget> {
    let merged = |setting: String, name| At {
        scenario: "batching",
        setting,
        subject: batching::MERGING.to_owned(),
        name,
    };
    let mut list = Vec::new();
    for form in batching::forms() {
        list.push(Budget {
            what: format!("batched throughput, {form}"),
            text: "≥ 95 % of the worker's ideal".to_owned(),
            unit: "×",
            figure: merged(batching::setting("matrix", form), name::IDEAL),
            bound: Bound::Least(0.95),
        });
        list.push(Budget {
            what: format!("merging where batches do not pay, {form}"),
            text: "≥ 0.95 × not merging".to_owned(),
            unit: "×",
            figure: merged(batching::setting("chain", form), name::UNMERGED),
            bound: Bound::Least(0.95),
        });
    }
    list
}

/// The scheduler, the start, and what changes later.
fn starting() -> Vec<Budget> {
    let step = |scheduler: &str| Budget {
        what: format!("{scheduler}, p99 of a step with 1,000 pending"),
        text: "≤ 20 µs".to_owned(),
        unit: "µs",
        figure: alone(format!("{scheduler}, 1000 pending, p99"), guests::SANDBOX),
        bound: Bound::Most(20.0),
    };
    let ready = Budget {
        what: "start to ready, filled cache".to_owned(),
        text: "≤ 200 ms".to_owned(),
        unit: "ms",
        figure: at("start", start::WARM, Subject::Tollgate, name::READY),
        bound: Bound::Most(200.0),
    };
    let swapped = |what: &str, name| Budget {
        what: format!("a swap of a plugin, {what}"),
        text: "none".to_owned(),
        unit: "",
        figure: at("swap", swap::SETTING, Subject::Swapped, name),
        bound: Bound::Most(0.0),
    };
    let attacked = |what: &str, name| Budget {
        what: format!("healthy plugins beside hostile ones, {what}"),
        text: "none".to_owned(),
        unit: "",
        figure: at("hostile", hostile::SETTING, Subject::Beside, name),
        bound: Bound::Most(0.0),
    };
    vec![
        // The other one sends eight requests a step, and is no step of this sort.
        step("fcfs"),
        step("least-loaded"),
        ready,
        swapped("requests that failed", swap::FAILED),
        swapped("answers that broke off", swap::BROKEN),
        attacked("requests that failed", swap::FAILED),
        attacked("answers that broke off", swap::BROKEN),
    ]
}

/// A case of the plugins without a proxy.
fn alone(setting: String, subject: &str) -> At {
    At {
        scenario: "guests",
        setting,
        subject: subject.to_owned(),
        name: guests::TIME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::Measure;

    fn results(tollgate: f64, bare: f64, nginx: f64) -> Results {
        let mut record = Record {
            scenario: "unary".into(),
            ..Record::default()
        };
        record
            .absent
            .insert("Envoy".into(), "not here: no network".into());
        for (subject, value) in [
            (Subject::Tollgate, tollgate),
            (Subject::Bare, bare),
            (Subject::Nginx, nginx),
        ] {
            let measure = Measure {
                name: name::CPU,
                unit: "µs",
                value,
            };
            record.add(OPENAI.name, subject.name(), &[measure]);
        }
        Results {
            scenarios: vec![record],
        }
    }

    fn verdicts(results: &Results) -> Vec<(String, Verdict)> {
        judge(results)
            .into_iter()
            .map(|row| (row.budget, row.verdict))
            .collect()
    }

    #[test]
    fn a_budget_holds_at_its_bound_and_not_above_it() {
        let at = verdicts(&results(47.0, 35.0, 34.0));
        assert_eq!(at[0], ("≤ bare hyper + 12 µs".into(), Verdict::Holds));
        assert_eq!(at[1].1, Verdict::Holds);
        let above = verdicts(&results(51.5, 35.0, 34.0));
        assert_eq!(above[0].1, Verdict::Missed);
        assert_eq!(above[1].1, Verdict::Missed);
    }

    #[test]
    fn what_lies_within_the_noise_of_its_bound_is_marked() {
        let close = |ours: f64| {
            let mut results = results(ours, 35.0, 34.0);
            let record = &mut results.scenarios[0];
            record.pair = Some(["Tollgate".into(), "Tollgate again".into()]);
            let again = Measure {
                name: name::CPU,
                unit: "µs",
                value: ours * 1.02,
            };
            record.add(OPENAI.name, "Tollgate again", &[again]);
            judge(&results)[0].close
        };
        assert!(close(46.5) && close(47.5));
        assert!(!close(44.0) && !close(52.0));
    }

    #[test]
    fn who_is_not_here_is_named() {
        let all = verdicts(&results(47.0, 35.0, 34.0));
        let why = "Envoy is not here: no network".to_owned();
        assert_eq!(all[2].1, Verdict::NotMeasured(why));
        assert!(
            all.iter()
                .any(|row| row.1 == Verdict::NotMeasured("`idle` was not run".into()))
        );
    }

    #[test]
    fn at_least_is_judged_from_below() {
        let mut record = Record {
            scenario: "prompts".into(),
            ..Record::default()
        };
        for (subject, value) in [(Subject::Tollgate, 79.0), (Subject::Bare, 100.0)] {
            let measure = Measure {
                name: name::RATE,
                unit: "/s",
                value,
            };
            record.add(OPENAI.name, subject.name(), &[measure]);
        }
        let results = Results {
            scenarios: vec![record],
        };
        let row = judge(&results)
            .into_iter()
            .find(|row| row.budget == "≥ 0.8 × bare hyper")
            .unwrap();
        assert_eq!(row.verdict, Verdict::Missed);
        assert_eq!(row.ratio, Some(0.79));
    }

    /// The results that the repository keeps: names in them are those that programs told, and
    /// not what this file believes of them.
    fn accepted() -> Results {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/BENCHMARKS.json");
        Results::read(std::path::Path::new(file)).unwrap()
    }

    #[test]
    fn budgets_of_plugins_alone_are_found_in_what_was_measured() {
        let results = accepted();
        for budget in budgets() {
            if budget.figure.scenario == "guests" {
                assert_eq!(
                    find(&results, &budget.figure).err(),
                    None,
                    "{}",
                    budget.what
                );
                if let Bound::MostOf(other, _) = &budget.bound {
                    assert_eq!(find(&results, other).err(), None, "{}", budget.what);
                }
            }
        }
    }
}
