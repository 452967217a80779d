//! `tollgate plugin inspect`: who a component is and what it wants, as the loader sees it.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};
use tollgate_component::Anatomy;
use tollgate_exchange::tasks;
use tollgate_plugin::{
    Generation,
    inference::TaskKind,
    manifest::{Claim, Gathering, Surface},
};

use super::{Outcome, source};
use crate::say;

/// What is inspected.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    component: source::Component,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// The options to configure it with, as JSON: claims may depend on them.
    #[arg(long, value_name = "JSON", default_value = "")]
    options: String,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let component = &arguments.component;
    let generation = component.load(&component.loader()?, &arguments.options)?;
    let wasm = source::read(&component.file)?;
    let facts = Facts {
        anatomy: Anatomy::of(&wasm)?,
        bytes: wasm.len(),
        started: generation.memory_at_start()?,
    };
    say(&if arguments.json {
        format!("{:#}\n", as_json(&generation, &facts))
    } else {
        as_text(&generation, &facts)
    });
    Ok(())
}

/// What the manifest does not say.
struct Facts {
    anatomy: Anatomy,
    bytes: usize,
    /// Linear memory of an instance that has been configured.
    started: u64,
}

impl Facts {
    fn minimum(&self) -> u64 {
        self.anatomy.memories.iter().map(|it| it.minimum).sum()
    }

    /// None: as its limits let it.
    fn maximum(&self) -> Option<u64> {
        let maxima = self.anatomy.memories.iter().map(|it| it.maximum);
        maxima.sum()
    }
}

