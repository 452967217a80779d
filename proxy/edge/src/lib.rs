//! Who may come in: listeners, TLS, protocol detection, tokens, limits, drain.
//!
//! | module | for |
//! |---|---|
//! | [`spec`] | what a listener is |
//! | [`listener`] | accepting connections, up to a bound |
//! | `connection` | one connection: handshake, protocol, requests, end |
//! | `activity` | its time limits |
//! | `head` | requests that do not keep their connection's buffer |
//! | `tls` | certificates by the name asked for, reloaded when files change |
//! | [`drain`] | ending it all in order |
//! | [`identity`], [`auth`], [`tokens`] | who asks, and what they may use |
//!
//! It never looks into a body, and knows nothing of routes: the service that it is given does.
#![forbid(unsafe_code)]

mod activity;
pub mod auth;
mod body;
mod connection;
pub mod drain;
mod head;
pub mod identity;
pub mod listener;
pub mod peer;
pub mod spec;
mod stall;
mod streams;
mod tls;
pub mod tokens;
mod transport;

pub use auth::{AuthFailure, Authenticator, NoTokens};
pub use drain::{Drain, DrainHandle, drain};
pub use identity::Identity;
pub use listener::{BindError, Listener};
pub use peer::Peer;
pub use spec::{ListenerLimits, ListenerSpec, TlsSpec};
pub use tls::CertificateError;
pub use tokens::{TokenEntry, Tokens};

/// An error of a type that only its source knows.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
