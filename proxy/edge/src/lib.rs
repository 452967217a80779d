//! Who may come in: listeners, TLS, protocol detection, tokens, limits, drain.
//!
//! | module | for |
//! |---|---|
//! | [`drain`] | ending it all in order |
//! | [`identity`], [`auth`], [`tokens`] | who asks, and what they may use |
//!
//! It never looks into a body, and knows nothing of routes: the service that it is given does.
#![forbid(unsafe_code)]

pub mod auth;
pub mod drain;
pub mod identity;
pub mod peer;
pub mod tokens;

pub use auth::{AuthFailure, Authenticator, NoTokens};
pub use drain::{Drain, DrainHandle, drain};
pub use identity::Identity;
pub use peer::Peer;
pub use tokens::{TokenEntry, Tokens};

/// An error of a type that only its source knows.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
