//! Whoever watches the border: told of each exchange, attempt, composition and session, what goes
//! in and what comes out. Nobody watches unless the loader was given a [`Recorder`].

use std::sync::Arc;

use crate::{
    Generation, backend, composition, frontend, inference, serving, slot::GuestError,
    sources::Sources, types,
};

/// What begins, with all that its constructor is given.
#[derive(Clone, Copy, Debug)]
pub enum Begun<'a> {
    /// A client request in a frontend.
    Exchange {
        /// All that it knows of the world.
        context: &'a types::Context,
        /// What is asked, and where.
        head: &'a frontend::RequestHead,
    },
    /// An upstream request in a backend.
    Attempt {
        /// All that it knows of the world.
        context: &'a types::Context,
        /// The worker.
        worker: &'a backend::Worker,
        /// The calls that it is for.
        members: &'a [inference::Call],
    },
    /// A composed call.
    Composition {
        /// All that it knows of the world.
        context: &'a types::Context,
        /// The call.
        call: &'a inference::Call,
        /// What workers offer.
        capabilities: &'a [composition::Capability],
    },
    /// A call in an in-process worker.
    Session {
        /// All that it knows of the world.
        context: &'a types::Context,
        /// The call.
        call: &'a inference::Call,
    },
}

/// What goes into a step.
#[derive(Clone, Copy, Debug)]
pub enum Inputs<'a> {
    /// Of a frontend.
    Exchange(&'a [frontend::Input]),
    /// Of a backend.
    Attempt(&'a [backend::Input]),
    /// Of a composition.
    Composition(&'a [composition::SubEvent]),
    /// Of a session: nothing.
    Session,
}

/// What comes out of it.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// Of a frontend.
    Exchange(&'a [frontend::Action]),
    /// Of a backend.
    Attempt(&'a [backend::Action]),
    /// Of a composition.
    Composition(&'a [composition::Action]),
    /// Of a session.
    Session(&'a serving::Stepped),
}

/// Decides what is watched. Called on the path of requests: it must not wait.
pub trait Recorder: Send + Sync {
    /// Something begins; none: it is not watched. `sources` are those of the constructor.
    fn begin(
        &self,
        generation: &Generation,
        begun: Begun<'_>,
        sources: &Sources,
    ) -> Option<Box<dyn Transcript>>;
}

/// Watches one exchange, attempt, composition or session, until it is dropped.
pub trait Transcript: Send {
    /// What goes in, with the bytes that may be read meanwhile.
    fn inputs(&mut self, inputs: Inputs<'_>, sources: &Sources);
    /// What came out; or how the call ended the instance.
    fn answer(&mut self, answer: Result<Answer<'_>, &GuestError>);
}

/// The loader's recorder, in every generation that it makes.
#[derive(Clone, Default)]
pub(crate) struct Watch(pub(crate) Option<Arc<dyn Recorder>>);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watch").field(&self.0.is_some()).finish()
    }
}
