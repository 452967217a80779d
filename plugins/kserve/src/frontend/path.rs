//! Paths with another name for the model.

/// The path of a request whose pattern has `{model}`, with that segment replaced.
pub fn with_model(pattern: &str, path: &str, model: &str) -> String {
    let at = pattern.split('/').position(|segment| segment == "{model}");
    let segments = path.split('/').enumerate().map(|(index, segment)| {
        if Some(index) == at {
            segment_of(model)
        } else {
            segment.to_owned()
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

/// A name as one segment of a path: everything but RFC 3986's unreserved characters is
/// percent-encoded.
pub fn segment_of(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_model_is_replaced() {
        let replaced = with_model(
            "/v2/models/{model}/versions/{version}/infer",
            "/v2/models/a/versions/a/infer",
            "org/b c",
        );
        assert_eq!(replaced, "/v2/models/org%2Fb%20c/versions/a/infer");
        assert_eq!(with_model("/v2/logging", "/v2/logging", "b"), "/v2/logging");
    }
}
