//! Users of a cluster, about whom its API is asked. The API is a stand-in.

use super::*;

const ANN: &str = "system:serviceaccount:team:ann";
const MODEL: [&str; 3] = ["models", "team", "m"];

/// A proxy that asks a cluster; `more` is more YAML of its section.
fn asking(cluster: &Cluster, more: &str) -> Setup {
    let yaml = scene::embedded().replace(
        "auth: open",
        "auth: [cluster]\n    access: { group: serving.example.org, resource: models, \
         namespace: team, name: m }",
    );
    Setup::new(&format!(
        "{yaml}tenants:
  team: {{}}
authentication:
  cluster:
    kubernetes:
      server: http://{}
      token: own-token
      audiences: [{}]
      users: [{{ user: \"system:serviceaccount:team:*\", tenant: team }}]
{more}",
        cluster.server.address,
        reviews::AUDIENCE,
    ))
    .file("own-token", reviews::OWN)
}

/// Ann has a token and the right.
async fn with_ann() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.give_token("token-of-ann", ANN);
    cluster.give_right(ANN, "get", MODEL);
    cluster
}

#[tokio::test]
async fn a_token_of_the_cluster_opens_to_who_has_the_right() {
    let cluster = with_ann().await;
    cluster.give_token("token-of-bob", "system:serviceaccount:team:bob");
    cluster.give_token("token-of-eve", "system:serviceaccount:others:eve");
    cluster.give_right("system:serviceaccount:others:eve", "get", MODEL);
    let proxy = asking(&cluster, "").start().await;
    assert_eq!(both(&proxy, "token-of-ann").await, GOOD);
    assert_eq!(both(&proxy, "token-of-ann").await, GOOD);
    assert_eq!(cluster.asked(), (1, 1), "asked once, and remembered");
    assert_eq!(
        both(&proxy, "token-of-bob").await,
        FORBIDDEN,
        "without the right"
    );
    assert_eq!(
        both(&proxy, "token-of-eve").await,
        FORBIDDEN,
        "without a tenant"
    );
    assert_eq!(both(&proxy, "token-of-nobody").await, UNKNOWN);
    assert_eq!(rest(&proxy, None).await.status, 401);
    proxy.logged(|line| line.contains(ANN)).await;
    let log = proxy.log();
    assert!(
        !log.contains("token-of") && !log.contains(reviews::OWN),
        "{log}"
    );
}

#[tokio::test]
async fn a_right_or_a_token_that_is_taken_away_is_gone_within_the_life_of_an_answer() {
    let cluster = with_ann().await;
    let proxy = asking(&cluster, "      life: 200ms\n      denied-life: 100ms\n")
        .start()
        .await;
    assert_eq!(both(&proxy, "token-of-ann").await, GOOD);
    let becomes = async |wanted: (u16, u32)| {
        eventually(format!("{wanted:?}"), || async {
            (both(&proxy, "token-of-ann").await == wanted).then_some(())
        })
        .await;
    };
    cluster.take_right(ANN, "get", MODEL);
    becomes(FORBIDDEN).await;
    cluster.give_right(ANN, "get", MODEL);
    becomes(GOOD).await;
    cluster.take_token("token-of-ann");
    becomes(UNKNOWN).await;
}

#[tokio::test]
async fn where_the_api_does_not_answer_nobody_is_let_in() {
    let cluster = with_ann().await;
    let proxy = asking(&cluster, "      timeout: 300ms\n").start().await;
    for instead in [
        Instead::Status(500),
        Instead::Status(403),
        Instead::Close,
        Instead::Silence,
    ] {
        cluster.does(Some(instead.clone()));
        // Another one each time: what failed is not asked again for a second.
        let token = format!("token-of-{instead:?}");
        cluster.give_token(&token, ANN);
        let away = rest(&proxy, Some(&token)).await;
        assert_eq!(away.status, 503, "{instead:?}");
        assert_eq!(away.header("retry-after"), Some("1"));
        assert_eq!(
            away.header("www-authenticate"),
            None,
            "no other token would help"
        );
        assert_eq!(
            generated(&proxy, Some(&token)).await.code,
            AWAY.1,
            "{instead:?}"
        );
    }
    cluster.does(None);
    assert_eq!(both(&proxy, "token-of-ann").await, GOOD);
    // What is remembered needs no API.
    cluster.does(Some(Instead::Close));
    assert_eq!(both(&proxy, "token-of-ann").await, GOOD);
}

#[tokio::test]
async fn an_api_that_is_slow_is_waited_for_by_few() {
    let cluster = with_ann().await;
    let proxy = asking(
        &cluster,
        "      timeout: 10s\n      waiting: 2\n      connections: 2\n",
    )
    .start()
    .await;
    cluster.does(Some(Instead::Silence));
    let address = proxy.http();
    let body = json!({"model": NGRAM, "prompt": "x", "max_tokens": 1});
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..12 {
        let request = Request::post("/v1/completions", &body).token(&format!("t{number}"));
        asking.spawn(async move { http1::ask(address, &request).await.status });
    }
    for _ in 0..10 {
        let status = tollgate_tests::within("an answer", asking.join_next()).await;
        assert_eq!(status.unwrap().unwrap(), 503);
    }
    assert_eq!(
        proxy.figure("identity_waiting{way=\"cluster\"}").await,
        Some(2.0)
    );
}

#[tokio::test]
async fn our_own_token_is_read_again_when_the_api_does_not_take_it() {
    let cluster = with_ann().await;
    let proxy = asking(&cluster, "")
        .file("own-token", "an old one")
        .start()
        .await;
    assert_eq!(both(&proxy, "token-of-ann").await, AWAY);
    proxy.rewrite("own-token", reviews::OWN);
    eventually("the new one is taken", || async {
        (both(&proxy, "token-of-ann").await == GOOD).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_cluster_stands_beside_other_ways() {
    let cluster = with_ann().await;
    let key = Key::new(Kind::EdDsa, "a");
    let published = Published::start(&[&key]).await;
    let more = format!(
        "  house:
    jwt:
      issuer: me
      audiences: [models]
      keys: {{ from: \"http://{}/keys\" }}
      tenant: team
tokens: {{ file: tokens.yaml }}
",
        published.server.address
    );
    let yaml = scene::embedded().replace("auth: open", "auth: [tokens, house, cluster]");
    let proxy = Setup::new(&format!(
        "{yaml}tenants: {{ team: {{}} }}
authentication:
  cluster:
    kubernetes:
      server: http://{}
      token: own-token
      audiences: [{}]
      tenant: team
{more}",
        cluster.server.address,
        reviews::AUDIENCE,
    ))
    .file("own-token", reviews::OWN)
    .file(
        "tokens.yaml",
        tokens::file(&[tokens::entry("s", "static", "models: [\"*\"]")]),
    )
    .start()
    .await;
    let claims = json!({"iss": "me", "aud": "models", "exp": now() + 600});
    for token in ["static", "token-of-ann", &key.token(&claims)] {
        assert_eq!(both(&proxy, token).await, GOOD);
    }
    let asked = cluster.asked().0;
    assert_eq!(
        asked, 1,
        "what others know is not the cluster's to be asked"
    );
    let expired = json!({"iss": "me", "aud": "models", "exp": now() - 600});
    assert_eq!(both(&proxy, &key.token(&expired)).await, UNKNOWN);
    assert_eq!(cluster.asked().0, asked, "nor what is another's, and bad");
    assert_eq!(both(&proxy, "nobodys").await, UNKNOWN);
}
