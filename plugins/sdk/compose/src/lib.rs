//! The `compose` world: tasks made of other tasks.

pub mod failure;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

/// Generated from `wit/`.
#[allow(clippy::all, missing_docs, unreachable_pub)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "compose",
        pub_export_macro: true,
        default_bindings_module: "tollgate_sdk_compose::bindings",
        additional_derives: [PartialEq, Clone],
    });
}

pub use bindings::exports::tollgate::plugin::{composition, plugin};
pub use bindings::tollgate::plugin::{inference, log, types};
pub use tollgate_contract::panics;

/// Puts the best scores first; of equal ones the first item of the call.
pub fn best_first(scores: &mut [inference::Score]) {
    tollgate_contract::scores::best_first(scores, |score| (score.value, score.item));
}

/// One composed call. See `wit/composition.wit`.
pub trait Composition {
    /// Takes the sub-calls' events (none at first), answers what is to be done.
    fn step(&mut self, events: Vec<composition::SubEvent>) -> Vec<composition::Action>;
}

/// A configured composition plugin.
pub trait Compose: Sized + 'static {
    /// Constant.
    fn manifest() -> plugin::Manifest;
    /// Reads the options (JSON).
    fn configure(options: &str) -> Result<Self, Vec<plugin::Problem>>;
    /// Begins to compose a call.
    fn compose(
        &self,
        context: types::Context,
        call: inference::Call,
        capabilities: Vec<composition::Capability>,
    ) -> Box<dyn Composition>;
}

/// The manifest of a composition that says no more than who it is: the rest is empty, to be filled in.
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

/// Makes a component of a [`Compose`].
#[macro_export]
macro_rules! export_compose {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        mod tollgate_component {
            use super::*;
            use ::std::{cell::RefCell, sync::OnceLock};
            use $crate::{
                Compose, Composition, bindings, composition, inference, plugin, types,
            };

            struct Component;
            static CONFIGURED: OnceLock<$plugin> = OnceLock::new();

            impl plugin::Guest for Component {
                fn describe() -> plugin::Manifest {
                    <$plugin as Compose>::manifest()
                }
                fn configure(
                    options: String,
                ) -> Result<Vec<plugin::Claim>, Vec<plugin::Problem>> {
                    $crate::panics::tell(|place| {
                        $crate::log::write($crate::log::Level::Error, place);
                    });
                    let _ = CONFIGURED.set(<$plugin as Compose>::configure(&options)?);
                    Ok(Vec::new())
                }
            }

            pub struct Composed(RefCell<Box<dyn Composition>>);

            impl composition::Guest for Component {
                type Composition = Composed;
            }

            impl composition::GuestComposition for Composed {
                fn new(
                    context: types::Context,
                    call: inference::Call,
                    capabilities: Vec<composition::Capability>,
                ) -> Self {
                    let plugin =
                        CONFIGURED.get().expect("configure comes before everything else");
                    Composed(RefCell::new(plugin.compose(context, call, capabilities)))
                }
                fn step(
                    &self,
                    events: Vec<composition::SubEvent>,
                ) -> Vec<composition::Action> {
                    self.0.borrow_mut().step(events)
                }
            }

            bindings::export!(Component with_types_in bindings);
        }
    };
}
