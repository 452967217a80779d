//! A call that has been given a worker, run there: by a backend, or in a component.

use std::sync::Arc;

use tokio::time::Instant;
use tollgate_dispatch::{health::Outcome as Health, pool::BatchHandle};
use tollgate_plugin::{Generation, types};
use tollgate_telemetry::{Record, spans::Kind};

use crate::{
    attempt::{self, Member, Plan},
    calling,
    context::Trace,
    house::{House, Reach, Station},
    session,
};

/// A call that has been given a worker, ready to run there.
pub(crate) struct Run {
    pub(crate) house: Arc<House>,
    pub(crate) station: Arc<Station>,
    pub(crate) batch: BatchHandle<Member>,
    pub(crate) context: types::Context,
    pub(crate) trace: Trace,
    pub(crate) deadline: Instant,
    pub(crate) limit: u64,
    /// Of a call that goes alone.
    pub(crate) record: Option<Record>,
}

impl Run {
    fn note(&self, generation: &Generation) {
        if let Some(record) = &self.record {
            record.backend(generation.name(), generation.number());
        }
    }

    /// Runs the members' calls at the worker.
    pub(crate) async fn run(self, members: Vec<Member>) {
        let first = self.batch.clone();
        let first_output = Box::new(move |outcome| {
            first.first_output();
            first.met(outcome);
        });
        match &self.station.reach {
            Reach::Component(name) => {
                let generation = self.house.shelf.begin(name);
                let mut step = self.trace.under.step(Kind::Internal, "worker");
                if let Some(generation) = &generation {
                    self.note(generation);
                    step.tell("tollgate.plugin", || generation.name().to_string());
                    step.tell("tollgate.plugin.generation", || generation.number());
                }
                session::run(generation, self.context, self.deadline, members, || {
                    first_output(Health::Answered)
                })
                .await;
                step.end();
                self.batch.finish();
            }
            Reach::Network(upstream) => {
                let Some(backend) = self.house.begin_backend(&self.station) else {
                    return;
                };
                self.note(&backend);
                let complete = attempt::run(Plan {
                    station: self.station.clone(),
                    backend,
                    worker: calling::worker_of(&self.station),
                    upstream: upstream.clone(),
                    context: self.context,
                    trace: self.trace,
                    deadline: self.deadline,
                    limit: self.limit,
                    members,
                    first_output,
                })
                .await;
                // Members of a failed one go back to the queue first: the batch ends with
                // the last of them.
                if complete {
                    self.batch.finish();
                }
            }
        }
    }
}
