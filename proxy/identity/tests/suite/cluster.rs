//! A cluster's API, asked about tokens and rights.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tollgate_identity::{
    Access, AuthFailure, Kubernetes, KubernetesSpec, KubernetesWay, Parts, Separator, Tenant,
    UserRule, Way,
};

use crate::support::{Answer, Server, ask, clock, within};

const TOKENS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

struct Bench {
    way: KubernetesWay,
    cluster: Arc<Kubernetes>,
    _own: NamedTempFile,
}

fn user(pattern: &str, tenant: &str) -> UserRule {
    UserRule {
        user: Some(Parts::new(pattern, Separator::Colon).unwrap()),
        group: None,
        tenant: Tenant::plain(tenant),
    }
}

fn bench_with(server: &Server, change: impl FnOnce(&mut KubernetesSpec)) -> Bench {
    let own = NamedTempFile::new().unwrap();
    std::fs::write(own.path(), "our-own\n").unwrap();
    let mut spec = KubernetesSpec {
        name: "cluster".to_owned(),
        site: server.site(""),
        token: own.path().to_owned(),
        audiences: vec!["models".to_owned()],
        timeout: Duration::from_secs(5),
        life: Duration::from_secs(600),
        denied_life: Duration::from_secs(600),
        remembered: 100,
        waiting: 64,
        users: vec![user("system:serviceaccount:team:*", "team")],
        tenant: None,
    };
    change(&mut spec);
    let now = Arc::new(AtomicU64::new(1_000_000));
    let cluster = Arc::new(Kubernetes::new(spec, clock(&now)));
    let right = Access {
        group: "serving.example.org".to_owned(),
        resource: "models".to_owned(),
        namespace: Some("team".to_owned()),
        name: Some("m".to_owned()),
        verb: "get".to_owned(),
        ..Access::default()
    };
    Bench {
        way: KubernetesWay::new(cluster.clone(), Some(right)),
        cluster,
        _own: own,
    }
}

impl Bench {
    async fn ask(&self, token: &str) -> Result<Option<String>, AuthFailure> {
        ask(&self.way as &dyn Way, token).await
    }
}

/// Knows the tokens `ann` and `bob`, of whom Ann has the right.
fn answer(path: &str, body: &Value) -> Answer {
    let status = if path == TOKENS {
        let name = body["spec"]["token"].as_str().unwrap();
        let user = json!({
            "username": format!("system:serviceaccount:team:{name}"),
            "uid": "1",
            "groups": ["system:authenticated"],
            "extra": {"k": ["v"]},
        });
        match name {
            "ann" | "bob" => {
                json!({"authenticated": true, "user": user, "audiences": ["models"]})
            }
            _ => json!({"authenticated": false, "error": "invalid bearer token"}),
        }
    } else {
        let spec = &body["spec"];
        assert_eq!(spec["resourceAttributes"]["resource"], "models");
        assert_eq!(spec["extra"], json!({"k": ["v"]}), "told as it was told");
        let ann = spec["user"] == "system:serviceaccount:team:ann";
        json!({"allowed": ann, "reason": "as a role says"})
    };
    Some((201, json!({"kind": "Review", "status": status}).to_string()))
}

fn ann() -> Result<Option<String>, AuthFailure> {
    Ok(Some("system:serviceaccount:team:ann".to_owned()))
}

#[tokio::test]
async fn a_user_with_the_right_comes_in_and_is_asked_about_once() {
    let server = Server::start(answer).await;
    let bench = bench_with(&server, |_| ());
    for _ in 0..3 {
        assert_eq!(bench.ask("ann").await, ann());
    }
    assert_eq!(server.asked(), 2);
    for _ in 0..3 {
        assert_eq!(bench.ask("bob").await, Err(AuthFailure::Forbidden));
        assert_eq!(bench.ask("eve").await, Ok(None), "perhaps another way's");
    }
    assert_eq!(server.asked(), 5);
    assert_eq!(bench.cluster.remembered(), (3, 2));
}

