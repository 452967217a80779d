//! Who may ask what at the admin listener.
//!
//! 1. **Probes** (`/livez`, `/readyz`, `/metrics`, `/scale`) are for whoever reaches the port. So are the
//!    files of the page, which tell nothing, but where `from-elsewhere` says `probes`.
//! 2. **Names.** A page of another site can give its own name the address of this machine and then
//!    ask as if it came from here (DNS rebinding): so a request names this proxy by an address, by
//!    `localhost`, or by a name that is configured.
//! 3. **To look** is for whoever asks from this machine; from elsewhere it takes a token, or is
//!    refused, as `from-elsewhere` says.
//! 4. **To change** takes a token where there are any, and else comes from this machine. What a
//!    browser sends has to come from the page that this proxy serves: by `Sec-Fetch-Site` and `Origin`
//!    (Fetch Metadata; RFC 6454, section 7), and with a header that no page of another site can set
//!    without being allowed to, which is nowhere allowed.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use tollgate_config::{Admin, FromElsewhere};
use tollgate_edge::{AuthFailure, Peer, Tokens, challenge};

use super::answers;
use crate::run::Running;

/// Set by the page that this proxy serves.
const PAGE: &str = "x-tollgate-operator";

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// To know whether the proxy lives, and its figures.
    Probe,
    /// To have the page, which tells nothing by itself.
    Page,
    /// To look.
    Look,
    /// To change something.
    Change,
}

/// The rules of one listener.
#[derive(Debug)]
pub(super) struct Door {
    from_elsewhere: FromElsewhere,
    /// Nobody from elsewhere can reach it.
    loopback: bool,
    hosts: Vec<String>,
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the name by which this was asked is none of this proxy's")]
    Name,
    #[error("from another machine only /livez, /readyz, /metrics and /scale can be asked")]
    Elsewhere,
    #[error("without `admin.tokens` changes are taken from this machine only")]
    NoTokens,
    #[error("a browser's page may change nothing here, but for the one that this proxy serves")]
    Browser,
    #[error(transparent)]
    Token(#[from] AuthFailure),
}

// === impl Door ===

impl Door {
    pub(super) fn new(section: &Admin) -> Self {
        Self {
            from_elsewhere: section.from_elsewhere,
            loopback: section.address.ip().is_loopback(),
            hosts: section.hosts.iter().map(ToString::to_string).collect(),
        }
    }

    /// Whether who asks may.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub(super) fn admit<B>(
        &self,
        running: &Running,
        peer: &Peer,
        needs: Needs,
        request: &Request<B>,
    ) -> Result<(), Refusal> {
        let headers = request.headers();
        let authority = authority(request);
        let here = peer.address.ip().to_canonical().is_loopback();
        let tokens = running.assembled.operators.as_deref();
        self.pass(needs, here, peer.tls, authority, headers, tokens)
            .map(|name| {
                if let (Needs::Change, Some(operator)) = (needs, name) {
                    let path = request.uri().path();
                    tracing::info!(operator, path, "an operator asks");
                }
            })
    }

    /// The same of what a request says. Gives the name of whose token it has, where that was looked
    /// at.
    fn pass(
        &self,
        needs: Needs,
        here: bool,
        tls: bool,
        authority: Option<&str>,
        headers: &HeaderMap,
        tokens: Option<&Tokens>,
    ) -> Result<Option<String>, Refusal> {
        // What anybody on the network may read needs no protection from pages.
        let open = needs == Needs::Probe && !self.loopback;
        if !open && !self.knows(authority) {
            return Err(Refusal::Name);
        }
        if needs == Needs::Probe {
            return Ok(None);
        }
        if !here && self.from_elsewhere == FromElsewhere::Probes {
            return Err(Refusal::Elsewhere);
        }
        if needs == Needs::Page {
            return Ok(None);
        }
        if needs == Needs::Change && !is_own(headers, authority, tls) {
            return Err(Refusal::Browser);
        }
        match tokens {
            // Who looks from this machine needs none.
            _ if needs == Needs::Look && here => Ok(None),
            Some(tokens) => Ok(Some(tokens.authenticate(headers)?.name().to_owned())),
            None if here => Ok(None),
            None => Err(Refusal::NoTokens),
        }
    }

    /// Whether this name means this proxy. A client without any is no browser.
    fn knows(&self, authority: Option<&str>) -> bool {
        let Some(authority) = authority else {
            return true;
        };
        let Some(host) = host(authority) else {
            return false;
        };
        let is_address = host.parse::<IpAddr>().is_ok();
        is_address
            || host.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
    }
}

