//! The way of a request, step by step.
//!
//! Each step either hands the request on or answers it. Up to the frontend no guest is
//! called and no body is read; errors are worded by the templates of the claim, so
//! that they are in the client's dialect even here.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;
use tollgate_dispatch::driver::Full;
use tollgate_edge::{Admission, Identity, Peer, TenantPlace, challenge};
use tollgate_limits::{Fields, Seat};
use tollgate_payloads::Tap;
use tollgate_plugin::{GuestError, frontend, manifest::Gathering, types};
use tollgate_telemetry::{Record, RecordStart, Tracer, Trail, ids, trace::TraceContext};
use tollgate_wire::{
    budget::Budgets,
    failure::Failure,
    grpc,
    headers::{self, Client},
    inflate::InflateError,
    source::Source,
};

use crate::{
    builtin::{self, Builtin},
    claims::{ClaimTable, Claimed, Found},
    closing::Closing,
    context::{self, Trace},
    exchange::{self, Asked, ClientBody, Ended},
    failures::{self, Wording},
    house::{House, Route, RoutePlace},
    limits,
    reading::{Read, Reader},
    responder::{Body, Responder, respond},
    unpack, wishes,
};

/// Finds the route for a listener, a host and a path; gives the path without prefix.
pub type Router =
    Arc<dyn Fn(&str, Option<&str>, &str) -> Option<(Arc<Route>, String)> + Send + Sync>;

/// Serves one request. Dropped, the request ends wherever it is.
pub async fn serve(
    house: Arc<House>,
    router: Router,
    request: Request<Incoming>,
    peer: Arc<Peer>,
) -> Response<Body> {
    let responder = Responder::default();
    // Boxed: it would have its room for as long as the exchange lives.
    let request = Box::new(request);
    let driver = driver(house, router, request, peer, responder.clone());
    respond(driver.boxed(), &responder).await
}

/// The whole exchange. It lives as long as a stream does, of which there are thousands: what is
/// large and over sooner is boxed where it is awaited.
async fn driver(
    house: Arc<House>,
    router: Router,
    request: Box<Request<Incoming>>,
    peer: Arc<Peer>,
    responder: Responder,
) {
    let mut leaving = Leaving(None);
    // What is only needed up to the frontend is gone by then, and takes no room beside it.
    let Some(mut entered) = enter(house, router, request, peer, responder, &mut leaving).await
    else {
        leaving.0 = None;
        return;
    };
    converse(&mut entered.asked, entered.body, entered.responder).await;
    leaving.0 = None;
}

/// A request that has come as far as its frontend.
struct Entered {
    asked: Asked,
    body: ClientBody,
    responder: Responder,
    /// What it takes of its tenant's places, here and at all proxies together, and of its route's.
    _places: (TenantPlace, Option<Seat>, RoutePlace),
}

/// Notes that the client has gone, when a request is dropped before its end.
struct Leaving(Option<Record>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(record) = &self.0 {
            record.gone();
        }
    }
}

/// What is known before the route.
struct Arrived {
    request_id: String,
    trace: Trace,
    is_grpc: bool,
    responder: Responder,
    record: Record,
    /// Until somebody reads it.
    body: Option<Incoming>,
    /// Whether an answer that needs none of the body waits until it has come.
    patient: bool,
    h2: bool,
    /// Whether the connection ends with a refusal: where what follows on it may be no request.
    closing: bool,
    /// The methods that the path has, for a refusal of the method (RFC 9110, section 15.5.6).
    allow: Option<HeaderValue>,
    /// What is left of the tenant's limits, for a refusal because of them.
    fields: Option<Fields>,
    /// What credentials are wanted, or what is wrong with those that came (RFC 9110, section 11.6.1).
    challenge: Option<HeaderValue>,
}

/// A body that is read past before a refusal, and how long it may take to come. Over HTTP/2 a
/// refusal ends the stream, and there are clients (curl 7.88 is one) that lose the answer when
/// that happens before they have sent all of a request. Over HTTP/1.1 a connection ends on which a
/// body was not read: who is not told loses the next request (RFC 9112, section 9.3).
const READ_PAST: u64 = 64 << 10;
const PATIENCE: Duration = Duration::from_millis(250);

