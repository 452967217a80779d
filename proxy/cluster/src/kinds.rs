//! The kinds of objects, and the paths under which an API server has them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

/// What a value in a path or a query may have as it is (RFC 3986, section 2.3).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Objects that tell of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Addresses behind a Service.
    EndpointSlices,
    /// Services of one model each.
    InferenceServices,
    /// Services of a language model and its adapters.
    LlmInferenceServices,
}

/// Which objects are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Their kind.
    pub kind: Kind,
    /// Their namespace; none: every namespace.
    pub namespace: Option<String>,
    /// Their labels, as a selector.
    pub selector: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Named {
    group: String,
    version: String,
    plural: String,
}

static KINDS: LazyLock<BTreeMap<String, Named>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("kinds.json")).expect("it is ours, and a test reads it")
});

// === impl Kind ===

impl Kind {
    /// As the configuration writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EndpointSlices => "endpoint-slices",
            Self::InferenceServices => "inference-services",
            Self::LlmInferenceServices => "llm-inference-services",
        }
    }

    fn named(self) -> &'static Named {
        &KINDS[self.as_str()]
    }

    /// Its resource and group, as an operator knows them.
    #[must_use]
    pub fn resource(self) -> String {
        let Named { group, plural, .. } = self.named();
        format!("{plural}.{group}")
    }
}

// === impl Query ===

impl Query {
    /// Path and query of a request for these objects, with further parameters.
    pub(crate) fn path(&self, parameters: &[(&str, &str)]) -> String {
        let Named {
            group,
            version,
            plural,
        } = self.kind.named();
        let mut path = format!("/apis/{group}/{version}");
        if let Some(namespace) = &self.namespace {
            path.push_str("/namespaces/");
            path.extend(utf8_percent_encode(namespace, PLAIN));
        }
        path.push('/');
        path.push_str(plural);
        let selector = self.selector.as_deref();
        let selector = selector.map(|selector| ("labelSelector", selector));
        let mut join = '?';
        for (name, value) in selector.into_iter().chain(parameters.iter().copied()) {
            path.push(join);
            path.push_str(name);
            path.push('=');
            path.extend(utf8_percent_encode(value, PLAIN));
            join = '&';
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_path() {
        for kind in [
            Kind::EndpointSlices,
            Kind::InferenceServices,
            Kind::LlmInferenceServices,
        ] {
            let query = Query {
                kind,
                namespace: None,
                selector: None,
            };
            assert!(query.path(&[]).starts_with("/apis/"));
            assert!(kind.resource().contains('.'));
        }
    }

    #[test]
    fn parameters_are_written_so_that_they_stay_what_they_are() {
        let query = Query {
            kind: Kind::EndpointSlices,
            namespace: Some("a/b".into()),
            selector: Some("x in (y,z)&w".into()),
        };
        assert_eq!(
            query.path(&[("watch", "1"), ("resourceVersion", "7")]),
            "/apis/discovery.k8s.io/v1/namespaces/a%2Fb/endpointslices\
             ?labelSelector=x%20in%20%28y%2Cz%29%26w&watch=1&resourceVersion=7"
        );
    }
}
