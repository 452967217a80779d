//! The mix of a soak: every protocol, small and large, whole and in streams, readers that dawdle,
//! tokens that are none.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// The kinds of requests, as the load generator reads them.
pub(super) fn json(front: SocketAddr) -> Value {
    let target = format!("http://{front}");
    let kind = |name: &str, weight: f64, protocol: &str, more: Value| {
        let mut kind = json!({
            "name": name, "weight": weight, "protocol": protocol, "target": target,
            "model": "stub", "prompt_bytes": 1024, "tokens": 64,
        });
        if let (Some(kind), Value::Object(more)) = (kind.as_object_mut(), more) {
            kind.extend(more);
        }
        kind
    };
    json!([
        kind("completion", 10.0, "openai-completion", json!({})),
        kind(
            "completion, streamed",
            6.0,
            "openai-completion",
            json!({"stream": true})
        ),
        kind("tgis", 10.0, "tgis", json!({})),
        kind("tgis, streamed", 6.0, "tgis", json!({"stream": true})),
        kind(
            "large prompt",
            1.0,
            "openai-completion",
            json!({"prompt_bytes": 220_000})
        ),
        kind(
            "large prompt over tgis",
            1.0,
            "tgis",
            json!({"prompt_bytes": 220_000})
        ),
        kind(
            "larger prompt",
            0.2,
            "openai-completion",
            json!({"prompt_bytes": 2_000_000})
        ),
        kind(
            "slow reader",
            1.0,
            "openai-completion",
            json!({"stream": true, "read_delay_ms": 20}),
        ),
        kind(
            "slow reader of tgis",
            1.0,
            "tgis",
            json!({"stream": true, "read_delay_ms": 20})
        ),
        kind(
            "left in the middle",
            2.0,
            "openai-completion",
            json!({"stream": true, "abort_fraction": 0.8}),
        ),
        kind(
            "left in the middle of tgis",
            2.0,
            "tgis",
            json!({"stream": true, "abort_fraction": 0.8})
        ),
        kind(
            "bad token",
            1.0,
            "openai-completion",
            json!({"token": "not-a-token", "expect_status": 401, "abort_fraction": 0.0}),
        ),
        kind(
            "bad token over tgis",
            1.0,
            "tgis",
            json!({"token": "not-a-token", "expect_code": 16, "abort_fraction": 0.0}),
        ),
        kind(
            "no such model",
            1.0,
            "openai-completion",
            json!({"model": "nobody-has-it", "expect_status": 404, "abort_fraction": 0.0}),
        ),
        kind("tensors", 4.0, "v2-rest", json!({"model": "tensors"})),
        kind(
            "tensors over gRPC",
            4.0,
            "v2-grpc",
            json!({"model": "tensors"})
        ),
        kind(
            "large tensors",
            0.5,
            "v2-rest",
            json!({"model": "tensors", "prompt_bytes": 2_000_000})
        ),
        kind(
            "large tensors over gRPC",
            0.5,
            "v2-grpc",
            json!({"model": "tensors", "prompt_bytes": 2_000_000})
        ),
        // What the model inside the sandbox says is its own; that it answers is what counts.
        kind(
            "embedded",
            0.5,
            "openai-completion",
            json!({"model": "tollgate-ngram", "tokens": 16, "prompt_bytes": 64, "expect_status": 200}),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_a_weight() {
        let mix = json("127.0.0.1:1".parse().unwrap());
        let kinds = mix.as_array().unwrap();
        let mut names: Vec<&str> = kinds
            .iter()
            .filter_map(|kind| kind["name"].as_str())
            .collect();
        assert_eq!(names.len(), kinds.len());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), kinds.len());
        assert!(
            kinds
                .iter()
                .all(|kind| kind["weight"].as_f64().unwrap() > 0.0)
        );
        assert_eq!(kinds[4]["prompt_bytes"], 220_000);
    }
}
