//! Tokens that an issuer has signed: JSON Web Tokens (RFC 7519), by the keys that it publishes.
//!
//! 1. A token that was verified before, under keys that have not changed since, is known by its
//!    SHA-256 until it expires.
//! 2. Else it is taken apart ([`token`]), strictly. What is no JWT, or names another issuer, is not
//!    this way's.
//! 3. Its key is looked up by `kid` among the issuer's ([`keys`]). One that is not there may be
//!    new: the keys are then read again ([`source`]), though seldom, however many ask.
//! 4. The signature is checked, by the algorithm that the *key* is for. What a token says of its
//!    algorithm has to agree, and decides nothing (RFC 8725, section 3.1).
//! 5. What it claims is checked, and says whose it is ([`claims`]).
//!
//! Own code, and not a library's: libraries of this kind bring algorithms and headers that are
//! refused here, a second library of cryptography or, the older ones that use `ring`, a check of times
//! that a claim of another type gets past. What is left to do is a split, three decodings and a
//! call into `ring`, and each has to be stricter than general use wants.

mod claims;
mod keys;
mod source;
mod token;

use std::sync::Arc;

use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

pub use claims::ClaimPaths;
pub use keys::{Algorithm, KeySet, KeysError};
pub use source::{Keys, KeysSpec, Origin};
pub(crate) use token::expiry;

use crate::clock::Clock;
use crate::failure::AuthFailure;
use crate::identity::Identity;
use crate::tenant::{Tenant, Tenants};
use crate::way::{Outcome, Presented, Verdict, Way};
use claims::Rules;
use token::Token;

/// What an issuer's tokens have to be.
#[derive(Clone, Debug)]
pub struct JwtSpec {
    /// `iss`, to the letter.
    pub issuer: String,
    /// One of these has to be in `aud`.
    pub audiences: Vec<String>,
    /// Seconds by which clocks may differ.
    pub leeway: u64,
    /// Bytes of a token.
    pub longest: usize,
    /// Verified tokens that are remembered.
    pub remembered: usize,
    /// Where in its claims is what.
    pub claims: ClaimPaths,
    /// Whose a token is that names no tenant.
    pub tenant: Option<Arc<Tenant>>,
}

/// Tells who asks by tokens of one issuer.
pub struct Jwt {
    longest: usize,
    rules: Rules,
    keys: Arc<Keys>,
    known: Cache<[u8; 32], Known>,
    clock: Clock,
}

/// A token that was verified.
#[derive(Clone)]
struct Known {
    identity: Arc<Identity>,
    /// Of the keys.
    generation: u64,
    /// Unix time, in seconds, from which it has expired.
    until: u64,
}

/// How far a token got.
enum Got {
    To(Outcome),
    /// There are no keys, or none of its name, and newer ones may be had.
    NoKey,
}

impl Jwt {
    /// By these keys; tenants that tokens name have to be among these.
    #[must_use]
    pub fn new(spec: JwtSpec, keys: Arc<Keys>, tenants: Arc<Tenants>, clock: Clock) -> Self {
        Self {
            longest: spec.longest,
            known: Cache::new(spec.remembered.max(1)),
            rules: Rules {
                issuer: spec.issuer,
                audiences: spec.audiences,
                leeway: spec.leeway,
                paths: spec.claims,
                tenant: spec.tenant,
                tenants,
            },
            keys,
            clock,
        }
    }

    /// The keys that it goes by.
    #[must_use]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Verified tokens that are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.known.len()
    }

    /// A token that was verified before, under the keys that are in force.
    fn remember(&self, digest: &[u8; 32]) -> Option<Outcome> {
        let known = self.known.get(digest)?;
        if self.keys.generation() != Some(known.generation) {
            return None;
        }
        Some(if self.clock.now() < known.until {
            Ok(Some(known.identity))
        } else {
            Err(AuthFailure::Expired)
        })
    }

    fn verify(&self, digest: [u8; 32], token: &Token<'_>) -> Got {
        let Some(held) = self.keys.current() else {
            return Got::NoKey;
        };
        let mut candidates = held
            .set
            .candidates(token.kid(), token.algorithm())
            .peekable();
        if candidates.peek().is_none() {
            return Got::NoKey;
        }
        if !candidates.any(|key| key.has_signed(token.signed(), token.signature())) {
            return Got::To(Err(AuthFailure::Unknown));
        }
        let now = self.clock.now();
        Got::To(self.rules.judge(token.claims(), now).map(|judged| {
            let identity = Arc::new(judged.identity);
            let known = Known {
                identity: identity.clone(),
                generation: held.generation,
                until: judged.until,
            };
            self.known.insert(digest, known);
            Some(identity)
        }))
    }

    /// After the keys have been read again, if that may be and comes in time.
    async fn verify_with_newer(&self, digest: [u8; 32], token: Token<'_>) -> Outcome {
        self.keys.newer().await;
        match self.verify(digest, &token) {
            Got::To(outcome) => outcome,
            Got::NoKey if self.keys.current().is_some() => Err(AuthFailure::Unknown),
            Got::NoKey => Err(AuthFailure::Away),
        }
    }
}

impl Way for Jwt {
    fn look<'a>(&'a self, presented: Presented<'a>) -> Verdict<'a> {
        let Some(bearer) = presented.bearer else {
            return Verdict::Now(Ok(None));
        };
        if bearer.len() > self.longest {
            return Verdict::Now(Ok(None));
        }
        let digest: [u8; 32] = Sha256::digest(bearer).into();
        if let Some(outcome) = self.remember(&digest) {
            return Verdict::Now(outcome);
        }
        let Some(token) = Token::read(bearer) else {
            return Verdict::Now(Ok(None));
        };
        if !self.rules.issued(token.claims()) {
            return Verdict::Now(Ok(None));
        }
        if !token.is_sound() {
            return Verdict::Now(Err(AuthFailure::Unknown));
        }
        match self.verify(digest, &token) {
            Got::To(outcome) => Verdict::Now(outcome),
            Got::NoKey => Verdict::later(self.verify_with_newer(digest, token)),
        }
    }
}
