//! Tokens at the door, from a client's request to its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Request, Response};
use hyper::body::Incoming;
use sha2::{Digest, Sha256};
use tollgate_edge::{
    Listener, ListenerLimits, ListenerSpec, Peer, TokenEntry, Tokens, challenge, drain,
};
use tollgate_identity::{Clock, Grant, Tenant};
use tollgate_telemetry::Metrics;

use crate::support::{Answer, field, get, http1, read, within};

fn entry(token: &str, name: &str, expires: Option<u64>) -> TokenEntry {
    TokenEntry {
        sha256: Sha256::digest(token).into(),
        tenant: Tenant::plain(name),
        grant: Grant {
            name: name.to_owned(),
            ..Grant::default()
        },
        expires,
    }
}

/// Status, challenge and text.
async fn ask(address: SocketAddr, authorization: Option<&str>) -> (u16, String, String) {
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut client, _task) = http1(socket).await;
    let mut request = get("/");
    if let Some(value) = authorization {
        request
            .headers_mut()
            .insert(AUTHORIZATION, value.parse().unwrap());
    }
    let answer = within(client.send_request(request)).await.unwrap();
    let challenge = field(answer.headers(), "www-authenticate").to_owned();
    let (status, text) = read(answer).await;
    (status, challenge, text)
}

#[tokio::test]
async fn only_holders_of_valid_tokens_come_in() {
    let now = Arc::new(AtomicU64::new(1000));
    let clock = now.clone();
    let entries = [
        entry("alpha", "ann", None),
        entry("beta", "bob", Some(2000)),
    ];
    let clock = Clock::new(move || clock.load(Ordering::Relaxed));
    let tokens = Tokens::with_clock(entries, clock);
    let tokens = Arc::new(tokens);
    let spec = ListenerSpec {
        name: "front".to_owned(),
        address: ([127, 0, 0, 1], 0).into(),
        tls: None,
        limits: ListenerLimits::default(),
    };
    let listener = Listener::bind(spec, Arc::new(Metrics::new()))
        .await
        .unwrap();
    let at = listener.local_addr();
    let (handle, observer) = drain();
    let door = tokens.clone();
    let service = move |request: Request<Incoming>, _: Arc<Peer>| {
        let who = door.authenticate(request.headers());
        async move {
            match who {
                Ok(identity) => Response::new(Answer::text(identity.name())),
                Err(failure) => Response::builder()
                    .status(401)
                    .header(WWW_AUTHENTICATE, challenge(failure))
                    .body(Answer::text(&failure.to_string()))
                    .unwrap(),
            }
        }
    };
    let serving = tokio::spawn(listener.serve(service, observer));

    assert_eq!(ask(at, Some("Bearer alpha")).await.2, "ann");
    assert_eq!(ask(at, Some("bearer beta")).await.2, "bob");
    let (status, challenge, text) = ask(at, None).await;
    assert_eq!((status, challenge.as_str()), (401, "Bearer"));
    assert!(text.contains("Authorization: Bearer"));
    let (status, challenge, text) = ask(at, Some("Bearer gamma")).await;
    assert_eq!(
        (status, challenge.as_str()),
        (
            401,
            "Bearer error=\"invalid_token\", error_description=\"the token is not valid\""
        )
    );
    assert!(!text.contains("gamma"));
    let (_, challenge, _) = ask(at, Some("Basic alpha")).await;
    assert!(
        challenge.starts_with("Bearer error=\"invalid_request\""),
        "{challenge}"
    );

    now.store(2000, Ordering::Relaxed);
    assert_eq!(
        ask(at, Some("Bearer beta")).await.2,
        "the token has expired"
    );
    tokens.replace([entry("gamma", "gil", None)]);
    assert_eq!(ask(at, Some("Bearer alpha")).await.0, 401);
    assert_eq!(ask(at, Some("Bearer gamma")).await.2, "gil");

    handle.start(Duration::from_secs(60));
    within(serving).await.unwrap();
}
