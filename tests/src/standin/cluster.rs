//! A stand-in for the API server of a Kubernetes cluster, as far as lists and watches go. It is none:
//! what a test shows with it holds by the reference only, which is the Kubernetes documentation, page
//! "Kubernetes API concepts", sections "Efficient detection of changes", "Watch bookmarks",
//! "410 Gone responses" and "Retrieving large results sets in chunks", and the API reference of
//! EndpointSlice `discovery.k8s.io/v1`.
//!
//! * A list gives all objects, or a page of them with `continue`, and the version of the whole.
//! * A watch gives every change since a version, a JSON object a line, until `timeoutSeconds` are over.
//! * A version that was forgotten is answered by 410, or within a watch by an `ERROR` with that code.
//!
//! What a real server cannot be made to do on command, it does: forgetting, going away, talking
//! nonsense, refusing everybody.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::wire1::Wire;

/// Path of the EndpointSlices of a namespace.
pub const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/models/endpointslices";
/// Path of the services of one model each.
pub const SERVICES: &str = "/apis/serving.kserve.io/v1beta1/namespaces/models/inferenceservices";
/// Path of the services of language models.
pub const LLMS: &str = "/apis/serving.kserve.io/v1alpha1/namespaces/models/llminferenceservices";

/// The server. Dropped, it is gone with all of its connections.
pub struct Cluster {
    /// Where it listens.
    pub address: SocketAddr,
    desk: Arc<Desk>,
    task: JoinHandle<()>,
}

struct Desk {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    version: u64,
    /// Changes before this one are forgotten.
    oldest: u64,
    /// By path and name.
    objects: BTreeMap<(String, String), Value>,
    changes: Vec<Change>,
    /// Objects of a page; 0: all.
    page: usize,
    /// What everybody is answered.
    refusal: Option<u16>,
    token: Option<String>,
    /// Goes up when all watches are cut.
    cut: u64,
    lists: Vec<String>,
    watches: Vec<String>,
}

struct Change {
    version: u64,
    path: String,
    line: String,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cluster {
    /// A cluster without objects.
    ///
    /// # Panics
    /// When the machine has no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let desk = Arc::new(Desk {
            state: Mutex::new(State {
                version: 100,
                ..State::default()
            }),
            changed: watch::Sender::new(()),
        });
        let task = tokio::spawn(accept(listener, desk.clone()));
        Self {
            address,
            desk,
            task,
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let given = change(&mut self.desk.state.lock().expect("nobody panics with it"));
        self.desk.changed.send_replace(());
        given
    }

    /// Only who shows this token is heard.
    pub fn demand(&self, token: &str) {
        self.with(|state| state.token = Some(token.to_owned()));
    }

    /// Lists come in pages of so many objects.
    pub fn pages_of(&self, objects: usize) {
        self.with(|state| state.page = objects);
    }

    /// Everybody is answered with this status; none: as is right.
    pub fn refuse(&self, status: Option<u16>) {
        self.with(|state| state.refusal = status);
    }

    /// Adds an object, or changes it.
    pub fn put(&self, path: &str, name: &str, mut object: Value) {
        self.with(|state| {
            state.version += 1;
            object["metadata"]["name"] = name.into();
            object["metadata"]["namespace"] = "models".into();
            object["metadata"]["resourceVersion"] = state.version.to_string().into();
            let key = (path.to_owned(), name.to_owned());
            let before = state.objects.insert(key, object.clone());
            let kind = if before.is_some() {
                "MODIFIED"
            } else {
                "ADDED"
            };
            state.tell(path, &json!({"type": kind, "object": object}));
        });
    }

    /// Deletes an object.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn delete(&self, path: &str, name: &str) {
        self.with(|state| {
            state.version += 1;
            let key = (path.to_owned(), name.to_owned());
            let mut object = state.objects.remove(&key).expect("it is there");
            object["metadata"]["resourceVersion"] = state.version.to_string().into();
            state.tell(path, &json!({"type": "DELETED", "object": object}));
        });
    }

    /// Something happens elsewhere, and watches are told how far the versions have come.
    pub fn bookmark(&self, path: &str) {
        self.with(|state| {
            state.version += 7;
            let version = state.version.to_string();
            let object = json!({"metadata": {"resourceVersion": version}});
            state.tell(path, &json!({"type": "BOOKMARK", "object": object}));
        });
    }

    /// Says a line of its own to those that watch.
    pub fn say(&self, path: &str, line: &str) {
        self.with(|state| {
            state.version += 1;
            state.changes.push(Change {
                version: state.version,
                path: path.to_owned(),
                line: line.to_owned(),
            });
        });
    }

    /// Forgets every version so far, and takes an object away meanwhile, of which no watch is told.
    pub fn forget(&self, path: &str, gone: &str) {
        self.with(|state| {
            state.objects.remove(&(path.to_owned(), gone.to_owned()));
            state.version += 1;
            state.oldest = state.version;
            state.changes.clear();
        });
    }

    /// Cuts all watches.
    pub fn cut(&self) {
        self.with(|state| state.cut += 1);
    }

    /// The queries of the lists so far.
    #[must_use]
    pub fn lists(&self) -> Vec<String> {
        self.with(|state| state.lists.clone())
    }

    /// The queries of the watches so far.
    #[must_use]
    pub fn watches(&self) -> Vec<String> {
        self.with(|state| state.watches.clone())
    }

    /// Waits until it has been asked for so many watches.
    pub async fn watched(&self, count: usize) {
        crate::eventually(format!("{count} watches"), async || {
            (self.watches().len() >= count).then_some(())
        })
        .await;
    }
}

impl State {
    fn tell(&mut self, path: &str, event: &Value) {
        self.changes.push(Change {
            version: self.version,
            path: path.to_owned(),
            line: event.to_string(),
        });
    }
}

