//! A proxy with somebody innocent in it.
//!
//! 1. Two workers: `steady`, which serves the innocent on a route of its own, and the prey, which
//!    serves the model `m` on the route under attack.
//! 2. Innocent are a stream over HTTP/1.1, a stream over HTTP/2, and a client that asks again and
//!    again. [`House::unharmed`] lets each stream go on by one event, and waits for answers to
//!    requests that began after it was called.
//! 3. [`House::rest`] ends the streams, looks for the gauges to be at zero, and ends the process.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};
use tollgate_tests::{
    Proxy, Setup,
    client::{
        End, Request, http1,
        http2::{self, Next},
    },
    eventually,
    fake::http1 as h,
    scene, tokens, within,
};

/// Times that the streams can go on.
const BEATS: u32 = 12;

/// The token of the innocent, and of whoever may come in.
pub(crate) const TOKEN: &str = "token-of-the-innocent";

/// Gauges that are zero when nobody is there.
const AT_REST: [&str; 9] = [
    "connections",
    "in_flight",
    "queue_requests",
    "queue_bytes",
    "route_queue_requests",
    "plugin_exchanges",
    "upstream_streams",
    "upstream_waiting",
    "batches",
];

/// What a test wants of its proxy.
pub(crate) struct Plan {
    /// YAML of the listener's limits, in braces.
    listener: String,
    /// More YAML of the route under attack.
    route: String,
    /// YAML of its workers, called `w0` and so on.
    prey: Vec<String>,
    guarded: bool,
    tls: Option<tollgate_tests::tls::Certificate>,
}

impl Plan {
    /// With one prey that speaks what vLLM speaks.
    pub(crate) fn openai(prey: SocketAddr) -> Self {
        Self::new(scene::worker("w0", "openai", prey, ""))
    }

    /// With one prey that speaks what TGIS speaks, over one connection.
    pub(crate) fn tgis(prey: SocketAddr) -> Self {
        let one = ", slots: 128, connections: { max: 1, h2-streams: 100 }";
        Self::new(scene::worker("w0", "tgis", prey, one))
    }

    fn new(prey: String) -> Self {
        Self {
            listener: "{}".to_owned(),
            route: String::new(),
            prey: vec![prey],
            guarded: false,
            tls: None,
        }
    }

    /// With these limits of the listener.
    pub(crate) fn listener(mut self, limits: &str) -> Self {
        limits.clone_into(&mut self.listener);
        self
    }

    /// With these limits of the route under attack.
    pub(crate) fn limits(mut self, limits: &str) -> Self {
        self.route = format!("    limits: {limits}\n");
        self
    }

    /// Nobody comes in without a token.
    pub(crate) fn guarded(mut self) -> Self {
        self.guarded = true;
        self
    }

    /// With a listener `secret` that wants TLS, too.
    pub(crate) fn tls(mut self, certificate: tollgate_tests::tls::Certificate) -> Self {
        self.tls = Some(certificate);
        self
    }

    /// Starts the proxy and lets the innocent in.
    pub(crate) async fn start(self) -> House {
        let worker = h::Worker::start(|received| {
            let asked: serde_json::Value =
                serde_json::from_slice(&received.body).expect("the proxy writes JSON");
            if asked["stream"] != true {
                return vec![h::json(200, &scene::completed("fine"))];
            }
            let mut acts = vec![h::stream_head()];
            for beat in 0..=BEATS {
                if beat > 0 {
                    acts.push(h::Act::Hold);
                }
                let reason = (beat == BEATS).then_some("length");
                acts.push(h::event(&scene::chunk(&mark(beat), reason, beat + 1)));
            }
            acts.push(h::event(&scene::usage_chunk(BEATS + 1)));
            acts.push(h::event("[DONE]"));
            acts.push(h::stream_end());
            acts
        })
        .await;
        let proxy = self.setup(worker.address).start().await;
        House::enter(proxy, worker, self.guarded).await
    }

