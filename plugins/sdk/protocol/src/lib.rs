//! The `protocol` world: a serving protocol, both sides of it.
//!
//! A plugin implements [`Protocol`] and names itself by [`export_protocol!`]. What most of them
//! need beside that:
//!
//! | for | there is |
//! |---|---|
//! | who it is, and where it is met | [`manifest`] |
//! | a request that is one call | [`one_call`] |
//! | an upstream request for one call | [`one_attempt`] |
//! | answers of frontends and backends | [`actions`] |
//! | calls, settings and events | [`neutral`] |
//! | how many tokens a request may cost | [`cost`] |
//! | what texts and their parts are | [`classify`] |
//! | failures, statuses and codes | [`failure`] |
//! | texts that the host holds | [`text`] |
//! | members for an object that is passed on | [`front`] |
//! | Server-Sent Events, read and written | [`sse`] |
//! | fields of protocol-buffers messages | [`fields`] |
//! | streams that tell the input first and the reason last | [`pieces`] |
//! | how a worker is | [`health`] |
//! | workers' names of models, kept from clients | [`hiding`], around every frontend |
//! | tests without a proxy | `testing` |

/// Generated from `wit/`. Types are plain data and work natively too; only the
/// imported functions need a host.
#[allow(clippy::all, missing_docs, unreachable_pub)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "protocol",
        pub_export_macro: true,
        default_bindings_module: "tollgate_sdk_protocol::bindings",
        additional_derives: [PartialEq, Clone],
    });
}

pub mod actions;
pub mod classify;
pub mod cost;
pub mod failure;
pub mod fields;
pub mod front;
pub mod health;
pub mod hiding;
pub mod manifest;
pub mod neutral;
pub mod one_attempt;
pub mod one_call;
pub mod pieces;
pub mod sse;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod text;
pub mod vectors;

pub use bindings::exports::tollgate::plugin::{backend, frontend, plugin};
pub use bindings::tollgate::plugin::{body, inference, log, types};
pub use tollgate_contract::panics;

use types::{Encoding, Held, SourceId};

/// Host-held bytes, as the guest reaches them. The component's is [`HostBytes`];
/// tests bring their own.
pub trait Bytes {
    /// Bytes that have arrived, and whether that is the end.
    fn available(&self, source: SourceId) -> (u64, bool);
    /// At most `len` bytes from `offset`.
    fn read(&self, source: SourceId, offset: u64, len: u32) -> Vec<u8>;
    /// Members of the JSON object in `offset .. offset + len`.
    fn json_members(
        &self,
        source: SourceId,
        offset: u64,
        len: u64,
        keys: &[String],
    ) -> Result<Vec<body::Member>, body::JsonProblem>;
    /// All members of the JSON object in `offset .. offset + len`, by name.
    fn json_object(
        &self,
        source: SourceId,
        offset: u64,
        len: u64,
    ) -> Result<Vec<body::Named>, body::JsonProblem>;
    /// Length of a held value in another encoding.
    fn converted_len(&self, value: &Held, to: &Encoding) -> Result<u64, String>;

    /// The whole of `offset .. offset + len`, which must have arrived.
    fn read_all(&self, source: SourceId, offset: u64, len: u64) -> Vec<u8> {
        self.read(source, offset, u32::try_from(len).unwrap_or(u32::MAX))
    }
}

/// The host's own bytes, through the `body` import.
pub struct HostBytes;

impl Bytes for HostBytes {
    fn available(&self, source: SourceId) -> (u64, bool) {
        body::available(source)
    }
    fn read(&self, source: SourceId, offset: u64, len: u32) -> Vec<u8> {
        body::read(source, offset, len)
    }
    fn json_members(
        &self,
        source: SourceId,
        offset: u64,
        len: u64,
        keys: &[String],
    ) -> Result<Vec<body::Member>, body::JsonProblem> {
        body::json_members(source, offset, len, keys)
    }
    fn json_object(
        &self,
        source: SourceId,
        offset: u64,
        len: u64,
    ) -> Result<Vec<body::Named>, body::JsonProblem> {
        body::json_object(source, offset, len)
    }
    fn converted_len(&self, value: &Held, to: &Encoding) -> Result<u64, String> {
        body::converted_len(value, to)
    }
}

/// A line in the proxy's log, at level `info`. Natively, in tests, there is no log to
/// write to.
pub fn note(message: &str) {
    #[cfg(target_arch = "wasm32")]
    log::write(log::Level::Info, message);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = message;
}