/// A slice of one address family, with the port `http`: pod, address and conditions each.
#[must_use]
pub fn slice(service: &str, family: &str, endpoints: &[(&str, SocketAddr, Value)]) -> Value {
    let port = endpoints
        .first()
        .map_or(80, |(_, address, _)| address.port());
    let endpoints = endpoints.iter().map(|(pod, address, conditions)| {
        json!({
            "addresses": [address.ip().to_string()], "conditions": conditions,
            "targetRef": {"kind": "Pod", "name": pod, "uid": format!("uid-of-{pod}")},
        })
    });
    json!({
        "metadata": {"labels": {"kubernetes.io/service-name": service}},
        "addressType": family,
        "endpoints": endpoints.collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    })
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, desk.clone()));
    }
}

async fn serve(stream: TcpStream, desk: Arc<Desk>) {
    let mut wire = Wire::new(Box::new(stream));
    while let Ok(Some(head)) = wire.head().await {
        let target = head.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let refusal = {
            let state = desk.state.lock().expect("nobody panics with it");
            let shown = head.get("authorization").unwrap_or_default();
            let stranger = state
                .token
                .as_ref()
                .is_some_and(|token| shown != format!("Bearer {token}"));
            state.refusal.or(stranger.then_some(401))
        };
        if let Some(status) = refusal {
            note(&desk, query);
            let said = json!({"kind": "Status", "message": "not for you", "code": status});
            if answer(&mut wire, status, &said).await.is_err() {
                return;
            }
        } else if parameter(query, "watch").is_some() {
            note(&desk, query);
            // A watch ends with its connection.
            let _ = stream_changes(&mut wire, &desk, path, query).await;
            return;
        } else {
            let list = list(&desk, path, query);
            note(&desk, query);
            if answer(&mut wire, 200, &list).await.is_err() {
                return;
            }
        }
    }
}

fn note(desk: &Desk, query: &str) {
    let mut state = desk.state.lock().expect("nobody panics with it");
    match parameter(query, "watch") {
        Some(_) => state.watches.push(query.to_owned()),
        None => state.lists.push(query.to_owned()),
    }
}

async fn answer(wire: &mut Wire, status: u16, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} Whatever\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    wire.write(format!("{head}{body}").as_bytes()).await
}

fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Whether an object has the one label that is asked for; of the encoded form only what clients send.
fn selected(object: &Value, query: &str) -> bool {
    let Some(selector) = parameter(query, "labelSelector") else {
        return true;
    };
    let selector = selector.replace("%2F", "/").replace("%3D", "=");
    let Some((label, value)) = selector.split_once('=') else {
        return false;
    };
    object["metadata"]["labels"][label] == value
}

fn list(desk: &Desk, path: &str, query: &str) -> Value {
    let state = desk.state.lock().expect("nobody panics with it");
    let of_path = state.objects.iter().filter(|((at, _), _)| at == path);
    let all: Vec<&Value> = of_path
        .map(|(_, object)| object)
        .filter(|object| selected(object, query))
        .collect();
    let page = if state.page == 0 {
        all.len().max(1)
    } else {
        state.page
    };
    let from = parameter(query, "continue").and_then(|it| it.parse().ok());
    let from: usize = from.unwrap_or(0);
    let items: Vec<&Value> = all.iter().skip(from).take(page).copied().collect();
    let mut metadata = json!({"resourceVersion": state.version.to_string()});
    if from + items.len() < all.len() {
        metadata["continue"] = (from + items.len()).to_string().into();
    }
    json!({"kind": "List", "metadata": metadata, "items": items})
}

async fn stream_changes(
    wire: &mut Wire,
    desk: &Desk,
    path: &str,
    query: &str,
) -> std::io::Result<()> {
    let from = parameter(query, "resourceVersion").and_then(|it| it.parse().ok());
    let mut position: u64 = from.unwrap_or(0);
    let seconds = parameter(query, "timeoutSeconds").and_then(|it| it.parse().ok());
    let over = tokio::time::sleep(Duration::from_secs(seconds.unwrap_or(60)));
    tokio::pin!(over);
    let mut changed = desk.changed.subscribe();
    let (forgotten, cut) = {
        let state = desk.state.lock().expect("nobody panics with it");
        (position < state.oldest, state.cut)
    };
    if forgotten {
        let said = json!({"kind": "Status", "code": 410, "reason": "Expired"});
        return answer(wire, 410, &said).await;
    }
    wire.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
    )
    .await?;
    loop {
        changed.borrow_and_update();
        let (lines, forgotten, is_cut) = {
            let state = desk.state.lock().expect("nobody panics with it");
            let fresh = state
                .changes
                .iter()
                .filter(|change| change.version > position);
            let fresh = fresh.filter(|change| change.path == path);
            let lines: Vec<String> = fresh.map(|change| change.line.clone()).collect();
            let forgotten = position < state.oldest;
            position = state.version;
            (lines, forgotten, state.cut != cut)
        };
        if is_cut {
            return Ok(());
        }
        if forgotten {
            let gone = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410}});
            line(wire, &gone.to_string()).await?;
            return wire.write(b"0\r\n\r\n").await;
        }
        for text in lines {
            line(wire, &text).await?;
        }
        tokio::select! {
            told = changed.changed() => if told.is_err() { return Ok(()) },
            () = &mut over => return wire.write(b"0\r\n\r\n").await,
            read = wire.fill() => if read? == 0 { return Ok(()) },
        }
    }
}

async fn line(wire: &mut Wire, text: &str) -> std::io::Result<()> {
    let text = format!("{text}\n");
    wire.write(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
        .await
}
