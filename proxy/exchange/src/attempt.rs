//! One upstream request, in a backend's words: for one call, or for a batch of them.
//!
//! 1. The members' calls are entered in a table of sources of the attempt's own, and
//!    the backend guest is made with them.
//! 2. It is stepped with `start`, and answers with a request, which goes out.
//! 3. Whatever comes back (head, bytes, messages, end) is an input of the next step;
//!    bytes that have arrived go together, up to [`COALESCED`], and nothing is waited
//!    for beyond what is there.
//! 4. Its events go to their members. A single member's full queue stops the reading;
//!    a merged one's fails that member alone.
//! 5. It ends when the guest finishes, when the last member has left (the upstream is
//!    reset), or by a failure that every open member is told.

use std::{collections::HashMap, sync::Arc};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use http::{HeaderName, HeaderValue, Method, Request};
use tokio::{sync::mpsc, time::Instant};
use tollgate_dispatch::health::Outcome as Health;
use tollgate_plugin::{
    Attempt as Guest, Generation, GuestError, LARGE, Sources, backend, inference, types,
};
use tollgate_telemetry::{
    Step,
    spans::{Kind, Link},
};
use tollgate_upstream::{Incoming, Response, SendError, Upstream};
use tollgate_wire::{failure::Failure, source::Source};

use crate::{
    context::{Trace, visible},
    courtesy::Courtesy,
    events::{EventSender, Pushed, Said},
    failures,
    house::Station,
    outgoing::{Outgoing, Sending, writer},
    pieces::pieces,
    reading::{Read, Reader, make_room, progress_of},
    rebase::Rebase,
    spans, tasks, weight,
};

/// Pieces of a request that may wait to be sent.
const SENDS: usize = 16;

/// One caller, and its call: what the members of a batch bring together. Opaque outside.
pub struct Member {
    pub(crate) call: inference::Call,
    /// What the call's held values name.
    pub(crate) sources: Arc<Sources>,
    pub(crate) events: EventSender,
    /// Its caller's span, which that of a batch names.
    pub(crate) link: Option<Link>,
}

/// What an attempt is made of.
pub(crate) struct Plan {
    pub(crate) station: Arc<Station>,
    pub(crate) backend: Arc<Generation>,
    pub(crate) worker: backend::Worker,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) context: types::Context,
    pub(crate) trace: Trace,
    pub(crate) deadline: Instant,
    /// Largest message or body that is held whole.
    pub(crate) limit: u64,
    pub(crate) members: Vec<Member>,
    /// Told when the first output has come, and what it says of the worker.
    pub(crate) first_output: Box<dyn Fn(Health) + Send + Sync>,
}

/// Why an attempt failed before its end, and whether another worker may try.
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    pub(crate) elsewhere: bool,
}

/// Name of the `other` event that tells an exchange that the attempt, not the call, has
/// failed, and may be made again elsewhere. Never shown to a guest.
pub(crate) const ELSEWHERE: &str = "tollgate:attempt-failed";

/// Runs an attempt to its end. Every member's last event is `end` or `failed`, or says
/// that another worker may try. True: the guest finished.
pub(crate) async fn run(plan: Plan) -> bool {
    let deadline = plan.deadline;
    let step = begin_span(&plan);
    let Plan {
        station,
        backend,
        worker,
        upstream,
        context,
        trace,
        limit,
        members,
        first_output,
        ..
    } = plan;
    let mut attempt = Running {
        station,
        backend,
        upstream,
        context,
        trace,
        step,
        request_step: Step::default(),
        usage: None,
        deadline,
        limit,
        members: members.into_iter().map(Some).collect(),
        sources: Sources::default(),
        next_source: 0,
        request: Side::Unsent,
        reading: None,
        first_output: Some(first_output),
        broke_off: false,
        told_failure: false,
        keep: HashMap::new(),
        time_limit: None,
    };
    let ended = tokio::time::timeout_at(deadline, attempt.drive(&worker)).await;
    let complete = matches!(ended, Ok(Ok(())));
    let failed = match ended {
        Ok(Ok(())) => Failed {
            failure: Failure::upstream_invalid("the worker's answer ended before its end"),
            elsewhere: false,
        },
        Ok(Err(failed)) => failed,
        Err(_) => Failed {
            failure: Failure::deadline_exceeded("the deadline passed before the worker was done"),
            elsewhere: false,
        },
    };
    attempt.backend.ended(!complete || attempt.told_failure);
    if !complete {
        attempt.request_step.fail(failed.failure.label());
        attempt.step.fail(failed.failure.label());
    }
    if let Some(usage) = attempt.usage.take() {
        spans::used(&mut attempt.request_step, &usage);
    }
    attempt.fail_open_members(&failed);
    complete
}

