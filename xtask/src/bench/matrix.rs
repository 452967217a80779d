//! The table of all translations, clients by workers, and what may be said of the dearest.

use std::fmt::Write as _;

use super::measure::name;
use super::results::{Record, Results};
use super::rounds::{Compared, Spread, compare};
use super::scenarios::translations::{CLIENTS, Client, NAME, WORKERS, base, setting};
use super::subjects::Subject;
use super::table::number;

/// No translation costs more than so many times the one that they are compared with.
pub(crate) const MOST: f64 = 2.0;

/// The figures that a table's cells have: of a request, and of a token.
const REQUEST: (&str, &str) = (name::CPU, name::GUEST);
const TOKEN: (&str, &str) = (name::CPU_TOKEN, name::GUEST_TOKEN);

const fn figures(streamed: bool) -> (&'static str, &'static str) {
    if streamed { TOKEN } else { REQUEST }
}

/// The table.
pub(crate) fn markdown(record: &Record) -> String {
    let mut text = format!(
        "\n### Clients by workers\n\nProcessor time of the proxy in µs; in brackets what of it \
         plugins took; behind it how many times as much as `{}`{} that is. `passed`: both speak \
         the same, and nothing is translated.\n\n| |",
        base(false),
        noise(record)
    );
    for worker in WORKERS {
        let _ = write!(text, " {worker} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---:|".repeat(WORKERS.len()));
    text.push('\n');
    for streamed in [false, true] {
        for client in CLIENTS.iter().filter(|it| !streamed || it.asked.streams()) {
            let unit = if streamed { "a token" } else { "a request" };
            let _ = write!(text, "| {}, {unit} |", client.name);
            for worker in WORKERS {
                let _ = write!(text, " {} |", cell(record, client, worker, streamed));
            }
            text.push('\n');
        }
    }
    text
}

/// How far the pair lay apart that was measured twice.
fn noise(record: &Record) -> String {
    let floors = [false, true].map(|streamed| record.floor(&base(streamed), figures(streamed).0));
    match floors {
        [Some(request), Some(token)] => format!(
            " (which itself lay {:.0} % apart a request and {:.0} % a token, measured twice)",
            request * 100.0,
            token * 100.0
        ),
        _ => String::new(),
    }
}

fn cell(record: &Record, client: &Client, worker: &str, streamed: bool) -> String {
    if !client.asked.workers().contains(&worker) {
        return String::new();
    }
    let (cpu, guests) = figures(streamed);
    let of = |setting: &str, figure| record.spread(setting, Subject::Tollgate.name(), figure);
    let setting = setting(client, worker, streamed);
    let Some(whole) = of(&setting, cpu) else {
        return "–".to_owned();
    };
    let mut text = number(whole.median);
    if let Some(guests) = of(&setting, guests) {
        let _ = write!(text, " ({})", number(guests.median));
    }
    if let Some(base) = of(&base(streamed), cpu) {
        let _ = write!(text, ", {:.2} ×", whole.median / base.median);
    }
    if client.passes(worker) {
        text.push_str(", passed");
    }
    text
}

/// The translation that costs most.
pub(crate) struct Dearest {
    pub(crate) setting: String,
    pub(crate) figure: Spread,
    /// Over the one that all are compared with.
    pub(crate) ratio: f64,
    /// Whether its distance from the bound is no larger than the noise.
    pub(crate) close: bool,
}

/// The dearest translation of requests, or of tokens.
///
/// # Errors
/// Why there is none: the scenario was not run, or some pair of it has no figure, while none of the
/// others is beyond the bound.
pub(crate) fn dearest(results: &Results, streamed: bool) -> Result<Dearest, String> {
    let record = results
        .of(NAME)
        .ok_or_else(|| format!("`{NAME}` was not run"))?;
    let cpu = figures(streamed).0;
    let of = |setting: &str| {
        let spread = record.spread(setting, Subject::Tollgate.name(), cpu);
        spread.ok_or_else(|| format!("no {cpu} of {setting}"))
    };
    let common = of(&base(streamed))?.median;
    let mut missing = None;
    let mut most: Option<(String, Spread)> = None;
    let judged = CLIENTS
        .iter()
        .filter(|it| it.asked.is_judged() && (!streamed || it.asked.streams()));
    for client in judged {
        for worker in client.asked.workers() {
            if client.passes(worker) {
                continue;
            }
            let setting = setting(client, worker, streamed);
            match of(&setting) {
                Err(why) => missing = missing.or(Some(why)),
                Ok(spread) => {
                    let beyond = |(_, most): &(String, Spread)| spread.median > most.median;
                    if most.as_ref().is_none_or(beyond) {
                        most = Some((setting, spread));
                    }
                }
            }
        }
    }
    let (setting, figure) = most.ok_or("no pair of it has a figure")?;
    let ratio = figure.median / common;
    match missing {
        Some(why) if ratio <= MOST => return Err(why),
        _ => {}
    }
    let floor = record.floor(&base(streamed), cpu);
    let near = compare(figure.median, common * MOST, floor) == Compared::NotDistinguishable;
    Ok(Dearest {
        setting,
        figure,
        ratio,
        close: floor.is_some() && near,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::Measure;

    /// Every pair at 100 µs and a token at 10 µs, but for what is said.
    fn results(but: &[(&str, Option<f64>)]) -> Results {
        let mut record = Record {
            scenario: NAME.into(),
            pair: Some(["Tollgate".into(), "Tollgate again".into()]),
            ..Record::default()
        };
        for streamed in [false, true] {
            for client in CLIENTS.iter().filter(|it| !streamed || it.asked.streams()) {
                for worker in client.asked.workers() {
                    let setting = setting(client, worker, streamed);
                    let usual = if streamed { 10.0 } else { 100.0 };
                    let own = but.iter().find(|(name, _)| *name == setting);
                    let Some(value) = own.map_or(Some(usual), |own| own.1) else {
                        continue;
                    };
                    let (cpu, guests) = figures(streamed);
                    let measures =
                        [(cpu, value), (guests, value / 4.0)].map(|(name, value)| Measure {
                            name,
                            unit: "µs",
                            value,
                        });
                    record.add(&setting, "Tollgate", &measures);
                    if setting == base(streamed) {
                        record.add(&setting, "Tollgate again", &measures);
                    }
                }
            }
        }
        Results {
            scenarios: vec![record],
        }
    }

    #[test]
    fn the_dearest_translation_is_found_and_what_is_passed_is_none() {
        let results = results(&[
            ("TGIS → caikit REST", Some(170.0)),
            ("TGIS → TGIS", Some(900.0)),
            ("rerank over embeddings: OpenAI → OpenAI", Some(900.0)),
            ("caikit gRPC → Triton gRPC, streamed", Some(25.0)),
        ]);
        let request = dearest(&results, false).ok().unwrap();
        assert_eq!(request.setting, "TGIS → caikit REST");
        assert!((request.ratio - 1.7).abs() < 1e-9 && !request.close);
        let token = dearest(&results, true).ok().unwrap();
        assert_eq!(token.setting, "caikit gRPC → Triton gRPC, streamed");
        assert!(token.ratio > MOST);
    }

    #[test]
    fn a_pair_without_a_figure_is_no_good_news() {
        let gap = ("caikit REST → OpenAI", None);
        let why = dearest(&results(&[gap]), false).err().unwrap();
        assert_eq!(why, "no CPU a request of caikit REST → OpenAI");
        let beyond = ("TGIS → OpenAI", Some(250.0));
        assert!(dearest(&results(&[gap, beyond]), false).is_ok());
        let why = dearest(&Results::default(), false).err().unwrap();
        assert_eq!(why, "`translations` was not run");
    }

    #[test]
    fn a_cell_tells_what_plugins_took_and_how_it_compares() {
        let results = results(&[
            ("OpenAI → OpenAI", Some(50.0)),
            ("caikit REST → TGIS", None),
        ]);
        let text = markdown(&results.scenarios[0]);
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
        let openai = line("| OpenAI, a request |");
        assert!(
            openai.contains("| 50.0 (12.5), 0.50 ×, passed |"),
            "{openai}"
        );
        assert!(openai.contains("| 100 (25.0), 1.00 × |"), "{openai}");
        assert!(line("| caikit REST, a request |").contains("| – |"));
        let columns = WORKERS.len() + 2;
        let table: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(table.len(), 2 + 12 + 6);
        for row in table {
            assert_eq!(row.matches('|').count(), columns, "{row}");
        }
        assert!(text.contains("0 % apart a request"), "{text}");
    }
}
