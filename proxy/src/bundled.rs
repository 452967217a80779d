//! The components that this binary carries.

/// Name and bytes of each, by name.
pub(crate) const COMPONENTS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/bundled.in"));

/// A component by name.
pub(crate) fn component(name: &str) -> Option<&'static [u8]> {
    COMPONENTS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, wasm)| *wasm)
}

/// Their names, for a message.
pub(crate) fn names() -> String {
    let names: Vec<_> = COMPONENTS.iter().map(|(name, _)| *name).collect();
    if names.is_empty() {
        "none: this binary was built without components".to_owned()
    } else {
        names.join(", ")
    }
}
