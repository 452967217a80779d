//! A task made of other tasks: the composition's sub-calls are ordinary calls, each
//! authorized, queued and sent like a client's own, at most [`AT_ONCE`] together.

use std::{collections::HashMap, sync::Arc};

use futures_util::{
    FutureExt, StreamExt,
    future::{AbortHandle, BoxFuture, abortable},
    stream::FuturesUnordered,
};
use tokio::time::Instant;
use tollgate_dispatch::catalogue::Resolved;
use tollgate_edge::Identity;
use tollgate_plugin::{
    Composition, Generation, GuestError, Sources, composition, inference, types,
};
use tollgate_telemetry::{Operation, spans::Kind};
use tollgate_wire::failure::Failure;

use crate::{
    attempt::{self, Member},
    calling::{self, Ask, Queued, Ways},
    context::Trace,
    events::{self, EventReceiver, EventSender, Pushed, Said},
    failures,
    house::{House, Route},
    lists,
    run::Run,
    session::{inline_texts, inline_vectors},
    tasks,
};

/// Sub-calls at once.
const AT_ONCE: usize = 64;

/// What a composed call is made of.
pub(crate) struct Plan {
    pub(crate) house: Arc<House>,
    pub(crate) route: Arc<Route>,
    pub(crate) identity: Arc<Identity>,
    /// The composition plugin's name.
    pub(crate) composition: Arc<str>,
    pub(crate) resolved: Arc<Resolved>,
    pub(crate) ask: Ask,
    pub(crate) context: types::Context,
    pub(crate) trace: Trace,
    pub(crate) deadline: Instant,
    pub(crate) call: inference::Call,
    pub(crate) sources: Arc<Sources>,
    pub(crate) events: EventSender,
}

/// Runs a composed call to its end: its last event is `end` or `failed`.
pub(crate) async fn run(mut plan: Plan) {
    let events = std::mem::replace(&mut plan.events, events::channel(0).0);
    let Some(generation) = plan.house.shelf.begin(&plan.composition) else {
        return tell(&events, &Failure::internal("the composition is not there"));
    };
    let composed = compose(plan, &generation, &events).await;
    generation.ended(composed.is_err());
    if let Err(failure) = composed {
        tell(&events, &failure);
    }
}

fn tell(events: &EventSender, failure: &Failure) {
    events.push(Said {
        event: inference::Event::Failed(failures::to_guest(failure)),
        sources: Arc::default(),
        pins: Vec::new(),
    });
}

type Waiting = FuturesUnordered<BoxFuture<'static, Heard>>;

/// What a sub-call said, and who goes on listening.
type Heard = (u32, Option<EventReceiver>, Result<Vec<Said>, Failure>);

async fn compose(
    mut plan: Plan,
    generation: &Generation,
    events: &EventSender,
) -> Result<(), Failure> {
    let mut step = plan.trace.under.step(Kind::Internal, "composition");
    step.tell("tollgate.plugin", || generation.name().to_string());
    step.tell("tollgate.plugin.generation", || generation.number());
    plan.trace = plan.trace.part_of(&step);
    let composed = composed(plan, generation, events).await;
    if let Err(failure) = &composed {
        step.fail(failure.label());
    }
    composed
}

async fn composed(
    plan: Plan,
    generation: &Generation,
    events: &EventSender,
) -> Result<(), Failure> {
    let failed = |error: GuestError| failures::of_plugin(&error);
    let mut call = plan.call.clone();
    inline_texts(&mut call, &plan.sources)?;
    call.model = plan.resolved.name.to_string();
    let capabilities = [composition::Capability {
        model: plan.resolved.name.to_string(),
        tasks: plan.resolved.tasks().map(tasks::kind).collect(),
    }];
    let mut context = plan.context.clone();
    context.extensions.extend([
        lists::extension(&plan.house, &plan.resolved),
        types::Extension {
            name: "model".to_owned(),
            payload: plan.resolved.model.name().as_bytes().to_vec(),
        },
    ]);
    let bytes = plan.sources.arrived();
    let guest = Composition::new(generation, bytes, &context, &call, &capabilities);
    let guest = guest.map_err(failed)?;
    let mut shares = lists::Shares::of(&call);
    let mut waiting = Waiting::new();
    // Sub-calls run beside each other, all of them dropped with this one.
    let mut running: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    // At most as many as are waited for: of others there is nothing to cancel.
    let mut open: HashMap<u32, AbortHandle> = HashMap::new();
    let mut told: Vec<composition::SubEvent> = Vec::new();
    loop {
        for action in guest.step(&told).map_err(failed)? {
            match action {
                composition::Action::Call(sub) => {
                    if waiting.len() >= AT_ONCE {
                        return Err(Failure::plugin_failed(
                            "a composition makes too many calls at once",
                        ));
                    }
                    let share = shares.next(&sub.call);
                    let (sender, receiver) = events::channel(plan.route.spec.limits.event_buffer);
                    let (call, handle) = abortable(begin(&plan, share, sub.call, sender));
                    open.insert(sub.id, handle);
                    running.push(call.map(drop).boxed());
                    waiting.push(listen(sub.id, receiver));
                }
                composition::Action::Cancel(id) => {
                    if let Some(handle) = open.get(&id) {
                        handle.abort();
                    }
                }
                composition::Action::Events(said) => {
                    events.room().await;
                    events.begin_step();
                    for event in said {
                        let over =
                            matches!(event, inference::Event::End | inference::Event::Failed(_));
                        let pushed = events.push(Said {
                            event,
                            sources: Arc::default(),
                            pins: Vec::new(),
                        });
                        if over || pushed != Pushed::Queued {
                            return Ok(());
                        }
                    }
                }
                composition::Action::Other(_) => {}
            }
        }
        told = loop {
            tokio::select! {
                biased;
                heard = waiting.next() => {
                    let Some((id, receiver, said)) = heard else {
                        return Err(Failure::plugin_failed("a composition waits for nothing"));
                    };
                    if open.get(&id).is_none_or(AbortHandle::is_aborted) {
                        open.remove(&id);
                        continue;
                    }
                    let before = waiting.len();
                    let told = sub_events(id, receiver, said?, &mut waiting)?;
                    if waiting.len() == before {
                        open.remove(&id);
                    }
                    break told;
                }
                Some(()) = running.next(), if !running.is_empty() => {}
                () = events.gone() => return Ok(()),
            }
        };
    }
}

