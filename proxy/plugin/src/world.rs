//! What the four worlds have in common: they are linked, instantiated, described and
//! configured in one way.

use wasmtime::{
    Store,
    component::{HasSelf, InstancePre, Linker},
};

use crate::{
    bindings::{compose, protocol, scheduler, worker},
    host::Guest,
    manifest::{Claim, Manifest, Problem},
};

/// One world of the contract, with its generated bindings.
pub(crate) trait World: Sized + Send + 'static {
    /// An instance that needs only a store.
    type Pre: Clone + Send + Sync + 'static;

    fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()>;
    fn pre(instance: InstancePre<Guest>) -> wasmtime::Result<Self::Pre>;
    fn instantiate(pre: &Self::Pre, store: &mut Store<Guest>) -> wasmtime::Result<Self>;
    fn describe(&self, store: &mut Store<Guest>) -> wasmtime::Result<Manifest>;
    fn configure(
        &self,
        store: &mut Store<Guest>,
        options: &str,
    ) -> wasmtime::Result<Result<Vec<Claim>, Vec<Problem>>>;
}

macro_rules! world {
    ($world:path, $pre:path, $plugin:path) => {
        impl World for $world {
            type Pre = $pre;

            fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
                Self::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)
            }
            fn pre(instance: InstancePre<Guest>) -> wasmtime::Result<Self::Pre> {
                Self::Pre::new(instance)
            }
            fn instantiate(pre: &Self::Pre, store: &mut Store<Guest>) -> wasmtime::Result<Self> {
                pre.instantiate(store)
            }
            fn describe(&self, store: &mut Store<Guest>) -> wasmtime::Result<Manifest> {
                use $plugin as generated;
                let it: generated::Manifest = self.tollgate_plugin_plugin().call_describe(store)?;
                Ok(crate::manifest::manifest!(generated, it))
            }
            fn configure(
                &self,
                store: &mut Store<Guest>,
                options: &str,
            ) -> wasmtime::Result<Result<Vec<Claim>, Vec<Problem>>> {
                use $plugin as generated;
                let answer: Result<Vec<generated::Claim>, Vec<generated::Problem>> = self
                    .tollgate_plugin_plugin()
                    .call_configure(store, options)?;
                Ok(match answer {
                    Ok(claims) => Ok(claims
                        .into_iter()
                        .map(|it| crate::manifest::claim!(generated, it))
                        .collect()),
                    Err(problems) => Err(problems
                        .into_iter()
                        .map(|it| Problem {
                            at: it.at,
                            message: it.message,
                        })
                        .collect()),
                })
            }
        }
    };
}

world!(
    protocol::Protocol,
    protocol::ProtocolPre<Guest>,
    protocol::exports::tollgate::plugin::plugin
);
world!(
    compose::Compose,
    compose::ComposePre<Guest>,
    compose::exports::tollgate::plugin::plugin
);
world!(
    scheduler::Scheduler,
    scheduler::SchedulerPre<Guest>,
    scheduler::exports::tollgate::plugin::plugin
);
world!(
    worker::Worker,
    worker::WorkerPre<Guest>,
    worker::exports::tollgate::plugin::plugin
);
