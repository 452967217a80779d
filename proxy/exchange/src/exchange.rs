//! One client request in its frontend: the loop that feeds the guest and carries out
//! what it answers.
//!
//! 1. Something happens: the body gets further, a message comes, a worker is found,
//!    events or a response come. Each wait is a job of its own; what is ready together
//!    goes to the guest together.
//! 2. The guest is stepped, and its actions are carried out in order. Output waits for
//!    room at the client while the jobs go on.
//! 3. The exchange ends when the guest finishes, or with an error in the client's
//!    dialect; if it began to answer already, the response is broken off, so that
//!    nobody takes a part for the whole.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;
use tollgate_dispatch::{
    catalogue::Resolved,
    driver::Rejection,
    health::Outcome as Health,
    policy::WorkerId,
    pool::{Assignment, Place},
};
use tollgate_edge::Identity;
use tollgate_plugin::{
    Exchange as Guest, GuestError, LARGE, Sources, frontend, inference, types,
};
use tollgate_telemetry::Record;
use tollgate_wire::{failure::Failure, grpc, piece::settle, source::Source};

use crate::{
    attempt::{self, Member, Plan},
    calling::{self, Ask, Ways},
    claims::Claimed,
    compose,
    context::Trace,
    events::{self, EventReceiver, Said},
    failures,
    house::{House, Reach, Route, Station},
    outgoing,
    pass::{self, PassedHead},
    pieces::{BadSegment, pieces},
    reading::{Read, Reader, progress_of},
    rebase::Rebase,
    responder::Responder,
    session, tasks,
};

/// Everything known of a request before its frontend is asked.
pub(crate) struct Asked {
    pub(crate) house: Arc<House>,
    pub(crate) route: Arc<Route>,
    pub(crate) claimed: Arc<Claimed>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) head: frontend::RequestHead,
    pub(crate) parts: http::request::Parts,
    pub(crate) context: types::Context,
    pub(crate) trace: Trace,
    pub(crate) deadline: Instant,
    pub(crate) is_grpc: bool,
    pub(crate) record: Record,
}

/// The client's body, as far as it was read before the first step.
pub(crate) enum ClientBody {
    /// None is wanted.
    Nothing,
    /// All of it (REST), or the one message (gRPC).
    Whole(Source),
    /// More comes: the source that fills, if one has begun, and who reads on.
    Arriving(Option<Source>, Reader<Incoming>),
}

/// How an exchange ended.
pub(crate) enum Ended {
    /// Completely, or with an error that the client was told.
    Done,
    /// The guest is gone, and the client has been told nothing.
    Lost(GuestError),
}

/// What a job came to.
enum Happened {
    Nothing,
    Progress(u32),
    Client(Box<Reader<Incoming>>, Read),
    Placed(u32, Result<Assignment<Member>, Rejection>),
    Events(u32, EventReceiver, Vec<Said>),
    Upstream(u32, Box<Reader<tollgate_upstream::Incoming>>, Read),
}

/// How far a call has got.
enum Stage {
    /// Its content is asked for, to learn its batch key.
    Keyed(Arc<[WorkerId]>),
    Queued,
    /// The guest was told; it answers with `pass` or `materialise`.
    Offered {
        assignment: Option<Assignment<Member>>,
        passable: bool,
    },
    /// A composition will answer.
    Composing(Arc<str>),
    /// Upstream, or in a worker component.
    Running(Option<Assignment<Member>>),
    /// Passed, and shown to the guest.
    Shown {
        _assignment: Assignment<Member>,
        source: Option<(u32, Source)>,
        tapped: bool,
    },
}

struct Call {
    ask: Ask,
    repeatable: bool,
    resolved: Option<Arc<Resolved>>,
    stage: Stage,
    /// Materialised before it was queued.
    kept: Option<(inference::Call, Arc<Sources>)>,
    attempts: u32,
    first_failure: Option<Failure>,
    /// The guest has seen an event or a response of it.
    heard: bool,
}

/// Why the loop ends early.
enum Stop {
    /// The response is complete.
    Done,
    /// The guest is gone.
    Guest(GuestError),
    /// The host ends it with this failure.
    Failed(Failure),
    /// Output could not be written to its end.
    Broken(&'static str),
}

impl From<GuestError> for Stop {
    fn from(error: GuestError) -> Self {
        Self::Guest(error)
    }
}

type Jobs = FuturesUnordered<BoxFuture<'static, Happened>>;

/// One run of a request through its frontend.
pub(crate) struct Exchange<'a> {
    asked: &'a Asked,
    guest: Guest,
    responder: Responder,
    sources: Sources,
    next_source: u32,
    jobs: Jobs,
    /// What happened while output was being written.
    backlog: VecDeque<Happened>,
    inputs: Vec<frontend::Input>,
    calls: HashMap<u32, Call>,
    needs: HashMap<u32, types::Need>,
    /// The source that the client is filling.
    arriving: Option<u32>,
    head: Option<Response<()>>,
    /// Reads the client's next message, once there is room for it.
    parked: Option<Reader<Incoming>>,
    /// A tapped response is complete: only the guest's counting is left.
    tapped_out: bool,
    ended: bool,
    limit: u64,
}

