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
    pin,
    sync::{Arc, OnceLock},
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use http::Response;
use hyper::body::Incoming;
use tokio::time::Instant;
use tollgate_dispatch::{
    catalogue::Resolved, driver::Rejection, policy::WorkerId, pool::Assignment,
};
use tollgate_edge::Identity;
use tollgate_limits::{Fields, Grant, Refusal};
use tollgate_plugin::{Exchange as Guest, GuestError, LARGE, Sources, frontend, inference, types};
use tollgate_telemetry::{Record, Step, spans::Kind};
use tollgate_wire::{
    failure::Failure,
    source::{Pin, Source},
};

use crate::{
    attempt::Member,
    calling::{Ask, Ways},
    claims::Claimed,
    closing::Closing,
    context::Trace,
    courtesy::Courtesy,
    events::{EventReceiver, Said},
    failures,
    house::{House, Route},
    limits::{self, Metered},
    outgoing::Sending,
    reading::{Read, Reader, make_room, progress_of},
    responder::Responder,
    spans::Account,
    weight,
};

mod calls;
mod output;
mod passing;

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
    /// What is left of its tenant's limits, as its first call was told.
    pub(crate) left: OnceLock<Fields>,
}

impl Asked {
    /// Tells the client what is left of its tenant's limits, if it is to know.
    fn tell_left(&self, head: &mut Response<()>) {
        if let (Some(left), false) = (self.left.get(), self.is_grpc) {
            limits::tell(left, head.headers_mut());
        }
    }
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

impl ClientBody {
    /// The same for another run, as long as it is held whole.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Nothing => Some(Self::Nothing),
            Self::Whole(source) => Some(Self::Whole(source.clone())),
            Self::Arriving(..) => None,
        }
    }

    /// Its length as far as it is known.
    fn bytes(&self) -> u64 {
        let source = match self {
            Self::Nothing => None,
            Self::Whole(source) | Self::Arriving(Some(source), _) => Some(source),
            Self::Arriving(None, reader) => reader.source(),
        };
        source.map_or(0, |source| {
            let progress = source.progress();
            progress.total.unwrap_or(progress.available)
        })
    }
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
    /// The proxy ends.
    Closing,
    Progress(u32),
    Client(Box<Reader<Incoming>>, Read),
    /// With what is known of its model by now, where it had to wait.
    Placed(
        u32,
        Option<Arc<Resolved>>,
        Result<Assignment<Member>, Rejection>,
    ),
    /// The tenant's limits were asked for, and where the call can go.
    Admitted(u32, Box<Ways>, Result<Grant, Refusal>),
    Events(u32, EventReceiver, Vec<Said>),
    Upstream(u32, Box<Reader<tollgate_upstream::Incoming>>, Read),
}

/// Whether the client has said that no message follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HalfClosed {
    No,
    /// It has, and the guest will be told once it has been told of what came before.
    Seen,
    Told,
}

/// How far a call has got.
enum Stage {
    /// Its tenant's limits are asked for.
    Admitting,
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

impl Stage {
    /// The worker that is at it.
    fn worker(&self) -> Option<WorkerId> {
        match self {
            Self::Running(Some(assignment)) => Some(assignment.worker().id()),
            _ => None,
        }
    }
}

struct Call {
    ask: Ask,
    repeatable: bool,
    resolved: Option<Arc<Resolved>>,
    stage: Stage,
    /// Materialised before it was queued.
    kept: Option<Box<(inference::Call, Arc<Sources>)>>,
    attempts: u32,
    first_failure: Option<Failure>,
    /// Since when it waits for a worker, and the span of that.
    waiting: Option<(Instant, Step)>,
    /// The guest has seen an event or a response of it.
    heard: bool,
    /// The last way that the guest was told was to pass.
    told_to_pass: bool,
}

impl Call {
    /// The source that its response is filling.
    fn source(&self) -> Option<u32> {
        match &self.stage {
            Stage::Shown { source, .. } => source.as_ref().map(|(id, _)| *id),
            _ => None,
        }
    }
}

/// Something to be done, made ready.
#[expect(
    clippy::large_enum_variant,
    reason = "a few at a time, moved from one list to the next"
)]
enum Todo {
    Write(Sending),
    Act(frontend::Action),
}

/// Of what is to be done, what waits for somebody.
enum Slow {
    Write(Sending),
    Pass(frontend::Passed),
}

