//! What may not be passed on, and what must be added, when a message is forwarded.
//!
//! * [`strip_hop_by_hop`]: fields for the next hop alone (RFC 9110, section 7.6.1).
//! * [`StripList`]: fields that clients may not send to workers.
//! * [`strip_claims`]: fields by which a client could claim to be somebody.
//! * [`check_request`]: framing that two parsers could read in two ways and that an HTTP
//!   library lets through.
//! * [`forward`]: who asked, and how, for the worker.
//! * [`authority`]: the host asked for, in one spelling.

mod authority;
mod check;
mod claims;
mod forward;
mod strip;

pub use self::authority::{Authority, authority, normalise};
pub use self::check::{HeaderProblem, check_request};
pub use self::claims::{is_claim, strip_claims};
pub use self::forward::{Client, forward};
pub use self::strip::{StripList, StripListError, strip_hop_by_hop};

#[cfg(test)]
mod tests;
