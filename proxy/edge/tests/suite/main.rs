//! Listeners from outside: real sockets, real clients.

mod clients;
mod drain;
mod gone;
mod limits;
mod protocols;
mod support;
mod tls;
mod tokens;
