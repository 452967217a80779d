//! Names of the contract as Rust and as WIT write them.

/// `UpstreamHead` and `max_tokens` become `upstream-head` and `max-tokens`.
pub(crate) fn kebab(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        match c {
            '_' => out.push('-'),
            c if c.is_ascii_uppercase() => {
                if !out.is_empty() {
                    out.push('-');
                }
                out.push(c.to_ascii_lowercase());
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::kebab;

    #[test]
    fn names_are_written_as_the_contract_writes_them() {
        for (rust, wit) in [
            ("UpstreamHead", "upstream-head"),
            ("Uint8", "uint8"),
            ("max_tokens", "max-tokens"),
            ("end", "end"),
        ] {
            assert_eq!(kebab(rust), wit);
        }
    }
}