/// The steps up to the frontend. None: it has been answered.
async fn enter(
    house: Arc<House>,
    router: Router,
    request: Box<Request<Incoming>>,
    peer: Arc<Peer>,
    responder: Responder,
    leaving: &mut Leaving,
) -> Option<Entered> {
    let (mut parts, body) = request.into_parts();
    let is_grpc = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(grpc::is_content_type);

    // 1. A request that could be read in two ways goes no further, nor does anything else on its
    //    connection. A tunnel or another protocol is nothing that this is.
    // 2. Route: by listener, host and prefix.
    let switching = !peer.h2 && wishes::websocket(&parts.headers);
    let (clear, routed) = find_route(&parts, &router, &peer);
    let closing = !peer.h2 && (switching || !clear);
    let (request_id, trace, record) = begin(&house, &peer, &mut parts, &routed);
    leaving.0 = Some(record.clone());
    let mut arrived = Arrived {
        request_id,
        trace,
        is_grpc,
        responder,
        record,
        body: Some(body),
        patient: !parts.headers.contains_key(header::EXPECT)
            && context::content_length(&parts.headers).is_some_and(|length| length <= READ_PAST),
        h2: peer.h2,
        closing,
        allow: None,
        fields: None,
        challenge: None,
    };
    let (host, route, path) = match routed {
        Ok(routed) => routed,
        Err(failure) => {
            arrived.refuse(&Wording::default(), failure).await;
            return None;
        }
    };
    let claims = route.claims.load_full();
    // Pages of other origins: a preflight asks nobody and nothing but this, and has no token.
    if let Some(cors) = route.spec.cors.as_ref().filter(|_| !is_grpc) {
        if let Some(answer) = cors.preflight(&parts.method, &parts.headers) {
            arrived.granted(answer);
            return None;
        }
        arrived.responder.dress(cors.dress(&parts.headers));
    }

    // 3. Claim: by method and path, or by gRPC service and method.
    let found = if is_grpc {
        match claims.grpc(&path) {
            Some(claimed) => Ok((claimed.clone(), Vec::new())),
            None => match Builtin::of(&path) {
                Some(builtin) => Err(builtin),
                None => {
                    let failure = Failure::unsupported(format!("unknown method {path}"));
                    arrived.refuse(&claims.wording, failure).await;
                    return None;
                }
            },
        }
    } else {
        match claims.rest(&parts.method, &path) {
            Found::Claim(claimed, parameters) => Ok((claimed, parameters)),
            Found::OtherMethod(allowed, claimed) => {
                let failure =
                    Failure::method_not_allowed(format!("Method Not Allowed; use {allowed}"));
                arrived.allow = HeaderValue::try_from(allowed).ok();
                arrived.refuse(&claimed.wording, failure).await;
                return None;
            }
            Found::Nothing => {
                let failure = Failure::not_found("Not Found");
                arrived.refuse(&claims.wording, failure).await;
                return None;
            }
        }
    };
    let wording = match &found {
        Ok((claimed, _)) => claimed.wording.clone(),
        Err(_) => claims.wording.clone(),
    };

    // Wishes about the connection that nobody here can grant.
    if let Err(failure) = match switching {
        true => Err(wishes::no_websocket()),
        false => wishes::expectation(&parts.headers),
    } {
        arrived.refuse(&wording, failure).await;
        return None;
    }

    // 4. Authenticate: nobody anonymous reaches a guest, unless the route is open.
    //    What the client says of itself by other headers than its credential's is no part of that,
    //    and goes no further.
    let admitted = match &route.spec.door {
        None => Ok(Identity::anonymous()),
        Some(door) => match door.admit(&parts.headers, peer.certificate.as_deref()) {
            Admission::Now(outcome) => outcome,
            Admission::Later(asking) => asking.await,
        },
    };
    let identity = match admitted {
        Ok(identity) => identity,
        Err(why) => {
            house.metrics.auth_failed(why.label());
            let failure = failures::of_door(why);
            // Where nobody could tell, no other credential would help.
            arrived.challenge = [401, 403].contains(&failure.http()).then(|| challenge(why));
            arrived.refuse(&wording, failure).await;
            return None;
        }
    };
    headers::strip_claims(&mut parts.headers);
    arrived.record.identity(identity.name());
    arrived.record.tenant(identity.tenant());

    // 5. Limit: before a body is read. A tenant's own bound first: what it may not have takes no
    //    place of others. Then what it may have at all proxies together, where that is limited.
    let Some(tenants) = identity.tenant_entry().enter() else {
        house.metrics.rejected(route.name(), "tenant-concurrency");
        let failure = Failure::rate_limited("too many requests of this tenant at once");
        let failure = failure.with_retry_after(1000);
        arrived.refuse(&wording, failure).await;
        return None;
    };
    let seat = match &house.limits {
        None => None,
        Some(limits) => {
            let asks = found.as_ref().is_ok_and(|(claimed, _)| claimed.queued);
            match Box::pin(limits.enter(&identity, asks)).await {
                Ok(seat) => seat,
                Err(refused) => {
                    house.metrics.rejected(route.name(), refused.why.label());
                    arrived.fields = refused.fields;
                    arrived.refuse(&wording, refused.failure).await;
                    return None;
                }
            }
        }
    };
    let Some(routes) = route.enter() else {
        house.metrics.rejected(route.name(), "concurrency");
        let failure = Failure::overloaded("too many requests on this route").with_retry_after(1000);
        arrived.refuse(&wording, failure).await;
        return None;
    };
    let deadline = Instant::now() + timeout(&parts.headers, &route);
    arrived.responder.until(deadline);
    // What would only be read to find its queue full is not read.
    if let Ok((claimed, _)) = &found
        && let Err(full) = room_in_queue(claimed, &route, &parts.headers)
    {
        house.metrics.rejected(route.name(), "queue-full");
        let failure = Failure::overloaded(full.to_string()).with_retry_after(1000);
        arrived.refuse(&wording, failure).await;
        return None;
    }
    let body = arrived.body.take()?;
    let (claimed, parameters) = match found {
        Ok(found) => found,
        Err(builtin) => {
            let served = builtin::serve(
                builtin,
                &house,
                &route,
                &parts.headers,
                body,
                &arrived.responder,
            );
            let _ = tokio::time::timeout_at(deadline, served).await;
            arrived.record.status(200);
            return None;
        }
    };
    // A frontend's canary takes its share.
    let drawn = claims.drawn(&claimed);
    let drawn = drawn.and_then(|canary| claim(canary, is_grpc, &parts.method, &path));
    let drawn = drawn.unwrap_or((claimed, parameters));
    // Before anything is read for it: one that is out gives way.
    let (claimed, parameters) =
        instead(&house, &route, &drawn.0, is_grpc, &parts.method, &path).unwrap_or(drawn);
    // They name the generation of every frontend of the route: none of the others is kept for as
    // long as this request takes.
    drop(claims);
    note_claim(&arrived.record, &claimed);

    // What has a body and came this far may be told to a sink, as far as it is REST.
    let log = route.spec.payloads.as_ref();
    let log = log.filter(|_| !is_grpc && claimed.gathering != Gathering::Nothing);
    let tap = log.and_then(|log| log.begin(&arrived.request_id, &parts.headers));
    if let Some(tap) = &tap {
        arrived.responder.tap(tap.clone());
    }

    // 6. The body, as far as the frontend wants it before it begins; its room before its bytes.
    let gathered = gather(&mut parts, body, &claimed, &route, is_grpc, tap);
    let gathered = async {
        tokio::select! {
            biased;
            gathered = gathered => gathered,
            () = house.closing.told() => Err(Closing::failure()),
        }
    };
    let body = match tokio::time::timeout_at(deadline, gathered).await {
        Ok(Ok(body)) => body,
        Ok(Err(failure)) => {
            arrived.refuse(&wording, failure).await;
            return None;
        }
        Err(_) => {
            let failure = Failure::deadline_exceeded("the request did not arrive in time");
            arrived.refuse(&wording, failure).await;
            return None;
        }
    };

    // 7. The frontend takes over: what is asked, of whom, and the answer.
    // What the client says of his connection is done with before anything is added: he may not
    // have it taken out again by naming it in `Connection`.
    headers::strip_hop_by_hop(&mut parts.headers);
    let address = SocketAddr::ip(&peer.address);
    headers::forward(
        &mut parts.headers,
        Client {
            address,
            secure: peer.tls,
            host: host.as_deref(),
            trusted: false,
        },
    );
    let asked = Asked {
        head: frontend::RequestHead {
            claim: claimed.number,
            method: parts.method.to_string(),
            path,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            parameters: named(parameters),
            headers: context::wanted(&parts.headers, &claimed.frontend.manifest().read_headers),
        },
        context: types::Context {
            request_id: arrived.request_id.clone(),
            unix_time: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            seed: u64::from_le_bytes(ids::random()),
            route: route.name().to_string(),
            default_model: route.spec.default_model.clone(),
            deadline_ms: Some(
                u64::try_from(
                    deadline
                        .saturating_duration_since(Instant::now())
                        .as_millis(),
                )
                .unwrap_or(u64::MAX),
            ),
            extensions: Vec::new(),
        },
        house,
        route,
        claimed,
        identity,
        parts,
        trace: arrived.trace.clone(),
        deadline,
        is_grpc,
        record: arrived.record.clone(),
        left: OnceLock::new(),
    };
    Some(Entered {
        asked,
        body,
        responder: arrived.responder,
        _places: (tenants, seat, routes),
    })
}

