//! Frames without number.

use super::{frames::*, *};

async fn house(prey: &h::Worker) -> House {
    Plan::openai(prey.address)
        .listener("{ idle-timeout: 2s, h2-streams: 32 }")
        .start()
        .await
}

/// More than the buffers of any socket: on a busy machine the end is seen late.
const PRESSED: usize = 64 << 20;

/// Whether the same bytes, over and over, end the connection.
async fn ends_it(raw: &mut Raw, bytes: &[u8]) -> bool {
    for _ in 0..PRESSED / bytes.len() {
        if !raw.press(bytes).await {
            return true;
        }
    }
    false
}

/// CVE-2023-44487 (rapid reset): a stream that is opened and reset in one breath costs the client
/// nothing; so many of them end its connection.
#[tokio::test]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let prey = silent_worker().await;
    let mut house = house(&prey).await;
    let mut raw = Raw::open(house.address(), &[]).await;
    for batch in 0..200u32 {
        let mut bytes = Vec::new();
        for number in 0..50u32 {
            let stream = (batch * 50 + number) * 2 + 1;
            bytes.extend(get(stream));
            bytes.extend(frame(RST_STREAM, 0, stream, 8u32.to_be_bytes()));
        }
        if !raw.press(&bytes).await {
            break;
        }
    }
    // Ten thousand are too many, though on a busy machine the end is seen after the last of them.
    assert_eq!(raw.ended().await, Outcome::GoAway(ENHANCE_YOUR_CALM));
    house.unharmed().await;
    house.only_the_innocent_are_left().await;
    house.rest().await;
}

/// The slow form of it: requests that are let through to a worker, and reset there. Each is taken
/// back from the worker, and no more are under way than streams may be open.
#[tokio::test]
async fn requests_that_are_reset_at_the_worker_are_taken_back() {
    let prey = silent_worker().await;
    let mut house = house(&prey).await;
    let mut raw = Raw::open(house.address(), &[]).await;
    for number in 0..40 {
        let stream = u32::try_from(number * 2 + 1).unwrap();
        raw.write(post(stream, &[])).await;
        raw.write(last(stream, BODY)).await;
        prey.journal.holding(number).await;
        raw.write(frame(RST_STREAM, 0, stream, 8u32.to_be_bytes()))
            .await;
        prey.journal.gone(number).await;
    }
    house.unharmed().await;
    house.only_the_innocent_are_left().await;
    drop(raw);
    house.rest().await;
}

/// CVE-2025-8671 (MadeYouReset): a client that makes us reset its streams, by errors of its own.
#[tokio::test]
async fn streams_that_we_are_made_to_reset_end_the_connection() {
    let prey = silent_worker().await;
    let mut house = house(&prey).await;
    let mut raw = Raw::open(house.address(), &[]).await;
    for number in 0..2000u32 {
        let stream = number * 2 + 1;
        // A request, and an increment of zero, which is an error of the stream (section 6.9).
        let bytes = [
            post(stream, &[]),
            last(stream, BODY),
            frame(WINDOW_UPDATE, 0, stream, [0; 4]),
        ]
        .concat();
        if !raw.press(&bytes).await {
            break;
        }
    }
    // Two thousand are too many; as above. It does not return before the end.
    raw.ended().await;
    house.unharmed().await;
    house.only_the_innocent_are_left().await;
    house.rest().await;
}

/// RFC 9113, section 5.1.2: streams past the limit are refused, and those below it go on.
#[tokio::test]
async fn streams_past_the_limit_are_refused() {
    let prey = silent_worker().await;
    let mut house = house(&prey).await;
    let mut raw = Raw::open(house.address(), &[]).await;
    for number in 0..64u32 {
        let stream = number * 2 + 1;
        raw.write([post(stream, &[]), last(stream, BODY)].concat())
            .await;
    }
    let mut refused = Vec::new();
    while refused.len() < 32 {
        let frame = raw.next().await.expect("the connection stays");
        // What comes for a stream that was refused before may be told that the stream is closed.
        if frame.kind == RST_STREAM && !refused.contains(&frame.stream) {
            assert_eq!(frame.payload[..], 7u32.to_be_bytes(), "REFUSED_STREAM");
            refused.push(frame.stream);
        }
    }
    assert!(refused.iter().all(|stream| *stream > 63), "{refused:?}");
    for number in 0..32 {
        prey.journal.holding(number).await;
    }
    house.unharmed().await;
    assert_eq!(prey.journal.requests(), 32);
    drop(raw);
    house.rest().await;
}

