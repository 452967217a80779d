//! `tollgate plugin pull`: a component out of a registry.

use std::path::PathBuf;

use clap::Args;
use tollgate_config::Reference;
use tollgate_registry::pull;

use super::{
    Outcome,
    files::replace,
    registry::{Reach, reference},
};
use crate::supply;

/// What is pulled, and where to.
#[derive(Args)]
pub(crate) struct Arguments {
    /// `REGISTRY/REPOSITORY:TAG`, or `…@sha256:DIGEST`.
    #[arg(value_parser = reference)]
    reference: Reference,
    /// The component goes there, and its signature, if the registry has one, beside it (FILE.sig).
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    reach: Reach,
}

/// Pulls, and says what it was.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let Arguments {
        reference,
        output,
        reach,
    } = arguments;
    let pulled = pull(reference, &reach.settings(reference)?, None)
        .map_err(|error| format!("oci://{reference}: {error}"))?;
    replace(output, &pulled.component)?;
    if let Some(signature) = &pulled.signature {
        replace(&supply::signature_file(output), signature)?;
    }
    println!(
        "{}: {} bytes of oci://{}/{}@sha256:{}{}",
        output.display(),
        pulled.component.len(),
        reference.registry(),
        reference.repository(),
        pulled.manifest,
        match pulled.signature {
            Some(_) => ", and its signature",
            None => "",
        }
    );
    Ok(())
}
