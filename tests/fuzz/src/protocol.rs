//! What every protocol plugin is held to, driven natively by the host that its own tests play.
//!
//! 1. A request is taken apart at every pace: the same call comes of it.
//! 2. Its call goes to a worker of the same dialect, whose answer comes at every pace: the same
//!    events come of it, each member has one end, and nothing after it.
//! 3. The events go to the client at every pace: the same answer.
//! 4. The request is passed: only the model that was authorized is sent on.
//!
//! That host panics when a plugin reads what was released, acts after the end, or names bytes that
//! its source does not have; the real one counts those as traps.

use tollgate_sdk_protocol::{
    Protocol, actions,
    backend::{MemberEvent, ProbeResponse, Worker as WorkerFacts},
    frontend::{Parameter, PassTo, RequestHead, TranslateTo, Way},
    inference::{Call, Event},
    plugin::{Claim, Gathering, Surface},
    testing::{
        Answer, Client, ClientOutcome, Ending, Memory, Pace, Passed, Upstream, Worker,
        WorkerOutcome, context,
    },
    types::{Cut, Header, ResponseEnd, ResponseHead, SourceId},
};

use tollgate_wire::json;

use crate::input::{mix, parts, selector};

/// What the worker calls the model that was authorized.
pub(crate) const SERVED: &str = "served-name";

/// The number from which the driver of a worker numbers the answer's sources.
const RESPONSE: SourceId = 1 << 20;

/// A plugin as it was configured.
pub(crate) struct Side<P> {
    plugin: P,
    claims: Vec<Claim>,
    /// Of its workers.
    worker: WorkerFacts,
}

impl<P: Protocol> Side<P> {
    /// The plugin with these options, and a worker with those.
    pub(crate) fn new(options: &str, worker: &str) -> Self {
        let (plugin, claims) = P::configure(options).unwrap_or_else(|bad| panic!("{bad:?}"));
        Self {
            plugin,
            claims,
            worker: WorkerFacts {
                name: "w".to_owned(),
                dialect: P::manifest().dialects.remove(0),
                options: worker.to_owned(),
                models: Vec::new(),
            },
        }
    }

    pub(crate) fn claims(&self) -> usize {
        self.claims.len()
    }

    /// Where a claim is met.
    pub(crate) fn surface(&self, claim: usize) -> &Surface {
        &self.claims[claim].surface
    }

    fn head(&self, ask: &Ask<'_>) -> RequestHead {
        let claim = ask.claim;
        let mut parameters = Vec::new();
        let (method, path) = match &self.claims[claim].surface {
            Surface::Rest(rest) => {
                let mut path = String::new();
                for (at, part) in rest.path.split(['{', '}']).enumerate() {
                    if at % 2 == 0 {
                        path.push_str(part);
                    } else {
                        path.push_str("named");
                        parameters.push(Parameter {
                            name: part.trim_end_matches("...").to_owned(),
                            value: "named".to_owned(),
                        });
                    }
                }
                (rest.method.clone(), path)
            }
            Surface::Grpc(grpc) => (
                "POST".to_owned(),
                format!("/{}/{}", grpc.service, grpc.method),
            ),
        };
        let mut headers = vec![
            actions::header("content-type", "application/json"),
            // Where a protocol names the model there; others do not look.
            actions::header("mm-model-id", "m"),
        ];
        headers.extend(ask.request_json.map(json_length));
        RequestHead {
            claim: claim as u32,
            method,
            path,
            query: String::new(),
            parameters,
            headers,
        }
    }

    /// A worker that speaks the claim's dialect.
    fn worker(&self, claim: usize) -> WorkerFacts {
        let extensions = &self.claims[claim].extensions;
        let dialect = extensions.iter().find(|it| it.name == "dialect");
        let dialect = dialect.map(|it| String::from_utf8_lossy(&it.payload).into_owned());
        let worker = self.worker.clone();
        WorkerFacts {
            dialect: dialect.unwrap_or(worker.dialect),
            ..worker
        }
    }

