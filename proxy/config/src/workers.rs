//! `workers`: the model servers behind the proxy.

use std::fmt;
use std::net::Ipv6Addr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::cluster::ClusterObjects;
use crate::discovery::Discovery;
use crate::options::Options;
use crate::problem::suggest;
use crate::scalar::{Count, FilePath, Invalid, ModelName, Name, Period, text, word};
use crate::section::{Context, Decode, choice, section, settings};
use crate::yaml::{Kind, Node};

section! {
    /// One model server, or a group of alike ones that are discovered.
    #[name = "worker"]
    pub struct Worker {
        /// Name, used by routes, in the log and in metrics.
        pub name: Name,
        /// `http://HOST:PORT`, `https://…`, `grpc://…` (HTTP/2 with prior knowledge), `grpcs://…`,
        /// or `component:NAME` of a plugin whose world is worker. A mapping: where such servers are
        /// looked for while the proxy serves; each that is found is a worker with the settings here.
        pub address: WorkerAddress,
        /// The plugin whose backend speaks to it. Absent for a component.
        pub protocol: Option<Name> = None,
        /// Options for the backend.
        pub options: Options = Options::default(),
        /// The models that it serves. Empty: what its probe says.
        pub models: Vec<Model> = Vec::new(),
        /// Upstream requests at once.
        pub slots: Count<1, 65_536> = Count::of(64),
        /// Calls in one upstream request; 1 switches merging off.
        pub max_batch: Count<1, 4096> = Count::of(1),
        /// Over so long a fresh worker, and one that comes back, is given its slots: one at first.
        /// `0s`: all at once.
        pub slow_start: Period<0, 3_600_000> = Period::secs(0),
        /// When failed requests keep it out.
        pub ejection: Ejection = Ejection::default(),
        /// TLS towards an `https` or `grpcs` worker.
        pub tls: WorkerTls = WorkerTls::default(),
        /// How its health is learned.
        pub probe: Probe = Probe::On(ProbeSettings::default()),
        /// The connections to it.
        pub connections: Connections = Connections::default(),
    }
}

section! {
    /// A model of a worker.
    #[name = "model"]
    pub struct Model {
        /// What routes and clients call it.
        pub name: ModelName,
        /// What the worker calls it; the same when absent.
        served_as: Option<ModelName> = None,
        /// Tasks that it is asked there, and no others. Absent: what its probe tells, or else what
        /// its protocol usually offers.
        pub tasks: Option<Vec<Name>> = None,
    }
}

impl Model {
    /// A model for every task that its worker offers.
    pub fn new(name: ModelName, served_as: ModelName) -> Self {
        Self {
            served_as: (served_as != name).then_some(served_as),
            name,
            tasks: None,
        }
    }

    /// What the worker calls it.
    pub fn served_as(&self) -> &ModelName {
        self.served_as.as_ref().unwrap_or(&self.name)
    }
}

settings! {
    /// TLS towards a worker.
    #[name = "worker's TLS section"]
    pub struct WorkerTls {
        /// File of the certificates, as PEM, that may vouch for the worker. Absent: the public ones.
        pub ca: Option<FilePath> = None,
        /// The name that its certificate must carry. Absent: the host of the address.
        pub server_name: Option<ServerName> = None,
    }
}

settings! {
    /// How a worker is probed.
    #[name = "probe"]
    pub struct ProbeSettings {
        /// From the end of one probe to the beginning of the next.
        pub interval: Period<100, 3_600_000> = Period::secs(5),
        /// For one probe.
        pub timeout: Period<10, 300_000> = Period::secs(2),
        /// Probes in a row that must succeed before it gets requests.
        pub healthy_after: Count<1, 100> = Count::of(1),
        /// Probes in a row that must fail before it gets no more.
        pub unhealthy_after: Count<1, 100> = Count::of(3),
    }
}

settings! {
    /// When a worker whose requests fail is kept out, and for how long. Never the last one of a
    /// model. After its time it is on trial: the next failure keeps it out for twice as long.
    #[name = "ejection section"]
    pub struct Ejection {
        /// Failures in a row; 0 leaves them uncounted.
        pub failures: Count<0, 1000> = Count::of(5),
        /// Failures among the last 64 requests, in hundredths; 0 leaves them uncounted.
        pub percent: Count<0, 100> = Count::of(50),
        /// For the first time.
        pub first: Period<10, 3_600_000> = Period::secs(1),
        /// At most.
        pub longest: Period<10, 86_400_000> = Period::secs(60),
    }
}

settings! {
    /// The connections to a worker.
    #[name = "connections section"]
    pub struct Connections {
        /// Most connections at once.
        pub max: Count<1, 65_536> = Count::of(64),
        /// How long an unused one stays open.
        pub idle_timeout: Period<100, 86_400_000> = Period::secs(60),
        /// For making one, TLS included.
        pub connect_timeout: Period<10, 300_000> = Period::secs(2),
        /// Requests at once on one HTTP/2 connection.
        pub h2_streams: Count<1, 10_000> = Count::of(100),
        /// Requests for which connections are opened before it is given the first.
        pub warm: Count<0, 1024> = Count::of(0),
    }
}

/// How a worker's health is learned.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// Not at all: it counts as healthy until requests fail.
    Off,
    /// By asking it.
    On(ProbeSettings),
}

impl Serialize for Probe {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::On(settings) => settings.serialize(serializer),
        }
    }
}

impl Decode for Probe {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Scalar { text, .. } if text == "off" => Some(Self::Off),
            Kind::Map(_) => ProbeSettings::decode(node, cx).map(Self::On),
            _ => {
                let what = format!(
                    "expected `off` or a mapping (probe), found {}",
                    node.describe()
                );
                cx.refuse(node.at, what, None)
            }
        }
    }
}

