//! Against a real Redis, which `cargo xtask test` fetches and names in `TOLLGATE_REDIS`, or one on
//! PATH; without it each test says that it was left out.

use std::{
    cell::Cell,
    env,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use proptest::{prelude::*, test_runner::TestRunner};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::*;
use crate::{
    calendar::Window,
    levels::{Level, Part, decide},
    limiter::count,
    plan::{Meter, Unit},
};

/// Nothing takes this long, but for a defect.
const CEILING: Duration = Duration::from_secs(20);

fn program() -> Option<PathBuf> {
    let named = env::var_os("TOLLGATE_REDIS").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut on_path = env::split_paths(&path).map(|folder| folder.join("redis-server"));
    let found = named
        .filter(|path| path.is_file())
        .or_else(|| on_path.find(|path| path.is_file()));
    if found.is_none() {
        println!("left out: TOLLGATE_REDIS does not say where a Redis is");
    }
    found
}

struct Server {
    child: Child,
    port: u16,
    program: PathBuf,
    more: Vec<String>,
    folder: tempfile::TempDir,
}

impl Server {
    async fn start(more: &[&str]) -> Option<Self> {
        let program = program()?;
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let folder = tempfile::tempdir().unwrap();
        let more: Vec<String> = more.iter().map(|it| (*it).to_owned()).collect();
        let child = spawn(&program, port, &more, folder.path());
        let server = Self {
            child,
            port,
            program,
            more,
            folder,
        };
        server.listens().await;
        Some(server)
    }

    async fn listens(&self) {
        until("redis listens", async || {
            TcpStream::connect(("127.0.0.1", self.port)).await.is_ok()
        })
        .await;
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    async fn again(&mut self) {
        self.child = spawn(&self.program, self.port, &self.more, self.folder.path());
        self.listens().await;
    }

    async fn command(&self, words: &[&[u8]]) -> Reply {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(&command(words)).await.unwrap();
        let mut arrived = Vec::new();
        loop {
            if let Some((reply, _)) = resp::reply(&arrived).unwrap() {
                return reply;
            }
            assert_ne!(stream.read_buf(&mut arrived).await.unwrap(), 0);
        }
    }

    /// A proxy's end of it; its connection is kept.
    fn client(&self, talk: Talk) -> Redis {
        let place = Place {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            tls: None,
        };
        let (redis, keeper) = Redis::new(&place, "test", talk).unwrap();
        tokio::spawn(keeper.run());
        redis
    }

    async fn connected(&self) -> Redis {
        let redis = self.client(talk());
        until("it is there", async || redis.is_there()).await;
        redis
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(program: &Path, port: u16, more: &[String], folder: &Path) -> Child {
    let mut command = Command::new(program);
    let beside = program.parent().and_then(Path::parent).unwrap().join("lib");
    if let Ok(folders) = std::fs::read_dir(beside) {
        let folders = folders.map(|entry| entry.unwrap().path());
        let folders = env::join_paths(folders.filter(|it| it.is_dir())).unwrap();
        command.env("LD_LIBRARY_PATH", folders);
    }
    // With TLS there is no other door.
    let (plain, tls) = match more.iter().any(|it| it.starts_with("--tls")) {
        true => (0, port),
        false => (port, 0),
    };
    command
        .args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
        ])
        .arg(plain.to_string())
        .arg("--tls-port")
        .arg(tls.to_string())
        .arg("--dir")
        .arg(folder)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn talk() -> Talk {
    Talk {
        user: None,
        password_file: None,
        database: 0,
        timeout: Duration::from_secs(5),
        pipeline: 64,
        failures: 3,
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(100),
    }
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !done().await {
        assert!(began.elapsed() < CEILING, "{what}: not within {CEILING:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn rate(amount: u64, millis: u64, burst: u64) -> Meter {
    let per = Duration::from_millis(millis);
    Meter::new(Unit::Tokens, Kind::Rate { amount, per, burst }).unwrap()
}

fn quota(unit: Unit, amount: u64, window: Window) -> Meter {
    Meter::new(unit, Kind::Quota { amount, window }).unwrap()
}

fn one(account: &str, meter: Meter, need: i64) -> Ask {
    Ask {
        accounts: vec![account.into()],
        parts: vec![Part {
            account: 0,
            meter,
            need,
            extra: 0,
            window: 0,
        }],
        manner: Manner::Request,
    }
}

/// A step: how far the clock moves (microseconds), whether it settles, and for each meter the need,
/// the extra, and how many windows ago what is given back was taken.
type Step = (i64, bool, Vec<(i64, u64, u64)>);

fn steps(meters: usize) -> impl Strategy<Value = Vec<Step>> {
    let moved = prop_oneof![
        4 => -2_000_000..8_000_000i64,
        // Days and months.
        1 => -100_000_000_000..3_000_000_000_000i64,
    ];
    let need = prop_oneof![3 => 0..60i64, 1 => -50..0i64];
    let part = (need, 0..40u64, 0..2u64);
    let parts = proptest::collection::vec(part, meters);
    proptest::collection::vec((moved, any::<bool>(), parts), 1..40)
}

#[test]
fn the_script_and_the_arithmetic_decide_alike() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(server) = runtime.block_on(Server::start(&[])) else {
        return;
    };
    let redis = runtime.block_on(server.connected());
    let meters = [
        rate(7, 1000, 50),
        quota(Unit::Tokens, 200, Window::Day),
        quota(Unit::Requests, 90, Window::Month),
        rate(1_000_003, 3_600_000, 1000),
    ];
    // The last one is another account's.
    let account = |at: usize| usize::from(at == 3);
    let mut runner = TestRunner::default();
    let cases = Cell::new(0);
    let decided = runner.run(&steps(meters.len()), |steps| {
        let case = cases.replace(cases.get() + 1);
        let names: Vec<Arc<str>> =
            vec![format!("{{{case}}}").into(), format!("{{{case}}}:m").into()];
        let mut levels = [Level::default(); 4];
        let mut now: u64 = 1_800_000_000_000_000;
        for (moved, settles, needs) in steps {
            now = now.saturating_add_signed(moved).max(1_000_000_000_000);
            let manner = match settles {
                true => Manner::Settle,
                false => Manner::Request,
            };
            let parts: Vec<Part> = needs
                .iter()
                .enumerate()
                .map(|(at, (need, extra, ago))| Part {
                    account: account(at),
                    meter: meters[at],
                    need: *need,
                    extra: if settles { 0 } else { *extra },
                    window: match meters[at].kind() {
                        Kind::Rate { .. } => 0,
                        Kind::Quota { window, .. } => window.number(now / 1_000_000) - ago,
                    },
                })
                .collect();
            let ask = Ask {
                accounts: names.clone(),
                parts,
                manner,
            };
            let told = runtime.block_on(redis.0.decide(&ask, now));
            let mut each: Vec<&mut Level> = levels.iter_mut().collect();
            let wanted = decide(&mut each, &ask.parts, manner, now);
            prop_assert_eq!(told.as_ref(), Ok(&wanted), "{:?} at {}", ask, now);
        }
        Ok(())
    });
    decided.unwrap_or_else(|failure| panic!("{failure}"));
}

#[tokio::test]
async fn what_fills_for_ages_is_counted_like_anything_else() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let redis = server.connected().await;
    let most = 1_000_000_000_000_000;
    let ask = one("{a}", rate(1, 86_400_000, most), count(most));
    let mut level = Level::default();
    let now = 1_800_000_000_000_000;
    for _ in 0..2 {
        let wanted = decide(&mut [&mut level], &ask.parts, Manner::Request, now);
        assert_eq!(redis.0.decide(&ask, now).await, Ok(wanted));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_granted_exactly_what_there_is() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(server.connected().await);
    }
    let meter = rate(1, 86_400_000, 1000);
    let mut asking = JoinSet::new();
    for at in 0..800 {
        let redis = clients[at % 8].clone();
        asking.spawn(async move { redis.ask(one("{all}", meter, 3)).await.unwrap().verdict });
    }
    let all = asking.join_all().await;
    let granted = all.iter().filter(|it| **it == Verdict::Granted).count();
    assert_eq!((all.len(), granted), (800, 333));
    assert!(clients.iter().all(|redis| redis.in_flight() == 0));
}

#[tokio::test]
async fn a_script_that_is_not_known_is_told_again() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let redis = server.connected().await;
    for _ in 0..3 {
        let flushed = server.command(&[b"SCRIPT", b"FLUSH"]).await;
        assert_eq!(flushed, Reply::Text("OK".to_owned()));
        let answer = redis.ask(one("{a}", rate(1, 1000, 10), 1)).await.unwrap();
        assert_eq!(answer.verdict, Verdict::Granted);
    }
    assert!(redis.is_there());
}

#[tokio::test]
async fn every_key_has_a_life() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let redis = server.connected().await;
    redis.ask(one("{a}", rate(1, 1000, 10), 5)).await.unwrap();
    let month = quota(Unit::Tokens, 10, Window::Month);
    redis.ask(one("{b}", month, 5)).await.unwrap();
    let places = AskPlaces {
        account: "{a}".into(),
        wanted: 3,
        most: 5,
        life: Duration::from_secs(10),
    };
    assert_eq!(redis.places(places).await, Ok(3));
    let life = async |key: &[u8]| match server.command(&[b"PTTL", key]).await {
        Reply::Number(millis) => millis,
        other => panic!("{other:?}"),
    };
    assert!((60_000..=65_000).contains(&life(b"test:{a}").await));
    assert!((60_000..=32 * 86_400_000).contains(&life(b"test:{b}").await));
    assert!((60_000..=70_000).contains(&life(b"test:{a}:places").await));
}

#[tokio::test]
async fn places_are_shared_and_those_of_a_proxy_that_is_gone_come_back() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let (a, b) = (server.connected().await, server.connected().await);
    let life = Duration::from_secs(10);
    let ask = |wanted| AskPlaces {
        account: "{t}".into(),
        wanted,
        most: 5,
        life,
    };
    let second = 1_000_000;
    let now = 1_800_000_000 * second;
    assert_eq!(a.0.places(&ask(3), now).await, Ok(3));
    assert_eq!(b.0.places(&ask(4), now).await, Ok(2));
    // Its own are replaced, not added to.
    assert_eq!(a.0.places(&ask(2), now + second).await, Ok(2));
    assert_eq!(b.0.places(&ask(4), now + 5 * second).await, Ok(3));
    // The first one has said nothing since.
    assert_eq!(b.0.places(&ask(5), now + 12 * second).await, Ok(5));
    assert_eq!(a.0.places(&ask(1), now + 12 * second).await, Ok(0));
    assert_eq!(b.0.places(&ask(0), now + 13 * second).await, Ok(0));
    assert_eq!(a.0.places(&ask(5), now + 13 * second).await, Ok(5));
    // A clock that went back an hour does not keep places for an hour.
    assert_eq!(b.0.places(&ask(5), now - 3600 * second).await, Ok(5));
}