#[tokio::test]
async fn many_who_come_with_one_token_wait_for_one_answer() {
    let server = Server::start(answer).await;
    let bench = Arc::new(bench_with(&server, |_| ()));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let bench = bench.clone();
        asking.spawn(async move { bench.ask("ann").await });
    }
    while let Some(asked) = asking.join_next().await {
        assert_eq!(asked.unwrap(), ann());
    }
    assert_eq!(server.asked(), 2);
    assert_eq!(bench.cluster.waiting(), 0);
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_gone_when_its_answer_is_forgotten() {
    let has = Arc::new(AtomicBool::new(true));
    let now = has.clone();
    let server = Server::start(move |path, body| {
        if path == TOKENS || now.load(Ordering::SeqCst) {
            return answer(path, body);
        }
        Some((201, json!({"status": {"allowed": false}}).to_string()))
    })
    .await;
    let bench = bench_with(&server, |spec| {
        spec.life = Duration::from_millis(50);
        spec.denied_life = Duration::from_millis(50);
    });
    assert_eq!(bench.ask("ann").await, ann());
    has.store(false, Ordering::SeqCst);
    let until = async |wanted: Result<Option<String>, AuthFailure>| {
        within(async {
            while bench.ask("ann").await != wanted {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    };
    until(Err(AuthFailure::Forbidden)).await;
    has.store(true, Ordering::SeqCst);
    until(ann()).await;
}

/// A configuration that follows another may keep the cluster, and give its routes other rights.
#[tokio::test]
async fn what_is_remembered_of_one_right_says_nothing_of_another() {
    let server = Server::start(answer).await;
    let bench = bench_with(&server, |_| ());
    assert_eq!(bench.ask("ann").await, ann());
    server.answers(|path, body| match path {
        TOKENS => answer(path, body),
        _ => {
            let name = &body["spec"]["resourceAttributes"]["name"];
            let status = json!({"status": {"allowed": name == "m"}});
            Some((201, status.to_string()))
        }
    });
    let right = |name: &str| Access {
        group: "serving.example.org".to_owned(),
        resource: "models".to_owned(),
        namespace: Some("team".to_owned()),
        name: Some(name.to_owned()),
        verb: "get".to_owned(),
        ..Access::default()
    };
    let way = |name: &str| KubernetesWay::new(bench.cluster.clone(), Some(right(name)));
    let (same, other) = (way("m"), way("n"));
    let asked = server.asked();
    assert_eq!(ask(&same as &dyn Way, "ann").await, ann());
    assert_eq!(server.asked(), asked, "the same right is remembered");
    let refused = ask(&other as &dyn Way, "ann").await;
    assert_eq!(refused, Err(AuthFailure::Forbidden));
}

#[tokio::test]
async fn whatever_goes_wrong_nobody_is_let_in() {
    for (what, told) in [
        ("an error", Some((500, "{}".to_owned()))),
        ("no right to ask", Some((403, "{}".to_owned()))),
        ("our own token is none", Some((401, "{}".to_owned()))),
        ("no JSON", Some((201, "<html>".to_owned()))),
        ("no status", Some((201, "{}".to_owned()))),
        (
            "a type of its own",
            Some((201, r#"{"status":{"authenticated":"yes"}}"#.to_owned())),
        ),
        (
            "nobody",
            Some((
                201,
                r#"{"status":{"authenticated":true,"audiences":["models"]}}"#.to_owned(),
            )),
        ),
        ("too much", Some((201, "x".repeat(1 << 20)))),
        ("nothing", None),
    ] {
        let server = Server::start(move |_, _| told.clone()).await;
        let bench = bench_with(&server, |spec| spec.timeout = Duration::from_millis(200));
        assert_eq!(bench.ask("ann").await, Err(AuthFailure::Away), "{what}");
        let asked = server.asked();
        assert_eq!(bench.ask("ann").await, Err(AuthFailure::Away), "{what}");
        assert_eq!(server.asked(), asked, "{what}: not asked again at once");
    }
    // Nobody listens there.
    let server = Server::start(answer).await;
    let bench = bench_with(&server, |_| ());
    drop(server);
    assert_eq!(bench.ask("ann").await, Err(AuthFailure::Away));
}

#[tokio::test]
async fn a_right_that_nobody_can_tell_of_is_none() {
    let server = Server::start(|path, body| match path {
        TOKENS => answer(path, body),
        _ => Some((500, String::new())),
    })
    .await;
    let bench = bench_with(&server, |_| ());
    assert_eq!(bench.ask("ann").await, Err(AuthFailure::Away));
    server.answers(|path, body| match path {
        TOKENS => answer(path, body),
        _ => Some((
            201,
            json!({"status": {"allowed": true, "denied": true}}).to_string(),
        )),
    });
    within(async {
        while bench.ask("ann").await != Err(AuthFailure::Forbidden) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_for_another_audience_is_nobodys() {
    let server = Server::start(answer).await;
    let bench = bench_with(&server, |spec| spec.audiences = vec!["others".to_owned()]);
    assert_eq!(bench.ask("ann").await, Ok(None));
}

#[tokio::test]
async fn a_user_without_a_tenant_is_a_stranger() {
    let server = Server::start(answer).await;
    let bench = bench_with(&server, |spec| {
        spec.users = vec![user("system:serviceaccount:other:*", "other")];
    });
    assert_eq!(bench.ask("ann").await, Err(AuthFailure::Stranger));
    let bench = bench_with(&server, |spec| {
        spec.users = Vec::new();
        spec.tenant = Some(Tenant::plain("rest"));
    });
    assert_eq!(bench.ask("ann").await, ann());
}

#[tokio::test]
async fn those_who_wait_for_the_api_are_bounded() {
    let server = Server::start(|_, _| None).await;
    let bench = Arc::new(bench_with(&server, |spec| spec.waiting = 3));
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..20 {
        let bench = bench.clone();
        asking.spawn(async move { bench.ask(&format!("t{number}")).await });
    }
    for _ in 0..17 {
        let asked = within(asking.join_next()).await.unwrap();
        assert_eq!(asked.unwrap(), Err(AuthFailure::Away));
    }
    assert_eq!(bench.cluster.waiting(), 3);
}

#[tokio::test]
async fn answers_that_are_kept_are_bounded() {
    let server = Server::start(answer).await;
    let bench = bench_with(&server, |spec| spec.remembered = 8);
    for number in 0..300 {
        assert_eq!(bench.ask(&format!("t{number}")).await, Ok(None));
    }
    let (tokens, _) = bench.cluster.remembered();
    assert!(tokens <= 64, "{tokens}");
}
