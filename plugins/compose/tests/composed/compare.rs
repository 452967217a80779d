//! Ranking and comparing, by vectors and by scores.

use crate::support::{Outcome, begin, plain, rerank, run, similarity};
use proptest::{collection::vec, prelude::*};
use tollgate_plugin_compose::cosine;
use tollgate_sdk_compose::{
    failure,
    inference::{
        Call, Embedding, Event, Extra, Prompt, Score, Task, TaskKind, Truncation, Usage, Vector,
    },
    types::FailureKind,
};

/// A text of the tests is its own vector: numbers with spaces between.
fn vector(text: &str) -> Vec<f32> {
    text.split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect()
}

fn written(vector: &[f32]) -> String {
    let numbers: Vec<String> = vector.iter().map(f32::to_string).collect();
    numbers.join(" ")
}

fn usage(input: u64) -> Event {
    Event::Usage(Usage {
        input_tokens: Some(input),
        output_tokens: None,
        cached_tokens: None,
        extensions: Vec::new(),
    })
}

fn embedder(call: &Call) -> Vec<Event> {
    assert_eq!(
        (call.model.as_str(), call.version.as_deref()),
        ("m", Some("2"))
    );
    assert_eq!(call.extensions[0].payload, b"carried");
    let Task::Embed(task) = &call.task else {
        panic!("{call:?}");
    };
    let embeddings = (0..).zip(&task.inputs).map(|(item, input)| {
        let Prompt::Text(text) = input else {
            panic!("{input:?}");
        };
        Embedding {
            item,
            values: Vector::Floats(vector(plain(text))),
        }
    });
    // Backends may tell them in any order.
    let mut embeddings: Vec<Embedding> = embeddings.collect();
    embeddings.reverse();
    let count = embeddings.len() as u64;
    vec![
        Event::Embeddings(embeddings),
        usage(1),
        usage(count),
        Event::End,
    ]
}

/// The same by another way: each vector is made of length one first.
fn oracle(a: &[f32], b: &[f32]) -> f64 {
    let unit = |v: &[f32]| -> Vec<f64> {
        let length = v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        v.iter()
            .map(|x| {
                if length > 0.0 {
                    f64::from(*x) / length
                } else {
                    0.0
                }
            })
            .collect()
    };
    unit(a).iter().zip(unit(b)).map(|(x, y)| x * y).sum()
}

const EMBED: &[TaskKind] = &[TaskKind::Embed];

fn compare(task: Task, options: &str, single: &str) -> Outcome {
    run(begin(options, task, EMBED, single), embedder, |_| 0)
}

fn number() -> impl Strategy<Value = f32> {
    prop_oneof![-1e3_f32..1e3, Just(0.0), -1e18_f32..1e18]
}

