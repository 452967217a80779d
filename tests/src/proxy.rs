//! The binary under test as a child process.
//!
//! 1. The configuration goes into a folder of its own, completed by what every test wants: a
//!    plain listener on a free port, an admin port, a log as JSON, the shared cache of compiled
//!    components.
//! 2. The child's log tells where it listens and that it is ready; `/readyz` confirms it.
//! 3. It ends with the value, by its process id. When the test has failed, its log is printed.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{
    client::{Request, Response, http1},
    place,
    tls::Certificate,
    within,
};

/// A configuration and the files that it names.
pub struct Setup {
    yaml: String,
    /// More of the section `runtime`.
    runtime: String,
    /// More of the section `admin`.
    admin: String,
    /// How it is asked, where it speaks TLS.
    admin_tls: Option<Arc<ClientConfig>>,
    /// Schedulers are recorded in this folder beside the configuration.
    recorded: Option<String>,
    /// So are exchanges, with these further arguments.
    exchanges: Option<(String, Vec<String>)>,
    /// Variables of its environment.
    environment: Vec<(String, String)>,
    /// The command that it is an argument of.
    wrapper: Vec<String>,
    /// No folder of compiled components is named.
    uncached: bool,
    folder: Arc<TempDir>,
}

impl Setup {
    /// A configuration: all but `admin`, `log` and `runtime`, and `listeners` where one plain one
    /// is enough.
    ///
    /// # Panics
    /// When there is no place for temporary files.
    #[must_use]
    pub fn new(yaml: &str) -> Self {
        Self {
            yaml: yaml.to_owned(),
            runtime: String::new(),
            admin: String::new(),
            admin_tls: None,
            recorded: None,
            exchanges: None,
            environment: Vec::new(),
            wrapper: Vec::new(),
            uncached: false,
            folder: Arc::new(TempDir::new().expect("temporary files have a place")),
        }
    }

    /// One more key of the section `runtime`, such as `request-memory: 1MiB`.
    #[must_use]
    pub fn runtime(mut self, key: &str) -> Self {
        self.runtime.push_str(", ");
        self.runtime.push_str(key);
        self
    }

    /// One more key of the section `admin`, such as `tokens: operators.yaml`.
    #[must_use]
    pub fn admin(mut self, key: &str) -> Self {
        self.admin.push_str(", ");
        self.admin.push_str(key);
        self
    }

    /// One more variable of its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has it started by another command, whose last arguments it and its own are.
    #[must_use]
    pub fn by(mut self, command: &[&str]) -> Self {
        self.wrapper = command.iter().map(|it| (*it).to_owned()).collect();
        self
    }

    /// Keeps no compiled components.
    #[must_use]
    pub fn uncached(mut self) -> Self {
        self.uncached = true;
        self
    }

    /// The folder of its files.
    #[must_use]
    pub fn folder(&self) -> Arc<TempDir> {
        self.folder.clone()
    }

    /// The admin port is asked by TLS, with this certificate.
    #[must_use]
    pub fn tls_admin(mut self, certificate: &Certificate) -> Self {
        self.admin_tls = Some(certificate.client(&["http/1.1"]));
        self
    }

    /// Records schedulers into a folder beside the configuration.
    #[must_use]
    pub fn record(mut self, folder: &str) -> Self {
        self.recorded = Some(folder.to_owned());
        self
    }

