//! gRPC: frames, messages, methods.

use super::*;

async fn call_with(proxy: &Proxy, request: &Request, bytes: Bytes) -> Status {
    let mut connection = http2::Connection::open(proxy.http()).await;
    let mut call = Call::begin(&mut connection, request).await;
    call.raw(bytes, true).await;
    call.all::<fmaas::BatchedGenerationResponse>().await.1
}

#[tokio::test]
async fn frames_that_are_none() {
    use prost::Message as _;
    let proxy = proxy().await;
    let request = scene::tgis("Generate");
    let message = scene::batch(NGRAM, &["The ferry"]).encode_to_vec();
    let whole = grpc::framed(&message);
    let two = [&whole[..], &whole[..]].concat();
    let cases: Vec<(&str, Bytes, u32)> = vec![
        ("no message", Bytes::new(), 3),
        ("a byte of a prefix", whole.slice(..1), 3),
        ("a prefix alone", whole.slice(..5), 3),
        ("all but the last byte", whole.slice(..whole.len() - 1), 3),
        ("a byte too many", [&whole[..], b"\0"].concat().into(), 3),
        ("two messages", two.into(), 3),
        ("an unknown flag", grpc::frame(2, &message), 3),
        ("another", grpc::frame(255, &message), 3),
        (
            "compressed, says the flag alone",
            grpc::frame(1, &grpc::gzip(&message)),
            3,
        ),
        ("no protobuf", grpc::framed(b"\xff\xff\xff\xff\xff"), 3),
        (
            "a field cut short",
            grpc::framed(&message[..message.len() - 1]),
            3,
        ),
        ("larger than may be", grpc::framed(&vec![0; LIMIT + 1]), 8),
    ];
    for (what, bytes, code) in cases {
        let status = call_with(&proxy, &request, bytes).await;
        assert_eq!(status.code, code, "{what}: {status:?}");
        assert!(status.message.len() > 3, "{what}: {status:?}");
    }
    still_serves(&proxy).await;
}

#[tokio::test]
async fn a_message_that_says_it_is_too_large_is_not_waited_for() {
    let proxy = proxy().await;
    let mut connection = http2::Connection::open(proxy.http()).await;
    let mut call = Call::begin(&mut connection, &scene::tgis("Generate")).await;
    call.raw(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]), false)
        .await;
    let (_, status) = call.all::<fmaas::BatchedGenerationResponse>().await;
    assert_eq!(status.code, 8, "{status:?}");
    still_serves(&proxy).await;
}

#[tokio::test]
async fn compressed_messages() {
    use prost::Message as _;
    let proxy = proxy().await;
    let message = scene::batch(NGRAM, &["The ferry"]).encode_to_vec();
    let gzipped = scene::tgis("Generate").header("grpc-encoding", "gzip");
    let cases = [
        ("whole", grpc::gzip(&message), 0),
        ("cut short", grpc::gzip(&message)[..12].to_vec(), 3),
        ("no gzip", message.clone(), 3),
        ("a bomb", grpc::gzip(&vec![0; 16 << 20]), 8),
    ];
    for (what, bytes, code) in cases {
        let status = call_with(&proxy, &gzipped, grpc::frame(1, &bytes)).await;
        assert_eq!(status.code, code, "{what}: {status:?}");
    }
    // Announced is not done: each message says for itself.
    let status = call_with(&proxy, &gzipped, grpc::framed(&message)).await;
    assert_eq!(status.code, 0, "{status:?}");

    let unknown = scene::tgis("Generate").header("grpc-encoding", "snappy");
    let mut connection = http2::Connection::open(proxy.http()).await;
    let mut call = Call::begin(&mut connection, &unknown).await;
    call.raw(grpc::frame(1, &message), true).await;
    let (_, status) = call.all::<fmaas::BatchedGenerationResponse>().await;
    assert_eq!(status.code, 12, "{status:?}");
    assert!(
        status.message.contains("gzip"),
        "it says what would do: {status:?}"
    );
    still_serves(&proxy).await;
}

#[tokio::test]
async fn methods_and_models_that_are_not_there() {
    let proxy = proxy().await;
    let message = scene::batch("no-such-model", &["x"]);
    let (_, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
        proxy.http(),
        &scene::tgis("Generate"),
        &message,
    )
    .await;
    assert_eq!(status.code, 5, "{status:?}");
    assert!(status.message.contains("no-such-model"));
    for method in [
        "fmaas.GenerationService/Nothing",
        "fmaas.Nothing/Generate",
        "Generate",
        "fmaas.GenerationService/generate",
    ] {
        let (_, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
            proxy.http(),
            &grpc::request(method),
            &message,
        )
        .await;
        assert_eq!(status.code, 12, "{method}: {status:?}");
    }
    still_serves(&proxy).await;
}

#[tokio::test]
async fn parameters_out_of_their_domain() {
    let proxy = proxy().await;
    let bad = |change: fn(&mut fmaas::Parameters)| {
        let mut message = scene::batch(NGRAM, &["The ferry"]);
        change(message.params.as_mut().unwrap());
        message
    };
    let cases = [
        bad(|it| it.stopping.as_mut().unwrap().min_new_tokens = 9),
        bad(|it| it.stopping.as_mut().unwrap().stop_sequences = vec!["x".into(); 7]),
        bad(|it| it.stopping.as_mut().unwrap().stop_sequences = vec!["x".repeat(241)]),
        bad(|it| {
            it.method = fmaas::DecodingMethod::Sample.into();
            it.sampling = Some(fmaas::SamplingParameters {
                top_p: 1.5,
                ..Default::default()
            });
        }),
    ];
    for message in cases {
        let (answers, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
            proxy.http(),
            &scene::tgis("Generate"),
            &message,
        )
        .await;
        assert_eq!(
            (status.code, answers.len()),
            (3, 0),
            "{message:?}: {status:?}"
        );
        assert!(status.message.len() > 3);
    }
    still_serves(&proxy).await;
}
