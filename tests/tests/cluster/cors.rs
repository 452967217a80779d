//! Pages of other origins: what a browser is told before they ask, and on every answer.

use tollgate_tests::{
    client::{grpc, http2},
    tokens,
};

use super::*;

const CORS: &str = "    cors: { origins: [\"https://app.example.com\", \"https://*.pages.example.com\"], \
                    headers: [\"*\"], credentials: true, max-age: 1m }\n";

async fn started(cors: &str, worker: &h::Worker) -> Proxy {
    Proxy::start(&scene::one("openai", worker.address, "", cors)).await
}

fn preflight(path: &str, origin: &str) -> Request {
    Request::get(path)
        .method("OPTIONS")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization, x-stainless-lang",
        )
}

fn from(origin: &str) -> Request {
    scene::completion(false).header("origin", origin)
}

/// Names of headers that speak of pages, and what they say.
fn says(response: &Response) -> Vec<(String, String)> {
    let ours = |name: &str| name.starts_with("access-control") || name == "vary";
    let mut said = response.headers.clone();
    said.retain(|(name, _)| ours(name));
    said
}

const APP: &str = "https://app.example.com";

#[tokio::test]
async fn a_preflight_is_answered_before_a_token_is_asked_for() {
    let worker = named("one").await;
    let (yaml, file) = guarded(&worker);
    let proxy = Setup::new(&yaml).file("tokens.yaml", file).start().await;
    // Also of a path that nobody has: which paths there are is nothing that a browser may learn.
    for path in ["/v1/completions", "/nowhere"] {
        for granted in [APP, "https://a.b.pages.example.com"] {
            let answer = http1::ask(proxy.http(), &preflight(path, granted)).await;
            let answer = answer.with_status(204);
            assert!(answer.body.is_empty());
            for (name, value) in [
                ("access-control-allow-origin", granted),
                ("access-control-allow-methods", "GET, POST"),
                (
                    "access-control-allow-headers",
                    "authorization, x-stainless-lang",
                ),
                ("access-control-allow-credentials", "true"),
                ("access-control-max-age", "60"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{name}");
            }
            assert!(answer.header("vary").unwrap().contains("Origin"));
        }
    }
    for strange in [
        "https://evil.example",
        "null",
        "http://app.example.com",
        "https://pages.example.com",
    ] {
        let answer = http1::ask(proxy.http(), &preflight("/v1/completions", strange)).await;
        let said = says(&answer.with_status(204));
        assert!(said.iter().all(|(name, _)| name == "vary"), "{said:?}");
    }
    assert_eq!(worker.journal.requests(), 0);
    // What is no preflight is as it was.
    let options = Request::get("/v1/completions")
        .method("OPTIONS")
        .header("origin", APP);
    http1::ask(proxy.http(), &options).await.with_status(405);
    // A refusal can be read by its page.
    let refused = http1::ask(proxy.http(), &from(APP)).await.with_status(401);
    assert_eq!(refused.header("access-control-allow-origin"), Some(APP));
    assert_eq!(refused.json()["error"], "Unauthorized");
}

fn guarded(worker: &h::Worker) -> (String, String) {
    let yaml = scene::one("openai", worker.address, "", CORS).replace("    auth: open\n", "");
    let file = tokens::file(&[tokens::entry("someone", "secret-token", "models: [\"*\"]")]);
    (format!("{yaml}\ntokens: {{ file: tokens.yaml }}\n"), file)
}

#[tokio::test]
async fn every_answer_says_which_page_may_read_it() {
    let worker = h::Worker::start(|received| {
        let body = scene::completed("one").to_string();
        let whole = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\naccess-control-allow-origin: *\r\n\
             access-control-allow-methods: DELETE\r\nvary: Accept\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        match received.number {
            0 | 1 => vec![h::write(whole)],
            _ => vec![h::answer(500, "text/plain", "broken")],
        }
    })
    .await;
    let proxy = started(&format!("{CORS}    retry: {{ attempts: 1 }}\n"), &worker).await;
    let answer = http1::ask(proxy.http(), &from(APP)).await.with_status(200);
    let allowed: Vec<_> = says(&answer)
        .into_iter()
        .filter(|(name, _)| name == "access-control-allow-origin")
        .collect();
    assert_eq!(allowed.len(), 1, "and not what the worker says: {answer:?}");
    assert_eq!(allowed[0].1, APP);
    assert_eq!(answer.header("access-control-allow-methods"), None);
    assert_eq!(
        answer.header("access-control-expose-headers"),
        Some("x-request-id")
    );
    let vary: Vec<_> = says(&answer)
        .into_iter()
        .filter(|(name, _)| name == "vary")
        .collect();
    assert!(vary.iter().any(|(_, value)| value == "Origin"), "{vary:?}");
    // A page that may not read it, and a client that is no page.
    let strange = http1::ask(proxy.http(), &from("https://evil.example"))
        .await
        .with_status(200);
    assert!(
        says(&strange).iter().all(|(name, _)| name == "vary"),
        "{strange:?}"
    );
    // Errors: of the worker, of the claim, of the path; over HTTP/2 too.
    let broken = http1::ask(proxy.http(), &from(APP)).await;
    assert!((500..600).contains(&broken.status));
    let bad = Request::post_bytes("/v1/completions", "{").header("origin", APP);
    let missing = Request::get("/nowhere").header("origin", APP);
    for (failed, status) in [
        (broken.clone(), broken.status),
        (http1::ask(proxy.http(), &bad).await, 400),
        (http1::ask(proxy.http(), &missing).await, 404),
        (over_http2(&proxy, &missing).await, 404),
    ] {
        let failed = failed.with_status(status);
        assert_eq!(
            failed.header("access-control-allow-origin"),
            Some(APP),
            "{failed:?}"
        );
    }
}

async fn over_http2(proxy: &Proxy, request: &Request) -> Response {
    http2::Connection::open(proxy.http())
        .await
        .ask(request)
        .await
}

#[tokio::test]
async fn any_page_may_be_let_in_without_credentials() {
    let worker = named("one").await;
    let proxy = started("    cors: { origins: [\"*\"] }\n", &worker).await;
    let answer = http1::ask(proxy.http(), &from("https://anybody.example")).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(answer.header("vary"), None, "it is the same for every page");
    let asked = preflight("/v1/completions", "https://anybody.example");
    let granted = http1::ask(proxy.http(), &asked).await.with_status(204);
    let headers = granted.header("access-control-allow-headers");
    assert_eq!(headers, Some("authorization, content-type"));
}

#[tokio::test]
async fn without_the_section_nothing_is_said_and_grpc_hears_nothing_of_it() {
    let worker = named("one").await;
    let proxy = started("", &worker).await;
    let answer = http1::ask(proxy.http(), &from(APP)).await.with_status(200);
    assert!(says(&answer).is_empty(), "{answer:?}");
    let asked = preflight("/v1/completions", APP);
    http1::ask(proxy.http(), &asked).await.with_status(405);
    let proxy = started(CORS, &worker).await;
    let call = grpc::request("fmaas.GenerationService/ModelInfo").header("origin", APP);
    let answer = over_http2(&proxy, &call).await;
    assert!(says(&answer).is_empty(), "{answer:?}");
}
