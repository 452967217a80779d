//! Components in OCI registries: pulled, pushed, and kept for when the registry is away.
//!
//! The layout is that of the CNCF's "Wasm OCI Artifact layout" (`wasm-oci-artifact`, TAG Runtime),
//! as `wkg` writes it: an OCI image manifest whose configuration is of the type
//! `application/vnd.wasm.config.v0+json`, with one layer of the type `application/wasm`. The
//! protocol is the OCI distribution specification 1.1; tokens are fetched as the "Distribution
//! Registry v2 authentication" says.
//!
//! 1. [`pull`] asks for the manifest, checks what it says, takes the layer from the [`Store`] or
//!    from the registry, and checks its length and SHA-256.
//! 2. [`resolve`] only asks what a tag names now.
//! 3. [`push`] puts a component there.
//!
//! Each of them is bounded in time and in bytes, and works on a thread of its own, so that it can
//! be called from anywhere. Requests go over `tollgate-upstream`: the same TLS, the same bounds, no
//! second HTTP client in the tree.

#![forbid(unsafe_code)]

mod auth;
mod client;
mod credentials;
mod error;
mod layout;
mod pull;
mod push;
mod settings;
mod store;

pub use credentials::{Credentials, CredentialsError};
pub use error::RegistryError;
pub use layout::SIGNATURE;
pub use pull::{Pulled, pull, resolve};
pub use push::{Component, push};
pub use settings::{Plain, Settings};
pub use store::{Store, StoreError};

/// Runs a future to its end on a thread and a runtime of its own: loading is not async, and may
/// happen inside a runtime or outside of one.
fn alone<T: Send>(
    work: impl AsyncFnOnce() -> Result<T, RegistryError> + Send,
) -> Result<T, RegistryError> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| RegistryError::Unreachable {
                    registry: "anything".to_owned(),
                    reason: error.to_string(),
                })?;
            runtime.block_on(work())
        });
        thread.join().expect("it does not panic")
    })
}