    /// Records exchanges into a folder beside the configuration, with further arguments.
    #[must_use]
    pub fn record_exchanges(mut self, folder: &str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|it| (*it).to_owned());
        self.exchanges = Some((folder.to_owned(), arguments.collect()));
        self
    }

    /// A file beside the configuration.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.folder.path().join(name), content).expect("the folder can be written");
        self
    }

    /// Starts the proxy and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start(self) -> Proxy {
        // The admin port is chosen here and taken there; another may take it in between.
        for _ in 0..3 {
            let mut running = self.spawn();
            if running.serves(self.admin_tls.clone()).await {
                return running;
            }
        }
        panic!("the admin port was taken three times");
    }

    /// Starts the proxy and waits for nothing.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn begin(self) -> Proxy {
        self.spawn()
    }

    /// Starts a proxy that is expected to give up; gives what it says.
    ///
    /// # Panics
    /// When it serves.
    pub async fn refused(self) -> String {
        let mut running = self.spawn();
        let exit = running.exit().await;
        assert_eq!(exit.code, Some(1), "{}", exit.log);
        exit.log
    }

    fn spawn(&self) -> Proxy {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("the machine has a free port");
        let mut yaml = self.yaml.clone();
        if !yaml.starts_with("listeners:") && !yaml.contains("\nlisteners:") {
            yaml.push_str("\nlisteners: [{ name: plain, address: \"127.0.0.1:0\" }]\n");
        }
        let admin = &self.admin;
        yaml.push_str(&format!("\nadmin: {{ address: \"{free}\"{admin} }}\n"));
        yaml.push_str("log: { format: json }\n");
        let cache = match self.uncached {
            true => String::new(),
            false => {
                let cache = place::target().join("tests-cache");
                format!("cache-dir: \"{}\", ", cache.display())
            }
        };
        let runtime = &self.runtime;
        yaml.push_str(&format!("runtime: {{ {cache}threads: 2{runtime} }}\n"));
        let path = self.folder.path().join("tollgate.yaml");
        fs::write(&path, yaml).expect("the folder can be written");
        let mut command = match self.wrapper.split_first() {
            None => Command::new(place::binary()),
            Some((wrapper, arguments)) => {
                let mut command = Command::new(wrapper);
                command.args(arguments).arg(place::binary());
                command
            }
        };
        let environment = self.environment.iter();
        command.envs(environment.map(|(name, value)| (name, value)));
        if let Some(folder) = &self.recorded {
            command
                .arg("run")
                .arg("--record")
                .arg(self.folder.path().join(folder));
        } else {
            command.arg("run");
        }
        if let Some((folder, arguments)) = &self.exchanges {
            command
                .arg("--record-exchanges")
                .arg(self.folder.path().join(folder))
                .args(arguments);
        }
        let mut child = command
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let log: &'static Log = Box::leak(Box::new(Log::default()));
        let stderr = child.stderr.take().expect("it is piped");
        std::thread::spawn(move || log.fill(BufReader::new(stderr)));
        Proxy {
            child,
            log,
            admin: free,
            folder: self.folder.clone(),
            successors: Vec::new(),
        }
    }
}

/// Lines of the child's log, as they come. Lives as long as the test program, for the thread that
/// fills it does not end before the child.
struct Log {
    lines: Mutex<Vec<String>>,
    /// Number of lines, and whether that is all.
    state: watch::Sender<(usize, bool)>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            lines: Mutex::default(),
            state: watch::Sender::new((0, false)),
        }
    }
}

impl Log {
    fn fill(&self, stderr: impl BufRead) {
        for line in stderr.lines().map_while(Result::ok) {
            let mut lines = self.lines.lock().expect("nobody panics with it");
            lines.push(line);
            let count = lines.len();
            drop(lines);
            self.state.send_replace((count, false));
        }
        self.state.send_modify(|state| state.1 = true);
    }

    /// The first line that fits; none when the log ends without one.
    async fn find(&self, fits: impl Fn(&str) -> bool) -> Option<String> {
        let mut state = self.state.subscribe();
        let mut seen = 0;
        loop {
            let (count, over) = *state.borrow_and_update();
            let found = {
                let lines = self.lines.lock().expect("nobody panics with it");
                lines[seen..count].iter().find(|line| fits(line)).cloned()
            };
            seen = count;
            if found.is_some() || over {
                return found;
            }
            state.changed().await.ok()?;
        }
    }

    fn text(&self) -> String {
        self.lines.lock().expect("nobody panics with it").join("\n")
    }
}

