//! What limits of tenants contradict: a quota of nothing, one thing limited twice, a store that has
//! nothing to count.

use super::Check;
use crate::limits::{LimitStore, ModelLimits, Quota, TenantLimits};
use crate::scalar::Name;
use crate::tenants::Tenant;
use crate::tokens::ModelPattern;
use crate::yaml::{Step, steps};

impl Check<'_, '_> {
    pub(super) fn limits(&mut self) {
        let limits = &self.config.limits;
        if let Some(tenant) = &limits.default {
            self.tenant_limits(tenant, steps!["limits", "default"]);
        }
        for (name, tenant) in &self.config.tenants {
            if let Some(own) = &tenant.limits {
                self.tenant_limits(own, steps!["tenants", name.as_str(), "limits"]);
                self.twice_at_once(name, tenant, own);
            }
        }
        if let Some(store) = &limits.store {
            if !self.config.limits_anything() {
                let what = "a store, and nothing that is limited";
                let hint = "say in `limits.default` or in a tenant's `limits` what may be used";
                self.refuse(steps!["limits", "store"], what, Some(hint.to_owned()));
            }
            self.limit_store(store);
        }
    }

    fn tenant_limits(&mut self, limits: &TenantLimits, path: &[Step<'_>]) {
        self.quotas(&limits.quotas, path);
        let mut seen: Vec<&ModelPattern> = Vec::new();
        for (index, ModelLimits { model, quotas, .. }) in limits.models.iter().enumerate() {
            let below = [path, &["models".into(), index.into()]].concat();
            self.quotas(quotas, &below);
            // The first that matches counts: one behind it that it covers never does.
            if let Some(earlier) = seen.iter().find(|earlier| earlier.covers(model)) {
                let what = format!("`{model}` is never reached: `{earlier}` before it matches");
                let at = [&below[..], &["model".into()]].concat();
                self.refuse(&at, what, None);
            }
            seen.push(model);
        }
    }

    /// Requests at once of this process and of all together are two bounds only where there are
    /// several processes, and the first is below the second.
    fn twice_at_once(&mut self, name: &Name, tenant: &Tenant, own: &TenantLimits) {
        let (Some(here), Some(all)) = (tenant.concurrency, own.concurrency) else {
            return;
        };
        let at = steps!["tenants", name.as_str(), "limits", "concurrency"];
        if self.config.limits.store.is_none() {
            let what = "without `limits.store` this process is all there is, and its `concurrency` \
                        is said already";
            self.refuse(at, what, None);
        } else if here.get() > all.get() {
            let what =
                format!("one process may have {here} requests at once, and all together {all}");
            self.refuse(at, what, None);
        }
    }

    fn quotas(&mut self, quotas: &[Quota], path: &[Step<'_>]) {
        let mut seen = Vec::new();
        for (index, quota) in quotas.iter().enumerate() {
            let below = [path, &["quotas".into(), index.into()]].concat();
            if quota.requests.is_none() && quota.tokens.is_none() {
                let what = "a quota of nothing";
                let hint = "give `requests`, `tokens` or both";
                self.refuse(&below, what, Some(hint.to_owned()));
            }
            for (unit, given) in [("requests", quota.requests), ("tokens", quota.tokens)] {
                if given.is_none() {
                    continue;
                }
                if seen.contains(&(unit, quota.per)) {
                    let what = format!("a second quota of {unit} a {}", quota.per);
                    self.refuse(&[&below[..], &[unit.into()]].concat(), what, None);
                }
                seen.push((unit, quota.per));
            }
        }
    }

    fn limit_store(&mut self, store: &LimitStore) {
        if store.ca.is_some() && !store.address.is_tls() {
            let what = format!("`ca` has no meaning for {}", store.address);
            let hint = Some("use `rediss`".to_owned());
            self.refuse(steps!["limits", "store", "ca"], what, hint);
        }
        if store.user.is_some() && store.password.is_none() {
            let what = "a `user` without a `password`";
            self.refuse(steps!["limits", "store", "user"], what, None);
        }
        if store.pause.get() > store.longest_pause.get() {
            let (first, longest) = (store.pause, store.longest_pause);
            let what = format!("`longest-pause` ({longest}) is less than `pause` ({first})");
            self.refuse(steps!["limits", "store", "longest-pause"], what, None);
        }
    }
}
