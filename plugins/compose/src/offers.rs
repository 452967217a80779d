//! What the workers of a call's model can be asked.

use tollgate_sdk_compose::{composition::Capability, inference::TaskKind, types::Context};

/// Name of the context's extension that lists tasks of which some worker takes one input at a
/// time, one a line.
const ONE_AT_A_TIME: &str = "one-at-a-time";

/// The tasks of one model's workers.
pub(crate) struct Offers {
    tasks: Vec<TaskKind>,
    /// Names of those of which some worker takes one input at a time.
    single: Vec<String>,
}

impl Offers {
    pub(crate) fn new(context: &Context, model: &str, capabilities: &[Capability]) -> Self {
        let own = capabilities.iter().filter(|other| other.model == model);
        let single = context
            .extensions
            .iter()
            .filter(|extension| extension.name == ONE_AT_A_TIME)
            .flat_map(|extension| extension.payload.split(|byte| *byte == b'\n'))
            .map(|name| String::from_utf8_lossy(name).into_owned());
        Self {
            tasks: own.flat_map(|own| own.tasks.clone()).collect(),
            single: single.collect(),
        }
    }

    /// Whether some worker offers it.
    pub(crate) fn has(&self, task: &TaskKind) -> bool {
        self.tasks.contains(task)
    }

    /// Inputs that may be in one call of a task, of the `most` that are wanted.
    pub(crate) fn inputs(&self, task: &str, most: usize) -> usize {
        if self.single.iter().any(|single| single == task) {
            1
        } else {
            most
        }
    }
}