    /// A request to this claim, and all that comes of it. `passed` looks at what is sent on.
    pub(crate) fn exchange(&self, ask: &Ask<'_>, passed: impl Fn(&Passed, bool)) {
        let head = || self.head(ask);
        let facts = self.worker(ask.claim);
        let grpc = matches!(self.surface(ask.claim), Surface::Grpc(_));
        let streamed = matches!(self.surface(ask.claim),
            Surface::Rest(rest) if rest.gathering == Gathering::Streamed);
        let said = Said::of(ask, grpc);
        let play = |client: &Client, len: usize| {
            at_every_pace(len, |pace| {
                client.play(self.plugin.exchange(context(), head()), pace)
            })
        };
        let client = |way| Client {
            upstream: Some(said.upstream()),
            streamed,
            ..if grpc {
                Client::grpc(vec![ask.request.to_vec()], way)
            } else {
                Client::rest(ask.request, way)
            }
        };

        let taken = client(Way::Translate(TranslateTo {
            model: SERVED.to_owned(),
        }));
        let apart = play(&taken, ask.request.len());
        check_outcome(&apart);
        let sources = &apart.sources.0;
        if let Some((_, call)) = apart.calls.first() {
            assert_eq!(call.model, SERVED, "another model than the authorized one");
            let worker = self.attempt(&facts, &said, call, sources);
            let told = worker.told.0.into_iter().map(|event| event.event);
            let events: Vec<Event> = told.collect();
            let paces = events.len();
            let answered = Client {
                events,
                sources: said.held(),
                ..taken
            };
            let outcome = play(&answered, paces);
            check_outcome(&outcome);
            assert!(outcome.finished, "all events came and it goes on");
        }

        let passing = client(Way::Pass(PassTo {
            model: SERVED.to_owned(),
            dialect: facts.dialect.clone(),
            options: facts.options.clone(),
        }));
        let outcome = play(&passing, said.longest().max(ask.request.len()));
        check_outcome(&outcome);
        for sent in &outcome.passed {
            passed(sent, grpc);
        }
    }

    fn attempt(
        &self,
        facts: &WorkerFacts,
        said: &Said,
        call: &Call,
        sources: &Memory,
    ) -> WorkerOutcome {
        let key = self.plugin.batch_key(facts, call);
        assert_eq!(self.plugin.batch_key(facts, call), key);
        let driver = Worker {
            answer: said.answer(),
            sources: sources.clone(),
        };
        let outcome = at_every_pace(said.longest(), |pace| {
            let members = vec![call.clone()];
            let attempt = self.plugin.attempt(context(), facts.clone(), members);
            driver.play(attempt, pace)
        });
        check_events(&outcome.told.0);
        assert!(outcome.finished, "the answer has ended and it goes on");
        outcome
    }

    /// Answers to probes are judged, whatever they are.
    pub(crate) fn judge(&self, status: u16, bodies: &[&[u8]]) {
        judge(&self.plugin, &self.worker, status, bodies);
    }
}

/// A request, and what a worker answers to it.
pub(crate) struct Ask<'a> {
    /// Index of the claim.
    pub(crate) claim: usize,
    pub(crate) request: &'a [u8],
    /// Chooses the status, and whether the answer breaks off.
    pub(crate) mood: u8,
    /// One body, or messages.
    pub(crate) answer: &'a [&'a [u8]],
    /// How much of the request is JSON, and of the answer, where raw bytes follow.
    pub(crate) request_json: Option<usize>,
    pub(crate) answer_json: Option<usize>,
}

/// Says how much of a body is JSON, where raw tensors follow.
fn json_length(len: usize) -> Header {
    actions::header("inference-header-content-length", len.to_string())
}

/// The answer in the words of both drivers.
struct Said {
    head: ResponseHead,
    content: Vec<Vec<u8>>,
    grpc: bool,
    end: Result<ResponseEnd, Ending>,
}

impl Said {
    fn of(ask: &Ask<'_>, grpc: bool) -> Self {
        let mut content: Vec<Vec<u8>> = ask.answer.iter().map(|part| part.to_vec()).collect();
        if !grpc {
            // A response has one body, also where it is empty.
            content.resize(1, Vec::new());
        }
        let kind = match content.first() {
            Some(body) if !grpc && body.starts_with(b"{") => "application/json",
            _ if grpc => "application/grpc",
            _ => "text/event-stream",
        };
        let status = [200, 200, 200, 200, 400, 404, 500, 503][usize::from(ask.mood & 7)];
        let failed = status != 200;
        let code = grpc.then_some(if failed { u32::from(ask.mood) } else { 0 });
        Self {
            head: ResponseHead {
                status: if grpc { 200 } else { status },
                headers: std::iter::once(actions::header("content-type", kind))
                    .chain(ask.answer_json.map(json_length))
                    .collect(),
            },
            content,
            grpc,
            // A break is told with content; without any, the end is.
            end: if ask.mood & 0x18 == 0x18 && ask.answer.iter().any(|part| !part.is_empty()) {
                Err(Ending::Cut(Cut::Closed))
            } else {
                Ok(ResponseEnd {
                    code,
                    message: failed.then(|| "said so".to_owned()),
                    trailers: Vec::new(),
                })
            },
        }
    }

