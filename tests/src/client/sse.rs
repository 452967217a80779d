//! Server-sent events, as a client puts them together.

use serde_json::Value;

/// The data of each event in a text, in order. An event that is not ended by an empty line is not
/// one.
#[must_use]
pub fn events(text: &str) -> Vec<String> {
    let mut blocks: Vec<&str> = text.split("\n\n").collect();
    blocks.pop();
    let data = blocks.into_iter().filter_map(|block| {
        let lines: Vec<_> = block
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| data.strip_prefix(' ').unwrap_or(data))
            .collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    });
    data.collect()
}

/// The events' JSON, and whether `[DONE]` came last.
///
/// # Panics
/// When an event is neither.
#[must_use]
pub fn json(text: &str) -> (Vec<Value>, bool) {
    let mut events = events(text);
    let done = events.last().is_some_and(|last| last == "[DONE]");
    if done {
        events.pop();
    }
    let values = events
        .iter()
        .map(|event| serde_json::from_str(event).unwrap_or_else(|why| panic!("{why}: {event}")));
    (values.collect(), done)
}
