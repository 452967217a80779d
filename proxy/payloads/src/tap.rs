//! Copies of one exchange's bodies, as they pass.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::event::Event;
use crate::log::{Mode, PayloadLog};
use crate::room::Room;

/// Longest id and header value that are told, in bytes.
const LONGEST: usize = 1024;

/// Takes an exchange's bodies. Clones are the same; when the last one is dropped its events go on
/// their way.
#[derive(Clone)]
pub struct Tap(Arc<Open>);

struct Open {
    log: Arc<PayloadLog>,
    id: String,
    metadata: Option<String>,
    taken: Mutex<Taken>,
}

struct Taken {
    request: Body,
    response: Body,
}

/// One of the two bodies.
struct Body {
    wanted: bool,
    begun: Option<SystemTime>,
    content_type: Option<String>,
    content_encoding: Option<String>,
    status: Option<u16>,
    copied: Vec<u8>,
    size: u64,
    room: Room,
    /// There was no room for it.
    lost: bool,
}

impl Tap {
    pub(crate) fn new(log: Arc<PayloadLog>, id: &str, headers: &HeaderMap) -> Self {
        let body = |wanted: bool| Body {
            wanted,
            begun: None,
            content_type: None,
            content_encoding: None,
            status: None,
            copied: Vec::new(),
            size: 0,
            room: log.budget.room(),
            lost: false,
        };
        let (mut request, response) = (
            body(log.mode != Mode::Response),
            body(log.mode != Mode::Request),
        );
        request.begun = Some(SystemTime::now());
        request.content_type = text(headers, &CONTENT_TYPE);
        Self(Arc::new(Open {
            id: shortened(id),
            metadata: metadata(&log, headers),
            taken: Mutex::new(Taken { request, response }),
            log,
        }))
    }

    /// Bytes of the request's body, without its content coding.
    pub fn request(&self, bytes: &[u8]) {
        let most = self.0.log.body;
        self.0.taken.lock().request.take(bytes, most);
    }

    /// The answer begins.
    pub fn head(&self, status: u16, headers: &HeaderMap) {
        let response = &mut self.0.taken.lock().response;
        if response.begun.is_none() {
            response.begun = Some(SystemTime::now());
            response.status = Some(status);
            response.content_type = text(headers, &CONTENT_TYPE);
            response.content_encoding = text(headers, &CONTENT_ENCODING);
        }
    }

    /// Bytes of the answer's body, as the client gets them.
    pub fn response(&self, bytes: &[u8]) {
        let most = self.0.log.body;
        self.0.taken.lock().response.take(bytes, most);
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").finish_non_exhaustive()
    }
}

impl Body {
    fn take(&mut self, bytes: &[u8], most: u64) {
        if !self.wanted {
            return;
        }
        let left = most.saturating_sub(self.copied.len() as u64);
        self.size += bytes.len() as u64;
        let count = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        if count == 0 || self.lost {
            return;
        }
        if self.room.grow(count as u64) {
            self.copied.extend_from_slice(&bytes[..count]);
        } else {
            self.lost = true;
            self.copied = Vec::new();
        }
    }

    /// The event; none: it is not wanted, or did not happen.
    fn event(self, kind: &'static str, open: &Open) -> Option<Result<Event, Lost>> {
        let time = self.begun.filter(|_| self.wanted)?;
        if self.lost {
            return Some(Err(Lost));
        }
        Some(Ok(Event {
            kind,
            id: open.id.clone(),
            time,
            content_type: self.content_type,
            content_encoding: self.content_encoding,
            status: self.status,
            metadata: open.metadata.clone(),
            data: self.copied.into(),
            size: self.size,
            _room: self.room,
        }))
    }
}

/// There was no room for an event's data.
struct Lost;

