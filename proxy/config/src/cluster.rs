//! Workers that a Kubernetes cluster tells of: which objects are watched, and what their runtimes
//! speak.

use std::collections::BTreeMap;
use std::fmt;

use schemars::json_schema;

use crate::options::Options;
use crate::scalar::{Count, FilePath, Invalid, MIB, Name, Period, Size, word};
use crate::section::{choice, section, settings};
use crate::sink::Endpoint;
use crate::workers::Scheme;

section! {
    /// Workers by objects of a Kubernetes cluster, which are listed and then watched.
    #[name = "discovery in a cluster"]
    pub struct ClusterDiscovery {
        /// `endpoint-slices`: each ready address behind a Service is a worker.
        /// `inference-services` and `llm-inference-services`: each object that is ready is a worker
        /// at its address in the cluster, with the models that it names.
        pub cluster: ClusterObjects,
        /// The namespace. Absent: that of the pod.
        pub namespace: Option<Name> = None,
        /// Objects of every namespace. Models of services are called `NAMESPACE/NAME` then.
        pub all_namespaces: bool = false,
        /// Only objects with these labels, as `kubectl --selector` takes them.
        pub selector: Option<Selector> = None,
        /// Of `endpoint-slices`: the Service.
        pub service: Option<Name> = None,
        /// Of `endpoint-slices`: the port's name. Absent: the only port.
        pub port: Option<Name> = None,
        /// Of `endpoint-slices`: how one speaks there.
        pub scheme: Scheme = Scheme::Http,
        /// Of services: what a runtime speaks, by the name of its ServingRuntime, or else by the
        /// service's `protocolVersion`, `v2` for one. A service of any other speaks the `protocol`
        /// of this worker; where there is none it is left out.
        pub runtimes: BTreeMap<Name, ClusterRuntime> = BTreeMap::new(),
        /// The API server.
        pub api: ClusterApi = ClusterApi::default(),
        /// A watch is asked for anew after so long.
        pub refresh: Period<1_000, 3_600_000> = Period::secs(290),
        /// After a failure it is tried again so soon, and later each time,
        pub retry: Period<10, 3_600_000> = Period::secs(1),
        /// up to this.
        pub retry_longest: Period<10, 3_600_000> = Period::secs(30),
        /// Most objects that are remembered; what is told beyond is left out.
        pub objects: Count<1, 65_536> = Count::of(1024),
        /// Most workers; what is found beyond is left out.
        pub most: Count<1, 1024> = Count::of(64),
        /// How long requests of a worker that has gone may go on.
        pub drain: Period<0, 86_400_000> = Period::secs(300),
    }
}

section! {
    /// What a runtime of a cluster speaks.
    #[name = "runtime of a cluster"]
    pub struct ClusterRuntime {
        /// The plugin whose backend speaks to it.
        pub protocol: Name,
        /// Options for the backend.
        pub options: Options = Options::default(),
        /// It is spoken to by HTTP/2 with prior knowledge, or by HTTP/2 over TLS, as gRPC is.
        pub grpc: bool = false,
    }
}

settings! {
    /// How the API server is reached. The defaults are those of a pod with a service account.
    #[name = "API server section"]
    pub struct ClusterApi {
        /// Where it is.
        pub server: Option<Endpoint> = None,
        /// File of the bearer token, read anew for each request. Absent: the service account's.
        pub token: Option<FilePath> = None,
        /// File of the certificates, as PEM, that may vouch for it, read anew for each connection.
        /// Absent: the service account's.
        pub ca: Option<FilePath> = None,
        /// For an answer to begin, and for a list to be read.
        pub timeout: Period<100, 300_000> = Period::secs(10),
        /// Longest list, in bytes; a single object is at most a quarter of it.
        pub largest: Size<{ 64 * 1024 }, { 1024 * MIB }> = Size::of(16 * MIB),
    }
}

choice! {
    /// Objects of a cluster that tell of workers.
    pub enum ClusterObjects {
        /// EndpointSlices of a Service (`discovery.k8s.io/v1`).
        EndpointSlices = "endpoint-slices",
        /// InferenceServices, one model each.
        InferenceServices = "inference-services",
        /// LLMInferenceServices: a model, and its adapters.
        LlmInferenceServices = "llm-inference-services",
    }
}

/// A selector of labels: 1 to 512 visible ASCII characters and spaces. What it means is for the API
/// server to say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector(String);

impl Selector {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let visible = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        match visible && (1..=512).contains(&text.len()) {
            true => Ok(Self(text.to_owned())),
            false => Err(Invalid::new(
                "a selector has 1 to 512 visible ASCII characters, like `app=model,tier!=test`",
            )),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

word!(
    Selector,
    "a selector like `app=model`",
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 512 })
);

impl ClusterDiscovery {
    /// What is wrong with the section as a whole: the key to point at, and why.
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        let slices = self.cluster == ClusterObjects::EndpointSlices;
        if self.all_namespaces && self.namespace.is_some() {
            return Some((
                "namespace",
                "one namespace, and `all-namespaces`: leave one of the two out".into(),
            ));
        }
        if self.retry > self.retry_longest {
            let (longest, first) = (self.retry_longest, self.retry);
            let what = format!("`retry-longest` ({longest}) is less than `retry` ({first})");
            return Some(("retry-longest", what));
        }
        if slices && self.service.is_none() && self.selector.is_none() {
            let what = "`endpoint-slices` need a `service`, or a `selector`";
            return Some(("cluster", what.into()));
        }
        if slices && !self.runtimes.is_empty() {
            let what = "addresses behind a Service do not tell their runtime: name the worker's `protocol`";
            return Some(("runtimes", what.into()));
        }
        let of_slices = [
            ("service", self.service.is_some()),
            ("port", self.port.is_some()),
            ("scheme", self.scheme != Scheme::Http),
        ];
        let (key, _) = of_slices.into_iter().find(|(_, set)| *set && !slices)?;
        let what = format!("`{key}` has a meaning for `endpoint-slices` only");
        Some((key, what))
    }

    /// Something found here may speak over TLS.
    pub(crate) fn may_be_tls(&self) -> bool {
        self.cluster != ClusterObjects::EndpointSlices || self.scheme.is_tls()
    }
}

impl fmt::Display for ClusterDiscovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.service {
            Some(service) => write!(f, "{} of {service}", self.cluster)?,
            None => write!(f, "{}", self.cluster)?,
        }
        match (&self.namespace, self.all_namespaces) {
            (Some(namespace), _) => write!(f, " in {namespace}"),
            (None, true) => f.write_str(" of every namespace"),
            (None, false) => f.write_str(" of this namespace"),
        }
    }
}
