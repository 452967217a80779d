//! Who shares something with somebody that misbehaves: one connection to a worker, one connection
//! of a client.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tollgate_tests::{
    client::{
        grpc::{self, Call},
        http2,
    },
    fmaas::GenerationResponse,
};

use super::{frames::*, *};

/// Pieces of a stream that somebody reads, and bytes of one that nobody reads.
const PIECES: u32 = 20;
const LARGE: usize = 64 << 10;

/// Unread data of one stream never holds the credit of its connection (RFC 9113, section 5.2.2,
/// warns of the deadlock): beside readers that have stopped, fifty go on to their end, on one and
/// the same connection to the worker.
#[tokio::test]
async fn fifty_go_on_beside_readers_that_have_stopped() {
    let stopped = Arc::new(AtomicUsize::new(0));
    let seen = stopped.clone();
    let large = g::send(&scene::piece(&"y".repeat(LARGE), 1, false));
    let prey = g::Worker::start(move |received| {
        let asked: tollgate_tests::fmaas::SingleGenerationRequest = received.message();
        let mut acts = vec![g::Act::Head, g::send(&scene::first())];
        if asked.request.is_some_and(|request| request.text == "stop") {
            seen.fetch_add(1, Ordering::Relaxed);
            acts.extend(std::iter::repeat_n(large.clone(), 1000));
            acts.push(g::Act::Hold);
            return acts;
        }
        acts.extend((1..=PIECES).map(|at| g::send(&scene::piece("yes ", at, at == PIECES))));
        acts.push(g::Act::Status(0, ""));
        acts
    })
    .await;
    let mut house = Plan::tgis(prey.address).start().await;
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut connection = http2::Connection::open(house.address()).await;
        let mut call = Call::begin(&mut connection, &scene::tgis("GenerateStream")).await;
        call.send(&scene::single("m", "stop"), true).await;
        let first: GenerationResponse = call.message().await.expect("it has begun");
        assert_eq!(first.input_token_count, 2);
        // It reads no further, and its connection is its own.
        readers.push((connection, call));
    }
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let address = house.address();
        running.spawn(async move {
            let request = scene::tgis("GenerateStream");
            let message = scene::single("m", "go");
            grpc::ask::<GenerationResponse>(address, &request, &message).await
        });
    }
    for (pieces, status) in within("fifty end", running.join_all()).await {
        assert_eq!(status.code, 0, "{status:?}");
        assert_eq!(pieces.len(), 1 + PIECES as usize);
    }
    assert_eq!(stopped.load(Ordering::Relaxed), 3);
    let accepted = prey.journal.entries();
    let accepted = accepted
        .iter()
        .filter(|it| it.seen == tollgate_tests::fake::Seen::Accepted);
    assert_eq!(accepted.count(), 1, "they shared one connection");
    house.unharmed().await;
    for (connection, call) in readers {
        call.reset();
        drop(connection);
    }
    house.rest().await;
}

/// The other side of it: on one connection of a client, streams that it does not read hold up
/// neither those that it reads nor new ones.
#[tokio::test]
async fn on_one_connection_of_a_client_streams_are_apart() {
    let prey = endless_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    let mut raw = Raw::open(house.address(), &[(4, 0)]).await;
    let body = scene::completion(true).body.unwrap();
    for number in 0..20u32 {
        let stream = number * 2 + 1;
        raw.write([post(stream, &[]), last(stream, &body)].concat())
            .await;
        assert_eq!(raw.outcome(stream).await, Outcome::Status(200));
    }
    raw.write(get(101)).await;
    raw.write(frame(WINDOW_UPDATE, 0, 101, 65_535u32.to_be_bytes()))
        .await;
    let mut models = 0;
    loop {
        let frame = raw.next().await.expect("the connection stays");
        if frame.kind == DATA {
            assert_eq!(frame.stream, 101, "nobody else has a window");
            models += frame.payload.len();
        }
        if frame.stream == 101 && frame.flags & END_STREAM == END_STREAM {
            break;
        }
    }
    assert!(models > 0);
    house.unharmed().await;
    drop(raw);
    for number in 0..20 {
        prey.journal.gone(number).await;
    }
    house.rest().await;
}