/// A claim, and what its pattern's names matched.
type Claim = (Arc<Claimed>, Vec<(String, String)>);

/// The claim on a request among these.
fn claim(claims: &ClaimTable, is_grpc: bool, method: &Method, path: &str) -> Option<Claim> {
    if is_grpc {
        return Some((claims.grpc(path)?.clone(), Vec::new()));
    }
    match claims.rest(method, path) {
        Found::Claim(claimed, parameters) => Some((claimed, parameters)),
        Found::OtherMethod(..) | Found::Nothing => None,
    }
}

/// The claim on a request of the generation that serves in the place of one that is kept out of
/// service, or has lost its place since the claims were looked at: who begins with that one may fail,
/// or finds few instances left. None: neither is so, which takes a look at two numbers, or there is
/// nobody else who claims it.
fn instead(
    house: &House,
    route: &Route,
    claimed: &Claimed,
    is_grpc: bool,
    method: &Method,
    path: &str,
) -> Option<Claim> {
    let out = &claimed.frontend;
    if !out.is_out() || !route.has_instead(&house.shelf, out) {
        return None;
    }
    claim(&route.claims.load(), is_grpc, method, path)
}

/// Runs of one request: the first, one for what was lost, and one for who is refused that one because
/// the generation has been taken out of service just then.
const RUNS: usize = 3;

