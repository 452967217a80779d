//! Bytes: bodies with bounds, gRPC frames, splices, header hygiene, JSON members and
//! exact conversions.
//!
//! Everything here works on bytes of HTTP, gRPC and JSON; nothing knows a protocol of
//! model serving, a guest or a metric. Whatever holds bytes takes its bound in its
//! constructor or as an argument.
//!
//! | module | for |
//! |---|---|
//! | [`source`] | bytes that arrive, held within a window |
//! | [`budget`] | bytes that many may hold together |
//! | [`piece`], [`edit`] | output made of inline bytes, spans and conversions; splices |
//! | [`mod@convert`], [`tensor`] | one value in another encoding, exactly |
//! | [`json`] | checking JSON and finding members of an object |
//! | [`grpc`], [`inflate`] | frames, timeouts, statuses; bounded decompression |
//! | [`headers`] | what may not be passed on |
//! | [`failure`], [`template`] | why something failed, and its body |
#![forbid(unsafe_code)]

pub mod budget;
pub mod convert;
pub mod edit;
pub mod failure;
pub mod grpc;
pub mod headers;
pub mod inflate;
pub mod json;
pub mod piece;
pub mod source;
pub mod template;
pub mod tensor;

pub use convert::{ConvertError, Encoding, convert};
pub use edit::{Edit, EditError, SpliceEnd, splice};
pub use failure::Failure;
pub use piece::{Piece, WriteError, Writer, total_len};
pub use source::{Abandoned, Cut, Feeder, Pin, Progress, Source, Unavailable};
pub use template::Template;
pub use tensor::Datatype;
