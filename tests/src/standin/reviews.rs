//! A stand-in for the API server of a Kubernetes cluster: tokens, users, and the rights that they have.
//!
//! No cluster runs here. What it answers is as the Kubernetes API reference has it ("TokenReview" of
//! `authentication.k8s.io/v1`, "SubjectAccessReview" of `authorization.k8s.io/v1`): 201 with a status;
//! 401 to who brings no good token of its own; `authenticated: false` with an `error` for a token that
//! is none, or for another audience.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::line;
use crate::fake::http1::{self, Act, Received};

/// What it knows.
#[derive(Default)]
struct Known {
    /// Users by their tokens.
    users: BTreeMap<String, String>,
    /// Who may do what: user, verb, kind, namespace and name.
    rights: BTreeSet<[String; 5]>,
    /// What it does instead of answering.
    instead: Option<Instead>,
    reviews: usize,
    questions: usize,
}

/// What it does instead of answering.
#[derive(Clone, Debug)]
pub enum Instead {
    /// It fails.
    Status(u16),
    /// It says nothing.
    Silence,
    /// It closes the connection.
    Close,
}

/// The token that whoever asks has to have.
pub const OWN: &str = "token-of-the-proxy";
/// What tokens are for.
pub const AUDIENCE: &str = "models";

/// An API server.
pub struct Cluster {
    /// Who answers.
    pub server: http1::Worker,
    known: Arc<Mutex<Known>>,
}

impl Cluster {
    /// One in which nobody has a token.
    pub async fn start() -> Self {
        let known = Arc::new(Mutex::new(Known::default()));
        let asked = known.clone();
        let server = http1::Worker::start(move |received| {
            let mut known = asked.lock().expect("nobody panics with it");
            answer(&mut known, received)
        })
        .await;
        Self { server, known }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.lock().expect("nobody panics with it"))
    }

    /// Gives a user a token.
    ///
    /// # Panics
    /// When a test has panicked with it, as all of these.
    pub fn give_token(&self, token: &str, user: &str) {
        self.with(|known| known.users.insert(token.to_owned(), user.to_owned()));
    }

    /// Takes a token away.
    pub fn take_token(&self, token: &str) {
        self.with(|known| known.users.remove(token));
    }

    /// Gives a user the right to do something with `KIND NAMESPACE/NAME`.
    pub fn give_right(&self, user: &str, verb: &str, what: [&str; 3]) {
        self.with(|known| known.rights.insert(right(user, verb, what)));
    }

    /// Takes it away.
    pub fn take_right(&self, user: &str, verb: &str, what: [&str; 3]) {
        self.with(|known| known.rights.remove(&right(user, verb, what)));
    }

    /// From now on it does this, or answers again.
    pub fn does(&self, instead: Option<Instead>) {
        self.with(|known| known.instead = instead);
    }

    /// How often it was asked about tokens, and about rights.
    #[must_use]
    pub fn asked(&self) -> (usize, usize) {
        self.with(|known| (known.reviews, known.questions))
    }
}

fn right(user: &str, verb: &str, [kind, namespace, name]: [&str; 3]) -> [String; 5] {
    [user, verb, kind, namespace, name].map(str::to_owned)
}

fn answer(known: &mut Known, received: &Received) -> Vec<Act> {
    let (method, path) = line(received);
    let asked: Value = serde_json::from_slice(&received.body).unwrap_or_default();
    let spec = &asked["spec"];
    let reviewed = path == "/apis/authentication.k8s.io/v1/tokenreviews";
    match reviewed {
        true => known.reviews += 1,
        false => known.questions += 1,
    }
    match &known.instead {
        Some(Instead::Status(status)) => return vec![http1::json(*status, &json!({}))],
        Some(Instead::Silence) => return vec![Act::Hold],
        Some(Instead::Close) => return vec![Act::Close],
        None => {}
    }
    let own = format!("Bearer {OWN}");
    if received.head.get("authorization") != Some(own.as_str()) {
        let status = json!({"kind": "Status", "status": "Failure", "code": 401});
        return vec![http1::json(401, &status)];
    }
    let status = match (method, path) {
        ("POST", _) if reviewed => review(known, spec),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews") => access(known, spec),
        _ => return vec![http1::json(404, &json!({"kind": "Status", "code": 404}))],
    };
    let mut told = asked.clone();
    told["status"] = status;
    vec![http1::json(201, &told)]
}

fn review(known: &Known, spec: &Value) -> Value {
    let token = spec["token"].as_str().unwrap_or_default();
    let audiences = spec["audiences"].as_array().cloned().unwrap_or_default();
    let meant = audiences.iter().any(|audience| audience == AUDIENCE);
    match known.users.get(token) {
        Some(user) if meant => json!({
            "authenticated": true,
            "user": {
                "username": user,
                "uid": "0c6a5f5e-0000-4000-8000-000000000000",
                "groups": ["system:serviceaccounts", "system:authenticated"],
                "extra": {"authentication.kubernetes.io/credential-id": ["JTI=1"]},
            },
            "audiences": [AUDIENCE],
        }),
        _ => {
            json!({"authenticated": false, "error": "[invalid bearer token, token lookup failed]"})
        }
    }
}

fn access(known: &Known, spec: &Value) -> Value {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let what = &spec["resourceAttributes"];
    let wanted = [
        text(&spec["user"]),
        text(&what["verb"]),
        text(&what["resource"]),
        text(&what["namespace"]),
        text(&what["name"]),
    ];
    match known.rights.contains(&wanted) {
        true => json!({"allowed": true, "reason": "RBAC: allowed by RoleBinding"}),
        false => json!({"allowed": false}),
    }
}
