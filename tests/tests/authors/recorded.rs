//! What a proxy records is played again, whole and in pieces; and a plugin that answers otherwise
//! is told.

use std::{fs, path::Path, sync::Arc};

use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_tests::{
    Setup,
    client::{Request, http1},
    fake,
};

use super::{bad, component, good};

/// The last event of a stream.
const END: &str =
    "event: end\ndata: {\"finish\":\"done\",\"usage\":{\"input\":3,\"output\":2}}\n\n";

/// A worker that speaks quill, and one request of each kind; gives the folder.
async fn record(arguments: &[&str]) -> Arc<TempDir> {
    let worker = fake::http1::Worker::start(|request| {
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if asked["stream"] == true {
            return vec![
                fake::http1::stream_head(),
                fake::http1::event(r#"{"text":"Dear "}"#),
                fake::http1::event(r#"{"text":"Sir, caf\u00e9"}"#),
                fake::http1::write(format!("{:x}\r\n{END}\r\n", END.len())),
                fake::http1::stream_end(),
            ];
        }
        vec![fake::http1::json(
            200,
            &json!({
                "model": "served", "text": "Dear Sir", "finish": "length",
                "usage": {"input": 3, "output": 2}
            }),
        )]
    })
    .await;
    let yaml = format!(
        "
plugins:
  quill: {{ source: \"{quill}\", options: {{ max-tokens: 20 }} }}
  other: {{ source: \"{quill}\" }}
workers:
  - {{ name: w, address: \"http://{address}\", protocol: other, probe: off, options: {{ api-key: s3cret }}, models: [{{ name: m, served-as: served }}] }}
routes:
  - {{ name: all, frontends: [quill], workers: [w], auth: open, default-model: m }}
",
        quill = component("examples/quill"),
        address = worker.address,
    );
    let proxy = Setup::new(&yaml)
        .record_exchanges("exchanges", arguments)
        .start()
        .await;
    for (body, status) in [
        (json!({"prompt": "A letter:"}), 200),
        (json!({"prompt": "A letter:", "stream": true}), 200),
        (json!({"prompt": 1}), 400),
    ] {
        let request = Request::post("/quill/v1/write?token=s3cret", &body)
            .header("authorization", "Bearer s3cret")
            .header("cookie", "session=s3cret");
        let answer = http1::ask(proxy.http(), &request).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    proxy.becomes("transcripts", 0.0).await;
    let folder = proxy.folder();
    assert_eq!(proxy.terminate().await.code, Some(0));
    folder
}

fn files(folder: &Path) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn what_was_recorded_is_played_again() {
    let folder = record(&[]).await;
    let exchanges = folder.path().join("exchanges");
    let names = files(&exchanges);
    let of = |side: &str| names.iter().filter(|name| name.contains(side)).count();
    assert_eq!(
        (of("quill-frontend"), of("other-backend")),
        (3, 2),
        "{names:?}"
    );
    for name in &names {
        let text = fs::read_to_string(exchanges.join(name)).unwrap();
        assert!(!text.contains("s3cret"), "{name}: {text}");
        assert!(text.ends_with("{\"end\":true}\n"), "{name}: {text}");
    }
    let (quill, exchanges) = (component("examples/quill"), exchanges.to_str().unwrap());
    let told = good(&["test", &quill, "--transcripts", exchanges]);
    assert!(
        told.contains("3 files, 0 failed, 2 of other plugins"),
        "{told}"
    );
    // The stream of the worker comes in pieces there.
    let told = good(&[
        "test",
        &quill,
        "--transcripts",
        exchanges,
        "--plugin",
        "other",
    ]);
    assert!(told.contains("2 files, 0 failed"), "{told}");
    for line in told.lines().filter(|line| line.contains("other-backend")) {
        assert!(
            !line.contains(" 0 splits") && !line.contains(" 0 cuts"),
            "{told}"
        );
    }
    assert!(
        !told.lines().any(|line| line.contains(" 0 repetitions")),
        "{told}"
    );

    let told = bad(&[
        "test",
        &quill,
        "--transcripts",
        exchanges,
        "--options",
        r#"{"max-tokens": 21}"#,
    ]);
    assert!(
        told.contains("recorded") && told.contains("2 files failed"),
        "{told}"
    );
    let told = bad(&["test", &component("tgis"), "--transcripts", exchanges]);
    assert!(told.contains("nothing of this plugin"), "{told}");

    let told = good(&[
        "bench",
        &quill,
        "--transcripts",
        exchanges,
        "--seconds",
        "0.05",
        "--json",
    ]);
    let times: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(times.as_array().map(Vec::len), Some(3), "{told}");
    for time in times.as_array().unwrap() {
        assert!(
            time["calls"].as_u64() > time["exchanges"].as_u64(),
            "{time}"
        );
        assert!(time["p99_us"].as_f64() >= time["p50_us"].as_f64(), "{time}");
    }
}

#[tokio::test]
async fn a_recording_keeps_its_bounds_and_leaves_out_what_it_is_told_to() {
    let folder = record(&["--record-files", "2", "--record-no-bodies"]).await;
    let exchanges = folder.path().join("exchanges");
    let names = files(&exchanges);
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        let text = fs::read_to_string(exchanges.join(&name)).unwrap();
        for said in ["A letter", "Dear", "s3cret"] {
            assert!(!text.contains(said), "{name}: {text}");
        }
        assert!(text.contains("available"), "{name}: {text}");
    }
    let exchanges = exchanges.to_str().unwrap();
    let told = bad(&[
        "test",
        &component("examples/quill"),
        "--transcripts",
        exchanges,
    ]);
    assert!(told.contains("without bodies"), "{told}");
}

#[tokio::test]
async fn a_file_that_grows_too_large_is_cut_short_and_says_so() {
    let folder = record(&["--record-bytes", "700"]).await;
    let exchanges = folder.path().join("exchanges");
    for name in files(&exchanges) {
        let text = fs::read_to_string(exchanges.join(&name)).unwrap();
        assert!(text.len() < 800, "{name}: {}", text.len());
        assert!(text.ends_with("{\"cut\":true}\n"), "{name}: {text}");
    }
}
