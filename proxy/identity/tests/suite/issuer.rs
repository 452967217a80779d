//! An issuer's tokens, by the keys that it publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_identity::{
    Algorithm, AuthFailure, ClaimPaths, Jwt, JwtSpec, Keys, KeysSpec, Origin, Tenant, Tenants, Way,
};

use crate::support::{Server, Signer, ask, clock, set, within};

const NOW: u64 = 1_000_000;
const LONG: Duration = Duration::from_secs(3600);

fn spec(origin: Origin) -> KeysSpec {
    KeysSpec {
        name: "issuer".to_owned(),
        origin,
        algorithms: vec![Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa],
        refresh: LONG,
        least: Duration::from_millis(20),
        stale: LONG,
        timeout: Duration::from_secs(5),
        largest: 64 * 1024,
        most: 8,
        waiting: 64,
    }
}

struct Bench {
    jwt: Arc<Jwt>,
    now: Arc<AtomicU64>,
    _keeping: tokio::task::JoinSet<()>,
}

impl Bench {
    fn new(keys: KeysSpec) -> Self {
        let now = Arc::new(AtomicU64::new(NOW));
        let keys = Arc::new(Keys::new(keys));
        let spec = JwtSpec {
            issuer: "me".to_owned(),
            audiences: vec!["you".to_owned()],
            leeway: 0,
            longest: 4096,
            remembered: 8,
            claims: ClaimPaths {
                name: Some("/sub".to_owned()),
                ..ClaimPaths::default()
            },
            tenant: Some(Tenant::plain("team")),
        };
        let jwt = Jwt::new(
            spec,
            keys.clone(),
            Arc::new(Tenants::default()),
            clock(&now),
        );
        let mut keeping = tokio::task::JoinSet::new();
        keeping.spawn(async move { keys.keep().await });
        Self {
            jwt: Arc::new(jwt),
            now,
            _keeping: keeping,
        }
    }

    async fn ask(&self, token: &str) -> Result<Option<String>, AuthFailure> {
        ask(&*self.jwt as &dyn Way, token).await
    }
}

fn claims(sub: &str) -> Value {
    json!({"iss": "me", "aud": "you", "exp": NOW + 100, "sub": sub})
}

fn ann() -> Result<Option<String>, AuthFailure> {
    Ok(Some("ann".to_owned()))
}

async fn published(signers: &[&Signer]) -> Server {
    let text = set(signers);
    Server::start(move |_, _| Some((200, text.clone()))).await
}

#[tokio::test]
async fn a_token_is_verified_once_and_known_until_it_expires() {
    let signer = Signer::new("a");
    let server = published(&[&signer]).await;
    let bench = Bench::new(spec(Origin::Site(server.site("/keys"))));
    let token = signer.token(&claims("ann"));
    for _ in 0..3 {
        assert_eq!(bench.ask(&token).await, ann());
    }
    assert_eq!(bench.jwt.remembered(), 1);
    bench.now.store(NOW + 100, Ordering::SeqCst);
    assert_eq!(bench.ask(&token).await, Err(AuthFailure::Expired));
    assert_eq!(server.asked(), 1, "keys that are known are not asked for");
}

#[tokio::test]
async fn what_is_not_the_issuers_is_left_to_others_and_what_is_forged_is_not() {
    let (signer, stranger) = (Signer::new("a"), Signer::new("a"));
    let server = published(&[&signer]).await;
    let bench = Bench::new(spec(Origin::Site(server.site("/keys"))));
    let token = signer.token(&claims("ann"));
    let mut other = claims("ann");
    other["iss"] = json!("somebody");
    for theirs in ["opaque", &signer.token(&other), &"a".repeat(5000)] {
        assert_eq!(bench.ask(theirs).await, Ok(None));
    }
    let forged = stranger.token(&claims("ann"));
    assert_eq!(bench.ask(&forged).await, Err(AuthFailure::Unknown));
    let (_, signature) = token.rsplit_once('.').unwrap();
    let (signed, _) = signer
        .token(&claims("bob"))
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let moved = format!("{signed}.{signature}");
    assert_eq!(bench.ask(&moved).await, Err(AuthFailure::Unknown));
    assert_eq!(bench.ask(&token).await, ann());
    assert_eq!(bench.jwt.remembered(), 1, "only good ones are remembered");
}

#[tokio::test]
async fn verified_tokens_that_are_remembered_are_bounded() {
    let signer = Signer::new("a");
    let server = published(&[&signer]).await;
    let bench = Bench::new(spec(Origin::Site(server.site("/keys"))));
    for number in 0..500 {
        let name = format!("n{number}");
        let asked = bench.ask(&signer.token(&claims(&name))).await;
        assert_eq!(asked, Ok(Some(name)));
    }
    assert!(bench.jwt.remembered() <= 64, "{}", bench.jwt.remembered());
}

