//! The messages of `proto/caikit`, generated at build time.

#[allow(missing_docs, dead_code, clippy::all, unreachable_pub)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub use generated::{
    caikit::runtime::nlp::*,
    caikit_data_model::{
        caikit_nlp::*,
        common::{runtime::*, *},
        nlp::*,
    },
};

/// Serialized `google.protobuf.FileDescriptorSet` of all of them, without source
/// information.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/caikit.descriptor"));

/// The library's service, by its full name.
pub const NLP_SERVICE: &str = "caikit.runtime.Nlp.NlpService";

/// The information service.
pub const INFO_SERVICE: &str = "caikit.runtime.info.InfoService";

/// Metadata that names the model.
pub const MODEL_ID: &str = "mm-model-id";
