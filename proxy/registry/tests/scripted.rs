//! Registries that answer as they are told: tokens, redirects, lies about digests and sizes,
//! silence. What a real one does is in the black-box tests.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tollgate_config::Reference;
use tollgate_registry::{Pulled, RegistryError, Settings, Store, pull, resolve};

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// What came, and what it is answered.
type Script = dyn Fn(&Asked) -> Answer + Send + Sync;

#[derive(Clone, Debug)]
struct Asked {
    path: String,
    authorization: Option<String>,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Bytes of the body that are sent; the length says all.
    sent: usize,
    /// Nothing is answered at all.
    silent: bool,
}

fn answer(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    let body = body.into();
    Answer {
        status,
        headers: Vec::new(),
        sent: body.len(),
        body,
        silent: false,
    }
}

impl Answer {
    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A server that lives as long as the test program, and what it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn start(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(script);
        let journal = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, journal) = (script.clone(), journal.clone());
                std::thread::spawn(move || serve(stream, &script, &journal));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn reference(&self, behind: &str) -> Reference {
        Reference::parse(&format!("{}/mine{behind}", self.address)).unwrap()
    }
}

fn serve(mut stream: TcpStream, script: &Arc<Script>, journal: &Mutex<Vec<Asked>>) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let field = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    };
    let asked = Asked {
        path: head.split(' ').nth(1).unwrap().to_owned(),
        authorization: field("authorization"),
    };
    journal.lock().unwrap().push(asked.clone());
    let answer = script(&asked);
    if answer.silent {
        // Until the other side has had enough.
        let _ = stream.read(&mut byte);
        return None;
    }
    let mut text = format!(
        "HTTP/1.1 {} x\r\nContent-Length: {}\r\nConnection: close\r\n",
        answer.status,
        answer.body.len()
    );
    for (name, value) in &answer.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes()).ok()?;
    stream.write_all(&answer.body[..answer.sent]).ok()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn manifest() -> String {
    let layer = sha256(COMPONENT);
    let size = COMPONENT.len();
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.wasm.config.v0+json","digest":"sha256:{layer}","size":2}},"layers":[{{"mediaType":"application/wasm","digest":"sha256:{layer}","size":{size}}}]}}"#
    )
}

/// A registry that has `mine:latest`.
fn whole(asked: &Asked) -> Answer {
    let blob = format!("/v2/mine/blobs/sha256:{}", sha256(COMPONENT));
    let exact = format!(
        "/v2/mine/manifests/sha256:{}",
        sha256(manifest().as_bytes())
    );
    match asked.path.as_str() {
        "/v2/mine/manifests/latest" => answer(200, manifest()),
        path if path == exact => answer(200, manifest()),
        path if path == blob => answer(200, COMPONENT),
        _ => answer(
            404,
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"never heard of it"}]}"#,
        ),
    }
}

fn settings() -> Settings {
    Settings {
        timeout: Duration::from_secs(20),
        ..Settings::default()
    }
}

fn pulled(server: &Server, store: Option<&Store>) -> Result<Pulled, RegistryError> {
    pull(&server.reference(""), &settings(), store)
}

fn credentials(server: &Server) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    // user:secret
    let text = format!(
        r#"{{"auths":{{"{}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#,
        server.address
    );
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn a_component_comes_with_its_digest_and_by_it() {
    let server = Server::start(whole);
    let got = pulled(&server, None).unwrap();
    assert_eq!(got.component, COMPONENT);
    assert_eq!(got.manifest, sha256(manifest().as_bytes()));
    assert_eq!((got.signature, got.away), (None, None));
    let exact = server.reference(&format!("@sha256:{}", got.manifest));
    assert_eq!(
        pull(&exact, &settings(), None).unwrap().component,
        COMPONENT
    );
    assert_eq!(
        resolve(&server.reference(":latest"), &settings()).unwrap(),
        got.manifest
    );
}

#[test]
fn what_is_not_there_is_told_with_the_registrys_words() {
    let server = Server::start(whole);
    let error = pull(&server.reference(":v2"), &settings(), None).unwrap_err();
    let said = error.to_string();
    assert!(!error.is_away());
    assert!(
        said.contains("has no mine:v2 (MANIFEST_UNKNOWN: never heard of it)"),
        "{said}"
    );
}

