//! What tenants may use, on a request's way: asked for before a call is queued, told to the client,
//! settled by what is heard of the call.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use tollgate_edge::Identity;
use tollgate_limits::{Admission, Cost, Entry, Fields, Grant, Limiter, Refusal, Seat, Why};
use tollgate_plugin::inference;
use tollgate_wire::failure::Failure;

use crate::calling::Ask;

/// The limits of all tenants. Clones are the same.
#[derive(Clone)]
pub struct Limits {
    /// Who counts.
    pub limiter: Arc<Limiter>,
    /// Whether clients are told what is left.
    pub told: bool,
}

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11).
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

impl Limits {
    /// A place among the requests of a tenant, and whether a request would have any room: before its
    /// body is read. `asks` tells whether it will ask a worker.
    pub(crate) async fn enter(
        &self,
        identity: &Identity,
        asks: bool,
    ) -> Result<Option<Seat>, Box<Refused>> {
        let refused = |refusal| self.refused(refusal);
        if asks {
            self.limiter.peek(identity.tenant()).map_err(refused)?;
        }
        match self.limiter.enter(identity.tenant()) {
            Entry::Free => Ok(None),
            Entry::Decided(decided) => decided.map(Some).map_err(refused),
            Entry::Asking(asking) => asking.await.map(Some).map_err(refused),
        }
    }

    /// What a call may need, before it is queued.
    pub(crate) fn admit(&self, identity: &Identity, model: &str, ask: &Ask) -> Admission {
        let cost = Cost {
            input: u64::from(ask.input_cost),
            output: u64::from(ask.output_cost),
        };
        self.limiter.admit(identity.tenant(), model, cost)
    }

    fn refused(&self, refusal: Refusal) -> Box<Refused> {
        Box::new(Refused {
            why: refusal.why,
            failure: failure(&refusal),
            fields: self.told.then_some(refusal.fields),
        })
    }
}

/// A request that may not go on, as its client and the metrics are told.
pub(crate) struct Refused {
    pub(crate) why: Why,
    pub(crate) failure: Failure,
    pub(crate) fields: Option<Fields>,
}

/// The failure that a refusal is: what the tenant could do something about is 429, what it could not
/// is 503.
pub(crate) fn failure(refusal: &Refusal) -> Failure {
    let failure = match refusal.why {
        Why::Used | Why::TooLarge | Why::Concurrency => Failure::rate_limited(&*refusal.message),
        Why::Away | Why::NoRoom => Failure::overloaded(&*refusal.message),
    };
    match refusal.wait {
        Some(wait) => failure.with_retry_after(millis(wait)),
        None => failure,
    }
}

/// Milliseconds, rounded up: who comes back then is not too early.
fn millis(wait: Duration) -> u32 {
    u32::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u32::MAX)
}

/// Tells a client what is left to it.
pub(crate) fn tell(fields: &Fields, headers: &mut HeaderMap) {
    if fields.is_empty() {
        return;
    }
    let said = [(POLICY, fields.policy()), (LEFT, fields.left())];
    for (name, value) in said {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// A call's grant, until its exchange is over: what it used is often known only then.
pub(crate) struct Metered {
    pub(crate) call: u32,
    pub(crate) grant: Grant,
    /// Output tokens so far, of each item.
    items: Vec<u64>,
}

/// Items of a call that are told apart; what others send is counted by pieces.
const ITEMS: usize = 256;

impl Metered {
    pub(crate) fn new(call: u32, grant: Grant) -> Self {
        Self {
            call,
            grant,
            items: Vec::new(),
        }
    }

    /// Of these, that of a call.
    pub(crate) fn of(all: &mut [Self], call: u32) -> Option<&mut Self> {
        all.iter_mut().find(|metered| metered.call == call)
    }

    /// Notes what an event says of what the call uses.
    pub(crate) fn hear(&mut self, event: &inference::Event) {
        match event {
            inference::Event::Usage(usage) => {
                self.grant.used(usage.input_tokens, usage.output_tokens);
            }
            inference::Event::Delta(delta) => {
                let came = self.came(delta.item, delta.output_tokens, delta.tokens.len());
                self.grant.came(came);
            }
            inference::Event::Failed(_) => self.grant.failed(),
            _ => {}
        }
    }

    /// Tokens of a piece. Where totals are told, they say more than pieces do; without, a piece is a
    /// token at least.
    fn came(&mut self, item: u32, total: Option<u32>, tokens: usize) -> u64 {
        let by_piece = (tokens as u64).max(1);
        let item = item as usize;
        let Some(total) = total.filter(|_| item < ITEMS) else {
            return by_piece;
        };
        if self.items.len() <= item {
            self.items.resize(item + 1, 0);
        }
        let before = std::mem::replace(&mut self.items[item], u64::from(total));
        u64::from(total).saturating_sub(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_429_or_503_with_a_wait_that_is_rounded_up() {
        let of = |why, wait| {
            let refusal = Refusal {
                why,
                message: "why".to_owned(),
                wait,
                fields: Fields::default(),
            };
            let failure = failure(&refusal);
            (failure.http(), failure.grpc(), failure.retry_after_ms)
        };
        let wait = Some(Duration::from_micros(1_000_001));
        assert_eq!(of(Why::Used, wait), (429, 8, Some(1001)));
        assert_eq!(of(Why::Concurrency, wait), (429, 8, Some(1001)));
        assert_eq!(of(Why::TooLarge, None), (429, 8, None));
        assert_eq!(of(Why::Away, wait), (503, 14, Some(1001)));
        let year = Some(Duration::from_secs(366 * 86_400));
        assert_eq!(of(Why::Used, year), (429, 8, Some(u32::MAX)));
    }
}
