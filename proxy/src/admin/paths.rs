//! Which paths there are, with which methods, for whom; and their description, as OpenAPI 3.1.

use std::sync::LazyLock;

use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{
    door::Needs,
    operate::{Deed, Kind, Order},
    process::Errand,
};

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Live,
    Ready,
    Metrics,
    Page,
    Description,
    Status,
    Scale,
    Overview,
    Plugins,
    Workers,
    Queues,
    Models,
    Errors,
    Changes,
    Config,
    Level,
    Errand(Errand),
    Order(Order),
}

/// A path that is served.
#[derive(Debug)]
pub(super) struct Path {
    method: Method,
    /// A segment in braces is any.
    template: &'static str,
    pub(super) needs: Needs,
    pub(super) what: What,
}

const fn look(template: &'static str, needs: Needs, what: What) -> Path {
    Path {
        method: Method::GET,
        template,
        needs,
        what,
    }
}

const fn order(template: &'static str, kind: Kind, deed: Deed) -> Path {
    Path {
        method: Method::POST,
        template,
        needs: Needs::Change,
        what: What::Order(Order { kind, deed }),
    }
}

const fn errand(template: &'static str, errand: Errand) -> Path {
    Path {
        method: Method::POST,
        template,
        needs: Needs::Change,
        what: What::Errand(errand),
    }
}

/// All of them. `openapi.json` describes each, and no others: a test holds the two together.
const PATHS: &[Path] = &[
    look("/livez", Needs::Probe, What::Live),
    look("/readyz", Needs::Probe, What::Ready),
    look("/metrics", Needs::Probe, What::Metrics),
    look("/scale", Needs::Probe, What::Scale),
    look("/", Needs::Page, What::Page),
    look("/page/{file}", Needs::Page, What::Page),
    look("/openapi.json", Needs::Page, What::Description),
    look("/status", Needs::Look, What::Status),
    look("/overview", Needs::Look, What::Overview),
    look("/plugins", Needs::Look, What::Plugins),
    look("/workers", Needs::Look, What::Workers),
    look("/queues", Needs::Look, What::Queues),
    look("/models", Needs::Look, What::Models),
    look("/errors", Needs::Look, What::Errors),
    look("/changes", Needs::Look, What::Changes),
    look("/config", Needs::Look, What::Config),
    look("/log-level", Needs::Look, What::Level),
    Path {
        method: Method::POST,
        template: "/log-level",
        needs: Needs::Change,
        what: What::Level,
    },
    order("/plugins/{name}/swap", Kind::Plugin, Deed::Swap),
    order("/plugins/{name}/promote", Kind::Plugin, Deed::Promote),
    order("/plugins/{name}/rollback", Kind::Plugin, Deed::RollBack),
    order("/schedulers/{name}/swap", Kind::Scheduler, Deed::Swap),
    order("/schedulers/{name}/promote", Kind::Scheduler, Deed::Promote),
    order(
        "/schedulers/{name}/rollback",
        Kind::Scheduler,
        Deed::RollBack,
    ),
    order("/workers/{name}/drain", Kind::Worker, Deed::Drain),
    order("/workers/{name}/resume", Kind::Worker, Deed::Resume),
    order("/drain", Kind::Proxy, Deed::Drain),
    errand("/reload", Errand::Reload),
    errand("/upgrade", Errand::Upgrade),
];

