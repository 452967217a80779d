//! Who asks, and what they may use.

use std::sync::{Arc, LazyLock};

/// The holder of a token, or the anonymous one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: String,
    tenant: String,
    models: Vec<Pattern>,
    tasks: Option<Vec<String>>,
    priority: i32,
}

/// A model's name, or what it begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Is(String),
    Begins(String),
}

/// The task of what changes a worker or shows its inside.
const OPERATORS: &str = "admin";

impl Identity {
    /// Who asks on a route that is open to all: it may use everything there.
    #[must_use]
    pub fn anonymous() -> Arc<Self> {
        static ANONYMOUS: LazyLock<Arc<Identity>> = LazyLock::new(|| {
            let all = vec!["*".to_owned()];
            Arc::new(Identity::new("anonymous", "anonymous", all, None, 0))
        });
        ANONYMOUS.clone()
    }

    /// The holder of a token. A pattern of `models` is a model's name, or the beginning of one and
    /// `*`; a `*` elsewhere is an ordinary character. No pattern: no model. `tasks` are names of
    /// the contract; none given: all. Greater `priority` goes first.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        tenant: impl Into<String>,
        models: Vec<String>,
        tasks: Option<Vec<String>>,
        priority: i32,
    ) -> Self {
        let pattern = |text: String| match text.strip_suffix('*') {
            Some(beginning) => Pattern::Begins(beginning.to_owned()),
            None => Pattern::Is(text),
        };
        Self {
            name: name.into(),
            tenant: tenant.into(),
            models: models.into_iter().map(pattern).collect(),
            tasks,
            priority,
        }
    }

    /// Name of the holder, for the log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose part of the capacity its requests share.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Greater goes first, as far as the scheduler minds it.
    #[must_use]
    pub fn priority(&self) -> i32 {
        self.priority
    }

    /// Whether a model, by the name that clients use, is allowed; case matters.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        self.models.iter().any(|pattern| match pattern {
            Pattern::Is(name) => model == name,
            Pattern::Begins(beginning) => model.starts_with(beginning.as_str()),
        })
    }

    /// Whether a task, by its name in the contract, is allowed. What is for operators is only
    /// where it is listed.
    #[must_use]
    pub fn may_do(&self, task: &str) -> bool {
        match &self.tasks {
            Some(tasks) => tasks.iter().any(|allowed| allowed == task),
            None => task != OPERATORS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(models: &[&str], tasks: Option<&[&str]>) -> Identity {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Identity::new("ci", "team", owned(models), tasks.map(owned), 3)
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
}
