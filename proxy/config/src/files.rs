//! The files that a configuration names: they must be there, and readable, before anything starts.
//! What is in certificates and components is for those who use them to say; the tokens are read,
//! and the texts that belong to options.

use std::path::Path;

use crate::config::Config;
use crate::options::Options;
use crate::plugins::Source;
use crate::problem::Problem;
use crate::scalar::FilePath;
use crate::tokens::TokenFile;
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
    for (index, worker) in config.workers.iter().enumerate() {
        if let Some(ca) = &worker.tls.ca {
            check.readable(ca, steps!["workers", index, "tls", "ca"]);
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
    let workers = config.workers.iter().map(|worker| &worker.options);
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
    if let Some(tokens) = &config.tokens {
        check.tokens(&tokens.file, steps!["tokens", "file"]);
    }
    if let Some(file) = config.admin.as_ref().and_then(|it| it.tokens.as_ref()) {
        check.tokens(file, steps!["admin", "tokens"]);
    }
    check.problems
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
