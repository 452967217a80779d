//! Who a plugin is and where it is met, without the members that most leave empty.
//!
//! ```
//! use tollgate_sdk_protocol::{inference::TaskKind, manifest, plugin::Gathering};
//!
//! let mut it = manifest::of("letters", "1.0.0", "Letters, by return of post");
//! it.tasks = vec![TaskKind::Generate];
//! it.errors = vec![manifest::json_error(r#"{"error":"{message}"}"#)];
//! assert_eq!(it.dialects, ["letters"]);
//!
//! let claims = [
//!     manifest::rest("POST", "/letters/v1/write", Gathering::Whole, TaskKind::Generate),
//!     manifest::grpc("letters.Desk", "Write", TaskKind::Generate),
//! ];
//! assert!(claims.iter().all(|claim| claim.task == Some(TaskKind::Generate)));
//! ```

use crate::{
    inference::TaskKind,
    plugin::{Claim, ErrorTemplate, Gathering, GrpcClaim, Manifest, RestClaim, Surface},
};

/// A manifest of a plugin that speaks one dialect, by its own name, and has no options, tasks or
/// descriptors yet.
#[must_use]
pub fn of(name: &str, version: &str, description: &str) -> Manifest {
    Manifest {
        name: name.to_owned(),
        version: version.to_owned(),
        description: description.to_owned(),
        dialects: vec![name.to_owned()],
        tasks: Vec::new(),
        options_schema: r#"{"type": "object", "additionalProperties": false}"#.to_owned(),
        descriptors: Vec::new(),
        read_headers: Vec::new(),
        strip_headers: Vec::new(),
        telemetry: Vec::new(),
        worker_metrics: Vec::new(),
        errors: Vec::new(),
        lowerings: Vec::new(),
        extensions: Vec::new(),
    }
}

/// How every error without a guest looks, as JSON: `{message}`, `{status}`, `{label}`, `{param}`
/// and `{request-id}` are the host's to fill in. The status is the failure's own.
#[must_use]
pub fn json_error(body: &str) -> ErrorTemplate {
    ErrorTemplate {
        label: String::new(),
        status: None,
        content_type: "application/json".to_owned(),
        body: body.to_owned(),
    }
}

/// A method and path over HTTP, and what is asked there.
#[must_use]
pub fn rest(method: &str, path: &str, gathering: Gathering, task: TaskKind) -> Claim {
    claim(
        Surface::Rest(RestClaim {
            method: method.to_owned(),
            path: path.to_owned(),
            gathering,
        }),
        task,
    )
}

/// A method of a gRPC service with one request and one response, and what is asked there.
#[must_use]
pub fn grpc(service: &str, method: &str, task: TaskKind) -> Claim {
    claim(
        Surface::Grpc(GrpcClaim {
            service: service.to_owned(),
            method: method.to_owned(),
            client_streaming: false,
            server_streaming: false,
        }),
        task,
    )
}

fn claim(surface: Surface, task: TaskKind) -> Claim {
    Claim {
        surface,
        task: Some(task),
        errors: Vec::new(),
        extensions: Vec::new(),
    }
}
