//! A frontend's calls: authorized, queued, given a worker, translated, retried.

use std::{collections::HashMap, sync::Arc};

use futures_util::FutureExt;
use tokio::time::Instant;
use tollgate_dispatch::{
    catalogue::Resolved,
    driver::Rejection,
    health::Outcome as Health,
    policy::WorkerId,
    pool::{Assignment, Place},
};
use tollgate_limits::{Admission, Grant, Refusal};
use tollgate_plugin::{Sources, frontend, inference};
use tollgate_telemetry::{Operation, spans::Kind};
use tollgate_wire::failure::Failure;

use super::{Asked, CALLS, Call, Exchange, HOST_SOURCES, Happened, Stage, Stop};
use crate::{
    attempt::{self, Member},
    calling::{self, Ask, Queued, Ways},
    compose,
    events::{self, EventReceiver, Said},
    failures,
    house::Reach,
    limits::{self, Metered},
    lists,
    rebase::Rebase,
    run::Run,
    spans::Account,
    tasks,
};

/// What a call costs that was given to a worker.
fn account(accounts: &mut [Account], id: u32) -> Option<&mut Account> {
    accounts.iter_mut().find(|account| account.call == id)
}

impl Exchange<'_> {
    /// What a call costs that was given to a worker.
    pub(super) fn account(&mut self, id: u32) -> Option<&mut Account> {
        account(&mut self.accounts, id)
    }

    pub(super) fn call(&mut self, intent: frontend::Intent) -> Result<(), Stop> {
        if self.calls.len() >= CALLS {
            return Err(self.nonsense("it makes too many calls at once"));
        }
        if self.calls.contains_key(&intent.id) {
            return Err(self.nonsense(format!("it makes call {} twice", intent.id)));
        }
        let held = self.sources.get(0).map_or(0, |source| {
            let progress = source.progress();
            progress.available - progress.released
        });
        let ask = Ask {
            model: intent.model.filter(|model| !model.is_empty()),
            version: intent.version,
            task: intent.task,
            streaming: intent.streaming,
            input_cost: intent.cost.input,
            output_cost: intent.cost.output,
            affinity: intent.affinity,
            priority: intent.priority,
            bytes: held,
        };
        let Asked {
            house,
            route,
            identity,
            claimed,
            record,
            ..
        } = self.asked;
        record.task(tasks::name(&ask.task));
        record.streaming(ask.streaming);
        let mut call = Box::new(Call {
            ask,
            repeatable: intent.repeatable,
            resolved: None,
            stage: Stage::Queued,
            kept: None,
            attempts: 0,
            first_failure: None,
            waiting: None,
            heard: false,
            told_to_pass: false,
        });
        let ways = match calling::ways(house, route, identity, &claimed.dialect, &call.ask) {
            Ok(ways) => ways,
            Err(failure) => {
                self.tell_failed(intent.id, &failure);
                return Ok(());
            }
        };
        let (Some(limits), Some(model)) = (&house.limits, ways.model()) else {
            self.go(intent.id, call, ways);
            return Ok(());
        };
        match limits.admit(identity, model, &call.ask) {
            Admission::Free => self.go(intent.id, call, ways),
            Admission::Decided(admitted) => {
                self.calls.insert(intent.id, call);
                self.admitted(intent.id, ways, admitted);
            }
            Admission::Asking(asking) => {
                call.stage = Stage::Admitting;
                self.calls.insert(intent.id, call);
                let (id, ways) = (intent.id, Box::new(ways));
                self.begin_job(async move { Happened::Admitted(id, ways, asking.await) }.boxed());
            }
        }
        Ok(())
    }

    /// Its tenant's limits have, or have no, room for a call.
    pub(super) fn admitted(&mut self, id: u32, ways: Ways, admitted: Result<Grant, Refusal>) {
        let told = self.asked.house.limits.as_ref().is_some_and(|it| it.told);
        match admitted {
            Ok(grant) => {
                if told {
                    // The first call's: an exchange of several has one head.
                    let _ = self.asked.left.set(grant.fields().clone());
                }
                // Dropped, it is settled: the guest may have taken the call back meanwhile.
                let Some(call) = self.calls.remove(&id) else {
                    return;
                };
                self.metered.retain(|metered| metered.call != id);
                self.metered.truncate(CALLS - 1);
                self.metered.push(Metered::new(id, grant));
                self.go(id, call, ways);
            }
            Err(refusal) => {
                let Asked { house, route, .. } = self.asked;
                house.metrics.rejected(route.name(), refusal.why.label());
                if self.calls.contains_key(&id) {
                    self.tell_failed(id, &limits::failure(&refusal));
                }
                if told {
                    let _ = self.asked.left.set(refusal.fields);
                }
            }
        }
    }

    /// A call goes where it can.
    fn go(&mut self, id: u32, mut call: Box<Call>, ways: Ways) {
        let Asked {
            house,
            route,
            claimed,
            record,
            ..
        } = self.asked;
        match ways {
            Ways::Known(events) => {
                let events = events
                    .into_iter()
                    .map(|event| frontend::CallEvent { call: id, event })
                    .collect();
                self.inputs.push(frontend::Input::Events(events));
            }
            Ways::Composed(resolved, composition) => {
                record.model(&resolved.name);
                record.composed(tasks::name(&call.ask.task), &composition, &resolved.name);
                let model = resolved.name.to_string();
                call.resolved = Some(resolved);
                call.stage = Stage::Composing(composition);
                self.offer(
                    id,
                    frontend::Way::Translate(frontend::TranslateTo { model }),
                );
                self.calls.insert(id, call);
            }
            Ways::Workers(resolved, eligible) => {
                record.model(&resolved.name);
                let merged = !call.ask.streaming && calling::merges(house, &eligible);
                // Whether it is a list is seen in what it is: one that nobody takes whole does not
                // wait for a worker.
                let task = tasks::name(&call.ask.task);
                let dialect = &claimed.dialect;
                if merged || lists::always_apart(house, route, &eligible, dialect, task).is_some() {
                    let model = resolved.name.to_string();
                    call.resolved = Some(resolved);
                    call.stage = Stage::Keyed(eligible);
                    self.offer(
                        id,
                        frontend::Way::Translate(frontend::TranslateTo { model }),
                    );
                    self.calls.insert(id, call);
                } else {
                    call.resolved = Some(resolved.clone());
                    self.queue(id, call, &resolved, eligible, None);
                }
            }
        }
    }

    pub(super) fn offer(&mut self, call: u32, way: frontend::Way) {
        self.inputs
            .push(frontend::Input::Dispatched(frontend::Dispatched {
                call,
                way,
            }));
    }

    pub(super) fn tell_failed(&mut self, call: u32, failure: &Failure) {
        self.asked.record.failed(failure.label());
        self.calls.remove(&call);
        self.settle_failed(call);
        if let Some(account) = self.account(call) {
            account.failed(failure.label());
        }
        self.inputs
            .push(frontend::Input::Events(vec![frontend::CallEvent {
                call,
                event: inference::Event::Failed(failures::to_guest(failure)),
            }]));
    }

    pub(super) fn queue(
        &mut self,
        id: u32,
        mut call: Box<Call>,
        resolved: &Resolved,
        eligible: Arc<[WorkerId]>,
        key: Option<tollgate_dispatch::intern::Key>,
    ) {
        let Asked {
            house,
            route,
            identity,
            deadline,
            ..
        } = self.asked;
        route.spec.retries.pay();
        let place = calling::submit(
            house,
            route,
            identity,
            &call.ask,
            Queued {
                resolved,
                eligible,
                batch_key: key,
                deadline: *deadline,
            },
        );
        match place {
            Err(failure) => self.tell_failed(id, &failure),
            Ok(place) => {
                call.stage = Stage::Queued;
                let mut step = self.step.under().step(Kind::Internal, "queue");
                step.tell("gen_ai.request.model", || resolved.name.to_string());
                call.waiting = Some((Instant::now(), step));
                self.calls.insert(id, call);
                self.wait_for(id, place);
            }
        }
    }

    pub(super) fn wait_for(&mut self, id: u32, mut place: Place<Member>) {
        // The common case: a worker is free, and nothing is kept for a wait.
        if let Some(placed) = (&mut place).now_or_never() {
            self.backlog.push_back(Happened::Placed(id, None, placed));
            return;
        }
        let Some((call, resolved)) = self
            .calls
            .get(&id)
            .and_then(|call| Some((call, call.resolved.clone()?)))
        else {
            return;
        };
        let asked = self.asked;
        let waiting = calling::Waiting {
            house: asked.house.clone(),
            route: asked.route.clone(),
            identity: asked.identity.clone(),
            dialect: asked.claimed.dialect.clone(),
            ask: call.ask.clone(),
            resolved,
        };
        self.jobs.push(
            async move {
                let (resolved, placed) = calling::wait(waiting, place).await;
                Happened::Placed(id, Some(resolved), placed)
            }
            .boxed(),
        );
    }

    pub(super) fn placed(
        &mut self,
        id: u32,
        resolved: Option<Arc<Resolved>>,
        placed: Result<Assignment<Member>, Rejection>,
    ) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if resolved.is_some() {
            call.resolved = resolved;
        }
        let mut waited = None;
        if let Some((since, step)) = call.waiting.take() {
            self.asked.record.queued(since.elapsed());
            waited = Some(step);
        }
        let assignment = match placed {
            Ok(assignment) => assignment,
            Err(rejection) => {
                let failure = call
                    .first_failure
                    .take()
                    .unwrap_or_else(|| calling::rejected(&rejection));
                if let Some(mut step) = waited {
                    step.fail(failure.label());
                }
                self.tell_failed(id, &failure);
                return;
            }
        };
        call.attempts += 1;
        if let Some(metered) = Metered::of(&mut self.metered, id) {
            metered.grant.sent();
        }
        let bill = assignment.bill();
        let Asked { house, record, .. } = self.asked;
        let Some(station) = house.station(assignment.worker().id()) else {
            self.tell_failed(id, &Failure::internal("the worker is not there any more"));
            return;
        };
        let name = &station.handle.spec().name;
        if let Some(mut step) = waited {
            step.tell("tollgate.worker", || name.clone());
            step.tell("tollgate.batch.size", || assignment.size());
        }
        record.worker(name);
        record.worker_dialect(&station.dialect);
        record.batch(assignment.size());
        let model = call.resolved.as_ref().map_or("", |it| &*it.name);
        let task = tasks::name(&call.ask.task);
        let operation = Operation::begin(&house.metrics, task, Some(&*station.provider), model);
        if let Some(operation) = &operation {
            record.operation(operation);
        }
        // A second attempt's takes the first one's place.
        self.accounts.retain(|account| account.call != id);
        self.accounts.truncate(CALLS - 1);
        self.accounts.push(Account::new(id, bill, operation));
        let served_as = call
            .resolved
            .as_ref()
            .and_then(|resolved| calling::served_as(resolved, &station.handle));
        if let Some(served_as) = &served_as {
            record.served_as(served_as);
        }
        let model = served_as.map(|name| name.to_string()).unwrap_or_default();
        let passable = assignment.size() == 1
            && station.dialect == *self.asked.claimed.dialect
            && matches!(station.reach, Reach::Network(_));
        // A guest that was told to pass waits for a response to pass on, and not for events.
        let waits_for_events = !call.told_to_pass;
        call.told_to_pass = passable;
        if let (false, true, Some(kept)) = (passable, waits_for_events, &call.kept) {
            let (content, sources) = (**kept).clone();
            call.stage = Stage::Offered {
                assignment: Some(assignment),
                passable: false,
            };
            self.translate(id, content, sources);
            return;
        }
        call.stage = Stage::Offered {
            assignment: Some(assignment),
            passable,
        };
        let way = if passable {
            frontend::Way::Pass(frontend::PassTo {
                model,
                dialect: station.dialect.clone(),
                options: station.options.clone(),
            })
        } else {
            frontend::Way::Translate(frontend::TranslateTo { model })
        };
        self.offer(id, way);
    }

    pub(super) fn materialise(&mut self, it: frontend::Materialised) -> Result<(), Stop> {
        let Some(call) = self.calls.get_mut(&it.id) else {
            return Ok(());
        };
        let sources = Arc::new(self.sources.snapshot());
        match &mut call.stage {
            Stage::Keyed(eligible) => {
                let eligible = eligible.clone();
                let Some(resolved) = call.resolved.clone() else {
                    return Ok(());
                };
                let Asked {
                    house,
                    route,
                    claimed,
                    ..
                } = self.asked;
                let task = tasks::of(&it.call.task);
                if lists::inputs(&it.call) > 1
                    && let Some(composition) =
                        lists::always_apart(house, route, &eligible, &claimed.dialect, task)
                {
                    self.compose(it.id, composition, resolved, it.call, sources);
                    return Ok(());
                }
                let mut call = self.calls.remove(&it.id).unwrap_or_else(|| unreachable!());
                let key = match call.ask.streaming {
                    true => None,
                    false => {
                        calling::batch_key(house, &resolved, &eligible, &it.call, &mut self.sources)
                    }
                };
                call.kept = Some(Box::new((it.call, sources)));
                self.queue(it.id, call, &resolved, eligible, key);
            }
            Stage::Composing(composition) => {
                let composition = composition.clone();
                let Some(resolved) = call.resolved.clone() else {
                    return Ok(());
                };
                self.compose(it.id, composition, resolved, it.call, sources);
            }
            Stage::Offered { .. } => self.translate(it.id, it.call, sources),
            _ => return Err(self.nonsense(format!("it materialises call {} again", it.id))),
        }
        Ok(())
    }

    /// Has a composition answer a materialised call.
    fn compose(
        &mut self,
        id: u32,
        composition: Arc<str>,
        resolved: Arc<Resolved>,
        content: inference::Call,
        sources: Arc<Sources>,
    ) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.stage = Stage::Running(None);
        if let Some(metered) = Metered::of(&mut self.metered, id) {
            metered.grant.sent();
        }
        let asked = self.asked;
        let (sender, receiver) = events::channel(asked.route.spec.limits.event_buffer);
        let composed = compose::run(compose::Plan {
            house: asked.house.clone(),
            route: asked.route.clone(),
            identity: asked.identity.clone(),
            composition,
            resolved,
            ask: call.ask.clone(),
            context: asked.context.clone(),
            trace: asked.trace.part_of(&self.step),
            deadline: asked.deadline,
            call: content,
            sources,
            events: sender,
        });
        self.jobs.push(composed.map(|()| Happened::Nothing).boxed());
        self.listen(id, receiver);
    }

    /// Sends a materialised call to its worker, by that worker's backend.
    pub(super) fn translate(
        &mut self,
        id: u32,
        mut content: inference::Call,
        sources: Arc<Sources>,
    ) {
        let asked = self.asked;
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Stage::Offered { assignment, .. } = &mut call.stage else {
            return;
        };
        let Some(mut assignment) = assignment.take() else {
            return;
        };
        // What is still arriving streams through, and is gone afterwards.
        call.repeatable &= sources.ids().filter(|id| *id < HOST_SOURCES).all(|id| {
            let source = sources.get(id);
            source.is_ok_and(|source| source.progress().end)
        });
        let worker = assignment.worker().id();
        if let Some(served_as) = call
            .resolved
            .as_ref()
            .and_then(|resolved| calling::served_as(resolved, assignment.worker()))
        {
            content.model = served_as.to_string();
        }
        let Some(station) = asked.house.station(worker) else {
            return;
        };
        let alone = assignment.size() == 1;
        if alone
            && let Some(resolved) = call.resolved.clone()
            && let Some(composition) =
                lists::spreader(&asked.house, &asked.route, &station, &content)
        {
            // The place is given back: each of the calls asks for one of its own. What all of them
            // cost was charged when this one was picked.
            drop(assignment);
            (call.ask.input_cost, call.ask.output_cost) = (0, 0);
            return self.compose(id, composition, resolved, content, sources);
        }
        let (sender, receiver) = events::channel(asked.route.spec.limits.event_buffer);
        let trace = asked.trace.part_of(&self.step);
        let member = Member {
            call: content,
            sources,
            events: sender,
            link: trace.under.link(),
        };
        // Of a batch the one in force is noted: who meets the others last draws for all of them.
        if !alone && let Some(backend) = asked.house.backend(&station) {
            asked.record.backend(backend.name(), backend.number());
        }
        let run = Run {
            house: asked.house.clone(),
            station,
            batch: assignment.batch().clone(),
            context: asked.context.clone(),
            trace,
            deadline: asked.deadline,
            record: alone.then(|| asked.record.clone()),
            limit: asked
                .route
                .spec
                .limits
                .body
                .max(asked.route.spec.limits.message),
        };
        if alone {
            self.jobs
                .push(run.run(vec![member]).map(|()| Happened::Nothing).boxed());
        } else if let Some(meeting) = assignment.join(member) {
            self.jobs.push(
                async move {
                    if let Some(members) = meeting.await {
                        let members = members.into_iter().map(|(_, member)| member).collect();
                        // The batch outlives the member that happened to meet the others.
                        tokio::spawn(run.run(members));
                    }
                    Happened::Nothing
                }
                .boxed(),
            );
        }
        call.stage = Stage::Running(Some(assignment));
        self.listen(id, receiver);
    }

    pub(super) fn listen(&mut self, id: u32, receiver: EventReceiver) {
        self.jobs.push(
            async move {
                let said = receiver.take().await;
                Happened::Events(id, receiver, said)
            }
            .boxed(),
        );
    }

    pub(super) fn said(
        &mut self,
        id: u32,
        receiver: EventReceiver,
        said: Vec<Said>,
    ) -> Result<(), Stop> {
        let Some(call) = self.calls.get_mut(&id) else {
            return Ok(());
        };
        if said.is_empty() {
            let failure = Failure::upstream_unavailable("the worker's answer broke off");
            self.tell_failed(id, &failure);
            return Ok(());
        }
        let mut told = Vec::with_capacity(said.len());
        let mut over = false;
        for Said {
            mut event,
            sources,
            pins,
        } in said
        {
            self.shown.extend(pins);
            if let inference::Event::Other(other) = &event
                && other.name == attempt::ELSEWHERE
            {
                let failure = attempt::elsewhere_failure(&other.payload);
                self.elsewhere(id, failure);
                return Ok(());
            }
            if let inference::Event::Failed(failure) = &event {
                // What a second worker must refuse ends the retry with the first failure.
                let failure = match call.first_failure.take() {
                    Some(first) => first,
                    None => failures::from_guest(failure.clone()),
                };
                self.asked.record.failed(failure.label());
                if let Some(plugin) = &failure.culprit {
                    self.asked.record.blame(plugin);
                }
                if let Some(account) = account(&mut self.accounts, id) {
                    account.failed(failure.label());
                }
                event = inference::Event::Failed(failures::to_guest(&failure));
            }
            if let (inference::TaskKind::ModelMetadata, inference::Event::Models(models)) =
                (&call.ask.task, &event)
                && let ([info], Some(resolved)) = (&models[..], &call.resolved)
                // What is said of a version that was named is not what the model is.
                && call.ask.version.as_deref().is_none_or(str::is_empty)
            {
                let worker = call.stage.worker();
                calling::learn(&self.asked.house, resolved, worker, info);
            }
            if let Some(metered) = Metered::of(&mut self.metered, id) {
                metered.hear(&event);
            }
            if let inference::Event::Usage(usage) = &event {
                self.asked
                    .record
                    .usage(usage.input_tokens, usage.output_tokens);
                if let Some(account) = account(&mut self.accounts, id) {
                    account.used(usage);
                }
            }
            Rebase {
                from: &sources,
                to: &mut self.sources,
                next: &mut self.next_source,
                moved: HashMap::new(),
            }
            .event(&mut event)
            .map_err(|misuse| Stop::Failed(Failure::plugin_failed(misuse.to_string())))?;
            call.heard = true;
            over |= matches!(event, inference::Event::End | inference::Event::Failed(_));
            told.push(frontend::CallEvent { call: id, event });
        }
        if over {
            self.accounts.retain(|account| account.call != id);
            self.metered.retain(|metered| metered.call != id);
            self.calls.remove(&id);
        } else {
            self.listen(id, receiver);
        }
        self.inputs.push(frontend::Input::Events(told));
        Ok(())
    }

    /// What a call has used.
    pub(super) fn used(&mut self, id: u32, usage: &inference::Usage) {
        self.asked
            .record
            .usage(usage.input_tokens, usage.output_tokens);
        if let Some(account) = self.account(id) {
            account.used(usage);
        }
        if let Some(metered) = Metered::of(&mut self.metered, id) {
            metered.grant.used(usage.input_tokens, usage.output_tokens);
        }
    }

    /// What a call was granted that came to nothing: nobody made anything for it.
    fn settle_failed(&mut self, id: u32) {
        if let Some(at) = self.metered.iter().position(|metered| metered.call == id) {
            let mut metered = self.metered.swap_remove(at);
            metered.grant.failed();
        }
    }

    /// An attempt failed before it said anything: another worker may try.
    pub(super) fn elsewhere(&mut self, id: u32, failure: Failure) {
        let attempts = self.asked.route.spec.limits.attempts;
        let begun = self.responder.begun();
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let may = call.repeatable
            && !call.heard
            && !begun
            && call.attempts < attempts
            && self.asked.route.spec.retries.take();
        let assignment = match &mut call.stage {
            Stage::Running(assignment) | Stage::Offered { assignment, .. } => assignment.take(),
            _ => None,
        };
        let label = failure.label().to_owned();
        let first = call.first_failure.take().unwrap_or(failure);
        let place = assignment.and_then(|assignment| {
            assignment.met(Health::Failed);
            assignment.failed(may)
        });
        match place {
            Some(place) => {
                call.first_failure = Some(first);
                call.stage = Stage::Queued;
                self.asked.record.retried();
                let mut step = self.step.under().step(Kind::Internal, "queue");
                step.tell("tollgate.retry", || true);
                call.waiting = Some((Instant::now(), step));
                if let Some(account) = self.account(id) {
                    account.failed(&label);
                }
                self.wait_for(id, place);
            }
            None => self.tell_failed(id, &first),
        }
    }
}
