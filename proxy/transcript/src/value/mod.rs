//! The contract's types as JSON, and back.
//!
//! | in the contract | as JSON |
//! |---|---|
//! | record | object; what is none or an empty list is left out |
//! | case with a payload | object of one member; without one: its name |
//! | option | the value, or null |
//! | `list<u8>` | text where it is UTF-8, else `{"base64": …}` |
//! | numbers that JSON has not | `"NaN"`, `"Infinity"`, `"-Infinity"` |
//!
//! Names are those of the contract. Secrets are left out on the way ([`crate::secret`]).

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::from_value;
pub use write::to_value;

pub(crate) use read::bytes as bytes_of;
pub(crate) use write::bytes;

/// A value that is not one of the contract, or cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(String);

impl serde::de::Error for ValueError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl serde::ser::Error for ValueError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// The member that holds bytes that are no text.
const BASE64: &str = "base64";
