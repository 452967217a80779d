//! `tollgate plugin wit`: the contract as files, from which other languages' tools make bindings.

use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use crate::say;

/// Where to.
#[derive(Args)]
pub(super) struct Arguments {
    /// A folder for the files; it is made. Without one the names of the files are printed.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Also writes a world's bindings for C there.
    #[arg(long, value_name = "WORLD", requires = "path", value_parser = tollgate_component::WORLDS)]
    c: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let Some(folder) = &arguments.path else {
        let names: String = tollgate_contract::WIT
            .iter()
            .map(|(name, _)| format!("{name}\n"))
            .collect();
        say(&format!(
            "tollgate:plugin@{}\n{names}",
            tollgate_contract::VERSION
        ));
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for (name, text) in tollgate_contract::WIT {
        let file = folder.join(name);
        std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    if let Some(world) = &arguments.c {
        for (name, content) in tollgate_component::c_bindings(world)? {
            let file = folder.join(name);
            std::fs::write(&file, content)
                .map_err(|error| format!("{}: {error}", file.display()))?;
        }
    }
    Ok(())
}
