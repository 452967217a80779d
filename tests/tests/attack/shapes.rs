//! Requests over HTTP/2 that are shaped as no request may be, and frames out of their place.

use super::{frames::*, *};

/// A head, and what follows on its stream.
struct Case(&'static str, Vec<(&'static str, Vec<u8>)>);

const METHOD: (&str, &str) = (":method", "POST");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "x");
const PATH: (&str, &str) = (":path", "/v1/completions");
const KIND: (&str, &str) = ("content-type", "application/json");

fn case(what: &'static str, fields: &[(&'static str, &str)]) -> Case {
    let fields = fields
        .iter()
        .map(|(name, value)| (*name, value.as_bytes().to_vec()));
    Case(what, fields.collect())
}

/// A good head with one more field.
fn with(what: &'static str, name: &'static str, value: &str) -> Case {
    case(
        what,
        &[METHOD, SCHEME, AUTHORITY, PATH, KIND, (name, value)],
    )
}

/// Sends each on a connection of its own; all are refused and none reaches the prey.
async fn all_refused(cases: Vec<Case>) {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    for Case(what, fields) in &cases {
        let mut raw = Raw::open(house.address(), &[]).await;
        raw.write(frame(HEADERS, END_HEADERS, 1, block(fields)))
            .await;
        raw.write(last(1, BODY)).await;
        let outcome = raw.outcome(1).await;
        assert!(outcome.is_refusal(), "{what}: {outcome:?}");
        assert_eq!(prey.journal.requests(), 0, "{what}");
    }
    house.unharmed().await;
    // What all of them are but for one thing is served.
    let mut raw = Raw::open(house.address(), &[]).await;
    raw.write([post(1, &[]), last(1, BODY)].concat()).await;
    assert_eq!(raw.outcome(1).await, Outcome::Status(200));
    drop(raw);
    house.rest().await;
}

/// RFC 9113, sections 8.3 and 8.3.1.
#[tokio::test]
async fn pseudo_header_fields_are_there_once_and_first() {
    all_refused(vec![
        case("no method", &[SCHEME, AUTHORITY, PATH, KIND]),
        case("no scheme", &[METHOD, AUTHORITY, PATH, KIND]),
        case("no path", &[METHOD, SCHEME, AUTHORITY, KIND]),
        case("no authority and no host", &[METHOD, SCHEME, PATH, KIND]),
        case(
            "two methods",
            &[METHOD, METHOD, SCHEME, AUTHORITY, PATH, KIND],
        ),
        case("two paths", &[METHOD, SCHEME, AUTHORITY, PATH, PATH, KIND]),
        case(
            "two authorities",
            &[METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH, KIND],
        ),
        case(
            "a pseudo-header field behind a field",
            &[METHOD, SCHEME, AUTHORITY, KIND, PATH],
        ),
        with("one that nobody knows", ":whatever", "x"),
        with("one of responses", ":status", "200"),
        with("one without a name", ":", "x"),
        case(
            "an empty path",
            &[METHOD, SCHEME, AUTHORITY, (":path", ""), KIND],
        ),
        case(
            "a path that is none",
            &[METHOD, SCHEME, AUTHORITY, (":path", "v1/completions"), KIND],
        ),
        case(
            "a path of the asterisk",
            &[METHOD, SCHEME, AUTHORITY, (":path", "*"), KIND],
        ),
        case(
            "a whole URI for a path",
            &[
                METHOD,
                SCHEME,
                AUTHORITY,
                (":path", "http://x/v1/completions"),
                KIND,
            ],
        ),
        case(
            "an empty method",
            &[(":method", ""), SCHEME, AUTHORITY, PATH, KIND],
        ),
    ])
    .await;
}

/// RFC 9113, section 8.3.1: `:authority` and `Host` are one thing; which of two counts, a route's
/// or a worker's, is not left to chance.
#[tokio::test]
async fn the_host_is_one() {
    all_refused(vec![
        with("another host", "host", "other"),
        with("another port", "host", "x:8080"),
        with("no host at all", "host", ""),
        case(
            "two hosts",
            &[METHOD, SCHEME, PATH, KIND, ("host", "x"), ("host", "y")],
        ),
        case(
            "a user in the authority",
            &[METHOD, SCHEME, (":authority", "me@x"), PATH, KIND],
        ),
        case(
            "a space in the authority",
            &[METHOD, SCHEME, (":authority", "x y"), PATH, KIND],
        ),
        case(
            "a path in the authority",
            &[METHOD, SCHEME, (":authority", "x/y"), PATH, KIND],
        ),
    ])
    .await;
}

