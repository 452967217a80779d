//! The same small protocol as a plugin in several languages, at the same request: what a language
//! costs within the sandbox. Those that were not built are left out.

use std::{io, time::Duration};

use serde_json::Value;
use tollgate_plugin::{Limits, TimeLimits};
use tollgate_transcript::Script;

use crate::{
    hosted::House,
    rounds::{self, Effort},
};

/// What is built of each, by the name of its component.
const PLUGINS: [(&str, &str); 3] = [
    ("Rust", "examples/quill"),
    ("C", "examples/c-quill"),
    ("Python", "examples/python-quill"),
];

/// One request, as a client asks it and as a worker is asked it.
const SCRIPTS: [&str; 2] = [
    include_str!("../transcripts/quill-frontend.jsonl"),
    include_str!("../transcripts/quill-backend.jsonl"),
];

/// An interpreter takes longer, and more memory, than a plugin is given by itself.
fn limits() -> Limits {
    let long = Duration::from_secs(10);
    Limits {
        memory: 256 << 20,
        keep_memory: 256 << 20,
        time: TimeLimits {
            cpu: long,
            cpu_large: long,
            wall: long * 6,
        },
        ..Limits::default()
    }
}

/// Times each; `only` those whose name contains this.
///
/// # Errors
/// When a component is there, and is none or does not play the request.
pub fn run(
    house: &House,
    effort: Effort,
    only: &str,
    mut each: impl FnMut(Value),
) -> io::Result<()> {
    let scripts = SCRIPTS
        .into_iter()
        .map(|text| Script::read(text).map_err(io::Error::other))
        .collect::<io::Result<Vec<_>>>()?;
    for (language, name) in PLUGINS {
        let case = format!("unary quill in {language}");
        if !case.contains(only) {
            continue;
        }
        let generation = match house.load_within(name, limits()) {
            Ok(generation) => generation,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let play = || -> io::Result<()> {
            for script in &scripts {
                script.play(&generation, false).map_err(io::Error::other)?;
            }
            Ok(())
        };
        play()?;
        let figures = rounds::alone(effort, || {
            // It was played a moment ago, and each time is like the last.
            play().expect("it plays");
        });
        each(rounds::row_alone(&case, "request", &figures));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_a_file_that_can_be_played() {
        for script in SCRIPTS {
            assert!(!Script::read(script).unwrap().cut);
        }
    }
}
