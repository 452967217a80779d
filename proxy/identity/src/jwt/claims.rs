//! What a token claims: whether it is meant for us and for now, and whose it is.
//!
//! A claim that is there and is not of its type refuses the token: an `nbf` that is a text is not an
//! `nbf` that may be passed over.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::failure::AuthFailure;
use crate::identity::{Grant, Identity};
use crate::tenant::{Tenant, Tenants};

/// Where in a token's claims is what, as JSON pointers (RFC 6901): `/tenant`, `/resource/models`.
#[derive(Clone, Debug, Default)]
pub struct ClaimPaths {
    /// Name of the holder, for the log. None, and where nothing is there: the tenant's.
    pub name: Option<String>,
    /// Name of the tenant.
    pub tenant: Option<String>,
    /// Models, as a list or as words. Where nothing is there: none. None: all that the tenant may.
    pub models: Option<String>,
    /// Tasks, likewise.
    pub tasks: Option<String>,
    /// A whole number from -1000 to 1000. Where nothing is there: 0.
    pub priority: Option<String>,
}

/// What tokens have to claim.
pub(super) struct Rules {
    pub(super) issuer: String,
    pub(super) audiences: Vec<String>,
    pub(super) leeway: u64,
    pub(super) paths: ClaimPaths,
    pub(super) tenant: Option<Arc<Tenant>>,
    pub(super) tenants: Arc<Tenants>,
}

/// Who a token says that asks.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) identity: Identity,
    /// Unix time, in seconds, from which it has expired.
    pub(super) until: u64,
}

/// The longest name of a holder that is kept, in bytes.
const LONGEST_NAME: usize = 256;
/// Names of models or tasks of one token.
const MOST_NAMES: usize = 256;
const PRIORITIES: std::ops::RangeInclusive<i64> = -1000..=1000;
/// 253402300799 is the last second of the year 9999; later is damaged, or never.
const LATEST: f64 = 253_402_300_799.0;

impl Rules {
    /// Whether a token says to be of the issuer.
    pub(super) fn issued(&self, claims: &Map<String, Value>) -> bool {
        claims.get("iss").and_then(Value::as_str) == Some(self.issuer.as_str())
    }

    /// What a token whose signature is good says.
    pub(super) fn judge(
        &self,
        claims: &Map<String, Value>,
        now: u64,
    ) -> Result<Judged, AuthFailure> {
        if !self.issued(claims) {
            return Err(AuthFailure::Unknown);
        }
        self.audience(claims.get("aud"))?;
        let until = self.times(claims, now)?;
        Ok(Judged {
            identity: self.holder(claims)?,
            until,
        })
    }

    /// RFC 7519, section 4.1.3: a text, or several.
    fn audience(&self, aud: Option<&Value>) -> Result<(), AuthFailure> {
        let ours = |value: &Value| {
            let value = value.as_str();
            value.is_some_and(|it| self.audiences.iter().any(|audience| audience == it))
        };
        let meant = match aud {
            Some(Value::Array(several)) => several.iter().any(ours),
            Some(one) => ours(one),
            None => false,
        };
        meant.then_some(()).ok_or(AuthFailure::Audience)
    }

    /// RFC 7519, sections 4.1.4 to 4.1.6. A token without an end is not taken.
    fn times(&self, claims: &Map<String, Value>, now: u64) -> Result<u64, AuthFailure> {
        let told = |name| match claims.get(name) {
            None => Ok(None),
            Some(value) => date(value).map(Some).ok_or(AuthFailure::Unknown),
        };
        let until = told("exp")?.ok_or(AuthFailure::Unknown)?;
        let until = until.saturating_add(self.leeway);
        if until <= now {
            return Err(AuthFailure::Expired);
        }
        let soon = now.saturating_add(self.leeway);
        for begins in [told("nbf")?, told("iat")?].into_iter().flatten() {
            if begins > soon {
                return Err(AuthFailure::Early);
            }
        }
        Ok(until)
    }

    fn holder(&self, claims: &Map<String, Value>) -> Result<Identity, AuthFailure> {
        let at = |path: &Option<String>| path.as_deref().and_then(|path| pointed(claims, path));
        let text = |value: Option<&Value>| match value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(AuthFailure::Unknown),
        };
        let tenant = match text(at(&self.paths.tenant))? {
            // A name that the configuration does not know would be a tenant of the token's making.
            Some(name) => self.tenants.declared(&name),
            None => self.tenant.clone(),
        };
        let tenant = tenant.ok_or(AuthFailure::Stranger)?;
        let name = text(at(&self.paths.name))?.filter(|name| name.len() <= LONGEST_NAME);
        let names = |path: &Option<String>| match path {
            None => Ok(None),
            Some(_) => names(at(path)).map(Some),
        };
        let priority = match at(&self.paths.priority) {
            None | Some(Value::Null) => 0,
            Some(value) => value
                .as_i64()
                .filter(|it| PRIORITIES.contains(it))
                .and_then(|it| i32::try_from(it).ok())
                .ok_or(AuthFailure::Unknown)?,
        };
        let grant = Grant {
            name: name.unwrap_or_else(|| tenant.name().to_string()),
            models: names(&self.paths.models)?,
            tasks: names(&self.paths.tasks)?,
            priority,
        };
        Ok(Identity::new(tenant, grant))
    }
}

/// Seconds since 1970, with or without fractions (RFC 7519, section 2, "NumericDate").
pub(super) fn date(value: &Value) -> Option<u64> {
    if let Some(whole) = value.as_u64() {
        return Some(whole);
    }
    let seconds = value.as_f64().filter(|it| (0.0..=LATEST).contains(it))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is within those bounds, and the fraction is to go"
    )]
    Some(seconds as u64)
}

