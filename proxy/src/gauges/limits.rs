//! What is counted of tenants' limits: of decisions, of what is held, of the store.

use tollgate_limits::{Limiter, Unit, redis::Redis};
use tollgate_telemetry::Samples;

/// Writes all of it; without limits, what is held is told as nothing.
#[expect(clippy::cast_precision_loss, reason = "counts of things in memory")]
pub(super) fn collect(limiter: Option<&Limiter>, store: Option<&Redis>, samples: &mut Samples) {
    let held = limiter.map_or(0, Limiter::accounts);
    samples.gauge(
        "limit_accounts",
        "Tenants, and models of tenants, whose limits are counted",
        &[],
        held as f64,
    );
    let (used, given) = limiter.map_or((0, 0), Limiter::seats);
    for (what, places) in [("used", used), ("given", given)] {
        samples.gauge(
            "limit_places",
            "Requests of tenants whose requests at once are limited, and places that the store has given for them",
            &[("what", what)],
            places as f64,
        );
    }
    let nothing = Unit::ALL.map(|unit| (unit, 0));
    for (unit, leased) in limiter.map_or(nothing, Limiter::leased) {
        samples.gauge(
            "limit_leased",
            "Units of limits that this process holds of the store and has not used; less than none: used and not told",
            &[("unit", unit.name())],
            leased as f64,
        );
    }
    samples.gauge(
        "limit_store_questions",
        "Questions to the store of limits that are under way",
        &[],
        store.map_or(0, Redis::in_flight) as f64,
    );
    let Some(limiter) = limiter else { return };
    let figures = limiter.figures();
    for (outcome, count) in figures.decisions() {
        samples.counter(
            "limit_decisions",
            "Decisions on tenants' limits, by how they came about",
            &[("outcome", outcome)],
            count,
        );
    }
    for (what, tokens) in figures.settlements() {
        samples.counter(
            "limit_settled",
            "Tokens that were reserved and not used (returned), that were used beyond (charged), and leased units that were lost",
            &[("what", what)],
            tokens,
        );
    }
    for (state, count) in ["new", "used"].into_iter().zip(limiter.evicted()) {
        samples.counter(
            "limit_accounts_evicted",
            "Accounts that were forgotten at the bound: with nothing used of them, or with something",
            &[("state", state)],
            count,
        );
    }
    let Some(there) = limiter.store_is_there() else {
        return;
    };
    samples.gauge(
        "limit_store_there",
        "1 while the store of limits can be asked",
        &[],
        f64::from(u8::from(there)),
    );
    for (why, count) in figures.errors() {
        samples.counter(
            "limit_store_errors",
            "Questions to the store of limits that it did not answer",
            &[("why", why)],
            count,
        );
    }
    let (sum, buckets) = figures.times();
    samples.times(
        "limit_store_seconds",
        "How long the store of limits took",
        &[],
        sum,
        buckets,
    );
}