/// Runs the exchange; a request that is lost with its plugin's instance, is still held
/// and has not been answered runs once more, alone, with the generation that is in force by then:
/// what a canary lost is nothing that its client notices.
async fn converse(asked: &mut Asked, mut body: ClientBody, mut responder: Responder) {
    // The body may have taken its time.
    give_way(asked);
    let mut runs = 0;
    let lost = loop {
        runs += 1;
        let held = body.again();
        let lost = match exchange::run(asked, runs > 1, body, responder.clone()).await {
            Ended::Done => return asked.claimed.frontend.ended(asked.record.has_failed()),
            Ended::Lost(lost) => lost,
        };
        let tried = asked.claimed.frontend.clone();
        tried.ended(!lost.is_of_input());
        let refused = matches!(lost, GuestError::Quarantined { .. });
        let Some(again) = held.filter(|_| runs == 1 || refused && runs < RUNS) else {
            break lost;
        };
        claim_again(asked);
        if runs > 1 && asked.claimed.frontend == tried {
            break lost;
        }
        asked.record.retried();
        body = again;
    };
    let failure = match lost.is_of_input() {
        true => failures::too_much(),
        false => failures::of_plugin(&lost),
    };
    exchange::refuse(asked, &failure, &mut responder).await;
}

/// Another generation serves the request from the beginning, where its own is out.
fn give_way(asked: &mut Asked) {
    let found = instead(
        &asked.house,
        &asked.route,
        &asked.claimed,
        asked.is_grpc,
        &asked.parts.method,
        &asked.head.path,
    );
    take(asked, found);
}

