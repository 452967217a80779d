//! What clients say of themselves by headers: it opens nothing, and goes no further.

use super::*;

/// Names by which servers behind proxies are told who asks.
const LIES: [&str; 18] = [
    "x-forwarded-user",
    "X_Forwarded_User",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-forwarded-client-cert",
    "x-remote-user",
    "X-Remote_Group",
    "x-remote-extra-scopes",
    "remote_user",
    "impersonate-user",
    "impersonate-group",
    "x-tollgate-tenant",
    "x_tollgate_identity",
    "x-auth-request-user",
    "x-user-id",
    "grpc-metadata-x-forwarded-user",
];

fn lying(mut request: Request) -> Request {
    for name in LIES {
        // Twice: neither line stays.
        request = request.header(name, "root").header(name, "admin");
    }
    request
}

async fn proxy(worker: std::net::SocketAddr) -> Proxy {
    let yaml = scene::one("openai", worker, "", "").replace("auth: open", "auth: required");
    Setup::new(&format!("{yaml}tokens: {{ file: tokens.yaml }}\n"))
        .file(
            "tokens.yaml",
            tokens::file(&[tokens::entry("ann", "token-of-ann", "models: [\"*\"]")]),
        )
        .start()
        .await
}

#[tokio::test]
async fn no_header_but_the_credentials_own_says_who_asks() {
    let worker =
        fake::http1::Worker::start(|_| vec![fake::http1::json(200, &scene::completed("x"))]).await;
    let proxy = proxy(worker.address).await;
    let refused = http1::ask(proxy.http(), &lying(scene::completion(false))).await;
    refused.with_status(401);
    assert_eq!(worker.journal.requests(), 0);
    // Nor can it be had that the credential is taken out before it is looked at.
    let request = scene::completion(false)
        .header("connection", "authorization, close")
        .token("token-of-nobody");
    http1::ask(proxy.http(), &request).await.with_status(401);
}

#[tokio::test]
async fn what_a_client_says_of_itself_reaches_no_worker() {
    let worker =
        fake::http1::Worker::start(|_| vec![fake::http1::json(200, &scene::completed("x"))]).await;
    let proxy = proxy(worker.address).await;
    let names = format!("close, {}", LIES.join(", "));
    for (number, request) in [
        lying(scene::completion(false)),
        lying(scene::completion(false)).header("connection", &names),
    ]
    .into_iter()
    .enumerate()
    {
        let request = request.token("token-of-ann").header("x-request-id", "kept");
        http1::ask(proxy.http(), &request).await.with_status(200);
        let head = worker.journal.head(number).await;
        let liars = head.headers.iter().filter(|(name, value)| {
            value == "root"
                || value == "admin"
                || LIES.iter().any(|lie| lie.eq_ignore_ascii_case(name))
        });
        assert_eq!(liars.count(), 0, "{head:?}");
        assert_eq!(head.get("authorization"), None, "the token was for us");
        assert_eq!(head.get("x-request-id"), Some("kept"));
    }
    // Over HTTP/2 likewise.
    let mut connection = http2::Connection::open(proxy.http()).await;
    let request = lying(scene::completion(false)).token("token-of-ann");
    connection.ask(&request).await.with_status(200);
    let head = worker.journal.head(2).await;
    assert!(
        head.headers.iter().all(|(_, value)| value != "root"),
        "{head:?}"
    );
}
