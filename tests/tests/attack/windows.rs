//! Flow control as a weapon: windows that are shut, overflow, or are not kept to.

use super::{frames::*, *};

const INITIAL_WINDOW_SIZE: u16 = 4;

fn increment(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, by.to_be_bytes())
}

fn streamed(stream: u32) -> Vec<u8> {
    let body = scene::completion(true).body.expect("it has one");
    [post(stream, &[]), last(stream, body)].concat()
}

/// CVE-2019-9517 and CVE-2019-9511 (internal data buffering, data dribble): a client that asks for
/// much and opens no window, but answers every PING, is there and yet takes nothing. Its streams
/// are given the idle timeout from the last byte that it took, and the worker is let go.
#[tokio::test]
async fn a_window_that_stays_shut_is_given_the_idle_timeout() {
    let prey = endless_worker().await;
    let mut house = Plan::openai(prey.address)
        .listener("{ idle-timeout: 2s }")
        .start()
        .await;
    // With no window at all, with one of a single byte, with one that is used up.
    for (at, window) in [0, 1, 65_535].into_iter().enumerate() {
        let mut raw = Raw::open(house.address(), &[(INITIAL_WINDOW_SIZE, window)]).await;
        raw.write([streamed(1), streamed(3)].concat()).await;
        let alive = async {
            loop {
                raw.press(&frame(PING, 0, 0, *b"here I a")).await;
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        let gone = async {
            prey.journal.gone(at * 2).await;
            prey.journal.gone(at * 2 + 1).await;
            house.only_the_innocent_are_left().await;
        };
        tokio::select! { () = alive => {}, () = gone => {} }
        house.unharmed().await;
    }
    house.rest().await;
}

/// The same with a short answer, whose worker has long gone: the place on the listener comes back.
#[tokio::test]
async fn a_short_answer_that_is_not_taken_holds_no_connection() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address)
        .listener("{ idle-timeout: 2s }")
        .start()
        .await;
    let mut crowd = Vec::new();
    for _ in 0..8 {
        let mut raw = Raw::open(house.address(), &[(INITIAL_WINDOW_SIZE, 0)]).await;
        raw.write([post(1, &[]), last(1, BODY)].concat()).await;
        crowd.push(raw);
    }
    for raw in &mut crowd {
        assert_eq!(raw.outcome(1).await, Outcome::Status(200));
    }
    house.unharmed().await;
    house.only_the_innocent_are_left().await;
    drop(crowd);
    house.rest().await;
}

/// Slow is not stopped: somebody who takes a little now and then keeps his stream beyond the idle
/// timeout.
#[tokio::test]
async fn a_window_that_opens_a_little_at_a_time_keeps_its_stream() {
    let prey = endless_worker().await;
    let mut house = Plan::openai(prey.address)
        .listener("{ idle-timeout: 1s }")
        .start()
        .await;
    let mut raw = Raw::open(house.address(), &[(INITIAL_WINDOW_SIZE, 0)]).await;
    raw.write(streamed(1)).await;
    assert_eq!(raw.outcome(1).await, Outcome::Status(200));
    for _ in 0..12 {
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        raw.write(increment(1, 70_000)).await;
        raw.write(increment(0, 70_000)).await;
        let mut taken = 0;
        while taken < 70_000 {
            let frame = raw.next().await.expect("the connection stays");
            assert_ne!(frame.kind, RST_STREAM, "the stream stays");
            if frame.kind == DATA {
                taken += frame.payload.len();
            }
        }
    }
    house.unharmed().await;
    drop(raw);
    prey.journal.gone(0).await;
    house.rest().await;
}