/// Messages of a client that may be numbered before the host's own sources.
const HOST_SOURCES: u32 = 1 << 31;

/// Calls of one exchange at once.
const CALLS: usize = 256;

/// Calls in flight past which no further message of the client's is read.
const IN_FLIGHT: usize = 64;

/// Happenings that go to the guest in one step, at most.
const TOGETHER: usize = 16;

/// Runs a request through its frontend once.
pub(crate) async fn run(
    asked: &Asked,
    alone: bool,
    body: ClientBody,
    responder: Responder,
) -> Ended {
    let guest = match Guest::new(&asked.claimed.frontend, alone, &asked.context, &asked.head) {
        Ok(guest) => guest,
        Err(error) => return Ended::Lost(error),
    };
    let limits = &asked.route.spec.limits;
    let mut exchange = Exchange {
        asked,
        guest,
        responder,
        sources: Sources::default(),
        next_source: HOST_SOURCES,
        jobs: FuturesUnordered::new(),
        backlog: VecDeque::new(),
        inputs: Vec::new(),
        calls: HashMap::new(),
        needs: HashMap::new(),
        arriving: None,
        head: None,
        parked: None,
        tapped_out: false,
        ended: false,
        limit: if asked.is_grpc {
            limits.message
        } else {
            limits.body
        },
    };
    exchange.begin(body);
    let stopped = match tokio::time::timeout_at(asked.deadline, exchange.drive()).await {
        Ok(stop) => stop,
        Err(_) => Stop::Failed(Failure::deadline_exceeded(
            "the deadline passed before the answer was complete",
        )),
    };
    exchange.end(stopped).await
}

