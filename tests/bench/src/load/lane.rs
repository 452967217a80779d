//! A lane: one exchange after the other.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::{
    answer::Answer,
    exchange::{self, Break, Exchange},
    fault::{Fault, Trouble},
    hold::Opened,
    http1, http2,
    options::Plan,
    record::{Brought, End, Recorder},
};

/// A lane, with its connections.
pub(super) struct Lane {
    plan: Arc<Plan>,
    connection: usize,
    /// By target.
    http1: Vec<http1::Client>,
    http2: Arc<Vec<http2::Client>>,
    answer: Answer,
    rng: fastrand::Rng,
    recorder: Arc<Mutex<Recorder>>,
}

/// A request's place in a lane's work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// When it is due, or begins.
    pub(super) due: Instant,
    /// Whether it counts: not in the warm-up.
    pub(super) counted: bool,
}

impl Lane {
    /// The lanes of a plan, and what they record: as many recorders as threads.
    pub(super) fn all(plan: &Arc<Plan>) -> (Vec<Self>, Vec<Arc<Mutex<Recorder>>>) {
        let recorders: Vec<_> = (0..plan.threads.max(1))
            .map(|_| Arc::new(Mutex::new(Recorder::new(plan.kinds.len()))))
            .collect();
        let connections = (0..plan.connections).map(|connection| (connection, http2(plan)));
        let lanes = connections.flat_map(|(connection, http2)| {
            (0..plan.streams).map({
                let recorders = &recorders;
                move |stream| {
                    let number = connection * plan.streams + stream;
                    let recorder = recorders[number % recorders.len()].clone();
                    Self::new(plan, number, connection, http2.clone(), recorder)
                }
            })
        });
        (lanes.collect(), recorders)
    }

    /// A lane with connections of its own.
    pub(super) fn alone(plan: &Arc<Plan>, number: usize, recorder: Arc<Mutex<Recorder>>) -> Self {
        Self::new(plan, number, number, http2(plan), recorder)
    }

    fn new(
        plan: &Arc<Plan>,
        number: usize,
        connection: usize,
        http2: Arc<Vec<http2::Client>>,
        recorder: Arc<Mutex<Recorder>>,
    ) -> Self {
        let mut http1 = Vec::new();
        http1.resize_with(plan.targets.len(), http1::Client::default);
        Self {
            plan: plan.clone(),
            connection,
            http1,
            http2,
            answer: Answer::default(),
            // Lanes of one seed differ, and each is the same again with the same seed.
            rng: fastrand::Rng::with_seed(plan.seed.wrapping_add((number as u64) << 20)),
            recorder,
        }
    }

    /// Does one exchange of a kind that is drawn, and records it.
    pub(super) async fn turn(&mut self, turn: Turn) {
        let at = self.draw();
        let kind = &self.plan.kinds[at];
        let breaks = kind.abort_fraction > 0.0 && self.rng.f64() < kind.abort_fraction;
        let point = breaks.then(|| Break::draw(&mut self.rng, kind.stream));
        let (brought, end) = self.exchange(at, turn, point, None).await;
        if turn.counted {
            let mut recorder = self.recorder.lock();
            recorder.ended(at, turn.due, Instant::now(), brought, &end);
        }
        if let Err(Fault {
            trouble: Trouble::Connect,
            ..
        }) = end
        {
            exchange::pause().await;
        }
    }

    /// Opens a stream and keeps it open; gives how it ended, which it should not.
    pub(super) async fn keep(&mut self, opened: &Opened) -> Result<End, Fault> {
        let at = self.draw();
        let turn = Turn {
            due: Instant::now(),
            counted: false,
        };
        self.exchange(at, turn, None, Some(opened)).await.1
    }

    async fn exchange(
        &mut self,
        at: usize,
        turn: Turn,
        point: Option<Break>,
        opened: Option<&Opened>,
    ) -> (Brought, Result<End, Fault>) {
        let plan = &*self.plan;
        let kind = &plan.kinds[at];
        let target = plan.targets[kind.target].address;
        let source = plan.source(self.connection);
        let mut exchange = Exchange::new(kind, at, &mut self.answer, turn.due);
        exchange.recorder = turn.counted.then_some(&self.recorder);
        exchange.point = point;
        exchange.opened = opened;
        let http1 = &mut self.http1[kind.target];
        let http2 = &self.http2[kind.target];
        let work = async {
            if kind.is_http2() {
                http2.exchange(target, source, &mut exchange).await
            } else {
                http1.exchange(target, source, &mut exchange).await
            }
        };
        // What is held is held as long as it takes.
        let end = if opened.is_some() {
            work.await
        } else {
            let late = || Fault::new(Trouble::Timeout, format!("{:?}", plan.timeout));
            timeout(plan.timeout, work)
                .await
                .unwrap_or_else(|_| Err(late()))
        };
        (exchange.brought, end)
    }

    /// The number of a kind, by weight.
    fn draw(&mut self) -> usize {
        let kinds = &self.plan.kinds;
        if kinds.len() == 1 {
            return 0;
        }
        let total: f64 = kinds.iter().map(|kind| kind.weight).sum();
        let mut left = self.rng.f64() * total;
        for (at, kind) in kinds.iter().enumerate() {
            left -= kind.weight;
            if left < 0.0 {
                return at;
            }
        }
        // Rounding; the last one that is drawn at all.
        kinds
            .iter()
            .rposition(|kind| kind.weight > 0.0)
            .unwrap_or(0)
    }
}

fn http2(plan: &Plan) -> Arc<Vec<http2::Client>> {
    let mut clients = Vec::new();
    clients.resize_with(plan.targets.len(), http2::Client::default);
    Arc::new(clients)
}
