//! `routes`: who is served by what, and within which bounds.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::authentication::Access;
use crate::cors::Cors;
use crate::hosts::{HostPattern, PathPrefix};
use crate::payloads::PayloadLog;
use crate::problem::nearest;
use crate::scalar::{Count, GIB, KIB, MIB, ModelName, Name, Period, Size};
use crate::section::{Context, Decode, Fields, section, settings};
use crate::yaml::{Kind, Node};

section! {
    /// What comes in here is understood by these frontends and served by those workers.
    #[name = "route"]
    pub struct Route {
        /// Name, used in the log, in metrics and by plugins.
        pub name: Name,
        /// Listeners that it belongs to. Empty: all.
        pub listeners: Vec<Name> = Vec::new(),
        /// Hosts, `models.example.com` or `*.example.com`. Empty: any.
        pub hosts: Vec<HostPattern> = Vec::new(),
        /// Path prefix, such as `/namespace/model`; stripped before a frontend sees the path.
        pub prefix: Option<PathPrefix> = None,
        /// Plugins that speak to clients. The first one that claims a path gets it.
        pub frontends: Vec<Name>,
        /// Plugins that make tasks of other tasks, in the order in which they are tried.
        pub compositions: Vec<Name> = Vec::new(),
        /// Workers that may serve it.
        pub workers: Vec<Name>,
        /// A scheduler of `schedulers`. Absent: first come first served, to the least loaded.
        pub scheduler: Option<Name> = None,
        /// The models that clients see: `{ all: true }` for all of its workers', or a list with aliases.
        pub models: VisibleModels = VisibleModels::All,
        /// The model of a client that names none.
        pub default_model: Option<ModelName> = None,
        /// How clients are told: `required`, by a token of the file that `tokens` names; `open`,
        /// not at all; or a list of ways, names of `authentication` and `tokens` for that file, of
        /// which the first counts that knows what a client brings.
        pub auth: Auth = Auth::Required,
        /// The right that a user of a cluster needs here. It needs a way of `auth` that asks a
        /// cluster, and holds for those who come in by it.
        pub access: Option<Access> = None,
        /// What a request may use.
        pub limits: RouteLimits = RouteLimits::default(),
        /// Where requests wait for a worker.
        pub queue: Queue = Queue::default(),
        /// What happens when an attempt fails.
        pub retry: Retry = Retry::default(),
        /// Which pages of other origins may ask, over REST. Absent: none, and nothing is said of it.
        pub cors: Option<Cors> = None,
        /// Bodies that are told to a sink. Absent: none.
        pub payload_log: Option<PayloadLog> = None,
    }
}

settings! {
    /// Bounds of a route.
    #[name = "route's limits"]
    pub struct RouteLimits {
        /// A request body over HTTP without gRPC.
        pub body: Size<KIB, { 4 * GIB }> = Size::of(32 * MIB),
        /// One gRPC message, decompressed.
        pub message: Size<KIB, { 4 * GIB }> = Size::of(16 * MIB),
        /// A body up to this size is held whole, so that the request can be repeated.
        pub retry_body: Size<0, { 64 * MIB }> = Size::of(256 * KIB),
        /// Bytes of requests that the route holds at once, whether they wait or run: past it a
        /// request is refused before its body is read.
        pub request_memory: Size<{ 64 * KIB }, { 64 * GIB }> = Size::of(256 * MIB),
        /// From the end of a request's head to the end of the answer.
        pub timeout: Period<100, 86_400_000> = Period::secs(300),
        /// Requests at once.
        pub concurrency: Count<1, 1_000_000> = Count::of(1024),
        /// What waits for a slow client, beside what a plugin says at once; a member of a batch that
        /// is past it when more is said fails alone.
        pub event_buffer: Size<{ 4 * KIB }, { 64 * MIB }> = Size::of(256 * KIB),
    }
}

settings! {
    /// Where requests wait for a worker. What does not fit is refused at once.
    #[name = "queue"]
    pub struct Queue {
        /// Requests that wait at once.
        pub requests: Count<1, 1_000_000> = Count::of(1024),
        /// Bytes of their bodies.
        pub bytes: Size<{ 64 * KIB }, { 64 * GIB }> = Size::of(64 * MIB),
        /// How long one waits.
        pub timeout: Period<1, 3_600_000> = Period::secs(30),
        /// How long one waits while no worker of its model is healthy.
        pub workerless_timeout: Period<0, 3_600_000> = Period::secs(5),
        /// Of these, requests that wait for one model. Absent: as many as wait in all.
        pub model_requests: Option<Count<1, 1_000_000>> = None,
        /// Bytes of their bodies. Absent: as many as all may have.
        pub model_bytes: Option<Size<KIB, { 64 * GIB }>> = None,
    }
}

