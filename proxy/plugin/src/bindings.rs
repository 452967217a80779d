//! Types generated from `wit/`, one module a world. Interfaces that several worlds
//! import are generated once, in [`protocol`].
#![allow(clippy::all, unreachable_pub, missing_docs)]

/// World `protocol`.
pub mod protocol {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "protocol",
        imports: { default: trappable },
        additional_derives: [serde::Serialize, serde::Deserialize],
    });
}

/// World `compose`.
pub mod compose {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "compose",
        imports: { default: trappable },
        additional_derives: [serde::Serialize, serde::Deserialize],
        with: {
            "tollgate:plugin/types": crate::bindings::protocol::tollgate::plugin::types,
            "tollgate:plugin/inference": crate::bindings::protocol::tollgate::plugin::inference,
            "tollgate:plugin/log": crate::bindings::protocol::tollgate::plugin::log,
        },
    });
}

/// World `scheduler`.
pub mod scheduler {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "scheduler",
        imports: { default: trappable },
        additional_derives: [serde::Serialize, serde::Deserialize],
        with: {
            "tollgate:plugin/types": crate::bindings::protocol::tollgate::plugin::types,
            "tollgate:plugin/inference": crate::bindings::protocol::tollgate::plugin::inference,
            "tollgate:plugin/log": crate::bindings::protocol::tollgate::plugin::log,
        },
    });
}

/// World `worker`.
pub mod worker {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "worker",
        imports: { default: trappable },
        additional_derives: [serde::Serialize, serde::Deserialize],
        with: {
            "tollgate:plugin/types": crate::bindings::protocol::tollgate::plugin::types,
            "tollgate:plugin/inference": crate::bindings::protocol::tollgate::plugin::inference,
            "tollgate:plugin/log": crate::bindings::protocol::tollgate::plugin::log,
        },
    });
}