proptest! {
    #[test]
    fn the_cosine_is_that_of_unit_vectors(a in vec(number(), 1..32), b in vec(number(), 1..32)) {
        let len = a.len().min(b.len());
        let (a, b) = (&a[..len], &b[..len]);
        prop_assert!((cosine(a, b) - oracle(a, b)).abs() < 1e-9, "{} {}", cosine(a, b), oracle(a, b));
        prop_assert_eq!(cosine(a, b), cosine(b, a));
        prop_assert!((-1.0..=1.0).contains(&cosine(a, b)));
    }

    /// However the texts are spread over calls, and in whatever order those end.
    #[test]
    fn documents_stand_in_the_order_of_their_cosines(
        query in vec(-9_i8..9, 3),
        documents in vec(vec(-9_i8..9, 3), 0..20),
        top_n in proptest::option::of(1_u32..24),
        each in 1_usize..8, at_once in 1_usize..5, single: bool,
        picks in vec(any::<usize>(), 64),
    ) {
        let floats = |v: &[i8]| v.iter().map(|x| f32::from(*x)).collect::<Vec<f32>>();
        let query = floats(&query);
        let documents: Vec<Vec<f32>> = documents.iter().map(|v| floats(v)).collect();
        let texts: Vec<String> = documents.iter().map(|v| written(v)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let options = format!(r#"{{"texts-per-call": {each}, "at-once": {at_once}}}"#);
        let task = Task::Rerank(rerank(&written(&query), &texts, top_n));
        let single = if single { "tokenize\nembed" } else { "embedding" };
        let mut picks = picks.into_iter().cycle();
        let outcome = run(begin(&options, task, EMBED, single), embedder, |_| picks.next().unwrap());

        let mut wanted: Vec<(u32, f64)> =
            (0..).zip(documents.iter().map(|document| cosine(&query, document))).collect();
        wanted.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
        wanted.truncate(top_n.map_or(usize::MAX, |most| most as usize));
        prop_assert_eq!(outcome.scores(), wanted);
        prop_assert!(outcome.most <= at_once);
        let each = if single == "embedding" { each } else { 1 };
        let count = if documents.is_empty() { 0 } else { documents.len() + 1 };
        prop_assert_eq!(outcome.calls.len(), count.div_ceil(each));
        if count > 0 {
            prop_assert!(outcome.events.contains(&usage(count as u64)), "{:?}", outcome.events);
        }
    }
}

#[test]
fn sentences_keep_their_places() {
    let task = Task::Similarity(similarity("1 0", &["0 1", "2 0", "-1 0"]));
    let outcome = compare(task, "{}", "");
    assert_eq!(outcome.scores(), [(0, 0.0), (1, 1.0), (2, -1.0)]);
    assert_eq!(outcome.calls.len(), 1);
}

/// A product of nothing and a negative number is a negative zero, which is no worse than a zero.
#[test]
fn the_two_zeros_are_equal() {
    let task = Task::Rerank(rerank("0 -1", &["-1 0", "0 0"], None));
    let outcome = compare(task, "{}", "");
    assert_eq!(outcome.scores(), [(0, 0.0), (1, 0.0)]);
    assert!(
        outcome
            .scores()
            .iter()
            .all(|(_, score)| score.is_sign_positive())
    );
}

#[test]
fn what_cuts_texts_goes_with_them() {
    let mut task = rerank("1 0", &["1 1"], None);
    task.truncate = Some(Truncation {
        tokens: 7,
        side: None,
    });
    let outcome = compare(Task::Rerank(task.clone()), "{}", "");
    let Task::Embed(embed) = &outcome.calls[0].task else {
        panic!("{:?}", outcome.calls);
    };
    assert_eq!(embed.truncate, task.truncate);
}

#[test]
fn a_model_that_scores_is_asked_for_scores() {
    let worker = |call: &Call| {
        let Task::Similarity(task) = &call.task else {
            panic!("{call:?}");
        };
        assert_eq!(plain(&task.source), "q");
        let scores = (0..).zip(&task.sentences).map(|(item, sentence)| Score {
            item,
            value: plain(sentence).len() as f64,
        });
        vec![Event::Scores(scores.collect()), usage(3), Event::End]
    };
    let task = || Task::Rerank(rerank("q", &["bb", "a", "cc", "dddd", ""], Some(4)));
    let both = &[TaskKind::Embed, TaskKind::Similarity];
    let composition = begin(r#"{"texts-per-call": 2}"#, task(), both, "");
    let outcome = run(composition, worker, |running| running - 1);
    assert_eq!(outcome.scores(), [(3, 4.0), (0, 2.0), (2, 2.0), (1, 1.0)]);
    assert_eq!(outcome.calls.len(), 3);
    assert!(outcome.events.contains(&usage(9)));
}

#[test]
fn similarity_is_not_made_of_itself() {
    let task = Task::Similarity(similarity("1 0", &["0 1"]));
    let both = &[TaskKind::Similarity, TaskKind::Embed];
    let outcome = run(begin("{}", task, both, ""), embedder, |_| 0);
    assert_eq!(outcome.scores(), [(0, 0.0)]);
}

#[test]
fn what_is_too_much_or_unknown_is_refused_before_any_call() {
    let options = r#"{"fan-out": 2}"#;
    let outcome = compare(
        Task::Rerank(rerank("1", &["1", "2", "3"], None)),
        options,
        "",
    );
    assert_eq!(outcome.failure().kind, FailureKind::InvalidArgument);
    assert!(
        outcome.failure().message.contains("at most 2"),
        "{outcome:?}"
    );
    assert!(outcome.calls.is_empty());

    let mut task = similarity("1", &["2"]);
    task.extras.push(Extra {
        name: "instruction".into(),
        json: "\"x\"".into(),
    });
    let outcome = compare(Task::Similarity(task), "{}", "");
    assert_eq!(outcome.failure().param.as_deref(), Some("instruction"));

    let task = Task::Rerank(rerank("1", &["1"], None));
    let outcome = run(begin("{}", task, &[TaskKind::Chat], ""), embedder, |_| 0);
    assert_eq!(outcome.failure().kind, FailureKind::Unsupported);
}

#[test]
fn one_that_fails_ends_all_with_its_own_reason() {
    let worker = |call: &Call| match &call.task {
        Task::Embed(task) if matches!(&task.inputs[0], Prompt::Text(text) if plain(text) == "3") => {
            vec![
                usage(1),
                Event::Failed(failure::of(FailureKind::Overloaded, "too hot")),
            ]
        }
        _ => embedder(call),
    };
    let task = Task::Rerank(rerank("1", &["2", "3", "4", "5", "6"], None));
    let options = r#"{"texts-per-call": 1, "at-once": 4}"#;
    let outcome = run(begin(options, task, EMBED, ""), worker, |running| {
        running.min(2)
    });
    assert_eq!(outcome.failure().kind, FailureKind::Overloaded);
    assert_eq!(outcome.failure().message, "too hot");
    assert!(!outcome.cancelled.is_empty());
    assert_eq!(outcome.events.len(), 1, "no scores of a half");
}

#[test]
fn nonsense_of_a_worker_is_no_score() {
    type Change = fn(&mut Vec<Embedding>);
    let changes: [(&str, Change); 7] = [
        ("one too few", |all| drop(all.pop())),
        ("one twice", |all| all[0].item = all[1].item),
        ("one too many", |all| all[0].item = 9),
        ("of another length", |all| {
            all[0].values = Vector::Floats(vec![1.0, 2.0])
        }),
        ("empty", |all| all[0].values = Vector::Floats(Vec::new())),
        ("no number", |all| {
            all[0].values = Vector::Floats(vec![f32::NAN])
        }),
        ("endless", |all| {
            all[0].values = Vector::Floats(vec![f32::INFINITY])
        }),
    ];
    for (what, change) in changes {
        let worker = |call: &Call| {
            let mut events = embedder(call);
            let Event::Embeddings(all) = &mut events[0] else {
                panic!("{events:?}");
            };
            change(all);
            events
        };
        let task = Task::Rerank(rerank("1", &["2", "3"], None));
        let outcome = run(begin("{}", task, EMBED, ""), worker, |_| 0);
        assert_eq!(
            outcome.failure().kind,
            FailureKind::UpstreamInvalid,
            "{what}"
        );
    }
}

/// Nobody's memory is used up by a worker that sends the first text's vector last.
#[test]
fn vectors_are_not_kept_without_bound() {
    let worker = |call: &Call| {
        let Task::Embed(task) = &call.task else {
            panic!("{call:?}");
        };
        let values = vec![1.0; 16_384];
        let embeddings = (0..task.inputs.len() as u32).rev();
        let embeddings = embeddings.map(|item| Embedding {
            item,
            values: Vector::Floats(values.clone()),
        });
        vec![Event::Embeddings(embeddings.collect()), Event::End]
    };
    let documents = |count| vec!["1"; count];
    let options = r#"{"texts-per-call": 512}"#;
    let outcome = |count| {
        let task = Task::Rerank(rerank("1", &documents(count), None));
        run(begin(options, task, EMBED, ""), worker, |_| 0)
    };
    assert_eq!(outcome(256).scores().len(), 256);
    assert_eq!(outcome(257).failure().kind, FailureKind::PayloadTooLarge);
}