impl Drop for Open {
    fn drop(&mut self) {
        let none = |room: Room| Body {
            wanted: false,
            begun: None,
            content_type: None,
            content_encoding: None,
            status: None,
            copied: Vec::new(),
            size: 0,
            room,
            lost: false,
        };
        let taken = self.taken.get_mut();
        let budget = self.log.budget.clone();
        let request = std::mem::replace(&mut taken.request, none(budget.room()));
        let response = std::mem::replace(&mut taken.response, none(budget.room()));
        for (body, kind) in [
            (request, "org.kubeflow.serving.inference.request"),
            (response, "org.kubeflow.serving.inference.response"),
        ] {
            match body.event(kind, self) {
                None => {}
                Some(Ok(event)) => self.log.tell(event),
                Some(Err(Lost)) => {
                    let count = &self.log.counts.memory_full;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// The headers that the configuration names, as the operator's logger writes them.
fn metadata(log: &PayloadLog, headers: &HeaderMap) -> Option<String> {
    if log.metadata.is_empty() {
        return None;
    }
    let mut told = Map::new();
    for name in &log.metadata {
        let values: Vec<Value> = headers
            .get_all(name)
            .iter()
            .filter_map(|value| Some(shortened(value.to_str().ok()?).into()))
            .take(8)
            .collect();
        if !values.is_empty() {
            told.insert(name.to_string(), values.into());
        }
    }
    Some(Value::Object(told).to_string())
}

fn text(headers: &HeaderMap, name: &http::HeaderName) -> Option<String> {
    Some(shortened(headers.get(name)?.to_str().ok()?))
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderName;

    use super::*;
    use crate::{Content, Courier, PayloadLogSpec, SinkSpec};

    fn spec(mode: Mode) -> PayloadLogSpec {
        PayloadLogSpec {
            sink: SinkSpec {
                tls: false,
                authority: "127.0.0.1:9".to_owned(),
                path: "/".to_owned(),
                ca: None,
                connections: 1,
                timeout: Duration::from_secs(1),
                content: Content::Binary,
            },
            source: "s".to_owned(),
            extensions: Vec::new(),
            metadata: vec![HeaderName::from_static("x-team")],
            mode,
            percent: 100,
            body: 8,
            queue: 2,
            memory: 20,
        }
    }

    /// A log whose courier does not run: what waits stays.
    fn log(mode: Mode) -> (Arc<PayloadLog>, Courier) {
        PayloadLog::new(spec(mode)).unwrap()
    }

    fn outcome(log: &PayloadLog, wanted: &str) -> u64 {
        let mut outcomes = log.outcomes().into_iter();
        outcomes.find(|(name, _)| *name == wanted).unwrap().1
    }

    #[test]
    fn a_body_is_copied_up_to_its_bound_and_its_bytes_are_held_until_it_is_gone() {
        let (log, courier) = log(Mode::Request);
        let tap = log.begin("id", &HeaderMap::new()).unwrap();
        tap.request(b"12345");
        tap.request(b"67890");
        tap.head(200, &HeaderMap::new());
        tap.response(b"is not wanted");
        assert_eq!((log.held(), log.waiting()), (8, 0));
        let again = tap.clone();
        drop(tap);
        assert_eq!(log.waiting(), 0, "it is not over");
        drop(again);
        assert_eq!((log.held(), log.waiting()), (8, 1));
        drop(courier);
        assert_eq!((log.held(), log.waiting()), (0, 0));
        assert_eq!(outcome(&log, "unsent"), 1);
    }

    #[test]
    fn what_finds_no_room_is_dropped_whole_and_counted() {
        let (log, _courier) = log(Mode::All);
        let taps: Vec<Tap> = (0..3)
            .map(|_| log.begin("id", &HeaderMap::new()).unwrap())
            .collect();
        for tap in &taps {
            tap.request(&[0; 8]);
        }
        assert!(log.held() <= 20);
        drop(taps);
        assert_eq!(outcome(&log, "memory-full"), 1);
        assert_eq!(log.waiting(), 2);
        for _ in 0..4 {
            drop(log.begin("id", &HeaderMap::new()));
        }
        assert_eq!((log.waiting(), outcome(&log, "queue-full")), (2, 4));
    }

    #[test]
    fn an_answer_that_never_began_is_no_event() {
        let (log, _courier) = log(Mode::Response);
        drop(log.begin("id", &HeaderMap::new()));
        assert_eq!(log.waiting(), 0);
        let tap = log.begin("id", &HeaderMap::new()).unwrap();
        tap.head(204, &HeaderMap::new());
        drop(tap);
        assert_eq!(log.waiting(), 1);
    }

    #[test]
    fn only_named_headers_are_told() {
        let (log, _courier) = log(Mode::All);
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "secret".parse().unwrap());
        headers.append("x-team", "blue".parse().unwrap());
        headers.append("x-team", "red".parse().unwrap());
        let told = metadata(&log, &headers).unwrap();
        assert_eq!(told, r#"{"x-team":["blue","red"]}"#);
        assert_eq!(metadata(&log, &HeaderMap::new()).unwrap(), "{}");
    }

    #[test]
    fn bounds_of_zero_are_refused() {
        for change in [
            |spec: &mut PayloadLogSpec| spec.queue = 0,
            |spec: &mut PayloadLogSpec| spec.memory = 0,
            |spec: &mut PayloadLogSpec| spec.percent = 0,
            |spec: &mut PayloadLogSpec| spec.sink.connections = 0,
        ] {
            let mut spec = spec(Mode::All);
            change(&mut spec);
            assert!(PayloadLog::new(spec).is_err());
        }
    }
}