/// The generation in force serves the request from the beginning, if it claims it still.
fn claim_again(asked: &mut Asked) {
    // First, since it has the route follow its plugins, where that cannot wait.
    give_way(asked);
    let claims = asked.route.claims.load_full();
    let found = claim(
        &claims,
        asked.is_grpc,
        &asked.parts.method,
        &asked.head.path,
    );
    take(asked, found);
}

/// Has a claim that was found serve the request, as long as it wants of the body what was read of it.
fn take(asked: &mut Asked, found: Option<Claim>) {
    let found = found.filter(|(claimed, _)| claimed.takes_body_as(&asked.claimed));
    let Some((claimed, parameters)) = found else {
        return;
    };
    let frontend = &claimed.frontend;
    note_claim(&asked.record, &claimed);
    asked.head.claim = claimed.number;
    asked.head.parameters = named(parameters);
    let wanted = &frontend.manifest().read_headers;
    asked.head.headers = context::wanted(&asked.parts.headers, wanted);
    asked.claimed = claimed;
}

/// Notes who speaks to the client, and what.
fn note_claim(record: &Record, claimed: &Claimed) {
    let frontend = &claimed.frontend;
    record.frontend(frontend.name(), frontend.number());
    record.dialect(&claimed.dialect);
    record.claim(&claimed.pattern);
}

fn named(parameters: Vec<(String, String)>) -> Vec<frontend::Parameter> {
    let parameters = parameters.into_iter();
    parameters
        .map(|(name, value)| frontend::Parameter { name, value })
        .collect()
}

impl Arrived {
    /// A preflight's answer.
    fn granted(&mut self, mut head: Response<()>) {
        head.headers_mut()
            .insert(context::REQUEST_ID, self.trace.request_id.clone());
        self.record.status(head.status().as_u16());
        self.responder.head(head);
    }

