//! The answers that most frontends and backends give, as actions.

use crate::{
    backend, frontend,
    inference::TaskKind,
    types::{Failure, Header, Need, ResponseHead, Segment, SourceId, Want},
};

/// An intent with nothing special about it: a unary task that may be repeated. `model` is
/// as the client wrote it; none is the route's default.
#[must_use]
pub fn intent(id: u32, task: TaskKind, model: Option<String>) -> frontend::Intent {
    frontend::Intent {
        id,
        task,
        model,
        version: None,
        streaming: false,
        cost: frontend::Cost {
            input: 0,
            output: 0,
        },
        affinity: frontend::Affinity::None,
        repeatable: true,
        priority: 0,
    }
}

/// A header.
#[must_use]
pub fn header(name: &str, value: impl Into<String>) -> Header {
    Header {
        name: name.to_owned(),
        value: value.into(),
    }
}

/// The value of a header, by its lower-case name.
#[must_use]
pub fn header_value<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|header| header.name == name)
        .map(|header| header.value.as_str())
}

/// Head of a response with one content type.
#[must_use]
pub fn head(status: u16, content_type: &str) -> frontend::Action {
    frontend::Action::Head(ResponseHead {
        status,
        headers: vec![header("content-type", content_type)],
    })
}

/// A whole response: head, body and the end of the exchange.
#[must_use]
pub fn respond(status: u16, content_type: &str, body: Vec<u8>) -> Vec<frontend::Action> {
    let mut actions = vec![head(status, content_type)];
    if !body.is_empty() {
        actions.push(frontend::Action::Data(vec![Segment::Inline(body)]));
    }
    actions.push(frontend::Action::Finish);
    actions
}

/// A whole JSON response.
#[must_use]
pub fn respond_json(status: u16, body: Vec<u8>) -> Vec<frontend::Action> {
    respond(status, "application/json", body)
}

/// The host writes this failure by the claim's template, and the exchange is over.
#[must_use]
pub fn refuse(failure: Failure) -> Vec<frontend::Action> {
    vec![frontend::Action::Refuse(failure), frontend::Action::Finish]
}

/// Wait for the whole of a source and keep all of it.
#[must_use]
pub fn whole(source: SourceId) -> Need {
    Need {
        source,
        keep_from: 0,
        until: Want::All,
    }
}

/// Wait for whatever comes next and keep from an offset.
#[must_use]
pub fn keep(source: SourceId, keep_from: u64) -> Need {
    Need {
        source,
        keep_from,
        until: Want::More,
    }
}

/// Wait until so much has arrived, or the end, and keep from an offset.
#[must_use]
pub fn at_least(source: SourceId, keep_from: u64, available: u64) -> Need {
    Need {
        source,
        keep_from,
        until: Want::AtLeast(available),
    }
}

/// The same event for each of the first `members` members.
#[must_use]
pub fn to_all(members: usize, event: &crate::inference::Event) -> backend::Action {
    backend::Action::Events(
        (0..members as u32)
            .map(|member| backend::MemberEvent {
                member,
                event: event.clone(),
            })
            .collect(),
    )
}