/// The span of what the backend does: part of one member's trace, and linked to the others'.
fn begin_span(plan: &Plan) -> Step {
    let mut step = plan.trace.under.step(Kind::Internal, "backend");
    if step.is_on() {
        step.tell("tollgate.plugin", || plan.backend.name().to_string());
        step.tell("tollgate.plugin.generation", || plan.backend.number());
        step.tell("tollgate.dialect", || plan.station.dialect.clone());
        step.tell("tollgate.batch.size", || plan.members.len());
        let own = plan.trace.under.link();
        for member in &plan.members {
            step.link(member.link.filter(|link| Some(*link) != own));
        }
    }
    step
}

enum Side {
    Unsent,
    Open(mpsc::Sender<Sending>),
    Closed,
}

/// What the upstream side waits for.
enum Reading {
    Head(BoxFuture<'static, Result<Response, SendError>>),
    Body {
        reader: Box<Reader<Incoming>>,
        /// The source that is filling: the body's, or the last message's.
        current: Option<(u32, Source)>,
    },
    Over,
}

struct Running {
    station: Arc<Station>,
    backend: Arc<Generation>,
    upstream: Arc<Upstream>,
    context: types::Context,
    trace: Trace,
    /// The span of its request, which ends before its own.
    request_step: Step,
    step: Step,
    /// What its only member used, for the span.
    usage: Option<inference::Usage>,
    deadline: Instant,
    limit: u64,
    /// By member number; none: it has ended or left.
    members: Vec<Option<Member>>,
    sources: Sources,
    next_source: u32,
    request: Side,
    reading: Option<Reading>,
    first_output: Option<Box<dyn Fn(Health) + Send + Sync>>,
    /// The worker broke its answer off.
    broke_off: bool,
    /// The guest told a member that its call has failed.
    told_failure: bool,
    /// What the guest asked to be kept and waits for, by source.
    keep: HashMap<u32, types::Need>,
    /// When what has come by then is the answer: the calls' own limit, a little late, so
    /// that a worker which keeps it by itself can say so.
    time_limit: Option<Instant>,
}

fn guest_failed(error: &GuestError) -> Failed {
    Failed {
        failure: failures::of_plugin(error),
        elsewhere: false,
    }
}

impl Running {
    async fn drive(&mut self, worker: &backend::Worker) -> Result<(), Failed> {
        let mut calls = Vec::with_capacity(self.members.len());
        self.time_limit = self
            .members
            .iter()
            .flatten()
            .filter_map(|member| time_limit(&member.call))
            .max()
            .map(|limit| Instant::now() + limit + GRACE);
        for member in self.members.iter().flatten() {
            let mut call = member.call.clone();
            Rebase {
                from: &member.sources,
                to: &mut self.sources,
                next: &mut self.next_source,
                moved: HashMap::new(),
            }
            .call(&mut call)
            .map_err(|misuse| Failed {
                failure: Failure::plugin_failed(misuse.to_string()),
                elsewhere: false,
            })?;
            calls.push(call);
        }
        // Not only what the calls still name: texts may have been copied into them.
        let members = self.members.iter().flatten();
        let mut large: u64 = members
            .map(|member| member.sources.arrived() + weight::of_call(&member.call) as u64)
            .sum();
        let new = || {
            Guest::new(
                &self.backend,
                large,
                &self.context,
                worker,
                &calls,
                &mut self.sources,
            )
        };
        let mut courtesy = Courtesy::default();
        let guest = courtesy
            .call(large, false, new)
            .map_err(|error| guest_failed(&error))?;
        drop(calls);
        let mut inputs = vec![backend::Input::Start];
        let mut more = false;
        loop {
            for member in self.members.iter().flatten() {
                member.events.begin_step();
            }
            let step = || guest.step(&mut self.sources, &inputs, large > LARGE);
            let actions = courtesy
                .call(large, more, step)
                .map_err(|error| guest_failed(&error))?;
            self.keep.clear();
            for action in actions {
                if let backend::Action::Request(_) | backend::Action::Events(_) = action {
                    large = 0;
                }
                if self.act(&guest, action)? {
                    return Ok(());
                }
            }
            self.release(&inputs);
            if self.members.iter().all(Option::is_none) {
                return Ok(());
            }
            inputs = self.wait().await?;
            more = inputs.iter().all(|input| match input {
                backend::Input::Bytes(progress) | backend::Input::Message(progress) => {
                    !progress.end
                }
                _ => false,
            });
            // What it was shown it may work on at a later step, such as the end.
            large = inputs.iter().fold(large, |most, input| match input {
                backend::Input::Bytes(progress) | backend::Input::Message(progress) => {
                    most.max(self.sources.held(progress.source))
                }
                _ => most,
            });
        }
    }

