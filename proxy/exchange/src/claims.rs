//! Who serves what on a route: the claims of its frontends, first listed first.
//!
//! Matching is by the head alone and calls no guest. REST paths are matched by whole
//! segments, percent-encoded as they came; what a pattern's names matched is decoded.

use std::{collections::HashMap, sync::Arc};

use http::Method;
use percent_encoding::percent_decode_str;
use tollgate_plugin::{
    Generation, Standing,
    manifest::{Gathering, Surface},
};

use tollgate_wire::headers::StripList;

use crate::{failures::Wording, tasks};

/// A claim in force.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) frontend: Arc<Generation>,
    /// Position among the generation's claims.
    pub(crate) number: u32,
    pub(crate) wording: Wording,
    pub(crate) gathering: Gathering,
    /// Its head tells that what it asks for waits for a worker.
    pub(crate) queued: bool,
    /// Clients may send several messages (gRPC).
    pub(crate) client_streaming: bool,
    /// What the frontend speaks here.
    pub(crate) dialect: Arc<str>,
    /// Headers of clients that must not reach a worker.
    pub(crate) strip: StripList,
    /// The path's pattern, or the method as it stands in a path.
    pub(crate) pattern: Arc<str>,
}

impl Claimed {
    /// Whether a body that was read for another claim is what this one wants.
    pub(crate) fn takes_body_as(&self, other: &Self) -> bool {
        self.gathering == other.gathering && self.client_streaming == other.client_streaming
    }
}

/// What was found for a head.
pub(crate) enum Found {
    Claim(Arc<Claimed>, Vec<(String, String)>),
    /// The path is known, with these methods; and the first claim on it, in whose words that is told.
    OtherMethod(String, Arc<Claimed>),
    Nothing,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Is(String),
    One(String),
    Rest(String),
}

#[derive(Debug)]
struct Rest {
    method: Method,
    pattern: String,
    segments: Vec<Segment>,
    claimed: Arc<Claimed>,
}

/// Claims of a route.
#[derive(Debug, Default)]
pub(crate) struct ClaimTable {
    frontends: Vec<Arc<Generation>>,
    fixed: HashMap<String, Vec<Rest>>,
    patterns: Vec<Rest>,
    grpc: HashMap<String, Arc<Claimed>>,
    /// What the frontends on trial claim, by their name.
    candidates: HashMap<Arc<str>, Candidate>,
    /// For errors before any claim has matched.
    pub(crate) wording: Wording,
}

/// A generation on trial, and what it claims.
#[derive(Debug)]
struct Candidate {
    standing: Standing,
    table: ClaimTable,
}

impl ClaimTable {
    /// The claims of these frontends; where two claim the same, the first has it.
    pub(crate) fn new(frontends: &[Arc<Generation>]) -> Self {
        let mut table = Self {
            frontends: frontends.to_vec(),
            ..Self::default()
        };
        if let Some(first) = frontends.first() {
            table.wording = Wording::new(first.manifest(), None);
        }
        for frontend in frontends {
            for (number, claim) in frontend.claims().iter().enumerate() {
                let manifest = frontend.manifest();
                let dialect = claim
                    .dialect()
                    .or_else(|| manifest.dialects.first().map(String::as_str))
                    .unwrap_or_default();
                let (gathering, client_streaming) = match &claim.surface {
                    Surface::Rest { gathering, .. } => (*gathering, false),
                    Surface::Grpc {
                        client_streaming, ..
                    } => (Gathering::Streamed, *client_streaming),
                };
                table.add(
                    &claim.surface,
                    Arc::new(Claimed {
                        frontend: frontend.clone(),
                        number: u32::try_from(number).unwrap_or(u32::MAX),
                        wording: Wording::new(manifest, Some(claim)),
                        gathering,
                        queued: claim.task.as_ref().is_some_and(tasks::is_queued),
                        client_streaming,
                        dialect: dialect.into(),
                        strip: StripList::new(&manifest.strip_headers).unwrap_or_default(),
                        pattern: match &claim.surface {
                            Surface::Rest { path, .. } => path.as_str().into(),
                            Surface::Grpc {
                                service, method, ..
                            } => format!("/{service}/{method}").into(),
                        },
                    }),
                );
            }
        }
        table
    }

    /// Whether these are a generation's claims, among others.
    pub(crate) fn is_of(&self, generation: &Arc<Generation>) -> bool {
        self.frontends.contains(generation)
    }

    /// Has a frontend's canary, if there is one, take its share of those claims that both have:
    /// what only the canary claims has to wait until it is in force.
    pub(crate) fn try_candidate(&mut self, name: &Arc<str>, standing: &Standing) {
        if let Some(candidate) = standing.candidate() {
            let table = Self::new(std::slice::from_ref(candidate));
            let standing = standing.apart();
            let candidate = Candidate { standing, table };
            self.candidates.insert(name.clone(), candidate);
        }
    }

    /// The claims of the canary of a frontend, when it is its turn. Each call is a turn.
    pub(crate) fn drawn(&self, claimed: &Claimed) -> Option<&ClaimTable> {
        let candidate = self.candidates.get(claimed.frontend.name())?;
        let is_its_turn = candidate.standing.begin() != candidate.standing.force();
        is_its_turn.then_some(&candidate.table)
    }

