//! `tollgate health`: asks a proxy whether it is ready, or alive, for images and units that have no
//! other program to ask with.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use clap::Args;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

/// Bytes of an answer: it is a word.
const ANSWER: usize = 4096;

/// Whom to ask, and what.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The proxy's admin listener, as `admin.address` in its configuration has it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
    /// Whether it is alive (`/livez`); else whether it is ready to serve (`/readyz`).
    #[arg(long)]
    live: bool,
    /// How long an answer may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

/// The proxy is not well, or cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HealthError {
    #[error("{address}: {what}")]
    Unreached { address: SocketAddr, what: String },
    #[error("{path} says {status}: {word}")]
    Unwell {
        path: &'static str,
        status: StatusCode,
        word: String,
    },
}

type Asked = Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>>;

/// Asks once; gives the word that it says.
///
/// # Errors
/// When there is no answer in time, or one that is not 200.
pub(crate) fn ask(arguments: &Arguments) -> Result<String, HealthError> {
    let path = if arguments.live { "/livez" } else { "/readyz" };
    let address = arguments.admin;
    let unreached = |what: String| HealthError::Unreached { address, what };
    let patience = Duration::from_secs(arguments.timeout);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| unreached(error.to_string()))?;
    let (status, said) = runtime
        .block_on(async { tokio::time::timeout(patience, get(address, path)).await })
        .map_err(|_| unreached(format!("no answer within {patience:?}")))?
        .map_err(|error| unreached(error.to_string()))?;
    let word = String::from_utf8_lossy(&said).trim().to_owned();
    if status == StatusCode::OK {
        Ok(word)
    } else {
        Err(HealthError::Unwell { path, status, word })
    }
}

async fn get(address: SocketAddr, path: &'static str) -> Asked {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let asking = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER).collect().await?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(connection, asking);
    tokio::select! {
        // What is left of an answer comes from the connection: it goes on until it is read.
        answer = &mut asking => answer,
        ended = &mut connection => {
            ended?;
            asking.await
        }
    }
}
