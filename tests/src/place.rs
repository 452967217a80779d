//! Where things lie: the repository, the binary under test, the components.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The repository's root.
///
/// # Panics
/// When this crate does not lie in it.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the repository")
}

/// The binary: `TOLLGATE_BIN`, or the one that was built into the same target folder.
///
/// # Panics
/// When it is not there: `cargo build -p tollgate` makes it.
#[must_use]
pub fn binary() -> PathBuf {
    let path =
        env::var_os("TOLLGATE_BIN").map_or_else(|| profile().join("tollgate"), PathBuf::from);
    assert!(
        path.is_file(),
        "{} is not there: run `cargo build -p tollgate`, or name a binary by TOLLGATE_BIN",
        path.display()
    );
    path
}

/// `<target>/<profile>`: a test runs in `<target>/<profile>/deps`.
fn profile() -> PathBuf {
    let test = env::current_exe().expect("a test knows where it is");
    test.ancestors()
        .nth(2)
        .expect("a test lies in <target>/<profile>/deps")
        .to_owned()
}

/// The target folder.
///
/// # Panics
/// When the test does not run from one.
#[must_use]
pub fn target() -> PathBuf {
    profile()
        .parent()
        .expect("a profile lies in target")
        .to_owned()
}

/// A component that `cargo xtask components` has built: `fixtures/bad`, `openai`.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn component(name: &str) -> PathBuf {
    let folder = env::var_os("TOLLGATE_COMPONENTS")
        .map_or_else(|| target().join("components"), PathBuf::from);
    let path = folder.join(format!("{name}.wasm"));
    assert!(
        path.is_file(),
        "{} is not there: run `cargo xtask components`",
        path.display()
    );
    path
}
