//! Heads that are too much: in fields, in bytes, in frames, and only once they are unpacked.

use super::{frames::*, *};

/// The bytes of a head that this listener takes.
const LISTENER: &str = "{ header-bytes: 16KiB, header-count: 50, header-timeout: 5s }";

async fn house() -> (h::Worker, House) {
    let prey = ready_worker().await;
    let house = Plan::openai(prey.address).listener(LISTENER).start().await;
    (prey, house)
}

/// RFC 6585, section 5, and RFC 9110, section 5.4: too many or too large is said to be so.
#[tokio::test]
async fn floods_of_fields_over_http1_are_refused() {
    let (prey, mut house) = house().await;
    for fields in [
        "x: y\r\n".repeat(51),
        format!("x: {}\r\n", "y".repeat(17 << 10)),
        format!("{}: y\r\n", "x".repeat(17 << 10)),
        format!("cookie: {}\r\n", "a=b; ".repeat(4 << 10)),
    ] {
        let head = format!("GET /v1/models HTTP/1.1\r\nhost: x\r\n{fields}\r\n");
        let mut connection = http1::Connection::open(house.address()).await;
        connection.raw(head).await;
        assert_eq!(connection.response().await.status, 431);
        assert!(connection.closed().await);
    }
    // Without an end: it is refused while it comes.
    let mut connection = http1::Connection::open(house.address()).await;
    connection
        .raw("GET /v1/models HTTP/1.1\r\nhost: x\r\n")
        .await;
    for _ in 0..40 {
        connection.raw(format!("x: {}\r\n", "y".repeat(1000))).await;
    }
    assert_eq!(connection.response().await.status, 431);
    house.unharmed().await;
    assert_eq!(prey.journal.requests(), 0);
    house.rest().await;
}

/// RFC 9113, section 10.5.1: fields past the announced size are refused, on their stream.
#[tokio::test]
async fn floods_of_fields_over_http2_are_refused_on_their_stream() {
    let (prey, mut house) = house().await;
    let mut raw = Raw::open(house.address(), &[]).await;
    let mut fields = vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/v1/models"),
    ];
    fields.extend(std::iter::repeat_n(("x", "y"), 51));
    raw.write(frame(HEADERS, 5, 1, block(&fields))).await;
    assert_eq!(raw.outcome(1).await, Outcome::Status(431));
    let long = "y".repeat(9 << 10);
    fields.truncate(4);
    fields.extend([("x", &long[..]), ("x", &long)]);
    let whole = block(&fields);
    let (first, rest) = whole.split_at(12 << 10);
    raw.write(frame(HEADERS, END_STREAM, 3, first)).await;
    raw.write(frame(CONTINUATION, END_HEADERS, 3, rest)).await;
    assert_eq!(raw.outcome(3).await, Outcome::Status(431));
    // The connection, and the state of its compression, are as good as ever.
    raw.write(get(5)).await;
    assert_eq!(raw.outcome(5).await, Outcome::Status(200));
    house.unharmed().await;
    assert_eq!(prey.journal.requests(), 0);
    drop(raw);
    house.rest().await;
}

/// CVE-2024-27316 and its kin (VU#421644): a block that goes on and on in CONTINUATION frames,
/// full or empty, ends the connection; nothing is gathered without bound.
#[tokio::test]
async fn continuations_without_end_end_the_connection() {
    let (prey, mut house) = house().await;
    for piece in [block(&[("x", "y".repeat(1000))]), Vec::new()] {
        let mut raw = Raw::open(house.address(), &[]).await;
        raw.write(frame(HEADERS, END_STREAM, 1, block(&[(":method", "GET")])))
            .await;
        let more = frame(CONTINUATION, 0, 1, piece).repeat(100);
        // More than the buffers of any socket: on a busy machine the end is seen late.
        let most = (64 << 20) / more.len();
        let mut taken = 0;
        while taken < most && raw.press(&more).await {
            taken += 1;
        }
        assert!(taken < most, "{taken} times a hundred frames were taken");
        assert!(raw.ended().await.is_refusal());
        house.unharmed().await;
    }
    assert_eq!(prey.journal.requests(), 0);
    house.rest().await;
}

/// CVE-2016-6581 (the HPACK bomb): one large field in the table, named again and again by one byte
/// each. What counts is what it unpacks to.
#[tokio::test]
async fn a_small_block_that_unpacks_to_a_large_head_is_refused() {
    let (prey, mut house) = house().await;
    let mut raw = Raw::open(house.address(), &[]).await;
    let mut bomb = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/v1/models"),
    ]);
    // Literal with incremental indexing (RFC 7541, section 6.2.1): `b` and 3,900 bytes.
    let mut literal = block(&[("b", "y".repeat(3900))]);
    literal[0] = 0x40;
    bomb.extend_from_slice(&literal);
    // The newest entry of the table, 12,000 times: 47 MB.
    bomb.extend_from_slice(&[0x80 | 62; 12_000]);
    assert!(bomb.len() < 16 << 10);
    raw.write(frame(HEADERS, 5, 1, &bomb)).await;
    assert!(raw.outcome(1).await.is_refusal());
    house.unharmed().await;
    assert_eq!(prey.journal.requests(), 0);
    drop(raw);
    house.rest().await;
}

/// RFC 7541: what is no HPACK is a COMPRESSION_ERROR (RFC 9113, section 4.3), and never a request.
#[tokio::test]
async fn blocks_that_are_no_hpack_end_the_connection() {
    let (prey, mut house) = house().await;
    let broken: [(&str, &[u8]); 7] = [
        (
            "an index that is not in the table",
            &[0xff, 0x80, 0x80, 0x01],
        ),
        ("index 0", &[0x80]),
        ("a number without end", &[0xff; 40]),
        (
            "a length past the block",
            &[0x00, 0x7f, 0xff, 0xff, 0x7f, b'x'],
        ),
        (
            "a table larger than was offered",
            &[0x3f, 0xe1, 0xff, 0xff, 0x07],
        ),
        ("a change of the table behind a field", &[0x82, 0x20, 0x84]),
        ("Huffman that is none", &[0x00, 0x81, 0xff, 0x01, b'x']),
    ];
    for (what, block) in broken {
        let mut raw = Raw::open(house.address(), &[]).await;
        raw.write(frame(HEADERS, 5, 1, block)).await;
        let outcome = raw.outcome(1).await;
        assert!(outcome.is_refusal(), "{what}: {outcome:?}");
    }
    house.unharmed().await;
    assert_eq!(prey.journal.requests(), 0);
    house.rest().await;
}
