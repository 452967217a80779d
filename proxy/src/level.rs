//! `tollgate log-level`: shows what a running proxy writes to its log, or changes it, at its admin
//! listener.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::json;

use crate::plugin::remote::Place;

/// What to ask.
#[derive(Args)]
pub(crate) struct Arguments {
    /// `error`, `warn`, `info`, `debug` or `trace`, or directives like `info,access=off`. Without
    /// one, what is written now is shown.
    level: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Asks, and says what there is to say.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let place = &arguments.place;
    let answer = match &arguments.level {
        None => place.ask(Method::GET, "/log-level", None),
        Some(level) => place.ask(Method::POST, "/log-level", Some(&json!({ "level": level }))),
    };
    match answer {
        Ok(said) => {
            let level = said["level"].as_str().unwrap_or_default();
            match crate::say(&format!("{level}\n")) {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            eprintln!("tollgate: {error}");
            ExitCode::FAILURE
        }
    }
}