#[tokio::test]
async fn a_store_that_is_slow_is_away_after_some_failures_and_is_found_again() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let redis = server.client(Talk {
        timeout: Duration::from_millis(100),
        ..talk()
    });
    until("it is there", async || redis.is_there()).await;
    server
        .command(&[b"CLIENT", b"PAUSE", b"1500", b"ALL"])
        .await;
    let meter = rate(1, 1000, 100);
    for _ in 0..3 {
        let told = redis.ask(one("{a}", meter, 1)).await;
        assert_eq!(told, Err(StoreError::Timeout));
    }
    until("the circuit opens", async || !redis.is_there()).await;
    assert_eq!(redis.ask(one("{a}", meter, 1)).await, Err(StoreError::Away));
    until("it is found again", async || redis.is_there()).await;
    until("it answers", async || {
        redis.ask(one("{a}", meter, 1)).await.is_ok()
    })
    .await;
    assert_eq!(redis.in_flight(), 0);
}

#[tokio::test]
async fn a_store_that_is_gone_is_found_when_it_is_back() {
    let Some(mut server) = Server::start(&[]).await else {
        return;
    };
    let redis = server.connected().await;
    let meter = rate(1, 86_400_000, 10);
    redis.ask(one("{a}", meter, 10)).await.unwrap();
    server.stop();
    until("it is gone", async || !redis.is_there()).await;
    assert_eq!(redis.ask(one("{a}", meter, 1)).await, Err(StoreError::Away));
    server.again().await;
    until("it is there", async || redis.is_there()).await;
    // It has forgotten everything, and knows no script but those that it was told.
    let answer = redis.ask(one("{a}", meter, 10)).await.unwrap();
    assert_eq!(answer.verdict, Verdict::Granted);
}

