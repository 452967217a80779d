//! What becomes of generations, as JSON for operators.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tollgate_plugin::{Change, Generation, GenerationChange, Report, TrapKind};

/// What has changed, in order. Generations are named by their numbers.
pub(crate) fn changes(changes: &[GenerationChange]) -> Value {
    changes
        .iter()
        .map(|change| match change {
            Change::Swapped { from, to } => {
                json!({"what": "swapped", "from": from.number(), "to": to.number()})
            }
            Change::Canary { candidate } => json!({"what": "canary", "to": candidate.number()}),
            Change::Promoted { from, to } => {
                json!({"what": "promoted", "from": from.number(), "to": to.number()})
            }
            Change::Withdrawn { candidate, why } => {
                json!({"what": "withdrawn", "from": candidate.number(), "why": why.label()})
            }
            Change::RolledBack { from, to, why } => json!({
                "what": "rolled-back", "from": from.number(), "to": to.number(),
                "why": why.label(),
            }),
            Change::Overdue { generation } => {
                json!({"what": "overdue", "from": generation.number()})
            }
        })
        .collect()
}

/// How a plugin or a scheduler stands: the one in force at the top, the others by their part.
pub(crate) fn report(report: &Report) -> Value {
    let mut told = generation(&report.force);
    let more = json!({
        "name": &*report.name,
        "probation": report.on_probation,
        "candidate": report.candidate.as_ref().map(|(it, percent)| {
            let mut told = generation(it);
            told["percent"] = (*percent).into();
            told
        }),
        "earlier": report.earlier.iter().map(|it| generation(it)).collect::<Vec<_>>(),
        "leaving": report.leaving.iter().map(|it| generation(it)).collect::<Vec<_>>(),
        "barred": report.barred.iter().map(|it| json!({
            "generation": it.number, "sha256": it.digest, "why": it.why,
        })).collect::<Vec<_>>(),
        "changes": report.happened.iter().map(|(what, times)| ((*what).to_owned(), json!(times)))
            .collect::<serde_json::Map<_, _>>(),
    });
    if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
        told.extend(more);
    }
    told
}

fn generation(it: &Generation) -> Value {
    let counters = it.counters();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    json!({
        "world": it.world(),
        "version": it.manifest().version,
        "generation": it.number(),
        "sha256": it.digest(),
        "slots": it.slots(),
        "idle": it.idle(),
        "exchanges": it.exchanges(),
        "quarantined": it.quarantine().is_some_and(|it| it.is_on()),
        "calls": count(&counters.calls),
        "call-seconds": std::time::Duration::from_nanos(count(&counters.nanos)).as_secs_f64(),
        "waits": count(&counters.waits),
        "wait-seconds": std::time::Duration::from_nanos(count(&counters.waited)).as_secs_f64(),
        "read-bytes": count(&counters.read),
        "written-bytes": count(&counters.written),
        "memory-bytes": count(&counters.memory),
        "memory-peak-bytes": count(&counters.memory_peak),
        "served": count(&counters.served),
        "failed": count(&counters.failed),
        "traps": counters.traps(),
        "traps-by-kind": TrapKind::ALL.iter()
            .map(|kind| (kind.label().to_owned(), json!(counters.traps_of(*kind))))
            .collect::<serde_json::Map<_, _>>(),
    })
}
