//! What both sides of the contract agree on beyond the types: the version, what each failure looks
//! like over HTTP, over gRPC and in a metric, the order of scores, and how a panic is told.
#![forbid(unsafe_code)]

pub mod failure;
pub mod panics;
pub mod scores;

/// Version of the WIT package in this folder.
pub const VERSION: &str = "0.1.0";

/// The files of the WIT package, with their comments: what a plugin in any language is made from.
pub const WIT: &[(&str, &str)] = &[
    ("backend.wit", include_str!("../backend.wit")),
    ("body.wit", include_str!("../body.wit")),
    ("composition.wit", include_str!("../composition.wit")),
    ("frontend.wit", include_str!("../frontend.wit")),
    ("inference.wit", include_str!("../inference.wit")),
    ("log.wit", include_str!("../log.wit")),
    ("plugin.wit", include_str!("../plugin.wit")),
    ("scheduling.wit", include_str!("../scheduling.wit")),
    ("serving.wit", include_str!("../serving.wit")),
    ("types.wit", include_str!("../types.wit")),
    ("worlds.wit", include_str!("../worlds.wit")),
];

#[cfg(test)]
mod tests {
    use super::WIT;

    #[test]
    fn every_file_of_the_contract_is_carried() {
        let folder = std::fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap();
        let mut files: Vec<String> = folder
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".wit"))
            .collect();
        files.sort();
        let carried: Vec<&str> = WIT.iter().map(|(name, _)| *name).collect();
        assert_eq!(carried, files);
    }
}
