//! libFuzzer's loop around one target, which the environment names.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tollgate_fuzz::Target;

/// Names the target.
const VARIABLE: &str = "TOLLGATE_FUZZ_TARGET";

fn target() -> &'static Target {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var(VARIABLE).unwrap_or_default();
        tollgate_fuzz::find(&name).unwrap_or_else(|| panic!("{VARIABLE}={name:?} is no target"))
    })
}

fuzz_target!(|data: &[u8]| (target().run)(data));