/// CVE-2019-9512 (PING flood), CVE-2019-9515 (SETTINGS flood): each wants an answer. Somebody who
/// does not read them is not read either, and has no request: the idle timeout is his.
#[tokio::test]
async fn floods_that_want_answers_and_read_none_are_let_go() {
    let prey = silent_worker().await;
    let mut house = house(&prey).await;
    for flood in [
        frame(PING, 0, 0, *b"whatever"),
        settings(&[(4, 65_535)]),
        settings(&[]),
    ] {
        let flood = flood.repeat(1000);
        let mut raw = Raw::open(house.address(), &[]).await;
        let pressed = async { while raw.write(&flood).await {} };
        // `write` has a ceiling of its own; it ends by the connection's end, not by it.
        pressed.await;
        house.unharmed().await;
    }
    house.only_the_innocent_are_left().await;
    house.rest().await;
}

/// The same from somebody who reads: it is served as long as he asks for something else as well.
/// Others are served meanwhile.
#[tokio::test]
async fn floods_that_are_answered_hold_up_nobody() {
    let prey = silent_worker().await;
    let mut house = house(&prey).await;
    let mut raw = Raw::open(house.address(), &[]).await;
    raw.write([post(1, &[]), last(1, BODY)].concat()).await;
    prey.journal.holding(0).await;
    let flood = [
        frame(PING, 0, 0, *b"whatever"),
        settings(&[(4, 65_535)]),
        settings(&[(4, 1)]),
        // PRIORITY (deprecated, and to be ignored) and a type that nobody knows.
        frame(2, 0, 1, [0, 0, 0, 0, 16]),
        frame(0xaa, 0xff, 1, [0; 64]),
        frame(WINDOW_UPDATE, 0, 0, 1u32.to_be_bytes()),
    ]
    .concat()
    .repeat(200);
    let press = async {
        loop {
            if !raw.press(&flood).await {
                break;
            }
        }
    };
    tokio::select! {
        () = press => {}
        () = async { for _ in 0..5 { house.unharmed().await } } => {}
    }
    drop(raw);
    prey.journal.gone(0).await;
    house.only_the_innocent_are_left().await;
    house.rest().await;
}

/// CVE-2019-9518 (empty frames): DATA that says nothing and does not end.
#[tokio::test]
async fn empty_data_without_end_ends_the_connection_or_the_request() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address)
        .listener("{ idle-timeout: 2s }")
        .limits("{ timeout: 2s }")
        .start()
        .await;
    let mut raw = Raw::open(house.address(), &[]).await;
    raw.write(post(1, &[])).await;
    let flood = frame(DATA, 0, 1, "").repeat(1000);
    let press = async {
        // Padded, each has a byte that says so, and 255 that are none (section 6.1).
        let padded = frame(DATA, 8, 1, [&[255][..], &[0; 255]].concat()).repeat(4);
        while raw.press(&flood).await && raw.press(&padded).await {}
    };
    let beside = async {
        loop {
            if house.only_innocent().await {
                break;
            }
        }
    };
    tokio::select! { () = press => {}, () = beside => {} }
    house.unharmed().await;
    assert_eq!(prey.journal.requests(), 0);
    drop(raw);
    house.rest().await;
}

/// A flood that is no HTTP at all, on a connection that spoke it.
#[tokio::test]
async fn frames_larger_than_allowed_end_the_connection() {
    let prey = ready_worker().await;
    let mut house = house(&prey).await;
    // RFC 9113, section 4.2: FRAME_SIZE_ERROR past SETTINGS_MAX_FRAME_SIZE.
    let mut raw = Raw::open(house.address(), &[]).await;
    raw.write(post(1, &[])).await;
    raw.write(frame(DATA, 0, 1, house::filler(17 << 10))).await;
    assert!(matches!(raw.ended().await, Outcome::GoAway(6)));
    // A length of 16 MiB that is promised is not waited for.
    let mut raw = Raw::open(house.address(), &[]).await;
    raw.write([0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]).await;
    assert!(raw.ended().await.is_refusal());
    // And noise.
    let mut raw = Raw::open(house.address(), &[]).await;
    assert!(ends_it(&mut raw, &[0x5a; 4096]).await);
    house.unharmed().await;
    house.rest().await;
}