/// The length of a response that is all there: nothing but output follows, then the end.
fn whole_length(todo: &VecDeque<Todo>) -> Option<u64> {
    let mut sum = 0;
    for next in todo {
        match next {
            Todo::Write(sending) => sum += sending.length?,
            Todo::Act(frontend::Action::Usage(_)) => {}
            Todo::Act(frontend::Action::Finish) => return Some(sum),
            Todo::Act(_) => return None,
        }
    }
    None
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
    /// Boxed: the smallest table has room for several, and most exchanges make one.
    calls: HashMap<u32, Box<Call>>,
    /// What calls were believed to need. A passed one's outlives it: what it used is often known
    /// only when its response has ended.
    accounts: Vec<Account>,
    /// The same, of their tenants' limits.
    metered: Vec<Metered>,
    /// The frontend's span.
    step: Step,
    needs: HashMap<u32, types::Need>,
    /// The source that the client is filling.
    arriving: Option<u32>,
    /// The guest has been told that it is complete.
    told_whole: bool,
    /// Jobs that will tell of its progress.
    told_later: usize,
    half_closed: HalfClosed,
    head: Option<Response<()>>,
    /// Bytes that events name, until their step has been carried out.
    shown: Vec<Pin>,
    /// The same, for those that the guest needs for longer.
    kept: Vec<Pin>,
    /// Bytes that events have brought themselves since the guest last sent any: it may still have
    /// to do with them at its next step, whatever that brings.
    unanswered: u64,
    courtesy: Courtesy,
    /// It has sent some.
    answered: bool,
    /// Reads the client's next message, once there is room for it.
    parked: Option<Reader<Incoming>>,
    /// A tapped response is complete: only the guest's counting is left.
    tapped_out: bool,
    /// The proxy ends, and its calls have been told so.
    closed: bool,
    ended: bool,
    limit: u64,
}

/// Messages of a client that may be numbered before the host's own sources.
const HOST_SOURCES: u32 = 1 << 31;