    /// Lets go of bytes that the guest has seen and did not ask to keep.
    fn release(&mut self, inputs: &[backend::Input]) {
        for input in inputs {
            let (backend::Input::Bytes(progress) | backend::Input::Message(progress)) = input
            else {
                continue;
            };
            let before = self
                .keep
                .get(&progress.source)
                .map_or(progress.available, |need| need.keep_from);
            if let Ok(source) = self.sources.get(progress.source) {
                source.release(before);
            }
            let wanted = self.keep.contains_key(&progress.source);
            if progress.end && !wanted && matches!(input, backend::Input::Message(_)) {
                self.sources.remove(progress.source);
            }
        }
    }

    /// Carries out one action. True: the attempt is complete.
    fn act(&mut self, guest: &Guest, action: backend::Action) -> Result<bool, Failed> {
        match action {
            backend::Action::Request(request) => self.send_request(guest, request)?,
            backend::Action::Send(segments) => {
                let pieces = pieces(&mut self.sources, segments)
                    .map_err(|bad| guest_failed(&guest.condemn(bad.to_string())))?;
                let Side::Open(sender) = &self.request else {
                    return Err(guest_failed(
                        &guest.condemn("it sends where no request is open".into()),
                    ));
                };
                let sending = writer(pieces, self.trace.is_grpc).map_err(|failure| Failed {
                    failure,
                    elsewhere: false,
                })?;
                sender.try_send(sending).map_err(|_| Failed {
                    failure: Failure::overloaded("too much of a request waits to be sent"),
                    elsewhere: false,
                })?;
            }
            backend::Action::EndRequest => self.request = Side::Closed,
            backend::Action::Need(need) => {
                if let Ok(source) = self.sources.get(need.source) {
                    make_room(source, &need, self.limit);
                }
                self.keep.insert(need.source, need);
            }
            backend::Action::Events(events) => {
                for said in events {
                    self.tell(guest, said)?;
                }
            }
            backend::Action::EndUpstream => {
                self.reading = Some(Reading::Over);
                self.request = Side::Closed;
            }
            backend::Action::Finish => return Ok(true),
            backend::Action::Other(_) => {}
        }
        Ok(false)
    }

