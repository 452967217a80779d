//! Ways of telling who asks, over real sockets: an issuer's keys and a cluster's API.

mod cluster;
mod issuer;
mod support;