fn listen(id: u32, receiver: EventReceiver) -> BoxFuture<'static, Heard> {
    async move {
        let said = receiver.take().await;
        (id, Some(receiver), Ok(said))
    }
    .boxed()
}

fn sub_events(
    id: u32,
    receiver: Option<EventReceiver>,
    said: Vec<Said>,
    waiting: &mut Waiting,
) -> Result<Vec<composition::SubEvent>, Failure> {
    if said.is_empty() {
        return Err(Failure::upstream_unavailable("a worker's answer broke off"));
    }
    let mut told = Vec::with_capacity(said.len());
    let mut over = false;
    for Said {
        mut event,
        sources,
        pins: _pins,
    } in said
    {
        if let inference::Event::Other(other) = &event
            && other.name == attempt::ELSEWHERE
        {
            event = inference::Event::Failed(failures::to_guest(&attempt::elsewhere_failure(
                &other.payload,
            )));
        }
        inline_vectors(&mut event, &sources)?;
        over |= matches!(event, inference::Event::End | inference::Event::Failed(_));
        told.push(composition::SubEvent { id, event });
    }
    if let (false, Some(receiver)) = (over, receiver) {
        waiting.push(listen(id, receiver));
    }
    Ok(told)
}

/// One sub-call, from its authorization to its last event.
fn begin(
    plan: &Plan,
    share: lists::Share,
    mut call: inference::Call,
    events: EventSender,
) -> impl Future<Output = ()> + Send + 'static {
    let house = plan.house.clone();
    let route = plan.route.clone();
    let identity = plan.identity.clone();
    let context = plan.context.clone();
    let trace = plan.trace.clone();
    let deadline = plan.deadline;
    let mut queue = trace.under.step(Kind::Internal, "queue");
    let ask = Ask {
        task: tasks::kind(tasks::of(&call.task)),
        model: Some(call.model.clone()),
        version: call.version.clone(),
        streaming: call.streaming,
        input_cost: share.part(plan.ask.input_cost),
        output_cost: share.part(plan.ask.output_cost),
        bytes: share.part_of_bytes(plan.ask.bytes),
        ..plan.ask.clone()
    };
    async move {
        let placed = async {
            // The dialect of nobody: a sub-call is always translated.
            let Ways::Workers(resolved, eligible) =
                calling::ways(&house, &route, &identity, "", &ask)?
            else {
                return Err(Failure::unsupported(
                    "a composition asks for what no worker offers",
                ));
            };
            let place = calling::submit(
                &house,
                &route,
                &identity,
                &ask,
                Queued {
                    resolved: &resolved,
                    eligible,
                    batch_key: None,
                    deadline,
                },
            )?;
            let waiting = calling::Waiting {
                house: house.clone(),
                route: route.clone(),
                identity: identity.clone(),
                dialect: "".into(),
                ask: ask.clone(),
                resolved,
            };
            let (resolved, placed) = calling::wait(waiting, place).await;
            let assignment = placed.map_err(|refused| calling::rejected(&refused))?;
            Ok((resolved, assignment))
        }
        .await;
        let (resolved, assignment) = match placed {
            Ok(placed) => placed,
            Err(failure) => {
                queue.fail(failure.label());
                events.push(Said {
                    event: inference::Event::Failed(failures::to_guest(&failure)),
                    sources: Arc::default(),
                    pins: Vec::new(),
                });
                return;
            }
        };
        queue.end();
        let worker = assignment.worker().id();
        let Some(station) = house.station(worker) else {
            return;
        };
        let task = tasks::of(&call.task);
        let provider = Some(&*station.provider);
        let _operation = Operation::begin(&house.metrics, task, provider, &resolved.name);
        if let Some(served_as) = calling::served_as(&resolved, assignment.worker()) {
            call.model = served_as.to_string();
        }
        let limits = &route.spec.limits;
        let run = Run {
            house,
            station,
            batch: assignment.batch().clone(),
            context,
            trace,
            deadline,
            limit: limits.body.max(limits.message),
            record: None,
        };
        run.run(vec![Member {
            call,
            sources: Arc::default(),
            events,
            link: None,
        }])
        .await;
        drop(assignment);
    }
}