/// RFC 9113, sections 8.2.1 and 8.2.2: names are lower case, values have no line ends, and what
/// belongs to a connection of HTTP/1.1 has no place. This is where a request of HTTP/2 that becomes
/// one of HTTP/1.1 could bring another with it.
#[tokio::test]
async fn fields_that_would_be_more_in_http1_are_refused() {
    let inner = "x\r\n\r\nGET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
    all_refused(vec![
        with("transfer-encoding", "transfer-encoding", "chunked"),
        with("connection", "connection", "close"),
        with("keep-alive", "keep-alive", "timeout=5"),
        with("proxy-connection", "proxy-connection", "keep-alive"),
        with("upgrade", "upgrade", "websocket"),
        with("TE of more than trailers", "te", "gzip, trailers"),
        with("an upper-case name", "X-Upper", "y"),
        with("a space in a name", "x y", "z"),
        with("a colon in a name", "x:y", "z"),
        with("a line end in a name", "x\r\ntransfer-encoding", "chunked"),
        with("an empty name", "", "y"),
        with("line ends in a value", "x", inner),
        with(
            "a line feed in a value",
            "x",
            "y\ntransfer-encoding: chunked",
        ),
        with("a carriage return in a value", "x", "y\rz"),
        with("a NUL in a value", "x", "y\0z"),
        case(
            "line ends in the path",
            &[
                METHOD,
                SCHEME,
                AUTHORITY,
                (":path", "/v1/completions HTTP/1.1\r\nx: y"),
                KIND,
            ],
        ),
        case(
            "a space in the path",
            &[
                METHOD,
                SCHEME,
                AUTHORITY,
                (":path", "/v1/completions x"),
                KIND,
            ],
        ),
        case(
            "line ends in the method",
            &[
                (":method", "POST /v1/completions HTTP/1.1\r\nx:"),
                SCHEME,
                AUTHORITY,
                PATH,
                KIND,
            ],
        ),
        case(
            "line ends in the authority",
            &[METHOD, SCHEME, (":authority", "x\r\ny: z"), PATH, KIND],
        ),
    ])
    .await;
}

/// RFC 9113, section 8.1.1: a length that is not the DATA's makes the request malformed.
#[tokio::test]
async fn lengths_that_are_not_the_bodys_are_refused() {
    let length = |length: &str| with("a length", "content-length", length);
    let right = BODY.len();
    all_refused(vec![
        length(&(right + 1).to_string()),
        length(&(right - 1).to_string()),
        length("0"),
        length(&format!("+{right}")),
        length(&format!("{right}, {right}")),
        length(&format!("0x{right:x}")),
        length("-1"),
        length("99999999999999999999999"),
        length(""),
        case(
            "two of them",
            &[
                METHOD,
                SCHEME,
                AUTHORITY,
                PATH,
                KIND,
                ("content-length", &right.to_string()),
                ("content-length", "3"),
            ],
        ),
    ])
    .await;
}

/// RFC 9113, section 8.1: trailers end a stream, and bring no pseudo-header fields. Those of a
/// request are read and go nowhere: no field of theirs is a header for anybody.
#[tokio::test]
async fn trailers_are_no_headers() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    for (what, flags, fields) in [
        ("trailers that do not end", 4, vec![("x", "y")]),
        (
            "transfer-encoding in trailers",
            5,
            vec![("transfer-encoding", "chunked")],
        ),
    ] {
        let mut raw = Raw::open(house.address(), &[]).await;
        raw.write(post(1, &[])).await;
        raw.write(frame(DATA, 0, 1, BODY)).await;
        raw.write(frame(HEADERS, flags, 1, block(&fields))).await;
        let outcome = raw.outcome(1).await;
        assert!(outcome.is_refusal(), "{what}: {outcome:?}");
    }
    assert_eq!(prey.journal.requests(), 0);
    let mut raw = Raw::open(house.address(), &[]).await;
    raw.write(post(1, &[])).await;
    raw.write(frame(DATA, 0, 1, BODY)).await;
    // Pseudo-header fields among them (which make a request malformed) are not looked at.
    let fields = [
        (":path", "/v1/models"),
        (":authority", "other"),
        ("authorization", "Bearer x"),
        ("x-trailer", "y"),
        ("content-length", "3"),
    ];
    raw.write(frame(HEADERS, 5, 1, block(&fields))).await;
    assert_eq!(raw.outcome(1).await, Outcome::Status(200));
    let head = prey.journal.head(0).await;
    assert_eq!(head.line, "POST /v1/completions HTTP/1.1");
    assert_eq!(head.get("x-trailer"), None);
    assert_eq!(head.get("authorization"), None);
    assert_eq!(head.all("content-length").len(), 1);
    house.unharmed().await;
    drop(raw);
    house.rest().await;
}

