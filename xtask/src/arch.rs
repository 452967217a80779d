//! `arch`: what the design says of the source, checked: arrows between crates, what stays out
//! of the core, where `unsafe` may stand, what components may import, and how long files are.
//!
//! Each check is a function from the sources to the sentences that name its violations; an
//! empty list is a pass.

mod arrows;
mod bounds;
mod rules;
mod source;

use std::fs;

use anyhow::{Result, bail};

use tollgate_component::Contract;

use crate::guest;
use crate::workspace::Workspace;

/// Runs every check and prints what it finds.
///
/// # Errors
/// When a check fails, or the sources cannot be read.
pub(crate) fn run() -> Result<()> {
    let workspace = Workspace::load()?;
    let sources = source::load(&workspace.root)?;
    let table = fs::read_to_string(workspace.root.join(bounds::TABLE))?;
    let schema = fs::read(workspace.root.join("config/schema.json"))?;
    let schema = serde_json::from_slice(&schema)?;
    let checks: [(&str, Vec<String>); 11] = [
        (
            "crates point only where the table of arrows lets them",
            arrows::crates(&workspace.packages),
        ),
        (
            "libraries stay in the parts that own them",
            arrows::libraries(&workspace.packages),
        ),
        (
            "only proxy/plugin touches wasmtime",
            rules::wasmtime(&sources),
        ),
        (
            "the host knows no serving protocol",
            rules::protocols(&sources),
        ),
        ("unsafe stands in one file", rules::unsafety(&sources)),
        (
            "tests wait for events, not for time",
            rules::sleeps(&sources),
        ),
        ("every file says what it is for", rules::headers(&sources)),
        (
            "what the table of bounds names is there",
            bounds::table(&table, &schema, &sources),
        ),
        (
            "what can grow is in the table of bounds",
            bounds::unnamed(&table, &sources),
        ),
        (
            "queues take their bound where they are made",
            bounds::boundless(&sources),
        ),
        (
            "components import nothing outside their world",
            components(&workspace)?,
        ),
    ];
    let mut broken = 0;
    for (name, violations) in &checks {
        println!(
            "  {} {name}",
            if violations.is_empty() {
                "ok  "
            } else {
                "FAIL"
            }
        );
        for violation in violations {
            println!("         {violation}");
        }
        broken += usize::from(!violations.is_empty());
    }
    print!("{}", source::lengths(&sources));
    if broken > 0 {
        bail!("{broken} of {} architecture checks failed", checks.len());
    }
    Ok(())
}

/// Looks into the components that have been built; `components` does so as it builds them, and
/// this catches one that was put there by other means.
fn components(workspace: &Workspace) -> Result<Vec<String>> {
    let contract = Contract::load()?;
    let mut violations = Vec::new();
    for guest in guest::all(workspace)? {
        let Ok(component) = fs::read(workspace.components().join(guest.file())) else {
            continue;
        };
        if let Err(problem) = contract.check(&component, &guest.world) {
            violations.push(format!("{}: {problem:#}", guest.file()));
        }
    }
    Ok(violations)
}
