//! A native model server that costs little: every answer is made once, at start, and a request
//! only chooses among them.
//!
//! What a request may choose: the endpoint, whether it streams, which usage it wants told, and of
//! how many parts it is (prompts of a batch). All else comes from the command line, because a
//! proxy that translates loses paths and headers. It checks nothing: no token, no model's name.

pub mod answers;
mod asked;
mod grpc;
mod http1;
mod reply;
mod writes;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use serde_json::json;
use tokio::net::TcpListener;

use crate::{known, net};
use answers::{Answers, Shape};

/// What the stub is told.
#[derive(clap::Args, Clone, Debug)]
#[group(id = "places", required = true, multiple = true, args = ["http", "grpc"])]
pub struct Arguments {
    /// Serves HTTP/1.1 there.
    #[arg(long)]
    pub http: Option<SocketAddr>,
    /// Serves gRPC over cleartext HTTP/2 there.
    #[arg(long)]
    pub grpc: Option<SocketAddr>,
    /// The model that it claims to be.
    #[arg(long, default_value = "m")]
    pub model: String,
    /// Tokens of an answer, whether it streams or not; 160 are about 1 KB.
    #[arg(long, default_value_t = known::TOKENS, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub tokens: u32,
    /// Tokens (events, messages) that a stream writes at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub per_write: u32,
    /// Microseconds between two writes of a stream; 0: as fast as flow control lets.
    #[arg(long, default_value_t = 0)]
    pub interval: u64,
    /// Streams send their first token, and then nothing.
    #[arg(long)]
    pub hold: bool,
    /// The size of a tensor that is answered; 0: 1 KiB.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1024))]
    pub tensor_mib: u32,
}

/// Serves until it is killed. Prints where, as one line of JSON, once it listens.
///
/// # Errors
/// When it cannot listen.
pub async fn run(arguments: Arguments) -> io::Result<()> {
    let stub = Stub::bind(&arguments)?;
    println!(
        "{}",
        json!({"http": stub.http_address()?, "grpc": stub.grpc_address()?})
    );
    stub.serve().await;
    Ok(())
}

/// The server.
pub struct Stub {
    http: Option<TcpListener>,
    grpc: Option<TcpListener>,
    answers: Arc<Answers>,
}

impl Stub {
    /// Makes the answers and listens.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn bind(arguments: &Arguments) -> io::Result<Self> {
        let listen = |place: Option<SocketAddr>| place.map(net::listen).transpose();
        Ok(Self {
            http: listen(arguments.http)?,
            grpc: listen(arguments.grpc)?,
            answers: Arc::new(Answers::new(Shape {
                model: arguments.model.clone(),
                tokens: arguments.tokens,
                per_write: arguments.per_write,
                interval: Duration::from_micros(arguments.interval),
                hold: arguments.hold,
                tensor_bytes: match arguments.tensor_mib {
                    0 => 1024,
                    mib => mib as usize * 1024 * 1024,
                },
            })),
        })
    }

    /// Where HTTP/1.1 is served, if at all.
    ///
    /// # Errors
    /// When the system does not know.
    pub fn http_address(&self) -> io::Result<Option<SocketAddr>> {
        self.http.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Where gRPC is served, if at all.
    ///
    /// # Errors
    /// When the system does not know.
    pub fn grpc_address(&self) -> io::Result<Option<SocketAddr>> {
        self.grpc.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Serves for ever.
    pub async fn serve(self) {
        let http = async {
            match &self.http {
                Some(listener) => http1::serve(listener, &self.answers).await,
                None => std::future::pending().await,
            }
        };
        let grpc = async {
            match &self.grpc {
                Some(listener) => grpc::serve(listener, &self.answers).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(http, grpc);
    }
}
