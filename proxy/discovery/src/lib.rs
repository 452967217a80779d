//! Addresses of workers, found in the DNS: a small stub resolver for A, AAAA and SRV records
//! (RFC 1035, RFC 3596, RFC 2782), and when to ask it again.
//!
//! 1. A name is asked for as the system would: with the search list of `/etc/resolv.conf`, or as it
//!    is where a server is named.
//! 2. Each server is asked over UDP, twice, and over TCP when its answer was truncated. A server
//!    that does not answer, or says that it failed, is followed by the next.
//! 3. That there is no such name, or no such record, is an answer, and an empty one. What keeps an
//!    answer from being known is an error, and says nothing of the name.
//! 4. [`Pace`] makes of answers when to look again, and whether to believe an empty one.
//!
//! *Architecture invariant:* nothing here knows what a worker is. There is no cache: each name is
//! asked for by one task, as often as its records want it to be.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod message;
mod pace;
mod resolver;
mod servers;

pub use message::{Host, LookupError};
pub use pace::{Heard, Pace, PaceError};
pub use resolver::{Found, Lookup, Resolver};
pub use servers::Servers;
