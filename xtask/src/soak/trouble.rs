//! What is done to the proxy while it serves: a worker is killed and started again, components
//! change under it and SIGHUP tells it so.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::Value;

use crate::bench::ask::get;
use crate::bench::house::House;
use crate::bench::running::Running;
use crate::bench::subjects::{ADMIN, local};

/// Every component that the configuration names, as files beside it.
const COMPONENTS: [&str; 6] = ["openai", "tgis", "caikit", "kserve", "embedded", "fcfs"];
/// Those that change, one after the other.
const CHANGING: [&str; 5] = ["openai", "tgis", "fcfs", "caikit", "kserve"];
/// Seconds from one change to the next; a component is compiled meanwhile.
const SWAP: u32 = 20;
/// Seconds from a kill to a start, and from a start to a kill.
const DOWN: u32 = 4;
const CYCLE: u32 = 15;

/// The one who makes it.
pub(super) struct Trouble {
    components: PathBuf,
    folder: PathBuf,
    worker: Option<Running>,
    pub(super) kills: u32,
    pub(super) swaps: u32,
}

impl Trouble {
    /// Puts the components beside the configuration.
    ///
    /// # Errors
    /// When one is not built.
    pub(super) fn new(components: PathBuf, folder: PathBuf) -> Result<Self> {
        let trouble = Self {
            components,
            folder,
            worker: None,
            kills: 0,
            swaps: 0,
        };
        for name in COMPONENTS {
            trouble.put(name, 0)?;
        }
        Ok(trouble)
    }

    /// Starts the worker that is killed now and then, unless it runs.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn start_worker(&mut self, house: &House) -> Result<()> {
        if self.worker.is_none() {
            let more = ["--tokens", "64", "--interval", "2000"].map(str::to_owned);
            let at = [("--http", local(21802)), ("--grpc", local(21803))];
            self.worker = Some(house.stub_at("stub-killed", &at, &more)?);
        }
        Ok(())
    }

    /// Once a second.
    ///
    /// # Errors
    /// When something cannot be started, killed or written.
    pub(super) fn tick(&mut self, second: u32, house: &House, proxy: &mut Running) -> Result<()> {
        let at = second % CYCLE;
        // Dropped, it is killed, in the middle of whatever it does.
        if at == 0 && self.worker.take().is_some() {
            self.kills += 1;
        }
        if at == DOWN {
            self.start_worker(house)?;
        }
        if second.is_multiple_of(SWAP) {
            self.swaps += 1;
            let name = CHANGING[self.swaps as usize % CHANGING.len()];
            self.put(name, self.swaps)?;
            proxy.signal(Signal::HUP)?;
        }
        Ok(())
    }

    /// Ends the worker.
    ///
    /// # Errors
    /// When it does not end.
    pub(super) fn stop(self) -> Result<()> {
        self.worker.map_or(Ok(()), |worker| worker.stop().map(drop))
    }

    /// Writes a component as another file of the same behaviour: a mark is added that no runtime
    /// looks at, and its digest is another.
    pub(super) fn put(&self, name: &str, mark: u32) -> Result<()> {
        put_marked(&self.components, &self.folder, name, mark)
    }
}

/// Writes one of the `components` into a folder, marked, and renames it into place.
///
/// # Errors
/// When it is not built, or cannot be written.
pub(crate) fn put_marked(components: &Path, folder: &Path, name: &str, mark: u32) -> Result<()> {
    let source = components.join(format!("{name}.wasm"));
    let mut bytes = fs::read(&source).with_context(|| format!("{}", source.display()))?;
    bytes.extend(marked(mark));
    let file = folder.join(format!("{name}.wasm"));
    let new = folder.join(format!("{name}.new"));
    fs::write(&new, bytes)?;
    fs::rename(&new, &file)?;
    Ok(())
}

/// A custom section (WebAssembly core specification, section 5.5.3): its id, its size, the length
/// of its name, its name, its content. All lengths are below 128, so that one byte holds each.
fn marked(mark: u32) -> Vec<u8> {
    const NAME: &[u8] = b"soak";
    let content = mark.to_le_bytes();
    let lengths = [(1 + NAME.len() + content.len()) as u8, NAME.len() as u8];
    [&[0, lengths[0], lengths[1]], NAME, &content].concat()
}

/// The sum of the numbers of the generations in force: it rises with each one taken in.
///
/// # Errors
/// When the proxy does not tell.
pub(super) fn generation() -> Result<u64> {
    let status: Value = serde_json::from_str(&get(ADMIN, "/status")?)?;
    let plugins = status["plugins"].as_array().context("no plugins")?;
    Ok(plugins
        .iter()
        .filter_map(|plugin| plugin["generation"].as_u64())
        .sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_custom_section() {
        let section = marked(0x0102);
        assert_eq!(section[0], 0);
        assert_eq!(usize::from(section[1]), section.len() - 2);
        assert_eq!(usize::from(section[2]), 4);
        assert_eq!(&section[3..7], b"soak");
        assert_eq!(&section[7..], [2, 1, 0, 0]);
        assert_ne!(marked(1), marked(2));
    }

    #[test]
    fn a_killed_worker_has_started_again_before_it_is_killed_again() {
        const { assert!(DOWN > 0 && DOWN < CYCLE) };
    }
}
