//! A fake worker that speaks gRPC over HTTP/2.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, Response};
use prost::Message;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::{JoinHandle, JoinSet},
};

use super::{Gate, Journal, Seen};
use crate::{client::grpc::framed, wire1::Head};

/// One thing that a script does.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends the head.
    Head,
    /// Sends bytes as they are.
    Write(Bytes),
    /// Ends with this status.
    Status(u32, &'static str),
    /// Waits until it is released, or the proxy has gone, which ends the script.
    Hold,
    /// Resets the stream.
    Reset(Reason),
    /// Ends the connection at once: GOAWAY, and away.
    GoAway,
    /// Takes no more requests on the connection, and goes on with this one.
    LastStream,
    /// Closes the connection with no word.
    Close,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Counted from 0 over all connections.
    pub number: usize,
    /// Its head; the line is `METHOD PATH`.
    pub head: Head,
    /// Its messages in their frames.
    pub body: Bytes,
}

impl Received {
    /// The only message.
    ///
    /// # Panics
    /// When there is not one message of that kind.
    #[must_use]
    pub fn message<M: Message + Default>(&self) -> M {
        message(&self.body)
    }
}

/// The only message of a body.
///
/// # Panics
/// When there is not one message of that kind.
#[must_use]
pub fn message<M: Message + Default>(body: &[u8]) -> M {
    let length = u32::from_be_bytes(body[1..5].try_into().expect("four bytes"));
    assert_eq!(
        (body[0], body.len()),
        (0, 5 + length as usize),
        "one message"
    );
    M::decode(&body[5..]).expect("it is that message")
}

/// A head, a message and the status 0.
#[must_use]
pub fn answer(message: &impl Message) -> Vec<Act> {
    vec![Act::Head, self::send(message), Act::Status(0, "")]
}

/// Sends a message.
#[must_use]
pub fn send(message: &impl Message) -> Act {
    Act::Write(framed(&message.encode_to_vec()))
}

type Script = dyn Fn(&Received) -> Vec<Act> + Send + Sync;

/// The worker. Dropped, it is gone with all of its connections.
pub struct Worker {
    /// Where it listens.
    pub address: SocketAddr,
    /// What has happened.
    pub journal: Journal,
    gate: Gate,
    task: JoinHandle<()>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Worker {
    /// A worker that does for each request what the script says.
    ///
    /// # Panics
    /// When the machine has no free port.
    pub async fn start(script: impl Fn(&Received) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("the machine has a free port");
        let address = listener.local_addr().expect("it listens");
        let journal = Journal::default();
        let gate: Gate = Arc::new(Semaphore::new(0));
        let desk = Arc::new(Desk {
            script: Box::new(script),
            journal: journal.clone(),
            gate: gate.clone(),
            requests: AtomicUsize::new(0),
        });
        let task = tokio::spawn(accept(listener, desk));
        Self {
            address,
            journal,
            gate,
            task,
        }
    }

    /// Lets one act that holds go on.
    pub fn release(&self) {
        self.gate.add_permits(1);
    }
}

struct Desk {
    script: Box<Script>,
    journal: Journal,
    gate: Gate,
    requests: AtomicUsize,
}

/// What a stream's script wants of its connection.
enum Order {
    GoAway,
    LastStream,
    Close,
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        desk.journal.add(number, Seen::Accepted);
        connections.spawn(serve(stream, desk.clone()));
    }
}

async fn serve(stream: TcpStream, desk: Arc<Desk>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    let (orders, mut ordered) = mpsc::channel(16);
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            request = connection.accept() => {
                let Some(Ok((request, respond))) = request else {
                    return;
                };
                streams.spawn(stream_of(desk.clone(), request, respond, orders.clone()));
            }
            Some(order) = ordered.recv() => match order {
                Order::GoAway => connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
                Order::LastStream => connection.graceful_shutdown(),
                Order::Close => return,
            },
        }
    }
}

async fn stream_of(
    desk: Arc<Desk>,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    orders: mpsc::Sender<Order>,
) {
    let number = desk.requests.fetch_add(1, Ordering::Relaxed);
    let (parts, body) = request.into_parts();
    let headers = parts.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    let head = Head {
        line: format!("{} {}", parts.method, parts.uri.path()),
        headers: headers.collect(),
    };
    desk.journal.add(number, Seen::Head(head.clone()));
    let body = match whole(body).await {
        Ok(body) => body,
        Err(error) => return desk.journal.add(number, Seen::Gone(error.to_string())),
    };
    desk.journal.add(number, Seen::Body(body.clone()));
    let acts = (desk.script)(&Received { number, head, body });
    let mut answering = Answering {
        respond,
        stream: None,
    };
    for act in acts {
        if let Err(how) = answering.act(act, &desk, number, &orders).await {
            return desk.journal.add(number, Seen::Gone(how));
        }
    }
    desk.journal.add(number, Seen::Answered);
    // A stream that is dropped unfinished would be reset; the script decides that.
    std::future::pending::<()>().await;
}

async fn whole(mut body: RecvStream) -> Result<Bytes, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        all.extend_from_slice(&data);
        let _ = body.flow_control().release_capacity(data.len());
    }
    Ok(all.into())
}

struct Answering {
    respond: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
}

impl Answering {
    /// Does one thing. The error: how the proxy has gone.
    async fn act(
        &mut self,
        act: Act,
        desk: &Desk,
        number: usize,
        orders: &mpsc::Sender<Order>,
    ) -> Result<(), String> {
        let told = |error: h2::Error| error.to_string();
        match act {
            Act::Head => {
                let head = head();
                self.stream = Some(self.respond.send_response(head, false).map_err(told)?);
            }
            Act::Write(bytes) => self.stream().send_data(bytes, false).map_err(told)?,
            Act::Status(code, message) => {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", code.into());
                trailers.insert("grpc-message", message.parse().expect("plain text"));
                match &mut self.stream {
                    Some(stream) => stream.send_trailers(trailers).map_err(told)?,
                    None => {
                        let mut head = head();
                        head.headers_mut().extend(trailers);
                        self.respond.send_response(head, true).map_err(told)?;
                    }
                }
            }
            Act::Hold => {
                desk.journal.add(number, Seen::Holding);
                let gone = std::future::poll_fn(|context| match &mut self.stream {
                    Some(stream) => stream.poll_reset(context),
                    None => self.respond.poll_reset(context),
                });
                tokio::select! {
                    permit = desk.gate.acquire() => {
                        permit.expect("the gate is never closed").forget();
                    }
                    gone = gone => return Err(match gone {
                        Ok(reason) => reason.to_string(),
                        Err(error) => error.to_string(),
                    }),
                }
            }
            Act::Reset(reason) => match &mut self.stream {
                Some(stream) => stream.send_reset(reason),
                None => self.respond.send_reset(reason),
            },
            // An order fails when the connection has gone already.
            Act::GoAway => drop(orders.send(Order::GoAway).await),
            Act::LastStream => drop(orders.send(Order::LastStream).await),
            Act::Close => drop(orders.send(Order::Close).await),
        }
        Ok(())
    }

    fn stream(&mut self) -> &mut SendStream<Bytes> {
        self.stream.as_mut().expect("the script sends a head first")
    }
}

fn head() -> Response<()> {
    Response::builder()
        .header("content-type", "application/grpc")
        .body(())
        .expect("a good head")
}
