//! `telemetry`: what of what happens is told to a collector. The page of metrics and the log need
//! nothing of it.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::hosts::PathPrefix;
use crate::scalar::{Count, FilePath, Invalid, Name, Period, word};
use crate::section::{Context, Decode, choice, section, settings};
use crate::workers::{NetworkAddress, ServerName};
use crate::yaml::{Kind, Node};

settings! {
    /// Traces and metrics for a collector that speaks OpenTelemetry's protocol (OTLP). The admin
    /// listener's `/metrics` and the log are there without it.
    #[name = "telemetry section"]
    pub struct Telemetry {
        /// The collector. Absent: nothing is sent.
        pub otlp: Option<Otlp> = None,
        /// Which requests are traced; `{}`: all. Absent: none.
        pub traces: Option<Traces> = None,
        /// How often metrics are sent; `{}`: every minute. Absent: never.
        pub metrics: Option<MetricsExport> = None,
        /// `service.name` of all that is sent. Absent: `tollgate`.
        pub service_name: Option<Attribute> = None,
        /// Further attributes of all that is sent, such as `deployment.environment.name`.
        pub attributes: BTreeMap<Name, Attribute> = BTreeMap::new(),
    }
}

section! {
    /// A collector.
    #[name = "otlp section"]
    pub struct Otlp {
        /// Where it is, with a port: `http://HOST:4318` or `https://` for HTTP with protobuf,
        /// `grpc://HOST:4317` or `grpcs://` for gRPC.
        pub endpoint: NetworkAddress,
        /// Path before `/v1/traces` and `/v1/metrics`. HTTP only.
        pub prefix: Option<PathPrefix> = None,
        /// File with headers of every export, `name: value` a line; read anew each time.
        pub headers_file: Option<FilePath> = None,
        /// Environment variable with such headers, as `name=value,name=value`.
        pub headers_env: Option<Name> = None,
        /// PEM file of the authorities to trust, and no others. Absent: the web's.
        pub ca: Option<FilePath> = None,
        /// Name in the collector's certificate. Absent: the endpoint's host.
        pub server_name: Option<ServerName> = None,
        /// For one export, from the connection to the end of the answer.
        pub timeout: Period<10, 300_000> = Period::secs(10),
        /// Times that an export is sent that may be sent again, after 1 s, 2 s, 4 s and so on.
        pub attempts: Count<1, 100> = Count::of(5),
    }
}

settings! {
    /// Which requests are traced, and how spans wait.
    #[name = "traces section"]
    pub struct Traces {
        /// Share of the requests that are traced, from 0 to 1.
        pub sample: Share = Share::ALL,
        /// What a client's own trace says of being sampled.
        pub clients: Followed = Followed::Follow,
        /// Spans that may wait to be sent; past it those of whole requests are dropped and counted.
        pub queue: Count<128, 1_000_000> = Count::of(8192),
        /// Spans of one export, about.
        pub batch: Count<1, 8192> = Count::of(512),
        /// How long a span waits at most for others to be sent with.
        pub interval: Period<10, 60_000> = Period::secs(1),
    }
}

settings! {
    /// How metrics are sent.
    #[name = "metrics section"]
    pub struct MetricsExport {
        /// How often.
        pub interval: Period<100, 3_600_000> = Period::secs(60),
    }
}

choice! {
    /// What becomes of a client's wish that its trace be sampled, or not.
    pub enum Followed {
        /// It decides; `sample` is for requests without a trace.
        Follow = "follow",
        /// `sample` decides: for clients whom one does not trust with the cost.
        Ignore = "ignore",
    }
}

/// Value of an attribute: 1 to 256 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attribute(String);

impl Attribute {
    fn parse(text: &str) -> Result<Self, Invalid> {
        match (1..=256).contains(&text.len()) && !text.chars().any(char::is_control) {
            true => Ok(Self(text.to_owned())),
            false => Err(Invalid::new(
                "an attribute has 1 to 256 bytes and no control characters",
            )),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

word!(
    Attribute,
    "a text",
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 256 })
);

/// A share from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    const ALL: Self = Self(1.0);

    /// The share.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Decode for Share {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if let Kind::Scalar { text, plain: true } = &node.kind
            && plain(text)
            && let Ok(share) = text.parse::<f64>()
            && (0.0..=1.0).contains(&share)
        {
            return Some(Self(share));
        }
        let what = format!("expected a number from 0 to 1, found {}", node.describe());
        cx.refuse(node.at, what, None)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 1 })
    }
}
