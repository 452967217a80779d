//! The plugins without a proxy: the same work in the sandbox and linked natively.

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::bench::measure::Bench;
use crate::bench::results::Figure;
use crate::bench::subjects::Way;
use crate::process::output;

/// The scenario's name.
pub(crate) const NAME: &str = "guests";
/// The subjects.
pub(crate) const NATIVE: &str = "native";
pub(crate) const SANDBOX: &str = "sandbox";
/// The figure.
pub(crate) const TIME: &str = "time";

/// The case of a small request, both guests of a way.
pub(crate) fn unary(way: &Way) -> String {
    format!("unary {}", way.name)
}

/// The case of a token of a stream, so many in one call.
pub(crate) fn streamed(way: &Way, tokens: u32) -> String {
    let tokens = if tokens == 1 {
        "1 token".to_owned()
    } else {
        format!("{tokens} tokens")
    };
    format!("stream {}, {tokens} a step", way.name)
}

/// One case as the program tells it.
#[derive(Deserialize)]
struct Told {
    case: String,
    native_ns: Option<Three>,
    wasm_ns: Option<Three>,
}

#[derive(Deserialize)]
struct Three {
    median: f64,
    min: f64,
    max: f64,
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let program = bench.house.guests();
    if !program.is_file() {
        bail!(
            "{} is not built",
            bench.house.portable(&program.display().to_string())
        );
    }
    let cores = &bench.house.proxy_cores;
    let mut command: Command = cores.command(&program);
    let line = bench.house.portable(&crate::process::shown(&command));
    bench.record.commands.insert("guests".into(), line);
    let said = output(&mut command)?;
    let raw = values(&said)?;
    for value in &raw {
        let told = Told::deserialize(value).with_context(|| format!("{value}"))?;
        for (subject, three) in [(NATIVE, told.native_ns), (SANDBOX, told.wasm_ns)] {
            let Some(three) = three else { continue };
            bench.record.figures.push(Figure {
                setting: told.case.clone(),
                subject: subject.to_owned(),
                name: TIME.to_owned(),
                unit: "µs".to_owned(),
                // The program takes its own rounds; their middle and ends are what is kept.
                rounds: [three.min, three.median, three.max]
                    .map(|ns| ns / 1e3)
                    .into(),
            });
        }
    }
    bench.record.raw.extend(raw);
    Ok(())
}

/// One list, or an object a line.
fn values(said: &str) -> Result<Vec<Value>> {
    match serde_json::from_str(said) {
        Ok(Value::Array(list)) => return Ok(list),
        Ok(one) => return Ok(vec![one]),
        Err(_) => {}
    }
    said.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_telling_are_read() {
        let one = r#"{"case":"a","native_ns":{"median":1,"min":1,"max":1}}"#;
        assert_eq!(values(&format!("[{one},{one}]")).unwrap().len(), 2);
        assert_eq!(values(&format!("{one}\n{one}\n")).unwrap().len(), 2);
        assert!(values("no").is_err());
    }
}
