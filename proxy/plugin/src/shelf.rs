//! The plugins of a house by name, each with its life: what is in force, on trial, kept and
//! leaving.
//!
//! Who serves a request takes a look ([`Shelf::begin`]) and no lock. What changes goes through the
//! lives ([`crate::life`]), one change at a time, and is then there to be looked at. Only who meets a
//! generation that is out ([`Generation::is_out`]) does not wait until somebody looks after the lives:
//! the one that serves in its place is found at once ([`Shelf::instead_of`]), and where a quarantine
//! is to cost a generation its place, it loses it then.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::{
    Generation,
    life::{CanarySpec, Change, Choice, Life, LifeError, LifeSpec},
};

/// Components of a plugin that are remembered for having lost their place, so that they do not
/// get it again by themselves. The oldest are forgotten.
const BARRED: usize = 8;

/// A plugin is not there, or is of another world.
#[derive(Debug, thiserror::Error)]
#[error("there is no {world} plugin named {name}")]
pub struct NoSuchPlugin {
    name: String,
    world: &'static str,
}

/// What an operator wants of a plugin cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// There is none of that name.
    #[error("there is no plugin named {0}")]
    Unknown(String),
    /// Its life does not allow it.
    #[error("plugin {name}: {error}")]
    Life {
        /// Its name.
        name: String,
        /// Why.
        error: LifeError,
    },
}

/// The choice of a plugin's generations.
pub type Standing = Choice<Arc<Generation>>;

/// A change in the life of a plugin.
pub type GenerationChange = Change<Arc<Generation>>;

/// A component that lost its place, and why.
#[derive(Clone, Debug)]
pub struct Barred {
    /// Its number, while it was loaded.
    pub number: u64,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// Why, for people.
    pub why: &'static str,
    configured: [u8; 32],
}

/// How a plugin's generations stand, for those who want to see it all.
#[derive(Clone, Debug)]
pub struct Report {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// In force.
    pub force: Arc<Generation>,
    /// Whether it is still on probation.
    pub on_probation: bool,
    /// On trial, with its share in hundredths.
    pub candidate: Option<(Arc<Generation>, u32)>,
    /// Kept to go back to, oldest first.
    pub earlier: Vec<Arc<Generation>>,
    /// No longer in force and still serving, oldest first.
    pub leaving: Vec<Arc<Generation>>,
    /// Lost their place, oldest first.
    pub barred: Vec<Barred>,
    /// How often what happened, by its name.
    pub happened: Vec<(&'static str, u64)>,
}

/// The plugins, by name. Bounded by the configuration's.
#[derive(Debug)]
pub struct Shelf {
    standings: ArcSwap<HashMap<Arc<str>, Arc<Standing>>>,
    /// Shared by shelves that follow each other.
    lives: Mutex<HashMap<Arc<str>, Arc<Mutex<Kept>>>>,
    origin: Instant,
}

#[derive(Debug)]
struct Kept {
    life: Life<Arc<Generation>>,
    barred: VecDeque<Barred>,
    happened: Happened,
    /// Changes that came of requests, until [`Shelf::tend`] tells of them. One takes a canary or one
    /// that was kept, so that there are no more than of those.
    untold: Vec<GenerationChange>,
}

/// How often what happened in a plugin's life.
#[derive(Debug, Default)]
struct Happened {
    swapped: u64,
    canaries: u64,
    promoted: u64,
    withdrawn: u64,
    rolled_back: u64,
    overdue: u64,
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            standings: ArcSwap::default(),
            lives: Mutex::default(),
            origin: Instant::now(),
        }
    }
}

impl Shelf {
    /// An empty shelf that will follow another: time goes on on it.
    #[must_use]
    pub fn after(former: &Self) -> Self {
        Self {
            origin: former.origin,
            ..Self::default()
        }
    }

    /// Takes a plugin over from the shelf that this one follows, with its life: what happens to it
    /// from then on happens to one plugin, and is shown on the shelf on which it is done. False:
    /// there is none of that name.
    pub fn take_over(&self, former: &Self, name: &str) -> bool {
        let kept = former.lives.lock().get(name).cloned();
        let Some(kept) = kept else {
            return false;
        };
        self.show(name, &kept.lock().life);
        self.lives.lock().insert(name.into(), kept);
        true
    }

    /// Shows what has happened to plugins since they were taken over.
    pub fn catch_up(&self) {
        for (name, kept) in self.lives.lock().iter() {
            self.show(name, &kept.lock().life);
        }
    }

