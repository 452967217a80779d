//! Embeddings, tokens and what is told about models.

use crate::common::{call, events, failure, text, worker};
use proptest::prelude::*;
use tollgate_plugin_embedded::{HASH, NGRAM};
use tollgate_sdk_worker::Worker;
use tollgate_sdk_worker::inference::{
    Detokenize, Embed, Event, Extra, Prompt, Rerank, Task, Tokenize, Tokenized, Truncation, Vector,
};
use tollgate_sdk_worker::types::{FailureKind, Other, Text};

fn embed(inputs: Vec<Prompt>) -> Embed {
    Embed {
        inputs,
        dimensions: None,
        truncate: None,
        extras: Vec::new(),
    }
}

fn vectors(task: Embed) -> Vec<Vec<f32>> {
    events(call(HASH, Task::Embed(task)))
        .into_iter()
        .flat_map(|event| match event {
            Event::Embeddings(embeddings) => embeddings,
            _ => Vec::new(),
        })
        .map(|embedding| match embedding.values {
            Vector::Floats(values) => values,
            Vector::Held(_) => panic!("a guest holds nothing"),
        })
        .collect()
}

fn tokenize(inputs: &[&str]) -> Tokenize {
    Tokenize {
        inputs: inputs
            .iter()
            .map(|&input| Text::Inline(input.into()))
            .collect(),
        add_special_tokens: Some(false),
        tokens: true,
        offsets: true,
        truncate: None,
        extras: Vec::new(),
    }
}

fn tokenized(task: Tokenize) -> Vec<Tokenized> {
    events(call(NGRAM, Task::Tokenize(task)))
        .into_iter()
        .flat_map(|event| match event {
            Event::Tokenized(tokenized) => tokenized,
            _ => Vec::new(),
        })
        .collect()
}

