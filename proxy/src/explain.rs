//! `tollgate check`: what is wrong with a configuration, what it does, and what one request would meet.

use std::{error::Error, fmt::Write as _, path::Path, sync::Arc};

use clap::Args;
use http::{Method, Uri};
use tollgate_config::{Config, WorkerAddress, match_order};
use tollgate_exchange::{Explained, Route};
use tollgate_plugin::Cache;

use crate::{
    assemble::{Assembled, assemble},
    life::terms,
    records::Records,
    say,
};

/// How far a configuration is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// It is read.
    Read,
    /// And put together as `run` would, plugins with their options and all.
    Load,
    /// And what came of it is told.
    Explain,
}

/// One request to be explained.
#[derive(Args)]
pub(crate) struct One {
    /// What this request would meet: its method, host and path, such as
    /// `--request POST models.example.com /v1/chat/completions`; gRPC methods as
    /// `/package.Service/Method` with the method `GRPC`. `-` for a host that no route names.
    #[arg(long, num_args = 3, value_names = ["METHOD", "HOST", "PATH"])]
    request: Option<Vec<String>>,
    /// At this listener only.
    #[arg(long, value_name = "NAME", requires = "request")]
    listener: Option<String>,
}

impl One {
    pub(crate) fn is_asked(&self) -> bool {
        self.request.is_some()
    }
}

/// A request's head, as far as routes look at it.
struct Head {
    method: Method,
    is_grpc: bool,
    host: Option<String>,
    path: String,
}

impl Head {
    fn parse(words: &[String]) -> Result<Self, String> {
        let [method, host, path] = words else {
            return Err("a request is a method, a host and a path".to_owned());
        };
        let is_grpc = method.eq_ignore_ascii_case("grpc");
        let method = match is_grpc {
            true => Method::POST,
            false => method
                .to_ascii_uppercase()
                .parse()
                .map_err(|_| format!("`{method}` is no method"))?,
        };
        let uri: Uri = path.parse().map_err(|_| format!("`{path}` is no path"))?;
        if !path.starts_with('/') {
            return Err(format!("`{path}` does not begin with `/`"));
        }
        Ok(Self {
            method,
            is_grpc,
            // Routes are told by names without ports.
            host: (host != "-").then(|| without_port(host).to_owned()),
            path: uri.path().to_owned(),
        })
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) && !port.is_empty() => {
            name
        }
        _ => host,
    }
}

/// Reads a configuration, and says what there is to say of it; whether it is right.
pub(crate) fn check(path: &Path, depth: Depth, one: &One) -> bool {
    let mut config = match Config::load(path) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return false;
        }
    };
    let good = format!("{}: ok\n", path.display());
    if depth == Depth::Read {
        return say(&good);
    }
    let mut text = match (depth, &one.request) {
        (Depth::Explain, None) => tollgate_config::explain(&config),
        _ => String::new(),
    };
    leave_what_is_kept_to_its_owner(&mut config);
    let assembled = match put_together(config) {
        Ok(assembled) => assembled,
        Err(error) => {
            say(&text);
            eprintln!("{}: {error}", path.display());
            return false;
        }
    };
    if depth == Depth::Load {
        return say(&good);
    }
    match &one.request {
        None => answers(&assembled, &mut text),
        Some(words) => {
            let told = Head::parse(words)
                .and_then(|head| meets(&assembled, one.listener.as_deref(), &head, &mut text));
            if let Err(problem) = told {
                eprintln!("tollgate: {problem}");
                return false;
            }
        }
    }
    say(&text)
}

/// In the one way that `run` and a reload have: what they would refuse is refused here.
fn put_together(config: Config) -> Result<Assembled, Box<dyn Error>> {
    let assembled = assemble(Arc::new(config), &Records::none(), None)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(terms(&assembled.config))?;
    Ok(assembled)
}

/// What is kept from one start to the next belongs to the user who serves. Whoever checks may be
/// another one: the folder is used where that is right, and made for nobody.
fn leave_what_is_kept_to_its_owner(config: &mut Config) {
    let bound = config.runtime.cache_size.get_u64();
    let usable = |folder: &Path| folder.is_dir() && Cache::open(folder, bound).is_ok();
    let kept = config.runtime.cache_dir.as_ref();
    if kept.is_some_and(|folder| !usable(folder.as_path())) {
        config.runtime.cache_dir = None;
    }
}

/// What each route answers.
fn answers(assembled: &Assembled, text: &mut String) {
    for route in &assembled.routes {
        let _ = writeln!(text, "route {} answers:", route.name());
        for line in route.describe() {
            let _ = writeln!(text, "  {line}");
        }
    }
}

