//! Whose components may run: signatures over WebAssembly binaries, and the keys that are trusted.
//!
//! The form is that of the WebAssembly tool conventions ("WebAssembly module signatures", version
//! 0x01), as wasmsign2 0.2 writes it for modules and components alike: Ed25519 over the SHA-256 of
//! every byte behind the eight of the header. The signature lies in a custom section `signature`,
//! the first of the binary, or is that section's payload in a file beside it; the one can be made
//! of the other, and neither changes what is signed.
//!
//! What a component says of itself (its manifest) is made by its own code and data, so that one
//! signature covers both.
//!
//! 1. [`Binary::parse`] finds the embedded signature and what is signed.
//! 2. [`Signatures::parse`] reads a signature, embedded or from a file.
//! 3. [`Keyring::judge`] says who signed, or what is wrong and what to do about it.
//!
//! Sans I/O. Ed25519 is ring's, which rustls stands on here already; PEM is rustls-pki-types'.

#![forbid(unsafe_code)]

mod binary;
mod key;
mod keyring;
mod leb;
mod signature;

pub use binary::{Binary, NotWasm};
pub use key::{KeyError, KeyId, PublicKey, SecretKey};
pub use keyring::{Keyring, TrustError, Unsigned, Verdict};
pub use signature::{Malformed, Signatures};
