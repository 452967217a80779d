//! Tokens that an issuer has signed.

use super::*;

const ISSUER: &str = "https://issuer.example.com";

/// A proxy that believes an issuer by keys at some place, and the holder of one static token.
fn believing(from: &str) -> Setup {
    embedded(
        "[house, tokens]",
        &format!(
            "tokens: {{ file: tokens.yaml }}
tenants:
  team: {{}}
  vectors: {{ models: [tollgate-hash] }}
authentication:
  house:
    jwt:
      issuer: {ISSUER}
      audiences: [models, more-models]
      keys: {{ from: \"{from}\", refresh-least: 100ms, refresh: 1h, stale: 1h }}
      claims: {{ tenant: /tenant, priority: /priority }}
      leeway: 5s
"
        ),
    )
    .file(
        "tokens.yaml",
        tokens::file(&[tokens::entry("static", "a-static-token", "models: [\"*\"]")]),
    )
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "models", "sub": "ann", "tenant": "team",
        "exp": now() + 3600, "iat": now(), "nbf": now(),
    })
}

/// Good claims, but for these.
fn but(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    match value.into() {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

async fn published(kinds: &[Kind]) -> (Published, Vec<Key>) {
    let keys: Vec<Key> = kinds
        .iter()
        .map(|kind| Key::new(*kind, kind.name()))
        .collect();
    let published = Published::start(&keys.iter().collect::<Vec<_>>()).await;
    (published, keys)
}

fn at(published: &Published) -> String {
    format!("http://{}/keys", published.server.address)
}

#[tokio::test]
async fn tokens_of_every_known_algorithm_open_and_others_still_do() {
    let (published, keys) = published(&Kind::ALL).await;
    let proxy = believing(&at(&published)).start().await;
    for key in &keys {
        assert_eq!(
            both(&proxy, &key.token(&claims())).await,
            GOOD,
            "{:?}",
            key.kind
        );
    }
    let several = but("aud", json!(["somebody", "more-models"]));
    assert_eq!(both(&proxy, &keys[2].token(&several)).await, GOOD);
    // Clocks may differ a little.
    assert_eq!(
        both(&proxy, &keys[2].token(&but("exp", now() - 1))).await,
        GOOD
    );
    assert_eq!(both(&proxy, "a-static-token").await, GOOD);
    proxy
        .logged(|line| line.contains("\"identity\":\"ann\""))
        .await;
    assert_eq!(published.asked(), 1);
}

#[tokio::test]
async fn no_token_opens_that_is_not_wholly_good() {
    let (published, keys) = published(&Kind::ALL).await;
    let [rsa, ecdsa, ed] = &keys[..] else {
        panic!("there are three");
    };
    let proxy = believing(&at(&published)).start().await;
    let good = ed.token(&claims());
    let header = |name: &str, value: Value| {
        let mut header = ed.header();
        header[name] = value;
        ed.token_with(&header, &claims())
    };
    let secret = |alg: &str| json!({"alg": alg, "kid": rsa.kid});
    let stranger = Key::new(Kind::EdDsa, &ed.kid);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let mut flipped = good.clone().into_bytes();
    let last = flipped.len() - 3;
    flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
    for (what, token) in [
        ("expired", ed.token(&but("exp", now() - 10))),
        ("without an end", ed.token(&but("exp", Value::Null))),
        ("an end that is a text", ed.token(&but("exp", "4000000000"))),
        ("not yet valid", ed.token(&but("nbf", now() + 600))),
        ("nbf is a text", ed.token(&but("nbf", "0"))),
        ("made in the future", ed.token(&but("iat", now() + 600))),
        ("another audience", ed.token(&but("aud", "somebody"))),
        ("without an audience", ed.token(&but("aud", Value::Null))),
        (
            "another issuer",
            ed.token(&but("iss", "https://issuer.example.org")),
        ),
        ("without an issuer", ed.token(&but("iss", Value::Null))),
        ("a key of the same name", stranger.token(&claims())),
        (
            "an unknown key",
            Key::new(Kind::EdDsa, "unheard-of").token(&claims()),
        ),
        (
            "a key for another algorithm",
            ed.token_with(&ecdsa.header(), &claims()),
        ),
        (
            "alg none",
            format!("{}.", issuer::signed(&json!({"alg": "none"}), &claims())),
        ),
        ("alg none, signed", header("alg", json!("none"))),
        ("no alg", header("alg", Value::Null)),
        ("crit", header("crit", json!(["exp"]))),
        ("a key of its own", header("jwk", stranger.public())),
        (
            "a place of keys of its own",
            header("jku", json!(at(&published))),
        ),
        (
            "certificates of its own",
            header("x5u", json!("https://example.com")),
        ),
        (
            "RSA's key as a secret",
            issuer::by_secret(&rsa.confusable(), &secret("HS256"), &claims()),
        ),
        (
            "the same by its modulus",
            issuer::by_secret(
                rsa.public()["n"].as_str().unwrap().as_bytes(),
                &secret("HS256"),
                &claims(),
            ),
        ),
        (
            "a secret that says RS256",
            issuer::by_secret(&rsa.confusable(), &secret("RS256"), &claims()),
        ),
        (
            "P-256's point as a secret",
            issuer::by_secret(
                &ecdsa.confusable(),
                &json!({"alg": "HS256", "kid": ecdsa.kid}),
                &claims(),
            ),
        ),
        ("no signature", format!("{signed}.")),
        ("no third part", signed.to_owned()),
        ("a truncated signature", good[..good.len() - 8].to_owned()),
        ("a truncated token", good[..good.len() / 2].to_owned()),
        ("a changed signature", String::from_utf8(flipped).unwrap()),
        (
            "claims of somebody else's",
            format!(
                "{}.{signature}",
                issuer::signed(&ed.header(), &but("sub", "root"))
            ),
        ),
        ("padding", format!("{good}==")),
        ("a fourth part", format!("{good}.{signature}")),
        ("too long", ed.token(&but("more", "x".repeat(8 << 10)))),
        ("far too long", ed.token(&but("more", "x".repeat(18 << 10)))),
    ] {
        assert_eq!(both(&proxy, &token).await, UNKNOWN, "{what}");
    }
    assert_eq!(both(&proxy, &good).await, GOOD);
    assert!(
        !proxy.log().contains(signature),
        "tokens are not written down"
    );
}

#[tokio::test]
async fn what_is_wrong_is_said_as_rfc_6750_has_it() {
    let (published, keys) = published(&[Kind::EdDsa]).await;
    let proxy = believing(&at(&published)).start().await;
    let challenge = async |token: Option<String>| {
        let refused = rest(&proxy, token.as_deref()).await;
        refused.header("www-authenticate").map(str::to_owned)
    };
    assert_eq!(challenge(None).await.as_deref(), Some("Bearer"));
    for (claims, why) in [
        (but("exp", now() - 10), "the token has expired"),
        (but("nbf", now() + 600), "the token is not valid yet"),
        (but("aud", "somebody"), "the token is for another audience"),
        (but("iss", "somebody"), "the token is not valid"),
    ] {
        let told = challenge(Some(keys[0].token(&claims))).await;
        let wanted = format!("Bearer error=\"invalid_token\", error_description=\"{why}\"");
        assert_eq!(told, Some(wanted));
    }
    let status = generated(&proxy, Some(&keys[0].token(&but("exp", now() - 10)))).await;
    assert_eq!(
        (status.code, status.message.as_str()),
        (16, "the token has expired")
    );
}

#[tokio::test]
async fn a_token_belongs_to_the_tenant_that_it_names() {
    let (published, keys) = published(&[Kind::EdDsa]).await;
    let proxy = believing(&at(&published)).start().await;
    let token = |tenant: &str| keys[0].token(&but("tenant", tenant));
    assert_eq!(both(&proxy, &token("team")).await, GOOD);
    assert_eq!(both(&proxy, &token("vectors")).await, FORBIDDEN);
    // A name that the configuration does not know would be one of the token's making.
    let refused = rest(&proxy, Some(&token("unheard-of")))
        .await
        .with_status(403);
    assert!(
        refused
            .header("www-authenticate")
            .unwrap()
            .contains("insufficient_scope")
    );
    assert_eq!(both(&proxy, &token("unheard-of")).await, FORBIDDEN);
    assert_eq!(
        both(&proxy, &keys[0].token(&but("tenant", Value::Null))).await,
        FORBIDDEN
    );
}

#[tokio::test]
async fn unknown_keys_make_no_storm_of_readings() {
    let (published, _keys) = published(&[Kind::EdDsa]).await;
    let setup = believing(&at(&published));
    let proxy = setup.start().await;
    proxy.becomes("issuer_keys{way=\"house\"}", 1.0).await;
    let stranger = Key::new(Kind::EdDsa, "unheard-of");
    let began = std::time::Instant::now();
    for number in 0..200 {
        let token = stranger.token(&but("jti", number));
        assert_eq!(rest(&proxy, Some(&token)).await.status, 401);
    }
    // One in 100 ms at the most, and the first.
    let most = 2 + began.elapsed().as_millis() / 100;
    let asked = published.asked() as u128;
    assert!(asked <= most, "{asked} readings, and {most} are the most");
    assert!(asked >= 2, "they were read again");
}

#[tokio::test]
async fn keys_come_and_go() {
    let (published, keys) = published(&[Kind::EdDsa]).await;
    let proxy = believing(&at(&published)).start().await;
    let old = keys[0].token(&claims());
    assert_eq!(both(&proxy, &old).await, GOOD);
    let next = Key::new(Kind::Es256, "next");
    let new = next.token(&claims());
    published.publish(&[&keys[0], &next]);
    let becomes = async |token: &str, status: u16| {
        eventually(format!("{status}"), || async {
            let told = rest(&proxy, Some(token)).await.status;
            (told == status).then_some(())
        })
        .await;
    };
    becomes(&new, 200).await;
    assert_eq!(both(&proxy, &old).await, GOOD, "both are there");
    // Revoked: a token with a key that nobody knows has the keys read again.
    published.publish(&[&next]);
    let stranger = Key::new(Kind::EdDsa, "unheard-of");
    eventually("the old key is gone", || async {
        let _ = rest(&proxy, Some(&stranger.token(&claims()))).await;
        (rest(&proxy, Some(&old)).await.status == 401).then_some(())
    })
    .await;
    assert_eq!(both(&proxy, &new).await, GOOD);
}

#[tokio::test]
async fn where_keys_are_not_to_be_had_nobody_is_let_in_and_others_are() {
    let (published, keys) = published(&[Kind::EdDsa]).await;
    published.answer(500, "no");
    let proxy = believing(&at(&published)).start().await;
    let token = keys[0].token(&claims());
    assert_eq!(both(&proxy, &token).await, AWAY);
    let away = rest(&proxy, Some(&token)).await.with_status(503);
    assert_eq!(away.header("retry-after"), Some("1"));
    assert_eq!(both(&proxy, "a-static-token").await, GOOD);
    published.publish(&[&keys[0]]);
    eventually("the keys are there", || async {
        (rest(&proxy, Some(&token)).await.status == 200).then_some(())
    })
    .await;
    // What is known stays for a while.
    published.answer(500, "no");
    assert_eq!(both(&proxy, &token).await, GOOD);
}

#[tokio::test]
async fn keys_that_cannot_be_read_again_are_not_believed_for_ever() {
    let (published, keys) = published(&[Kind::EdDsa]).await;
    let proxy = embedded(
        "[house]",
        &format!(
            "tenants: {{ team: {{}} }}
authentication:
  house:
    jwt:
      issuer: {ISSUER}
      audiences: [models]
      keys: {{ from: \"{}\", refresh-least: 100ms, refresh: 1s, stale: 2s }}
      tenant: team
",
            at(&published)
        ),
    )
    .start()
    .await;
    let token = keys[0].token(&claims());
    assert_eq!(both(&proxy, &token).await, GOOD);
    published.answer(404, "gone");
    eventually("they are too old", || async {
        (rest(&proxy, Some(&token)).await.status == 503).then_some(())
    })
    .await;
    assert_eq!(generated(&proxy, Some(&token)).await.code, AWAY.1);
}

#[tokio::test]
async fn keys_in_a_file_are_followed() {
    let keys = [Key::new(Kind::Rs256, "a"), Key::new(Kind::Es256, "b")];
    let proxy = believing("keys.json")
        .file("keys.json", issuer::set(&[&keys[0]]))
        .start()
        .await;
    let (old, new) = (keys[0].token(&claims()), keys[1].token(&claims()));
    assert_eq!(both(&proxy, &old).await, GOOD);
    assert_eq!(both(&proxy, &new).await, UNKNOWN);
    proxy.rewrite("keys.json", issuer::set(&[&keys[1]]));
    eventually("the file is read", || async {
        (rest(&proxy, Some(&new)).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(both(&proxy, &old).await, UNKNOWN);
}

#[tokio::test]
async fn claims_narrow_what_a_token_opens() {
    let (published, keys) = published(&[Kind::EdDsa]).await;
    let proxy = embedded(
        "[house]",
        &format!(
            "tenants: {{ team: {{ tasks: [generate, list-models] }} }}
authentication:
  house:
    jwt:
      issuer: {ISSUER}
      audiences: [models]
      keys: {{ from: \"{}\" }}
      tenant: team
      claims: {{ models: /access/models }}
",
            at(&published)
        ),
    )
    .start()
    .await;
    let token = |models: Value| keys[0].token(&but("access", json!({"models": models})));
    assert_eq!(both(&proxy, &token(json!(["tollgate-*"]))).await, GOOD);
    assert_eq!(
        both(&proxy, &token(json!("other tollgate-ngram"))).await,
        GOOD
    );
    assert_eq!(both(&proxy, &token(json!(["other"]))).await, FORBIDDEN);
    assert_eq!(
        both(&proxy, &keys[0].token(&claims())).await,
        FORBIDDEN,
        "it says nothing"
    );
    assert_eq!(both(&proxy, &token(json!(7))).await, UNKNOWN);
    let vectors = json!({"model": "tollgate-hash", "input": "a"});
    let request = Request::post("/v1/embeddings", &vectors).token(&token(json!(["*"])));
    http1::ask(proxy.http(), &request).await.with_status(403);
}
