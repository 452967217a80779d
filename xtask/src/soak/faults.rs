//! `soak --faults`: 500 clients before workers of which most are broken, for minutes: the test of the
//! gate, for longer. Its counts are printed.

use anyhow::Result;

use crate::components::{self, Which};
use crate::process::{cargo, run};
use crate::workspace::Workspace;

/// The test, and what tells it how long to go on.
const TEST: &str = "every_request_ends_in_an_answer_or_a_clear_error";
const SECONDS: &str = "TOLLGATE_STORM_SECONDS";

/// Runs it.
///
/// # Errors
/// When something cannot be built, or a request ended otherwise.
pub(super) fn storm(workspace: &Workspace, minutes: f64, built: bool) -> Result<()> {
    if !built {
        components::build(workspace, Which::Bundled)?;
        let mut build = cargo();
        build.args(["build", "--workspace", "--bin", "tollgate"]);
        run(build.current_dir(&workspace.root))?;
    }
    let mut test = cargo();
    test.args(["test", "--workspace", "--test", "faults", TEST])
        .args(["--", "--nocapture"])
        .env(SECONDS, format!("{:.0}", (minutes * 60.0).max(1.0)));
    run(test.current_dir(&workspace.root))
}
