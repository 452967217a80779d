//! Handles to what lives inside guests: exchanges, attempts, compositions, sessions.
//!
//! Each is one resource in one slot. Calls are synchronous and short; a caller with
//! large inputs makes them where the thread may block. Dropping a handle drops the
//! resource.

use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime::component::ResourceAny;

use crate::{
    Generation, backend, composition, frontend,
    generation::Kind,
    inference,
    mask::Says,
    serving,
    slot::{GuestError, Lease, Scope, SlotPool},
    sources::Sources,
    tap::{Answer, Begun, Inputs, Transcript},
    types,
    world::World,
    written,
};

/// Inputs that name more bytes than this get the large budget.
pub const LARGE: u64 = 64 << 10;

/// What is made of more bytes than this gets an instance of its own: a text of this size may
/// be written so that reading it passes a limit of the instance, and that ends all who share
/// it. An instance in which others live has room for the worst that fewer bytes can do.
pub const ALONE: u64 = 1 << 20;

struct Handle<W: World> {
    lease: Lease<W>,
    resource: ResourceAny,
    request: Arc<str>,
    /// Whoever watches it. A call is one thread's at a time, so nobody waits for the lock.
    transcript: Option<Mutex<Box<dyn Transcript>>>,
}

impl<W: World> Drop for Handle<W> {
    fn drop(&mut self) {
        self.lease.drop_resource(self.resource);
    }
}

impl<W: World> Handle<W> {
    /// `bytes`: what it is made of, in all.
    fn new(
        generation: &Generation,
        pool: &Arc<SlotPool<W>>,
        (alone, bytes): (bool, u64),
        (request, begun): (&str, Begun<'_>),
        sources: &mut Sources,
        make: impl FnOnce(&W, &mut wasmtime::Store<crate::host::Guest>) -> wasmtime::Result<ResourceAny>,
    ) -> Result<Self, GuestError> {
        let request: Arc<str> = request.into();
        let lease = if alone || bytes > ALONE {
            pool.lease_alone()?
        } else {
            pool.lease()?
        };
        let resource = lease.call(
            Scope {
                sources,
                request: &request,
                large: bytes > LARGE,
            },
            make,
        )?;
        let recorder = generation.watch.0.as_ref();
        let transcript = recorder.and_then(|it| it.begin(generation, begun, sources));
        Ok(Self {
            lease,
            resource,
            request,
            transcript: transcript.map(Mutex::new),
        })
    }

    /// Steps this resource: whoever watches is told what goes in and what comes out. Nobody is told
    /// the plugin's secrets.
    fn call<T: Says>(
        &self,
        sources: &mut Sources,
        large: bool,
        (inputs, answer): (Inputs<'_>, fn(&T) -> Answer<'_>),
        call: impl FnOnce(
            &W,
            &mut wasmtime::Store<crate::host::Guest>,
            ResourceAny,
        ) -> wasmtime::Result<T>,
    ) -> Result<T, GuestError> {
        let scope = Scope {
            sources,
            request: &self.request,
            large,
        };
        let mut transcript = self.transcript.as_ref().map(Mutex::lock);
        if let Some(transcript) = &mut transcript {
            transcript.inputs(inputs, scope.sources);
        }
        let mut result = self
            .lease
            .call(scope, |world, store| call(world, store, self.resource));
        if let Ok(answer) = &mut result {
            self.lease.mask().answer(answer);
        }
        if let Some(transcript) = &mut transcript {
            transcript.answer(result.as_ref().map(answer));
        }
        result
    }

    /// Linear memory of its instance, in bytes.
    fn memory(&self) -> u64 {
        self.lease.memory()
    }
}

fn wrong_world(generation: &Generation) -> GuestError {
    GuestError::Lost {
        plugin: generation.name.clone(),
    }
}

/// A client request in a frontend.
pub struct Exchange(Handle<crate::bindings::protocol::Protocol>);

impl Exchange {
    /// Begins an exchange; `alone`: in an instance that it shares with nobody, as it gets
    /// too when it is for more than [`ALONE`] bytes.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub fn new(
        generation: &Generation,
        alone: bool,
        bytes: u64,
        context: &types::Context,
        head: &frontend::RequestHead,
    ) -> Result<Self, GuestError> {
        let Kind::Protocol(pool) = &generation.kind else {
            return Err(wrong_world(generation));
        };
        Handle::new(
            generation,
            pool,
            // Its constructor sees none of them.
            (alone || bytes > ALONE, 0),
            (&context.request_id, Begun::Exchange { context, head }),
            &mut Sources::default(),
            |world, store| {
                world
                    .tollgate_plugin_frontend()
                    .exchange()
                    .call_constructor(store, context, head)
            },
        )
        .map(Self)
    }