    fn add(&mut self, surface: &Surface, claimed: Arc<Claimed>) {
        match surface {
            Surface::Grpc {
                service, method, ..
            } => {
                self.grpc
                    .entry(format!("/{service}/{method}"))
                    .or_insert(claimed);
            }
            Surface::Rest { method, path, .. } => {
                let Ok(method) = method.parse::<Method>() else {
                    return;
                };
                let rest = Rest {
                    method,
                    pattern: path.clone(),
                    segments: segments(path),
                    claimed,
                };
                let is_fixed = rest
                    .segments
                    .iter()
                    .all(|segment| matches!(segment, Segment::Is(_)));
                let list = if is_fixed {
                    self.fixed.entry(path.clone()).or_default()
                } else {
                    &mut self.patterns
                };
                if !list
                    .iter()
                    .any(|other| other.method == rest.method && other.segments == rest.segments)
                {
                    list.push(rest);
                }
            }
        }
    }

    /// The claim on a gRPC method, by `/package.Service/Method`.
    pub(crate) fn grpc(&self, path: &str) -> Option<&Arc<Claimed>> {
        self.grpc.get(path)
    }

    /// The claim on a REST request.
    pub(crate) fn rest(&self, method: &Method, path: &str) -> Found {
        let mut others = Vec::new();
        let mut first = None;
        let fixed = self.fixed.get(path).into_iter().flatten();
        for rest in fixed.chain(&self.patterns) {
            let Some(parameters) = rest.matches(path) else {
                continue;
            };
            if rest.method == *method {
                return Found::Claim(rest.claimed.clone(), parameters);
            }
            first.get_or_insert(&rest.claimed);
            if !others.contains(&rest.method.as_str()) {
                others.push(rest.method.as_str());
            }
        }
        first.map_or(Found::Nothing, |claimed| {
            Found::OtherMethod(others.join(", "), claimed.clone())
        })
    }

    /// One line a claim, in the order in which they are tried.
    pub(crate) fn describe(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .fixed
            .values()
            .flatten()
            .chain(&self.patterns)
            .map(|rest| {
                format!(
                    "{} {} → {}",
                    rest.method,
                    rest.pattern,
                    rest.claimed.frontend.name()
                )
            })
            .chain(
                self.grpc
                    .iter()
                    .map(|(path, claimed)| format!("gRPC {path} → {}", claimed.frontend.name())),
            )
            .collect();
        lines.sort();
        lines
    }
}

fn segments(path: &str) -> Vec<Segment> {
    path.trim_start_matches('/')
        .split('/')
        .map(|segment| {
            match segment
                .strip_prefix('{')
                .and_then(|inner| inner.strip_suffix('}'))
            {
                Some(name) => match name.strip_suffix("...") {
                    Some(name) => Segment::Rest(name.to_owned()),
                    None => Segment::One(name.to_owned()),
                },
                None => Segment::Is(segment.to_owned()),
            }
        })
        .collect()
}

impl Rest {
    fn matches(&self, path: &str) -> Option<Vec<(String, String)>> {
        let mut left = path.strip_prefix('/')?;
        let mut parameters = Vec::new();
        let mut ended = false;
        for (at, segment) in self.segments.iter().enumerate() {
            // The separator was taken with the segment before.
            if at > 0 && ended {
                return None;
            }
            if let Segment::Rest(name) = segment {
                if ended || left.is_empty() {
                    return None;
                }
                parameters.push((name.clone(), decoded(left)));
                return Some(parameters);
            }
            let (head, tail) = match left.split_once('/') {
                Some((head, tail)) => (head, Some(tail)),
                None => (left, None),
            };
            match segment {
                Segment::Is(wanted) if wanted == head => {}
                Segment::One(name) if !head.is_empty() => {
                    parameters.push((name.clone(), decoded(head)));
                }
                _ => return None,
            }
            match tail {
                Some(tail) => left = tail,
                None => {
                    left = "";
                    ended = true;
                }
            }
        }
        ended.then_some(parameters)
    }
}

fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
        let rest = Rest {
            method: Method::GET,
            pattern: pattern.to_owned(),
            segments: segments(pattern),
            claimed: Arc::new(Claimed {
                frontend: test_generation(),
                number: 0,
                pattern: pattern.into(),
                wording: Wording::default(),
                gathering: Gathering::Nothing,
                queued: false,
                client_streaming: false,
                dialect: "x".into(),
                strip: StripList::default(),
            }),
        };
        rest.matches(path)
    }

    fn test_generation() -> Arc<Generation> {
        Generation::empty("nobody")
    }

    #[test]
    fn patterns_match_whole_segments() {
        assert_eq!(matched("/v1/models", "/v1/models"), Some(vec![]));
        assert_eq!(matched("/v1/models", "/v1/models/"), None);
        assert_eq!(matched("/v1/models", "/v1"), None);
        assert_eq!(matched("/v1/models", "/v1/modelsx"), None);
        let one = |value: &str| Some(vec![("id".to_owned(), value.to_owned())]);
        assert_eq!(matched("/v1/models/{id}", "/v1/models/a%20b"), one("a b"));
        assert_eq!(matched("/v1/models/{id}", "/v1/models/a/b"), None);
        assert_eq!(matched("/v1/models/{id}", "/v1/models/"), None);
        assert_eq!(matched("/v1/models/{id...}", "/v1/models/a/b"), one("a/b"));
        assert_eq!(matched("/v1/models/{id...}", "/v1/models"), None);
        assert_eq!(matched("/m/{id}/infer", "/m/x/infer"), one("x"));
        assert_eq!(matched("/m/{id}/infer", "/m/x/y"), None);
    }
}
