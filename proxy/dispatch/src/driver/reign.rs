//! Who rules a pool, and how the rule passes from one policy to another.

use std::collections::VecDeque;

use super::{Driver, Note, Trouble};
use crate::fallback::Fallback;
use crate::policy::{Event, Page, Policy};

/// Troubles that are kept for the owner; older ones are dropped.
const MAX_TROUBLES: usize = 16;

/// Who decides.
pub(super) enum Ruler {
    Fallback(Fallback),
    Given(Box<dyn Policy>),
}

/// A policy that is being restored.
pub(super) struct Heir {
    pub(super) policy: Box<dyn Policy>,
    pub(super) pages: VecDeque<Page>,
    pub(super) kept: Vec<Event>,
}

impl Driver {
    /// Lets another policy rule, as the module says. One that was being restored is dropped.
    pub fn swap(&mut self, now: u64, policy: Box<dyn Policy>) {
        let now = self.at(now);
        self.note(Note::Swap(now));
        let pages = VecDeque::from(self.truth.pages());
        let many = pages.len() > 1;
        self.heir = Some(Heir {
            policy,
            pages,
            kept: Vec::new(),
        });
        if many && matches!(self.ruler, Ruler::Given(_)) {
            self.enthrone_fallback();
            self.deliver(now);
        }
        self.hand_page(now);
    }

    /// Lets the native fallback rule. A policy that was being restored is dropped.
    pub fn fall_back(&mut self, now: u64) {
        let now = self.at(now);
        self.note(Note::FallBack(now));
        self.heir = None;
        self.enthrone_fallback();
        self.deliver(now);
    }

    /// Hands one page to the policy that is being restored; after the last one it rules.
    pub(super) fn hand_page(&mut self, now: u64) {
        let Some(heir) = &mut self.heir else {
            return;
        };
        if let Some(page) = heir.pages.pop_front() {
            self.calls += 1;
            if let Err(gone) = heir.policy.restore(now, page) {
                self.heir = None;
                self.note(Note::Lost(self.calls));
                self.trouble(Trouble::PolicyGone(gone));
                return;
            }
        }
        if !heir.pages.is_empty() {
            return;
        }
        if let Some(heir) = self.heir.take() {
            self.enthrone(Ruler::Given(heir.policy));
            // What was kept comes before the timer that tells it to begin.
            self.events.splice(0..0, heir.kept);
            self.deliver(now);
        }
    }

    fn enthrone(&mut self, ruler: Ruler) {
        self.ruler = ruler;
        self.timer = None;
        self.refused_in_a_row = 0;
        // What the one before has answered is for it to answer for.
        self.answer.clear();
        self.retell = None;
        self.paged = false;
        self.events = vec![Event::Timer];
    }

    /// Replaces the ruler by a fallback that knows the truth.
    pub(super) fn enthrone_fallback(&mut self) {
        let mut fallback = Fallback::new();
        for page in self.truth.pages() {
            // The fallback's `restore` always succeeds.
            let _ = fallback.restore(self.now, page);
        }
        self.enthrone(Ruler::Fallback(fallback));
    }

    pub(super) fn depose(&mut self, trouble: Trouble) {
        self.enthrone_fallback();
        self.trouble(trouble);
    }

    fn trouble(&mut self, trouble: Trouble) {
        if self.troubles.len() == MAX_TROUBLES {
            self.troubles.pop_front();
        }
        self.troubles.push_back(trouble);
    }
}