/// How the proxy ended.
#[derive(Debug)]
pub struct Exit {
    /// Its exit status; none when a signal ended it.
    pub code: Option<i32>,
    /// All that it logged.
    pub log: String,
}

/// A running proxy.
pub struct Proxy {
    child: Child,
    log: &'static Log,
    admin: SocketAddr,
    folder: Arc<TempDir>,
    /// Processes that have taken its place.
    successors: Vec<Pid>,
}

/// For a start, which on a bare machine compiles every component that is named, beside other
/// tests that do the same.
const STARTING: Duration = Duration::from_secs(120);

impl Proxy {
    /// Starts a proxy with a configuration that needs no other file. See [`Setup::new`].
    pub async fn start(yaml: &str) -> Self {
        Setup::new(yaml).start().await
    }

    /// False: the admin port was taken.
    async fn serves(&mut self, tls: Option<Arc<ClientConfig>>) -> bool {
        let ready = |line: &str| line.contains(r#""message":"ready""#);
        let found = tokio::time::timeout(STARTING, self.log.find(ready)).await;
        let found = found.unwrap_or_else(|_| panic!("not ready within {STARTING:?}"));
        if found.is_none() {
            let text = self.log.text();
            assert!(text.contains("Address already in use"), "it ended: {text}");
            return false;
        }
        let ready = Request::get("/readyz");
        let got = match tls {
            Some(tls) => http1::ask_tls(self.admin, tls, &ready).await,
            None => http1::ask(self.admin, &ready).await,
        };
        assert_eq!(got.status, 200);
        true
    }

    /// Where a listener listens.
    ///
    /// # Panics
    /// When there is none of that name.
    #[must_use]
    pub fn listener(&self, name: &str) -> SocketAddr {
        let wanted = format!(r#""listener":"{name}""#);
        let text = self.log.text();
        let line = text
            .lines()
            .find(|line| line.contains(r#""message":"listening""#) && line.contains(&wanted))
            .unwrap_or_else(|| panic!("no listener {name} in the log:\n{text}"));
        let line: Value = serde_json::from_str(line).expect("lines are JSON");
        line["address"]
            .as_str()
            .and_then(|address| address.parse().ok())
            .expect("it says where")
    }

    /// Where the listener `plain` listens: the one that a configuration without listeners gets.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.listener("plain")
    }

    /// The admin port.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Bytes of memory that the process has now.
    ///
    /// # Panics
    /// When the system does not tell.
    #[must_use]
    pub fn resident(&self) -> u64 {
        // Not `status`, whose figure lags behind by what each thread has not summed up yet.
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let told = fs::read_to_string(path).expect("the child runs");
        let line = told.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib
            .and_then(|kib| kib.parse().ok())
            .expect("it says how much");
        kib << 10
    }

    /// Threads of the process whose name begins so.
    ///
    /// # Panics
    /// When the system does not tell.
    #[must_use]
    pub fn threads(&self, name: &str) -> usize {
        let path = format!("/proc/{}/task", self.child.id());
        let tasks = fs::read_dir(path).expect("the child runs");
        // One that has ended meanwhile has none.
        let names =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|it| it.starts_with(name)).count()
    }

    /// Asks the admin port.
    pub async fn ask_admin(&self, path: &str) -> Response {
        http1::ask(self.admin, &Request::get(path)).await
    }

    /// Asks the admin port to change something: `plugins/NAME/swap` and the like.
    pub async fn order(&self, what: &str, body: &str) -> Response {
        let path = format!("/{what}");
        http1::ask(self.admin, &Request::post_bytes(&path, body.to_owned())).await
    }

    /// `/status`.
    ///
    /// # Panics
    /// When it is not JSON.
    pub async fn status(&self) -> Value {
        self.ask_admin("/status").await.json()
    }

    /// `/metrics`, as OpenMetrics.
    pub async fn metrics(&self) -> String {
        let accept = "application/openmetrics-text; version=1.0.0";
        let request = Request::get("/metrics").header("accept", accept);
        http1::ask(self.admin, &request).await.text()
    }

    /// A figure of `/metrics`, by its name without `tollgate_` and with its labels as they are
    /// written there; none: it is not on the page.
    pub async fn figure(&self, series: &str) -> Option<f64> {
        let page = self.metrics().await;
        let mut lines = page.lines().filter_map(|line| line.rsplit_once(' '));
        // One without labels may have an empty set of them.
        let found = lines.find(|(name, _)| {
            let name = name.trim_end_matches("{}");
            name.strip_prefix("tollgate_") == Some(series)
        });
        found.and_then(|(_, value)| value.parse().ok())
    }

    /// Waits until a figure of `/metrics` is this. See [`Proxy::figure`].
    ///
    /// # Panics
    /// When it does not become so.
    pub async fn becomes(&self, series: &str, value: f64) {
        crate::eventually(format!("{series} is {value}"), async || {
            (self.figure(series).await == Some(value)).then_some(())
        })
        .await;
    }

    /// The first log line that fits, once it is there.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn logged(&self, fits: impl Fn(&str) -> bool) -> String {
        within("a line of the log", self.log.find(fits))
            .await
            .expect("the log ended without that line")
    }

    /// The log so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// The folder of the configuration.
    #[must_use]
    pub fn folder(&self) -> Arc<TempDir> {
        self.folder.clone()
    }

    /// Writes a file beside the configuration anew.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn rewrite(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.folder.path().join(name), content).expect("the folder can be written");
    }

