//! Every error of the tensor and caikit dialects over sockets, as tables: what went wrong, and with
//! which status, shape and headers the client is told so. The same failure is asked for before a
//! worker of either form, so that it is passed on once and translated once.

mod caikit;
mod kserve;

use tollgate_tests::{
    Proxy,
    client::{Request, Response, grpc, http1},
};

/// A port where nobody listens: one that was free a moment ago.
fn nobody() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the machine has a free port");
    listener.local_addr().expect("it listens")
}

/// What a client over HTTP is told.
struct Told<'a> {
    /// What went wrong, for whoever reads a failure of the test.
    what: &'a str,
    status: u16,
    /// The media type; empty: none is named.
    kind: &'a str,
    /// The members of the body.
    members: &'a [&'a str],
    /// Where the message stands, and what it says.
    message: (&'a str, &'a str),
}

impl Told<'_> {
    fn check(&self, response: &Response) {
        let body = String::from_utf8_lossy(&response.body);
        let what = format!("{}: {:?} {body}", self.what, response.headers);
        assert_eq!(response.status, self.status, "{what}");
        assert_eq!(
            response.header("content-type").unwrap_or_default(),
            self.kind,
            "{what}"
        );
        let length = response.header("content-length").map(str::parse);
        assert_eq!(length, Some(Ok(response.body.len())), "{what}");
        let json = response.json();
        let members: Vec<_> = json.as_object().expect("an object").keys().collect();
        assert_eq!(members, self.members, "{what}");
        let (member, words) = self.message;
        let said = json[member].as_str().unwrap_or_default();
        assert!(said.contains(words), "{what}");
        if let Some(code) = json["code"].as_u64() {
            assert_eq!(code, u64::from(self.status), "{what}");
        }
    }
}

/// A call that fails: its code, and words of its message. Nothing but a status comes.
async fn fails(
    proxy: &Proxy,
    what: &str,
    request: &Request,
    message: &impl prost::Message,
    (code, words): (u32, &str),
) {
    let mut connection = tollgate_tests::client::http2::Connection::open(proxy.http()).await;
    let mut call = grpc::Call::begin(&mut connection, request).await;
    call.send(message, true).await;
    assert!(call.next().await.is_none(), "{what}: a message came");
    let status = call.status();
    assert_eq!(status.code, code, "{what}: {status:?}");
    assert!(status.message.contains(words), "{what}: {status:?}");
    let kind = call.headers.get("content-type").map(|kind| kind.as_bytes());
    assert!(
        kind.is_some_and(|kind| kind.starts_with(b"application/grpc")),
        "{what}"
    );
}

async fn ask(proxy: &Proxy, request: &Request) -> Response {
    http1::ask(proxy.http(), request).await
}
