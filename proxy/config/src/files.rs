//! The files that a configuration names: they must be there, and readable, before anything starts.
//! What is in certificates and components is for those who use them to say; the tokens are read,
//! and the texts that belong to options.

use std::path::Path;

use crate::authentication::Authentication;
use crate::config::Config;
use crate::discovery::Discovery;
use crate::options::Options;
use crate::plugins::Source;
use crate::problem::Problem;
use crate::scalar::FilePath;
use crate::tokens::TokenFile;
use crate::words::KeyPlace;
use crate::workers::{Worker, WorkerAddress};
use crate::yaml::{Node, Step, steps};

pub(crate) fn check_files(config: &Config, root: &Node, origin: &Path) -> Vec<Problem> {
    let mut check = Check {
        root,
        origin,
        problems: Vec::new(),
    };
    for (index, listener) in config.listeners.iter().enumerate() {
        let certificates = listener.tls.iter().flat_map(|tls| &tls.certificates);
        for (position, pair) in certificates.enumerate() {
            for (key, file) in [("cert", &pair.cert), ("key", &pair.key)] {
                let path = steps!["listeners", index, "tls", "certificates", position, key];
                check.readable(file, path);
            }
        }
    }
    let admin = config.admin.as_ref().and_then(|admin| admin.tls.as_ref());
    let certificates = admin.iter().flat_map(|tls| &tls.certificates);
    for (position, pair) in certificates.enumerate() {
        for (key, file) in [("cert", &pair.cert), ("key", &pair.key)] {
            check.readable(file, steps!["admin", "tls", "certificates", position, key]);
        }
    }
    for clients in admin.iter().filter_map(|tls| tls.clients.as_ref()) {
        check.readable(&clients.ca, steps!["admin", "tls", "clients", "ca"]);
        for (at, list) in clients.revoked.iter().enumerate() {
            check.readable(list, steps!["admin", "tls", "clients", "revoked", at]);
        }
    }
    for (index, listener) in config.listeners.iter().enumerate() {
        let clients = listener.tls.iter().filter_map(|tls| tls.clients.as_ref());
        for clients in clients {
            let path = steps!["listeners", index, "tls", "clients", "ca"];
            check.readable(&clients.ca, path);
            for (at, list) in clients.revoked.iter().enumerate() {
                let path = steps!["listeners", index, "tls", "clients", "revoked", at];
                check.readable(list, path);
            }
        }
    }
    for (name, way) in &config.authentication {
        let mut file = |file: Option<&FilePath>, path: &[Step<'_>]| {
            if let Some(file) = file {
                check.readable(file, path);
            }
        };
        let name = name.as_str();
        match way {
            Authentication::Jwt(jwt) => {
                // What the keys are is for who reads them again and again to say.
                if let KeyPlace::File(keys) = &jwt.keys.from {
                    let path = steps!["authentication", name, "jwt", "keys", "from"];
                    file(Some(keys), path);
                }
                let path = steps!["authentication", name, "jwt", "keys", "ca"];
                file(jwt.keys.ca.as_ref(), path);
            }
            Authentication::Certificates(_) => {}
            Authentication::Kubernetes(cluster) => {
                let path = steps!["authentication", name, "kubernetes", "ca"];
                file(cluster.ca.as_ref(), path);
                let path = steps!["authentication", name, "kubernetes", "token"];
                file(Some(&cluster.token), path);
            }
        }
    }
    for (index, worker) in config.workers.iter().enumerate() {
        if let Some(ca) = &worker.tls.ca {
            check.readable(ca, steps!["workers", index, "tls", "ca"]);
        }
        if let WorkerAddress::Discovered(Discovery::Cluster(cluster)) = &worker.address
            && let Some(ca) = &cluster.api.ca
        {
            check.readable(ca, steps!["workers", index, "address", "api", "ca"]);
        }
    }
    for (index, route) in config.routes.iter().enumerate() {
        if let Some(ca) = route.payload_log.as_ref().and_then(|log| log.ca.as_ref()) {
            check.readable(ca, steps!["routes", index, "payload-log", "ca"]);
        }
    }
    let plugins = config
        .plugins
        .iter()
        .map(|(name, plugin)| ("plugins", name, &plugin.source));
    let schedulers = config
        .schedulers
        .iter()
        .map(|(name, s)| ("schedulers", name, &s.source));
    for (section, name, source) in plugins.chain(schedulers) {
        if let Source::File(file) = source {
            check.readable(file, steps![section, name.as_str(), "source"]);
        }
    }
    let plugins = config.plugins.values().map(|plugin| &plugin.options);
    let schedulers = config.schedulers.values().map(|s| &s.options);
    let workers = config.workers.iter().flat_map(options);
    for reference in plugins
        .chain(schedulers)
        .chain(workers)
        .flat_map(Options::files)
    {
        if let Err(error) = reference.read() {
            let problem = Problem::new(origin, Some(reference.at), error.to_string());
            check.problems.push(problem);
        }
    }
    for (index, key) in config.trust.keys.iter().enumerate() {
        check.readable(&key.file, steps!["trust", "keys", index, "file"]);
    }
    for (key, file) in [
        ("ca", &config.registries.ca),
        ("credentials", &config.registries.credentials),
    ] {
        if let Some(file) = file {
            check.readable(file, steps!["registries", key]);
        }
    }
    if let Some(store) = &config.limits.store {
        for (key, file) in [("ca", &store.ca), ("password", &store.password)] {
            if let Some(file) = file {
                check.readable(file, steps!["limits", "store", key]);
            }
        }
    }
    if let Some(otlp) = &config.telemetry.otlp {
        for (key, file) in [("ca", &otlp.ca), ("headers-file", &otlp.headers_file)] {
            if let Some(file) = file {
                check.readable(file, steps!["telemetry", "otlp", key]);
            }
        }
    }
    if let Some(tokens) = &config.tokens {
        check.tokens(&tokens.file, steps!["tokens", "file"]);
    }
    if let Some(file) = config.admin.as_ref().and_then(|it| it.tokens.as_ref()) {
        check.tokens(file, steps!["admin", "tokens"]);
    }
    check.problems
}

/// A worker's options, and those of the runtimes that it may turn out to have.
fn options(worker: &Worker) -> impl Iterator<Item = &Options> {
    let cluster = match &worker.address {
        WorkerAddress::Discovered(Discovery::Cluster(cluster)) => Some(cluster),
        _ => None,
    };
    let runtimes = cluster.into_iter().flat_map(|it| it.runtimes.values());
    std::iter::once(&worker.options).chain(runtimes.map(|runtime| &runtime.options))
}

struct Check<'a> {
    root: &'a Node,
    origin: &'a Path,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn tokens(&mut self, file: &FilePath, path: &[Step<'_>]) {
        if self.readable(file, path)
            && let Err(errors) = TokenFile::load(file.as_path())
        {
            self.problems.extend(errors.problems().iter().cloned());
        }
    }

    fn readable(&mut self, file: &FilePath, path: &[Step<'_>]) -> bool {
        let opened = std::fs::File::open(file).and_then(|file| file.metadata());
        let reason = match opened {
            Ok(metadata) if metadata.is_file() => return true,
            Ok(_) => "it is no file".to_owned(),
            Err(error) => error.to_string(),
        };
        let at = self.root.locate(path);
        let what = format!("{file} cannot be read: {reason}");
        self.problems
            .push(Problem::new(self.origin, Some(at), what));
        false
    }
}