#[tokio::test]
async fn a_password_is_asked_for_and_read_at_each_connection() {
    let Some(server) = Server::start(&["--requirepass", "open sesame"]).await else {
        return;
    };
    let file = server.folder.path().join("password");
    std::fs::write(&file, "wrong\n").unwrap();
    let redis = server.client(Talk {
        password_file: Some(file.clone()),
        ..talk()
    });
    sleep(Duration::from_millis(100)).await;
    assert!(!redis.is_there());
    std::fs::write(&file, "open sesame\n").unwrap();
    until("it is let in", async || redis.is_there()).await;
    assert!(redis.ask(one("{a}", rate(1, 1000, 10), 1)).await.is_ok());
}

#[tokio::test]
async fn by_tls_only_a_store_with_the_right_certificate_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let names = || vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names()).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("cert"), made.cert.pem()).unwrap();
    std::fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
    let (cert, key) = (path("cert"), path("key"));
    let more = [
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ];
    let Some(server) = Server::start(&more).await else {
        return;
    };
    let client = |ca: String| {
        let place = Place {
            host: "127.0.0.1".to_owned(),
            port: server.port,
            tls: Some(Tls {
                ca_pem: Some(ca.into_bytes()),
            }),
        };
        let (redis, keeper) = Redis::new(&place, "test", talk()).unwrap();
        tokio::spawn(keeper.run());
        redis
    };
    let other = rcgen::generate_simple_self_signed(names()).unwrap();
    let wrong = client(other.cert.pem());
    let right = client(made.cert.pem());
    until("it is there", async || right.is_there()).await;
    assert!(right.ask(one("{a}", rate(1, 1000, 10), 1)).await.is_ok());
    assert!(!wrong.is_there());
    let place = Place {
        host: "127.0.0.1".to_owned(),
        port: 1,
        tls: Some(Tls {
            ca_pem: Some(b"no certificate".to_vec()),
        }),
    };
    assert!(matches!(
        Redis::new(&place, "test", talk()),
        Err(PlaceError::Ca(_))
    ));
}

