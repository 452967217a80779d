//! What a Kubernetes cluster tells of workers: addresses behind a Service, and services of models
//! that its operators have put up.
//!
//! 1. A [`Follower`] lists the objects of one kind, page by page, and then watches them from the
//!    version that the list had. What it knows is always a whole set.
//! 2. A watch that ends is asked for anew from where it was; bookmarks move that place on. Where the
//!    server has forgotten it (410), everything is listed again: what has gone meanwhile is gone then.
//! 3. Whatever else goes wrong is an error, and what was known stays known. When to try again is the
//!    caller's to say.
//! 4. An object is read as far as it is needed, by what the references of the kinds say:
//!    [`slices`](Place) and [`services`](Service). One that cannot be read keeps what was known of it.
//!
//! Followed: the Kubernetes API reference and its pages "Kubernetes API concepts" (efficient
//! detection of changes, watch bookmarks, 410 Gone responses, retrieving large result sets in
//! chunks), "EndpointSlices", and the types of the services' own API.
//!
//! *Architecture invariant:* nothing here knows what a worker is, or what one speaks. Groups and
//! names of kinds stand in `kinds.json`, beside the code.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod api;
mod error;
mod follower;
mod kinds;
mod lines;
mod services;
mod slices;
mod store;

pub use api::ApiSpec;
pub use error::ApiError;
pub use follower::{Follower, FollowerSpec};
pub use kinds::{Kind, Query};
pub use services::{Address, Service};
pub use slices::Place;
pub use store::Seen;
