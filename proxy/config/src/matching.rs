//! The order in which routes are tried: fixed by what they say, not by where they stand.

use crate::config::Config;
use crate::hosts::{HostPattern, PathPrefix};
use crate::routes::Route;
use crate::scalar::Name;

/// One way into a route: a host of it, or any, and its prefix.
#[derive(Clone, Copy, Debug)]
pub struct Match<'c> {
    /// None: any host.
    pub host: Option<&'c HostPattern>,
    /// None: any path.
    pub prefix: Option<&'c PathPrefix>,
    /// Where it leads.
    pub route: &'c Route,
}

impl<'c> Match<'c> {
    /// The path that frontends see when host and path match, else none. The host has no port.
    pub fn strip<'p>(&self, host: &str, path: &'p str) -> Option<&'p str> {
        if self.host.is_some_and(|pattern| !pattern.matches(host)) {
            return None;
        }
        match self.prefix {
            Some(prefix) => prefix.strip(path),
            None => Some(path),
        }
    }
}

/// The matches of a listener; the first one that fits a request is the one. Exact hosts come
/// before wildcards, longer wildcards before shorter, those before any; under one host longer
/// prefixes come first. What a host's routes do not match may thus still reach a route for any host.
pub fn match_order<'c>(config: &'c Config, listener: &Name) -> Vec<Match<'c>> {
    let here = |route: &&Route| route.listeners.is_empty() || route.listeners.contains(listener);
    let mut matches: Vec<Match<'c>> = config
        .routes
        .iter()
        .filter(here)
        .flat_map(matches_of)
        .collect();
    // Two that compare equal have different hosts or prefixes, so that not both fit a request.
    matches.sort_by_key(|m| {
        let prefix = m.prefix.map_or(0, |prefix| prefix.as_str().len());
        std::cmp::Reverse((m.host.map(HostPattern::rank), prefix))
    });
    matches
}

pub(crate) fn matches_of(route: &Route) -> impl Iterator<Item = Match<'_>> {
    let any = route.hosts.is_empty().then_some(None);
    let hosts = route.hosts.iter().map(Some).chain(any);
    hosts.map(|host| Match {
        host,
        prefix: route.prefix.as_ref(),
        route,
    })
}
