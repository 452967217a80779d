//! `tollgate reload` and `tollgate upgrade`: what is asked of a running proxy's process, at its admin
//! listener.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::Value;

use crate::plugin::remote::{Place, RemoteError};

/// Whom to ask.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
}

/// Has it read again what may have changed, and says what has.
pub(crate) fn reload(arguments: &Arguments) -> ExitCode {
    told(arguments.place.ask(Method::POST, "/reload", None), |said| {
        let changes = said["changed"].as_array().map_or(&[][..], Vec::as_slice);
        if changes.is_empty() {
            return "the configuration is as it was\n".to_owned();
        }
        let changes = changes.iter().filter_map(Value::as_str);
        changes.map(|change| format!("{change}\n")).collect()
    })
}

/// Has another process take its place, and says which.
pub(crate) fn upgrade(arguments: &Arguments) -> ExitCode {
    told(
        arguments.place.ask(Method::POST, "/upgrade", None),
        |said| format!("process {} serves; the one before it drains\n", said["pid"]),
    )
}

fn told(answer: Result<Value, RemoteError>, say: impl Fn(&Value) -> String) -> ExitCode {
    match answer {
        Ok(said) => crate::success(crate::say(&say(&said))),
        Err(error) => {
            eprintln!("tollgate: {error}");
            ExitCode::FAILURE
        }
    }
}
