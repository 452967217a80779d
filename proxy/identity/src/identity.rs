//! One credential's holder: to which tenant it belongs, and what it may use of what that may.

use std::sync::{Arc, LazyLock};

use crate::tenant::{Patterns, Tenant};

/// The holder of a credential, or the anonymous one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: String,
    tenant: Arc<Tenant>,
    models: Option<Patterns>,
    tasks: Option<Vec<String>>,
    priority: i32,
}

/// What a credential says of its holder.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// Name of the holder, for the log.
    pub name: String,
    /// Models, as those of a [`TenantSpec`](crate::TenantSpec). None: all that the tenant may.
    pub models: Option<Vec<String>>,
    /// Tasks by their names in the contract. None: all that the tenant may.
    pub tasks: Option<Vec<String>>,
    /// Greater goes first; the tenant's is added.
    pub priority: i32,
}

/// The task of what changes a worker or shows its inside.
const OPERATORS: &str = "admin";

impl Identity {
    /// Who asks on a route that is open to all: it may use everything there.
    #[must_use]
    pub fn anonymous() -> Arc<Self> {
        static ANONYMOUS: LazyLock<Arc<Identity>> = LazyLock::new(|| {
            let grant = Grant {
                name: "anonymous".to_owned(),
                ..Grant::default()
            };
            Arc::new(Identity::new(Tenant::plain("anonymous"), grant))
        });
        ANONYMOUS.clone()
    }

    /// A holder of a credential, who belongs to a tenant.
    #[must_use]
    pub fn new(tenant: Arc<Tenant>, grant: Grant) -> Self {
        Self {
            name: grant.name,
            priority: grant.priority.saturating_add(tenant.priority()),
            tenant,
            models: grant.models.map(Patterns::new),
            tasks: grant.tasks,
        }
    }

    /// Name of the holder, for the log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name of the tenant, whose part of the capacity its requests share.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.tenant.name()
    }

    /// The tenant itself, with its bounds.
    #[must_use]
    pub fn tenant_entry(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// Greater goes first, as far as the scheduler minds it: the credential's and its tenant's.
    #[must_use]
    pub fn priority(&self) -> i32 {
        self.priority
    }

    /// Whether a model, by the name that clients use, is allowed; case matters.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        let own = self.models.as_ref().is_none_or(|it| it.have(model));
        own && self.tenant.may_use(model)
    }

    /// Whether a task, by its name in the contract, is allowed. What is for operators is only
    /// where it is listed, by the credential or, if that lists nothing, by its tenant.
    #[must_use]
    pub fn may_do(&self, task: &str) -> bool {
        let tenant = self.tenant.lists(task);
        let own = match &self.tasks {
            Some(tasks) => tasks.iter().any(|allowed| allowed == task),
            None => task != OPERATORS || tenant == Some(true),
        };
        own && tenant.unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::TenantSpec;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn identity(models: &[&str], tasks: Option<&[&str]>) -> Identity {
        let grant = Grant {
            name: "ci".to_owned(),
            models: Some(owned(models)),
            tasks: tasks.map(owned),
            priority: 3,
        };
        Identity::new(Tenant::plain("team"), grant)
    }

    #[test]
    fn a_pattern_is_a_name_or_a_beginning() {
        let holder = identity(&["llama", "org/*"], None);
        let allowed = ["llama", "org/", "org/a"];
        let refused = ["", "llama2", "Llama", "org", "xorg/a"];
        assert!(allowed.iter().all(|model| holder.may_use(model)));
        assert!(!refused.iter().any(|model| holder.may_use(model)));
        assert!(
            !identity(&[], None).may_use("llama"),
            "none listed, none allowed"
        );
    }

    #[test]
    fn tasks_are_all_or_those_listed() {
        assert!(identity(&[], None).may_do("chat"));
        let holder = identity(&[], Some(&["embed"]));
        assert!(holder.may_do("embed") && !holder.may_do("chat"));
        assert!(!identity(&[], Some(&[])).may_do("chat"));
    }

    #[test]
    fn the_anonymous_one_is_one_and_may_use_all() {
        let anonymous = Identity::anonymous();
        assert!(Arc::ptr_eq(&anonymous, &Identity::anonymous()));
        assert!(anonymous.may_use("anything") && anonymous.may_do("chat"));
    }

    #[test]
    fn operators_are_named() {
        assert!(!Identity::anonymous().may_do("admin"));
        assert!(!identity(&["*"], None).may_do("admin"));
        assert!(identity(&["*"], Some(&["admin"])).may_do("admin"));
    }

    #[test]
    fn a_credential_opens_no_more_than_its_tenant_may() {
        let tenant = Tenant::new(TenantSpec {
            name: "team".to_owned(),
            models: Some(owned(&["org/*"])),
            tasks: Some(owned(&["chat", "admin"])),
            priority: 4,
            ..TenantSpec::default()
        });
        let all = Identity::new(tenant.clone(), Grant::default());
        assert!(all.may_use("org/a") && !all.may_use("llama"));
        assert!(all.may_do("chat") && !all.may_do("embed"));
        assert!(all.may_do("admin"), "the tenant lists it");
        let grant = Grant {
            models: Some(owned(&["org/a", "llama"])),
            tasks: Some(owned(&["chat", "embed"])),
            priority: -10,
            ..Grant::default()
        };
        let some = Identity::new(tenant, grant);
        assert!(some.may_use("org/a") && !some.may_use("org/b") && !some.may_use("llama"));
        assert!(some.may_do("chat") && !some.may_do("embed") && !some.may_do("admin"));
        assert_eq!((some.priority(), some.tenant()), (-6, "team"));
    }
}