    async fn refuse(&mut self, wording: &Wording, failure: Failure) {
        if let Some(mut body) = self.body.take() {
            if self.patient {
                let read_past = async { while let Some(Ok(_)) = body.frame().await {} };
                let _ = tokio::time::timeout(PATIENCE, read_past).await;
            }
            self.closing |= !self.h2 && !body.is_end_stream();
        }
        let (mut head, body) = wording.response(&failure, self.is_grpc, &self.request_id);
        head.headers_mut()
            .insert(context::REQUEST_ID, self.trace.request_id.clone());
        if let Some(allow) = self.allow.take() {
            head.headers_mut().insert(header::ALLOW, allow);
        }
        if let (Some(fields), false) = (self.fields.take(), self.is_grpc) {
            limits::tell(&fields, head.headers_mut());
        }
        if let Some(challenge) = self.challenge.take()
            && !self.is_grpc
        {
            head.headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.closing {
            head.headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.record.failed(failure.label());
        self.record.status(head.status().as_u16());
        if self.is_grpc {
            self.record.grpc_status(failure.grpc());
        }
        self.responder.head(head);
        self.responder.data(body).await;
    }
}

/// Reads what the frontend wants before its first step.
async fn gather(
    parts: &mut http::request::Parts,
    body: Incoming,
    claimed: &Claimed,
    route: &Route,
    is_grpc: bool,
    tap: Option<Tap>,
) -> Result<ClientBody, Failure> {
    let limits = &route.spec.limits;
    let budgets = &route.spec.budgets;
    if is_grpc {
        let mut reader = Reader::new(body, &parts.headers, limits.message)
            .within(budgets)
            .map_err(|_| failures::no_room())?;
        if claimed.client_streaming {
            return Ok(ClientBody::Arriving(None, reader));
        }
        return match reader.next(&types::Want::More).await {
            Read::Message(source) => match reader.peek(&types::Want::More) {
                Some(Read::End(_)) => Ok(ClientBody::Whole(source)),
                Some(Read::Message(_)) => {
                    Err(Failure::invalid_argument("this method takes one message"))
                }
                Some(Read::Cut(cut)) => Err(cut_failure(&reader, &cut)),
                _ => Ok(ClientBody::Arriving(Some(source), reader)),
            },
            Read::Cut(cut) => Err(cut_failure(&reader, &cut)),
            _ => Err(Failure::invalid_argument("the request has no message")),
        };
    }
    match claimed.gathering {
        Gathering::Nothing => Ok(ClientBody::Nothing),
        // What is compressed has no length before it has been read, and is read whole.
        Gathering::Streamed if !parts.headers.contains_key(header::CONTENT_ENCODING) => {
            let length = context::content_length(&parts.headers);
            if length.is_some_and(|length| length > limits.body) {
                return Err(too_large(limits.body));
            }
            let reader = Reader::plain(body, length, limits.body)
                .within(budgets)
                .map_err(|_| failures::no_room())?;
            Ok(ClientBody::Arriving(None, reader.tapped(tap)))
        }
        Gathering::Streamed | Gathering::Whole => {
            let bytes = whole(parts, body, limits.body, budgets).await?;
            if let Some(tap) = tap {
                tap.request(&bytes);
            }
            Ok(ClientBody::Whole(Source::whole(bytes)))
        }
    }
}

fn cut_failure(reader: &Reader<Incoming>, _cut: &types::Cut) -> Failure {
    reader
        .failure()
        .unwrap_or_else(|| Failure::invalid_argument("the request broke off"))
}

/// The smallest body that is kept where it was read. Connections read into 8 KiB at least.
const IN_PLACE: u64 = 8 << 10;

fn too_large(limit: u64) -> Failure {
    Failure::payload_too_large(format!("the body is larger than {limit} bytes"))
}

async fn whole(
    parts: &mut http::request::Parts,
    mut body: Incoming,
    limit: u64,
    budgets: &Budgets,
) -> Result<Bytes, Failure> {
    let coding = unpack::coding(&parts.headers)?;
    parts.headers.remove(header::CONTENT_ENCODING);
    let told = context::content_length(&parts.headers).unwrap_or(0);
    if told > limit {
        return Err(too_large(limit));
    }
    let mut room = budgets.room();
    room.grow_to(told).map_err(|_| failures::no_room())?;
    let mut chunks: Vec<Bytes> = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::invalid_argument("the request body broke off"))?;
        if let Ok(data) = frame.into_data() {
            length += data.len() as u64;
            if length > limit {
                return Err(too_large(limit));
            }
            room.grow_to(length).map_err(|_| failures::no_room())?;
            if !data.is_empty() {
                chunks.push(data);
            }
        }
        if body.is_end_stream() {
            break;
        }
    }
    let bytes = match chunks.len() {
        0 => Bytes::new(),
        // A small one lies in its connection's buffer, and would keep all of it.
        1 if length < IN_PLACE => Bytes::copy_from_slice(&chunks[0]),
        1 => chunks.swap_remove(0),
        _ => chunks.concat().into(),
    };
    let Some(format) = coding else {
        return Ok(room.keep(bytes));
    };
    let most = room.grow_up_to(limit);
    let unpacked = unpack::whole(bytes, format, most).await;
    let unpacked = unpacked.map_err(|error| match error {
        InflateError::TooLarge { .. } if most < limit => failures::no_room(),
        InflateError::TooLarge { .. } => too_large(limit),
        _ => Failure::invalid_argument(format!("the compressed body is damaged: {error}")),
    })?;
    Ok(room.keep(unpacked))
}

