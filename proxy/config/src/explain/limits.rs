//! Limits of tenants, told back.

use std::fmt::{self, Write};

use crate::limits::{Away, Limits, Quota, Rate, TenantLimits};

pub(super) fn write(out: &mut String, limits: &Limits) -> fmt::Result {
    if let Some(tenant) = &limits.default {
        writeln!(
            out,
            "each tenant without limits of its own: {}",
            told(tenant)
        )?;
        write_models(out, tenant)?;
    }
    let Some(store) = &limits.store else {
        return Ok(());
    };
    let away = match store.away {
        Away::Deny => "refused".to_owned(),
        Away::Allow => "let through".to_owned(),
        Away::Local => format!("let through up to {} % of each limit", store.share),
    };
    writeln!(
        out,
        "limits are counted in {}, leased by {} % for {}; while it is away, calls are {away}",
        store.address, store.lease, store.lease_life
    )
}

/// Those of one tenant, below what else is said of it.
pub(super) fn write_own(out: &mut String, limits: &TenantLimits) -> fmt::Result {
    writeln!(out, "  may use: {}", told(limits))?;
    write_models(out, limits)
}

fn write_models(out: &mut String, tenant: &TenantLimits) -> fmt::Result {
    for of in &tenant.models {
        let parts = parts(of.requests.as_ref(), of.tokens.as_ref(), &of.quotas);
        writeln!(out, "  each model {}: {}", of.model, joined(&parts))?;
    }
    Ok(())
}

fn told(tenant: &TenantLimits) -> String {
    let mut parts = parts(
        tenant.requests.as_ref(),
        tenant.tokens.as_ref(),
        &tenant.quotas,
    );
    if let Some(most) = tenant.concurrency {
        parts.push(format!("{most} requests at once"));
    }
    joined(&parts)
}

fn joined(parts: &[String]) -> String {
    match parts {
        [] => "no limits".to_owned(),
        parts => parts.join(", "),
    }
}

fn parts(requests: Option<&Rate>, tokens: Option<&Rate>, quotas: &[Quota]) -> Vec<String> {
    let mut parts = Vec::new();
    for (unit, rate) in [("requests", requests), ("tokens", tokens)] {
        if let Some(rate) = rate {
            let (amount, per, burst) = (rate.amount, rate.per, rate.burst());
            parts.push(format!("{amount} {unit} in {per} and {burst} at once"));
        }
    }
    for quota in quotas {
        for (unit, amount) in [("requests", quota.requests), ("tokens", quota.tokens)] {
            if let Some(amount) = amount {
                parts.push(format!("{amount} {unit} a {}", quota.per));
            }
        }
    }
    parts
}