impl Exchange<'_> {
    fn begin(&mut self, body: ClientBody) {
        let is_grpc = self.asked.is_grpc;
        let message = |progress| frontend::Input::Message(frontend::GrpcMessage { progress });
        match body {
            ClientBody::Nothing => self.inputs.push(frontend::Input::Body(types::Progress {
                source: 0,
                available: 0,
                total: Some(0),
                end: true,
            })),
            ClientBody::Whole(source) => {
                let progress = progress_of(0, &source);
                self.sources.insert(0, source);
                if is_grpc {
                    self.inputs.push(message(progress));
                    self.inputs.push(frontend::Input::MessagesEnd);
                } else {
                    self.inputs.push(frontend::Input::Body(progress));
                }
            }
            ClientBody::Arriving(source, reader) => {
                if let Some(source) = source.or_else(|| reader.source().cloned()) {
                    let progress = progress_of(0, &source);
                    self.sources.insert(0, source);
                    self.arriving = Some(0);
                    if is_grpc {
                        self.inputs.push(message(progress));
                        if !self.asked.claimed.client_streaming {
                            self.inputs.push(frontend::Input::MessagesEnd);
                        }
                    } else {
                        self.tell_when(0, 1);
                    }
                }
                self.read_client(reader);
            }
        }
    }

    /// Reads on: at once for bytes, whose flow is held by their source's window; after
    /// the guest is done with the message before, for messages.
    fn read_client(&mut self, mut reader: Reader<Incoming>) {
        self.jobs.push(
            async move {
                let read = reader.next(&types::Want::More).await;
                Happened::Client(Box::new(reader), read)
            }
            .boxed(),
        );
    }

    async fn drive(&mut self) -> Stop {
        match self.turns().await {
            Ok(()) => Stop::Done,
            Err(stop) => stop,
        }
    }

    async fn turns(&mut self) -> Result<(), Stop> {
        loop {
            if self.calls.len() < IN_FLIGHT
                && let Some(reader) = self.parked.take()
            {
                self.read_client(reader);
            }
            while self.inputs.is_empty() {
                let happened = match self.backlog.pop_front() {
                    Some(happened) => happened,
                    None => match self.jobs.next().await {
                        Some(happened) => happened,
                        None => {
                            return Err(self
                                .guest
                                .condemn("it waits, and nothing can happen".into())
                                .into());
                        }
                    },
                };
                self.happened(happened).await?;
            }
            // What is ready by now goes along.
            for _ in 0..TOGETHER {
                let Some(Some(happened)) = self.jobs.next().now_or_never() else {
                    break;
                };
                self.happened(happened).await?;
            }
            let inputs = std::mem::take(&mut self.inputs);
            let large = inputs.iter().any(|input| match input {
                frontend::Input::Body(progress) | frontend::Input::UpstreamBytes(progress) => {
                    progress.available > LARGE
                }
                frontend::Input::Message(message) | frontend::Input::UpstreamMessage(message) => {
                    message.progress.available > LARGE
                }
                frontend::Input::Events(events) => events.len() > 64,
                _ => false,
            });
            self.needs.clear();
            let step = |exchange: &mut Self| {
                exchange
                    .guest
                    .step(&mut exchange.sources, &inputs, large)
            };
            let actions = if large {
                // The guest may compute for a while: the thread's other tasks move on.
                tokio::task::block_in_place(|| step(self))?
            } else {
                step(self)?
            };
            self.carry_out(actions).await?;
            if self.tapped_out {
                return Ok(());
            }
            self.settle_sources(&inputs);
        }
    }

    /// Lets go of response bytes that the guest has seen, and waits for more of what it
    /// wants.
    fn settle_sources(&mut self, inputs: &[frontend::Input]) {
        for input in inputs {
            let progress = match input {
                frontend::Input::UpstreamBytes(progress) => progress,
                frontend::Input::UpstreamMessage(message) => &message.progress,
                _ => continue,
            };
            if let Ok(source) = self.sources.get(progress.source) {
                let keep = self
                    .needs
                    .get(&progress.source)
                    .map_or(progress.available, |need| need.keep_from);
                source.release(keep);
            }
        }
        let mut waits = Vec::new();
        for (id, need) in &self.needs {
            let Ok(source) = self.sources.get(*id) else {
                continue;
            };
            if *id < HOST_SOURCES {
                source.release(need.keep_from);
            }
            let progress = source.progress();
            let over = progress.end || progress.cut.is_some();
            if Some(*id) == self.arriving && !over {
                let wanted = match need.until {
                    types::Want::More => progress.available + 1,
                    types::Want::AtLeast(wanted) => wanted,
                    types::Want::All => u64::MAX,
                };
                waits.push((*id, wanted));
            }
        }
        for (id, wanted) in waits {
            self.tell_when(id, wanted);
        }
    }

    /// Tells the guest of a source once it has got so far, or is over.
    fn tell_when(&mut self, id: u32, wanted: u64) {
        let Ok(source) = self.sources.get(id).cloned() else {
            return;
        };
        self.jobs.push(
            async move {
                source.reach(wanted).await;
                Happened::Progress(id)
            }
            .boxed(),
        );
    }

    async fn happened(&mut self, happened: Happened) -> Result<(), Stop> {
        match happened {
            Happened::Nothing => {}
            Happened::Progress(id) => {
                if let Ok(source) = self.sources.get(id) {
                    let progress = progress_of(id, source);
                    self.inputs.push(if self.asked.is_grpc {
                        frontend::Input::Message(frontend::GrpcMessage { progress })
                    } else {
                        frontend::Input::Body(progress)
                    });
                }
            }
            Happened::Client(reader, read) => self.client(*reader, read)?,
            Happened::Placed(id, placed) => self.placed(id, placed),
            Happened::Events(id, receiver, said) => self.said(id, receiver, said)?,
            Happened::Upstream(id, reader, read) => self.upstream(id, reader, read).await?,
        }
        Ok(())
    }

    fn client(&mut self, reader: Reader<Incoming>, read: Read) -> Result<(), Stop> {
        match read {
            Read::Bytes(_) | Read::MoreOfMessage => self.read_client(reader),
            Read::Message(source) => {
                let id = self.arriving.map_or(0, |id| id + 1);
                if !self.asked.claimed.client_streaming && id > 0 {
                    return Err(Stop::Failed(Failure::invalid_argument(
                        "this method takes one message",
                    )));
                }
                if id >= HOST_SOURCES {
                    return Err(Stop::Failed(Failure::payload_too_large("too many messages")));
                }
                let progress = progress_of(id, &source);
                self.sources.insert(id, source);
                self.arriving = Some(id);
                self.inputs
                    .push(frontend::Input::Message(frontend::GrpcMessage { progress }));
                if progress.end {
                    self.parked = Some(reader);
                } else {
                    self.read_client(reader);
                }
            }
            Read::End(_) => {
                if self.asked.is_grpc && self.asked.claimed.client_streaming {
                    self.inputs.push(frontend::Input::MessagesEnd);
                } else if self.asked.is_grpc && self.arriving.is_none() {
                    return Err(Stop::Failed(Failure::invalid_argument(
                        "the request has no message",
                    )));
                }
            }
            Read::Cut(cut) => {
                if let Some(failure) = reader.failure() {
                    return Err(Stop::Failed(failure));
                }
                if matches!(cut, types::Cut::Limit) {
                    return Err(Stop::Failed(Failure::payload_too_large(format!(
                        "the request is larger than {} bytes",
                        self.limit
                    ))));
                }
                self.inputs.push(frontend::Input::Cut(cut));
            }
        }
        Ok(())
    }

    async fn carry_out(&mut self, actions: Vec<frontend::Action>) -> Result<(), Stop> {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                frontend::Action::Need(need) => self.need(need),
                frontend::Action::Call(intent) => self.call(intent)?,
                frontend::Action::Materialise(it) => self.materialise(it)?,
                frontend::Action::Pass(it) => self.pass(it).await?,
                frontend::Action::Head(head) => {
                    let head = self.response_head(head)?;
                    self.head = Some(head);
                    self.whole_response(&mut actions).await?;
                }
                frontend::Action::Data(segments) => {
                    if self.asked.is_grpc {
                        return Err(self.nonsense("it sends bytes where messages are sent"));
                    }
                    self.write(segments, false).await?;
                }
                frontend::Action::Message(segments) => {
                    if !self.asked.is_grpc {
                        return Err(self.nonsense("it sends a message where bytes are sent"));
                    }
                    self.write(segments, true).await?;
                }
                frontend::Action::Trailers(end) => {
                    if !self.asked.is_grpc {
                        return Err(self.nonsense("it sends trailers where there are none"));
                    }
                    self.grpc_end(end);
                    return Err(Stop::Done);
                }
                frontend::Action::Refuse(failure) => {
                    return Err(Stop::Failed(failures::from_guest(failure)));
                }
                frontend::Action::Usage(it) => {
                    self.asked
                        .record
                        .usage(it.usage.input_tokens, it.usage.output_tokens);
                }
                frontend::Action::Cancel(id) => {
                    self.calls.remove(&id);
                }
                frontend::Action::Finish => {
                    self.flush_head(None);
                    if self.asked.is_grpc {
                        self.grpc_end(types::ResponseEnd {
                            code: Some(0),
                            message: None,
                            trailers: Vec::new(),
                        });
                    }
                    return Err(Stop::Done);
                }
                frontend::Action::Other(_) => {}
            }
        }
        Ok(())
    }

    fn nonsense(&self, reason: impl Into<String>) -> Stop {
        Stop::Guest(self.guest.condemn(reason.into()))
    }

    fn need(&mut self, need: types::Need) {
        if let Ok(source) = self.sources.get(need.source) {
            match need.until {
                types::Want::More => {}
                types::Want::AtLeast(wanted) => {
                    source.widen(wanted.saturating_sub(need.keep_from).min(self.limit));
                }
                types::Want::All => source.widen(self.limit),
            }
        }
        self.needs.insert(need.source, need);
    }

    // === output ===

    fn response_head(&self, head: types::ResponseHead) -> Result<Response<()>, Stop> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(head.status)
            .ok()
            .filter(|status| status.as_u16() >= 200)
            .ok_or_else(|| self.nonsense(format!("it answers with status {}", head.status)))?;
        for header in head.headers {
            match (
                HeaderName::from_bytes(header.name.as_bytes()),
                HeaderValue::from_str(&header.value),
            ) {
                (Ok(name), Ok(value)) => {
                    response.headers_mut().append(name, value);
                }
                _ => return Err(self.nonsense(format!("it sends a bad header {:?}", header.name))),
            }
        }
        Ok(response)
    }

    /// A head that all of its body follows, in this very step, goes out with a length.
    async fn whole_response(
        &mut self,
        actions: &mut VecDeque<frontend::Action>,
    ) -> Result<(), Stop> {
        let complete = matches!(actions.back(), Some(frontend::Action::Finish))
            && actions.iter().all(|action| {
                matches!(
                    action,
                    frontend::Action::Data(_)
                        | frontend::Action::Usage(_)
                        | frontend::Action::Finish
                )
            });
        if !complete || self.asked.is_grpc {
            return Ok(());
        }
        let mut all = Vec::new();
        actions.retain_mut(|action| match action {
            frontend::Action::Data(segments) => {
                all.append(segments);
                false
            }
            _ => true,
        });
        let mut pieces = self.resolve(all)?;
        let length = settle(&mut pieces, tollgate_plugin::CONVERTED)
            .map_err(|problem| Stop::Failed(Failure::internal(problem.to_string())))?;
        self.flush_head(length);
        self.send(pieces).await
    }

    fn resolve(
        &mut self,
        segments: Vec<types::Segment>,
    ) -> Result<Vec<tollgate_wire::piece::Piece>, Stop> {
        pieces(&mut self.sources, segments)
            .map_err(|bad: BadSegment| Stop::Guest(self.guest.condemn(bad.to_string())))
    }

    async fn write(&mut self, segments: Vec<types::Segment>, framed: bool) -> Result<(), Stop> {
        let mut pieces = self.resolve(segments)?;
        if framed {
            let sending = outgoing::writer(pieces, true).map_err(Stop::Failed)?;
            self.flush_head(None);
            return self.send_all(sending).await;
        }
        settle(&mut pieces, tollgate_plugin::CONVERTED)
            .map_err(|problem| Stop::Failed(Failure::internal(problem.to_string())))?;
        self.flush_head(None);
        self.send(pieces).await
    }

    async fn send(&mut self, pieces: Vec<tollgate_wire::piece::Piece>) -> Result<(), Stop> {
        let sending = outgoing::writer(pieces, false).map_err(Stop::Failed)?;
        self.send_all(sending).await
    }

    async fn send_all(&mut self, mut sending: outgoing::Sending) -> Result<(), Stop> {
        loop {
            let next = {
                let next = sending.next();
                drive(&mut self.jobs, &mut self.backlog, next).await
            };
            match next {
                None => return Ok(()),
                Some(Ok(bytes)) => {
                    self.asked.record.sent(bytes.len());
                    let data = self.responder.data(bytes);
                    drive(&mut self.jobs, &mut self.backlog, data).await;
                }
                Some(Err(_)) => return Err(Stop::Broken("its source broke off")),
            }
        }
    }

    fn flush_head(&mut self, length: Option<u64>) {
        if self.responder.begun() {
            return;
        }
        let mut head = self.head.take().unwrap_or_else(|| {
            let mut head = Response::new(());
            if self.asked.is_grpc {
                head.headers_mut().insert(
                    http::header::CONTENT_TYPE,
                    HeaderValue::from_static("application/grpc"),
                );
            }
            head
        });
        if let Some(length) = length {
            head.headers_mut()
                .insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        self.begin_response(head);
    }

    fn begin_response(&mut self, mut head: Response<()>) {
        head.headers_mut().insert(
            crate::context::REQUEST_ID,
            self.asked.trace.request_id.clone(),
        );
        self.asked.record.status(head.status().as_u16());
        self.responder.head(head);
    }

    fn grpc_end(&mut self, end: types::ResponseEnd) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let code = end.code.unwrap_or(grpc::code::UNKNOWN);
        self.asked.record.grpc_status(code);
        let mut trailers =
            failures::grpc_status(code, end.message.as_deref().unwrap_or_default());
        for header in end.trailers {
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(header.name.as_bytes()),
                HeaderValue::from_str(&header.value),
            ) {
                trailers.append(name, value);
            }
        }
        if self.responder.begun() {
            self.responder.trailers(trailers);
        } else {
            let mut head = Response::new(());
            *head.headers_mut() = trailers;
            head.headers_mut().insert(
                http::header::CONTENT_TYPE,
                HeaderValue::from_static("application/grpc"),
            );
            self.begin_response(head);
        }
    }

    async fn end(&mut self, stopped: Stop) -> Ended {
        match stopped {
            Stop::Done => {}
            Stop::Guest(error) if !self.responder.begun() => return Ended::Lost(error),
            Stop::Guest(error) => {
                self.asked.record.failed("plugin-failed");
                self.fail_begun(&Failure::plugin_failed(error.to_string()));
            }
            Stop::Failed(failure) => {
                self.asked.record.failed(failure.label());
                if self.responder.begun() {
                    self.fail_begun(&failure);
                } else {
                    refuse(self.asked, &failure, &mut self.responder).await;
                }
            }
            Stop::Broken(why) => {
                self.asked.record.failed("broken");
                if self.responder.begun() {
                    self.fail_begun(&Failure::upstream_unavailable(why));
                } else {
                    let failure = Failure::upstream_unavailable(why);
                    refuse(self.asked, &failure, &mut self.responder).await;
                }
            }
        }
        Ended::Done
    }

    /// An error after the response has begun: gRPC has trailers for it, HTTP has only
    /// the breaking off.
    fn fail_begun(&mut self, failure: &Failure) {
        if self.asked.is_grpc {
            self.asked.record.grpc_status(failure.grpc());
            self.responder
                .trailers(failures::grpc_status(failure.grpc(), &failure.message));
        } else {
            self.responder.broken(failure.label());
        }
    }

    // === calls ===

    fn call(&mut self, intent: frontend::Intent) -> Result<(), Stop> {
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
            model: intent
                .model
                .filter(|model| !model.is_empty()),
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
        let mut call = Call {
            ask,
            repeatable: intent.repeatable,
            resolved: None,
            stage: Stage::Queued,
            kept: None,
            attempts: 0,
            first_failure: None,
            heard: false,
        };
        let ways = calling::ways(house, route, identity, &claimed.dialect, &call.ask);
        match ways {
            Err(failure) => self.tell_failed(intent.id, &failure),
            Ok(Ways::Known(events)) => {
                let events = events
                    .into_iter()
                    .map(|event| frontend::CallEvent {
                        call: intent.id,
                        event,
                    })
                    .collect();
                self.inputs.push(frontend::Input::Events(events));
            }
            Ok(Ways::Composed(resolved, composition)) => {
                record.model(&resolved.name);
                let model = resolved.name.to_string();
                call.resolved = Some(resolved);
                call.stage = Stage::Composing(composition);
                self.offer(intent.id, frontend::Way::Translate(frontend::TranslateTo { model }));
                self.calls.insert(intent.id, call);
            }
            Ok(Ways::Workers(resolved, eligible)) => {
                record.model(&resolved.name);
                let keyed = !call.ask.streaming && calling::merges(house, &eligible);
                if keyed {
                    let model = resolved.name.to_string();
                    call.resolved = Some(resolved);
                    call.stage = Stage::Keyed(eligible);
                    self.offer(
                        intent.id,
                        frontend::Way::Translate(frontend::TranslateTo { model }),
                    );
                    self.calls.insert(intent.id, call);
                } else {
                    call.resolved = Some(resolved.clone());
                    self.queue(intent.id, call, &resolved, eligible, None);
                }
            }
        }
        Ok(())
    }

    fn offer(&mut self, call: u32, way: frontend::Way) {
        self.inputs
            .push(frontend::Input::Dispatched(frontend::Dispatched { call, way }));
    }

    fn tell_failed(&mut self, call: u32, failure: &Failure) {
        self.asked.record.failed(failure.label());
        self.calls.remove(&call);
        self.inputs
            .push(frontend::Input::Events(vec![frontend::CallEvent {
                call,
                event: inference::Event::Failed(failures::to_guest(failure)),
            }]));
    }

    fn queue(
        &mut self,
        id: u32,
        mut call: Call,
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
        let place = calling::submit(
            house, route, identity, &call.ask, resolved, eligible, key, *deadline,
        );
        match place {
            Err(failure) => self.tell_failed(id, &failure),
            Ok(place) => {
                call.stage = Stage::Queued;
                self.calls.insert(id, call);
                self.wait_for(id, place);
            }
        }
    }

    fn wait_for(&mut self, id: u32, place: Place<Member>) {
        self.jobs
            .push(async move { Happened::Placed(id, place.await) }.boxed());
    }

    fn placed(&mut self, id: u32, placed: Result<Assignment<Member>, Rejection>) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let assignment = match placed {
            Ok(assignment) => assignment,
            Err(rejection) => {
                let failure = call
                    .first_failure
                    .take()
                    .unwrap_or_else(|| calling::rejected(&rejection));
                self.tell_failed(id, &failure);
                return;
            }
        };
        call.attempts += 1;
        let house = &self.asked.house;
        let Some(station) = house.station(assignment.worker().id()).cloned() else {
            self.tell_failed(id, &Failure::internal("the worker is not there any more"));
            return;
        };
        self.asked.record.worker(&station.handle.spec().name);
        let model = call
            .resolved
            .as_ref()
            .and_then(|resolved| resolved.served_as(station.handle.id()))
            .map(|name| name.to_string())
            .unwrap_or_default();
        let passable = assignment.size() == 1
            && station.dialect == *self.asked.claimed.dialect
            && matches!(station.reach, Reach::Network(_));
        if let (false, Some(_)) = (passable, &call.kept) {
            call.stage = Stage::Offered {
                assignment: Some(assignment),
                passable: false,
            };
            let (content, sources) = call.kept.clone().unwrap_or_else(|| unreachable!());
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

    fn materialise(&mut self, it: frontend::Materialised) -> Result<(), Stop> {
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
                let mut call = self.calls.remove(&it.id).unwrap_or_else(|| unreachable!());
                let key = calling::batch_key(
                    &self.asked.house,
                    &resolved,
                    &eligible,
                    &it.call,
                    &mut self.sources,
                );
                call.kept = Some((it.call, sources));
                self.queue(it.id, call, &resolved, eligible, key);
            }
            Stage::Composing(composition) => {
                let composition = composition.clone();
                let Some(resolved) = call.resolved.clone() else {
                    return Ok(());
                };
                call.stage = Stage::Running(None);
                let (sender, receiver) =
                    events::channel(self.asked.route.spec.limits.event_buffer);
                let asked = self.asked;
                let composed = compose::run(compose::Plan {
                    house: asked.house.clone(),
                    route: asked.route.clone(),
                    identity: asked.identity.clone(),
                    composition,
                    resolved,
                    ask: call.ask.clone(),
                    context: asked.context.clone(),
                    trace: asked.trace.clone(),
                    deadline: asked.deadline,
                    call: it.call,
                    sources,
                    events: sender,
                });
                self.jobs
                    .push(composed.map(|()| Happened::Nothing).boxed());
                self.listen(it.id, receiver);
            }
            Stage::Offered { .. } => self.translate(it.id, it.call, sources),
            _ => return Err(self.nonsense(format!("it materialises call {} again", it.id))),
        }
        Ok(())
    }

    /// Sends a materialised call to its worker, by that worker's backend.
    fn translate(&mut self, id: u32, mut content: inference::Call, sources: Arc<Sources>) {
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
        let worker = assignment.worker().id();
        if let Some(served_as) = call
            .resolved
            .as_ref()
            .and_then(|resolved| resolved.served_as(worker))
        {
            content.model = served_as.to_string();
        }
        let Some(station) = asked.house.station(worker).cloned() else {
            return;
        };
        let (sender, receiver) = events::channel(asked.route.spec.limits.event_buffer);
        let member = Member {
            call: content,
            sources,
            events: sender,
        };
        let alone = assignment.size() == 1;
        let run = Run {
            house: asked.house.clone(),
            station,
            batch: assignment.batch().clone(),
            context: asked.context.clone(),
            trace: asked.trace.clone(),
            deadline: asked.deadline,
            limit: asked.route.spec.limits.body.max(asked.route.spec.limits.message),
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

    fn listen(&mut self, id: u32, receiver: EventReceiver) {
        self.jobs.push(
            async move {
                let said = receiver.take().await;
                Happened::Events(id, receiver, said)
            }
            .boxed(),
        );
    }

    fn said(&mut self, id: u32, receiver: EventReceiver, said: Vec<Said>) -> Result<(), Stop> {
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
        for Said { mut event, sources } in said {
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
                event = inference::Event::Failed(failures::to_guest(&failure));
            }
            if let inference::Event::Usage(usage) = &event {
                self.asked
                    .record
                    .usage(usage.input_tokens, usage.output_tokens);
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
            self.calls.remove(&id);
        } else {
            self.listen(id, receiver);
        }
        self.inputs.push(frontend::Input::Events(told));
        Ok(())
    }

    /// An attempt failed before it said anything: another worker may try.
    fn elsewhere(&mut self, id: u32, failure: Failure) {
        let attempts = self.asked.route.spec.limits.attempts;
        let begun = self.responder.begun();
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let may = call.repeatable && !call.heard && !begun && call.attempts < attempts;
        let assignment = match &mut call.stage {
            Stage::Running(assignment) | Stage::Offered { assignment, .. } => assignment.take(),
            _ => None,
        };
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
                self.wait_for(id, place);
            }
            None => self.tell_failed(id, &first),
        }
    }

    // === passing ===

    async fn pass(&mut self, it: frontend::Passed) -> Result<(), Stop> {
        let asked = self.asked;
        let Some(call) = self.calls.get_mut(&it.id) else {
            return Ok(());
        };
        let Stage::Offered {
            assignment: slot,
            passable: true,
        } = &mut call.stage
        else {
            return Err(self.nonsense(format!("it passes call {}, which cannot be", it.id)));
        };
        let Some(assignment) = slot.take() else {
            return Ok(());
        };
        let Some(station) = asked.house.station(assignment.worker().id()).cloned() else {
            return Ok(());
        };
        let Reach::Network(upstream) = &station.reach else {
            return Ok(());
        };
        let upstream = upstream.clone();
        let mode = it.response.clone();
        let PassedHead { head, edits } = pass::request_head(asked, &it)
            .map_err(|reason| Stop::Guest(self.guest.condemn(reason)))?;
        let edits = edits
            .into_iter()
            .map(|edit| {
                Ok(tollgate_wire::edit::Edit {
                    offset: edit.offset,
                    len: edit.len,
                    with: self.resolve(edit.replacement)?,
                })
            })
            .collect::<Result<Vec<_>, Stop>>()?;
        let source = self.sources.get(0).ok().cloned();
        let retained = source.as_ref().is_none_or(|source| {
            let progress = source.progress();
            progress.end && progress.available <= asked.route.spec.limits.retry_body
        });
        let body = pass::body(source.as_ref(), edits, asked.is_grpc)
            .map_err(|bad| match bad {
                pass::BadPass::Edit(reason) => Stop::Guest(self.guest.condemn(reason)),
                pass::BadPass::Failed(failure) => Stop::Failed(failure),
            })?;
        if let (Some(source), false) = (&source, retained) {
            // Streamed through: what has been sent is not kept.
            source.release(u64::MAX);
        }
        let sending = async move { upstream.send(head, body).await };
        let response = drive(&mut self.jobs, &mut self.backlog, sending).await;
        let Some(call) = self.calls.get_mut(&it.id) else {
            return Ok(());
        };
        call.repeatable &= retained;
        call.stage = Stage::Offered {
            assignment: Some(assignment),
            passable: true,
        };
        match response {
            Err(error) => {
                let failed = attempt::send_failed(&error);
                self.elsewhere(it.id, failed.failure);
                Ok(())
            }
            Ok(response) => {
                self.passed(it.id, mode, response).await
            }
        }
    }

    async fn passed(
        &mut self,
        id: u32,
        mode: frontend::ResponseMode,
        response: tollgate_upstream::Response,
    ) -> Result<(), Stop> {
        let Some(call) = self.calls.get_mut(&id) else {
            return Ok(());
        };
        let Stage::Offered { assignment, .. } = &mut call.stage else {
            return Ok(());
        };
        let Some(assignment) = assignment.take() else {
            return Ok(());
        };
        assignment.batch().first_output();
        assignment.met(if response.head.status.as_u16() == 503 {
            Health::Failed
        } else {
            Health::Answered
        });
        if matches!(mode, frontend::ResponseMode::Blind) {
            let head = pass::response_head(&response.head, true);
            self.begin_response(head);
            return self.copy(response.body, assignment).await;
        }
        let tapped = matches!(mode, frontend::ResponseMode::Tap);
        if tapped {
            let head = pass::response_head(&response.head, false);
            self.begin_response(head);
        }
        let reader = Reader::new(response.body, &response.head.headers, self.limit);
        let source = reader.source().cloned().map(|source| {
            let id = self.number(&source);
            (id, source)
        });
        self.inputs
            .push(frontend::Input::UpstreamHead(types::ResponseHead {
                status: response.head.status.as_u16(),
                headers: crate::context::visible(&response.head.headers),
            }));
        if let Some(call) = self.calls.get_mut(&id) {
            call.heard = true;
            call.stage = Stage::Shown {
                _assignment: assignment,
                source,
                tapped,
            };
        }
        self.read_upstream(id, Box::new(reader), types::Want::More);
        Ok(())
    }

    fn number(&mut self, source: &Source) -> u32 {
        let id = self.next_source;
        self.next_source += 1;
        self.sources.insert(id, source.clone());
        id
    }

    /// A blind response: no guest, no look.
    async fn copy(
        &mut self,
        mut body: tollgate_upstream::Incoming,
        _assignment: Assignment<Member>,
    ) -> Result<(), Stop> {
        loop {
            let next = {
                let next = body.data();
                drive(&mut self.jobs, &mut self.backlog, next).await
            };
            match next {
                Some(Ok(bytes)) => {
                    self.asked.record.sent(bytes.len());
                    let data = self.responder.data(bytes);
                    drive(&mut self.jobs, &mut self.backlog, data).await;
                }
                Some(Err(_)) => return Err(Stop::Broken("the worker broke off")),
                None => break,
            }
        }
        match body.trailers().await {
            Ok(Some(trailers)) => {
                if let Some(code) = crate::reading::end_of(&trailers).code {
                    self.asked.record.grpc_status(code);
                }
                self.responder.trailers(trailers);
            }
            Ok(None) => {}
            Err(_) => return Err(Stop::Broken("the worker broke off")),
        }
        Err(Stop::Done)
    }

    fn read_upstream(
        &mut self,
        id: u32,
        mut reader: Box<Reader<tollgate_upstream::Incoming>>,
        want: types::Want,
    ) {
        self.jobs.push(
            async move {
                let read = reader.next(&want).await;
                Happened::Upstream(id, reader, read)
            }
            .boxed(),
        );
    }

    async fn upstream(
        &mut self,
        id: u32,
        reader: Box<Reader<tollgate_upstream::Incoming>>,
        read: Read,
    ) -> Result<(), Stop> {
        let Some(Call {
            stage: Stage::Shown { source, tapped, .. },
            ..
        }) = self.calls.get_mut(&id)
        else {
            return Ok(());
        };
        let tapped = *tapped;
        let current = source.clone();
        let mut through: Vec<Bytes> = Vec::new();
        match read {
            Read::Bytes(chunks) => {
                if let Some((source_id, source)) = &current {
                    self.inputs
                        .push(frontend::Input::UpstreamBytes(progress_of(*source_id, source)));
                }
                through = chunks;
            }
            Read::Message(message) => {
                let source_id = self.number(&message);
                if tapped {
                    through = tapped_message(&message).await;
                }
                self.inputs
                    .push(frontend::Input::UpstreamMessage(frontend::GrpcMessage {
                        progress: progress_of(source_id, &message),
                    }));
                if let Some(Call {
                    stage: Stage::Shown { source, .. },
                    ..
                }) = self.calls.get_mut(&id)
                {
                    *source = Some((source_id, message));
                }
            }
            Read::MoreOfMessage => {
                if let Some((source_id, source)) = &current {
                    self.inputs
                        .push(frontend::Input::UpstreamMessage(frontend::GrpcMessage {
                            progress: progress_of(*source_id, source),
                        }));
                }
            }
            Read::End(end) => {
                self.calls.remove(&id);
                if tapped {
                    if self.asked.is_grpc {
                        self.grpc_end(end.clone());
                    }
                    self.tapped_out = true;
                }
                self.inputs.push(frontend::Input::UpstreamEnd(end));
                return Ok(());
            }
            Read::Cut(cut) => {
                self.calls.remove(&id);
                if tapped {
                    return Err(Stop::Broken("the worker broke off"));
                }
                self.inputs.push(frontend::Input::Cut(cut));
                return Ok(());
            }
        }
        if tapped {
            for bytes in through {
                self.asked.record.sent(bytes.len());
                let data = self.responder.data(bytes);
                drive(&mut self.jobs, &mut self.backlog, data).await;
            }
        }
        let want = current
            .and_then(|(id, _)| self.needs.get(&id).map(|need| need.until.clone()))
            .unwrap_or(types::Want::More);
        self.read_upstream(id, reader, want);
        Ok(())
    }
}

