//! Who may come in: listeners, TLS, protocol detection, tokens, limits, drain.
//!
//! | module | for |
//! |---|---|
//! | [`spec`] | what a listener is |
//! | [`listener`] | accepting connections, up to a bound |
//! | [`terms`] | what can change of a listener while it serves |
//! | `places` | how many connections there may be |
//! | `connection` | one connection: handshake, protocol, requests, end |
//! | [`crowd`] | connections that give way to newer ones |
//! | `activity` | its time limits |
//! | `head` | requests that do not keep their connection's buffer |
//! | `tls` | certificates by the name asked for, reloaded when files change |
//! | [`drain`] | ending it all in order |
//! | `clients` | certificates of clients, and who may sign them |
//! | [`auth`], [`tokens`] | who asks: the ways that a door accepts, and one of them |
//!
//! It never looks into a body, and knows nothing of routes: the service that it is given does.
#![forbid(unsafe_code)]

mod activity;
pub mod auth;
mod body;
mod clients;
mod connection;
pub mod crowd;
pub mod drain;
mod head;
pub mod listener;
pub mod peer;
mod places;
pub mod spec;
mod stall;
mod streams;
pub mod terms;
mod tls;
pub mod tokens;
mod transport;

pub use auth::{Admission, Door, challenge};
pub use crowd::Crowd;
pub use drain::{Drain, DrainHandle, drain};
pub use listener::{BindError, Listener};
pub use peer::Peer;
pub use spec::{ClientsSpec, ListenerLimits, ListenerSpec, TlsSpec};
pub use terms::{Control, Prepared};
pub use tls::CertificateError;
pub use tokens::{TokenEntry, Tokens};
pub use tollgate_identity::{AuthFailure, Certificate, Class, Identity, TenantPlace};

/// An error of a type that only its source knows.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
