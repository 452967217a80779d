//! `tollgate plugin bench`: what a plugin's calls take, by the engine and within the limits of the
//! proxy, one call at a time on one thread.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tollgate_plugin::Generation;
use tollgate_transcript::{Played, Script};

use super::{
    Outcome, source,
    transcripts::{self, Content},
};
use crate::say;

/// What is timed, and for how long.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    component: source::Component,
    #[command(flatten)]
    transcripts: transcripts::Choice,
    /// Seconds for each file.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Calls that are remembered of one file: its times are of the first so many.
const CALLS: usize = 1 << 20;

/// Times of one file.
struct Times {
    name: String,
    /// Nanoseconds of each call, sorted.
    calls: Vec<u64>,
    /// What all of them took, and how many exchanges they were of.
    took: Duration,
    exchanges: usize,
    memory: u64,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let loader = arguments.component.loader()?;
    let files = arguments.transcripts.read(&arguments.component, &loader)?;
    let limit = Duration::try_from_secs_f64(arguments.seconds)?;
    let mut all = Vec::new();
    for file in &files.files {
        if let Content::Exchange(script, generation) = &file.content {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            all.push(time(name.into_owned(), script, generation, limit)?);
        }
    }
    if all.is_empty() {
        return Err(
            "there is nothing of this plugin to play; schedulers are timed by \
                    `tollgate simulate`"
                .into(),
        );
    }
    if arguments.json {
        let lines: Vec<_> = all.iter().map(Times::json).collect();
        say(&format!("{:#}\n", json!(lines)));
        return Ok(());
    }
    let mut text = format!(
        "{:<40} {:>11} {:>11} {:>9} {:>9} {:>9}\n",
        "file", "calls/s", "exchanges/s", "p50 µs", "p99 µs", "KiB"
    );
    for times in &all {
        text.push_str(&times.line());
    }
    say(&text);
    Ok(())
}

fn time(
    name: String,
    script: &Script,
    generation: &Generation,
    limit: Duration,
) -> Result<Times, String> {
    let play = || -> Result<Played, String> {
        script
            .play(generation, false)
            .map_err(|stop| format!("{name}: {stop}"))
    };
    // The first calls make an instance, and touch its memory.
    for _ in 0..16 {
        play()?;
    }
    let mut times = Times {
        name: name.clone(),
        calls: Vec::new(),
        took: Duration::ZERO,
        exchanges: 0,
        memory: 0,
    };
    let began = Instant::now();
    while began.elapsed() < limit {
        let played = play()?;
        times.exchanges += 1;
        times.memory = played.memory;
        for call in played.calls {
            times.took += call;
            if times.calls.len() < CALLS {
                let nanos = u64::try_from(call.as_nanos()).unwrap_or(u64::MAX);
                times.calls.push(nanos);
            }
        }
        if times.calls.len() == CALLS {
            break;
        }
    }
    times.calls.sort_unstable();
    Ok(times)
}

impl Times {
    /// Microseconds that so much of the calls took no longer than.
    fn at(&self, part: f64) -> f64 {
        let last = self.calls.len().saturating_sub(1);
        // A position in a list of at most CALLS.
        let at = (last as f64 * part).round() as usize;
        self.calls.get(at).map_or(0.0, |nanos| *nanos as f64 / 1e3)
    }

    fn a_second(&self, count: usize) -> f64 {
        count as f64 / self.took.as_secs_f64().max(1e-9)
    }

    fn line(&self) -> String {
        format!(
            "{:<40} {:>11.0} {:>11.0} {:>9.1} {:>9.1} {:>9}\n",
            self.name,
            self.a_second(self.calls.len()),
            self.a_second(self.exchanges),
            self.at(0.5),
            self.at(0.99),
            self.memory / 1024
        )
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "file": self.name,
            "calls": self.calls.len(),
            "exchanges": self.exchanges,
            "calls_per_second": self.a_second(self.calls.len()),
            "exchanges_per_second": self.a_second(self.exchanges),
            "p50_us": self.at(0.5),
            "p99_us": self.at(0.99),
            "memory": self.memory,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_off_the_sorted_calls() {
        let times = Times {
            name: String::new(),
            calls: (0..=100).map(|us| us * 1000).collect(),
            took: Duration::from_secs(2),
            exchanges: 10,
            memory: 0,
        };
        assert_eq!((times.at(0.5), times.at(0.99)), (50.0, 99.0));
        assert_eq!(times.a_second(times.exchanges), 5.0);
    }
}
