//! What a plugin says that others read, without the secrets of its options: why it failed, why a call
//! failed, how a worker is, lines of the log. Everything that guests answer or write comes through here.
//!
//! What a frontend sends to its client and a backend to its worker is left as it is: a credential was
//! given to be sent.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::RwLock;

use crate::{backend, composition, frontend, inference, serving, types};

/// Gives a text without its secrets.
pub type Hide = dyn Fn(&str) -> String + Send + Sync;

/// Takes secrets out of what one plugin says. Most plugins have none: then nothing is looked at.
#[derive(Clone, Default)]
pub struct Mask(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Whether there is anything to hide: read without a lock at each step of a guest.
    any: AtomicBool,
    hide: RwLock<Option<Arc<Hide>>>,
}

impl Mask {
    /// Hides what `hide` takes out; none: there is nothing to be hidden.
    #[must_use]
    pub fn new(hide: Option<Arc<Hide>>) -> Self {
        let mask = Self::default();
        mask.set(hide);
        mask
    }

    /// Hides something else from now on: the workers whose options it is told have changed.
    pub fn set(&self, hide: Option<Arc<Hide>>) {
        let any = hide.is_some();
        *self.0.hide.write() = hide;
        self.0.any.store(any, Ordering::Release);
    }

    /// None: there is nothing to be hidden.
    fn hide(&self) -> Option<Arc<Hide>> {
        match self.0.any.load(Ordering::Acquire) {
            true => self.0.hide.read().clone(),
            false => None,
        }
    }

    /// A text of its own.
    #[must_use]
    pub(crate) fn text(&self, text: String) -> String {
        match self.hide() {
            Some(hide) => hide(&text),
            None => text,
        }
    }

    /// What a guest answers.
    pub(crate) fn answer(&self, answer: &mut impl Says) {
        if let Some(hide) = self.hide() {
            answer.hide(&*hide);
        }
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = self.0.any.load(Ordering::Relaxed);
        f.debug_tuple("Mask").field(&any).finish()
    }
}

/// An answer of a guest in which it may say why something failed.
pub(crate) trait Says {
    fn hide(&mut self, hide: &Hide);
}

impl<T: Says> Says for Vec<T> {
    fn hide(&mut self, hide: &Hide) {
        for one in self {
            one.hide(hide);
        }
    }
}

impl<T: Says> Says for Option<T> {
    fn hide(&mut self, hide: &Hide) {
        if let Some(one) = self {
            one.hide(hide);
        }
    }
}

impl Says for String {
    fn hide(&mut self, hide: &Hide) {
        *self = hide(self.as_str());
    }
}

impl Says for types::Failure {
    fn hide(&mut self, hide: &Hide) {
        self.message.hide(hide);
        self.param.hide(hide);
        if let types::FailureKind::Other(kind) = &mut self.kind {
            kind.hide(hide);
        }
    }
}

impl Says for inference::Event {
    fn hide(&mut self, hide: &Hide) {
        if let Self::Failed(failure) = self {
            failure.hide(hide);
        }
    }
}

impl Says for frontend::Action {
    fn hide(&mut self, hide: &Hide) {
        if let Self::Refuse(failure) = self {
            failure.hide(hide);
        }
    }
}

impl Says for backend::Action {
    fn hide(&mut self, hide: &Hide) {
        if let Self::Events(events) = self {
            for of_member in events {
                of_member.event.hide(hide);
            }
        }
    }
}

impl Says for backend::Health {
    fn hide(&mut self, hide: &Hide) {
        self.reason.hide(hide);
    }
}

impl Says for composition::Action {
    fn hide(&mut self, hide: &Hide) {
        if let Self::Events(events) = self {
            events.hide(hide);
        }
    }
}

impl Says for serving::Stepped {
    fn hide(&mut self, hide: &Hide) {
        self.events.hide(hide);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask() -> Mask {
        Mask::new(Some(Arc::new(|text: &str| {
            text.replace("sesame", "(masked)")
        })))
    }

    fn failure() -> types::Failure {
        types::Failure {
            kind: types::FailureKind::Other("sesame".to_owned()),
            message: "no sesame".to_owned(),
            param: Some("sesame".to_owned()),
            retry_after_ms: None,
            extensions: Vec::new(),
        }
    }

    #[test]
    fn failures_are_masked_wherever_they_stand() {
        let event = || inference::Event::Failed(failure());
        let mut refused = vec![frontend::Action::Refuse(failure())];
        let of_member = backend::MemberEvent {
            member: 0,
            event: event(),
        };
        let mut attempted = vec![backend::Action::Events(vec![of_member])];
        let mut composed = vec![composition::Action::Events(vec![event()])];
        let mut served = serving::Stepped {
            events: vec![event()],
            progress: serving::Progress::Done,
        };
        let mask = mask();
        mask.answer(&mut refused);
        mask.answer(&mut attempted);
        mask.answer(&mut composed);
        mask.answer(&mut served);
        for told in [
            format!("{refused:?}"),
            format!("{attempted:?}"),
            format!("{composed:?}"),
            format!("{served:?}"),
        ] {
            assert_eq!(told.matches("(masked)").count(), 3, "{told}");
            assert!(!told.contains("sesame"), "{told}");
        }
    }

    #[test]
    fn what_is_hidden_may_change() {
        let mask = mask();
        assert_eq!(mask.text("sesame".to_owned()), "(masked)");
        mask.set(None);
        assert_eq!(mask.text("sesame".to_owned()), "sesame");
    }
}
