//! Clients that take their time, or all the places, or leave in the midst.

use std::time::Duration;

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::sleep,
};
use tollgate_tests::{client::http2, eventually, fake::Seen, tls::Certificate};

use super::*;

/// Between two bytes of somebody slow.
const TRICKLE: Duration = Duration::from_millis(100);

async fn connect(address: std::net::SocketAddr) -> TcpStream {
    within("a connection", TcpStream::connect(address))
        .await
        .expect("somebody listens")
}

/// Sends byte after byte, slowly, until the other end has closed; gives what it said before.
async fn trickle(mut socket: TcpStream, bytes: Vec<u8>) -> Vec<u8> {
    let (mut reader, mut writer) = socket.split();
    let mut said = Vec::new();
    let write = async {
        for byte in bytes {
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(TRICKLE).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = reader.read_to_end(&mut said) => {}
        () = write => {}
    }
    said
}

/// Waits for all of them; none takes longer than the ceiling.
async fn all<T: 'static>(crowd: JoinSet<T>) -> Vec<T> {
    within("the crowd is got rid of", crowd.join_all()).await
}

/// Slowloris (CVE-2007-6750): a head has a time in which it must be whole, however it trickles.
#[tokio::test]
async fn heads_that_trickle_are_cut_off() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address)
        .listener("{ header-timeout: 1s, idle-timeout: 2s }")
        .start()
        .await;
    let mut crowd = JoinSet::new();
    for number in 0..24 {
        let socket = connect(house.address()).await;
        let bytes = match number % 4 {
            0 => format!(
                "GET /v1/models HTTP/1.1\r\nhost: x\r\nx: {}",
                "y".repeat(1000)
            ),
            1 => "\r\n".repeat(1000),
            2 => "PRI * HTTP/2.0\r\n\r\nSM\r".to_owned(),
            _ => String::new(),
        };
        crowd.spawn(trickle(socket, bytes.into_bytes()));
    }
    house.unharmed().await;
    for said in all(crowd).await {
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(!said.contains(" 200 "), "{said}");
    }
    assert_eq!(prey.journal.requests(), 0);
    house.rest().await;
}

/// The same below HTTP: a handshake has a time, too, and takes nobody else's.
#[tokio::test]
async fn handshakes_that_trickle_are_cut_off() {
    let prey = ready_worker().await;
    let certificate = Certificate::new(&["localhost"]);
    let client = certificate.client(&["h2"]);
    let mut house = Plan::openai(prey.address)
        .listener("{ handshake-timeout: 1s, idle-timeout: 2s }")
        .tls(certificate)
        .start()
        .await;
    let secret = house.proxy.listener("secret");
    let mut crowd = JoinSet::new();
    for number in 0..20 {
        let socket = connect(secret).await;
        // A record of the handshake that promises 512 bytes; garbage; HTTP in the clear; nothing.
        let bytes = match number % 4 {
            0 => [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 500]].concat(),
            1 => vec![0x16; 64],
            2 => b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            _ => Vec::new(),
        };
        crowd.spawn(trickle(socket, bytes));
    }
    let mut fine = http2::Connection::open_tls(secret, client).await;
    fine.ask(&Request::get("/v1/models")).await.with_status(200);
    house.unharmed().await;
    all(crowd).await;
    // A client sees its end before the count is written.
    eventually("every handshake is counted", async || {
        (house.sum("handshakes_failed_total").await >= 20.0).then_some(())
    })
    .await;
    drop(fine);
    house.rest().await;
}

/// A body that trickles has the route's time and no more (R.U.D.Y.); it is answered then.
#[tokio::test]
async fn bodies_that_trickle_are_refused_at_the_deadline() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address)
        .listener("{ idle-timeout: 2s }")
        .limits("{ timeout: 2s }")
        .start()
        .await;
    let mut crowd = JoinSet::new();
    for _ in 0..12 {
        let mut socket = connect(house.address()).await;
        let head = format!("{POST}content-length: 5000\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        crowd.spawn(trickle(socket, vec![b' '; 5000]));
    }
    let mut connection = http2::Connection::open(house.address()).await;
    let request = Request::get("/v1/completions").method("POST");
    let mut open = connection
        .begin(&request.header("content-type", "application/json"), false)
        .await;
    open.write(" ".into(), false).await;
    house.unharmed().await;
    in_dialect(&open.response().await, 504);
    for said in all(crowd).await {
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.starts_with("HTTP/1.1 504 "), "{said}");
    }
    assert_eq!(prey.journal.requests(), 0);
    drop(connection);
    house.rest().await;
}

/// Connections have a bound; past it they cost nothing here and wait in the system's backlog.
#[tokio::test]
async fn a_flood_of_connections_takes_the_places_and_no_more() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address)
        .listener("{ connections: 8, idle-timeout: 2s, header-timeout: 2s }")
        .start()
        .await;
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(connect(house.address()).await);
    }
    for _ in 0..3 {
        house.unharmed().await;
        assert!(house.sum("connections").await <= 8.0);
    }
    drop(flood);
    let got = http1::ask(house.address(), &Request::get("/v1/models")).await;
    got.with_status(200);
    house.rest().await;
}

