//! Fields by which a proxy tells whoever stands behind it who asks: from a client they are lies.
//!
//! Workers that believe such a field believe whoever stands before them, and that is this proxy.
//! Servers behind gateways of the CGI family read `_` and `-` as one character, and bridges from HTTP
//! to gRPC take a prefix off: so do the comparisons here.

use http::header::{HeaderMap, HeaderName};

/// What is taken off before a name is compared: a bridge to gRPC does the same.
const BRIDGED: &str = "grpc-metadata-";

/// Names, or with a `*` what names begin with, of those that begin with `x-`, which is left out here.
/// Where they were read:
/// - oauth2-proxy, "Configuring for use with the Nginx auth_request directive" and `pass-user-headers`:
///   `x-forwarded-user` and its kin, `x-auth-request-*`;
/// - the Kubernetes documentation, "Authenticating Proxy" and "User impersonation": `x-remote-*`,
///   `impersonate-*`; kube-rbac-proxy's `auth-header-fields` has the first too;
/// - Envoy, "HTTP header manipulation": `x-forwarded-client-cert`, and its JWT filter's payload;
/// - RFC 9440: `client-cert` and `client-cert-chain`;
/// - Kubeflow, "Profiles and Namespaces": `kubeflow-userid`, `kubeflow-groups`;
/// - Grafana Mimir and Loki, "Authentication and authorization": `x-scope-orgid`;
/// - servers that keep tenants apart, under no common name: `tenant`, `x-tenant*`, `x-org-id`,
///   `x-end-user`;
/// - the documentation of Istio, Traefik, nginx' ingress, HAProxy and of the clouds' load balancers
///   for the rest.
const EXTENDED: [&str; 34] = [
    "access-token",
    "amzn-mtls-*",
    "amzn-oidc-*",
    "apigateway-api-userinfo",
    "auth-*",
    "authenticated-*",
    "authentik-*",
    "client-cert*",
    "client-dn",
    "client-verify",
    "consumer-*",
    "credential-identifier",
    "email",
    "end-user",
    "endpoint-api-userinfo",
    "envoy-peer-metadata*",
    "forwarded-access-token",
    "forwarded-client-cert*",
    "forwarded-email",
    "forwarded-groups",
    "forwarded-preferred-username",
    "forwarded-tls-client-cert*",
    "forwarded-user*",
    "goog-*",
    "jwt-*",
    "ms-client-principal*",
    "org-id",
    "remote-*",
    "scope-orgid",
    "ssl-*",
    "tenant*",
    "tollgate-*",
    "user*",
    "webauth-*",
];
/// The others.
const PLAIN: [&str; 13] = [
    "cf-access-*",
    "client-cert",
    "client-cert-chain",
    "forwarded-user",
    "impersonate-*",
    "kubeflow-*",
    "remote-email",
    "remote-groups",
    "remote-name",
    "remote-user",
    "ssl-client-*",
    "tailscale-user-*",
    "tenant",
];

/// Takes out every field by which a client could claim to be somebody.
pub fn strip_claims(headers: &mut HeaderMap) {
    // Few requests have one: nothing is collected for the others.
    while let Some(name) = headers.keys().find(|name| is_claim(name)) {
        let name: HeaderName = name.clone();
        headers.remove(&name);
    }
}

/// Whether a field of this name says who asks.
#[must_use]
pub fn is_claim(name: &HeaderName) -> bool {
    let mut name = name.as_str().as_bytes();
    while let Some(rest) = without(name, BRIDGED.as_bytes()) {
        name = rest;
    }
    match name {
        [b'x', b'-' | b'_', rest @ ..] => among(&EXTENDED, rest),
        _ => among(&PLAIN, name),
    }
}

fn among(claims: &[&str], name: &[u8]) -> bool {
    claims.iter().any(|claim| match claim.strip_suffix('*') {
        Some(beginning) => without(name, beginning.as_bytes()).is_some(),
        None => without(name, claim.as_bytes()) == Some(b""),
    })
}

/// What follows a beginning, with `_` read as `-`.
fn without<'n>(name: &'n [u8], beginning: &[u8]) -> Option<&'n [u8]> {
    let (head, rest) = name.split_at_checked(beginning.len())?;
    let same = |(given, wanted): (&u8, &u8)| given == wanted || (*given == b'_' && *wanted == b'-');
    head.iter().zip(beginning).all(same).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn claim(name: &str) -> bool {
        is_claim(&HeaderName::from_bytes(name.as_bytes()).unwrap())
    }

    #[test]
    fn names_that_say_who_asks_are_known_however_they_are_spelt() {
        for name in [
            "X-Forwarded-User",
            "x_forwarded_user",
            "x-forwarded_user",
            "X-Remote-User",
            "x-remote-extra-scopes",
            "x-remote-group",
            "Impersonate-User",
            "impersonate-extra-a",
            "x-tollgate-tenant",
            "X_Tollgate_Anything",
            "grpc-metadata-x-forwarded-user",
            "grpc-metadata-grpc-metadata-x_remote_user",
            "x-forwarded-client-cert",
            "client-cert",
            "x-auth-request-email",
            "remote_user",
            "x-user-id",
            "Kubeflow-UserID",
            "kubeflow_groups",
            "x-tenant",
            "X-Tenant-ID",
            "x_tenantid",
            "tenant",
            "x-org-id",
            "x-end-user",
            "X-Scope-OrgID",
            "x-envoy-peer-metadata",
            "x-envoy-peer-metadata-id",
        ] {
            assert!(claim(name), "{name}");
        }
    }

    #[test]
    fn other_names_stay() {
        for name in [
            "authorization",
            "content-type",
            "x-request-id",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-stainless-lang",
            "client-certificate-wanted",
            "user-agent",
            "remote",
            "x",
            "grpc-metadata-",
            "grpc-timeout",
            "traceparent",
            "te",
            "tenants",
            "keep-alive",
            "x-organization",
            "x-envoy-attempt-count",
        ] {
            assert!(!claim(name), "{name}");
        }
    }

    #[test]
    fn every_line_of_them_goes_and_nothing_else() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-forwarded-user", "root"),
            ("accept", "a"),
            ("x-forwarded-user", "admin"),
            ("accept", "b"),
            ("x_remote_user", "root"),
            ("impersonate-user", "root"),
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_static(value));
        }
        strip_claims(&mut headers);
        assert_eq!(headers.len(), 2);
        assert_eq!(headers.get_all("accept").iter().count(), 2);
    }

    #[test]
    fn the_table_is_in_the_spelling_that_it_is_compared_in() {
        for claim in EXTENDED.iter().chain(&PLAIN) {
            let name = claim.trim_end_matches('*');
            let parsed = HeaderName::from_bytes(name.as_bytes()).unwrap();
            assert!(parsed.as_str() == name && !name.contains('_'), "{claim}");
        }
    }
}