/// What a method and a path come to.
#[derive(Debug)]
pub(super) enum Found {
    /// A path, with what stands in its braces.
    This(&'static Path, Option<String>),
    /// A path that has other methods: these.
    Otherwise(String),
    /// None.
    Nowhere,
}

/// Finds it.
pub(super) fn find(method: &Method, path: &str) -> Found {
    let mut others = Vec::new();
    for known in PATHS {
        let Some(name) = matches(known.template, path) else {
            continue;
        };
        if known.method == *method {
            return Found::This(known, name);
        }
        others.push(known.method.as_str());
    }
    match others.is_empty() {
        true => Found::Nowhere,
        false => Found::Otherwise(others.join(", ")),
    }
}

/// Whether a path is one of the template, and what stands in its braces.
#[expect(clippy::option_option, reason = "one that matches may have no braces")]
fn matches(template: &str, path: &str) -> Option<Option<String>> {
    let mut name = None;
    let mut segments = path.split('/');
    for wanted in template.split('/') {
        let segment = segments.next()?;
        if wanted.starts_with('{') {
            let decoded = percent_decode_str(segment).decode_utf8().ok()?;
            if decoded.is_empty() {
                return None;
            }
            name = Some(decoded.into_owned());
        } else if wanted != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(name)
}

static DESCRIPTION: LazyLock<String> = LazyLock::new(|| {
    let text = include_str!("openapi.json");
    match serde_json::from_str::<Value>(text) {
        Ok(mut description) => {
            description["info"]["version"] = env!("CARGO_PKG_VERSION").into();
            description.to_string()
        }
        // A test reads it.
        Err(_) => text.to_owned(),
    }
});

/// The description of all paths.
pub(super) fn description() -> &'static str {
    &DESCRIPTION
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn paths_are_found_by_their_segments() {
        let this = |method: Method, path: &str| match find(&method, path) {
            Found::This(found, name) => (found.what, name),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(this(Method::GET, "/livez"), (What::Live, None));
        assert_eq!(this(Method::GET, "/"), (What::Page, None));
        let file = Some("app.js".to_owned());
        assert_eq!(this(Method::GET, "/page/app.js"), (What::Page, file));
        let swap = What::Order(Order {
            kind: Kind::Plugin,
            deed: Deed::Swap,
        });
        let name = Some("a-b".to_owned());
        assert_eq!(this(Method::POST, "/plugins/a-b/swap"), (swap, name));
        let drain = What::Order(Order {
            kind: Kind::Worker,
            deed: Deed::Drain,
        });
        let name = Some("fleet@10.0.0.7".to_owned());
        assert_eq!(
            this(Method::POST, "/workers/fleet%4010.0.0.7/drain"),
            (drain, name)
        );
        for (method, path, methods) in [
            (Method::GET, "/plugins/a/swap", "POST"),
            (Method::POST, "/status", "GET"),
            (Method::DELETE, "/plugins", "GET"),
        ] {
            assert!(matches!(find(&method, path), Found::Otherwise(own) if own == methods));
        }
        for path in [
            "",
            "/nothing",
            "/plugins/",
            "/plugins//swap",
            "/plugins/a/swap/",
            "/plugins/a/delete",
            "/plugins/%ff/swap",
            "/workers/a/swap",
            "/page/",
            "/page/a/b",
        ] {
            assert!(
                matches!(find(&Method::POST, path), Found::Nowhere),
                "{path}"
            );
        }
    }

    #[test]
    fn what_is_served_is_described_and_what_is_described_is_served() {
        let description: Value = serde_json::from_str(description()).expect("JSON");
        assert_eq!(description["openapi"], "3.1.0");
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
        let mut described = BTreeSet::new();
        for (path, methods) in description["paths"].as_object().expect("paths") {
            for (method, what) in methods.as_object().expect("methods") {
                assert!(what["operationId"].is_string(), "{path}");
                assert!(what["summary"].is_string(), "{path}");
                let changes = method == "post";
                let page = what["tags"][0] == "page";
                assert_eq!(
                    what["responses"]["403"].is_object(),
                    changes || page || what["security"].is_array(),
                    "{path}"
                );
                described.insert((method.to_uppercase(), path.clone()));
            }
        }
        let served: BTreeSet<_> = PATHS
            .iter()
            .map(|path| (path.method.to_string(), path.template.to_owned()))
            .collect();
        assert_eq!(served.len(), PATHS.len(), "each once");
        assert_eq!(served, described);
    }
}