settings! {
    /// What happens when an attempt fails before anything reached the client.
    #[name = "retry section"]
    pub struct Retry {
        /// Attempts in all, the first one included; 1 switches repetition off.
        pub attempts: Count<1, 10> = Count::of(2),
        /// Calls of the route that may be repeated, in hundredths: where all workers fail,
        /// repeating everything would be twice the load.
        pub percent: Count<0, 100> = Count::of(20),
        /// So many may be repeated beyond that, after a while without any.
        pub reserve: Count<0, 10_000> = Count::of(32),
    }
}

/// How clients of a route are told.
#[derive(Clone, Debug, PartialEq)]
pub enum Auth {
    /// Every request needs a token of the file that `tokens` names.
    Required,
    /// Anybody is served, as in a sidecar behind somebody else's door.
    Open,
    /// By these ways, the first that knows what a client brings; never empty.
    By(Vec<Name>),
}

/// What the file of tokens is called among the ways of a route.
pub const TOKENS: &str = "tokens";

const REQUIRED: &str = "required";
const OPEN: &str = "open";

impl Auth {
    /// The names of the ways; none: it is open.
    pub fn ways(&self) -> Vec<&str> {
        match self {
            Self::Required => vec![TOKENS],
            Self::Open => Vec::new(),
            Self::By(ways) => ways.iter().map(Name::as_str).collect(),
        }
    }
}

impl Serialize for Auth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Required => serializer.serialize_str(REQUIRED),
            Self::Open => serializer.serialize_str(OPEN),
            Self::By(ways) => ways.serialize(serializer),
        }
    }
}

impl Decode for Auth {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::List(items) if items.is_empty() => {
                let what = "without a way nobody comes in";
                let hint = "name one, or write `open` to serve anybody";
                cx.refuse(node.at, what, Some(hint.to_owned()))
            }
            Kind::List(_) => Vec::decode(node, cx).map(Self::By),
            Kind::Scalar { text, .. } if text == REQUIRED => Some(Self::Required),
            Kind::Scalar { text, .. } if text == OPEN => Some(Self::Open),
            kind => {
                let words = [REQUIRED, OPEN];
                let hint = match kind {
                    Kind::Scalar { text, .. } => nearest(text, words),
                    Kind::List(_) | Kind::Map(_) => None,
                };
                let what = format!(
                    "expected one of {}, or a list of ways, found {}",
                    words.join(", "),
                    node.describe()
                );
                cx.refuse(node.at, what, hint)
            }
        }
    }
}

impl JsonSchema for Auth {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Auth".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let name = generator.subschema_for::<Name>();
        json_schema!({
            "anyOf": [
                { "type": "string", "enum": [REQUIRED, OPEN] },
                { "type": "array", "minItems": 1, "items": name },
            ],
        })
    }
}

/// The models that clients of a route see.
#[derive(Clone, Debug, PartialEq)]
pub enum VisibleModels {
    /// All of its workers' models, under their own names.
    All,
    /// These only; never empty.
    Listed(Vec<VisibleModel>),
}

section! {
    /// A model that clients of a route see.
    #[name = "visible model"]
    pub struct VisibleModel {
        /// What clients call it.
        pub name: ModelName,
        /// The model of a worker that it is; the same name when absent.
        is: Option<ModelName> = None,
    }
}

impl VisibleModel {
    /// The workers' name of it.
    pub fn is(&self) -> &ModelName {
        self.is.as_ref().unwrap_or(&self.name)
    }
}

impl Serialize for VisibleModels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.collect_map([("all", true)]),
            Self::Listed(models) => models.serialize(serializer),
        }
    }
}

impl Decode for VisibleModels {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::List(items) if items.is_empty() => cx.refuse(
                node.at,
                "a route without models serves nothing",
                Some(ALL_HINT.to_owned()),
            ),
            Kind::List(_) => Vec::decode(node, cx).map(Self::Listed),
            Kind::Map(_) => {
                let mut fields = Fields::of(node, "models section", cx)?;
                let all: Option<bool> = fields.take("all", None, cx);
                fields.finish(cx).then_some(())?;
                if all? {
                    return Some(Self::All);
                }
                cx.refuse(
                    node.at,
                    "a route without models serves nothing",
                    Some(ALL_HINT.to_owned()),
                )
            }
            Kind::Scalar { .. } => {
                let what = format!(
                    "expected `{{ all: true }}` or a list of models, found {}",
                    node.describe()
                );
                cx.refuse(node.at, what, None)
            }
        }
    }
}

const ALL_HINT: &str = "write `{ all: true }`, or name some";

impl JsonSchema for VisibleModels {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "VisibleModels".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let listed = generator.subschema_for::<VisibleModel>();
        json_schema!({
            "anyOf": [
                {
                    "type": "object",
                    "properties": { "all": { "const": true } },
                    "required": ["all"],
                    "additionalProperties": false,
                },
                { "type": "array", "minItems": 1, "items": listed },
            ],
        })
    }
}