/// A list of texts, or words in one.
fn names(value: Option<&Value>) -> Result<Vec<String>, AuthFailure> {
    let names: Vec<String> = match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(words)) => words.split_ascii_whitespace().map(Into::into).collect(),
        Some(Value::Array(several)) => several
            .iter()
            .map(|name| name.as_str().map(Into::into).ok_or(AuthFailure::Unknown))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(AuthFailure::Unknown),
    };
    let bounded = names.len() <= MOST_NAMES;
    bounded.then_some(names).ok_or(AuthFailure::Unknown)
}

/// What a pointer leads to within the claims.
fn pointed<'c>(claims: &'c Map<String, Value>, path: &str) -> Option<&'c Value> {
    let path = path.strip_prefix('/')?;
    let (first, rest) = match path.split_once('/') {
        Some((first, _)) => (first, &path[first.len()..]),
        None => (path, ""),
    };
    let first = first.replace("~1", "/").replace("~0", "~");
    claims.get(&first)?.pointer(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::TenantSpec;
    use serde_json::json;

    const NOW: u64 = 1_000_000;

    fn rules() -> Rules {
        let some = |path: &str| Some(path.to_owned());
        let team = TenantSpec {
            name: "team".to_owned(),
            ..TenantSpec::default()
        };
        Rules {
            issuer: "https://issuer".to_owned(),
            audiences: vec!["a".to_owned(), "b".to_owned()],
            leeway: 30,
            paths: ClaimPaths {
                name: some("/sub"),
                tenant: some("/tenant"),
                models: some("/use/models"),
                tasks: some("/https:~1~1example.com~1tasks"),
                priority: some("/priority"),
            },
            tenant: Some(Tenant::plain("others")),
            tenants: Arc::new(Tenants::new([team])),
        }
    }

    /// Good claims, and these.
    fn judged(more: Value) -> Result<Judged, AuthFailure> {
        let mut claims = json!({"iss": "https://issuer", "aud": "a", "exp": NOW + 100});
        let claims = claims.as_object_mut().unwrap();
        for (name, value) in more.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.remove(name)),
                value => drop(claims.insert(name.clone(), value.clone())),
            }
        }
        rules().judge(claims, NOW)
    }

    #[test]
    fn what_has_a_wrong_claim_is_refused_for_it() {
        for (more, why) in [
            (json!({"iss": "https://issuer/"}), AuthFailure::Unknown),
            (json!({"iss": null}), AuthFailure::Unknown),
            (json!({"iss": ["https://issuer"]}), AuthFailure::Unknown),
            (json!({"aud": null}), AuthFailure::Audience),
            (json!({"aud": "c"}), AuthFailure::Audience),
            (json!({"aud": ["c", "A"]}), AuthFailure::Audience),
            (json!({"aud": {"a": "a"}}), AuthFailure::Audience),
            (json!({"exp": null}), AuthFailure::Unknown),
            (json!({"exp": "1000100"}), AuthFailure::Unknown),
            (json!({"exp": -1}), AuthFailure::Unknown),
            (json!({"exp": 1e300}), AuthFailure::Unknown),
            (json!({"exp": NOW - 30}), AuthFailure::Expired),
            (json!({"exp": 0}), AuthFailure::Expired),
            (json!({"nbf": NOW + 31}), AuthFailure::Early),
            (json!({"nbf": "0"}), AuthFailure::Unknown),
            (json!({"iat": NOW + 31}), AuthFailure::Early),
            (json!({"iat": true}), AuthFailure::Unknown),
            (json!({"tenant": "unheard-of"}), AuthFailure::Stranger),
            (json!({"tenant": 1}), AuthFailure::Unknown),
            (json!({"priority": 1001}), AuthFailure::Unknown),
            (json!({"priority": 1.5}), AuthFailure::Unknown),
            (json!({"use": {"models": 1}}), AuthFailure::Unknown),
            (json!({"use": {"models": [1]}}), AuthFailure::Unknown),
        ] {
            assert_eq!(judged(more.clone()).unwrap_err(), why, "{more}");
        }
    }

    #[test]
    fn times_are_good_within_the_leeway() {
        let good = json!({"exp": NOW - 29, "nbf": NOW + 30, "iat": NOW + 30, "aud": ["x", "b"]});
        assert_eq!(judged(good).unwrap().until, NOW + 1);
        assert_eq!(judged(json!({"exp": 1_000_050.9})).unwrap().until, NOW + 80);
    }

    #[test]
    fn a_token_says_whose_it_is() {
        let holder = judged(json!({
            "sub": "ann", "tenant": "team", "priority": -5, "use": {"models": ["m", "org/*"]},
            "https://example.com/tasks": "chat embed",
        }));
        let holder = holder.unwrap().identity;
        assert_eq!((holder.name(), holder.tenant()), ("ann", "team"));
        assert_eq!(holder.priority(), -5);
        assert!(holder.may_use("org/x") && !holder.may_use("n"));
        assert!(holder.may_do("embed") && !holder.may_do("infer"));
    }

    #[test]
    fn what_a_token_does_not_say_opens_nothing() {
        let holder = judged(json!({})).unwrap().identity;
        assert_eq!((holder.name(), holder.tenant()), ("others", "others"));
        assert!(!holder.may_use("m") && !holder.may_do("chat"));
        let long = "x".repeat(LONGEST_NAME + 1);
        assert_eq!(
            judged(json!({"sub": long})).unwrap().identity.name(),
            "others"
        );
        let many: Vec<String> = (0..=MOST_NAMES).map(|n| n.to_string()).collect();
        let many = judged(json!({"use": {"models": many}}));
        assert_eq!(many.unwrap_err(), AuthFailure::Unknown);
    }
}