    /// Has its configuration be another one, put into its place in one step; it is not told.
    ///
    /// # Panics
    /// When the file cannot be read and written, or is as it was.
    pub fn reconfigure(&self, change: impl FnOnce(&str) -> String) {
        let (file, next) = (
            self.folder.path().join("tollgate.yaml"),
            self.folder.path().join("tollgate.next"),
        );
        let before = fs::read_to_string(&file).expect("it is there");
        let after = change(&before);
        assert_ne!(before, after, "nothing is changed by this");
        fs::write(&next, after).expect("the folder can be written");
        fs::rename(&next, &file).expect("one folder");
    }

    /// Has it start another process in its place, and awaits that this one serves. From then on that
    /// is who is asked, signalled and ended. Gives the number of the process that drains.
    ///
    /// # Panics
    /// When it does not.
    pub async fn upgrade(&mut self) -> u32 {
        let before = self.successors.len();
        let former = self.pid();
        let told = self.order("upgrade", "").await.with_status(200).json();
        let pid = told["pid"].as_i64().expect("it says which");
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        self.successors
            .push(pid.expect("it is a number of a process"));
        assert_eq!(self.successors.len(), before + 1);
        former
    }

    /// The number of the process that serves.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let pid = self.successors.last().copied();
        let pid = pid.unwrap_or_else(|| Pid::from_child(&self.child));
        u32::try_from(pid.as_raw_nonzero().get()).expect("it is greater than zero")
    }

    fn signal(&self, signal: Signal) {
        let last = self.successors.last().copied();
        let whom = last.unwrap_or_else(|| Pid::from_child(&self.child));
        kill_process(whom, signal).expect("it runs");
    }

    /// Sends SIGUSR2.
    pub fn ask_for_another(&self) {
        self.signal(Signal::USR2);
    }

    /// Sends SIGHUP.
    pub fn hangup(&self) {
        self.signal(Signal::HUP);
    }

    /// Sends SIGTERM and does not wait.
    pub fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(mut self) -> Exit {
        self.ask_to_end();
        self.exit().await
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn exit(&mut self) -> Exit {
        // The end of the log is the end of the process: nothing else holds its standard error.
        within("the proxy ends", self.log.find(|_| false)).await;
        let status = self.child.wait().expect("it is ours to wait for");
        Exit {
            code: status.code(),
            log: self.log.text(),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // All fail when it has ended already, and that is as well.
        for successor in &self.successors {
            let _ = kill_process(*successor, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the proxy\n{}\n---", self.log.text());
        }
    }
}
