//! Everything has a bound: what happens at it, who is told, and that nothing stays behind.

mod admission;
mod dense;
mod instances;
mod memory;
mod quarantine;
mod table;
mod workers;

use bytes::Bytes;
use tollgate_tests::{
    Proxy, Setup,
    client::{
        Request,
        grpc::{self, Call},
        http1::{self, Connection},
        http2,
    },
    fake::http1 as h,
    fmaas, place, scene, tokens,
};

/// The head of a completion whose body of so many bytes never comes.
fn head_only(length: u64) -> String {
    format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
}

/// A client that has told of a body and sends none of it.
async fn announce(proxy: &Proxy, length: u64) -> Connection {
    let mut connection = Connection::open(proxy.http()).await;
    connection.raw(head_only(length)).await;
    connection
}

/// A completion that a client has sent whole and that its worker holds.
async fn held(proxy: &Proxy, worker: &h::Worker, number: usize) -> Connection {
    let mut connection = Connection::open(proxy.http()).await;
    connection.send(&scene::completion(false)).await;
    worker.journal.holding(number).await;
    connection
}

/// A worker that answers each completion once it is released.
async fn slow() -> h::Worker {
    h::Worker::start(|_| vec![h::Act::Hold, h::json(200, &scene::completed(" there"))]).await
}
