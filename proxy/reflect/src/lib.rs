//! gRPC server reflection and health, sans-I/O: what the plugins of a route declare is
//! merged into one pool, and questions about it are answered from there.
//!
//! 1. [`Reflection::new`] merges the plugins' descriptor sets ([`pool`]) and adds the
//!    descriptors of the services that are answered here ([`own`]).
//! 2. [`Reflection::answer`] turns one request of `ServerReflectionInfo` into one
//!    response, by `grpc/reflection/v1/reflection.proto`.
//! 3. [`health`] reads and writes the messages of `grpc.health.v1`.
//!
//! The host serves [`paths`]; there are no streams, frames or workers here.
#![forbid(unsafe_code)]

mod answer;
pub mod health;
mod messages;
mod own;
mod pool;
mod symbols;

use bytes::Bytes;

pub use pool::Conflict;

/// Which of the two reflection services was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `grpc.reflection.v1`.
    V1,
    /// `grpc.reflection.v1alpha`: the older name, which many clients still try.
    V1Alpha,
}

/// Request paths of what is answered here.
pub mod paths {
    /// Reflection, `grpc.reflection.v1`.
    pub const REFLECTION_V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    /// Reflection, `grpc.reflection.v1alpha`.
    pub const REFLECTION_V1ALPHA: &str =
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
    /// Health, asked once.
    pub const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
    /// Health, watched.
    pub const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
}

/// The merged descriptors of one route. Its size is that of the sets that went in.
#[derive(Debug)]
pub struct Reflection {
    pool: pool::Pool,
}

impl Reflection {
    /// Merges serialized `google.protobuf.FileDescriptorSet`s. Identical files count once
    /// (comments and positions apart), the order of the sets does not matter to what is
    /// answered, and a set need not hold everything that it imports.
    ///
    /// # Errors
    /// A set that does not decode, or one file, symbol or extension with two definitions.
    pub fn new(sets: &[&[u8]]) -> Result<Self, Conflict> {
        let mut pool = pool::Pool::default();
        for set in sets {
            pool.add_set(set)?;
        }
        for file in own::files() {
            // A plugin may bring the public file itself; then that one stands.
            if !pool.defines_service_of(&file) {
                pool.add_own(file)?;
            }
        }
        Ok(Self { pool })
    }

    /// Fully qualified names of all services, sorted, those of this crate among them.
    #[must_use]
    pub fn services(&self) -> &[String] {
        self.pool.services()
    }

    /// One `ServerReflectionResponse` for one `ServerReflectionRequest`. A mistake of the
    /// client's is an `error_response`; the stream goes on.
    #[must_use]
    pub fn answer(&self, request: &[u8], version: Version) -> Bytes {
        match version {
            // The two differ in the package's name, and that is not on the wire.
            Version::V1 | Version::V1Alpha => answer::answer(&self.pool, request),
        }
    }
}

impl Default for Reflection {
    /// A route without a gRPC plugin: only the services of this crate.
    fn default() -> Self {
        Self::new(&[]).expect("the files of this crate go together")
    }
}
