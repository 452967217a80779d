//! Lists of inputs over workers that take one at a time.

use crate::support::{begin, plain, run, text};
use proptest::{collection::vec, prelude::*};
use tollgate_sdk_compose::{
    failure,
    inference::{
        Call, Delta, Detail, Embed, Embedding, Event, FinishReason, Finished, Generate, Prompt,
        Sampling, Settings, Started, Stopping, Task, TaskKind, Tokenize, Tokenized, Usage, Vector,
    },
    types::FailureKind,
};

fn settings(n: u32) -> Settings {
    Settings {
        sampling: Sampling {
            greedy: true,
            temperature: None,
            top_k: None,
            top_p: None,
            typical_p: None,
            min_p: None,
            seed: Some(7),
            repetition_penalty: None,
            frequency_penalty: None,
            presence_penalty: None,
            length_penalty: None,
        },
        stopping: Stopping {
            max_tokens: Some(5),
            min_tokens: None,
            stop_sequences: vec!["\n".into()],
            include_stop: false,
            time_limit_ms: None,
        },
        detail: Detail {
            echo: false,
            input_tokens: false,
            output_tokens: false,
            logprobs: false,
            ranks: false,
            top_n: 0,
        },
        n,
        truncate: None,
        constraint: None,
        adapter: None,
        extras: Vec::new(),
    }
}

fn generate(prompts: &[&str], n: u32) -> Task {
    Task::Generate(Generate {
        prompts: prompts
            .iter()
            .map(|prompt| Prompt::Text(text(prompt)))
            .collect(),
        settings: settings(n),
    })
}

fn usage(input: Option<u64>, output: Option<u64>) -> Event {
    Event::Usage(Usage {
        input_tokens: input,
        output_tokens: output,
        cached_tokens: None,
        extensions: Vec::new(),
    })
}

/// Says each prompt again, with its answer's number.
fn parrot(call: &Call) -> Vec<Event> {
    let Task::Generate(task) = &call.task else {
        panic!("{call:?}");
    };
    let [Prompt::Text(prompt)] = task.prompts.as_slice() else {
        panic!("one prompt: {call:?}");
    };
    let mut events = Vec::new();
    for item in 0..task.settings.n {
        events.push(Event::Started(Started {
            item,
            input_tokens: Some(1),
            seed: None,
            echo: None,
            tokens: Vec::new(),
        }));
        events.push(Event::Delta(Delta {
            item,
            text: format!("{} {item}", plain(prompt)),
            tokens: Vec::new(),
            output_tokens: Some(2),
            extras: Vec::new(),
        }));
        events.push(Event::Finished(Finished {
            item,
            reason: FinishReason::MaxTokens,
            stop_sequence: None,
            input_tokens: Some(1),
            output_tokens: Some(2),
            seed: None,
        }));
    }
    events.push(usage(Some(1), Some(2 * u64::from(task.settings.n))));
    events.push(Event::End);
    events
}

const GENERATE: &[TaskKind] = &[TaskKind::Generate];

