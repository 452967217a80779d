//! Paths of what is passed on, where a worker's begin otherwise than its clients'.

use crate::{claims::Endpoint, options::Clients};

/// The path at a worker whose paths begin with `prefix`; none where it is the client's. What clients
/// find without a prefix too is found behind it.
pub fn at(path: &str, endpoint: Endpoint, clients: Clients, prefix: &str) -> Option<String> {
    let usual = match clients {
        Clients::New | Clients::Old => "/v1",
        Clients::Ovms => "/v3",
    };
    if prefix == usual {
        return None;
    }
    let rest = path.strip_prefix(usual);
    match (rest.filter(|rest| rest.starts_with('/')), endpoint) {
        (Some(rest), _) => Some(format!("{prefix}{rest}")),
        (None, Endpoint::Rerank) => Some(format!("{prefix}/rerank")),
        (None, Endpoint::Score) => Some(format!("{prefix}/score")),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_prefix_gets_the_workers() {
        let new = |path, endpoint| at(path, endpoint, Clients::New, "/openai/v1");
        let chat = new("/v1/chat/completions", Endpoint::Chat);
        assert_eq!(chat.as_deref(), Some("/openai/v1/chat/completions"));
        for path in ["/rerank", "/v1/rerank", "/v2/rerank"] {
            let there = new(path, Endpoint::Rerank);
            assert_eq!(there.as_deref(), Some("/openai/v1/rerank"), "{path}");
        }
        assert_eq!(new("/tokenize", Endpoint::Tokenize), None);
        assert_eq!(
            at("/v1/models", Endpoint::Models, Clients::Old, "/v1"),
            None
        );
        let ovms = at("/v3/tokenize", Endpoint::Tokenize, Clients::Ovms, "/v1");
        assert_eq!(ovms.as_deref(), Some("/v1/tokenize"));
    }
}
