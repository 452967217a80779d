//! Tenants: who shares a part of the capacity, and what all of its credentials may use together.
//!
//! Whatever a credential is (a token of the file, a signed token, a certificate, a user of a
//! cluster), it belongs to one tenant by name. What the configuration says of that name bounds
//! each of its credentials: a request needs both the tenant's leave and the credential's own.
//! A name of which the configuration says nothing is a tenant without bounds of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What the configuration says of a tenant.
#[derive(Clone, Debug, Default)]
pub struct TenantSpec {
    /// Its name, in the log, in metrics and for schedulers.
    pub name: String,
    /// Models, by names that clients use; a `*` at the end stands for anything. None: all that its
    /// credentials open.
    pub models: Option<Vec<String>>,
    /// Tasks, by their names in the contract. None: all that its credentials open.
    pub tasks: Option<Vec<String>>,
    /// Requests at once. None: as many as routes take.
    pub concurrency: Option<usize>,
    /// Added to that of its credentials. Greater goes first.
    pub priority: i32,
}

/// Who shares a part of the capacity.
#[derive(Debug)]
pub struct Tenant {
    name: Arc<str>,
    models: Option<Patterns>,
    tasks: Option<Vec<String>>,
    concurrency: Option<usize>,
    priority: i32,
    running: AtomicUsize,
    refused: AtomicU64,
}

/// A request's place among those that its tenant may have at once. Dropped, it is free.
#[derive(Debug)]
pub struct TenantPlace(Option<Arc<Tenant>>);

/// The tenants of a configuration, by name.
#[derive(Debug, Default)]
pub struct Tenants {
    /// As many as the configuration has.
    declared: HashMap<String, Arc<Tenant>>,
}

/// Names of models, each whole or its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patterns(Vec<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Is(String),
    Begins(String),
}

// === impl Tenant ===

impl Tenant {
    /// A tenant by what is said of it.
    #[must_use]
    pub fn new(spec: TenantSpec) -> Arc<Self> {
        Arc::new(Self {
            name: spec.name.into(),
            models: spec.models.map(Patterns::new),
            tasks: spec.tasks,
            concurrency: spec.concurrency,
            priority: spec.priority,
            running: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// One of which nothing but its name is said.
    #[must_use]
    pub fn plain(name: &str) -> Arc<Self> {
        Self::new(TenantSpec {
            name: name.to_owned(),
            ..TenantSpec::default()
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Added to the priority of its credentials.
    #[must_use]
    pub fn priority(&self) -> i32 {
        self.priority
    }

    /// Requests that it may have at once, if that is bounded.
    #[must_use]
    pub fn concurrency(&self) -> Option<usize> {
        self.concurrency
    }

    /// Requests that hold a place; always none where their number is not bounded.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Requests that found no place.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Takes a place for a request; none when all are taken.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<TenantPlace> {
        let Some(most) = self.concurrency else {
            return Some(TenantPlace(None));
        };
        let entered = self
            .running
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |running| {
                (running < most).then_some(running + 1)
            });
        if entered.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(TenantPlace(Some(self.clone())))
    }

    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|it| it.have(model))
    }

    /// Whether a task is among those that are listed; none when none are.
    pub(crate) fn lists(&self, task: &str) -> Option<bool> {
        let tasks = self.tasks.as_ref()?;
        Some(tasks.iter().any(|listed| listed == task))
    }
}

/// What is said of them is the same; what they do meanwhile is another thing.
impl PartialEq for Tenant {
    fn eq(&self, other: &Self) -> bool {
        let said = |it: &Self| {
            let (models, tasks) = (it.models.clone(), it.tasks.clone());
            (it.name.clone(), models, tasks, it.concurrency, it.priority)
        };
        said(self) == said(other)
    }
}

impl Eq for Tenant {}

impl Drop for TenantPlace {
    fn drop(&mut self) {
        if let Some(tenant) = &self.0 {
            tenant.running.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

// === impl Tenants ===

impl Tenants {
    /// These; of two with one name the last counts.
    #[must_use]
    pub fn new(specs: impl IntoIterator<Item = TenantSpec>) -> Self {
        let declared = specs.into_iter();
        Self {
            declared: declared
                .map(|spec| (spec.name.clone(), Tenant::new(spec)))
                .collect(),
        }
    }

    /// One that the configuration names.
    #[must_use]
    pub fn declared(&self, name: &str) -> Option<Arc<Tenant>> {
        self.declared.get(name).cloned()
    }

    /// One by name; without bounds of its own where the configuration does not name it.
    #[must_use]
    pub fn of(&self, name: &str) -> Arc<Tenant> {
        self.declared(name).unwrap_or_else(|| Tenant::plain(name))
    }

    /// All that the configuration names, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Tenant>> {
        let mut all: Vec<_> = self.declared.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

// === impl Patterns ===

impl Patterns {
    /// A name, or the beginning of one and `*`; a `*` elsewhere is an ordinary character.
    pub(crate) fn new(texts: impl IntoIterator<Item = String>) -> Self {
        let pattern = |text: String| match text.strip_suffix('*') {
            Some(beginning) => Pattern::Begins(beginning.to_owned()),
            None => Pattern::Is(text),
        };
        Self(texts.into_iter().map(pattern).collect())
    }

    /// Case matters.
    pub(crate) fn have(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| match pattern {
            Pattern::Is(it) => name == it,
            Pattern::Begins(beginning) => name.starts_with(beginning.as_str()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(concurrency: usize) -> Arc<Tenant> {
        Tenant::new(TenantSpec {
            name: "team".to_owned(),
            concurrency: Some(concurrency),
            ..TenantSpec::default()
        })
    }

    #[test]
    fn a_tenant_has_as_many_places_as_are_said_and_gets_them_back() {
        let tenant = bounded(2);
        let places = [tenant.enter(), tenant.enter()];
        assert!(places.iter().all(Option::is_some));
        assert!(tenant.enter().is_none());
        assert_eq!((tenant.running(), tenant.refused()), (2, 1));
        drop(places);
        assert_eq!(tenant.running(), 0);
        assert!(tenant.enter().is_some());
    }

    #[test]
    fn places_of_one_tenant_are_one_count_for_all_who_ask_for_it() {
        let spec = TenantSpec {
            name: "team".to_owned(),
            concurrency: Some(1),
            ..TenantSpec::default()
        };
        let tenants = Tenants::new([spec]);
        let place = tenants.of("team").enter();
        assert!(place.is_some() && tenants.of("team").enter().is_none());
        assert!(tenants.of("other").enter().is_some(), "without bounds");
        assert!(tenants.declared("other").is_none());
    }

    #[test]
    fn without_a_bound_nothing_is_counted() {
        let tenant = Tenant::plain("team");
        let places: Vec<_> = (0..1000).map(|_| tenant.enter()).collect();
        assert!(places.iter().all(Option::is_some));
        assert_eq!(tenant.running(), 0);
    }
}
