//! Both sides do the same, in every case: otherwise a ratio of theirs says nothing.

use std::path::Path;

use tollgate_bench_guests::{cases::Bench, hosted::House};

#[test]
fn the_sandbox_and_the_native_core_do_the_same() {
    let own = std::env::current_exe().expect("a test knows where it is");
    // `<target>/<profile>/deps`.
    let target = own.ancestors().nth(3).expect("it lies in a target folder");
    let components = std::env::var_os("TOLLGATE_COMPONENTS");
    let components = components.map_or_else(|| target.join("components"), Into::into);
    assert!(
        Path::new(&components).join("openai.wasm").is_file(),
        "{} has no components: run `cargo xtask components`",
        components.display()
    );
    let bench = Bench::new(&House::new(&components).unwrap()).unwrap();
    assert!(bench.compare().len() > 10);
}
