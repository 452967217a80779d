//! Puts the bundled components into the binary.
//!
//! They are what `cargo xtask components` has left in the target folder, or in the
//! folder that `TOLLGATE_COMPONENTS` names. Without any, the binary carries none, and
//! serves with those that its configuration names as files.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=TOLLGATE_COMPONENTS");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let folder = match env::var_os("TOLLGATE_COMPONENTS") {
        Some(folder) => PathBuf::from(folder),
        None => {
            // OUT_DIR is <target>/[<triple>/]<profile>/build/<package>/out.
            let target = out
                .ancestors()
                .find(|folder| folder.join("components").is_dir())
                .map_or_else(|| out.clone(), PathBuf::from);
            target.join("components")
        }
    };
    println!(
        "cargo:rerun-if-changed={}",
        folder.join("DIGESTS").display()
    );
    let mut found: Vec<PathBuf> = fs::read_dir(&folder)
        .map(|entries| {
            entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| {
                    path.extension()
                        .is_some_and(|extension| extension == "wasm")
                })
                .collect()
        })
        .unwrap_or_default();
    found.sort();
    if found.is_empty() {
        println!("cargo:warning=no components to bundle: run `cargo xtask components` first");
    }
    let mut table = String::from("&[\n");
    for path in found {
        println!("cargo:rerun-if-changed={}", path.display());
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .expect("components have plain names");
        table.push_str(&format!(
            "    ({name:?}, include_bytes!({:?})),\n",
            path.display().to_string()
        ));
    }
    table.push(']');
    fs::write(out.join("bundled.in"), table).expect("OUT_DIR can be written");
}