fn as_json(it: &Generation, facts: &Facts) -> Value {
    let manifest = it.manifest();
    // What is no JSON is shown as the text that it is.
    let schema = serde_json::from_str(&manifest.options_schema)
        .unwrap_or_else(|_| Value::from(manifest.options_schema.as_str()));
    json!({
        "world": it.world(),
        "contract": tollgate_plugin::CONTRACT,
        "digest": it.digest(),
        "bytes": facts.bytes,
        "modules": facts.anatomy.modules,
        "memory": {
            "minimum": facts.minimum(),
            "maximum": facts.maximum(),
            "started": facts.started,
        },
        "imports": facts.anatomy.imports,
        "exports": facts.anatomy.exports,
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.description,
        "dialects": manifest.dialects,
        "tasks": manifest.tasks.iter().map(task).collect::<Vec<_>>(),
        "lowerings": manifest.lowerings.iter().map(|it| json!({
            "from": task(&it.from),
            "to": it.to.iter().map(task).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "claims": it.claims().iter().map(claim_json).collect::<Vec<_>>(),
        "read_headers": manifest.read_headers,
        "strip_headers": manifest.strip_headers,
        "worker_metrics": manifest.worker_metrics.iter().map(|(meaning, metric)| json!({
            "meaning": meaning, "metric": metric,
        })).collect::<Vec<_>>(),
        "descriptors": manifest.descriptors.len(),
        "options": schema,
    })
}

fn claim_json(claim: &Claim) -> Value {
    let task = claim.task.as_ref().map(task);
    match &claim.surface {
        Surface::Rest {
            method,
            path,
            gathering,
        } => json!({
            "method": method, "path": path, "gathers": gathers(*gathering),
            "task": task, "dialect": claim.dialect(),
        }),
        Surface::Grpc {
            service,
            method,
            client_streaming,
            server_streaming,
        } => json!({
            "service": service, "method": method, "client_streaming": client_streaming,
            "server_streaming": server_streaming, "task": task, "dialect": claim.dialect(),
        }),
    }
}

fn gathers(gathering: Gathering) -> &'static str {
    match gathering {
        Gathering::Nothing => "nothing",
        Gathering::Whole => "whole",
        Gathering::Streamed => "streamed",
    }
}

fn as_text(it: &Generation, facts: &Facts) -> String {
    let manifest = it.manifest();
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    line("plugin", &format!("{} {}", manifest.name, manifest.version));
    if !manifest.description.is_empty() {
        line("", &manifest.description);
    }
    line("world", it.world());
    line("contract", tollgate_plugin::CONTRACT);
    line("sha256", it.digest());
    line("size", &kib(facts.bytes as u64));
    let most = facts.maximum().map_or_else(
        || "as much as its limits allow".to_owned(),
        |most| format!("{} at most", kib(most)),
    );
    line(
        "memory",
        &format!(
            "{} declared, {} after the start, {most}",
            kib(facts.minimum()),
            kib(facts.started)
        ),
    );
    list(&mut line, "imports", &facts.anatomy.imports);
    list(&mut line, "exports", &facts.anatomy.exports);
    list(&mut line, "dialects", &manifest.dialects);
    let tasks: Vec<_> = manifest.tasks.iter().map(task).collect();
    line("tasks", &or_none(&tasks.join(", ")));
    let lowered: Vec<_> = manifest
        .lowerings
        .iter()
        .map(|it| {
            let to: Vec<_> = it.to.iter().map(task).collect();
            format!("{} of {}", task(&it.from), to.join(" and "))
        })
        .collect();
    if !lowered.is_empty() {
        list(&mut line, "makes", &lowered);
    }
    let claims: Vec<_> = it.claims().iter().map(claim_text).collect();
    list(&mut line, "claims", &claims);
    if !manifest.read_headers.is_empty() {
        line("sees headers", &manifest.read_headers.join(", "));
    }
    if !manifest.strip_headers.is_empty() {
        line("strips", &manifest.strip_headers.join(", "));
    }
    list(&mut line, "options", &options(&manifest.options_schema));
    text
}

/// A line a value, the name before the first.
fn list(line: &mut impl FnMut(&str, &str), name: &str, values: &[String]) {
    match values.split_first() {
        None => line(name, "none"),
        Some((first, rest)) => {
            line(name, first);
            for value in rest {
                line("", value);
            }
        }
    }
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "none" } else { text }.to_owned()
}

fn claim_text(claim: &Claim) -> String {
    let mut text = match &claim.surface {
        Surface::Rest {
            method,
            path,
            gathering,
        } => format!("{method} {path}, body {}", gathers(*gathering)),
        Surface::Grpc {
            service,
            method,
            client_streaming,
            server_streaming,
        } => {
            let streams = |streaming: &bool| if *streaming { "stream " } else { "" };
            format!(
                "gRPC {service}/{method} ({}request → {}response)",
                streams(client_streaming),
                streams(server_streaming)
            )
        }
    };
    if let Some(kind) = &claim.task {
        let _ = write!(text, ", {}", task(kind));
    }
    if let Some(dialect) = claim.dialect() {
        let _ = write!(text, ", dialect {dialect}");
    }
    text
}

/// Members of the options, as their schema has them: name, type, description.
fn options(schema: &str) -> Vec<String> {
    let Ok(schema) = serde_json::from_str::<Value>(schema) else {
        return vec!["(the schema is no JSON)".to_owned()];
    };
    let members = schema["properties"].as_object().into_iter().flatten();
    members
        .map(|(name, member)| {
            let kind = member["type"].as_str().unwrap_or("any");
            let mut text = format!("{name}: {kind}");
            if let Some(default) = member.get("default") {
                let _ = write!(text, " = {default}");
            }
            if let Some(about) = member["description"].as_str() {
                let _ = write!(text, " — {about}");
            }
            text
        })
        .collect()
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}

/// A task as the contract calls it.
fn task(kind: &TaskKind) -> String {
    tasks::name(kind).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_off_their_schema() {
        let schema = r#"{"properties": {
            "a": {"type": "integer", "default": 3, "description": "How many."},
            "b": {}
        }}"#;
        assert_eq!(options(schema), ["a: integer = 3 — How many.", "b: any"]);
        assert_eq!(options("{}"), Vec::<String>::new());
        assert_eq!(options("no"), ["(the schema is no JSON)"]);
    }
}