    /// A plugin's first generation; its life begins. A plugin of that name that was there before
    /// is forgotten with all its generations.
    pub fn begin_life(&self, spec: LifeSpec, generation: Arc<Generation>) {
        let mut lives = self.lives.lock();
        let name = generation.name().clone();
        let kept = Kept {
            life: Life::new(spec, generation, self.origin.elapsed()),
            barred: VecDeque::new(),
            happened: Happened::default(),
            untold: Vec::new(),
        };
        self.show(&name, &kept.life);
        lives.insert(name, Arc::new(Mutex::new(kept)));
    }

    /// A new generation of a plugin, in force at once or as a canary.
    ///
    /// # Errors
    /// There is no plugin of that name.
    pub fn put(
        &self,
        generation: Arc<Generation>,
        canary: Option<CanarySpec>,
    ) -> Result<Vec<GenerationChange>, ShelfError> {
        let name = generation.name().clone();
        self.change(&name, |life, now| {
            Ok(life.put(now, generation, canary, |it| it.signs()))
        })
    }

    /// Puts a plugin's canary in force.
    ///
    /// # Errors
    /// See [`ShelfError`].
    pub fn promote(&self, name: &str) -> Result<Vec<GenerationChange>, ShelfError> {
        self.change(name, |life, now| life.promote(now, |it| it.signs()))
    }

    /// Takes a plugin's canary back, or puts the generation before the one in force in force.
    ///
    /// # Errors
    /// See [`ShelfError`].
    pub fn roll_back(&self, name: &str) -> Result<Vec<GenerationChange>, ShelfError> {
        self.change(name, |life, now| life.roll_back(now, |it| it.signs()))
    }

    /// Looks at how everybody fares and at the time: to be called now and then, and when
    /// something has failed. Tells also what has come of requests since.
    pub fn tend(&self) -> Vec<GenerationChange> {
        let now = self.origin.elapsed();
        let lives: Vec<_> = {
            let lives = self.lives.lock();
            lives
                .iter()
                .map(|it| (it.0.clone(), it.1.clone()))
                .collect()
        };
        let mut changes = Vec::new();
        for (name, kept) in lives {
            let mut kept = kept.lock();
            let untold = std::mem::take(&mut kept.untold);
            let changed = kept.life.tend(now, |it| it.signs());
            self.carry_out(&name, &mut kept, &changed);
            if !untold.is_empty() {
                // It may have been shown on a shelf before this one.
                self.show(&name, &kept.life);
            }
            changes.extend(untold);
            changes.extend(changed);
        }
        cut(&changes);
        changes
    }

    /// Who serves in the place of a generation that is out; that one itself where there is nobody.
    #[must_use]
    pub fn instead_of(&self, out: &Arc<Generation>) -> Arc<Generation> {
        let name = out.name();
        let Some(kept) = self.lives.lock().get(name).cloned() else {
            return out.clone();
        };
        let mut kept = kept.lock();
        let changes = kept.life.relieve(self.origin.elapsed(), |it| it.signs());
        self.carry_out(name, &mut kept, &changes);
        kept.untold.extend(changes);
        let force = kept.life.force().clone();
        // Its place may have been taken on a shelf after this one.
        if self.get(name).as_ref() != Some(&force) {
            self.show(name, &kept.life);
        }
        force
    }

