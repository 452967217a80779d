//! The files of `run --record` and `run --record-exchanges`, as `test` and `bench` take them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use tollgate_plugin::{Generation, LoadError, Loader};
use tollgate_transcript::Script;

use super::source::Component;

/// Which files, and whose.
#[derive(Args)]
pub(super) struct Choice {
    /// Folders of files that a proxy has recorded, or single ones.
    #[arg(long, value_name = "DIR", num_args = 1.., required = true)]
    transcripts: Vec<PathBuf>,
    /// The name that the plugin had in the configuration of that proxy; else the one that it gives
    /// itself.
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// Options, as JSON, in the place of those that a file names: secrets are not in it.
    #[arg(long, value_name = "JSON")]
    options: Option<String>,
}

/// A file.
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) content: Content,
}

/// What is in it.
pub(super) enum Content {
    /// What crossed the border, and the plugin as it was configured then.
    Exchange(Box<Script>, Arc<Generation>),
    /// What a scheduler was told and decided, as text.
    Scheduler(String, Arc<Generation>),
}

/// What there is to be played.
pub(super) struct Files {
    pub(super) files: Vec<File>,
    /// Files of other plugins.
    pub(super) others: usize,
}

impl Choice {
    /// Reads the files that are of this component.
    pub(super) fn read(
        &self,
        component: &Component,
        loader: &Loader,
    ) -> Result<Files, Box<dyn std::error::Error>> {
        let mut paths = Vec::new();
        for path in &self.transcripts {
            collect(path, &mut paths)?;
        }
        paths.sort();
        // Configured as each file says; few files differ in that.
        let mut generations: BTreeMap<String, Arc<Generation>> = BTreeMap::new();
        let mut configured = |options: &str| -> Result<_, Box<dyn std::error::Error>> {
            let options = self.options.as_deref().unwrap_or(options);
            if let Some(known) = generations.get(options) {
                return Ok(known.clone());
            }
            let generation = component.load(loader, options)?;
            generations.insert(options.to_owned(), generation.clone());
            Ok(generation)
        };
        let mut files = Vec::new();
        let mut others = 0;
        for path in paths {
            let text = fs::read_to_string(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let content = if Script::is_one(&text) {
                let script =
                    Script::read(&text).map_err(|error| format!("{}: {error}", path.display()))?;
                if self
                    .plugin
                    .as_ref()
                    .is_some_and(|name| *name != script.plugin)
                {
                    others += 1;
                    continue;
                }
                let generation = match configured(&script.options) {
                    Ok(generation) => generation,
                    // Another's options, most likely.
                    Err(error) if self.plugin.is_none() && refused(&*error) => {
                        others += 1;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let named = &generation.manifest().name;
                let whose = self.plugin.as_ref().unwrap_or(named);
                if script.plugin != *whose || script.side.world() != generation.world() {
                    others += 1;
                    continue;
                }
                Content::Exchange(Box::new(script), generation)
            } else {
                let generation = configured("")?;
                if generation.world() != "scheduler" {
                    others += 1;
                    continue;
                }
                Content::Scheduler(text, generation)
            };
            files.push(File { path, content });
        }
        Ok(Files { files, others })
    }
}

/// Whether a component was not loaded because it does not take the options.
fn refused(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(
        error.downcast_ref::<LoadError>(),
        Some(LoadError::Options { .. })
    )
}

/// Files that end in `.jsonl`, below a folder; or the one file.
fn collect(path: &Path, paths: &mut Vec<PathBuf>) -> Result<(), String> {
    let told = |error| format!("{}: {error}", path.display());
    if fs::metadata(path).map_err(told)?.is_file() {
        paths.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(told)? {
        let path = entry.map_err(told)?.path();
        if path.is_dir() || path.extension().is_some_and(|end| end == "jsonl") {
            collect(&path, paths)?;
        }
    }
    Ok(())
}
