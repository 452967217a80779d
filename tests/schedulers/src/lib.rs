//! A plugin's policy as the driver's, linked natively: what the host's bindings do, without a
//! sandbox, so that the driver, the simulator and a policy can be tested together in moments.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

use tollgate_dispatch::policy::{self, Policy, PolicyGone};
use tollgate_sdk_scheduler::{Policy as GuestPolicy, scheduling as guest};

/// A policy of a plugin.
pub struct Native<P> {
    policy: P,
    /// Calls after which it is gone, as one that traps is; none: it never is.
    left: Option<u32>,
}

impl<P: GuestPolicy + Send + 'static> Native<P> {
    /// One that goes on for ever.
    pub fn boxed(policy: P) -> Box<dyn Policy> {
        Box::new(Self { policy, left: None })
    }

    /// One that is gone after so many calls.
    pub fn mortal(policy: P, left: u32) -> Box<dyn Policy> {
        Box::new(Self {
            policy,
            left: Some(left),
        })
    }

    fn spend(&mut self) -> Result<(), PolicyGone> {
        match &mut self.left {
            None => Ok(()),
            Some(0) => Err(PolicyGone {
                reason: "made to".into(),
            }),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

impl<P: GuestPolicy + Send + 'static> Policy for Native<P> {
    fn restore(&mut self, now: u64, page: policy::Page) -> Result<(), PolicyGone> {
        self.spend()?;
        let page = guest::Page {
            workers: page.workers.into_iter().map(worker).collect(),
            pending: page.pending.into_iter().map(request).collect(),
            in_flight: page.in_flight.into_iter().map(batch).collect(),
            last: page.last,
        };
        self.policy.restore(now, page);
        Ok(())
    }

    fn step(
        &mut self,
        now: u64,
        events: Vec<policy::Event>,
    ) -> Result<Vec<policy::Action>, PolicyGone> {
        self.spend()?;
        let events = events.into_iter().map(event).collect();
        let actions = self.policy.step(now, events).into_iter();
        Ok(actions.map(action).collect())
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

fn action(it: guest::Action) -> policy::Action {
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
                guest::RejectReason::Other(why) => policy::RejectReason::Other(why),
            },
        },
        guest::Action::WakeAt(at) => policy::Action::WakeAt(at),
        guest::Action::Other(it) => policy::Action::Other(it.name),
    }
}