/// One client request. See `wit/frontend.wit`.
pub trait Frontend {
    /// Takes what has happened, answers what is to be done.
    fn step(&mut self, bytes: &dyn Bytes, inputs: Vec<frontend::Input>) -> Vec<frontend::Action>;
}

/// One upstream request. See `wit/backend.wit`.
pub trait Backend {
    /// Takes what has happened, answers what is to be done.
    fn step(&mut self, bytes: &dyn Bytes, inputs: Vec<backend::Input>) -> Vec<backend::Action>;
}

/// A configured protocol plugin.
pub trait Protocol: Sized + 'static {
    /// Constant.
    fn manifest() -> plugin::Manifest;
    /// Reads the options (JSON); gives the plugin and its claims.
    fn configure(options: &str) -> Result<(Self, Vec<plugin::Claim>), Vec<plugin::Problem>>;
    /// Begins to serve a client request.
    fn exchange(&self, context: types::Context, head: frontend::RequestHead) -> Box<dyn Frontend>;
    /// Begins an upstream request for these calls.
    fn attempt(
        &self,
        context: types::Context,
        worker: backend::Worker,
        members: Vec<inference::Call>,
    ) -> Box<dyn Backend>;
    /// Calls with equal keys may be merged.
    fn batch_key(&self, worker: &backend::Worker, call: &inference::Call) -> Option<String>;
    /// What to ask a worker to learn how it is.
    fn probe(&self, worker: &backend::Worker) -> Vec<backend::ProbeRequest>;
    /// Reads the answers.
    fn judge(
        &self,
        worker: &backend::Worker,
        responses: Vec<backend::ProbeResponse>,
    ) -> backend::Health;
}

/// Makes a component of a [`Protocol`].
#[macro_export]
macro_rules! export_protocol {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        mod tollgate_component {
            use super::*;
            use ::std::{cell::RefCell, sync::OnceLock};
            use $crate::{
                Backend, Bytes, Frontend, HostBytes, Protocol, backend, bindings, frontend,
                inference, plugin, types,
            };

            struct Component;
            static CONFIGURED: OnceLock<$plugin> = OnceLock::new();

            fn configured() -> &'static $plugin {
                CONFIGURED.get().expect("configure comes before everything else")
            }

            impl plugin::Guest for Component {
                fn describe() -> plugin::Manifest {
                    <$plugin as Protocol>::manifest()
                }
                fn configure(
                    options: String,
                ) -> Result<Vec<plugin::Claim>, Vec<plugin::Problem>> {
                    $crate::panics::tell(|place| {
                        $crate::log::write($crate::log::Level::Error, place);
                    });
                    let (plugin, claims) = <$plugin as Protocol>::configure(&options)?;
                    let _ = CONFIGURED.set(plugin);
                    Ok(claims)
                }
            }

            pub struct Exchange(RefCell<Box<dyn Frontend>>);

            impl frontend::Guest for Component {
                type Exchange = Exchange;
            }

            impl frontend::GuestExchange for Exchange {
                fn new(context: types::Context, head: frontend::RequestHead) -> Self {
                    let default_model = context.default_model.clone();
                    let own = configured().exchange(context, head);
                    let exchange: Box<dyn Frontend> =
                        Box::new($crate::hiding::Hiding::new(own, default_model));
                    Exchange(RefCell::new(exchange))
                }
                fn step(&self, inputs: Vec<frontend::Input>) -> Vec<frontend::Action> {
                    self.0.borrow_mut().step(&HostBytes, inputs)
                }
            }

            pub struct Attempt(RefCell<Box<dyn Backend>>);

            impl backend::Guest for Component {
                type Attempt = Attempt;
                fn batch_key(worker: backend::Worker, call: inference::Call) -> Option<String> {
                    configured().batch_key(&worker, &call)
                }
                fn probe(worker: backend::Worker) -> Vec<backend::ProbeRequest> {
                    configured().probe(&worker)
                }
                fn judge(
                    worker: backend::Worker,
                    responses: Vec<backend::ProbeResponse>,
                ) -> backend::Health {
                    configured().judge(&worker, responses)
                }
            }

            impl backend::GuestAttempt for Attempt {
                fn new(
                    context: types::Context,
                    worker: backend::Worker,
                    members: Vec<inference::Call>,
                ) -> Self {
                    Attempt(RefCell::new(configured().attempt(context, worker, members)))
                }
                fn step(&self, inputs: Vec<backend::Input>) -> Vec<backend::Action> {
                    self.0.borrow_mut().step(&HostBytes, inputs)
                }
            }

            bindings::export!(Component with_types_in bindings);
        }
    };
}
