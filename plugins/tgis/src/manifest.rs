//! Who this plugin is.

use tollgate_sdk_protocol::{
    inference::TaskKind,
    plugin::{Attribute, Claim, GrpcClaim, Manifest, Surface},
};

use crate::{fmaas, frontend::Method, options};

/// The dialect that both sides speak.
pub const DIALECT: &str = "tgis";

/// The same for every instance.
pub fn manifest() -> Manifest {
    Manifest {
        name: DIALECT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: "TGIS text generation over gRPC (fmaas.GenerationService), as the original \
                      server and the vLLM adapter speak it"
            .to_owned(),
        dialects: vec![DIALECT.to_owned()],
        tasks: vec![
            TaskKind::Generate,
            TaskKind::Tokenize,
            TaskKind::ModelMetadata,
            TaskKind::ModelReady,
        ],
        options_schema: options::SCHEMA.to_owned(),
        descriptors: vec![fmaas::DESCRIPTOR.to_vec()],
        read_headers: Vec::new(),
        // Names a backend by host or by model, in servers that stand before these.
        strip_headers: vec!["x-route-info".to_owned(), "mm-*".to_owned()],
        telemetry: vec![Attribute {
            name: "rpc.service".to_owned(),
            value: fmaas::SERVICE.to_owned(),
        }],
        worker_metrics: Vec::new(),
        // The host writes gRPC errors as trailers; there is no body to give a form.
        errors: Vec::new(),
        lowerings: Vec::new(),
        extensions: Vec::new(),
    }
}

/// One a method, in the order of [`Method::ALL`].
pub fn claims() -> Vec<Claim> {
    let claim = |method: &Method| Claim {
        surface: Surface::Grpc(GrpcClaim {
            service: fmaas::SERVICE.to_owned(),
            method: method.name().to_owned(),
            client_streaming: false,
            server_streaming: *method == Method::GenerateStream,
        }),
        task: Some(match method {
            Method::Generate | Method::GenerateStream => TaskKind::Generate,
            Method::Tokenize => TaskKind::Tokenize,
            Method::ModelInfo => TaskKind::ModelMetadata,
        }),
        errors: Vec::new(),
        extensions: Vec::new(),
    };
    Method::ALL.iter().map(claim).collect()
}