    /// See `wit/frontend.wit`.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub fn step(
        &self,
        sources: &mut Sources,
        inputs: &[frontend::Input],
        large: bool,
    ) -> Result<Vec<frontend::Action>, GuestError> {
        let answer: fn(&Vec<_>) -> Answer<'_> = |it| Answer::Exchange(it);
        let told = (Inputs::Exchange(inputs), answer);
        let actions = self
            .0
            .call(sources, large, told, |world, store, resource| {
                world
                    .tollgate_plugin_frontend()
                    .exchange()
                    .call_step(store, resource, inputs)
            })?;
        self.0.lease.wrote(written::by_frontend(&actions));
        Ok(actions)
    }

    /// Linear memory of the instance that it lives in, in bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.0.memory()
    }

    /// The guest broke the contract: its slot ends, as after a trap.
    #[must_use]
    pub fn condemn(&self, reason: String) -> GuestError {
        self.0.lease.condemn(reason)
    }
}

/// An upstream request in a backend.
pub struct Attempt(Handle<crate::bindings::protocol::Protocol>);

impl Attempt {
    /// Begins an attempt for the members' calls, made of so many `bytes` of their clients.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub fn new(
        generation: &Generation,
        bytes: u64,
        context: &types::Context,
        worker: &backend::Worker,
        members: &[inference::Call],
        sources: &mut Sources,
    ) -> Result<Self, GuestError> {
        let Kind::Protocol(pool) = &generation.kind else {
            return Err(wrong_world(generation));
        };
        let begun = Begun::Attempt {
            context,
            worker,
            members,
        };
        Handle::new(
            generation,
            pool,
            (false, bytes),
            (&context.request_id, begun),
            sources,
            |world, store| {
                world
                    .tollgate_plugin_backend()
                    .attempt()
                    .call_constructor(store, context, worker, members)
            },
        )
        .map(Self)
    }

    /// See `wit/backend.wit`.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub fn step(
        &self,
        sources: &mut Sources,
        inputs: &[backend::Input],
        large: bool,
    ) -> Result<Vec<backend::Action>, GuestError> {
        let answer: fn(&Vec<_>) -> Answer<'_> = |it| Answer::Attempt(it);
        let told = (Inputs::Attempt(inputs), answer);
        let actions = self
            .0
            .call(sources, large, told, |world, store, resource| {
                world
                    .tollgate_plugin_backend()
                    .attempt()
                    .call_step(store, resource, inputs)
            })?;
        self.0.lease.wrote(written::by_backend(&actions));
        Ok(actions)
    }

    /// Linear memory of the instance that it lives in, in bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.0.memory()
    }

    /// The guest broke the contract: its slot ends, as after a trap.
    #[must_use]
    pub fn condemn(&self, reason: String) -> GuestError {
        self.0.lease.condemn(reason)
    }
}

/// A composed call.
pub struct Composition(Handle<crate::bindings::compose::Compose>);

impl Composition {
    /// Begins to compose a call, made of so many `bytes` of its client's.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub fn new(
        generation: &Generation,
        bytes: u64,
        context: &types::Context,
        call: &inference::Call,
        capabilities: &[composition::Capability],
    ) -> Result<Self, GuestError> {
        let Kind::Compose(pool) = &generation.kind else {
            return Err(wrong_world(generation));
        };
        let begun = Begun::Composition {
            context,
            call,
            capabilities,
        };
        Handle::new(
            generation,
            pool,
            (false, bytes),
            (&context.request_id, begun),
            &mut Sources::default(),
            |world, store| {
                world
                    .tollgate_plugin_composition()
                    .composition()
                    .call_constructor(store, context, call, capabilities)
            },
        )
        .map(Self)
    }

    /// See `wit/composition.wit`.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub fn step(
        &self,
        events: &[composition::SubEvent],
    ) -> Result<Vec<composition::Action>, GuestError> {
        let answer: fn(&Vec<_>) -> Answer<'_> = |it| Answer::Composition(it);
        let told = (Inputs::Composition(events), answer);
        let sources = &mut Sources::default();
        self.0.call(sources, true, told, |world, store, resource| {
            world
                .tollgate_plugin_composition()
                .composition()
                .call_step(store, resource, events)
        })
    }

    /// Linear memory of the instance that it lives in, in bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.0.memory()
    }
}