/// Whether there is room in the queue for what will have to wait there: told from the head, for
/// claims whose head tells that a worker is asked.
fn room_in_queue(claimed: &Claimed, route: &Route, headers: &http::HeaderMap) -> Result<(), Full> {
    if !claimed.queued {
        return Ok(());
    }
    let held = match claimed.gathering {
        // One that is too large is told so, and not that there is no room.
        Gathering::Whole => context::content_length(headers)
            .filter(|length| *length <= route.spec.limits.body)
            .unwrap_or(0),
        Gathering::Nothing | Gathering::Streamed => 0,
    };
    route.spec.queue.room_for(held)
}

fn timeout(headers: &http::HeaderMap, route: &Route) -> Duration {
    let own = route.spec.limits.timeout;
    headers
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(grpc::parse_timeout)
        .map_or(own, |asked| asked.min(own))
}

/// What a request's host, route and path within the route are.
type Routed = Result<(Option<String>, Arc<Route>, String), Failure>;

/// Whether a request can be read in one way only, and where it goes.
fn find_route(parts: &http::request::Parts, router: &Router, peer: &Peer) -> (bool, Routed) {
    let clear = headers::check_request(parts)
        .and_then(|()| headers::authority(parts))
        .map_err(|problem| Failure::invalid_argument(problem.to_string()))
        .and_then(|authority| wishes::no_tunnel(&parts.method).map(|()| authority));
    let is_clear = clear.is_ok();
    let routed = clear.and_then(|authority| {
        let host = authority.map(|authority| authority.host);
        router(&peer.listener, host.as_deref(), parts.uri.path())
            .map(|(route, path)| (host, route, path))
            .ok_or_else(|| Failure::not_found("no route for this host and path"))
    });
    (is_clear, routed)
}

/// Gives a request its id and its trace, and begins its record. Apart from the request's way, whose
/// room would keep what is only needed here.
fn begin(
    house: &House,
    peer: &Peer,
    parts: &mut http::request::Parts,
    routed: &Routed,
) -> (String, Trace, Record) {
    let tracer = house.tracer.as_ref();
    let (request_id, context, trail, trace) = identify(&mut parts.headers, tracer);
    let record = Record::begin(
        &house.metrics,
        RecordStart {
            request_id: request_id.clone(),
            route: match routed {
                Ok((_, route, _)) => route.name().clone(),
                Err(_) => Arc::from("none"),
            },
            listener: peer.listener.clone(),
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            protocol: if peer.h2 { "h2" } else { "h1" },
            peer: peer.address,
        },
    );
    record.trace(&context, &trail);
    (request_id, trace, record)
}

/// The request's id, carried or made, its trace, and what of that is recorded.
fn identify(
    headers: &mut http::HeaderMap,
    tracer: Option<&Arc<Tracer>>,
) -> (String, TraceContext, Trail, Trace) {
    let carried = headers
        .get(context::REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= 128)
        .map(str::to_owned);
    let context = TraceContext::from_headers(headers);
    let trail = tracer.map_or_else(Trail::default, |tracer| tracer.begin(&context));
    let request_id = carried.unwrap_or_else(|| context.trace_id().to_string());
    let value = http::HeaderValue::from_str(&request_id)
        .unwrap_or_else(|_| http::HeaderValue::from_static("invalid"));
    headers.insert(context::REQUEST_ID, value.clone());
    let trace = Trace::new(value, headers, &context, &trail);
    (request_id, context, trail, trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_takes_little_room() {
        fn room<A, B, C, D, E, F>(_: fn(A, B, C, D, E) -> F) -> usize {
            size_of::<F>()
        }
        let room = room(driver);
        assert!(room <= 4 << 10, "{room} bytes");
    }
}
