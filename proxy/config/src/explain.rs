//! A configuration told back: what will happen to a request, as far as that is known before
//! anything runs.

mod limits;

use std::fmt::{self, Display, Write};

use crate::authentication::Authentication;
use crate::config::Config;
use crate::matching::{Match, match_order};
use crate::routes::{Auth, Route, VisibleModels};
use crate::scalar::Name;
use crate::telemetry::Followed;
use crate::tenants::Tenant;
use crate::tokens::Digest;
use crate::trust::Unsigned;
use crate::workers::{Probe, Worker, WorkerAddress};

/// Listeners with their routes in the order in which they are tried, then what each route does,
/// then the workers. One fact a line, indented by what it belongs to.
pub fn explain(config: &Config) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    let _ = write_all(&mut out, config);
    out
}

fn write_all(out: &mut String, config: &Config) -> fmt::Result {
    for listener in &config.listeners {
        let tls = listener.tls.as_ref().map_or("plain".to_owned(), |tls| {
            let clients = tls.clients.as_ref();
            let clients = clients.map(|it| format!(", clients' {}", it.demand));
            let clients = clients.unwrap_or_default();
            format!("TLS, {} certificate(s){clients}", tls.certificates.len())
        });
        writeln!(
            out,
            "listener {} on {} ({tls})",
            listener.name, listener.address
        )?;
        let limits = &listener.limits;
        writeln!(
            out,
            "  limits: {} connections, heads of {} in {} fields",
            limits.connections, limits.header_bytes, limits.header_count
        )?;
        for (index, way) in match_order(config, &listener.name).iter().enumerate() {
            writeln!(
                out,
                "  {}. {} → {}",
                index + 1,
                Pattern(way),
                way.route.name
            )?;
        }
    }
    for route in &config.routes {
        write_route(out, config, route)?;
    }
    for worker in &config.workers {
        write_worker(out, worker)?;
    }
    for (name, plugin) in &config.plugins {
        let limits = &plugin.limits;
        writeln!(
            out,
            "plugin {name}: {}, {} instances of {} × {} exchanges, {} of processor time a call ({} when large)",
            plugin.source,
            plugin.isolation,
            limits.memory,
            limits.exchanges_per_slot,
            limits.cpu,
            limits.cpu_large
        )?;
        write_pin(out, plugin.sha256.as_ref())?;
    }
    for (name, scheduler) in &config.schedulers {
        writeln!(out, "scheduler {name}: {}", scheduler.source)?;
        write_pin(out, scheduler.sha256.as_ref())?;
    }
    for (name, way) in &config.authentication {
        write_way(out, name, way)?;
    }
    for (name, tenant) in &config.tenants {
        write_tenant(out, name, tenant)?;
    }
    limits::write(out, &config.limits)?;
    let keys: Vec<_> = config.trust.keys.iter().map(|key| &key.name).collect();
    if !keys.is_empty() {
        let unsigned = match config.trust.unsigned {
            Some(Unsigned::Allow) => "and what nobody signed",
            Some(Unsigned::Refuse) | None => "and nothing else",
        };
        writeln!(
            out,
            "components are loaded that are signed by: {}, {unsigned}",
            list(&keys)
        )?;
    }
    write_telemetry(out, config)
}

fn write_telemetry(out: &mut String, config: &Config) -> fmt::Result {
    let telemetry = &config.telemetry;
    let Some(otlp) = &telemetry.otlp else {
        return Ok(());
    };
    if let Some(traces) = &telemetry.traces {
        let clients = match traces.clients {
            Followed::Follow => ", and those whose clients say so",
            Followed::Ignore => ", whatever clients say",
        };
        writeln!(
            out,
            "traces of {} of all requests{clients} go to {}",
            traces.sample.get(),
            otlp.endpoint
        )?;
    }
    if let Some(metrics) = &telemetry.metrics {
        let (endpoint, interval) = (&otlp.endpoint, metrics.interval);
        writeln!(out, "metrics go to {endpoint} every {interval}")?;
    }
    Ok(())
}

fn write_way(out: &mut String, name: &Name, way: &Authentication) -> fmt::Result {
    match way {
        Authentication::Jwt(jwt) => writeln!(
            out,
            "way {name}: tokens of {} for {}, by keys from {}, believed for {}",
            jwt.issuer,
            list(&jwt.audiences),
            jwt.keys.from,
            jwt.keys.stale
        ),
        Authentication::Certificates(rules) => {
            writeln!(out, "way {name}: certificates, by {} rule(s)", rules.len())
        }
        Authentication::Kubernetes(cluster) => writeln!(
            out,
            "way {name}: {} is asked, and its answers kept for {}, bad ones for {}",
            cluster.server, cluster.life, cluster.denied_life
        ),
    }
}

fn write_tenant(out: &mut String, name: &Name, tenant: &Tenant) -> fmt::Result {
    write!(out, "tenant {name}:")?;
    match &tenant.models {
        Some(models) => write!(out, " models {}", list(models))?,
        None => out.push_str(" models of its credentials"),
    }
    match &tenant.tasks {
        Some(tasks) => write!(out, ", tasks {}", list(tasks))?,
        None => out.push_str(", tasks of its credentials"),
    }
    if let Some(most) = tenant.concurrency {
        write!(out, ", {most} requests at once")?;
    }
    writeln!(out, ", priority {:+}", tenant.priority.get())?;
    match &tenant.limits {
        Some(own) => limits::write_own(out, own),
        None => Ok(()),
    }
}