#[tokio::test]
async fn what_is_no_redis_is_away() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let place = Place {
        host: "127.0.0.1".to_owned(),
        port,
        tls: None,
    };
    let (redis, keeper) = Redis::new(&place, "test", talk()).unwrap();
    tokio::spawn(keeper.run());
    sleep(Duration::from_millis(100)).await;
    assert!(!redis.is_there());
    let told = redis.ask(one("{a}", rate(1, 1000, 10), 1)).await;
    assert_eq!(told, Err(StoreError::Away));
}

#[test]
fn answers_that_make_no_sense_are_garbled() {
    let of = |numbers: &[i64]| answer(numbers, 1).map(|answer| answer.verdict);
    assert_eq!(of(&[1, -1, 0, 5, 6, 0, 7]), Ok(Verdict::Granted));
    let wait = Some(Duration::from_micros(9));
    assert_eq!(
        of(&[0, 0, 9, 0, 0, 0, 0]),
        Ok(Verdict::Denied { part: 0, wait })
    );
    let never = Ok(Verdict::Denied {
        part: 0,
        wait: None,
    });
    assert_eq!(of(&[0, 0, -1, 0, 0, 0, 0]), never);
    for bad in [
        &[][..],
        &[1, -1, 0],
        &[2, -1, 0, 0, 0, 0, 0],
        &[0, 1, 9, 0, 0, 0, 0],
        &[0, -1, 9, 0, 0, 0, 0],
        &[0, 0, -2, 0, 0, 0, 0],
        &[1, -1, 0, -5, 0, 0, 0],
        &[1, -1, 0, 5, 0, 0, 0, 0],
    ] {
        assert!(matches!(of(bad), Err(StoreError::Garbled(_))), "{bad:?}");
    }
}
