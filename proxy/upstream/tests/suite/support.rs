//! Servers, bodies and ceilings that the tests share.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{Request, Response as HttpResponse, uri::Authority};
use http_body::{Body, Frame};
use http_body_util::{Empty, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};
use tollgate_upstream::{BoxError, Incoming, Spec, Transport};

/// A ceiling, so that a test that hangs fails.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), work)
        .await
        .expect("done within ten seconds")
}

pub(crate) fn spec(transport: Transport, address: std::net::SocketAddr) -> Spec {
    Spec {
        authority: Authority::from_static("worker.test"),
        address: address.to_string(),
        transport,
        tls: None,
        max_connections: 4,
        max_streams: 4,
        connect_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(3600),
    }
}

pub(crate) async fn listen() -> (TcpListener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

pub(crate) fn post(path: &str) -> Request<()> {
    Request::post(path).body(()).unwrap()
}

pub(crate) fn empty() -> Empty<Bytes> {
    Empty::new()
}

pub(crate) fn full(data: impl Into<Bytes>) -> Full<Bytes> {
    Full::new(data.into())
}

/// A body that is fed by hand.
pub(crate) struct Fed(mpsc::Receiver<Result<Frame<Bytes>, BoxError>>);

pub(crate) struct Feeder(mpsc::Sender<Result<Frame<Bytes>, BoxError>>);

pub(crate) fn fed() -> (Feeder, Fed) {
    let (feeder, fed) = mpsc::channel(1);
    (Feeder(feeder), Fed(fed))
}

impl Feeder {
    pub(crate) async fn data(&self, data: impl Into<Bytes>) {
        self.0.send(Ok(Frame::data(data.into()))).await.unwrap();
    }

    pub(crate) async fn fail(&self, why: &'static str) {
        self.0.send(Err(why.into())).await.unwrap();
    }

    /// The body was dropped.
    pub(crate) async fn dropped(&self) {
        self.0.closed().await;
    }
}

impl Body for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx)
    }
}

/// Yields chunks without end, and counts what was asked of it.
pub(crate) struct Endless {
    pub(crate) chunk: Bytes,
    pub(crate) asked: Arc<AtomicUsize>,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.asked.fetch_add(self.chunk.len(), Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(self.chunk.clone()))))
    }
}

/// All that is left of a body.
pub(crate) async fn collect(body: &mut Incoming) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        all.extend_from_slice(&data.unwrap());
    }
    all
}

/// One message's head, and what came after it in the same reads.
pub(crate) async fn read_head(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut seen = Vec::new();
    loop {
        if let Some(end) = seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let rest = seen.split_off(end + 4);
            return (String::from_utf8(seen).unwrap(), rest);
        }
        let read = stream.read_buf(&mut seen).await.unwrap();
        assert!(read > 0, "the head broke off");
    }
}

/// Waits until the peer has closed, whatever it sends before.
pub(crate) async fn closed(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(read) = stream.read(&mut buffer).await {
        if read == 0 {
            return;
        }
    }
}

/// Two ends of a connection, to have the reactor take turns.
pub(crate) struct Turns(TcpStream, TcpStream);

impl Turns {
    pub(crate) async fn new() -> Self {
        let (listener, address) = listen().await;
        let near = TcpStream::connect(address).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        Self(near, far)
    }

    /// Whatever was ready on any socket of this thread is known afterwards.
    pub(crate) async fn turn(&mut self) {
        self.1.write_all(b"!").await.unwrap();
        self.0.read_u8().await.unwrap();
    }
}

pub(crate) async fn turn() {
    Turns::new().await.turn().await;
}

/// Polls `work` first with no more than `left` of the task's budget (tokio's cooperative
/// scheduling), as it is in a task that had much to do.
pub(crate) async fn spent<T>(left: usize, work: impl Future<Output = T>) -> T {
    const BUDGET: usize = 128;
    let mut work = std::pin::pin!(work);
    let mut first = true;
    // With a new turn, a new budget.
    tokio::task::yield_now().await;
    std::future::poll_fn(|cx| {
        if std::mem::take(&mut first) {
            // Without a waker: what wakes this task again is `work`'s doing.
            let mut still = Context::from_waker(std::task::Waker::noop());
            for _ in left..BUDGET {
                if let Poll::Ready(proceed) = tokio::task::coop::poll_proceed(&mut still) {
                    proceed.made_progress();
                }
            }
        }
        work.as_mut().poll(cx)
    })
    .await
}

/// A request as an HTTP/2 server's test sees it.
pub(crate) struct Exchange {
    pub(crate) request: Request<h2::RecvStream>,
    pub(crate) respond: SendResponse<Bytes>,
    /// The number of the connection, from 0.
    pub(crate) connection: usize,
}

impl Exchange {
    pub(crate) fn head(&mut self) -> h2::SendStream<Bytes> {
        self.respond
            .send_response(HttpResponse::new(()), false)
            .unwrap()
    }

    pub(crate) fn answer(&mut self, body: &'static str) {
        self.head().send_data(body.into(), true).unwrap();
    }
}

/// An HTTP/2 server that hands its requests to the test. The second handle asks the connection
/// of that number to shut down gracefully.
pub(crate) async fn serve_h2(
    builder: h2::server::Builder,
) -> (
    std::net::SocketAddr,
    mpsc::Receiver<Exchange>,
    watch::Sender<usize>,
) {
    let (listener, address) = listen().await;
    let (exchanges, seen) = mpsc::channel(64);
    let stop = watch::channel(usize::MAX).0;
    let stopping = stop.clone();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let builder = builder.clone();
            let exchanges = exchanges.clone();
            let mut stopping = stopping.subscribe();
            tokio::spawn(async move {
                let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
                let mut shut = false;
                loop {
                    tokio::select! {
                        () = told(&mut stopping, number), if !shut => {
                            connection.graceful_shutdown();
                            shut = true;
                        }
                        accepted = connection.accept() => match accepted {
                            Some(Ok((request, respond))) => {
                                let exchange = Exchange { request, respond, connection: number };
                                let _ = exchanges.send(exchange).await;
                            }
                            _ => return,
                        }
                    }
                }
            });
        }
    });
    (address, seen, stop)
}

async fn told(stopping: &mut watch::Receiver<usize>, number: usize) {
    if stopping.wait_for(|at| *at == number).await.is_err() {
        std::future::pending().await
    }
}

/// As much as flow control lets through of `total` bytes, counted; ends with the stream.
pub(crate) async fn push(mut stream: h2::SendStream<Bytes>, total: usize, sent: Arc<AtomicUsize>) {
    let mut left = total;
    while left > 0 {
        stream.reserve_capacity(left.min(16 * 1024));
        let granted = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let Some(Ok(granted)) = granted else {
            return;
        };
        let granted = granted.min(left);
        left -= granted;
        stream
            .send_data(vec![b'x'; granted].into(), left == 0)
            .unwrap();
        sent.fetch_add(granted, Ordering::SeqCst);
    }
}
