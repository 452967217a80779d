//! Workers that are discovered: where they are looked for, and the files that list them. What a
//! cluster tells is in [`crate::cluster`].

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::cluster::ClusterDiscovery;
use crate::problem::{Errors, Problem};
use crate::scalar::{Count, FilePath, Invalid, Name, Period, word};
use crate::section::{Context, Decode, choice, section};
use crate::workers::{Model, NetworkAddress, Scheme, parts};
use crate::yaml::{self, Kind, Node, steps};

/// Where workers are looked for while the proxy serves.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Discovery {
    /// In the DNS.
    Dns(DnsDiscovery),
    /// In a file.
    File(FileDiscovery),
    /// In a Kubernetes cluster.
    Cluster(Box<ClusterDiscovery>),
}

section! {
    /// Workers by the records of a name.
    #[name = "discovery by DNS"]
    pub struct DnsDiscovery {
        /// `a`: each IP address of the name is a worker (A and AAAA records); `srv`: each address of
        /// each host that the name's SRV records give, at the record's port. Of these the ones of
        /// the lowest priority count of which a host has an address; a weight is a share of `slots`,
        /// all of which the heaviest has.
        pub dns: DnsRecords,
        /// How one speaks there, and the name: `http://pods.example.com:8000`; without a port for
        /// `srv`. Workers are addressed by the name, and must have it in their certificates.
        pub of: Sought,
        /// The name is asked for again after so long at the latest: sooner where its records say so.
        pub refresh: Period<100, 3_600_000> = Period::secs(30),
        /// And at the soonest.
        pub refresh_least: Period<100, 3_600_000> = Period::secs(1),
        /// For one answer.
        pub timeout: Period<10, 60_000> = Period::secs(2),
        /// Only so many answers in a row that there is no such name, or no record, leave no worker. A
        /// server that does not answer, or says that it failed, changes nothing.
        pub gone_after: Count<1, 100> = Count::of(3),
        /// Most workers; what is found beyond is left out.
        pub most: Count<1, 1024> = Count::of(64),
        /// The DNS server. Absent: those of `/etc/resolv.conf`.
        pub server: Option<SocketAddr> = None,
        /// How long requests of a worker that has gone may go on.
        pub drain: Period<0, 86_400_000> = Period::secs(300),
    }
}

section! {
    /// Workers by a file that lists them, see `WorkerList`: as YAML or JSON. Replace it in one step,
    /// by renaming; one that cannot be read changes nothing.
    #[name = "discovery by a file"]
    pub struct FileDiscovery {
        /// The file. It may be missing: then nothing is known yet.
        pub file: FilePath,
        /// How often it is looked at.
        pub refresh: Period<100, 3_600_000> = Period::secs(2),
        /// Most workers; what is listed beyond is left out.
        pub most: Count<1, 1024> = Count::of(64),
        /// How long requests of a worker that has gone may go on.
        pub drain: Period<0, 86_400_000> = Period::secs(300),
    }
}

section! {
    /// A file of workers.
    #[name = "file of workers"]
    pub struct WorkerList {
        /// The workers; an empty list: there are none.
        pub workers: Vec<ListedWorker>,
    }
}

section! {
    /// A worker of a list. What is absent is as in the section that names the file.
    #[name = "listed worker"]
    pub struct ListedWorker {
        /// Its name, after that of the section and `@`.
        pub name: Name,
        /// Where it is.
        pub address: NetworkAddress,
        /// Upstream requests at once.
        pub slots: Option<Count<1, 65_536>> = None,
        /// Calls in one upstream request.
        pub max_batch: Option<Count<1, 4096>> = None,
        /// The models that it serves.
        pub models: Option<Vec<Model>> = None,
    }
}

choice! {
    /// Records of a name.
    pub enum DnsRecords {
        /// A and AAAA (RFC 1035, RFC 3596).
        A = "a",
        /// SRV (RFC 2782).
        Srv = "srv",
    }
}

/// A name to be looked up, and how one speaks to what is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sought {
    scheme: Scheme,
    name: String,
    port: Option<u16>,
}

// === impl Sought ===

impl Sought {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let (scheme, name, port) = parts(text)?;
        if name.parse::<IpAddr>().is_ok() {
            return Err(Invalid::new("an IP address is not looked up in the DNS"));
        }
        Ok(Self { scheme, name, port })
    }

    /// How one speaks there.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port: the one that is written, or the scheme's. None: there is neither.
    pub fn port(&self) -> Option<u16> {
        self.port.or(self.scheme.usual_port())
    }
}

impl fmt::Display for Sought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.name)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