/// A message that goes through as it is, framed anew.
async fn tapped_message(message: &Source) -> Vec<Bytes> {
    let total = message.progress().total.unwrap_or_default();
    message.widen(total);
    message.reach(u64::MAX).await;
    let mut through = vec![Bytes::copy_from_slice(&grpc::prefix(
        u32::try_from(total).unwrap_or(u32::MAX),
    ))];
    through.extend(message.chunks(0, total).unwrap_or_default());
    through
}

/// Awaits a future while the jobs go on; what happens meanwhile is kept for later.
async fn drive<T>(
    jobs: &mut Jobs,
    backlog: &mut VecDeque<Happened>,
    future: impl Future<Output = T>,
) -> T {
    tokio::pin!(future);
    loop {
        tokio::select! {
            biased;
            done = &mut future => return done,
            Some(happened) = jobs.next(), if !jobs.is_empty() => backlog.push_back(happened),
        }
    }
}

/// A call that has been given a worker, ready to run there.
pub(crate) struct Run {
    pub(crate) house: Arc<House>,
    pub(crate) station: Arc<Station>,
    pub(crate) batch: tollgate_dispatch::pool::BatchHandle<Member>,
    pub(crate) context: types::Context,
    pub(crate) trace: Trace,
    pub(crate) deadline: Instant,
    pub(crate) limit: u64,
}

impl Run {
    /// Runs the members' calls at the worker.
    pub(crate) async fn run(self, members: Vec<Member>) {
        let first = self.batch.clone();
        let first_output = Box::new(move || {
            first.first_output();
            first.met(Health::Answered);
        });
        match &self.station.reach {
            Reach::Component(name) => {
                let generation = self.house.shelf.get(name);
                session::run(generation, self.context, self.deadline, members, first_output).await;
                self.batch.finish();
            }
            Reach::Network(upstream) => {
                let Some(backend) = self.house.backend(&self.station) else {
                    return;
                };
                let complete = attempt::run(Plan {
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

/// Writes a failure by the claim's template, as the whole response.
pub(crate) async fn refuse(asked: &Asked, failure: &Failure, responder: &mut Responder) {
    let (mut head, body) =
        asked
            .claimed
            .wording
            .response(failure, asked.is_grpc, &asked.context.request_id);
    head.headers_mut()
        .insert(crate::context::REQUEST_ID, asked.trace.request_id.clone());
    asked.record.failed(failure.label());
    asked.record.status(head.status().as_u16());
    if asked.is_grpc {
        asked.record.grpc_status(failure.grpc());
    }
    responder.head(head);
    responder.data(body).await;
}
