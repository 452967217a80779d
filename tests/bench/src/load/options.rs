//! What the load generator is told, and the plan that is made of it.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use clap::ValueEnum;
use http::{Uri, uri::Authority};

use super::{
    kind::{Kind, Protocol, Spec},
    schedule::Arrivals,
};

/// What the load generator is told.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// What to speak.
    #[arg(long, required_unless_present = "mix")]
    pub protocol: Option<Protocol>,
    /// Where to: `http://HOST:PORT`; for gRPC the same, over cleartext HTTP/2.
    #[arg(long)]
    pub target: Uri,
    /// Sent as `authorization: Bearer …`.
    #[arg(long)]
    pub token: Option<String>,
    /// The model that is asked for.
    #[arg(long, default_value = "m")]
    pub model: String,
    /// Connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub connections: u32,
    /// Exchanges at once on each; more than one over HTTP/2 only.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub streams_per_connection: u32,
    /// Asks for a stream.
    #[arg(long)]
    pub stream: bool,
    /// Bytes of the prompt, or of the tensor that is sent.
    #[arg(long, default_value_t = 1024)]
    pub prompt_bytes: usize,
    /// Tokens that are asked for, and that every answer must have; without it, as many as the
    /// answer itself tells.
    #[arg(long)]
    pub tokens: Option<u32>,
    /// The size that an answered tensor must have; without it, as much as the answer itself tells.
    #[arg(long)]
    pub tensor_mib: Option<usize>,
    /// The tensor that is sent is a batch of so many rows: its first dimension.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub rows: Option<u32>,
    /// Any answer of status 200, and gRPC status 0, is good: of a server that is not the stub.
    #[arg(long)]
    pub any_answer: bool,
    /// Open loop: so many requests a second are due.
    #[arg(long)]
    pub rate: Option<f64>,
    /// How they are spaced.
    #[arg(long, value_enum, default_value_t = Arrivals::Even)]
    pub arrivals: Arrivals,
    /// Seconds that count, after the warm-up.
    #[arg(long, conflicts_with = "requests")]
    pub duration: Option<f64>,
    /// Requests that count, after the warm-up.
    #[arg(long)]
    pub requests: Option<u64>,
    /// Seconds before that, which do not count.
    #[arg(long, default_value_t = 0.0)]
    pub warmup: f64,
    /// Seconds that requests may take to end when no more are begun.
    #[arg(long, default_value_t = 10.0)]
    pub drain: f64,
    /// Seconds that one request may take.
    #[arg(long, default_value_t = 60.0)]
    pub timeout: f64,
    /// Opens a stream on every lane, waits for the first token of all, prints the report, and
    /// keeps them open for so many seconds.
    #[arg(long, conflicts_with_all = ["duration", "requests", "rate", "wave"])]
    pub hold: Option<f64>,
    /// So many clients connect at once, send one request each, and leave.
    #[arg(long, conflicts_with_all = ["duration", "requests", "rate"])]
    pub wave: Option<u32>,
    /// Waves, one after the other.
    #[arg(long, default_value_t = 1, requires = "wave")]
    pub waves: u32,
    /// The share of requests that are broken off at a random point.
    #[arg(long, default_value_t = 0.0)]
    pub abort_fraction: f64,
    /// Which requests are broken off, which kind is next, when they are due.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A JSON file: a list of kinds of requests with weights.
    #[arg(long)]
    pub mix: Option<PathBuf>,
    /// Addresses of this machine to connect from, in turn.
    #[arg(long, value_delimiter = ',')]
    pub source: Vec<IpAddr>,
    /// Processes whose use of processor time is taken from the end of the warm-up to the end.
    #[arg(long = "watch")]
    pub watch: Vec<u32>,
}

/// Arguments that do not fit together.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanError {
    /// A target that is none.
    #[error("{0}: a target is http://HOST:PORT")]
    Target(String),
    /// A number that makes no sense.
    #[error("--{0} has to be {1}")]
    Number(&'static str, &'static str),
    /// HTTP/1.1 has one exchange at a time.
    #[error("--streams-per-connection is for HTTP/2: open more connections")]
    Streams,
    /// Only generation streams.
    #[error("{0} does not stream")]
    Streaming(String),
    /// There is nothing to be waited for.
    #[error("--hold needs --stream")]
    Hold,
    /// A model that is no header's value.
    #[error("the model's name cannot be sent")]
    Model,
    /// A token that is no header's value.
    #[error("the token cannot be sent")]
    Token,
    /// No file, or not of that form.
    #[error("{0}: {1}")]
    Mix(PathBuf, String),
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) authority: Authority,
    /// What stands before every path; no slash at its end.
    pub(super) prefix: String,
}

