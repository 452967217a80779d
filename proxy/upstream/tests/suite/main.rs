//! Connections to workers, against real servers on loopback sockets: hyper for HTTP/1.1, `h2` for
//! HTTP/2, and bare sockets for faults that no server library would commit.

mod flow;
mod http1;
mod http1_faults;
mod http2;
mod http2_faults;
mod pool;
mod support;
mod tls;
