//! The path of one request.
//!
//! [`serve`] is the way in, and reads from top to bottom: route, claim, authenticate,
//! limit, gather, and then the frontend (`exchange.rs`), which finds workers
//! (`calling.rs`), passes (`pass.rs`) or has a backend translate (`attempt.rs`), an
//! in-process worker answer (`session.rs`) or a composition do both (`compose.rs`).
//! Nothing here outlives a request but the [`House`] that all of them stand in.
#![forbid(unsafe_code)]

mod attempt;
mod builtin;
mod calling;
mod claims;
mod closing;
mod compose;
mod context;
mod cors;
mod courtesy;
mod events;
mod exchange;
mod failures;
mod house;
mod limits;
mod lists;
mod messages;
mod outgoing;
mod pass;
mod pieces;
mod probe;
mod reading;
mod rebase;
mod responder;
mod retries;
mod run;
mod serve;
mod session;
mod spans;
pub mod tasks;
mod unpack;
mod weight;
mod wishes;

pub use attempt::Member;
pub use closing::Closing;
pub use cors::{Cors, CorsSpec};
pub use house::{
    Explained, House, Reach, Route, RouteError, RouteLimits, RouteSpec, Station, Stations,
};
pub use limits::Limits;
pub use probe::probe;
pub use responder::{Body, Broken};
pub use retries::Retries;
pub use serve::{Router, serve};
