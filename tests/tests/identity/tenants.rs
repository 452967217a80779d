//! What all credentials of a tenant may use together, and what clients are told of the rest.

use super::*;

fn tenants(yaml: &str, entries: &[String]) -> Setup {
    embedded(
        "required",
        &format!("tokens: {{ file: tokens.yaml }}\ntenants: {yaml}\n"),
    )
    .file("tokens.yaml", tokens::file(entries))
}

#[tokio::test]
async fn a_tenants_models_and_tasks_bound_each_of_its_tokens() {
    let all = "models: [\"*\"], tenant: team";
    let proxy = tenants(
        "{ team: { models: [tollgate-hash], tasks: [embed, list-models] } }",
        &[
            tokens::entry("ann", "token-of-ann", all),
            tokens::entry(
                "bob",
                "token-of-bob",
                "models: [tollgate-ngram], tenant: team",
            ),
            tokens::entry("free", "token-of-free", "models: [\"*\"]"),
        ],
    )
    .start()
    .await;
    let vectors = json!({"model": "tollgate-hash", "input": "a"});
    let embed = async |token: &str| {
        let request = Request::post("/v1/embeddings", &vectors).token(token);
        http1::ask(proxy.http(), &request).await.status
    };
    assert_eq!(embed("token-of-ann").await, 200);
    assert_eq!(
        embed("token-of-bob").await,
        403,
        "its own leave is needed too"
    );
    assert_eq!(both(&proxy, "token-of-ann").await, FORBIDDEN);
    assert_eq!(both(&proxy, "token-of-bob").await, FORBIDDEN);
    assert_eq!(
        both(&proxy, "token-of-free").await,
        GOOD,
        "of it nothing is said"
    );
    let request = Request::get("/v1/models").token("token-of-ann");
    let models = http1::ask(proxy.http(), &request)
        .await
        .with_status(200)
        .json();
    assert_eq!(models["data"].as_array().unwrap().len(), 1, "{models}");
}

/// Whoever may not use a name is told that, and not whether anything has it.
#[tokio::test]
async fn a_model_that_is_not_there_looks_like_one_that_may_not_be_used() {
    let proxy = tenants(
        "{}",
        &[tokens::entry(
            "ann",
            "token-of-ann",
            "models: [tollgate-hash, \"mine-*\"]",
        )],
    )
    .start()
    .await;
    let said = async |model: &str| {
        let body = json!({"model": model, "prompt": "x", "max_tokens": 1});
        let request = Request::post("/v1/completions", &body).token("token-of-ann");
        let refused = http1::ask(proxy.http(), &request).await;
        let (_, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
            proxy.http(),
            &scene::tgis("Generate").token("token-of-ann"),
            &scene::batch(model, &["x"]),
        )
        .await;
        let told = format!("{} {} {}", refused.json(), status.code, status.message);
        (refused.status, told.replace(model, "MODEL"))
    };
    let there = said(NGRAM).await;
    let nowhere = said("nothing-has-it").await;
    assert_eq!(there.0, 403);
    assert_eq!(there, nowhere);
    assert_eq!(
        said("mine-nowhere").await.0,
        404,
        "its own names it may know of"
    );
    // The same with what only asks about a model, and with the route's default.
    let about = async |model: &str| {
        let request = Request::get(&format!("/v1/models/{model}")).token("token-of-ann");
        let told = http1::ask(proxy.http(), &request).await;
        (told.status, told.text().replace(model, "MODEL"))
    };
    assert_eq!(about(NGRAM).await, about("nothing-has-it").await);
    let body = json!({"prompt": "x", "max_tokens": 1});
    let request = Request::post("/v1/completions", &body).token("token-of-ann");
    let refused = http1::ask(proxy.http(), &request).await.with_status(403);
    assert!(!refused.text().contains(NGRAM), "{}", refused.text());
}

#[tokio::test]
async fn a_tenant_has_no_more_requests_at_once_than_it_may() {
    let worker = fake::http1::Worker::start(|received| {
        let first = received.number < 2;
        let answer = fake::http1::json(200, &scene::completed("x"));
        match first {
            true => vec![fake::http1::Act::Hold, answer],
            false => vec![answer],
        }
    })
    .await;
    let yaml = scene::one("openai", worker.address, ", slots: 8", "");
    let yaml = yaml.replace("auth: open", "auth: required");
    let token = |name: &str, tenant: &str| {
        let extra = format!("models: [\"*\"], tenant: {tenant}");
        tokens::entry(name, &format!("token-of-{name}"), &extra)
    };
    let proxy = Setup::new(&format!(
        "{yaml}tokens: {{ file: tokens.yaml }}\ntenants: {{ team: {{ concurrency: 2 }} }}\n"
    ))
    .file(
        "tokens.yaml",
        tokens::file(&[
            token("ann", "team"),
            token("bob", "team"),
            token("eve", "other"),
        ]),
    )
    .start()
    .await;
    let address = proxy.http();
    let ask = move |name: &str| {
        let request = scene::completion(false).token(&format!("token-of-{name}"));
        async move { http1::ask(address, &request).await }
    };
    let mut running = tokio::task::JoinSet::new();
    running.spawn(ask("ann"));
    running.spawn(ask("bob"));
    for number in 0..2 {
        worker.journal.holding(number).await;
    }
    let full = ask("ann").await.with_status(429);
    assert_eq!(full.header("retry-after"), Some("1"));
    ask("bob").await.with_status(429);
    let status = {
        let request = scene::tgis("Generate").token("token-of-ann");
        let message = scene::batch("m", &["x"]);
        grpc::ask::<fmaas::BatchedGenerationResponse>(address, &request, &message)
            .await
            .1
    };
    assert_eq!(status.code, 8, "{status:?}");
    ask("eve").await.with_status(200);
    proxy.becomes("tenant_requests{tenant=\"team\"}", 2.0).await;
    worker.release();
    worker.release();
    while let Some(answer) = running.join_next().await {
        answer.unwrap().with_status(200);
    }
    proxy.becomes("tenant_requests{tenant=\"team\"}", 0.0).await;
    ask("ann").await.with_status(200);
    assert_eq!(
        proxy
            .figure("tenant_requests_refused_total{tenant=\"team\"}")
            .await,
        Some(3.0)
    );
}