fn detokenize(tokens: Vec<u32>) -> String {
    match &events(call(NGRAM, Task::Detokenize(Detokenize { tokens })))[..] {
        [Event::Detokenized(Text::Inline(text)), Event::End] => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_vector_for_each_input_in_order_with_counts() {
    let task = embed(vec![
        text("the ferry"),
        text("the ferry"),
        text("an engine"),
    ]);
    let events = events(call(HASH, Task::Embed(task.clone())));
    let items: Vec<u32> = events
        .iter()
        .filter_map(|event| match event {
            Event::Embeddings(embeddings) => Some(embeddings[0].item),
            _ => None,
        })
        .collect();
    assert_eq!(items, [0, 1, 2]);
    let counts: u64 = events
        .iter()
        .filter_map(|event| match event {
            Event::Started(started) => started.input_tokens.map(u64::from),
            _ => None,
        })
        .sum();
    let [.., Event::Usage(usage), Event::End] = events.as_slice() else {
        panic!()
    };
    assert_eq!(usage.input_tokens, Some(counts));
    let vectors = vectors(task);
    assert_eq!(vectors[0], vectors[1]);
    assert_ne!(vectors[0], vectors[2]);
    assert!(vectors.iter().all(|vector| vector.len() == 256));
}

#[test]
fn dimensions_and_truncation_are_honoured_or_refused() {
    let with = |dimensions| Embed {
        dimensions: Some(dimensions),
        ..embed(vec![text("a gate")])
    };
    assert_eq!(vectors(with(64))[0].len(), 64);
    for wrong in [0, 257] {
        let failure = failure(call(HASH, Task::Embed(with(wrong))));
        assert_eq!(failure.param.as_deref(), Some("dimensions"));
    }
    let cut = Embed {
        truncate: Some(Truncation {
            tokens: 2,
            side: None,
        }),
        ..embed(vec![text("The ferry sinks")])
    };
    assert_eq!(vectors(cut)[0], vectors(embed(vec![text("The ferry")]))[0]);
    let long = embed(vec![text(&"ab cd ".repeat(20_000))]);
    assert_eq!(
        failure(call(HASH, Task::Embed(long))).kind,
        FailureKind::InvalidArgument
    );
    let extra = Extra {
        name: "pooling".into(),
        json: "1".into(),
    };
    let extra = Embed {
        extras: vec![extra],
        ..embed(vec![text("x")])
    };
    assert_eq!(
        failure(call(HASH, Task::Embed(extra))).param.as_deref(),
        Some("pooling")
    );
}

#[test]
fn tokens_tell_their_texts_and_places() {
    let words = "The ferryman\u{2019}s b\u{e9}ll, 12 times!";
    let all = tokenized(tokenize(&[words, ""]));
    assert_eq!((all[0].item, all[1].item, all[1].count), (0, 1, 0));
    let first = &all[0];
    assert_eq!(first.count as usize, first.ids.len());
    assert_eq!(first.ids.len(), first.texts.len());
    assert_eq!(first.ids.len(), first.offsets.len());
    let characters: Vec<char> = words.chars().collect();
    for (text, place) in first.texts.iter().zip(&first.offsets) {
        let there: String = characters[place.start as usize..place.end as usize]
            .iter()
            .collect();
        assert!(
            *text == there || text.starts_with("<0x"),
            "{text:?} {there:?}"
        );
    }
    assert_eq!(
        first.offsets.last().map(|place| place.end as usize),
        Some(characters.len())
    );
    let common = &tokenized(tokenize(&["The ferry"]))[0];
    assert_eq!(
        common.texts,
        ["The", " ferry"],
        "words of the corpus are tokens"
    );
}

#[test]
fn marks_are_added_by_default_and_left_out_on_the_way_back() {
    let task = Tokenize {
        add_special_tokens: None,
        ..tokenize(&["the gate"])
    };
    let all = tokenized(task);
    assert_eq!(all[0].texts[0], "<s>");
    assert_eq!((all[0].offsets[0].start, all[0].offsets[0].end), (0, 0));
    assert_eq!(detokenize(all[0].ids.clone()), "the gate");
    let cut = Tokenize {
        truncate: Some(Truncation {
            tokens: 1,
            side: None,
        }),
        ..tokenize(&["the gate"])
    };
    let cut = tokenized(cut);
    assert_eq!((cut[0].count, cut[0].texts[0].as_str()), (1, " gate"));
    assert_eq!((cut[0].offsets[0].start, cut[0].offsets[0].end), (3, 8));
}

#[test]
fn tokens_that_do_not_exist_are_refused() {
    let task = Task::Detokenize(Detokenize {
        tokens: vec![5, 65_536],
    });
    assert_eq!(
        failure(call(NGRAM, task)).kind,
        FailureKind::InvalidArgument
    );
}

#[test]
fn models_are_listed_with_their_tasks_and_tell_that_they_are_there() {
    let models = worker().models();
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, [NGRAM, HASH]);
    assert_eq!(
        events(call("", Task::ListModels)),
        [Event::Models(models.clone()), Event::End]
    );
    let one = [Event::Models(vec![models[1].clone()]), Event::End];
    assert_eq!(events(call(HASH, Task::ModelMetadata)), one);
    let ready = [Event::Ready(true), Event::End];
    assert_eq!(events(call(NGRAM, Task::ModelReady)), ready);
    assert_eq!(events(call("", Task::ServerReady)), ready);
    assert_eq!(
        failure(call("nobody", Task::ModelReady)).kind,
        FailureKind::NotFound
    );
    let manifest = tollgate_plugin_embedded::Embedded::manifest();
    for task in models.iter().flat_map(|model| &model.tasks) {
        assert!(manifest.tasks.contains(task));
    }
}

#[test]
fn tasks_that_are_not_offered_are_unsupported() {
    let query = Text::Inline("q".into());
    let rerank = Rerank {
        query,
        documents: Vec::new(),
        top_n: None,
        truncate: None,
        extras: Vec::new(),
    };
    assert_eq!(
        failure(call(HASH, Task::Rerank(rerank))).kind,
        FailureKind::Unsupported
    );
    let other = Other {
        name: "dream".into(),
        payload: Vec::new(),
    };
    assert_eq!(
        failure(call(NGRAM, Task::Other(other))).kind,
        FailureKind::Unsupported
    );
}

#[test]
fn unknown_options_are_a_problem() {
    assert!(tollgate_plugin_embedded::Embedded::configure(r#"{"size": 1}"#).is_err());
    assert!(tollgate_plugin_embedded::Embedded::configure("{}").is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_text_comes_back(text in "\\PC{0,40}|[ \\n\\ta-z0-9.\u{e9}\u{4e2d}\u{1f600}]{0,80}") {
        let all = tokenized(tokenize(&[&text]));
        prop_assert_eq!(detokenize(all[0].ids.clone()), text.clone());
        let end = all[0].offsets.last().map_or(0, |place| place.end as usize);
        prop_assert_eq!(end, text.chars().count());
        for two in all[0].offsets.windows(2) {
            prop_assert!(two[0].start <= two[1].start && two[1].start <= two[0].end);
        }
    }
}