proptest! {
    #[test]
    fn every_prompt_has_its_answers_in_its_places(
        count in 1_usize..12, n in 1_u32..4, at_once in 1_usize..6, picks in vec(any::<usize>(), 16),
    ) {
        let prompts: Vec<String> = (0..count).map(|at| format!("p{at}")).collect();
        let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
        let options = format!(r#"{{"at-once": {at_once}}}"#);
        let mut picks = picks.into_iter().cycle();
        let composition = begin(&options, generate(&prompts, n), GENERATE, "generate");
        let outcome = run(composition, parrot, |_| picks.next().unwrap());
        let mut texts = vec![String::new(); count * n as usize];
        let mut finished = vec![0; texts.len()];
        for event in &outcome.events {
            match event {
                Event::Delta(delta) => texts[delta.item as usize].push_str(&delta.text),
                Event::Finished(end) => finished[end.item as usize] += 1,
                _ => {}
            }
        }
        for (place, text) in texts.iter().enumerate() {
            let (prompt, item) = (place / n as usize, place % n as usize);
            prop_assert_eq!(text, &format!("p{prompt} {item}"));
        }
        prop_assert!(finished.iter().all(|times| *times == 1));
        prop_assert!(outcome.most <= at_once);
        prop_assert_eq!(outcome.calls.len(), count);
        let total = usage(Some(count as u64), Some(2 * u64::from(n) * count as u64));
        prop_assert!(outcome.events.contains(&total), "{:?}", outcome.events);
    }
}

#[test]
fn settings_go_with_every_prompt() {
    let outcome = run(
        begin("{}", generate(&["a", "b"], 1), GENERATE, ""),
        parrot,
        |_| 0,
    );
    for call in &outcome.calls {
        let Task::Generate(task) = &call.task else {
            panic!("{call:?}");
        };
        assert_eq!(task.settings, settings(1));
    }
}

/// A sum of what is known in part would be less than what was used.
#[test]
fn a_count_that_one_call_leaves_out_is_unknown() {
    let worker = |call: &Call| {
        let mut events = parrot(call);
        let Task::Generate(task) = &call.task else {
            panic!("{call:?}");
        };
        if matches!(&task.prompts[0], Prompt::Text(text) if plain(text) == "b") {
            let place = events.len() - 2;
            events[place] = usage(Some(4), None);
        }
        events
    };
    let outcome = run(
        begin("{}", generate(&["a", "b"], 1), GENERATE, ""),
        worker,
        |_| 0,
    );
    assert!(
        outcome.events.contains(&usage(Some(5), None)),
        "{:?}",
        outcome.events
    );
    let silent = |call: &Call| {
        let mut events = parrot(call);
        events.remove(events.len() - 2);
        events
    };
    let outcome = run(
        begin("{}", generate(&["a", "b"], 1), GENERATE, ""),
        silent,
        |_| 0,
    );
    assert!(
        !outcome
            .events
            .iter()
            .any(|event| matches!(event, Event::Usage(_)))
    );
}

#[test]
fn one_that_fails_ends_the_batch() {
    let worker = |_: &Call| {
        vec![Event::Failed(failure::of(
            FailureKind::UpstreamUnavailable,
            "gone",
        ))]
    };
    let outcome = run(
        begin("{}", generate(&["a", "b", "c"], 1), GENERATE, ""),
        worker,
        |_| 1,
    );
    assert_eq!(outcome.failure().message, "gone");
    assert_eq!(outcome.cancelled, [0, 2]);
}

#[test]
fn more_than_was_asked_is_nonsense() {
    let worker = |call: &Call| {
        let mut events = parrot(call);
        if let Event::Delta(delta) = &mut events[1] {
            delta.item = 1;
        }
        events
    };
    let outcome = run(
        begin("{}", generate(&["a", "b"], 1), GENERATE, ""),
        worker,
        |_| 0,
    );
    assert_eq!(outcome.failure().kind, FailureKind::UpstreamInvalid);
    let too_many = run(
        begin(r#"{"fan-out": 1}"#, generate(&["a", "b"], 1), GENERATE, ""),
        parrot,
        |_| 0,
    );
    assert_eq!(too_many.failure().kind, FailureKind::InvalidArgument);
}

#[test]
fn texts_get_their_vectors_and_their_counts() {
    let task = Task::Embed(Embed {
        inputs: ["a", "bb", "ccc"]
            .map(|input| Prompt::Text(text(input)))
            .to_vec(),
        dimensions: Some(1),
        truncate: None,
        extras: Vec::new(),
    });
    let worker = |call: &Call| {
        let Task::Embed(task) = &call.task else {
            panic!("{call:?}");
        };
        let [Prompt::Text(text)] = task.inputs.as_slice() else {
            panic!("one text: {call:?}");
        };
        assert_eq!(task.dimensions, Some(1));
        let values = Vector::Floats(vec![plain(text).len() as f32]);
        vec![
            Event::Embeddings(vec![Embedding { item: 0, values }]),
            Event::End,
        ]
    };
    let outcome = run(
        begin("{}", task, &[TaskKind::Embed], ""),
        worker,
        |running| running - 1,
    );
    let mut items: Vec<(u32, Vector)> = Vec::new();
    for event in outcome.events {
        if let Event::Embeddings(all) = event {
            items.extend(all.into_iter().map(|it| (it.item, it.values)));
        }
    }
    items.sort_by_key(|(item, _)| *item);
    let wanted = [1.0, 2.0, 3.0].map(|length| Vector::Floats(vec![length]));
    assert_eq!(items, (0..).zip(wanted).collect::<Vec<_>>());

    let tokenize = || {
        Task::Tokenize(Tokenize {
            inputs: vec![text("a"), text("bb")],
            add_special_tokens: None,
            tokens: false,
            offsets: false,
            truncate: None,
            extras: Vec::new(),
        })
    };
    let count = |times: usize| {
        move |call: &Call| {
            let Task::Tokenize(task) = &call.task else {
                panic!("{call:?}");
            };
            let tokenized = Tokenized {
                item: 0,
                count: plain(&task.inputs[0]).len() as u32,
                ids: Vec::new(),
                texts: Vec::new(),
                offsets: Vec::new(),
            };
            vec![Event::Tokenized(vec![tokenized; times]), Event::End]
        }
    };
    let composition = || begin("{}", tokenize(), &[TaskKind::Tokenize], "tokenize");
    let outcome = run(composition(), count(1), |_| 0);
    let counts: Vec<(u32, u32)> = outcome
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Tokenized(all) => Some(all.iter().map(|it| (it.item, it.count))),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(counts, [(0, 1), (1, 2)]);
    for times in [0, 2] {
        let outcome = run(composition(), count(times), |_| 0);
        assert_eq!(
            outcome.failure().kind,
            FailureKind::UpstreamInvalid,
            "{times}"
        );
    }
}
