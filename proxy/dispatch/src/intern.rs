//! Turns names (models, tenants, batch keys) into small numbers that policies can compare.
//!
//! A number belongs to its name for as long as a [`Key`] of it lives. A name that nobody holds
//! keeps its number too, until the table is full: then all such names are dropped at once, so that
//! names that clients choose cannot fill it for good.
//!
//! A name of a model also carries its load over all routes and pools: what waits for it and what
//! runs. Two counters beside the number, so that counting takes no look-up and no lock.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

/// A name and its number, held. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Key(Arc<Named>);

#[derive(Debug)]
struct Named {
    number: u32,
    name: Arc<str>,
    waiting: AtomicUsize,
    running: AtomicUsize,
}

/// What is asked of a model at one moment, over all routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Calls that wait for a worker.
    pub waiting: usize,
    /// Calls that a worker has.
    pub running: usize,
}

/// Every name is held, and there are as many as are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many different names at once")]
pub struct TooManyNames;

/// A bounded table of names. Numbers begin at 1: 0 means none.
#[derive(Debug)]
pub struct Interner {
    table: DashMap<Arc<str>, Arc<Named>>,
    next: AtomicU32,
    most: usize,
}

// === impl Key ===

impl Key {
    /// The number; not zero.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.0.number
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// What is asked of the model of that name now.
    #[must_use]
    pub fn load(&self) -> Load {
        Load {
            waiting: self.0.waiting.load(Ordering::Relaxed),
            running: self.0.running.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn waits(&self) {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn waits_no_more(&self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn runs(&self) {
        self.0.running.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn runs_no_more(&self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.number == other.0.number && self.0.name == other.0.name
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.number.hash(state);
        self.0.name.hash(state);
    }
}

// === impl Interner ===

impl Interner {
    /// A table of at most `most` names; under contention it may be passed by one a core. At least
    /// one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            table: DashMap::new(),
            next: AtomicU32::new(1),
            most: most.max(1),
        }
    }

    /// The number of a name.
    ///
    /// # Errors
    /// The table is full of names that are held. The caller goes on with 0 where that has a
    /// meaning (a batch of one), or refuses the request.
    pub fn intern(&self, name: &str) -> Result<Key, TooManyNames> {
        if let Some(found) = self.table.get(name) {
            return Ok(Key(found.clone()));
        }
        if self.table.len() >= self.most {
            // A key is only cloned out of the table under its shard's lock, which `retain` takes.
            self.table.retain(|_, named| Arc::strong_count(named) > 1);
            if self.table.len() >= self.most {
                return Err(TooManyNames);
            }
        }
        let name: Arc<str> = name.into();
        Ok(match self.table.entry(name.clone()) {
            Entry::Occupied(found) => Key(found.get().clone()),
            Entry::Vacant(free) => {
                let number = self.fresh();
                let named = Named {
                    number,
                    name,
                    waiting: AtomicUsize::new(0),
                    running: AtomicUsize::new(0),
                };
                Key(free.insert(Arc::new(named)).clone())
            }
        })
    }

    /// Names in the table, held or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// After 2³² new names numbers come again; a clash would need one name held all that while.
    fn fresh(&self) -> u32 {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number != 0 {
                return number;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_have_equal_numbers_and_zero_is_never_one() {
        let names = Interner::new(8);
        let a = names.intern("a").unwrap();
        let b = names.intern("b").unwrap();
        assert_eq!(a.number(), names.intern("a").unwrap().number());
        assert_ne!(a.number(), b.number());
        assert_ne!(a.number(), 0);
        assert_eq!(&**b.name(), "b");
    }

    #[test]
    fn names_that_nobody_holds_make_room() {
        let names = Interner::new(2);
        let held = names.intern("held").unwrap();
        for n in 0..100 {
            names.intern(&format!("passing {n}")).unwrap();
            assert!(names.len() <= 2);
        }
        assert_eq!(names.intern("held").unwrap(), held);
    }

    #[test]
    fn a_table_of_held_names_refuses() {
        let names = Interner::new(2);
        let _a = names.intern("a").unwrap();
        let b = names.intern("b").unwrap();
        assert_eq!(names.intern("c"), Err(TooManyNames));
        drop(b);
        assert!(names.intern("c").is_ok());
    }

    #[test]
    fn a_name_carries_its_load_as_long_as_it_is_held() {
        let names = Interner::new(2);
        let held = names.intern("m").unwrap();
        held.waits();
        held.waits();
        names.intern("m").unwrap().waits_no_more();
        held.runs();
        let load = |waiting, running| Load { waiting, running };
        assert_eq!(names.intern("m").unwrap().load(), load(1, 1));
        held.runs_no_more();
        held.waits_no_more();
        assert_eq!(held.load(), load(0, 0));
        assert_eq!(names.intern("other").unwrap().load(), load(0, 0));
    }
}