    fn tell(&mut self, guest: &Guest, said: backend::MemberEvent) -> Result<(), Failed> {
        let at = said.member as usize;
        let alone = self.members.len() == 1;
        let Some(member) = self.members.get_mut(at) else {
            return Err(guest_failed(
                &guest.condemn(format!("it speaks for member {at}, which is not there")),
            ));
        };
        let Some(open) = member else {
            return Ok(());
        };
        if let inference::Event::Failed(failure) = &said.event {
            self.told_failure = true;
            self.step.fail(failures::label(&failure.kind));
        }
        if let inference::Event::Usage(usage) = &said.event
            && alone
            && self.request_step.is_on()
        {
            self.usage = Some(usage.clone());
        }
        let last = matches!(
            said.event,
            inference::Event::End | inference::Event::Failed(_)
        );
        if let Some(told) = self.first_output.take() {
            told(match &said.event {
                inference::Event::Failed(failure) => {
                    outcome(failures::label(&failure.kind), self.broke_off)
                }
                _ => Health::Answered,
            });
        }
        let held = held_values(&said.event);
        let pins = held
            .iter()
            .filter_map(|held| {
                let source = self.sources.get(held.at.source).ok()?;
                Some(source.pin(held.at.offset))
            })
            .collect();
        let sources = if held.is_empty() {
            Arc::default()
        } else {
            Arc::new(self.sources.snapshot())
        };
        let pushed = open.events.push(Said {
            event: said.event,
            sources,
            pins,
        });
        if last || pushed != Pushed::Queued {
            *member = None;
        }
        Ok(())
    }

    fn send_request(&mut self, guest: &Guest, request: backend::Request) -> Result<(), Failed> {
        if !matches!(self.request, Side::Unsent) {
            return Err(guest_failed(
                &guest.condemn("it makes a second request in one attempt".into()),
            ));
        }
        let body = pieces(&mut self.sources, request.body)
            .map_err(|bad| guest_failed(&guest.condemn(bad.to_string())))?;
        let (task, model) = match self.members.iter().flatten().next() {
            Some(member) => (tasks::of(&member.call.task), &member.call.model[..]),
            None => ("", ""),
        };
        self.request_step = spans::request(&self.step.under(), &self.station, task, model);
        let (head, is_grpc) = self
            .head(request.surface, &request.headers)
            .map_err(|reason| guest_failed(&guest.condemn(reason)))?;
        let first = writer(body, is_grpc).map_err(|failure| Failed {
            failure,
            elsewhere: false,
        })?;
        // The request has its own hold on what it names. Of a source that is still filling,
        // the rest would otherwise be kept too, and it would fill no further than its window.
        for id in self.sources.ids().filter(|_| request.end) {
            if let Ok(source) = self.sources.get(id)
                && !source.progress().end
            {
                source.release(u64::MAX);
            }
        }
        let (sender, receiver) = mpsc::channel(SENDS);
        let length = if request.end { first.length } else { None };
        let outgoing = Outgoing::new(first, receiver, length);
        self.request = if request.end {
            Side::Closed
        } else {
            Side::Open(sender)
        };
        let upstream = self.upstream.clone();
        let sending = async move { upstream.send(head, outgoing).await }.boxed();
        self.reading = Some(Reading::Head(sending));
        self.trace.is_grpc = is_grpc;
        Ok(())
    }

    fn head(
        &self,
        surface: backend::Surface,
        headers: &[types::Header],
    ) -> Result<(Request<()>, bool), String> {
        let (method, path, is_grpc) = match surface {
            backend::Surface::Rest(rest) => (
                rest.method
                    .parse::<Method>()
                    .map_err(|_| format!("it asks with the method {:?}", rest.method))?,
                rest.path,
                false,
            ),
            backend::Surface::Grpc(path) => (Method::POST, format!("/{path}"), true),
        };
        let uri = path
            .parse::<http::Uri>()
            .map_err(|_| format!("it asks for the path {path:?}"))?;
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        for header in headers {
            let name = HeaderName::from_bytes(header.name.as_bytes())
                .map_err(|_| format!("it sends the header name {:?}", header.name))?;
            let value = HeaderValue::from_str(&header.value)
                .map_err(|_| format!("it sends a bad value of {:?}", header.name))?;
            request.headers_mut().append(name, value);
        }
        self.trace.write(
            request.headers_mut(),
            is_grpc,
            self.deadline,
            &self.request_step,
        );
        Ok((request, is_grpc))
    }

