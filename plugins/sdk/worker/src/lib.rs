//! The `worker` world: a model server inside the proxy.

pub mod event;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

/// Generated from `wit/`.
#[allow(clippy::all, missing_docs, unreachable_pub)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "worker",
        pub_export_macro: true,
        default_bindings_module: "tollgate_sdk_worker::bindings",
        additional_derives: [PartialEq, Clone],
    });
}

pub use bindings::exports::tollgate::plugin::{plugin, serving};
pub use bindings::tollgate::plugin::{inference, log, types};
pub use tollgate_contract::panics;

/// One call being served. See `wit/serving.wit`.
pub trait Session {
    /// A bounded piece of work.
    fn step(&mut self) -> serving::Stepped;
}

/// A configured worker plugin.
pub trait Worker: Sized + 'static {
    /// Constant.
    fn manifest() -> plugin::Manifest;
    /// Reads the options (JSON).
    fn configure(options: &str) -> Result<Self, Vec<plugin::Problem>>;
    /// What it serves.
    fn models(&self) -> Vec<inference::ModelInfo>;
    /// Begins to serve a call.
    fn session(&self, context: types::Context, call: inference::Call) -> Box<dyn Session>;
}

/// The manifest of a model server that says no more than who it is: the rest is empty, to be filled in.
#[must_use]
pub fn manifest(
    name: &str,
    version: &str,
    description: &str,
    options_schema: &str,
) -> plugin::Manifest {
    plugin::Manifest {
        name: name.into(),
        version: version.into(),
        description: description.into(),
        dialects: Vec::new(),
        tasks: Vec::new(),
        options_schema: options_schema.into(),
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

/// Something is wrong with the options, at a JSON pointer.
#[must_use]
pub fn problem(at: &str, message: impl Into<String>) -> Vec<plugin::Problem> {
    vec![plugin::Problem {
        at: at.into(),
        message: message.into(),
    }]
}

/// A model that is ready and does these tasks.
#[must_use]
pub fn model(name: &str, tasks: Vec<inference::TaskKind>) -> inference::ModelInfo {
    inference::ModelInfo {
        name: name.into(),
        versions: Vec::new(),
        max_length: None,
        max_new_tokens: None,
        parent: None,
        tasks,
        ready: true,
        platform: String::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        extensions: Vec::new(),
    }
}

/// Makes a component of a [`Worker`].
#[macro_export]
macro_rules! export_worker {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        mod tollgate_component {
            use super::*;
            use ::std::{cell::RefCell, sync::OnceLock};
            use $crate::{Session, Worker, bindings, inference, plugin, serving, types};

            struct Component;
            static CONFIGURED: OnceLock<$plugin> = OnceLock::new();

            fn configured() -> &'static $plugin {
                CONFIGURED.get().expect("configure comes before everything else")
            }

            impl plugin::Guest for Component {
                fn describe() -> plugin::Manifest {
                    <$plugin as Worker>::manifest()
                }
                fn configure(
                    options: String,
                ) -> Result<Vec<plugin::Claim>, Vec<plugin::Problem>> {
                    $crate::panics::tell(|place| {
                        $crate::log::write($crate::log::Level::Error, place);
                    });
                    let _ = CONFIGURED.set(<$plugin as Worker>::configure(&options)?);
                    Ok(Vec::new())
                }
            }

            pub struct Serving(RefCell<Box<dyn Session>>);

            impl serving::Guest for Component {
                type Session = Serving;
                fn models() -> Vec<inference::ModelInfo> {
                    configured().models()
                }
            }

            impl serving::GuestSession for Serving {
                fn new(context: types::Context, call: inference::Call) -> Self {
                    Serving(RefCell::new(configured().session(context, call)))
                }
                fn step(&self) -> serving::Stepped {
                    self.0.borrow_mut().step()
                }
            }

            bindings::export!(Component with_types_in bindings);
        }
    };
}
