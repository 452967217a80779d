//! A fake worker that speaks HTTP/1.1.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};

use super::{Gate, Journal, Seen};
use crate::wire1::{Head, Length, Wire};

/// One thing that a script does.
#[derive(Clone, Debug)]
pub enum Act {
    /// Writes bytes as they are.
    Write(Bytes),
    /// Waits until it is released, or the proxy has gone, which ends the script.
    Hold,
    /// Takes its time, as a model does.
    Work(Duration),
    /// Closes the connection.
    Close,
    /// Resets the connection (RST).
    Reset,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Counted from 0 over all connections.
    pub number: usize,
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Bytes,
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

/// Writes text.
#[must_use]
pub fn write(text: impl Into<String>) -> Act {
    Act::Write(Bytes::from(text.into()))
}

/// A complete answer.
#[must_use]
pub fn answer(status: u16, content_type: &str, body: &str) -> Act {
    write(format!(
        "HTTP/1.1 {status} Whatever\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// A complete answer of JSON.
#[must_use]
pub fn json(status: u16, body: &Value) -> Act {
    answer(status, "application/json", &body.to_string())
}

/// The head of a stream of events in chunks.
#[must_use]
pub fn stream_head() -> Act {
    write(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )
}

/// One event, in a chunk.
#[must_use]
pub fn event(data: &str) -> Act {
    let event = format!("data: {data}\n\n");
    write(format!("{:x}\r\n{event}\r\n", event.len()))
}

/// The last chunk.
#[must_use]
pub fn stream_end() -> Act {
    write("0\r\n\r\n")
}

impl Worker {
    /// A worker that does for each request what the script says.
    ///
    /// # Panics
    /// When the machine has no free port.
    pub async fn start(script: impl Fn(&Received) -> Vec<Act> + Send + Sync + 'static) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), script).await
    }

    /// The same at an address.
    ///
    /// # Panics
    /// When it is taken.
    pub async fn start_at(
        address: SocketAddr,
        script: impl Fn(&Received) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address)
            .await
            .expect("the address is free");
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

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    // Ends with the worker, and every connection with it.
    let mut connections = tokio::task::JoinSet::new();
    for number in 0.. {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        desk.journal.add(number, Seen::Accepted);
        connections.spawn(serve(stream, desk.clone()));
    }
}

async fn serve(stream: TcpStream, desk: Arc<Desk>) {
    // So that it can be reset: a second handle of the same socket.
    let Ok(stream) = stream.into_std() else {
        return;
    };
    let Ok(socket) = stream.try_clone() else {
        return;
    };
    let Ok(stream) = TcpStream::from_std(stream) else {
        return;
    };
    let mut wire = Wire::new(Box::new(stream));
    while let Ok(Some(head)) = wire.head().await {
        let number = desk.requests.fetch_add(1, Ordering::Relaxed);
        desk.journal.add(number, Seen::Head(head.clone()));
        let mut length = Length::of(&head, false);
        let mut body = Vec::new();
        loop {
            match wire.piece(&mut length).await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => break,
                Err(error) => return desk.journal.add(number, Seen::Gone(error.to_string())),
            }
        }
        let body = Bytes::from(body);
        desk.journal.add(number, Seen::Body(body.clone()));
        let received = Received { number, head, body };
        for act in (desk.script)(&received) {
            match act {
                Act::Write(bytes) => {
                    if let Err(error) = wire.write(&bytes).await {
                        return desk.journal.add(number, Seen::Gone(error.to_string()));
                    }
                }
                Act::Hold => {
                    desk.journal.add(number, Seen::Holding);
                    tokio::select! {
                        permit = desk.gate.acquire() => {
                            permit.expect("the gate is never closed").forget();
                        }
                        read = wire.fill() => {
                            let how = match read {
                                Ok(0) => "closed".to_owned(),
                                Ok(_) => "sent more".to_owned(),
                                Err(error) => error.to_string(),
                            };
                            return desk.journal.add(number, Seen::Gone(how));
                        }
                    }
                }
                Act::Work(time) => tokio::time::sleep(time).await,
                Act::Close => return,
                Act::Reset => {
                    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
                    return;
                }
            }
        }
        desk.journal.add(number, Seen::Answered);
    }
}