/// A call in an in-process worker.
pub struct Session(Handle<crate::bindings::worker::Worker>);

impl Session {
    /// Begins to serve a call, made of so many `bytes` of its client's.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub fn new(
        generation: &Generation,
        bytes: u64,
        context: &types::Context,
        call: &inference::Call,
    ) -> Result<Self, GuestError> {
        let Kind::Worker(pool) = &generation.kind else {
            return Err(wrong_world(generation));
        };
        Handle::new(
            generation,
            pool,
            (false, bytes),
            (&context.request_id, Begun::Session { context, call }),
            &mut Sources::default(),
            |world, store| {
                world
                    .tollgate_plugin_serving()
                    .session()
                    .call_constructor(store, context, call)
            },
        )
        .map(Self)
    }

    /// See `wit/serving.wit`.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub fn step(&self) -> Result<serving::Stepped, GuestError> {
        let answer: fn(&_) -> Answer<'_> = |it| Answer::Session(it);
        let told = (Inputs::Session, answer);
        let sources = &mut Sources::default();
        let stepped = self.0.call(sources, true, told, |world, store, resource| {
            world
                .tollgate_plugin_serving()
                .session()
                .call_step(store, resource)
        })?;
        self.0.lease.wrote(written::by_worker(&stepped.events));
        Ok(stepped)
    }

    /// Linear memory of the instance that it lives in, in bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.0.memory()
    }
}

fn once<W: World, T>(
    pool: &Arc<SlotPool<W>>,
    sources: &mut Sources,
    call: impl FnOnce(&W, &mut wasmtime::Store<crate::host::Guest>) -> wasmtime::Result<T>,
) -> Result<T, GuestError> {
    pool.lease()?.call(
        Scope {
            sources,
            request: &Arc::from("-"),
            large: true,
        },
        call,
    )
}

/// Linear memory of a configured instance that nobody has used.
fn at_start<W: World>(pool: &Arc<SlotPool<W>>) -> Result<u64, GuestError> {
    Ok(pool.lease_alone()?.memory())
}

impl Generation {
    /// Linear memory of an instance that has been configured and has served nobody, in bytes.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub fn memory_at_start(&self) -> Result<u64, GuestError> {
        match &self.kind {
            Kind::Protocol(pool) => at_start(pool),
            Kind::Compose(pool) => at_start(pool),
            Kind::Scheduler(pool) => at_start(pool),
            Kind::Worker(pool) => at_start(pool),
            Kind::None => Ok(0),
        }
    }

    /// Models of an in-process worker.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub fn models(&self) -> Result<Vec<inference::ModelInfo>, GuestError> {
        let Kind::Worker(pool) = &self.kind else {
            return Err(wrong_world(self));
        };
        once(pool, &mut Sources::default(), |world, store| {
            world.tollgate_plugin_serving().call_models(store)
        })
    }

    /// Calls with equal keys may be merged into one attempt.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub fn batch_key(
        &self,
        worker: &backend::Worker,
        call: &inference::Call,
        sources: &mut Sources,
    ) -> Result<Option<String>, GuestError> {
        let Kind::Protocol(pool) = &self.kind else {
            return Err(wrong_world(self));
        };
        once(pool, sources, |world, store| {
            world
                .tollgate_plugin_backend()
                .call_batch_key(store, worker, call)
        })
    }

    /// What to ask a worker to learn how it is.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub fn probe(
        &self,
        worker: &backend::Worker,
    ) -> Result<Vec<backend::ProbeRequest>, GuestError> {
        let Kind::Protocol(pool) = &self.kind else {
            return Err(wrong_world(self));
        };
        once(pool, &mut Sources::default(), |world, store| {
            world.tollgate_plugin_backend().call_probe(store, worker)
        })
    }

    /// Reads the answers to a probe.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub fn judge(
        &self,
        worker: &backend::Worker,
        responses: &[backend::ProbeResponse],
    ) -> Result<backend::Health, GuestError> {
        let Kind::Protocol(pool) = &self.kind else {
            return Err(wrong_world(self));
        };
        let mut health = once(pool, &mut Sources::default(), |world, store| {
            world
                .tollgate_plugin_backend()
                .call_judge(store, worker, responses)
        })?;
        self.mask.answer(&mut health);
        Ok(health)
    }
}