word!(
    Sought,
    "a name like `http://pods.example.com:8000`",
    json_schema!({ "type": "string", "pattern": "^(http|https|grpc|grpcs)://[^/?#@]+/?$" })
);

// === impl Discovery ===

impl Discovery {
    /// At the latest after so long it is looked again.
    pub fn refresh(&self) -> Duration {
        match self {
            Self::Dns(dns) => dns.refresh.get(),
            Self::File(file) => file.refresh.get(),
            Self::Cluster(cluster) => cluster.refresh.get(),
        }
    }

    /// Most workers.
    pub fn most(&self) -> usize {
        match self {
            Self::Dns(dns) => dns.most.get(),
            Self::File(file) => file.most.get(),
            Self::Cluster(cluster) => cluster.most.get(),
        }
    }

    /// How long requests of a worker that has gone may go on.
    pub fn drain(&self) -> Duration {
        match self {
            Self::Dns(dns) => dns.drain.get(),
            Self::File(file) => file.drain.get(),
            Self::Cluster(cluster) => cluster.drain.get(),
        }
    }

    /// TLS settings may have a meaning for what is found.
    pub(crate) fn may_be_tls(&self) -> bool {
        match self {
            Self::Dns(dns) => dns.of.scheme.is_tls(),
            Self::File(_) => true,
            Self::Cluster(cluster) => cluster.may_be_tls(),
        }
    }
}

impl fmt::Display for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(dns) => write!(f, "{} by {} records", dns.of, dns.dns),
            Self::File(file) => write!(f, "what {} lists", file.file),
            Self::Cluster(cluster) => cluster.fmt(f),
        }
    }
}

impl Decode for Discovery {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let has = |wanted: &str| {
            matches!(&node.kind, Kind::Map(entries)
                if entries.iter().any(|(key, _)| key.text == wanted))
        };
        if has("file") {
            return FileDiscovery::decode(node, cx).map(Self::File);
        }
        if has("cluster") {
            let cluster = ClusterDiscovery::decode(node, cx)?;
            if let Some((key, what)) = cluster.problem() {
                return cx.refuse(node.locate(steps![key]), what, None);
            }
            return Some(Self::Cluster(Box::new(cluster)));
        }
        let dns = DnsDiscovery::decode(node, cx)?;
        let of = node.locate(steps!["of"]);
        match (dns.dns, dns.of.port) {
            (DnsRecords::Srv, Some(_)) => {
                return cx.refuse(of, "the port is told by the SRV records", None);
            }
            (DnsRecords::A, None) if dns.of.port().is_none() => {
                return cx.refuse(of, "the port must be a number from 1 to 65535", None);
            }
            _ => {}
        }
        let (least, most) = (dns.refresh_least, dns.refresh);
        if least.get() > most.get() {
            let what = format!("`refresh` ({most}) is less than `refresh-least` ({least})");
            return cx.refuse(node.locate(steps!["refresh"]), what, None);
        }
        Some(Self::Dns(dns))
    }
}

impl JsonSchema for Discovery {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Discovery".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let dns = generator.subschema_for::<DnsDiscovery>();
        let file = generator.subschema_for::<FileDiscovery>();
        let cluster = generator.subschema_for::<ClusterDiscovery>();
        json_schema!({ "anyOf": [dns, file, cluster] })
    }
}

// === impl WorkerList ===

impl WorkerList {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or something in it is wrong.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        Self::parse(&crate::config::read(path)?, path)
    }

    /// Reads a text; `origin` is the file that problems name.
    ///
    /// # Errors
    /// When something in it is wrong.
    pub fn parse(text: &str, origin: &Path) -> Result<Self, Errors> {
        let root = yaml::parse(text, origin)?;
        let mut cx = Context::new(origin);
        let file = Self::decode(&root, &mut cx);
        let mut names = HashSet::new();
        for (index, worker) in file.iter().flat_map(|file| &file.workers).enumerate() {
            if !names.insert(&worker.name) {
                let at = root.locate(steps!["workers", index, "name"]);
                cx.refuse::<()>(at, format!("a second worker `{}`", worker.name), None);
            }
            let mut models = HashSet::new();
            for (position, model) in worker.models.iter().flatten().enumerate() {
                if !models.insert(&model.name) {
                    let path = steps!["workers", index, "models", position, "name"];
                    let what = format!("a second model `{}`", model.name);
                    cx.refuse::<()>(root.locate(path), what, None);
                }
            }
        }
        Errors::check(cx.problems)?;
        file.ok_or_else(|| Problem::new(origin, None, "this is no file of workers").into())
    }
}