    /// Waits for what comes next from upstream, or for members that leave.
    async fn wait(&mut self) -> Result<Vec<backend::Input>, Failed> {
        let alone = self.members.len() == 1;
        if alone && let Some(Some(member)) = self.members.first() {
            member.events.room().await;
        }
        let mut leaving: FuturesUnordered<_> = self
            .members
            .iter()
            .enumerate()
            .filter_map(|(at, member)| {
                let member = member.as_ref()?;
                Some(async move {
                    member.events.gone().await;
                    at
                })
            })
            .collect();
        let mut reading = self.reading.take().unwrap_or(Reading::Over);
        let mut left = Vec::new();
        let inputs = {
            // Never dropped half-way but at the very end: bytes could be lost in it.
            let next = next(
                &mut reading,
                &mut self.sources,
                &mut self.next_source,
                &self.keep,
                self.limit,
            );
            tokio::pin!(next);
            loop {
                tokio::select! {
                    biased;
                    Some(at) = leaving.next() => {
                        left.push(at);
                        if leaving.is_empty() {
                            break None;
                        }
                    }
                    inputs = &mut next => break Some(inputs),
                    () = until(self.time_limit) => {
                        self.time_limit = None;
                        break Some(Ok(vec![backend::Input::Cut(types::Cut::Deadline)]));
                    }
                }
            }
        };
        drop(leaving);
        let mut told = Vec::with_capacity(left.len() + 1);
        for at in left {
            self.members[at] = None;
            told.push(backend::Input::Left(u32::try_from(at).unwrap_or(u32::MAX)));
        }
        match inputs {
            // The last member has left. Dropping the reading side resets the upstream.
            None => Ok(told),
            Some(inputs) => {
                let out_of_time = matches!(
                    inputs.as_deref(),
                    Ok([backend::Input::Cut(types::Cut::Deadline)])
                );
                if !out_of_time {
                    self.reading = Some(reading);
                }
                let inputs = inputs?;
                for input in &inputs {
                    match input {
                        backend::Input::Head(head) => {
                            spans::answered(&mut self.request_step, head.status);
                        }
                        backend::Input::Cut(types::Cut::Closed) => {
                            self.request_step.fail("broken");
                        }
                        _ => {}
                    }
                }
                let closed = |input: &_| matches!(input, backend::Input::Cut(types::Cut::Closed));
                self.broke_off |= inputs.iter().any(closed);
                told.extend(inputs);
                Ok(told)
            }
        }
    }

