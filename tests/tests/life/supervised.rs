//! What a supervisor is told, and what it hands over: sd_notify(3), sd_listen_fds(3).

use std::{
    net::TcpListener,
    os::{fd::AsRawFd, unix::net::UnixDatagram},
};

use rustix::io::{FdFlags, fcntl_setfd};

use super::*;

/// Where a supervisor listens.
struct Supervisor(tokio::net::UnixDatagram);

impl Supervisor {
    fn new(setup: Setup) -> (Self, Setup) {
        let path = setup.folder().path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("the folder can be written");
        socket.set_nonblocking(true).expect("it is a socket");
        let socket = tokio::net::UnixDatagram::from_std(socket).expect("it is a socket");
        let path = path.to_str().expect("a path of letters");
        (Self(socket), setup.variable("NOTIFY_SOCKET", path))
    }

    /// What is said next, but for that all is well still.
    async fn hears(&self) -> String {
        loop {
            let said = self.hears_anything().await;
            if said != "WATCHDOG=1" {
                return said;
            }
        }
    }

    async fn hears_anything(&self) -> String {
        let mut said = [0; 1024];
        let length = within("something is said", self.0.recv(&mut said)).await;
        let length = length.expect("it is a socket");
        String::from_utf8_lossy(&said[..length]).into_owned()
    }
}

#[tokio::test]
async fn a_supervisor_is_told_how_it_is() {
    let (supervisor, setup) = Supervisor::new(Setup::new(&scene::embedded()));
    let setup = setup.variable("WATCHDOG_USEC", "300000");
    let mut proxy = setup.start().await;
    assert!(supervisor.hears().await.starts_with("READY=1\n"));
    for _ in 0..3 {
        assert_eq!(supervisor.hears_anything().await, "WATCHDOG=1");
    }
    proxy.hangup();
    let reloading = supervisor.hears().await;
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert!(supervisor.hears().await.starts_with("READY=1\n"));
    proxy.upgrade().await;
    // The next one says that it is ready, and the one before it who that is.
    let mut said = [supervisor.hears().await, supervisor.hears().await];
    said.sort();
    assert_eq!(said[0], format!("MAINPID={}", proxy.pid()));
    assert!(said[1].starts_with("READY=1\n"));
    proxy.ask_to_end();
    assert!(supervisor.hears().await.starts_with("STOPPING=1\n"));
    assert!(proxy.exit().await.log.contains("drained"));
}

#[tokio::test]
async fn a_watchdog_of_another_process_is_not_ours() {
    let (supervisor, setup) = Supervisor::new(Setup::new(&scene::embedded()));
    let setup = setup
        .variable("WATCHDOG_USEC", "1000")
        .variable("WATCHDOG_PID", "1");
    let proxy = setup.start().await;
    assert!(supervisor.hears_anything().await.starts_with("READY=1\n"));
    assert_eq!(proxy.terminate().await.code, Some(0));
    assert!(
        supervisor
            .hears_anything()
            .await
            .starts_with("STOPPING=1\n")
    );
}

#[tokio::test]
async fn sockets_of_a_supervisor_are_taken_by_name() {
    let sockets: Vec<TcpListener> = (0..3)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .collect();
    // A supervisor would place them from the third descriptor on. Here they stand where they are, and
    // what stands between is called nothing.
    let mut names: Vec<&str> = Vec::new();
    for (socket, name) in sockets.iter().zip(["tls", "plain", "nobody"]) {
        fcntl_setfd(socket, FdFlags::empty()).expect("it is ours");
        let at = usize::try_from(socket.as_raw_fd()).expect("a number") - 3;
        if names.len() <= at {
            names.resize(at + 1, "-");
        }
        names[at] = name;
    }
    let certificate = tollgate_tests::tls::Certificate::new(&["localhost"]);
    let config = "listeners:
  - { name: plain, address: \"127.0.0.1:0\" }
  - { name: tls, address: \"127.0.0.1:0\", tls: { certificates: [{ cert: c.pem, key: k.pem }] } }
";
    let proxy = Setup::new(&format!("{config}{}", scene::embedded()))
        .file("c.pem", &certificate.cert)
        .file("k.pem", &certificate.key)
        .variable("LISTEN_FDS", &names.len().to_string())
        .variable("LISTEN_FDNAMES", &names.join(":"))
        .start()
        .await;
    let [tls, plain, _] = &sockets[..] else {
        unreachable!("there are three");
    };
    for (name, socket) in [("tls", tls), ("plain", plain)] {
        let address = socket.local_addr().expect("it has one");
        assert_eq!(proxy.listener(name), address);
    }
    let models = http1::ask(proxy.http(), &Request::get("/v1/models")).await;
    models.with_status(200);
    let (mut connection, _) =
        http1::Connection::open_tls(proxy.listener("tls"), certificate.client(&["http/1.1"])).await;
    connection.send(&Request::get("/v1/models")).await;
    connection.response().await.with_status(200);
    proxy
        .logged(|line| line.contains("is no listener's") && line.contains("nobody"))
        .await;
}
