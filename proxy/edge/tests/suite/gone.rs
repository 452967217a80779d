//! A client that goes away takes its request with it.

use http_body_util::BodyExt;
use tokio::net::TcpStream;

use crate::support::{Event, Server, get, http1, http2, within};

fn began(path: &str) -> Event {
    Event::Began(path.to_owned())
}

#[tokio::test]
async fn http_1_before_the_head() {
    let mut server = Server::plain().await;
    let (mut client, task) = http1(server.connect().await).await;
    let asking = tokio::spawn(async move { client.send_request(get("/hold")).await.is_err() });
    server.expect(began("/hold")).await;
    task.abort();
    server.expect(Event::Dropped("/hold".to_owned())).await;
    assert!(within(asking).await.unwrap());
}

#[tokio::test]
async fn http_1_in_the_body() {
    let mut server = Server::plain().await;
    let (mut client, task) = http1(server.connect().await).await;
    let mut answer = within(client.send_request(get("/stream"))).await.unwrap();
    server.expect(began("/stream")).await;
    server.feed("/stream", "a").await;
    let piece = within(answer.body_mut().frame()).await.unwrap().unwrap();
    assert_eq!(piece.into_data().unwrap(), "a");
    // Nothing more is sent: the end is noticed by itself, not by a failed write.
    task.abort();
    server
        .expect(Event::BodyDropped("/stream".to_owned()))
        .await;
}

#[tokio::test]
async fn http_2_by_a_reset_before_the_head() {
    let mut server = Server::plain().await;
    let (mut client, _task) = http2(server.connect().await).await;
    let mut other = client.clone();
    let asking = tokio::spawn(async move { drop(client.send_request(get("/hold")).await) });
    server.expect(began("/hold")).await;
    asking.abort();
    server.expect(Event::Dropped("/hold".to_owned())).await;
    // Its neighbours go on.
    assert_eq!(
        within(other.send_request(get("/"))).await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn http_2_by_a_reset_in_the_body() {
    let mut server = Server::plain().await;
    let (mut client, _task) = http2(server.connect().await).await;
    let mut answer = within(client.send_request(get("/stream"))).await.unwrap();
    server.expect(began("/stream")).await;
    server.feed("/stream", "a").await;
    within(answer.body_mut().frame()).await.unwrap().unwrap();
    drop(answer);
    server
        .expect(Event::BodyDropped("/stream".to_owned()))
        .await;
    assert_eq!(
        within(client.send_request(get("/")))
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn http_2_by_the_end_of_the_connection() {
    let mut server = Server::plain().await;
    let socket = server.connect().await.into_std().unwrap();
    let line = socket.try_clone().unwrap();
    let (mut client, _task) = http2(TcpStream::from_std(socket).unwrap()).await;
    let _answer = within(client.send_request(get("/stream"))).await.unwrap();
    server.expect(began("/stream")).await;
    let asking = tokio::spawn(async move { client.send_request(get("/hold")).await.is_err() });
    server.expect(began("/hold")).await;
    line.shutdown(std::net::Shutdown::Both).unwrap();
    let mut ends = [server.event().await, server.event().await];
    ends.sort_by_key(|event| matches!(event, Event::BodyDropped(_)));
    let paths = ("/hold".to_owned(), "/stream".to_owned());
    assert_eq!(ends, [Event::Dropped(paths.0), Event::BodyDropped(paths.1)]);
    assert!(within(asking).await.unwrap());
}