/// A client that reads nothing, and has no window to hide it, is given the idle timeout.
#[tokio::test]
async fn clients_that_read_nothing_over_http1_are_let_go() {
    let prey = endless_worker().await;
    let mut house = Plan::openai(prey.address)
        .listener("{ idle-timeout: 2s }")
        .start()
        .await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        let mut client = http1::Connection::open(house.address()).await;
        client.send(&scene::completion(true)).await;
        silent.push(client);
    }
    house.unharmed().await;
    for number in 0..silent.len() {
        prey.journal.gone(number).await;
    }
    house.only_the_innocent_are_left().await;
    drop(silent);
    house.rest().await;
}

/// RFC 9112, section 9.6: a client that closes its side is taken for gone, whatever it waits for.
#[tokio::test]
async fn half_closed_sockets_end_what_goes_on_on_them() {
    let prey = silent_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    let whole = format!("{POST}content-length: {}\r\n\r\n{BODY}", BODY.len());
    for sent in [0, 1, 30, whole.len() - 3, whole.len()] {
        let mut socket = connect(house.address()).await;
        socket.write_all(&whole.as_bytes()[..sent]).await.unwrap();
        if sent == whole.len() {
            prey.journal.holding(0).await;
        }
        socket.shutdown().await.unwrap();
        let mut said = Vec::new();
        let read = socket.read_to_end(&mut said);
        // An error is as good an end.
        let _ = within("the other side closes, too", read).await;
    }
    prey.journal.gone(0).await;
    assert_eq!(prey.journal.requests(), 1);
    house.unharmed().await;
    house.rest().await;
}

/// RST in the midst of a body, in both directions, leaves nothing behind.
#[tokio::test]
async fn connections_that_are_reset_in_a_body_leave_nothing() {
    let prey = endless_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    for _ in 0..10 {
        // In the request's.
        let mut socket = connect(house.address()).await;
        let head = format!("{POST}content-length: 5000\r\n\r\n{{\"model\"");
        socket.write_all(head.as_bytes()).await.unwrap();
        SockRef::from(&socket)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(socket);
    }
    assert_eq!(prey.journal.requests(), 0);
    let body = scene::completion(true).body.unwrap();
    for number in 0..6 {
        // In the response's, with bytes that have been read and bytes that have not.
        let mut socket = connect(house.address()).await;
        let head = format!("{POST}content-length: {}\r\n\r\n", body.len());
        socket
            .write_all(&[head.as_bytes(), &body].concat())
            .await
            .unwrap();
        socket.read_exact(&mut [0; 2000]).await.unwrap();
        SockRef::from(&socket)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(socket);
        prey.journal.gone(number).await;
    }
    house.unharmed().await;
    house.rest().await;
}

/// A hundred that come and go at once in every phase: the crowd of a scanner.
#[tokio::test]
async fn clients_that_come_and_go_at_once_leave_nothing() {
    let prey = silent_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    let whole = format!("{POST}content-length: {}\r\n\r\n{BODY}", BODY.len());
    let mut crowd = JoinSet::new();
    for number in 0..100 {
        let (address, whole) = (house.address(), whole.clone());
        crowd.spawn(async move {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let sent = (number * 7) % (whole.len() + 1);
            socket.write_all(&whole.as_bytes()[..sent]).await.unwrap();
        });
    }
    all(crowd).await;
    house.unharmed().await;
    house.only_the_innocent_are_left().await;
    let begun = prey.journal.requests();
    for number in 0..begun {
        let over = |seen: &Seen| matches!(seen, Seen::Gone(_));
        prey.journal.until(number, over).await;
    }
    house.rest().await;
}

/// RFC 9112, section 9.3: what comes late of a request that is refused is read past, so that the next
/// one is answered; and whoever sends more than that is told that the connection ends.
#[tokio::test]
async fn after_a_refusal_a_connection_goes_on_or_says_that_it_ends() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).guarded().start().await;
    let small = format!("{POST}content-length: {}\r\n\r\n", BODY.len());
    let large = format!("{POST}content-length: 100000\r\n\r\n");
    let good = format!(
        "{POST}authorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{BODY}",
        house::TOKEN,
        BODY.len()
    );

    let mut socket = connect(house.address()).await;
    socket.write_all(small.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    socket.write_all(BODY.as_bytes()).await.unwrap();
    let refused = until(&mut socket, "\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    assert!(!refused.contains("connection: close"), "{refused}");
    socket.write_all(good.as_bytes()).await.unwrap();
    until(&mut socket, "HTTP/1.1 200 ").await;
    drop(socket);

    let mut socket = connect(house.address()).await;
    socket.write_all(large.as_bytes()).await.unwrap();
    let refused = until(&mut socket, "\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    assert!(refused.contains("connection: close"), "{refused}");

    drop(socket);
    house.unharmed().await;
    house.rest().await;
}

/// What comes, up to this.
async fn until(socket: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        read.push(within("an answer", socket.read_u8()).await.unwrap());
    }
    String::from_utf8(read).unwrap()
}