/// RFC 9113, section 6.9.1: more than 2^31-1 is an error, of the stream or of the connection; so
/// is an increment of zero (6.9), and an initial window past the maximum (6.5.2).
#[tokio::test]
async fn windows_that_overflow_are_errors() {
    let prey = silent_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    let most = (1u32 << 31) - 1;
    let open = || [post(1, &[]), last(1, BODY)].concat();
    let cases: Vec<(&str, Vec<u8>, u32, bool)> = vec![
        (
            "the connection's",
            increment(0, most),
            FLOW_CONTROL_ERROR,
            true,
        ),
        (
            "a stream's",
            [open(), increment(1, most)].concat(),
            FLOW_CONTROL_ERROR,
            false,
        ),
        ("by zero", increment(0, 0), PROTOCOL_ERROR, true),
        (
            "a stream's, by zero",
            [open(), increment(1, 0)].concat(),
            PROTOCOL_ERROR,
            false,
        ),
        (
            "from the beginning",
            settings(&[(INITIAL_WINDOW_SIZE, most + 1)]),
            FLOW_CONTROL_ERROR,
            true,
        ),
        (
            "by settings, beside an increment",
            [
                open(),
                increment(1, 1000),
                settings(&[(INITIAL_WINDOW_SIZE, most)]),
            ]
            .concat(),
            FLOW_CONTROL_ERROR,
            true,
        ),
        (
            "of a stream that is not open",
            increment(9, 1),
            PROTOCOL_ERROR,
            true,
        ),
        ("too short", frame(WINDOW_UPDATE, 0, 0, [0, 1]), 6, true),
    ];
    for (what, bytes, error, connection) in cases {
        let mut raw = Raw::open(house.address(), &[]).await;
        raw.write(bytes).await;
        let outcome = raw.outcome(1).await;
        match connection {
            // h2 calls some of them a PROTOCOL_ERROR, which they are, too.
            true => assert!(
                outcome == Outcome::GoAway(error) || outcome == Outcome::GoAway(PROTOCOL_ERROR),
                "{what}: {outcome:?}"
            ),
            // To end the connection for it would do, too.
            false => assert!(
                outcome == Outcome::Reset(error) || outcome == Outcome::GoAway(error),
                "{what}: {outcome:?}"
            ),
        }
    }
    house.unharmed().await;
    house.only_the_innocent_are_left().await;
    house.rest().await;
}

/// RFC 9113, section 6.9.1: a client that sends more than our window is in error. Its body waits
/// for a worker that does not read, so that the window does not open again.
#[tokio::test]
async fn a_client_that_ignores_our_window_is_ended() {
    let prey = silent_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    let mut raw = Raw::open(house.address(), &[]).await;
    raw.write(post(1, &[("content-type", "application/json")]))
        .await;
    raw.write(last(1, BODY)).await;
    // The stream of a request that is refused is read no further.
    let unknown = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/nothing"),
    ];
    raw.write(frame(HEADERS, END_HEADERS, 3, block(&unknown)))
        .await;
    let data = frame(DATA, 0, 3, house::filler(16 << 10)).repeat(40);
    let outcome = async {
        raw.press(&data).await;
        raw.outcome(3).await
    };
    assert!(within("it is ended", outcome).await.is_refusal());
    house.unharmed().await;
    drop(raw);
    house.only_the_innocent_are_left().await;
    house.rest().await;
}

/// RFC 9113, section 6.9.2: settings may make windows negative. Nothing is sent until they are
/// positive again, and then the stream goes on where it stopped.
#[tokio::test]
async fn windows_below_zero_are_kept_to() {
    let prey = endless_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    let mut raw = Raw::open(house.address(), &[(INITIAL_WINDOW_SIZE, 1000)]).await;
    raw.write(streamed(1)).await;
    let mut taken = 0;
    while taken < 1000 {
        let frame = raw.next().await.expect("a frame");
        if frame.kind == DATA {
            taken += frame.payload.len();
        }
    }
    assert_eq!(taken, 1000);
    // Now -1000; then 0; then 500.
    raw.write(settings(&[(INITIAL_WINDOW_SIZE, 0)])).await;
    raw.write(increment(1, 1000)).await;
    raw.write(frame(PING, 0, 0, *b"no more!")).await;
    loop {
        let frame = raw.next().await.expect("a frame");
        assert_ne!(frame.kind, DATA, "the window is shut");
        if frame.kind == PING && frame.flags & ACK == ACK {
            break;
        }
    }
    raw.write(increment(1, 500)).await;
    let frame = raw.next().await.expect("a frame");
    assert_eq!((frame.kind, frame.payload.len()), (DATA, 500));
    house.unharmed().await;
    drop(raw);
    prey.journal.gone(0).await;
    house.rest().await;
}