/// What a request meets at each listener.
fn meets(
    assembled: &Assembled,
    only: Option<&str>,
    head: &Head,
    text: &mut String,
) -> Result<(), String> {
    let config = &assembled.config;
    let mut listeners = 0;
    for listener in &config.listeners {
        let name = listener.name.as_str();
        if only.is_some_and(|only| only != name) {
            continue;
        }
        listeners += 1;
        let _ = writeln!(text, "listener {name}");
        let ways = match_order(config, &listener.name);
        let found = ways.iter().enumerate().find_map(|(at, way)| {
            // A pattern of a host matches no request without one.
            let path = match &head.host {
                Some(host) => way.strip(host, &head.path)?,
                None if way.host.is_some() => return None,
                None => way.strip("", &head.path)?,
            };
            Some((at, way, path))
        });
        let Some((at, way, path)) = found else {
            let _ = writeln!(text, "  no route for this host and path: 404");
            continue;
        };
        let _ = writeln!(
            text,
            "  route {}, the {}. of {}",
            way.route.name,
            at + 1,
            ways.len()
        );
        if path != head.path {
            let _ = writeln!(text, "  its frontends see {path}");
        }
        let routes = assembled.routes.iter();
        let mut routes = routes.filter(|it| **it.name() == *way.route.name.as_str());
        if let Some(route) = routes.next() {
            meets_route(assembled, way.route, route, head, path, text);
        }
    }
    match (listeners, only) {
        (0, Some(only)) => Err(format!("there is no listener {only}")),
        _ => Ok(()),
    }
}

fn meets_route(
    assembled: &Assembled,
    section: &tollgate_config::Route,
    route: &Route,
    head: &Head,
    path: &str,
    text: &mut String,
) {
    let mut line = |what: String| {
        let _ = writeln!(text, "  {what}");
    };
    let (dialect, queued) = match route.explain(&head.method, path, head.is_grpc) {
        Explained::Nothing => {
            line("no frontend claims this path: 404".to_owned());
            return;
        }
        Explained::OtherMethod(methods) => {
            line(format!(
                "frontends claim this path with {methods} only: 405"
            ));
            return;
        }
        Explained::Claim {
            frontend,
            dialect,
            task,
            queued,
        } => {
            line(format!("frontend {frontend}, in the dialect {dialect}"));
            line(match task {
                Some(task) => format!("task {task}"),
                None => "the task is told by the body".to_owned(),
            });
            (dialect, queued)
        }
    };
    line(match section.auth.ways().as_slice() {
        [] => "open to anybody".to_owned(),
        [tollgate_config::TOKENS] => "a token is required".to_owned(),
        ways => format!("let in by {}", ways.join(", ")),
    });
    line(match &section.default_model {
        Some(model) => format!("the model that the client names, or {model}"),
        None => "the model that the client names".to_owned(),
    });
    if !queued {
        line("answered at once, or by whoever the body tells".to_owned());
    }
    line(match &section.scheduler {
        Some(name) => format!("waits for scheduler {name}"),
        None => "waits for the built-in rules".to_owned(),
    });
    for name in &section.workers {
        let Some(worker) = assembled.config.worker(name) else {
            continue;
        };
        let way = match (&worker.address, &worker.protocol) {
            (WorkerAddress::Component(plugin), _) => format!("answered by component {plugin}"),
            (_, Some(protocol)) => match speaks(assembled, worker, &dialect) {
                true => format!("by {protocol}, passed on as it is where it can be"),
                false => format!("by {protocol}, translated"),
            },
            (_, None) => "by nobody".to_owned(),
        };
        let models: Vec<_> = worker.models.iter().map(|it| it.name.to_string()).collect();
        let models = match models.is_empty() {
            true => "what it reports".to_owned(),
            false => models.join(", "),
        };
        line(format!(
            "worker {name} at {}: {way}; models: {models}",
            worker.address
        ));
    }
}

/// Whether a worker understands what the client speaks: by the dialect of its own, or else the first
/// of its plugin's.
fn speaks(assembled: &Assembled, worker: &tollgate_config::Worker, dialect: &str) -> bool {
    let named = worker.options.as_object().get("dialect");
    if let Some(named) = named.and_then(|it| it.as_str()) {
        return named == dialect;
    }
    let plugin = worker.protocol.as_ref().map(|name| name.as_str());
    let plugin = plugin.and_then(|name| assembled.house.shelf.get(name));
    plugin.is_some_and(|it| {
        it.manifest()
            .dialects
            .first()
            .is_some_and(|it| it == dialect)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read() {
        let read = |words: [&str; 3]| Head::parse(&words.map(str::to_owned));
        let head = read(["post", "Models.example.com:8443", "/v1/x?y=1"]).expect("it is one");
        assert_eq!(head.method, Method::POST);
        assert_eq!(head.host.as_deref(), Some("Models.example.com"));
        assert_eq!(head.path, "/v1/x");
        assert!(!head.is_grpc);
        let head = read(["GRPC", "-", "/a.B/C"]).expect("it is one");
        assert!(head.is_grpc && head.host.is_none());
        assert_eq!(without_port("[::1]"), "[::1]");
        assert_eq!(without_port("[::1]:80"), "[::1]");
        for bad in [["GET", "a", "x"], ["G T", "a", "/"], ["GET", "a", "/ x"]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
