//! Tries what a component exports before anybody depends on it: each of its resources is
//! constructed once, with the least that the contract allows, and dropped again.
//!
//! What a guest would answer is not judged here; that it answers at all, within its limits, is.

use wasmtime::{Store, component::ResourceAny};

use crate::{
    backend,
    bindings::{
        compose, protocol,
        scheduler::{self, exports::tollgate::plugin::scheduling},
        worker,
    },
    frontend,
    host::Guest,
    inference::{Call, Task},
    limits::Limits,
    manifest::{Claim, Manifest, Surface},
    slot::prepare,
    types::Context,
};

/// Which step failed, and how.
pub(crate) type Failed = (&'static str, wasmtime::Error);

/// On which stage it is tried.
pub(crate) struct Stage<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) manifest: &'a Manifest,
    pub(crate) claims: &'a [Claim],
}

impl Stage<'_> {
    /// One call under the limits of any other.
    fn call<T>(
        &self,
        step: &'static str,
        store: &mut Store<Guest>,
        call: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<T>,
    ) -> Result<T, Failed> {
        let _running = prepare(store, self.limits, true);
        call(store).map_err(|error| (step, error))
    }

    /// Constructs, and drops what came of it.
    fn construct(
        &self,
        step: &'static str,
        store: &mut Store<Guest>,
        make: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<ResourceAny>,
    ) -> Result<(), Failed> {
        let made = self.call(step, store, make)?;
        self.call(step, store, |store| made.resource_drop(store))
    }
}

/// A world whose resources can be tried.
pub(crate) trait Rehearse {
    fn rehearse(&self, store: &mut Store<Guest>, stage: &Stage<'_>) -> Result<(), Failed>;
}

impl Rehearse for protocol::Protocol {
    fn rehearse(&self, store: &mut Store<Guest>, stage: &Stage<'_>) -> Result<(), Failed> {
        let context = context();
        for (number, claim) in (0..).zip(stage.claims).take(1) {
            let head = head(number, claim);
            stage.construct("exchange", store, |store| {
                let exchange = self.tollgate_plugin_frontend().exchange();
                exchange.call_constructor(store, &context, &head)
            })?;
        }
        // One that speaks to no worker says so by offering no task.
        if stage.manifest.tasks.is_empty() {
            return Ok(());
        }
        let worker = backend::Worker {
            name: "trial".to_owned(),
            dialect: stage.manifest.dialects.first().cloned().unwrap_or_default(),
            options: "{}".to_owned(),
            models: Vec::new(),
        };
        let members = [call()];
        stage.construct("attempt", store, |store| {
            let attempt = self.tollgate_plugin_backend().attempt();
            attempt.call_constructor(store, &context, &worker, &members)
        })
    }
}

impl Rehearse for compose::Compose {
    fn rehearse(&self, store: &mut Store<Guest>, stage: &Stage<'_>) -> Result<(), Failed> {
        stage.construct("composition", store, |store| {
            let composition = self.tollgate_plugin_composition().composition();
            composition.call_constructor(store, &context(), &call(), &[])
        })
    }
}

impl Rehearse for worker::Worker {
    fn rehearse(&self, store: &mut Store<Guest>, stage: &Stage<'_>) -> Result<(), Failed> {
        stage.call("models", store, |store| {
            self.tollgate_plugin_serving().call_models(store)
        })?;
        stage.construct("session", store, |store| {
            let session = self.tollgate_plugin_serving().session();
            session.call_constructor(store, &context(), &call())
        })
    }
}

impl Rehearse for scheduler::Scheduler {
    /// One that cannot take over an empty house, or decide nothing when there is nothing to
    /// decide, is no scheduler.
    fn rehearse(&self, store: &mut Store<Guest>, stage: &Stage<'_>) -> Result<(), Failed> {
        let policy = self.tollgate_plugin_scheduling().policy();
        let made = stage.call("policy", store, |store| policy.call_constructor(store))?;
        let page = scheduling::Page {
            workers: Vec::new(),
            pending: Vec::new(),
            in_flight: Vec::new(),
            last: true,
        };
        stage.call("restore", store, |store| {
            policy.call_restore(store, made, 0, &page)
        })?;
        stage.call("step", store, |store| {
            policy.call_step(store, made, 0, &[scheduling::Event::Timer])
        })?;
        stage.call("policy", store, |store| made.resource_drop(store))
    }
}

/// The context of a request that nobody makes.
fn context() -> Context {
    Context {
        request_id: "trial".to_owned(),
        unix_time: 0,
        seed: 0,
        route: "trial".to_owned(),
        default_model: None,
        deadline_ms: Some(1000),
        extensions: Vec::new(),
    }
}

/// The head of one that meets a claim.
fn head(number: u32, claim: &Claim) -> frontend::RequestHead {
    let (method, path) = match &claim.surface {
        Surface::Rest { method, path, .. } => (method.clone(), path.clone()),
        Surface::Grpc {
            service, method, ..
        } => ("POST".to_owned(), format!("/{service}/{method}")),
    };
    frontend::RequestHead {
        claim: number,
        method,
        path,
        query: String::new(),
        parameters: Vec::new(),
        headers: Vec::new(),
    }
}

/// The least that can be asked.
fn call() -> Call {
    Call {
        model: String::new(),
        version: None,
        streaming: false,
        task: Task::ListModels,
        extensions: Vec::new(),
    }
}