/// The host and port that a request names. Of several `Host` fields the first one counts: a browser
/// sends one.
fn authority<B>(request: &Request<B>) -> Option<&str> {
    let of_uri = request.uri().authority().map(http::uri::Authority::as_str);
    of_uri.or_else(|| {
        let value = request.headers().get(header::HOST)?;
        // What is no text is no name that anybody has.
        Some(value.to_str().unwrap_or("?"))
    })
}

/// The host of `host:port`, an IPv6 address without brackets. None: it is not of that form (RFC 9110,
/// section 7.2), and somebody else may read another host in it.
fn host(authority: &str) -> Option<&str> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port)).then_some(host)
}

/// Whether a request comes from no browser, or from the page that this proxy serves.
fn is_own(headers: &HeaderMap, authority: Option<&str>, tls: bool) -> bool {
    let (origin, site) = (headers.get(header::ORIGIN), headers.get("sec-fetch-site"));
    if origin.is_none() && site.is_none() {
        return true;
    }
    let scheme = if tls { "https" } else { "http" };
    let own = authority.map(|authority| format!("{scheme}://{authority}"));
    let of_page = |origin: &HeaderValue| {
        let own = own.as_deref().map(str::as_bytes);
        own.is_some_and(|own| own.eq_ignore_ascii_case(origin.as_bytes()))
    };
    headers.contains_key(PAGE)
        && site.is_none_or(|site| site == "same-origin")
        && origin.is_none_or(of_page)
}