    fn fail_open_members(&mut self, failed: &Failed) {
        let elsewhere = failed.elsewhere && self.first_output.is_some();
        // One that may be made elsewhere is counted by who makes it there.
        if !elsewhere && let Some(told) = self.first_output.take() {
            let outcome = outcome(failed.failure.label(), self.broke_off);
            if outcome != Health::Answered {
                told(outcome);
            }
        }
        for member in self.members.iter_mut().filter_map(Option::take) {
            let failure = failures::to_guest(&failed.failure);
            let event = if elsewhere {
                inference::Event::Other(types::Other {
                    name: ELSEWHERE.into(),
                    payload: format!("{}\n{}", failed.failure.label(), failed.failure.message)
                        .into_bytes(),
                })
            } else {
                inference::Event::Failed(failure)
            };
            let _ = member.events.push(Said {
                event,
                sources: Arc::default(),
                pins: Vec::new(),
            });
        }
    }
}

/// What a failure before any output says of the worker. Only some are its fault.
fn outcome(label: &str, broke_off: bool) -> Health {
    match label {
        "upstream-invalid" | "upstream-unavailable" if broke_off => Health::Failed,
        "upstream-invalid" | "upstream-unavailable" => Health::Garbled,
        _ => Health::Answered,
    }
}

/// What a retry is told of the attempt that failed.
pub(crate) fn elsewhere_failure(payload: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(payload);
    let (label, message) = text.split_once('\n').unwrap_or(("internal", &text));
    Failure::of_label(label, message)
}

/// The values of an event that lie with the host.
fn held_values(event: &inference::Event) -> Vec<types::Held> {
    let tensors = |tensors: &[inference::Tensor]| {
        tensors
            .iter()
            .filter_map(|tensor| match &tensor.data {
                inference::TensorData::Held(held) => Some(held.clone()),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    match event {
        inference::Event::Embeddings(all) => all
            .iter()
            .filter_map(|it| match &it.values {
                inference::Vector::Held(held) => Some(held.clone()),
                inference::Vector::Floats(_) => None,
            })
            .collect(),
        inference::Event::Tensors(it) => tensors(&it.outputs),
        inference::Event::Detokenized(types::Text::Held(held)) => vec![held.clone()],
        inference::Event::Models(all) => all
            .iter()
            .flat_map(|it| tensors(&it.inputs).into_iter().chain(tensors(&it.outputs)))
            .collect(),
        _ => Vec::new(),
    }
}

/// The failure for a request that could not be sent.
pub(crate) fn send_failed(error: &SendError) -> Failed {
    let message = format!("no answer of the worker: {error}");
    let failure = match error {
        SendError::Saturated => Failure::overloaded(message),
        _ => Failure::upstream_unavailable(message),
    };
    Failed {
        failure,
        elsewhere: true,
    }
}

/// The next inputs of a backend.
async fn next(
    reading: &mut Reading,
    sources: &mut Sources,
    next_source: &mut u32,
    keep: &HashMap<u32, types::Need>,
    limit: u64,
) -> Result<Vec<backend::Input>, Failed> {
    let mut inputs = Vec::new();
    if let Reading::Head(sending) = reading {
        let response = sending.await.map_err(|error| send_failed(&error))?;
        inputs.push(backend::Input::Head(types::ResponseHead {
            status: response.head.status.as_u16(),
            headers: visible(&response.head.headers),
        }));
        let reader = Box::new(Reader::new(response.body, &response.head.headers, limit));
        let current = reader
            .source()
            .cloned()
            .map(|source| (number(next_source, sources, &source), source));
        *reading = Reading::Body { reader, current };
    }
    let Reading::Body { reader, current } = reading else {
        return Err(Failed {
            failure: Failure::plugin_failed("a backend waits for nothing"),
            elsewhere: false,
        });
    };
    let want = current
        .as_ref()
        .and_then(|(id, _)| keep.get(id))
        .map_or(types::Want::More, |need| need.until);
    // A body that has come with its head goes with it; else the head goes alone.
    let read = if inputs.is_empty() {
        reader.next(&want).await
    } else {
        match reader.peek(&want) {
            Some(read) => read,
            None => return Ok(inputs),
        }
    };
    let progressed = |current: &Option<(u32, Source)>| {
        current
            .as_ref()
            .map(|(id, source)| progress_of(*id, source))
    };
    match read {
        Read::Bytes(_) => inputs.extend(progressed(current).map(backend::Input::Bytes)),
        Read::MoreOfMessage => inputs.extend(progressed(current).map(backend::Input::Message)),
        Read::Message(source) => {
            let id = number(next_source, sources, &source);
            *current = Some((id, source));
            inputs.extend(progressed(current).map(backend::Input::Message));
        }
        Read::End(end) => {
            *reading = Reading::Over;
            inputs.push(backend::Input::End(end));
        }
        Read::Cut(cut) => {
            *reading = Reading::Over;
            inputs.push(backend::Input::Cut(cut));
        }
    }
    Ok(inputs)
}

/// How late the host keeps a call's time limit.
const GRACE: std::time::Duration = std::time::Duration::from_millis(200);

/// A call's own limit on the time of its generation.
pub(crate) fn time_limit(call: &inference::Call) -> Option<std::time::Duration> {
    let settings = match &call.task {
        inference::Task::Generate(it) => &it.settings,
        inference::Task::Chat(it) => &it.settings,
        _ => return None,
    };
    let limit = settings.stopping.time_limit_ms.filter(|limit| *limit > 0)?;
    Some(std::time::Duration::from_millis(u64::from(limit)))
}

/// Resolves at an instant; never without one.
pub(crate) async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn number(next_source: &mut u32, sources: &mut Sources, source: &Source) -> u32 {
    let id = *next_source;
    *next_source += 1;
    sources.insert(id, source.clone());
    id
}
