//! Another process takes the place of the one that serves, and nobody is refused.

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::task::JoinSet;

use super::*;

/// Requests go on until it is told to end; what they came to.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    answered: AtomicUsize,
    /// A connection took a request no more, and said so before: it was sent on another one.
    moved: AtomicUsize,
    /// Failures, by what they were.
    failed: Mutex<Vec<String>>,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn fail(&self, what: String) {
        self.failed
            .lock()
            .expect("nobody panics with it")
            .push(what);
    }

    fn count(&self, response: &Response, stream: bool) {
        let whole = response.status == 200
            && response.end == End::Whole
            && (!stream || sse::json(&response.text()).1);
        if whole {
            self.answered.fetch_add(1, Ordering::Relaxed);
        } else {
            self.fail(format!("{} {:?}", response.status, response.end));
        }
    }

    /// A client of HTTP/1.1 that keeps its connection as long as it is told it may.
    async fn over_http1(self: Arc<Self>, address: SocketAddr, stream: bool) {
        let mut kept: Option<http1::Connection> = None;
        while self.goes_on() {
            let mut connection = match kept.take() {
                Some(connection) => connection,
                // It panics when nobody listens: that is what must not be.
                None => http1::Connection::open(address).await,
            };
            connection.send(&scene::completion(stream)).await;
            match connection.try_response().await {
                None => self.fail("the connection closed without an answer".to_owned()),
                Some(response) => {
                    self.count(&response, stream);
                    if response.header("connection") == Some("close") {
                        self.moved.fetch_add(1, Ordering::Relaxed);
                    } else {
                        kept = Some(connection);
                    }
                }
            }
        }
    }

    /// A client of HTTP/2 that goes elsewhere when it is told to (GOAWAY).
    async fn over_http2(self: Arc<Self>, address: SocketAddr, stream: bool) {
        let mut connection = http2::Connection::open(address).await;
        while self.goes_on() {
            match connection.try_ask(&scene::completion(stream)).await {
                Some(response) => self.count(&response, stream),
                None => {
                    self.moved.fetch_add(1, Ordering::Relaxed);
                    connection = http2::Connection::open(address).await;
                }
            }
        }
    }

    fn begin(self: &Arc<Self>, address: SocketAddr) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for stream in [false, true] {
            for _ in 0..3 {
                clients.spawn(self.clone().over_http1(address, stream));
            }
            clients.spawn(self.clone().over_http2(address, stream));
        }
        clients
    }

    /// Waits until so many more have been answered.
    async fn answers(&self, more: usize) {
        let wanted = self.answered.load(Ordering::Relaxed) + more;
        eventually("requests are answered", async || {
            (self.answered.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    }
}

async fn serving() -> h::Worker {
    h::Worker::start(|received| {
        let asked: Value = serde_json::from_slice(&received.body).expect("JSON");
        if asked["stream"] == true {
            vec![
                h::stream_head(),
                h::event(&scene::chunk("a", None, 1)),
                h::event(&scene::chunk("b", Some("stop"), 2)),
                h::event(&scene::usage_chunk(2)),
                h::event("[DONE]"),
                h::stream_end(),
            ]
        } else {
            vec![h::json(200, &scene::completed("done"))]
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_takes_over_under_load_and_no_request_is_lost() {
    let worker = serving().await;
    let config = format!(
        "{}drain: {{ deadline: 20s }}\n",
        scene::one("openai", worker.address, "", "")
    );
    let mut proxy = Setup::new(&config).start().await;
    let load = Arc::new(Load::default());
    let clients = load.begin(proxy.http());
    load.answers(20).await;
    for round in 1..=2 {
        let former = proxy.upgrade().await;
        assert_ne!(former, proxy.pid());
        // The one before it ends by itself, when its clients have gone elsewhere.
        eventually(
            format!("round {round}: the former process has ended"),
            async || (!is_running(former)).then_some(()),
        )
        .await;
        load.answers(50).await;
        let status = proxy.status().await;
        assert_eq!(status["process"]["pid"], proxy.pid());
        assert_eq!(status["ready"], true);
    }
    load.over.store(true, Ordering::Relaxed);
    let ended = within("clients end", clients.join_all()).await;
    assert_eq!(ended.len(), 8);
    assert_eq!(*load.failed.lock().expect("nobody panics with it"), [""; 0]);
    assert!(
        load.moved.load(Ordering::Relaxed) > 0,
        "everybody had to move"
    );
}

/// Whether a process is there, and has not merely not been waited for.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    let state = stat.ok().and_then(|stat| {
        let (_, rest) = stat.rsplit_once(") ")?;
        rest.chars().next()
    });
    state.is_some_and(|state| state != 'Z')
}

#[tokio::test]
async fn a_stream_ends_where_it_began_while_the_next_process_serves() {
    let worker = held("one").await;
    let mut proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
    let mut stream = begin_stream(&proxy).await;
    worker.journal.holding(0).await;
    proxy.upgrade().await;
    let mut other = begin_stream(&proxy).await;
    worker.journal.holding(1).await;
    worker.release();
    worker.release();
    for stream in [&mut stream, &mut other] {
        let (body, end) = rest(stream).await;
        assert_eq!(end, End::Whole);
        assert!(sse::json(&body).1, "{body}");
    }
}

#[tokio::test]
async fn one_that_does_not_serve_takes_nobodys_place() {
    let worker = named("one").await;
    let proxy = Setup::new(&scene::one("openai", worker.address, "", ""))
        .runtime("watch: 0s")
        .start()
        .await;
    proxy.reconfigure(|yaml| yaml.replace("auth: open", "auth: opne"));
    let refused = proxy.order("upgrade", "").await.with_status(409).text();
    assert!(refused.contains("ended before it served"), "{refused}");
    proxy
        .logged(|line| line.contains("did you mean `open`"))
        .await;
    assert_eq!(text(&complete(&proxy).await), "one");
    assert_eq!(proxy.ask_admin("/readyz").await.status, 200);
    // The same at a signal.
    proxy.ask_for_another();
    proxy
        .logged(|line| line.contains("this process goes on"))
        .await;
    assert_eq!(text(&complete(&proxy).await), "one");
}

#[tokio::test]
async fn the_next_process_has_what_takes_another_one() {
    let worker = named("one").await;
    let mut proxy = Setup::new(&scene::one("openai", worker.address, "", ""))
        .runtime("watch: 0s")
        .start()
        .await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let second = free.local_addr().expect("it has one");
    drop(free);
    proxy.reconfigure(|yaml| {
        yaml.replace("threads: 2", "threads: 3").replace(
            "listeners: [",
            &format!("listeners: [{{ name: second, address: \"{second}\" }}, "),
        )
    });
    assert_eq!(proxy.order("reload", "").await.status, 409);
    proxy.upgrade().await;
    for address in [proxy.http(), second] {
        let got = http1::ask(address, &scene::completion(false)).await;
        assert_eq!(text(&got), "one");
    }
}

#[tokio::test]
async fn while_another_process_is_started_an_operator_is_told_so_and_others_wait() {
    let worker = named("one").await;
    let proxy = Setup::new(&scene::one("openai", worker.address, "", ""))
        .runtime("watch: 0s")
        .start()
        .await;
    let path = proxy.folder().path().join("tollgate.yaml");
    let yaml = std::fs::read_to_string(&path).expect("it is there");
    std::fs::remove_file(&path).expect("it can be removed");
    // Who reads it waits until somebody writes.
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.is_ok_and(|status| status.success()));
    let mut upgrade = http1::Connection::open(proxy.admin()).await;
    upgrade.send(&Request::post_bytes("/upgrade", "")).await;
    proxy
        .logged(|line| line.contains("another process is started"))
        .await;
    let told = proxy.order("reload", "").await.with_status(409).text();
    assert!(told.contains("another process is being started"), "{told}");
    proxy.hangup();
    proxy
        .logged(|line| line.contains("read again when the other process"))
        .await;

    let pipe = path.clone();
    let opened =
        tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(pipe));
    let opened = within("the other process reads", opened).await;
    let mut pipe = opened.expect("no panic").expect("it can be written");
    std::fs::remove_file(&path).expect("it can be removed");
    std::fs::write(&path, yaml).expect("it can be written");
    pipe.write_all(b"nonsense: [").expect("it is read");
    drop(pipe);
    assert_eq!(upgrade.response().await.status, 409);
    proxy
        .becomes("config_reloads_total{outcome=\"good\"}", 1.0)
        .await;
}
