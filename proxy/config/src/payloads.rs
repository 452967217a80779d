//! `routes[].payload-log`: requests and answers, told to a sink as CloudEvents.

use crate::cors::HeaderWord;
use crate::scalar::{Count, FilePath, GIB, KIB, MIB, Name, Period, Size};
use crate::section::{choice, section};
use crate::sink::Endpoint;

section! {
    /// Bodies of requests and answers over REST, told to a sink as CloudEvents. What the sink does
    /// not take in time is dropped and counted; no request waits for it.
    #[name = "payload log"]
    pub struct PayloadLog {
        /// Where events are posted.
        pub sink: Endpoint,
        /// What is told.
        pub mode: PayloadMode = PayloadMode::All,
        /// Of so many requests in a hundred.
        pub percent: Count<1, 100> = Count::of(100),
        /// `binary`: the body is the event's, its attributes are headers; `structured`: one JSON
        /// object (CloudEvents, HTTP protocol binding, sections 3.1 and 3.2).
        pub content: PayloadContent = PayloadContent::Binary,
        /// Longest body that is told whole; of a longer one the beginning, marked as such.
        pub body: Size<0, { 64 * MIB }> = Size::of(64 * KIB),
        /// Events that wait for the sink at once.
        pub queue: Count<1, 100_000> = Count::of(1024),
        /// Bytes of bodies that are held for it, of requests that still run as well.
        pub memory: Size<{ 64 * KIB }, { 16 * GIB }> = Size::of(16 * MIB),
        /// Events that are posted at once.
        pub connections: Count<1, 64> = Count::of(4),
        /// For one event to be taken.
        pub timeout: Period<10, 300_000> = Period::secs(5),
        /// The attribute `inferenceservicename`. Absent: the route's name.
        pub service: Option<Name> = None,
        /// The attribute `namespace`. Absent: there is none.
        pub namespace: Option<Name> = None,
        /// The attribute `component`.
        pub component: Option<Name> = None,
        /// The attribute `endpoint`.
        pub endpoint: Option<Name> = None,
        /// Headers of requests that are told in the attribute `metadata`. Never `authorization`,
        /// cookies, or API keys.
        pub metadata_headers: Vec<HeaderWord> = Vec::new(),
        /// File of the certificates, as PEM, that may vouch for the sink. Absent: the public ones.
        pub ca: Option<FilePath> = None,
    }
}

choice! {
    /// What is told of a request.
    pub enum PayloadMode {
        /// What was asked and what was answered.
        All = "all",
        /// What was asked.
        Request = "request",
        /// What was answered.
        Response = "response",
    }
}

choice! {
    /// How an event is written.
    pub enum PayloadContent {
        /// Attributes as headers.
        Binary = "binary",
        /// One JSON object.
        Structured = "structured",
    }
}

/// Headers that carry what lets somebody in: they are told to nobody.
const SECRETS: [&str; 8] = [
    "*",
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "api-key",
    "x-api-key",
    "x-auth-token",
];

impl PayloadLog {
    /// What is wrong with the section as a whole: the key to point at, and why.
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        let mut names = self.metadata_headers.iter().map(HeaderWord::as_str);
        if let Some(secret) = names.find(|name| SECRETS.contains(name)) {
            let what = format!("`{secret}` carries secrets, which are told to no sink");
            return Some(("metadata-headers", what));
        }
        if self.memory.get_u64() < self.body.get_u64() {
            let (memory, body) = (self.memory, self.body);
            let what = format!("`memory` ({memory}) is less than one `body` ({body})");
            return Some(("memory", what));
        }
        if self.ca.is_some() && !self.sink.is_tls() {
            let what = format!("`ca` has no meaning for {}", self.sink);
            return Some(("ca", what));
        }
        None
    }
}
