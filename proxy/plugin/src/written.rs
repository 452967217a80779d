//! Bytes that a guest put out itself. What it named of the host's bytes was never in it.

use crate::{backend, frontend, inference, types::Segment};

fn inline(segments: &[Segment]) -> u64 {
    let of = |segment: &Segment| match segment {
        Segment::Inline(bytes) => bytes.len() as u64,
        _ => 0,
    };
    segments.iter().map(of).sum()
}

fn said(event: &inference::Event) -> u64 {
    match event {
        inference::Event::Delta(delta) => delta.text.len() as u64,
        _ => 0,
    }
}

/// In what a frontend answers.
pub(crate) fn by_frontend(actions: &[frontend::Action]) -> u64 {
    let of = |action: &frontend::Action| match action {
        frontend::Action::Data(segments) | frontend::Action::Message(segments) => inline(segments),
        frontend::Action::Pass(it) => it.edits.iter().map(|edit| inline(&edit.replacement)).sum(),
        _ => 0,
    };
    actions.iter().map(of).sum()
}

/// In what a backend answers.
pub(crate) fn by_backend(actions: &[backend::Action]) -> u64 {
    let of = |action: &backend::Action| match action {
        backend::Action::Request(request) => inline(&request.body),
        backend::Action::Send(segments) => inline(segments),
        backend::Action::Events(all) => all.iter().map(|it| said(&it.event)).sum(),
        _ => 0,
    };
    actions.iter().map(of).sum()
}

/// In a worker component's events.
pub(crate) fn by_worker(events: &[inference::Event]) -> u64 {
    events.iter().map(said).sum()
}