#[test]
fn a_token_is_fetched_with_credentials_and_asked_for_once() {
    let tokens = Server::start(|asked| {
        assert!(
            asked.path.contains("scope=repository%3Amine%3Apull"),
            "{}",
            asked.path
        );
        assert!(
            asked.path.contains("service=the%20registry"),
            "{}",
            asked.path
        );
        match asked.authorization.as_deref() {
            Some("Basic dXNlcjpzZWNyZXQ=") => answer(200, r#"{"token":"good"}"#),
            None => answer(200, r#"{"access_token":"anybody"}"#),
            _ => answer(401, ""),
        }
    });
    let realm = format!("http://{}/token?a=b", tokens.address);
    let server = Server::start(move |asked| {
        if asked.authorization.as_deref() == Some("Bearer good") {
            return whole(asked);
        }
        let challenge = format!(
            r#"Bearer realm="{realm}",service="the registry",scope="repository:mine:pull""#
        );
        answer(401, "").header("WWW-Authenticate", challenge)
    });
    // Anybody's token is not enough here.
    let said = pulled(&server, None).unwrap_err().to_string();
    assert!(said.contains("registries.credentials"), "{said}");

    let file = credentials(&server);
    let settings = Settings {
        credentials: Some(file.path().to_owned()),
        ..settings()
    };
    let got = pull(&server.reference(""), &settings, None).unwrap();
    assert_eq!(got.component, COMPONENT);
    assert_eq!(tokens.asked().len(), 2, "{:?}", tokens.asked());
    assert!(tokens.asked()[1].path.contains("account=user"));
    // The registry itself never sees the password.
    let seen = server.asked().into_iter().filter_map(|it| it.authorization);
    assert!(seen.into_iter().all(|it| it.starts_with("Bearer ")));
}

#[test]
fn a_password_is_given_to_who_asks_for_it_and_to_nobody_else() {
    let elsewhere = Server::start(|asked| {
        assert_eq!(asked.authorization, None, "it is another host");
        answer(200, COMPONENT)
    });
    let away = elsewhere.address;
    let server = Server::start(move |asked| {
        if asked.authorization.as_deref() != Some("Basic dXNlcjpzZWNyZXQ=") {
            return answer(401, "").header("WWW-Authenticate", "Basic realm=\"here\"");
        }
        match asked.path.contains("/blobs/") {
            true => answer(307, "").header("Location", format!("http://{away}/there?x=y")),
            false => whole(asked),
        }
    });
    let said = pulled(&server, None).unwrap_err().to_string();
    assert!(
        said.contains("lets nobody in without credentials"),
        "{said}"
    );
    let file = credentials(&server);
    let mut settings = Settings {
        credentials: Some(file.path().to_owned()),
        ..settings()
    };
    let got = pull(&server.reference(""), &settings, None).unwrap();
    assert_eq!(got.component, COMPONENT);
    assert_eq!(elsewhere.asked()[0].path, "/there?x=y");

    let wrong = std::fs::read_to_string(file.path()).unwrap();
    std::fs::write(
        file.path(),
        wrong.replace("dXNlcjpzZWNyZXQ=", "dXNlcjpvdGhlcg=="),
    )
    .unwrap();
    let said = pull(&server.reference(""), &settings, None).unwrap_err();
    let said = said.to_string();
    assert!(said.contains("does not take those that"), "{said}");
    assert!(
        !said.contains("other") && !said.contains("secret"),
        "{said}"
    );
    settings.credentials = Some("/nowhere/config.json".into());
    let said = pull(&server.reference(""), &settings, None).unwrap_err();
    assert!(said.to_string().contains("/nowhere/config.json"), "{said}");
}

#[test]
fn bytes_that_are_not_those_that_were_named_are_refused() {
    let other = Server::start(|asked| match asked.path.contains("/blobs/") {
        true => answer(200, b"\0asm\x0d\0\x01\x01".as_slice()),
        false => whole(asked),
    });
    let said = pulled(&other, None).unwrap_err().to_string();
    assert!(said.contains("the component came with SHA-256"), "{said}");

    let longer = Server::start(|asked| match asked.path.contains("/blobs/") {
        true => answer(200, [COMPONENT, COMPONENT].concat()),
        false => whole(asked),
    });
    let error = pulled(&longer, None).unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");

    let exact = format!("@sha256:{}", "ab".repeat(32));
    let liar = Server::start(|_| answer(200, manifest()));
    let said = pull(&liar.reference(&exact), &settings(), None).unwrap_err();
    assert!(
        said.to_string().contains("the manifest came with SHA-256"),
        "{said}"
    );
}

#[test]
fn a_pull_is_bounded_in_bytes_in_redirects_and_in_time() {
    let server = Server::start(whole);
    let small = Settings {
        largest: 7,
        ..settings()
    };
    let said = pull(&server.reference(""), &small, None)
        .unwrap_err()
        .to_string();
    assert!(said.contains("has 8 bytes, and 7 are taken"), "{said}");
    assert_eq!(server.asked().len(), 1, "it is not even begun");

    let endless = Server::start(|_| answer(200, vec![b' '; 5 << 20]));
    let error = pulled(&endless, None).unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");

    let round = Server::start(|asked| answer(302, "").header("Location", asked.path.clone()));
    let said = pulled(&round, None).unwrap_err().to_string();
    assert!(said.contains("more than 5 redirects"), "{said}");
    assert_eq!(round.asked().len(), 6);

    let silent = Server::start(|_| Answer {
        silent: true,
        ..answer(200, "")
    });
    let short = Settings {
        timeout: Duration::from_millis(300),
        ..settings()
    };
    let error = pull(&silent.reference(""), &short, None).unwrap_err();
    assert!(matches!(error, RegistryError::Timeout(_)), "{error}");
}

#[test]
fn an_answer_that_breaks_off_is_no_component() {
    let broken = Server::start(|asked| match asked.path.contains("/blobs/") {
        true => Answer {
            sent: 3,
            ..answer(200, COMPONENT)
        },
        false => whole(asked),
    });
    let error = pulled(&broken, None).unwrap_err();
    assert!(
        error.is_away() && error.to_string().contains("breaks off"),
        "{error}"
    );
}

#[test]
fn what_was_pulled_is_kept_and_serves_while_the_registry_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), 1 << 20).unwrap();
    let down = Arc::new(std::sync::atomic::AtomicU16::new(0));
    let state = down.clone();
    let server =
        Server::start(
            move |asked| match state.load(std::sync::atomic::Ordering::Relaxed) {
                0 => whole(asked),
                status => answer(status, ""),
            },
        );
    let nothing = Store::open(&folder.path().join("other"), 1 << 20).unwrap();
    let first = pulled(&server, Some(&store)).unwrap();
    assert_eq!(server.asked().len(), 2);
    // The tag is asked again, and the component is not.
    pulled(&server, Some(&store)).unwrap();
    assert_eq!(server.asked().len(), 3);
    // A digest needs nobody.
    let exact = server.reference(&format!("@sha256:{}", first.manifest));
    assert_eq!(pull(&exact, &settings(), Some(&store)).unwrap().away, None);
    assert_eq!(server.asked().len(), 3);

    for (status, away) in [(503, true), (429, true), (404, false), (403, false)] {
        down.store(status, std::sync::atomic::Ordering::Relaxed);
        let got = pulled(&server, Some(&store));
        match away {
            true => {
                let got = got.unwrap();
                assert_eq!(got.component, COMPONENT);
                assert!(got.away.unwrap().contains(&format!("status {status}")));
            }
            // It is there, and says no.
            false => assert!(got.is_err(), "{status}"),
        }
        assert!(pulled(&server, Some(&nothing)).is_err(), "{status}");
    }
    // A damaged copy is as good as none.
    down.store(503, std::sync::atomic::Ordering::Relaxed);
    let blob = folder.path().join(format!("{}.blob", sha256(COMPONENT)));
    std::fs::write(&blob, b"\0asm\x0d\0\x01\x01").unwrap();
    assert!(pulled(&server, Some(&store)).is_err());
    down.store(0, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(pulled(&server, Some(&store)).unwrap().component, COMPONENT);
}

/// Somebody's gateway answers for it.
#[test]
fn what_is_no_registry_is_told() {
    let page = Server::start(|_| answer(200, "<html>log in</html>"));
    let said = pulled(&page, None).unwrap_err().to_string();
    assert!(
        said.contains("no WebAssembly component by its manifest"),
        "{said}"
    );
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let gone = Reference::parse(&format!("{nobody}/mine")).unwrap();
    let error = pull(&gone, &settings(), None).unwrap_err();
    assert!(
        error.is_away() && error.to_string().contains("not to be reached"),
        "{error}"
    );
}