    /// The generation in force.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Generation>> {
        let standings = self.standings.load();
        Some(standings.get(name)?.force().clone())
    }

    /// The generation that the next exchange begins with: the one in force, or a canary, as often
    /// as it is its turn.
    #[must_use]
    pub fn begin(&self, name: &str) -> Option<Arc<Generation>> {
        let standings = self.standings.load();
        Some(self.unless_out(standings.get(name)?.begin()))
    }

    /// The generation in force, for who asks its instances something without beginning an exchange.
    #[must_use]
    pub fn in_service(&self, name: &str) -> Option<Arc<Generation>> {
        let standings = self.standings.load();
        Some(self.unless_out(standings.get(name)?.force()))
    }

    fn unless_out(&self, generation: &Arc<Generation>) -> Arc<Generation> {
        match generation.is_out() {
            true => self.instead_of(generation),
            false => generation.clone(),
        }
    }

    /// How its generations stand.
    #[must_use]
    pub fn standing(&self, name: &str) -> Option<Arc<Standing>> {
        self.standings.load().get(name).cloned()
    }

    /// The generation in force, if it is of that world.
    ///
    /// # Errors
    /// When it is not there or of another world.
    pub fn get_world(
        &self,
        name: &str,
        world: &'static str,
    ) -> Result<Arc<Generation>, NoSuchPlugin> {
        self.get(name)
            .filter(|generation| generation.world() == world)
            .ok_or_else(|| NoSuchPlugin {
                name: name.to_owned(),
                world,
            })
    }

    /// All of those in force, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Generation>> {
        let standings = self.standings.load();
        let mut all: Vec<_> = standings.values().map(|it| it.force().clone()).collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// Whether a component with its options is one that lost its place, and why.
    #[must_use]
    pub fn barred(&self, generation: &Generation) -> Option<Barred> {
        let lives = self.lives.lock();
        let kept = lives.get(generation.name())?.lock();
        let mut barred = kept.barred.iter();
        barred.find(|it| it.is_of(generation)).cloned()
    }

    /// Everything about everybody, by name.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        let lives = self.lives.lock();
        let lives = lives.iter();
        let mut all: Vec<_> = lives.map(|(name, kept)| kept.lock().report(name)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Everything about one.
    #[must_use]
    pub fn report(&self, name: &str) -> Option<Report> {
        let lives = self.lives.lock();
        let (name, kept) = lives.get_key_value(name)?;
        Some(kept.lock().report(name))
    }

    fn change(
        &self,
        name: &str,
        change: impl FnOnce(
            &mut Life<Arc<Generation>>,
            Duration,
        ) -> Result<Vec<GenerationChange>, LifeError>,
    ) -> Result<Vec<GenerationChange>, ShelfError> {
        let kept = self.lives.lock().get(name).cloned();
        let kept = kept.ok_or_else(|| ShelfError::Unknown(name.to_owned()))?;
        let changes = {
            let mut kept = kept.lock();
            let changed = change(&mut kept.life, self.origin.elapsed());
            let changes = changed.map_err(|error| ShelfError::Life {
                name: name.to_owned(),
                error,
            })?;
            self.carry_out(name, &mut kept, &changes);
            changes
        };
        cut(&changes);
        Ok(changes)
    }

    /// Does to the generations what follows from their places, but for [`cut`].
    fn carry_out(&self, name: &str, kept: &mut Kept, changes: &[GenerationChange]) {
        if changes.is_empty() {
            return;
        }
        // New exchanges go elsewhere before instances are taken.
        for change in changes {
            if let Some(to) = gains(change) {
                kept.barred.retain(|it| !it.is_of(to));
                to.revive();
            }
        }
        self.show(name, &kept.life);
        for change in changes {
            kept.happened.count(change);
            if let Some((from, why)) = loses(change) {
                from.retire();
                if let Some(why) = why {
                    kept.bar(from, why);
                }
            }
        }
    }

    fn show(&self, name: &str, life: &Life<Arc<Generation>>) {
        let standing = Arc::new(life.choice());
        self.standings.rcu(|standings| {
            let mut standings = HashMap::clone(standings);
            standings.insert(name.into(), standing.clone());
            standings
        });
    }
}

/// Ends what those whose time is over still serve. A call into one may be running, which is waited
/// for: without a lock that a request could want.
fn cut(changes: &[GenerationChange]) {
    for change in changes {
        if let Change::Overdue { generation } = change {
            generation.cut();
        }
    }
}

/// Who is given exchanges from now on.
fn gains(change: &GenerationChange) -> Option<&Arc<Generation>> {
    match change {
        Change::Swapped { to, .. }
        | Change::Promoted { to, .. }
        | Change::RolledBack { to, .. } => Some(to),
        Change::Canary { candidate } => Some(candidate),
        Change::Withdrawn { .. } | Change::Overdue { .. } => None,
    }
}

/// Who is given none any more, and, where it should not come back by itself, why.
fn loses(change: &GenerationChange) -> Option<(&Arc<Generation>, Option<&'static str>)> {
    use crate::life::Reason;
    match change {
        Change::Swapped { from, .. } | Change::Promoted { from, .. } => Some((from, None)),
        Change::RolledBack { from, why, .. } => Some((from, Some(why.label()))),
        Change::Withdrawn {
            candidate,
            why: Reason::Superseded,
        } => Some((candidate, None)),
        Change::Withdrawn { candidate, why } => Some((candidate, Some(why.label()))),
        Change::Canary { .. } | Change::Overdue { .. } => None,
    }
}

// === impl Kept ===

impl Kept {
    fn bar(&mut self, generation: &Generation, why: &'static str) {
        if self.barred.len() == BARRED {
            self.barred.pop_front();
        }
        self.barred.push_back(Barred {
            number: generation.number(),
            digest: generation.digest().to_owned(),
            why,
            configured: generation.configured,
        });
    }

    fn report(&self, name: &Arc<str>) -> Report {
        Report {
            name: name.clone(),
            force: self.life.force().clone(),
            on_probation: self.life.on_probation(),
            candidate: (self.life.candidate()).map(|(it, percent)| (it.clone(), percent)),
            earlier: self.life.earlier().cloned().collect(),
            leaving: self.life.leaving().cloned().collect(),
            barred: self.barred.iter().cloned().collect(),
            happened: self.happened.named().to_vec(),
        }
    }
}

