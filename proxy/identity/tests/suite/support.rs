//! A server that answers what a test says, and tokens that it signs.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tollgate_identity::{AuthFailure, Clock, Identity, Presented, Site, SiteSpec, Way};

/// Nothing in a test takes this long, but for a defect.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("within the ceiling")
}

/// Status and body of an answer; none: it never comes.
pub(crate) type Answer = Option<(u16, String)>;
type Script = dyn Fn(&str, &Value) -> Answer + Send + Sync;

/// A server on this machine. Dropped, it is gone.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
    script: Arc<Mutex<Arc<Script>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers by path, without its query, and body.
    pub(crate) async fn start(
        script: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let script: Arc<Mutex<Arc<Script>>> = Arc::new(Mutex::new(Arc::new(script)));
        let (count, told) = (asked.clone(), script.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, count.clone(), told.clone()));
            }
        });
        Self {
            address,
            asked,
            script,
            task,
        }
    }

    /// From now on it answers this.
    pub(crate) fn answers(&self, script: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn site(&self, path: &str) -> Site {
        Site::new(SiteSpec {
            authority: self.address.to_string(),
            path: path.to_owned(),
            tls: false,
            ca_pem: None,
            connections: 4,
            waiting: 64,
            connect_timeout: Duration::from_secs(5),
        })
        .unwrap()
    }
}

async fn serve(mut socket: TcpStream, count: Arc<AtomicUsize>, script: Arc<Mutex<Arc<Script>>>) {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if socket.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(read[..end].to_vec()).unwrap();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().unwrap())
        });
        let whole = end + length.unwrap_or(0);
        while read.len() < whole {
            if socket.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body = serde_json::from_slice(&read[end..whole]).unwrap_or(Value::Null);
        read.drain(..whole);
        count.fetch_add(1, Ordering::SeqCst);
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let script = script.lock().unwrap().clone();
        let Some((status, text)) = script(&path, &body) else {
            return std::future::pending().await;
        };
        let answer = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        );
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Who signs tokens.
pub(crate) struct Signer {
    kid: String,
    pair: Ed25519KeyPair,
}

impl Signer {
    pub(crate) fn new(kid: &str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self {
            kid: kid.to_owned(),
            pair: Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap(),
        }
    }

    /// Its public key, as issuers publish it.
    pub(crate) fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "alg": "EdDSA", "x": x})
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": self.kid});
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A set of the keys of these.
pub(crate) fn set(signers: &[&Signer]) -> String {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({"keys": keys}).to_string()
}

/// A clock that a test moves.
pub(crate) fn clock(now: &Arc<AtomicU64>) -> Clock {
    let now = now.clone();
    Clock::new(move || now.load(Ordering::SeqCst))
}

/// The name of who asks with a token.
pub(crate) async fn ask(way: &dyn Way, token: &str) -> Result<Option<String>, AuthFailure> {
    let presented = Presented {
        bearer: Some(token.as_bytes()),
        ..Presented::default()
    };
    let outcome = within(way.look(presented).settled()).await;
    outcome.map(|known| known.map(|identity: Arc<Identity>| identity.name().to_owned()))
}
