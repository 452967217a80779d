//! `tollgate plugin test`: holds a plugin to what a proxy has recorded.

use std::io::BufReader;

use clap::Args;
use tollgate_dispatch::policy::Policy;
use tollgate_plugin::{Generation, GuestPolicy};
use tollgate_simulate::recording;
use tollgate_transcript::{Depth, Verdict};

use super::{
    Outcome, source,
    transcripts::{self, Content},
};
use crate::say;

/// What is tested, and how deep.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    component: source::Component,
    #[command(flatten)]
    transcripts: transcripts::Choice,
    /// Positions at which what came is split, and cut, at most.
    #[arg(long, default_value_t = Depth::default().positions)]
    positions: usize,
    /// How often each file is repeated in one instance.
    #[arg(long, default_value_t = Depth::default().repetitions)]
    repetitions: usize,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let loader = arguments.component.loader()?;
    let files = arguments.transcripts.read(&arguments.component, &loader)?;
    let depth = Depth {
        positions: arguments.positions,
        repetitions: arguments.repetitions,
        ..Depth::default()
    };
    let mut bad = 0;
    for file in &files.files {
        let verdict = match &file.content {
            Content::Exchange(script, generation) => script.check(generation, depth),
            Content::Scheduler(text, generation) => schedule(text, generation),
        };
        let word = if verdict.holds() { "ok" } else { "FAILED" };
        say(&format!(
            "{word:<6} {}: {} steps, {} splits, {} cuts, {} repetitions\n",
            file.path.display(),
            verdict.steps,
            verdict.splits,
            verdict.cuts,
            verdict.repetitions
        ));
        for problem in &verdict.problems {
            say(&format!("       {problem}\n"));
        }
        bad += usize::from(!verdict.holds());
    }
    say(&format!(
        "{} files, {bad} failed, {} of other plugins\n",
        files.files.len(),
        files.others
    ));
    match (bad, files.files.is_empty()) {
        (0, false) => Ok(()),
        (0, true) => {
            Err("there is nothing of this plugin to play; --plugin says which name it had".into())
        }
        (bad, _) => Err(format!("{bad} files failed").into()),
    }
}

/// A scheduler's recording, in fresh instances: it must decide the same each time.
fn schedule(text: &str, generation: &Generation) -> Verdict {
    let mut verdict = Verdict::default();
    for _ in 0..2 {
        let mut wrong = None;
        let mut policies = || match GuestPolicy::new(generation) {
            Ok(policy) => Some(Box::new(policy) as Box<dyn Policy>),
            Err(error) => {
                wrong = Some(error.to_string());
                None
            }
        };
        let replayed = recording::replay(BufReader::new(text.as_bytes()), &mut policies);
        verdict.repetitions += 1;
        let problem = match (replayed, wrong) {
            (_, Some(error)) => error,
            (Err(error), _) => error.to_string(),
            (Ok(replayed), None) => {
                verdict.steps = usize::try_from(replayed.told).unwrap_or(usize::MAX);
                match replayed.difference {
                    None => continue,
                    Some(it) => format!(
                        "line {}:\n  recorded {}\n  now      {}",
                        it.line, it.recorded, it.replayed
                    ),
                }
            }
        };
        verdict.problems.push(problem);
        break;
    }
    verdict
}