fn write_pin(out: &mut String, pin: Option<&Digest>) -> fmt::Result {
    match pin {
        Some(digest) => writeln!(out, "  only with SHA-256 {digest}"),
        None => Ok(()),
    }
}

struct Pattern<'m>(&'m Match<'m>);

impl Display for Pattern<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.host {
            Some(host) => write!(f, "{host}")?,
            None => f.write_str("any host")?,
        }
        match self.0.prefix {
            Some(prefix) => write!(f, " under {prefix}"),
            None => Ok(()),
        }
    }
}

fn write_route(out: &mut String, config: &Config, route: &Route) -> fmt::Result {
    let auth = match &route.auth {
        Auth::Required => "token required".to_owned(),
        Auth::Open => "open to anybody".to_owned(),
        Auth::By(ways) => format!("let in by {}", list(ways)),
    };
    writeln!(out, "route {} ({auth})", route.name)?;
    if let Some(access) = &route.access {
        writeln!(out, "  users of a cluster need the right {access}")?;
    }
    writeln!(
        out,
        "  frontends, the first that claims a path wins: {}",
        list(&route.frontends)
    )?;
    if !route.compositions.is_empty() {
        writeln!(out, "  compositions: {}", list(&route.compositions))?;
    }
    writeln!(out, "  workers: {}", list(&route.workers))?;
    match &route.scheduler {
        Some(name) => writeln!(out, "  scheduler: {name}")?,
        None => writeln!(
            out,
            "  scheduler: built in, first come first served, least loaded"
        )?,
    }
    write_models(out, config, route)?;
    if let Some(model) = &route.default_model {
        writeln!(out, "  default model: {model}")?;
    }
    let (limits, queue) = (&route.limits, &route.queue);
    writeln!(
        out,
        "  limits: bodies {}, messages {}, {} a request, {} at once, {} attempts with bodies up to {}",
        limits.body,
        limits.message,
        limits.timeout,
        limits.concurrency,
        route.retry.attempts,
        limits.retry_body
    )?;
    writeln!(
        out,
        "  queue: {} requests, {}, {} ({} without a healthy worker)",
        queue.requests, queue.bytes, queue.timeout, queue.workerless_timeout
    )?;
    if let Some(cors) = &route.cors {
        let credentials = if cors.credentials {
            ", with credentials"
        } else {
            ""
        };
        writeln!(
            out,
            "  pages that may ask: {}{credentials}",
            list(&cors.origins)
        )?;
    }
    match &route.payload_log {
        Some(log) => writeln!(
            out,
            "  payloads ({}, {} % of requests, up to {} each) go to {}",
            log.mode, log.percent, log.body, log.sink
        ),
        None => Ok(()),
    }
}

fn write_models(out: &mut String, config: &Config, route: &Route) -> fmt::Result {
    match &route.models {
        VisibleModels::All => {
            let workers = || route.workers.iter().filter_map(|name| config.worker(name));
            let mut names: Vec<_> = workers()
                .flat_map(|w| &w.models)
                .map(|m| m.name.as_str())
                .collect();
            names.sort_unstable();
            names.dedup();
            if workers().any(|worker| worker.models.is_empty()) {
                names.push("what workers report");
            }
            writeln!(out, "  models: {}", names.join(", "))
        }
        VisibleModels::Listed(models) => {
            let names: Vec<_> = models
                .iter()
                .map(|model| match model.is() == &model.name {
                    true => model.name.to_string(),
                    false => format!("{} (is {})", model.name, model.is()),
                })
                .collect();
            writeln!(out, "  models: {}", names.join(", "))
        }
    }
}

fn write_worker(out: &mut String, worker: &Worker) -> fmt::Result {
    write!(out, "worker {}: {}", worker.name, worker.address)?;
    if let Some(protocol) = &worker.protocol {
        write!(out, " by {protocol}")?;
    }
    writeln!(
        out,
        ", {} slots, batches of at most {}",
        worker.slots, worker.max_batch
    )?;
    if let WorkerAddress::Discovered(discovery) = &worker.address {
        writeln!(
            out,
            "  looked for every {} or sooner, at most {}",
            humantime::format_duration(discovery.refresh()),
            discovery.most()
        )?;
    }
    if !matches!(worker.address, WorkerAddress::Component(_)) {
        match &worker.probe {
            Probe::Off => writeln!(out, "  not probed")?,
            Probe::On(probe) => writeln!(
                out,
                "  probed every {}, {} each",
                probe.interval, probe.timeout
            )?,
        }
    }
    for model in &worker.models {
        write!(out, "  model {}", model.name)?;
        if model.served_as() != &model.name {
            write!(out, ", there called {}", model.served_as())?;
        }
        match &model.tasks {
            None => writeln!(out)?,
            Some(tasks) => writeln!(out, ", for {}", list(tasks))?,
        }
    }
    Ok(())
}

fn list(names: &[impl Display]) -> String {
    names
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
