//! gRPC reflection and health.
