//! Fields that are taken out.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Fields that are meant for the next hop, whether `Connection` names them or not.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields that `Connection` may not take out: without them a message is another one,
/// and a client could have a gate's decision undone behind the gate.
const END_TO_END: [HeaderName; 5] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::AUTHORIZATION,
];

/// Takes out what is meant for one hop: the well-known fields and those that
/// `Connection` names. `TE: trailers` stays when it was there, as gRPC needs it: this
/// proxy forwards trailers. For requests and responses alike.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !END_TO_END.contains(name))
        .collect();
    let trailers = headers
        .get_all(header::TE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"));
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// A name that cannot stand in a strip list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no lower-case header name, with or without a trailing `*`")]
pub struct StripListError {
    /// As it was given.
    pub name: String,
}

/// Fields to take out, by name, or by how their name begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StripList {
    names: Vec<HeaderName>,
    beginnings: Vec<String>,
}

// === impl StripList ===

impl StripList {
    /// A list of lower-case names; a trailing `*` matches the rest of a name.
    ///
    /// # Errors
    /// Something is no name. `*` alone would take out everything, and is refused too.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Result<Self, StripListError> {
        let mut list = Self::default();
        for given in names {
            let given = given.as_ref();
            let (name, begins) = match given.strip_suffix('*') {
                Some(beginning) => (beginning, true),
                None => (given, false),
            };
            let refused = || StripListError {
                name: given.to_owned(),
            };
            let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
            if parsed.as_str() != name || name.contains('*') {
                return Err(refused());
            }
            if begins {
                list.beginnings.push(name.to_owned());
            } else {
                list.names.push(parsed);
            }
        }
        Ok(list)
    }

    /// Adds another list's names.
    pub fn merge(&mut self, other: &StripList) {
        self.names.extend(other.names.iter().cloned());
        self.beginnings.extend(other.beginnings.iter().cloned());
    }

    /// Whether it takes out a field of this name.
    #[must_use]
    pub fn matches(&self, name: &HeaderName) -> bool {
        let begins = |beginning: &String| name.as_str().starts_with(beginning.as_str());
        self.names.contains(name) || self.beginnings.iter().any(begins)
    }

    /// Takes the fields out.
    pub fn strip(&self, headers: &mut HeaderMap) {
        for name in &self.names {
            headers.remove(name);
        }
        if self.beginnings.is_empty() {
            return;
        }
        let gone: Vec<HeaderName> = headers
            .keys()
            .filter(|name| self.matches(name))
            .cloned()
            .collect();
        for name in gone {
            headers.remove(name);
        }
    }
}