// === impl Refusal ===

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::Name => StatusCode::MISDIRECTED_REQUEST,
            Self::Elsewhere | Self::NoTokens | Self::Browser => StatusCode::FORBIDDEN,
            Self::Token(_) => StatusCode::UNAUTHORIZED,
        }
    }

    /// What to do about it.
    fn what(self) -> &'static str {
        match self {
            Self::Name => {
                "ask by its address or by `localhost`, or give it the name in `admin.hosts`"
            }
            Self::Elsewhere => {
                "ask from the machine itself, through ssh or `kubectl port-forward`; or say \
                 `from-elsewhere: all` in `admin`, with `tokens` and `tls`"
            }
            Self::NoTokens => "ask from the machine itself, or name a file of tokens",
            Self::Browser => "use the page at /, or a client that is no browser",
            Self::Token(_) => "send the token of an operator, of those in `admin.tokens`",
        }
    }

    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let mut response = answers::refused(self.status(), &self.to_string(), self.what());
        if let Self::Token(failure) = self {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge(failure));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};
    use tollgate_edge::TokenEntry;
    use tollgate_identity::{Grant, Tenant};

    use super::*;

    fn door(address: &str, elsewhere: FromElsewhere) -> Door {
        let address: std::net::SocketAddr = address.parse().unwrap();
        Door {
            from_elsewhere: elsewhere,
            loopback: address.ip().is_loopback(),
            hosts: vec!["ops.example.com".to_owned()],
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).unwrap())
        });
        pairs.collect()
    }

    fn tokens() -> Tokens {
        Tokens::new([TokenEntry {
            sha256: Sha256::digest("let-me").into(),
            tenant: Tenant::plain("ops"),
            grant: Grant {
                name: "ops".to_owned(),
                ..Grant::default()
            },
            expires: None,
        }])
    }

    const HERE: Option<&str> = Some("127.0.0.1:9901");

    #[test]
    fn only_names_of_its_own_are_answered() {
        let door = door("127.0.0.1:9901", FromElsewhere::All);
        for own in [
            "127.0.0.1:9901",
            "10.1.2.3",
            "[::1]:9901",
            "[::1]",
            "localhost:9901",
            "LOCALHOST",
            "ops.example.com",
            "OPS.example.com:9901",
        ] {
            assert!(door.knows(Some(own)), "{own}");
        }
        assert!(door.knows(None));
        for other in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:9901",
            "",
            "?",
            "[::1",
            "[evil]:1",
            "127.0.0.1:9901, evil.example",
            "127.0.0.1, evil.example",
            "127.0.0.1:evil.example",
            "[::1]evil.example",
            "evil.example@127.0.0.1",
        ] {
            assert!(!door.knows(Some(other)), "{other}");
        }
    }

    #[test]
    fn from_this_machine_all_is_open_and_from_elsewhere_what_was_said() {
        use FromElsewhere::{All, Probes};
        use Needs::{Change, Look, Page, Probe};
        let tokens = tokens();
        let none = HeaderMap::new();
        let good = headers(&[("authorization", "Bearer let-me")]);
        let wide = "0.0.0.0:9901";
        let token = |failure| Err(Refusal::Token(failure));
        let named = || Ok(Some("ops".to_owned()));
        for (elsewhere, here, with, headers, needs, wanted) in [
            (Probes, false, false, &none, Probe, Ok(None)),
            (Probes, false, false, &none, Page, Err(Refusal::Elsewhere)),
            (Probes, true, false, &none, Page, Ok(None)),
            (All, false, true, &none, Page, Ok(None)),
            (Probes, false, false, &none, Look, Err(Refusal::Elsewhere)),
            (Probes, false, true, &good, Look, Err(Refusal::Elsewhere)),
            (Probes, false, true, &good, Change, Err(Refusal::Elsewhere)),
            (Probes, true, false, &none, Look, Ok(None)),
            (Probes, true, false, &none, Change, Ok(None)),
            (
                Probes,
                true,
                true,
                &none,
                Change,
                token(AuthFailure::Missing),
            ),
            (Probes, true, true, &good, Change, named()),
            (All, false, true, &none, Probe, Ok(None)),
            (All, false, true, &none, Look, token(AuthFailure::Missing)),
            (All, false, true, &good, Look, named()),
            (All, false, true, &good, Change, named()),
            (All, true, true, &none, Look, Ok(None)),
            (All, false, false, &none, Change, Err(Refusal::NoTokens)),
        ] {
            let door = door(wide, elsewhere);
            let tokens = with.then_some(&tokens);
            let got = door.pass(needs, here, true, HERE, headers, tokens);
            assert_eq!(got, wanted, "{elsewhere:?} {here} {with} {needs:?}");
        }
    }

    #[test]
    fn a_rebound_name_reads_nothing() {
        use Needs::{Change, Look, Page, Probe};
        let evil = Some("evil.example:9901");
        let none = HeaderMap::new();
        let local = door("127.0.0.1:9901", FromElsewhere::All);
        for needs in [Probe, Page, Look, Change] {
            let got = local.pass(needs, true, false, evil, &none, None);
            assert_eq!(got, Err(Refusal::Name), "{needs:?}");
        }
        // Where anybody on the network can ask for figures by the pod's address anyway, a scraper may
        // by the name of its service.
        let wide = door("0.0.0.0:9901", FromElsewhere::Probes);
        assert_eq!(wide.pass(Probe, false, false, evil, &none, None), Ok(None));
        let got = wide.pass(Look, true, false, evil, &none, None);
        assert_eq!(got, Err(Refusal::Name));
    }

    #[test]
    fn of_browsers_only_its_own_page_changes_anything() {
        let door = door("127.0.0.1:9901", FromElsewhere::All);
        let own = "http://127.0.0.1:9901";
        let page = (PAGE, "dashboard");
        for (pairs, may) in [
            (vec![], true),
            (vec![page], true),
            (vec![("origin", own), page], true),
            (
                vec![("origin", own), ("sec-fetch-site", "same-origin"), page],
                true,
            ),
            (
                vec![("origin", own), ("sec-fetch-site", "same-origin")],
                false,
            ),
            (vec![("origin", own)], false),
            (vec![("origin", "http://evil"), page], false),
            (vec![("origin", "null"), page], false),
            (vec![("origin", "https://127.0.0.1:9901"), page], false),
            (vec![("origin", "http://127.0.0.1:8080"), page], false),
            (
                vec![("origin", own), ("sec-fetch-site", "cross-site"), page],
                false,
            ),
            (vec![("sec-fetch-site", "same-site"), page], false),
            (vec![("sec-fetch-site", "none"), page], false),
        ] {
            let got = door.pass(Needs::Change, true, false, HERE, &headers(&pairs), None);
            assert_eq!(got.is_ok(), may, "{pairs:?}");
            // Reading is not what is guarded so: nobody else's page is given the answer.
            let got = door.pass(Needs::Look, true, false, HERE, &headers(&pairs), None);
            assert!(got.is_ok(), "{pairs:?}");
        }
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        for refusal in [
            Refusal::Name,
            Refusal::Elsewhere,
            Refusal::NoTokens,
            Refusal::Browser,
            Refusal::Token(AuthFailure::Expired),
        ] {
            assert!(!refusal.what().is_empty() && !refusal.to_string().is_empty());
            let response = refusal.response();
            assert!(response.status().is_client_error());
            let challenged = response.headers().contains_key(header::WWW_AUTHENTICATE);
            assert_eq!(challenged, response.status() == StatusCode::UNAUTHORIZED);
        }
    }
}
