//! The bare proxy: the least that a correct reverse proxy over hyper does, as the limit that a
//! proxy of this design can come near to.
//!
//! What it does: a pool of connections to one upstream, hop-by-hop fields taken away in both
//! directions (RFC 9110, section 7.6.1), bodies and trailers streamed under the back-pressure of
//! both sides, a request sent once more when its connection was found closed before anything of
//! it went out, 502 when there is no upstream, and an exchange broken off when either side breaks.
//!
//! What it leaves out, besides everything that is not forwarding: TLS, tokens, limits, time limits,
//! logs and metrics, `Via` and `Forwarded`, upgrades, retries, health, more than one upstream, and
//! bounds (its pool and its clients are as many as the load opens).

mod headers;
mod http1;
mod http2;

use std::{io, net::SocketAddr};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{Either, Full};
use serde_json::json;

use crate::net;

/// What the bare proxy is told.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// Listens there.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Forwards there.
    #[arg(long)]
    pub upstream: SocketAddr,
    /// Cleartext HTTP/2 on both sides (gRPC), in place of HTTP/1.1.
    #[arg(long)]
    pub h2: bool,
}

/// Forwards until it is killed. Prints where, as one line of JSON, once it listens.
///
/// # Errors
/// When it cannot listen.
pub async fn run(arguments: Arguments) -> io::Result<()> {
    let listener = net::listen(arguments.listen)?;
    println!("{}", json!({"listen": listener.local_addr()?}));
    if arguments.h2 {
        http2::serve(&listener, arguments.upstream).await;
    } else {
        http1::serve(&listener, arguments.upstream).await;
    }
    Ok(())
}

/// An upstream's body, or our own few words.
type Reply<B> = Response<Either<B, Full<Bytes>>>;

fn bad_gateway<B>() -> Reply<B> {
    let words = Full::new(Bytes::from_static(b"bad gateway\n"));
    let mut response = Response::new(Either::Right(words));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
