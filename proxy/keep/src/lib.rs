//! Files that are kept from one start to the next: a folder that nobody else can write to, with a
//! bound on what lies in it.
//!
//! 1. [`Folder::open`] makes the folder, or refuses one that others could have written to.
//! 2. [`Folder::write`] puts an entry in whole or not at all, and takes out those that were not
//!    used for longest until all fit ([`Folder::held`] is the gauge).
//! 3. [`Folder::read`] gives back only what is a file of ours of a sane size. What is in it, the
//!    caller checks: by a digest or by a MAC.
//! 4. [`secret`] makes or reads the key for such a MAC.
//!
//! rustix says who we are; random names come from getrandom.

#![forbid(unsafe_code)]

mod folder;
mod guard;
mod secret;

pub use folder::{Folder, FolderError};
pub use secret::secret;
