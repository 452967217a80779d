//! Ways of telling who asks: what they name has to be there, and a route's have to go together.

use crate::authentication::Authentication;
use crate::check::Check;
use crate::problem::suggest;
use crate::routes::{Auth, Route, TOKENS};
use crate::words::KeyPlace;
use crate::yaml::{Step, steps};

impl Check<'_, '_> {
    pub(super) fn authentication(&mut self) {
        let config = self.config;
        for (name, way) in &config.authentication {
            if name.as_str() == TOKENS {
                let what = "this is the name of the file of tokens; choose another";
                self.refuse(steps!["authentication", TOKENS], what, None);
            }
            for (tenant, below) in way.tenants() {
                let mut path: Vec<Step<'_>> = vec!["authentication".into(), name.as_str().into()];
                path.extend(below);
                self.exists("tenant", tenant, config.tenants.keys(), &path);
            }
            match way {
                Authentication::Jwt(jwt) => {
                    let of = |key| {
                        let name = name.as_str();
                        [
                            "authentication".into(),
                            name.into(),
                            "jwt".into(),
                            Step::from(key),
                        ]
                    };
                    if jwt.audiences.is_empty() {
                        let what = "a token that may be for anybody is one for somebody else; name \
                                    at least one audience";
                        self.refuse(&of("audiences"), what, None);
                    }
                    if jwt.algorithms.is_empty() {
                        let what = "without an algorithm no token is good";
                        self.refuse(&of("algorithms"), what, None);
                    }
                    let keys = &jwt.keys;
                    if keys.refresh_least.get() > keys.refresh.get() {
                        let (least, most) = (keys.refresh_least, keys.refresh);
                        let what =
                            format!("`refresh` ({most}) is less than `refresh-least` ({least})");
                        self.refuse(&of("keys"), what, None);
                    }
                    if keys.stale.get() < keys.refresh.get() {
                        let (stale, most) = (keys.stale, keys.refresh);
                        let what = format!(
                            "`stale` ({stale}) is less than `refresh` ({most}): good keys would be \
                             given up before they are read again"
                        );
                        self.refuse(&of("keys"), what, None);
                    }
                    if let (KeyPlace::File(_), Some(_)) = (&keys.from, &keys.ca) {
                        self.refuse(&of("keys"), "`ca` has no meaning for a file", None);
                    }
                    if jwt.tenant.is_none() && jwt.claims.tenant.is_none() {
                        let what = "these tokens would belong to no tenant";
                        let hint = "name one in `tenant`, or a claim in `claims.tenant`";
                        self.refuse(&of("issuer"), what, Some(hint.to_owned()));
                    }
                }
                Authentication::Certificates(rules) => {
                    let asked = config.listeners.iter().filter_map(|it| it.tls.as_ref());
                    let path = steps!["authentication", name.as_str(), "certificates"];
                    if rules.is_empty() {
                        self.refuse(path, "without a rule no certificate is anybody's", None);
                    }
                    if !asked.into_iter().any(|tls| tls.clients.is_some()) {
                        let what = "no listener asks clients for a certificate";
                        let hint = "add `clients` to the `tls` of one";
                        self.refuse(path, what, Some(hint.to_owned()));
                    }
                }
                Authentication::Kubernetes(cluster) => {
                    let path = steps!["authentication", name.as_str(), "kubernetes"];
                    if cluster.tenant.is_none() && cluster.users.is_empty() {
                        let what = "its users would belong to no tenant";
                        let hint = "name one in `tenant`, or rules in `users`";
                        self.refuse(path, what, Some(hint.to_owned()));
                    }
                    for (at, rule) in cluster.users.iter().enumerate() {
                        if rule.user.is_none() && rule.group.is_none() {
                            let what = "a rule looks at `user`, at `group`, or at both";
                            let name = name.as_str();
                            let path = steps!["authentication", name, "kubernetes", "users", at];
                            self.refuse(path, what, None);
                        }
                    }
                }
            }
        }
    }

    /// The ways of a route.
    pub(super) fn ways(&mut self, index: usize, route: &Route) {
        let config = self.config;
        if route.auth == Auth::Required && config.tokens.is_none() {
            let what = format!(
                "route `{}` needs tokens, and there is no `tokens` section",
                route.name
            );
            let hint = "add `tokens: { file: … }`, or write `auth: open` to serve anybody";
            self.refuse(steps!["routes", index, "auth"], what, Some(hint.to_owned()));
        }
        let mut asks = false;
        if let Auth::By(ways) = &route.auth {
            self.unique("way", ways.iter(), |at| {
                vec!["routes".into(), index.into(), "auth".into(), at.into()]
            });
            for (at, way) in ways.iter().enumerate() {
                let path = steps!["routes", index, "auth", at];
                match (way.as_str(), config.authentication.get(way)) {
                    (TOKENS, _) if config.tokens.is_none() => {
                        self.refuse(path, "there is no `tokens` section", None);
                    }
                    (TOKENS, _) => {}
                    (_, Some(Authentication::Kubernetes(_))) => asks = true,
                    (_, Some(_)) => {}
                    (name, None) => {
                        let known = config.authentication.keys().map(|it| it.as_str());
                        let hint = suggest(name, "ways", known.chain([TOKENS]));
                        self.refuse(path, format!("there is no way `{name}`"), hint);
                    }
                }
            }
        }
        if route.access.is_some() && !asks {
            let what = "no way of this route asks a cluster, which alone knows of rights";
            self.refuse(steps!["routes", index, "access"], what, None);
        }
    }
}
