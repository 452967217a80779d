//! gRPC services that the host answers by itself: reflection and health, made from
//! what the route's plugins declare and what its workers say.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use hyper::body::Incoming;
use tollgate_plugin::types;
use tollgate_reflect::{Version, health, paths};
use tollgate_wire::{failure::Failure, grpc};

use crate::{
    failures::{grpc_status, trailers_only},
    house::{House, Route},
    reading::{Read, Reader},
    responder::Responder,
};

/// Bytes of one request to these services.
const MESSAGE: u64 = 64 << 10;

/// How often a watched service is looked at.
const WATCH: std::time::Duration = std::time::Duration::from_secs(1);

/// A service of the host's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builtin {
    Reflection(Version),
    HealthCheck,
    HealthWatch,
}

impl Builtin {
    /// By `/package.Service/Method`.
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            paths::REFLECTION_V1 => Some(Self::Reflection(Version::V1)),
            paths::REFLECTION_V1ALPHA => Some(Self::Reflection(Version::V1Alpha)),
            paths::HEALTH_CHECK => Some(Self::HealthCheck),
            paths::HEALTH_WATCH => Some(Self::HealthWatch),
            _ => None,
        }
    }
}

/// Answers until the client or the service ends.
pub(crate) async fn serve(
    builtin: Builtin,
    house: &House,
    route: &Route,
    headers: &HeaderMap,
    body: Incoming,
    responder: &Responder,
) {
    let mut responder = responder.clone();
    let mut reader = Reader::new(body, headers, MESSAGE);
    // An open stream keeps the set that it began with.
    let reflection = route.reflection.load_full();
    let serving = |service: &str| {
        let known = service.is_empty() || reflection.services().iter().any(|name| name == service);
        known.then(|| {
            let ready = house
                .catalogue
                .list(route.spec.view, |_| true)
                .iter()
                .any(|model| model.facts.ready);
            if ready {
                health::Serving::Serving
            } else {
                health::Serving::NotServing
            }
        })
    };
    loop {
        let message = match reader.next(&types::Want::All).await {
            Read::Message(source) => source.read(0, MESSAGE).unwrap_or_default(),
            Read::End(_) => break,
            Read::Cut(_) => {
                let failure = reader
                    .failure()
                    .unwrap_or_else(|| Failure::invalid_argument("the request broke off"));
                return end(&mut responder, failure.grpc(), &failure.message);
            }
            Read::Bytes(_) | Read::MoreOfMessage => continue,
        };
        match builtin {
            Builtin::Reflection(version) => {
                say(&mut responder, reflection.answer(&message, version)).await;
            }
            Builtin::HealthCheck => match health::check(&message, serving) {
                Ok(answer) => {
                    say(&mut responder, answer).await;
                    break;
                }
                Err((code, message)) => return end(&mut responder, code, &message),
            },
            Builtin::HealthWatch => {
                let service = match health::service(&message) {
                    Ok(service) => service,
                    Err((code, message)) => return end(&mut responder, code, &message),
                };
                let mut last = None;
                loop {
                    let now = serving(&service).unwrap_or(health::Serving::ServiceUnknown);
                    if last != Some(now) {
                        last = Some(now);
                        say(&mut responder, health::encode(now)).await;
                    }
                    tokio::time::sleep(WATCH).await;
                }
            }
        }
    }
    end(&mut responder, grpc::code::OK, "");
}

async fn say(responder: &mut Responder, message: Bytes) {
    if !responder.begun() {
        let mut head = Response::new(());
        head.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        responder.head(head);
    }
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = Vec::with_capacity(5 + message.len());
    framed.extend_from_slice(&grpc::prefix(len));
    framed.extend_from_slice(&message);
    responder.data(framed.into()).await;
}

fn end(responder: &mut Responder, code: u32, message: &str) {
    let trailers = grpc_status(code, message);
    if responder.begun() {
        responder.trailers(trailers);
    } else {
        responder.head(trailers_only(trailers));
    }
}
