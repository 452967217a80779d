//! Bodies that are packed (RFC 9110, section 8.4): what they unpack to is what counts.

use std::io::Write as _;

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};

use super::*;

/// What the route takes.
const LIMIT: usize = 32 << 20;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn packed(bytes: Vec<u8>, encoding: &str) -> Request {
    Request::post_bytes("/v1/completions", bytes).header("content-encoding", encoding)
}

async fn ask(house: &House, request: &Request) -> Response {
    http1::ask(house.address(), request).await
}

/// Packed in the three ways that there are, a body is the body; the worker gets it unpacked and is
/// not told otherwise.
#[tokio::test]
async fn packed_bodies_are_unpacked_once() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    let body = BODY.as_bytes();
    let two = [gzip(&body[..9]), gzip(&body[9..])].concat();
    for (number, (bytes, encoding)) in [
        (gzip(body), "gzip"),
        (gzip(body), "X-GZIP"),
        (two, "gzip"),
        (zlib(body), "deflate"),
        (raw_deflate(body), "Deflate"),
        (body.to_vec(), "identity"),
    ]
    .into_iter()
    .enumerate()
    {
        ask(&house, &packed(bytes, encoding)).await.with_status(200);
        assert_eq!(
            prey.journal.head(number).await.get("content-encoding"),
            None
        );
        let sent = prey.journal.body(number).await;
        assert_eq!(sent, BODY.replace("\"m\"", "\"served\""));
    }
    house.unharmed().await;
    house.rest().await;
}

/// Bombs: a thousandfold, in one piece or in a million members, stops at the limit of a body.
#[tokio::test]
async fn bombs_stop_at_the_limit() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address)
        .limits("{ body: 1MiB }")
        .start()
        .await;
    let zeros = vec![b' '; 64 << 20];
    let member = gzip(&zeros[..60 << 10]);
    for (what, bytes, encoding) in [
        ("gzip", gzip(&zeros), "gzip"),
        ("zlib", zlib(&zeros), "deflate"),
        ("raw deflate", raw_deflate(&zeros), "deflate"),
        ("many members", member.repeat(1000), "gzip"),
    ] {
        assert!(bytes.len() < 1 << 20, "{what}");
        in_dialect(&ask(&house, &packed(bytes, encoding)).await, 413);
        house.unharmed().await;
    }
    assert_eq!(prey.journal.requests(), 0);
    house.rest().await;
}

/// What is damaged is refused: cut off, with something behind it, with a wrong sum, of another kind.
#[tokio::test]
async fn damaged_bodies_are_refused() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    let good = gzip(BODY.as_bytes());
    let mut sum = good.clone();
    let at = sum.len() - 6;
    sum[at] ^= 1;
    let deflated = zlib(BODY.as_bytes());
    for (what, bytes, encoding) in [
        ("cut off in the head", good[..5].to_vec(), "gzip"),
        (
            "cut off in the body",
            good[..good.len() / 2].to_vec(),
            "gzip",
        ),
        (
            "cut off in the sum",
            good[..good.len() - 1].to_vec(),
            "gzip",
        ),
        ("nothing", Vec::new(), "gzip"),
        ("a wrong sum", sum, "gzip"),
        (
            "something behind it",
            [&good[..], b"GET / HTTP/1.1\r\n\r\n"].concat(),
            "gzip",
        ),
        (
            "half a member behind it",
            [&good[..], &good[..12]].concat(),
            "gzip",
        ),
        (
            "a body behind it",
            [&good[..], BODY.as_bytes()].concat(),
            "gzip",
        ),
        (
            "something behind zlib",
            [&deflated[..], b"x"].concat(),
            "deflate",
        ),
        (
            "zlib cut off",
            deflated[..deflated.len() - 2].to_vec(),
            "deflate",
        ),
        ("gzip as deflate", good.clone(), "deflate"),
        ("deflate as gzip", deflated, "gzip"),
        ("not packed at all", BODY.as_bytes().to_vec(), "gzip"),
        ("packed twice, said once", gzip(&good), "gzip"),
    ] {
        let message = in_dialect(&ask(&house, &packed(bytes, encoding)).await, 400);
        assert!(message.len() > 8, "{what}: {message}");
    }
    assert_eq!(prey.journal.requests(), 0);
    house.unharmed().await;
    house.rest().await;
}