#[tokio::test]
async fn keys_that_are_not_there_are_asked_for_seldom_however_many_ask() {
    let (signer, stranger) = (Signer::new("a"), Signer::new("b"));
    let server = published(&[&signer]).await;
    let keys = KeysSpec {
        least: LONG,
        ..spec(Origin::Site(server.site("/keys")))
    };
    let bench = Arc::new(Bench::new(keys));
    assert_eq!(bench.ask(&signer.token(&claims("ann"))).await, ann());
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..300 {
        let (bench, token) = (bench.clone(), stranger.token(&claims(&number.to_string())));
        asking.spawn(async move { bench.ask(&token).await });
    }
    while let Some(asked) = asking.join_next().await {
        assert_eq!(asked.unwrap(), Err(AuthFailure::Unknown));
    }
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_and_one_that_was_taken_away_opens_nothing() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let server = published(&[&old]).await;
    let bench = Bench::new(spec(Origin::Site(server.site("/keys"))));
    let before = old.token(&claims("ann"));
    assert_eq!(bench.ask(&before).await, ann());
    let text = set(&[&new]);
    server.answers(move |_, _| Some((200, text.clone())));
    // Asked too early, the keys are not read again at once.
    within(async {
        while bench.ask(&new.token(&claims("ann"))).await != ann() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(bench.ask(&before).await, Err(AuthFailure::Unknown));
}

#[tokio::test]
async fn without_keys_nobody_is_let_in_and_with_old_ones_for_a_while() {
    let signer = Signer::new("a");
    let server = Server::start(|_, _| Some((500, String::new()))).await;
    let token = signer.token(&claims("ann"));
    let keys = KeysSpec {
        refresh: Duration::from_millis(20),
        stale: Duration::from_millis(400),
        ..spec(Origin::Site(server.site("/keys")))
    };
    let bench = Bench::new(keys);
    assert_eq!(bench.ask(&token).await, Err(AuthFailure::Away));
    let text = set(&[&signer]);
    server.answers(move |_, _| Some((200, text.clone())));
    let until = |wanted: Result<Option<String>, AuthFailure>| {
        let (bench, token) = (&bench, &token);
        within(async move {
            while bench.ask(token).await != wanted {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    };
    until(ann()).await;
    for bad in ["<html>", "{}", r#"{"keys":[{},{},{},{},{},{},{},{},{}]}"#] {
        server.answers(move |_, _| Some((200, bad.to_owned())));
        let failed = bench.jwt.keys().readings().1;
        within(async {
            while bench.jwt.keys().readings().1 == failed {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
    // Remembered or not.
    until(Err(AuthFailure::Away)).await;
    assert_eq!(bench.jwt.keys().count(), 0);
}

#[tokio::test]
async fn keys_that_come_late_or_are_too_long_are_none() {
    let signer = Signer::new("a");
    let token = signer.token(&claims("ann"));
    let server = Server::start(|_, _| None).await;
    let keys = KeysSpec {
        timeout: Duration::from_millis(100),
        ..spec(Origin::Site(server.site("/keys")))
    };
    let bench = Bench::new(keys);
    assert_eq!(bench.ask(&token).await, Err(AuthFailure::Away));
    assert_eq!(bench.jwt.keys().waiting(), 0);

    let long = format!("{}{}", set(&[&signer]), " ".repeat(70_000));
    server.answers(move |_, _| Some((200, long.clone())));
    let bench = Bench::new(spec(Origin::Site(server.site("/keys"))));
    assert_eq!(bench.ask(&token).await, Err(AuthFailure::Away));
    server.answers(|_, _| Some((302, String::new())));
    let bench = Bench::new(spec(Origin::Site(server.site("/keys"))));
    assert_eq!(bench.ask(&token).await, Err(AuthFailure::Away));
}

#[tokio::test]
async fn those_who_wait_for_keys_are_bounded() {
    let signer = Signer::new("a");
    let server = Server::start(|_, _| None).await;
    let keys = KeysSpec {
        timeout: Duration::from_secs(2),
        waiting: 3,
        ..spec(Origin::Site(server.site("/keys")))
    };
    let bench = Arc::new(Bench::new(keys));
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (bench, token) = (bench.clone(), signer.token(&claims(&number.to_string())));
        asking.spawn(async move { bench.ask(&token).await });
    }
    // All but three are told at once; those three wait for what does not come.
    for _ in 0..17 {
        let asked = within(asking.join_next()).await.unwrap();
        assert_eq!(asked.unwrap(), Err(AuthFailure::Away));
        assert!(bench.jwt.keys().waiting() <= 3);
    }
    assert_eq!(bench.jwt.keys().waiting(), 3);
}

#[tokio::test]
async fn keys_in_a_file_are_taken_in_when_it_changes_and_kept_when_it_breaks() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::fs::write(&path, set(&[&old])).unwrap();
    let keys = KeysSpec {
        refresh: Duration::from_millis(20),
        ..spec(Origin::File(path.clone()))
    };
    let bench = Bench::new(keys);
    let (before, after) = (old.token(&claims("ann")), new.token(&claims("ann")));
    assert_eq!(bench.ask(&before).await, ann());
    std::fs::write(&path, "{").unwrap();
    let rounds = bench.jwt.keys().readings().0;
    within(async {
        while bench.jwt.keys().readings().0 < rounds + 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(bench.ask(&before).await, ann());
    std::fs::write(&path, set(&[&new])).unwrap();
    within(async {
        while bench.ask(&after).await != ann() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(bench.ask(&before).await, Err(AuthFailure::Unknown));
}
