//! What a proxy that serves is told to write down: `tollgate run --record …`.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use tollgate_transcript::{Bounds, Recording};

/// Nothing, unless it is asked for.
#[derive(Args, Clone, Debug)]
pub(crate) struct Records {
    /// Writes what schedulers are told and decide into this folder, to be played again by
    /// `simulate --replay` and `plugin test`.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) record: Option<PathBuf>,
    /// Writes what plugins are told and answer into this folder, a file an exchange, to be played
    /// again by `plugin test`. It holds what clients and workers say, but no credentials.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) record_exchanges: Option<PathBuf>,
    /// Files of exchanges that are written at most.
    #[arg(long, value_name = "N", requires = "record_exchanges", default_value_t = Bounds::default().files)]
    pub(crate) record_files: u64,
    /// Bytes of one such file at most.
    #[arg(long, value_name = "N", requires = "record_exchanges", default_value_t = Bounds::default().bytes)]
    pub(crate) record_bytes: usize,
    /// Leaves out what clients and workers say: what happened and how long it was remains.
    #[arg(long, requires = "record_exchanges")]
    pub(crate) record_no_bodies: bool,
}

impl Records {
    /// None of it.
    pub(crate) fn none() -> Self {
        let Bounds { files, bytes, .. } = Bounds::default();
        Self {
            record: None,
            record_exchanges: None,
            record_files: files,
            record_bytes: bytes,
            record_no_bodies: false,
        }
    }

    /// Begins to record exchanges, if that is asked for.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(crate) fn exchanges(&self) -> Result<Option<Arc<Recording>>, String> {
        let Some(folder) = &self.record_exchanges else {
            return Ok(None);
        };
        let bounds = Bounds {
            files: self.record_files,
            bytes: self.record_bytes,
            bodies: !self.record_no_bodies,
            ..Bounds::default()
        };
        let recording = Recording::new(folder, bounds)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        tracing::warn!(
            folder = %folder.display(),
            bodies = bounds.bodies,
            "exchanges are recorded: what clients and workers say is written to this folder"
        );
        Ok(Some(Arc::new(recording)))
    }
}