impl Barred {
    fn is_of(&self, generation: &Generation) -> bool {
        self.digest == generation.digest && self.configured == generation.configured
    }
}

impl Happened {
    fn count(&mut self, change: &GenerationChange) {
        *match change {
            Change::Swapped { .. } => &mut self.swapped,
            Change::Canary { .. } => &mut self.canaries,
            Change::Promoted { .. } => &mut self.promoted,
            Change::Withdrawn { .. } => &mut self.withdrawn,
            Change::RolledBack { .. } => &mut self.rolled_back,
            Change::Overdue { .. } => &mut self.overdue,
        } += 1;
    }

    fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("swapped", self.swapped),
            ("canary", self.canaries),
            ("promoted", self.promoted),
            ("withdrawn", self.withdrawn),
            ("rolled-back", self.rolled_back),
            ("overdue", self.overdue),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::life::Reason;

    fn shelf() -> (Shelf, Arc<Generation>) {
        let shelf = Shelf::default();
        let first = Generation::empty("p");
        shelf.begin_life(LifeSpec::default(), first.clone());
        (shelf, first)
    }

    #[test]
    fn who_began_with_a_generation_keeps_it() {
        let (shelf, first) = shelf();
        let begun = shelf.begin("p").expect("it is there");
        let second = Generation::empty("p");
        shelf.put(second.clone(), None).expect("it is known");
        assert_eq!((&begun, shelf.begin("p")), (&first, Some(second)));
        assert!(shelf.put(Generation::empty("q"), None).is_err());
        assert!(shelf.get("q").is_none());
    }

    #[test]
    fn what_failed_is_remembered_until_it_is_wanted_again() {
        let (shelf, first) = shelf();
        let second = Generation::empty_of("p", "second");
        shelf.put(second.clone(), None).expect("it is known");
        second.replaced();
        let changes = shelf.tend();
        let why = Reason::Failing;
        let (from, to) = (second.clone(), first);
        assert_eq!(changes, [Change::RolledBack { from, to, why }]);
        assert_eq!(shelf.barred(&second).map(|it| it.why), Some("failing"));
        shelf.put(second.clone(), None).expect("it is known");
        assert!(shelf.barred(&second).is_none());
        let report = shelf.report("p").expect("it is there");
        let count = |name| report.happened.iter().find(|(it, _)| *it == name);
        assert_eq!(count("swapped"), Some(&("swapped", 2)));
        assert_eq!(count("rolled-back"), Some(&("rolled-back", 1)));
    }

    #[test]
    fn who_meets_one_that_failed_is_given_another_before_anybody_looks_after_it() {
        let (former, first) = shelf();
        let next = Shelf::after(&former);
        assert!(next.take_over(&former, "p"));
        for shelf in [&former, &next] {
            let second = Generation::empty_of("p", "second");
            shelf.put(second.clone(), None).expect("it is known");
            assert_eq!(shelf.instead_of(&second), second, "nothing is wrong");
            second.replaced();
            // A request may stand on the former shelf, and meet it from there.
            assert_eq!(former.instead_of(&second), first);
            assert_eq!(former.get("p").as_ref(), Some(&first));
            assert_eq!(former.instead_of(&first), first, "there is nobody else");
            // Those who look after the one in use show it there too, and tell of it, once.
            let why = Reason::Failing;
            let (from, to) = (second, first.clone());
            assert_eq!(next.tend(), [Change::RolledBack { from, to, why }]);
            assert_eq!(next.get("p").as_ref(), Some(&first));
            assert_eq!(next.tend(), []);
        }
        let stranger = Generation::empty("q");
        assert_eq!(next.instead_of(&stranger), stranger);
    }

    #[test]
    fn a_shelf_that_follows_shares_lives_and_leaves_the_former_as_it_was() {
        let (former, first) = shelf();
        let next = Shelf::after(&former);
        assert!(next.take_over(&former, "p") && !next.take_over(&former, "q"));
        let second = Generation::empty("p");
        next.put(second.clone(), None).expect("it is known");
        assert_eq!(
            (former.get("p"), next.get("p")),
            (Some(first.clone()), Some(second))
        );
        // One life: what the operator does on the one is known to the other.
        former.roll_back("p").expect("there is one before it");
        next.catch_up();
        assert_eq!(next.get("p"), Some(first));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let (shelf, _) = shelf();
        for digest in 0..20 {
            let next = Generation::empty_of("p", &digest.to_string());
            shelf.put(next, None).expect("it is known");
            shelf.roll_back("p").expect("there is one before it");
        }
        assert_eq!(shelf.report("p").expect("it is there").barred.len(), BARRED);
    }
}
