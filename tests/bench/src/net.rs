//! What every program here needs of the machine: a runtime, open files, sockets.

use std::{io, net::SocketAddr};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
};

/// Connections that may wait to be accepted: a wave of clients comes at once.
const BACKLOG: u32 = 16_384;

/// A runtime with so many threads; one is the calling thread itself.
///
/// # Errors
/// When the system gives none.
pub fn runtime(threads: usize) -> io::Result<Runtime> {
    let mut builder = if threads <= 1 {
        Builder::new_current_thread()
    } else {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads);
        builder
    };
    builder.enable_all().build()
}

/// Raises the limit of open files as far as the system lets one; ten thousand streams need it.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where it is not allowed, the limit stays, and opening too many is an error of its own.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// Listens, with room for a wave of clients.
///
/// # Errors
/// When the address is taken or none of this machine's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The next client; errors of single connections are passed over.
pub async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            // A token leaves when it is written.
            let _ = stream.set_nodelay(true);
            return stream;
        }
        // Out of files, most likely: the next try is after others have had their turn.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A connection, from this address if one is given.
///
/// # Errors
/// When nobody listens there, or this machine has no port or file left.
pub async fn connect(target: SocketAddr, source: Option<SocketAddr>) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(source) = source {
        socket.bind(source)?;
    }
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