    fn setup(&self, steady: SocketAddr) -> Setup {
        let auth = if self.guarded { "required" } else { "open" };
        let secret = match &self.tls {
            None => String::new(),
            Some(_) => format!(
                "  - {{ name: secret, address: \"127.0.0.1:0\", limits: {}, tls: {{ certificates: \
                 [{{ cert: cert.pem, key: key.pem }}] }} }}\n",
                self.listener
            ),
        };
        let prey: Vec<String> = (0..self.prey.len()).map(|at| format!("w{at}")).collect();
        let mut setup = Setup::new(&format!(
            "plugins:
  openai: {{ source: \"bundled:openai\" }}
  tgis: {{ source: \"bundled:tgis\" }}
listeners:
  - {{ name: plain, address: \"127.0.0.1:0\", limits: {} }}
{secret}workers:
  - {{ name: steady, address: \"http://{steady}\", protocol: openai, probe: off, models: [{{ name: steady }}] }}
{}
{}routes:
  - name: steady
    prefix: /steady
    frontends: [openai]
    workers: [steady]
    auth: {auth}
  - name: attacked
    frontends: [openai, tgis]
    workers: [{}]
    auth: {auth}
    default-model: m
    retry: {{ attempts: 1 }}
{}",
            self.listener,
            self.prey.concat(),
            if self.guarded { "tokens: { file: tokens.yaml }\n" } else { "" },
            prey.join(", "),
            self.route,
        ));
        if self.guarded {
            let entry = tokens::entry("innocent", TOKEN, "models: [\"*\"]");
            setup = setup.file("tokens.yaml", tokens::file(&[entry]));
        }
        if let Some(certificate) = &self.tls {
            setup = setup
                .file("cert.pem", &certificate.cert)
                .file("key.pem", &certificate.key);
        }
        setup
    }
}

/// A proxy under attack.
pub(crate) struct House {
    /// The proxy.
    pub(crate) proxy: Proxy,
    worker: h::Worker,
    over_h1: http1::Connection,
    over_h2: (http2::Connection, http2::Open),
    seen: (Vec<u8>, Vec<u8>),
    beat: u32,
    answered: watch::Receiver<u64>,
    asking: JoinHandle<()>,
}

fn mark(beat: u32) -> String {
    format!("beat-{beat};")
}

fn innocent(stream: bool, guarded: bool) -> Request {
    let body = json!({"model": "steady", "prompt": "Hello", "max_tokens": 8, "stream": stream});
    let request = Request::post("/steady/v1/completions", &body);
    if guarded {
        request.token(TOKEN)
    } else {
        request
    }
}

impl House {
    async fn enter(proxy: Proxy, worker: h::Worker, guarded: bool) -> Self {
        let address = proxy.http();
        let mut over_h1 = http1::Connection::open(address).await;
        over_h1.send(&innocent(true, guarded)).await;
        assert_eq!(http1::status_of(&over_h1.head().await), 200);
        let mut connection = http2::Connection::open(address).await;
        let mut stream = connection.send(&innocent(true, guarded)).await;
        assert_eq!(stream.head().await.expect("a head").0, 200);

        let (tell, answered) = watch::channel(0);
        let mut asker = http1::Connection::open(address).await;
        let asking = tokio::spawn(async move {
            loop {
                asker.send(&innocent(false, guarded)).await;
                let response = asker.response().await.with_status(200);
                assert!(response.text().contains("fine"));
                tell.send_modify(|answered| *answered += 1);
                // Not to fill the machine: the attacker is to have his share of it.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let mut house = Self {
            proxy,
            worker,
            over_h1,
            over_h2: (connection, stream),
            seen: Default::default(),
            beat: 0,
            answered,
            asking,
        };
        house.see().await;
        house
    }

    /// Where the proxy listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.proxy.http()
    }

    /// The innocent are served, now.
    ///
    /// # Panics
    /// When they are not.
    pub(crate) async fn unharmed(&mut self) {
        assert!(self.beat < BEATS, "the streams of a test have an end");
        self.beat += 1;
        for number in 0..2 {
            // Both wait, so that each gets one of the two permits.
            self.worker.journal.holding(number).await;
        }
        self.worker.release();
        self.worker.release();
        self.see().await;
        // One may have been under way before.
        let wanted = *self.answered.borrow() + 3;
        let answered = self.answered.wait_for(|answered| *answered >= wanted);
        let lost = within("unary requests are answered", answered)
            .await
            .is_err();
        if lost {
            let why = (&mut self.asking).await;
            panic!("a unary request beside the attack failed: {why:?}");
        }
    }

    /// Waits until both streams have come to the beat.
    async fn see(&mut self) {
        let mark = mark(self.beat).into_bytes();
        let found = |seen: &[u8]| seen.windows(mark.len()).any(|it| it == mark);
        while !found(&self.seen.0) {
            let piece = self.over_h1.piece().await.expect("the h1 stream goes on");
            self.seen.0.extend_from_slice(&piece);
        }
        while !found(&self.seen.1) {
            match self.over_h2.1.next().await {
                Next::Data(data) => self.seen.1.extend_from_slice(&data),
                other => panic!("the h2 stream goes on, not {other:?}"),
            }
        }
    }

    /// The value of a metric, all its labels together.
    pub(crate) async fn sum(&self, metric: &str) -> f64 {
        sum(&self.proxy.metrics().await, metric)
    }

    /// Waits until only the three connections of the innocent are open, and nothing else goes on.
    pub(crate) async fn only_the_innocent_are_left(&self) {
        eventually("only the innocent are left", async || {
            let alone = self.only_innocent().await && self.sum("connections").await <= 3.0;
            alone.then_some(())
        })
        .await;
    }

    /// Whether nothing goes on on the route under attack.
    pub(crate) async fn only_innocent(&self) -> bool {
        let text = self.proxy.metrics().await;
        !text.lines().any(|line| {
            line.starts_with("tollgate_in_flight{")
                && !line.contains("\"steady\"")
                && !line.ends_with(" 0")
        })
    }

    /// The innocent end well, the gauges are at zero, no plugin has trapped, nothing has panicked,
    /// and the process ends with status 0. Whoever attacked has gone.
    ///
    /// # Panics
    /// When it is otherwise.
    pub(crate) async fn rest(mut self) {
        self.unharmed().await;
        self.asking.abort();
        for _ in self.beat..BEATS {
            self.unheard_beat().await;
        }
        loop {
            match self.over_h1.piece().await {
                Ok(piece) => self.seen.0.extend_from_slice(&piece),
                Err(end) => break assert_eq!(end, End::Whole),
            }
        }
        loop {
            match self.over_h2.1.next().await {
                Next::Data(data) => self.seen.1.extend_from_slice(&data),
                Next::End(_) => break,
                Next::Reset(reason) => panic!("the h2 stream was cut: {reason:?}"),
            }
        }
        for seen in [&self.seen.0, &self.seen.1] {
            let text = String::from_utf8_lossy(seen);
            for beat in 0..=BEATS {
                assert_eq!(text.matches(&mark(beat)).count(), 1, "beat {beat}: {text}");
            }
            assert!(text.trim_end().ends_with("data: [DONE]"), "{text}");
        }
        drop((self.over_h1, self.over_h2));
        let proxy = self.proxy;
        let left = async || {
            let text = proxy.metrics().await;
            let name = AT_REST.iter().find(|name| sum(&text, name) != 0.0).copied();
            (name, text)
        };
        let within_time = tokio::time::timeout(tollgate_tests::CEILING, async {
            while left().await.0.is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        if within_time.await.is_err() {
            let (name, text) = left().await;
            panic!("{name:?} does not come to rest:\n{text}");
        }
        let text = proxy.metrics().await;
        for name in ["panics_total", "plugin_traps_total"] {
            assert_eq!(sum(&text, name), 0.0, "{name}");
        }
        assert_eq!(proxy.ask_admin("/livez").await.status, 200);
        let exit = proxy.terminate().await;
        assert_eq!(exit.code, Some(0), "{}", exit.log);
    }

    async fn unheard_beat(&mut self) {
        self.beat += 1;
        self.worker.release();
        self.worker.release();
        self.see().await;
    }
}

fn sum(text: &str, metric: &str) -> f64 {
    let name = format!("tollgate_{metric}");
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(&name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.split_once("} ")?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.parse::<f64>().ok()
    });
    values.sum()
}

/// Bytes that nobody needs to read.
pub(crate) fn filler(length: usize) -> Bytes {
    Bytes::from(vec![b' '; length])
}