/// Sources of an exchange, from which on those are forgotten that nobody needs.
const SOURCES: usize = 64;

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
    let bytes = body.bytes();
    let frontend = &asked.claimed.frontend;
    let mut step = asked.trace.under.step(Kind::Internal, "frontend");
    step.tell("tollgate.plugin", || frontend.name().to_string());
    step.tell("tollgate.plugin.generation", || frontend.number());
    step.tell("tollgate.dialect", || asked.claimed.dialect.to_string());
    let guest = match Guest::new(frontend, alone, bytes, &asked.context, &asked.head) {
        Ok(guest) => guest,
        Err(error) => {
            step.fail("plugin-failed");
            return Ended::Lost(error);
        }
    };
    let limits = &asked.route.spec.limits;
    let mut exchange = Exchange {
        asked,
        guest,
        responder,
        sources: Sources::default(),
        next_source: HOST_SOURCES,
        jobs: FuturesUnordered::new(),
        // Room for one, which most never need more of, and not for the four that a first push makes:
        // a stream keeps it for as long as it lives.
        backlog: VecDeque::with_capacity(1),
        inputs: Vec::new(),
        calls: HashMap::new(),
        accounts: Vec::with_capacity(1),
        metered: Vec::with_capacity(asked.house.limits.iter().len()),
        step,
        needs: HashMap::new(),
        arriving: None,
        told_whole: false,
        told_later: 0,
        half_closed: HalfClosed::No,
        head: None,
        shown: Vec::new(),
        kept: Vec::new(),
        unanswered: 0,
        courtesy: Courtesy::default(),
        answered: false,
        parked: None,
        tapped_out: false,
        closed: false,
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

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        // However it ends: also when the client goes away in the middle of its request.
        let messages = self
            .arriving
            .map_or(0, |last| last.min(HOST_SOURCES - 1) + 1);
        let received = (0..messages.max(1)).filter_map(|id| self.sources.get(id).ok());
        let received = received.map(|source| source.progress().available).sum();
        self.asked.record.received(received);
    }
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
                        // Nobody has to wait for the end of the stream to know that a method
                        // of one message has got it.
                        if progress.end && !self.asked.claimed.client_streaming {
                            self.half_closed = HalfClosed::Told;
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

    /// Begins a job. What happens at once needs no place among those that wait.
    fn begin_job(&mut self, mut job: BoxFuture<'static, Happened>) {
        match (&mut job).now_or_never() {
            Some(happened) => self.backlog.push_back(happened),
            None => self.jobs.push(job),
        }
    }

    /// Reads on: bytes without end, since their flow is held by their source's window, also
    /// while output is being written; messages after the guest is done with the one before.
    fn read_client(&mut self, mut reader: Reader<Incoming>) {
        self.jobs.push(
            async move {
                loop {
                    let read = reader.next(&types::Want::More).await;
                    if !matches!(read, Read::Bytes(_) | Read::MoreOfMessage) {
                        return Happened::Client(Box::new(reader), read);
                    }
                }
            }
            .boxed(),
        );
    }

    async fn drive(&mut self) -> Stop {
        match self.turns().await {
            Ok(()) => Stop::Done,
            // Boxed: it is rare, and each exchange would keep room for it.
            Err(Stop::Guest(error)) if self.may_go_on() => Box::pin(self.go_on(&error)).await,
            Err(stop) => stop,
        }
    }

    async fn turns(&mut self) -> Result<(), Stop> {
        let asked = self.asked;
        let closing = asked.house.closing.told();
        tokio::pin!(closing);
        loop {
            if self.calls.len() < IN_FLIGHT
                && let Some(reader) = self.parked.take()
            {
                self.read_client(reader);
            }
            while self.inputs.is_empty() {
                let happened = match self.backlog.pop_front() {
                    Some(happened) => happened,
                    None => match self.wait(closing.as_mut()).await {
                        Some(Happened::Closing) => {
                            self.close()?;
                            continue;
                        }
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
                let earlier = self.backlog.pop_front();
                let Some(happened) = earlier.or_else(|| self.jobs.next().now_or_never().flatten())
                else {
                    break;
                };
                self.happened(happened).await?;
            }
            let inputs = std::mem::take(&mut self.inputs);
            let (mut busy_with, mut many) = (0, false);
            for input in &inputs {
                if let frontend::Input::Body(progress)
                | frontend::Input::Message(frontend::GrpcMessage { progress }) = input
                    && Some(progress.source) == self.arriving
                {
                    self.told_whole = progress.end;
                }
                match input {
                    frontend::Input::Body(progress) | frontend::Input::UpstreamBytes(progress) => {
                        busy_with = busy_with.max(self.sources.held(progress.source));
                    }
                    frontend::Input::Message(message)
                    | frontend::Input::UpstreamMessage(message) => {
                        busy_with = busy_with.max(self.sources.held(message.progress.source));
                    }
                    frontend::Input::Events(events) => {
                        self.unanswered += told(events);
                        many |= events.len() > 64;
                        // What the client asked may be part of the answer: documents, prompts.
                        if !self.answered {
                            busy_with = busy_with.max(self.request());
                        }
                    }
                    // It is answered with the call, which is made of the whole request.
                    frontend::Input::Dispatched(_) => busy_with = busy_with.max(self.request()),
                    _ => {}
                }
            }
            let bytes = match many {
                true => u64::MAX,
                false => busy_with.max(self.unanswered + self.shows()),
            };
            let more = !many && inputs.iter().all(only_more);
            self.needs.clear();
            let (guest, sources) = (&self.guest, &mut self.sources);
            let step = || guest.step(sources, &inputs, bytes > LARGE);
            let actions = self.courtesy.call(bytes, more, step)?;
            for action in &actions {
                match action {
                    frontend::Action::Need(need) => self.need(*need)?,
                    frontend::Action::Data(_) | frontend::Action::Message(_) => {
                        self.answered = true;
                        self.unanswered = 0;
                    }
                    _ => {}
                }
            }
            self.carry_out(actions).await?;
            if self.tapped_out {
                return Ok(());
            }
            self.settle_sources(&inputs);
        }
    }

    /// The next thing that happens to it; none: nothing can.
    async fn wait(&mut self, closing: pin::Pin<&mut impl Future<Output = ()>>) -> Option<Happened> {
        tokio::select! {
            biased;
            happened = self.jobs.next() => happened,
            () = closing, if !self.closed => Some(Happened::Closing),
        }
    }

    /// The proxy ends. One that has said nothing yet says that; to one that answers already, its
    /// workers have failed, which its guest words as it words any failure in the midst of an answer.
    fn close(&mut self) -> Result<(), Stop> {
        self.closed = true;
        let failure = Closing::failure();
        let shown = |call: &Call| matches!(call.stage, Stage::Shown { .. });
        let begun = self.responder.begun() || self.head.is_some();
        if begun {
            // What it is told is for its client; nothing was too full.
            self.asked.record.failed("drained");
        }
        if !begun || self.calls.is_empty() || self.calls.values().any(|it| shown(it)) {
            return Err(Stop::Failed(failure));
        }
        let calls: Vec<u32> = self.calls.keys().copied().collect();
        for call in calls {
            self.tell_failed(call, &failure);
        }
        Ok(())
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
        self.forget_sources();
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
            // It may have come to its end since the guest was told of it.
            if Some(*id) == self.arriving && (!over || progress.end && !self.told_whole) {
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

    /// Lets go of sources of responses and events that the guest has been shown and does not need:
    /// a stream of many messages is not kept in its table.
    fn forget_sources(&mut self) {
        if self.sources.len() <= SOURCES {
            return;
        }
        let current: Vec<u32> = self.calls.values().filter_map(|it| it.source()).collect();
        let needs = &self.needs;
        self.sources
            .retain(|id| id < HOST_SOURCES || needs.contains_key(&id) || current.contains(&id));
    }

    /// Tells the guest of a source once it has got so far, or is over.
    fn tell_when(&mut self, id: u32, wanted: u64) {
        let Ok(source) = self.sources.get(id).cloned() else {
            return;
        };
        self.told_later += 1;
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
            Happened::Nothing | Happened::Closing => {}
            Happened::Progress(id) => {
                self.told_later -= 1;
                if let Ok(source) = self.sources.get(id) {
                    has_room(source)?;
                    let progress = progress_of(id, source);
                    self.inputs.push(if self.asked.is_grpc {
                        frontend::Input::Message(frontend::GrpcMessage { progress })
                    } else {
                        frontend::Input::Body(progress)
                    });
                }
                self.tell_half_closed();
            }
            Happened::Client(reader, read) => self.client(*reader, read)?,
            Happened::Placed(id, resolved, placed) => self.placed(id, resolved, placed),
            Happened::Admitted(id, ways, admitted) => self.admitted(id, *ways, admitted),
            Happened::Events(id, receiver, said) => self.said(id, receiver, said)?,
            Happened::Upstream(id, reader, read) => self.upstream(id, reader, read).await?,
        }
        Ok(())
    }

    /// Tells that the client has half-closed, after all that came before.
    fn tell_half_closed(&mut self) {
        if self.half_closed == HalfClosed::Seen && self.told_later == 0 {
            self.half_closed = HalfClosed::Told;
            self.inputs.push(frontend::Input::MessagesEnd);
        }
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
                    return Err(Stop::Failed(Failure::payload_too_large(
                        "too many messages",
                    )));
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
                let streaming = self.asked.claimed.client_streaming;
                if self.asked.is_grpc && !streaming && self.arriving.is_none() {
                    return Err(Stop::Failed(Failure::invalid_argument(
                        "the request has no message",
                    )));
                }
                if self.asked.is_grpc && self.half_closed == HalfClosed::No {
                    self.half_closed = HalfClosed::Seen;
                    self.tell_half_closed();
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

    /// Does what the guest says, in order. What it sends is made ready before anything is
    /// waited for: from then on the output itself keeps the bytes that it names.
    async fn carry_out(&mut self, actions: Vec<frontend::Action>) -> Result<(), Stop> {
        let mut todo = self.make_ready(actions)?;
        self.keep_shown();
        while let Some(slow) = self.next_slow(&mut todo)? {
            match slow {
                Slow::Write(sending) => {
                    self.flush_head(None);
                    self.send_all(sending).await?;
                }
                Slow::Pass(it) => {
                    if let Some(blind) = self.pass(it).await? {
                        return self.copy(blind).await;
                    }
                }
            }
        }
        Ok(())
    }

    /// Does what is to be done up to the next thing that may take its time. Apart from the wait
    /// for it, which is part of every stream for as long as it lives, and should hold little.
    fn next_slow(&mut self, todo: &mut VecDeque<Todo>) -> Result<Option<Slow>, Stop> {
        while let Some(next) = todo.pop_front() {
            match next {
                Todo::Write(sending) => return Ok(Some(Slow::Write(sending))),
                Todo::Act(frontend::Action::Pass(it)) => return Ok(Some(Slow::Pass(it))),
                Todo::Act(frontend::Action::Head(head)) => {
                    let head = self.response_head(head)?;
                    self.head = Some(head);
                    if let Some(length) = whole_length(todo) {
                        self.flush_head(Some(length));
                    }
                }
                Todo::Act(action) => self.act(action)?,
            }
        }
        Ok(None)
    }

    /// Checks the order of what is said, and readies what is sent: nothing has gone out
    /// when an answer turns out to be nonsense.
    fn make_ready(&mut self, actions: Vec<frontend::Action>) -> Result<VecDeque<Todo>, Stop> {
        let is_grpc = self.asked.is_grpc;
        let mut headed = self.head.is_some() || self.responder.begun();
        let mut todo = VecDeque::with_capacity(actions.len());
        for action in actions {
            todo.push_back(match action {
                frontend::Action::Head(_) if is_grpc || headed => {
                    return Err(self.nonsense("it sends a head where none can be"));
                }
                frontend::Action::Data(_) if is_grpc || !headed => {
                    return Err(self.nonsense("it sends bytes where none can be"));
                }
                frontend::Action::Message(_) if !is_grpc => {
                    return Err(self.nonsense("it sends a message where bytes are sent"));
                }
                frontend::Action::Data(segments) | frontend::Action::Message(segments) => {
                    Todo::Write(self.ready(segments, is_grpc)?)
                }
                action => {
                    headed |= matches!(action, frontend::Action::Head(_));
                    Todo::Act(action)
                }
            });
        }
        Ok(todo)
    }

    /// Bytes of the request, or of its last message, that have arrived.
    fn request(&self) -> u64 {
        let source = self.sources.get(self.arriving.unwrap_or_default());
        source.map_or(0, |source| source.progress().available)
    }

    /// Bytes that have arrived of what events named, in this step or earlier ones: a tensor is named
    /// before it is there.
    fn shows(&self) -> u64 {
        let pins = self.shown.iter().chain(&self.kept);
        let progress = pins.map(|pin| pin.source().progress());
        progress.map(|it| it.available - it.released).sum()
    }

    /// Bytes that events have shown are let go, but for those that the guest still needs.
    fn keep_shown(&mut self) {
        self.kept.clear();
        for (id, need) in &self.needs {
            if *id >= HOST_SOURCES
                && let Ok(source) = self.sources.get(*id)
            {
                self.kept.push(source.pin(need.keep_from));
            }
        }
        self.shown.clear();
    }

    fn act(&mut self, action: frontend::Action) -> Result<(), Stop> {
        match action {
            frontend::Action::Need(_)
            | frontend::Action::Head(_)
            | frontend::Action::Data(_)
            | frontend::Action::Message(_)
            | frontend::Action::Pass(_)
            | frontend::Action::Other(_) => {}
            frontend::Action::Call(intent) => self.call(intent)?,
            frontend::Action::Materialise(it) => self.materialise(it)?,
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
                self.used(it.id, &it.usage);
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
        }
        Ok(())
    }

    fn nonsense(&self, reason: impl Into<String>) -> Stop {
        Stop::Guest(self.guest.condemn(reason.into()))
    }

    fn need(&mut self, need: types::Need) -> Result<(), Stop> {
        if let Ok(source) = self.sources.get(need.source) {
            make_room(source, &need, self.limit);
            has_room(source)?;
        }
        self.needs.insert(need.source, need);
        Ok(())
    }
}

/// Whether a guest is told only that more has come of something, and not the last of it.
fn only_more(input: &frontend::Input) -> bool {
    match input {
        frontend::Input::Body(progress) | frontend::Input::UpstreamBytes(progress) => !progress.end,
        frontend::Input::Message(message) | frontend::Input::UpstreamMessage(message) => {
            !message.progress.end
        }
        _ => false,
    }
}

/// Bytes that events hold themselves.
fn told(events: &[frontend::CallEvent]) -> u64 {
    let bytes = events.iter().map(|it| weight::of_event(&it.event) as u64);
    bytes.sum()
}

/// A request that there is no more room for ends as one that there never was room for.
fn has_room(source: &Source) -> Result<(), Stop> {
    match source.starved() {
        Some(_) => Err(Stop::Failed(failures::no_room())),
        None => Ok(()),
    }
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

/// Writes a failure by the claim's template, as the whole response.
pub(crate) async fn refuse(asked: &Asked, failure: &Failure, responder: &mut Responder) {
    let (mut head, body) =
        asked
            .claimed
            .wording
            .response(failure, asked.is_grpc, &asked.context.request_id);
    head.headers_mut()
        .insert(crate::context::REQUEST_ID, asked.trace.request_id.clone());
    asked.tell_left(&mut head);
    asked.record.failed(failure.label());
    if let Some(plugin) = &failure.culprit {
        asked.record.blame(plugin);
    }
    asked.record.status(head.status().as_u16());
    if asked.is_grpc {
        asked.record.grpc_status(failure.grpc());
    }
    responder.head(head);
    responder.data(body).await;
}
