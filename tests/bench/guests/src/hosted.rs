//! The components in the sandbox, by the public interface that the proxy uses.

use std::{fs, io, path::Path, sync::Arc};

use tollgate_plugin::{
    Attempt as GuestAttempt, Exchange as GuestExchange, Generation, HostLimits, LARGE, Limits,
    Loader, Mask, Order, Sandbox, Sources, inference, manifest::Surface,
};
use tollgate_wire::source::Source;

pub(crate) use tollgate_plugin::{backend, frontend, types};

#[path = "drive.rs"]
pub mod drive;

/// A sandbox, and where components lie.
pub struct House {
    loader: Loader,
    folder: std::path::PathBuf,
}

impl House {
    /// Over this folder of components.
    ///
    /// # Errors
    /// When no sandbox can be made here.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let sandbox = Sandbox::new(HostLimits::default()).map_err(io::Error::other)?;
        Ok(Self {
            loader: Loader::new(sandbox, None),
            folder: folder.to_owned(),
        })
    }

    /// Loads a component by its name, with no options.
    ///
    /// # Errors
    /// When it is not there, or is none.
    pub fn load(&self, name: &str) -> io::Result<Arc<Generation>> {
        self.load_within(name, Limits::default())
    }

    /// As [`House::load`], with limits of its own.
    ///
    /// # Errors
    /// As [`House::load`].
    pub fn load_within(&self, name: &str, limits: Limits) -> io::Result<Arc<Generation>> {
        let path = self.folder.join(format!("{name}.wasm"));
        let wasm = fs::read(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        let order = Order {
            name: name.to_owned(),
            wasm: wasm.into(),
            options: "{}".to_owned(),
            mask: Mask::default(),
            limits,
        };
        self.loader.load(order).map_err(io::Error::other)
    }
}

/// A component of the `protocol` world.
pub struct Plugin(pub Arc<Generation>);

impl Plugin {
    pub(crate) fn claim(&self, path: &str) -> u32 {
        let asked = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        let is = |surface: &Surface| match surface {
            Surface::Rest {
                method, path: own, ..
            } => method == "POST" && own == path,
            Surface::Grpc {
                service, method, ..
            } => asked == Some((service, method)),
        };
        let claims = self.0.claims();
        let at = claims.iter().position(|claim| is(&claim.surface));
        at.expect("the path is claimed") as u32
    }

    pub(crate) fn exchange(
        &self,
        bytes: u64,
        context: &types::Context,
        head: frontend::RequestHead,
    ) -> Exchange {
        let made = GuestExchange::new(&self.0, false, bytes, context, &head);
        Exchange(made.expect("the guest makes it"))
    }

    pub(crate) fn attempt(
        &self,
        bytes: u64,
        context: &types::Context,
        worker: &backend::Worker,
        members: Vec<inference::Call>,
        table: &mut Table,
    ) -> Attempt {
        let made = GuestAttempt::new(&self.0, bytes, context, worker, &members, &mut table.0);
        Attempt(made.expect("the guest makes it"))
    }
}

pub(crate) struct Exchange(GuestExchange);

impl Exchange {
    pub(crate) fn step(
        &mut self,
        table: &mut Table,
        inputs: Vec<frontend::Input>,
        bytes: u64,
    ) -> Vec<frontend::Action> {
        let stepped = self.0.step(&mut table.0, &inputs, bytes > LARGE);
        stepped.expect("the guest steps")
    }
}

pub(crate) struct Attempt(GuestAttempt);

impl Attempt {
    pub(crate) fn step(
        &mut self,
        table: &mut Table,
        inputs: Vec<backend::Input>,
        bytes: u64,
    ) -> Vec<backend::Action> {
        let stepped = self.0.step(&mut table.0, &inputs, bytes > LARGE);
        stepped.expect("the guest steps")
    }
}

/// Sources by number.
#[derive(Default)]
pub(crate) struct Table(Sources);

impl Table {
    pub(crate) fn insert(&mut self, id: u32, source: Source) {
        self.0.insert(id, source);
    }

    pub(crate) fn remove(&mut self, id: u32) {
        self.0.remove(id);
    }
}