impl Target {
    pub(super) fn new(uri: &Uri) -> Result<Self, PlanError> {
        let odd = || PlanError::Target(uri.to_string());
        if !matches!(uri.scheme_str(), Some("http" | "grpc")) {
            return Err(odd());
        }
        let authority = uri.authority().ok_or_else(odd)?.clone();
        let port = authority.port_u16().unwrap_or(80);
        let host = authority.host().trim_matches(['[', ']']);
        let mut addresses = (host, port).to_socket_addrs().map_err(|_| odd())?;
        Ok(Self {
            address: addresses.next().ok_or_else(odd)?,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            authority,
        })
    }
}

/// What is done with the lanes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    Paced(Pacing),
    Hold(Duration),
    Wave { clients: u32, waves: u32 },
}

/// When requests begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pacing {
    /// A second; without one, the loop is closed.
    pub(super) rate: Option<f64>,
    pub(super) arrivals: Arrivals,
    pub(super) warmup: Duration,
    pub(super) until: Until,
}

/// When no more begin, counted after the warm-up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    Time(Duration),
    Requests(u64),
}

/// All that a run needs to know.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) kinds: Vec<Kind>,
    pub(super) targets: Vec<Target>,
    pub(super) connections: usize,
    pub(super) streams: usize,
    pub(super) mode: Mode,
    pub(super) drain: Duration,
    pub(super) timeout: Duration,
    pub(super) seed: u64,
    pub(super) sources: Vec<IpAddr>,
    pub(super) watch: Vec<u32>,
    pub(super) threads: usize,
}

impl Plan {
    /// Checks the arguments and makes every request once.
    pub(super) fn new(arguments: Arguments, threads: usize) -> Result<Self, PlanError> {
        let seconds = |name, value: f64| {
            Duration::try_from_secs_f64(value)
                .map_err(|_| PlanError::Number(name, "seconds, and not below 0"))
        };
        if arguments
            .rate
            .is_some_and(|rate| !(rate > 0.0 && rate <= 1e7))
        {
            return Err(PlanError::Number("rate", "above 0"));
        }
        let mode = match (arguments.hold, arguments.wave) {
            (Some(time), _) => Mode::Hold(seconds("hold", time)?),
            (None, Some(clients)) => Mode::Wave {
                clients,
                waves: arguments.waves,
            },
            (None, None) => Mode::Paced(Pacing {
                rate: arguments.rate,
                arrivals: arguments.arrivals,
                warmup: seconds("warmup", arguments.warmup)?,
                until: match arguments.requests {
                    Some(requests) => Until::Requests(requests),
                    None => Until::Time(seconds("duration", arguments.duration.unwrap_or(10.0))?),
                },
            }),
        };
        let specs = Spec::all(&arguments)?;
        let mut targets = Vec::new();
        let mut kinds = Vec::new();
        for spec in &specs {
            let target = Target::new(&spec.target)?;
            let known = targets.iter().position(|other| *other == target);
            let at = known.unwrap_or_else(|| {
                targets.push(target);
                targets.len() - 1
            });
            kinds.push(Kind::new(spec, at, &targets[at])?);
        }
        let alone = arguments.mix.is_none() && !kinds.iter().any(Kind::is_http2);
        if alone && arguments.streams_per_connection > 1 {
            return Err(PlanError::Streams);
        }
        if matches!(mode, Mode::Hold(_)) && !kinds.iter().all(|kind| kind.stream) {
            return Err(PlanError::Hold);
        }
        Ok(Self {
            kinds,
            targets,
            connections: arguments.connections as usize,
            streams: arguments.streams_per_connection as usize,
            mode,
            drain: seconds("drain", arguments.drain)?,
            timeout: seconds("timeout", arguments.timeout)?,
            seed: arguments.seed,
            sources: arguments.source,
            watch: arguments.watch,
            threads,
        })
    }

    /// Where the n-th connection comes from.
    pub(super) fn source(&self, connection: usize) -> Option<SocketAddr> {
        let at = connection.checked_rem(self.sources.len())?;
        Some(SocketAddr::new(self.sources[at], 0))
    }
}

impl Protocol {
    /// The name as it is written on the command line.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