impl JsonSchema for Probe {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Probe".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let settings = generator.subschema_for::<ProbeSettings>();
        json_schema!({ "anyOf": [{ "type": "string", "const": "off" }, settings] })
    }
}

choice! {
    /// How one speaks to a worker over the network.
    pub enum Scheme {
        /// HTTP/1.1 in the clear.
        Http = "http",
        /// TLS; HTTP/1.1 or HTTP/2, by ALPN.
        Https = "https",
        /// HTTP/2 in the clear, with prior knowledge.
        Grpc = "grpc",
        /// HTTP/2 over TLS.
        Grpcs = "grpcs",
    }
}

impl Scheme {
    /// True when the connection is encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Grpcs)
    }

    /// The port where none is written; none: it has to be.
    pub(crate) fn usual_port(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Https | Self::Grpcs => Some(443),
            Self::Grpc => None,
        }
    }
}

/// Where a worker is.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkerAddress {
    /// On the network.
    Network(NetworkAddress),
    /// In this process: a plugin whose world is worker.
    Component(Name),
    /// Wherever it is found.
    Discovered(Discovery),
}

/// A worker's place on the network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NetworkAddress {
    scheme: Scheme,
    host: String,
    port: u16,
}

impl NetworkAddress {
    pub(crate) fn new(scheme: Scheme, host: String, port: u16) -> Self {
        Self { scheme, host, port }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let (scheme, host, port) = parts(text)?;
        let port = port.or(scheme.usual_port());
        let port = port.ok_or_else(|| Invalid::new("the port must be a number from 1 to 65535"))?;
        Ok(Self::new(scheme, host, port))
    }

    /// How one speaks there.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host name, or IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, an IPv6 address in brackets: the value of `Host` and `:authority`.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl WorkerAddress {
    /// What is found there may come with other models than the section's.
    pub(crate) fn tells_models(&self) -> bool {
        match self {
            Self::Discovered(Discovery::File(_)) => true,
            Self::Discovered(Discovery::Cluster(cluster)) => {
                cluster.cluster != ClusterObjects::EndpointSlices
            }
            _ => false,
        }
    }

    /// A request there has a connection of its own.
    pub(crate) fn is_http1(&self) -> bool {
        matches!(self, Self::Network(at) if matches!(at.scheme, Scheme::Http | Scheme::Https))
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        if let Some(name) = text.strip_prefix("component:") {
            return Name::new(name).map(Self::Component);
        }
        NetworkAddress::parse(text).map(Self::Network)
    }
}

/// Scheme, host and port of an address, the port only where it is written.
pub(crate) fn parts(text: &str) -> Result<(Scheme, String, Option<u16>), Invalid> {
    let (scheme, rest) = text.split_once("://").ok_or_else(|| {
        Invalid::new("an address is written like `http://127.0.0.1:8000` or `component:NAME`")
    })?;
    let known = || Scheme::ALL.iter().map(|scheme| scheme.as_str());
    let scheme = known()
        .position(|word| word == scheme)
        .map(|index| Scheme::ALL[index])
        .ok_or_else(|| {
            let hint = suggest(scheme, "schemes", known());
            Invalid::new(format!("unknown scheme `{scheme}`")).hint(hint)
        })?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '@']) {
        return Err(Invalid::new(
            "an address has no user, path or query: the protocol's plugin chooses the path",
        ));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = match port {
        None => None,
        Some(port) => match port.parse().ok().filter(|port| *port != 0) {
            Some(port) => Some(port),
            None => {
                return Err(Invalid::new("the port must be a number from 1 to 65535"));
            }
        },
    };
    let host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address
            .parse::<Ipv6Addr>()
            .map_err(|_| Invalid::new("what stands in brackets must be an IPv6 address"))?
            .to_string(),
        None => ServerName::parse(host)?.0,
    };
    Ok((scheme, host, port))
}

impl fmt::Display for WorkerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(at) => at.fmt(f),
            Self::Component(name) => write!(f, "component:{name}"),
            Self::Discovered(discovery) => discovery.fmt(f),
        }
    }
}

impl fmt::Display for NetworkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

word!(
    NetworkAddress,
    "an address like `http://127.0.0.1:8000`",
    json_schema!({ "type": "string", "pattern": "^(http|https|grpc|grpcs)://[^/?#@]+/?$" })
);

impl Decode for WorkerAddress {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Map(_) => Discovery::decode(node, cx).map(Self::Discovered),
            _ => {
                let expected = "an address like `http://127.0.0.1:8000`";
                text(node, cx, expected, Self::parse)
            }
        }
    }
}

impl Serialize for WorkerAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Discovered(discovery) => discovery.serialize(serializer),
            other => serializer.collect_str(other),
        }
    }
}

impl JsonSchema for WorkerAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "WorkerAddress".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let discovery = generator.subschema_for::<Discovery>();
        json_schema!({ "anyOf": [{
            "type": "string",
            "pattern": "^((http|https|grpc|grpcs)://[^/?#@]+/?|component:[A-Za-z0-9][A-Za-z0-9._-]{0,63})$",
        }, discovery] })
    }
}

/// A host's name (RFC 1123) or IPv4 address, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerName(String);

impl ServerName {
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() <= 253 && text.split('.').all(label) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err(Invalid::new(
            "a host's name is made of letters, digits and `-`, in parts divided by dots",
        ))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

word!(
    ServerName,
    "a host's name",
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 253 })
);
