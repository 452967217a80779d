//! gRPC over HTTP/2: frames, timeouts, statuses.