/// RFC 9113, sections 5.1, 5.1.1, 6.1 to 6.10: frames where none of their kind may be.
#[tokio::test]
async fn frames_out_of_their_place_end_the_connection() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("DATA on stream 0", frame(DATA, 0, 0, "x")),
        ("DATA on a stream that is not open", frame(DATA, 0, 1, "x")),
        ("HEADERS on stream 0", frame(HEADERS, 5, 0, [0x82])),
        ("HEADERS on an even stream", get(2)),
        ("HEADERS on an older stream", [get(5), get(3)].concat()),
        (
            "RST_STREAM on stream 0",
            frame(RST_STREAM, 0, 0, [0, 0, 0, 8]),
        ),
        (
            "RST_STREAM on a stream that is not open",
            frame(RST_STREAM, 0, 1, [0, 0, 0, 8]),
        ),
        ("RST_STREAM too short", frame(RST_STREAM, 0, 1, [0, 0, 8])),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, "")),
        ("SETTINGS of half a value", frame(SETTINGS, 0, 0, [0, 4, 0])),
        (
            "an ACK that says something",
            frame(SETTINGS, ACK, 0, [0, 4, 0, 0, 0, 1]),
        ),
        (
            "an ACK of nothing",
            [frame(SETTINGS, ACK, 0, ""), frame(SETTINGS, ACK, 0, "")].concat(),
        ),
        ("PING on a stream", frame(PING, 0, 1, [0; 8])),
        ("PING too short", frame(PING, 0, 0, [0; 7])),
        (
            "a push of the client's",
            frame(PUSH_PROMISE, 4, 1, [0, 0, 0, 2, 0x82]),
        ),
        ("CONTINUATION of nothing", frame(CONTINUATION, 4, 1, [0x82])),
        (
            "something else inside a block",
            [frame(HEADERS, 1, 1, [0x82]), frame(PING, 0, 0, [0; 8])].concat(),
        ),
        (
            "a block that goes on on another stream",
            [
                frame(HEADERS, 1, 1, [0x82]),
                frame(CONTINUATION, 4, 3, [0x86]),
            ]
            .concat(),
        ),
        ("padding longer than the frame", frame(DATA, 8, 1, [200, 1])),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, [0; 8])),
        ("GOAWAY too short", frame(GOAWAY, 0, 0, [0; 4])),
        ("no SETTINGS first", Vec::new()),
    ];
    for (what, bytes) in cases {
        let mut raw = Raw::open(house.address(), &[]).await;
        raw.write(bytes).await;
        if what == "no SETTINGS first" {
            raw = Raw::open(house.address(), &[]).await;
            raw.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        }
        let outcome = raw.ended().await;
        assert!(
            matches!(outcome, Outcome::GoAway(1..)),
            "{what}: {outcome:?}"
        );
    }
    house.unharmed().await;
    assert_eq!(prey.journal.requests(), 0);
    house.rest().await;
}

/// RFC 9113, section 6.8: somebody who says that he goes still gets what he has asked for, and
/// what he asks afterwards is his affair; the connection ends all the same.
#[tokio::test]
async fn goaway_of_the_client_lets_his_requests_end() {
    let prey = h::Worker::start(|_| vec![h::Act::Hold, h::json(200, &scene::completed("!"))]).await;
    let mut house = Plan::openai(prey.address)
        .listener("{ idle-timeout: 2s }")
        .start()
        .await;
    for (number, code) in [0u32, ENHANCE_YOUR_CALM].into_iter().enumerate() {
        let mut raw = Raw::open(house.address(), &[]).await;
        raw.write([post(1, &[]), last(1, BODY)].concat()).await;
        prey.journal.holding(number).await;
        let goaway = [&[0; 4][..], &code.to_be_bytes()].concat();
        raw.write(frame(GOAWAY, 0, 0, &goaway)).await;
        house.unharmed().await;
        prey.release();
        let outcome = raw.outcome(1).await;
        if code == 0 {
            assert_eq!(outcome, Outcome::Status(200));
        }
        // Again, and with a smaller last stream, and then nothing more.
        raw.write(frame(GOAWAY, 0, 0, goaway).repeat(3)).await;
        raw.ended().await;
    }
    house.only_the_innocent_are_left().await;
    house.rest().await;
}