    /// The answer's bytes, as events name them: whole, and kept by those who hold the events.
    fn held(&self) -> Memory {
        let sources = (RESPONSE..).zip(&self.content);
        sources.fold(Memory::default(), |memory, (source, content)| {
            memory.with(source, content.clone())
        })
    }

    fn longest(&self) -> usize {
        self.content.iter().map(Vec::len).max().unwrap_or(0)
    }

    fn upstream(&self) -> Upstream {
        Upstream {
            head: self.head.clone(),
            content: self.content.clone(),
            grpc: self.grpc,
            end: self.end.clone(),
        }
    }

    fn answer(&self) -> Answer {
        Answer {
            head: self.head.clone(),
            content: self.content.clone(),
            grpc: self.grpc,
            end: self.end.clone(),
        }
    }
}

/// Runs whole, cut at one place, and, where that is little, in single bytes.
fn at_every_pace<T: PartialEq + std::fmt::Debug>(len: usize, run: impl Fn(Pace) -> T) -> T {
    let whole = run(Pace::Whole);
    let cut = (len > 1).then(|| Pace::Cut(1 + mix(&len.to_le_bytes()) as usize % (len - 1)));
    let single = (len <= 512).then_some(Pace::Single);
    for pace in cut.into_iter().chain(single) {
        let other = run(pace);
        // Numbers that are none are no equals of themselves, and are written alike.
        let same = other == whole || format!("{other:?}") == format!("{whole:?}");
        assert!(same, "at {pace:?}: {other:#?}\nwhole: {whole:#?}");
    }
    whole
}

fn check_outcome(outcome: &ClientOutcome) {
    if outcome.refused.is_some() || outcome.broken.is_some() {
        assert!(outcome.finished, "failed and not finished");
    }
    for intent in &outcome.intents {
        let same = outcome.intents.iter().filter(|other| other.id == intent.id);
        assert_eq!(same.count(), 1, "two calls of one number");
    }
}

/// At most one end a member, and nothing after it.
fn check_events(events: &[MemberEvent]) {
    let mut over = Vec::new();
    for event in events {
        assert!(!over.contains(&event.member), "an event after the end");
        if matches!(event.event, Event::End | Event::Failed(_)) {
            over.push(event.member);
        }
    }
}

fn judge<P: Protocol>(plugin: &P, worker: &WorkerFacts, status: u16, bodies: &[&[u8]]) {
    let asked = plugin.probe(worker).len();
    let responses = bodies.iter().map(|body| ProbeResponse {
        status,
        code: None,
        headers: Vec::new(),
        body: body.to_vec(),
    });
    // As many as were asked for, as the host brings them.
    let mut responses: Vec<_> = responses.take(asked).collect();
    let empty = ProbeResponse {
        status: 0,
        code: None,
        headers: Vec::new(),
        body: Vec::new(),
    };
    responses.resize(asked, empty);
    let health = plugin.judge(worker, responses);
    assert!(health.ready || health.reason.is_some(), "unwell, and why?");
}

/// Every member of this name, of the object that is sent on, is the model that was authorized.
pub(crate) fn named(body: &[u8], member: &str) {
    let found = json::members(body, &[member]).expect("what is sent on is an object");
    assert!(!found.is_empty(), "no model is named");
    for member in found {
        let at = member.offset as usize..(member.offset + member.len) as usize;
        let model: String = serde_json::from_slice(&body[at]).expect("a string");
        assert_eq!(model, SERVED);
    }
}

/// Parts: options, a worker's options, answers to probes.
pub(crate) fn options<P: Protocol>(default: &Side<P>, data: &[u8]) {
    let (selected, data) = selector(data);
    let status = [200, 200, 404, 0][usize::from(selected & 3)];
    let mut parts = parts(data).into_iter();
    let options = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let worker = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let bodies: Vec<&[u8]> = parts.collect();
    default.judge(status, &bodies);
    match P::configure(&options) {
        Err(problems) => assert!(!problems.is_empty()),
        Ok((plugin, claims)) => {
            assert!(!claims.is_empty());
            let facts = WorkerFacts {
                options: worker.into_owned(),
                ..default.worker.clone()
            };
            judge(&plugin, &facts, status, &bodies);
        }
    }
}
