//! A scheduler component as a [`Policy`]: conversions, and an instance of its own.

use std::sync::Arc;

use tollgate_dispatch::policy::{self, Policy, PolicyGone};
use wasmtime::component::ResourceAny;

use crate::{
    Generation,
    bindings::scheduler::{Scheduler, exports::tollgate::plugin::scheduling as guest},
    generation::Kind,
    mask::Mask,
    slot::{GuestError, Lease, Scope},
    sources::Sources,
};

/// The policy of one pool, in the sandbox. It shares its instance with nobody.
pub struct GuestPolicy {
    lease: Lease<Scheduler>,
    resource: ResourceAny,
    name: Arc<str>,
}

impl GuestPolicy {
    /// A fresh policy of a scheduler generation.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub fn new(generation: &Generation) -> Result<Self, GuestError> {
        let Kind::Scheduler(pool) = &generation.kind else {
            return Err(GuestError::Lost {
                plugin: generation.name().clone(),
            });
        };
        let lease = pool.lease_alone()?;
        let name: Arc<str> = Arc::from("scheduler");
        let resource = lease.call(
            Scope {
                sources: &mut Sources::default(),
                request: &name,
                large: false,
            },
            |world, store| {
                world
                    .tollgate_plugin_scheduling()
                    .policy()
                    .call_constructor(store)
            },
        )?;
        Ok(Self {
            lease,
            resource,
            name,
        })
    }

    fn call<T>(
        &self,
        large: bool,
        call: impl FnOnce(
            guest::GuestPolicy<'_>,
            &mut wasmtime::Store<crate::host::Guest>,
        ) -> wasmtime::Result<T>,
    ) -> Result<T, PolicyGone> {
        self.lease
            .call(
                Scope {
                    sources: &mut Sources::default(),
                    request: &self.name,
                    large,
                },
                |world, store| call(world.tollgate_plugin_scheduling().policy(), store),
            )
            .map_err(|error| PolicyGone {
                reason: error.to_string(),
            })
    }
}

impl Drop for GuestPolicy {
    fn drop(&mut self) {
        self.lease.drop_resource(self.resource);
    }
}

impl Policy for GuestPolicy {
    fn restore(&mut self, now: u64, page: policy::Page) -> Result<(), PolicyGone> {
        let page = guest::Page {
            workers: page.workers.into_iter().map(worker).collect(),
            pending: page.pending.into_iter().map(request).collect(),
            in_flight: page.in_flight.into_iter().map(batch).collect(),
            last: page.last,
        };
        let resource = self.resource;
        // Outside the decision budget: the fallback rules meanwhile.
        self.call(true, |policy, store| {
            policy.call_restore(store, resource, now, &page)
        })
    }

    fn step(
        &mut self,
        now: u64,
        events: Vec<policy::Event>,
    ) -> Result<Vec<policy::Action>, PolicyGone> {
        let events: Vec<_> = events.into_iter().map(event).collect();
        let resource = self.resource;
        let actions = self.call(false, |policy, store| {
            policy.call_step(store, resource, now, &events)
        })?;
        let mask = self.lease.mask();
        Ok(actions.into_iter().map(|it| action(it, mask)).collect())
    }
}

fn batch(it: policy::Batch) -> guest::Batch {
    let members = it.members.into_iter().map(|it| guest::Member {
        id: it.id,
        model: it.model,
        tenant: it.tenant,
        input_cost: it.input_cost,
        output_cost: it.output_cost,
    });
    guest::Batch {
        id: it.id,
        worker: it.worker,
        members: members.collect(),
        size: it.size,
        dispatched: it.dispatched,
    }
}

fn worker(it: policy::Worker) -> guest::Worker {
    guest::Worker {
        id: it.id,
        accepting: it.accepting,
        models: it.models.to_vec(),
        slots: it.slots,
        busy: it.busy,
        max_batch: it.max_batch,
        identity: it.identity,
        queued: it.queued,
        running: it.running,
        kv_cache_use: it.kv_cache_use,
    }
}

fn request(it: policy::Request) -> guest::Request {
    guest::Request {
        id: it.id,
        model: it.model,
        tenant: it.tenant,
        batch_key: it.batch_key,
        eligible: it.eligible.to_vec(),
        priority: it.priority,
        input_cost: it.input_cost,
        output_cost: it.output_cost,
        arrived: it.arrived,
        deadline: it.deadline,
        affinity: match it.affinity {
            policy::Affinity::None => guest::Affinity::None,
            policy::Affinity::Prefer(blocks) => guest::Affinity::Prefer(blocks.to_vec()),
            policy::Affinity::Pin(key) => guest::Affinity::Pin(key),
        },
        attempts: it.attempts,
        avoid: it.avoid,
    }
}

fn event(it: policy::Event) -> guest::Event {
    match it {
        policy::Event::Arrived(it) => guest::Event::Arrived(request(it)),
        policy::Event::Cancelled(id) => guest::Event::Cancelled(id),
        policy::Event::BatchFinished {
            id,
            worker,
            requests,
            dispatched,
            first_output,
            ended,
        } => guest::Event::BatchFinished(guest::BatchFinished {
            id,
            worker,
            requests: requests.to_vec(),
            dispatched,
            first_output,
            ended,
        }),
        policy::Event::AttemptFailed {
            request: it,
            worker,
        } => guest::Event::AttemptFailed(guest::AttemptFailed {
            request: request(it),
            worker,
        }),
        policy::Event::WorkerChanged(it) => guest::Event::WorkerChanged(worker(it)),
        policy::Event::WorkerGone(id) => guest::Event::WorkerGone(id),
        policy::Event::Timer => guest::Event::Timer,
        policy::Event::Refused {
            requests,
            worker,
            reason,
        } => guest::Event::Refused(guest::Refused {
            requests,
            worker,
            reason: reason.into(),
        }),
        policy::Event::Settled(it) => guest::Event::Settled(guest::Settled {
            id: it.id,
            tenant: it.tenant,
            input_cost: it.input_cost,
            output_cost: it.output_cost,
            input: it.input,
            output: it.output,
        }),
    }
}

fn action(it: guest::Action, mask: &Mask) -> policy::Action {
    match it {
        guest::Action::Dispatch(it) => policy::Action::Dispatch {
            worker: it.worker,
            requests: it.requests,
        },
        guest::Action::Reject(it) => policy::Action::Reject {
            id: it.id,
            reason: match it.reason {
                guest::RejectReason::Overloaded => policy::RejectReason::Overloaded,
                guest::RejectReason::OverShare => policy::RejectReason::OverShare,
                guest::RejectReason::TooLate => policy::RejectReason::TooLate,
                guest::RejectReason::Other(why) => policy::RejectReason::Other(mask.text(why)),
            },
        },
        guest::Action::WakeAt(at) => policy::Action::WakeAt(at),
        guest::Action::Other(it) => policy::Action::Other(mask.text(it.name)),
    }
}
