//! `tollgate plugin push`: a component into a registry.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Args;
use tollgate_config::Reference;
use tollgate_plugin::{HostLimits, Loader, Sandbox};
use tollgate_registry::{Component, push};

use super::{
    Outcome,
    registry::{Reach, reference},
};
use crate::supply;

/// What is pushed where.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The component; a signature beside it (FILE.sig) goes with it.
    file: PathBuf,
    /// `REGISTRY/REPOSITORY:TAG`.
    #[arg(value_parser = reference)]
    reference: Reference,
    #[command(flatten)]
    reach: Reach,
}

/// Pushes, and says what to write into a configuration.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let Arguments {
        file,
        reference,
        reach,
    } = arguments;
    let (bytes, signature) = supply::file(file)?;
    let loader = Loader::new(Sandbox::new(HostLimits::default())?, None);
    let (imports, exports) = loader.names(&file.display().to_string(), &bytes)?;
    // The time of the file, to the second: the same file is the same artefact.
    let created = fs::metadata(file)?
        .modified()?
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let title = file.file_name().unwrap_or_default();
    let component = Component {
        title: title.to_string_lossy().into_owned(),
        bytes,
        signature,
        imports,
        exports,
        created: SystemTime::UNIX_EPOCH + Duration::from_secs(created),
    };
    let digest = push(&component, reference, &reach.settings(reference)?)
        .map_err(|error| format!("oci://{reference}: {error}"))?;
    let (registry, repository) = (reference.registry(), reference.repository());
    println!("oci://{registry}/{repository}@sha256:{digest}");
    Ok(())
}