/// RFC 9110, section 15.5.16: a coding that is not known, or several, is an unsupported media type
/// (which vLLM's clients know as 400), and the body is not read as if it were plain.
#[tokio::test]
async fn codings_that_are_not_known_are_refused() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    for encoding in [
        "br",
        "zstd",
        "compress",
        "gzip, gzip",
        "identity, gzip",
        "gzip;q=1",
        "",
        "aes128gcm",
    ] {
        let request = packed(BODY.as_bytes().to_vec(), encoding);
        let message = in_dialect(&ask(&house, &request).await, 400);
        assert!(
            message.contains("content-encoding"),
            "{encoding:?}: {message}"
        );
    }
    // Over two lines it is the same list (section 5.3), and not the first of them alone.
    for (first, second) in [("identity", "gzip"), ("gzip", "gzip"), ("gzip", "identity")] {
        for bytes in [
            gzip(BODY.as_bytes()),
            gzip(&gzip(BODY.as_bytes())),
            BODY.as_bytes().to_vec(),
        ] {
            let request = packed(bytes, first).header("content-encoding", second);
            let message = in_dialect(&ask(&house, &request).await, 400);
            assert!(
                message.contains("content-encoding"),
                "{first}, {second}: {message}"
            );
        }
    }
    assert_eq!(prey.journal.requests(), 0);
    house.unharmed().await;
    house.rest().await;
}

/// What takes long to unpack is unpacked in slices. With more such bodies than the proxy has
/// threads, whoever else asks is answered before any of them is: however large they become, and
/// however little comes of them (blocks and members without content).
#[tokio::test]
async fn large_bodies_are_unpacked_while_others_are_answered() {
    let prey = ready_worker().await;
    let limits = format!("{{ body: {LIMIT}B }}");
    let mut house = Plan::openai(prey.address).limits(&limits).start().await;
    // Blocks that store nothing (RFC 1951, section 3.2.4), and no end.
    let nothing = [0, 0, 0, 0xff, 0xff].repeat(4_000_000);
    let empty = [&gzip(b"")[..10], &nothing].concat();
    for (what, bytes) in [
        ("it becomes large", gzip(&vec![b' '; LIMIT])),
        ("blocks of nothing", empty),
        ("members of nothing", gzip(b"").repeat(400_000)),
    ] {
        let mut large = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let address = house.address();
            let request = packed(bytes.clone(), "gzip");
            large.spawn(async move { http1::ask(address, &request).await.status });
        }
        // Three answers that began after now; twice, so that they fall into the work.
        house.unharmed().await;
        house.unharmed().await;
        for status in within(what, large.join_all()).await {
            assert_eq!(status, 400, "{what}");
        }
    }
    assert_eq!(prey.journal.requests(), 0);
    house.rest().await;
}

/// The same of a gRPC message (its own compression, not that of HTTP).
#[tokio::test]
async fn large_messages_are_unpacked_while_others_are_answered() {
    use tollgate_tests::client::{
        grpc::{self, Call},
        http2,
    };
    let prey = g::Worker::start(|_| g::answer(&scene::generated(&["!"]))).await;
    let mut house = Plan::tgis(prey.address).start().await;
    let member = gzip(b"");
    for (what, bytes) in [
        ("a bomb", gzip(&vec![0; 64 << 20])),
        (
            "members of nothing",
            member.repeat((8 << 20) / member.len()),
        ),
    ] {
        let mut large = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (address, bytes) = (house.address(), bytes.clone());
            large.spawn(async move {
                let mut connection = http2::Connection::open(address).await;
                let request = scene::tgis("Generate").header("grpc-encoding", "gzip");
                let mut call = Call::begin(&mut connection, &request).await;
                call.raw(grpc::frame(1, &bytes), true).await;
                call.all::<tollgate_tests::fmaas::BatchedGenerationResponse>()
                    .await
                    .1
                    .code
            });
        }
        house.unharmed().await;
        house.unharmed().await;
        for code in within(what, large.join_all()).await {
            assert!([3, 8].contains(&code), "{what}: {code}");
        }
    }
    assert_eq!(prey.journal.requests(), 0);
    house.rest().await;
}
