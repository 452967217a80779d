//! Hashed tokens, held in memory and replaced as a whole.
//!
//! A token is looked up by its SHA-256 and never compared itself:
//!
//! 1. Its digest is hashed again, to 64 bits, under a random key of this process (SipHash).
//! 2. Entries under those 64 bits are compared with the digest in constant time.
//!
//! So how long a lookup takes depends on the presented digest only through a keyed hash that the
//! client can neither compute nor steer: it tells nothing of how far a stored digest agrees. The
//! cost does not grow with the number of tokens, as comparing every entry would.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tollgate_identity::{
    AuthFailure, Clock, Grant, Identity, Outcome, Presented, Tenant, Verdict, Way,
};

use crate::auth::bearer;

/// Longest token, in bytes: what is longer is none of these, and is not hashed.
const LONGEST: usize = 4096;

/// A token and what it opens.
#[derive(Clone, Debug)]
pub struct TokenEntry {
    /// SHA-256 of the token's bytes.
    pub sha256: [u8; 32],
    /// Whose part of the capacity its requests share.
    pub tenant: Arc<Tenant>,
    /// Its holder, and what it may use of what the tenant may.
    pub grant: Grant,
    /// Unix time, in seconds, from which it is refused.
    pub expires: Option<u64>,
}

/// The tokens that open the door.
pub struct Tokens {
    table: ArcSwap<Table>,
    clock: Clock,
}

struct Table {
    key: RandomState,
    entries: HashMap<u64, Vec<Held>>,
}

struct Held {
    sha256: [u8; 32],
    expires: Option<u64>,
    identity: Arc<Identity>,
}

// === impl Tokens ===

impl Tokens {
    /// Tokens that expire by the system's clock. Of two entries with one digest the first counts.
    #[must_use]
    pub fn new(entries: impl IntoIterator<Item = TokenEntry>) -> Self {
        Self::with_clock(entries, Clock::system())
    }

    /// Tokens that expire by a clock of one's own.
    #[must_use]
    pub fn with_clock(entries: impl IntoIterator<Item = TokenEntry>, clock: Clock) -> Self {
        Self {
            table: ArcSwap::from_pointee(Table::new(entries)),
            clock,
        }
    }

    /// From now on these are the tokens. Requests that are under way keep their identity.
    pub fn replace(&self, entries: impl IntoIterator<Item = TokenEntry>) {
        self.table.store(Arc::new(Table::new(entries)));
    }

    /// Who asks, by a request's head and by these tokens alone.
    ///
    /// # Errors
    /// When the head names nobody, or nobody that may come in.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Identity>, AuthFailure> {
        self.find(bearer(headers)?)?.ok_or(AuthFailure::Unknown)
    }

    fn find(&self, token: &[u8]) -> Outcome {
        if token.len() > LONGEST {
            return Ok(None);
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        let table = self.table.load();
        let Some(held) = table.find(&digest) else {
            return Ok(None);
        };
        match held.expires {
            Some(expires) if expires <= self.clock.now() => Err(AuthFailure::Expired),
            _ => Ok(Some(held.identity.clone())),
        }
    }
}

impl Way for Tokens {
    fn look<'a>(&'a self, presented: Presented<'a>) -> Verdict<'a> {
        Verdict::Now(presented.bearer.map_or(Ok(None), |token| self.find(token)))
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

// === impl Table ===

impl Table {
    fn new(entries: impl IntoIterator<Item = TokenEntry>) -> Self {
        let key = RandomState::new();
        let mut table: HashMap<u64, Vec<Held>> = HashMap::new();
        for entry in entries {
            table
                .entry(key.hash_one(entry.sha256))
                .or_default()
                .push(Held {
                    sha256: entry.sha256,
                    expires: entry.expires,
                    identity: Arc::new(Identity::new(entry.tenant, entry.grant)),
                });
        }
        Self {
            key,
            entries: table,
        }
    }

    fn find(&self, digest: &[u8; 32]) -> Option<&Held> {
        let candidates = self.entries.get(&self.key.hash_one(digest))?;
        candidates
            .iter()
            .find(|held| held.sha256.ct_eq(digest).into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use http::header::AUTHORIZATION;

    use super::*;

    fn entry(token: &str, name: &str, expires: Option<u64>) -> TokenEntry {
        TokenEntry {
            sha256: Sha256::digest(token).into(),
            tenant: Tenant::plain("team"),
            grant: Grant {
                name: name.to_owned(),
                models: Some(vec!["*".to_owned()]),
                tasks: None,
                priority: 7,
            },
            expires,
        }
    }

    fn ask(tokens: &Tokens, token: &str) -> Result<Arc<Identity>, AuthFailure> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        tokens.authenticate(&headers)
    }

    #[test]
    fn a_token_is_its_holder_and_no_other() {
        let tokens = Tokens::new((0..100).map(|n| entry(&format!("t{n}"), &format!("n{n}"), None)));
        for n in 0..100 {
            let identity = ask(&tokens, &format!("t{n}")).unwrap();
            assert_eq!(identity.name(), format!("n{n}"));
            assert_eq!((identity.tenant(), identity.priority()), ("team", 7));
        }
        let long = "t".repeat(LONGEST + 1);
        for wrong in [
            "t100",
            "T1",
            "t",
            &hex(Sha256::digest("t1").as_slice()),
            &long,
        ] {
            assert_eq!(ask(&tokens, wrong), Err(AuthFailure::Unknown), "{wrong}");
        }
        assert_eq!(
            tokens.authenticate(&HeaderMap::new()),
            Err(AuthFailure::Missing)
        );
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_token_is_refused_from_the_second_it_expires() {
        let now = Arc::new(AtomicU64::new(99));
        let clock = now.clone();
        let clock = Clock::new(move || clock.load(Ordering::Relaxed));
        let tokens = Tokens::with_clock([entry("t", "n", Some(100))], clock);
        assert!(ask(&tokens, "t").is_ok());
        now.store(100, Ordering::Relaxed);
        assert_eq!(ask(&tokens, "t"), Err(AuthFailure::Expired));
    }

    #[test]
    fn replacing_takes_the_old_away_at_once() {
        let tokens = Tokens::new([entry("old", "a", None), entry("both", "b", None)]);
        let under_way = ask(&tokens, "old").unwrap();
        tokens.replace([entry("both", "b2", None), entry("new", "c", None)]);
        assert_eq!(ask(&tokens, "old"), Err(AuthFailure::Unknown));
        assert_eq!(ask(&tokens, "both").unwrap().name(), "b2");
        assert_eq!(ask(&tokens, "new").unwrap().name(), "c");
        assert_eq!(under_way.name(), "a");
        tokens.replace([]);
        assert_eq!(ask(&tokens, "new"), Err(AuthFailure::Unknown));
    }

    #[test]
    fn failures_repeat_nothing_of_what_was_sent() {
        let tokens = Tokens::new([entry("t", "n", Some(0))]);
        for token in ["t", "secret"] {
            let failure = ask(&tokens, token).unwrap_err();
            assert!(!format!("{failure}{failure:?}").contains("secret"));
        }
        assert!(!format!("{tokens:?}").contains("sha"));
    }
}
