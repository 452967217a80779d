//! Generation and chat, through the worker's own door.

use crate::common::{answer, call, context, events, failure, generate, settings, text, worker};
use tollgate_plugin_embedded::model::{CONTEXT, Model};
use tollgate_plugin_embedded::{HASH, NGRAM};
use tollgate_sdk_worker::Worker;
use tollgate_sdk_worker::inference::{
    Chat, Constraint, Content, Detail, Event, Extra, FinishReason, Finished, Message, Prompt,
    Settings, Started, Task, Token, Truncation, TruncationSide,
};
use tollgate_sdk_worker::types::{Encoding, FailureKind, Held, Span, Text};

fn started(events: &[Event]) -> Vec<&Started> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Started(started) => Some(started),
            _ => None,
        })
        .collect()
}

fn finished(events: &[Event]) -> Vec<&Finished> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Finished(finished) => Some(finished),
            _ => None,
        })
        .collect()
}

fn tokens(events: &[Event]) -> Vec<&Token> {
    events
        .iter()
        .flat_map(|event| match event {
            Event::Delta(delta) => delta.tokens.as_slice(),
            _ => &[],
        })
        .collect()
}

fn with(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = settings();
    change(&mut settings);
    settings
}

#[test]
fn an_answer_is_started_told_finished_counted_and_ended() {
    let events = events(generate(vec![text("The ferry")], settings()));
    let started = started(&events);
    assert_eq!(started.len(), 1);
    assert_eq!((started[0].item, started[0].seed), (0, Some(42)));
    assert!(matches!(events.first(), Some(Event::Started(_))));
    let [
        ..,
        Event::Finished(finished),
        Event::Usage(usage),
        Event::End,
    ] = events.as_slice()
    else {
        panic!("{events:?}");
    };
    assert_eq!(usage.input_tokens, started[0].input_tokens.map(u64::from));
    assert_eq!(usage.output_tokens, finished.output_tokens.map(u64::from));
    assert!(!answer(&events, 0).is_empty());
}

#[test]
fn a_seed_decides_everything() {
    let seeded = |seed| {
        let settings = with(|settings| settings.sampling.seed = Some(seed));
        events(generate(vec![text("The keeper")], settings))
    };
    assert_eq!(seeded(1), seeded(1));
    let unlike = (2..12)
        .filter(|&seed| answer(&seeded(seed), 0) != answer(&seeded(1), 0))
        .count();
    assert!(unlike >= 5);
}

#[test]
fn greedy_needs_no_seed() {
    let seeded = |seed| {
        let settings = with(|settings| {
            settings.sampling.greedy = true;
            settings.sampling.seed = Some(seed);
        });
        answer(&events(generate(vec![text("When the")], settings)), 0)
    };
    assert_eq!(seeded(1), seeded(2));
}

#[test]
fn it_writes_words_of_its_corpus() {
    let corpus = [
        "bridges", "engines", "ferries", "harbours", "roads", "talks",
    ]
    .map(|name| std::fs::read_to_string(format!("corpus/{name}.txt")).unwrap())
    .concat();
    let known: std::collections::HashSet<&str> =
        corpus.split(|c: char| !c.is_alphanumeric()).collect();
    let (mut words, mut strange) = (0, 0);
    for seed in 0..10 {
        let settings = with(|settings| {
            settings.sampling.seed = Some(seed);
            settings.stopping.max_tokens = Some(60);
        });
        let said = answer(&events(generate(vec![text("The")], settings)), 0);
        // The first and the last word may be pieces.
        let said: Vec<&str> = said.split_whitespace().collect();
        for word in said.iter().take(said.len().saturating_sub(1)).skip(1) {
            let word = word.trim_matches(|c: char| !c.is_alphanumeric());
            words += 1;
            strange += usize::from(!known.contains(word));
        }
    }
    assert!(words > 100 && strange * 5 < words, "{strange} of {words}");
}

#[test]
fn streamed_or_not_the_text_is_the_same() {
    let mut call = generate(vec![text("A harbour")], settings());
    let streamed = events(call.clone());
    call.streaming = false;
    let whole = events(call);
    assert_eq!(answer(&streamed, 0), answer(&whole, 0));
    assert!(whole.len() < streamed.len());
}

#[test]
fn max_tokens_is_kept_and_min_tokens_puts_the_end_off() {
    for most in [0, 1, 16, 17, 33] {
        let settings = with(|settings| {
            settings.stopping.max_tokens = Some(most);
            settings.stopping.min_tokens = Some(most);
        });
        let events = events(generate(vec![text("The")], settings));
        let finished = finished(&events);
        assert_eq!(finished[0].output_tokens, Some(most));
        assert_eq!(finished[0].reason, FinishReason::MaxTokens);
    }
}

#[test]
fn answers_end_by_themselves() {
    let settings = with(|settings| settings.stopping.max_tokens = Some(1_000));
    let events = events(generate(vec![text("The river")], settings));
    assert_eq!(finished(&events)[0].reason, FinishReason::EndOfSequence);
}

#[test]
fn without_a_limit_the_context_is_one() {
    let settings = with(|settings| {
        settings.stopping.max_tokens = None;
        settings.stopping.min_tokens = Some(1_000_000);
    });
    let events = events(generate(vec![text("The gate")], settings));
    let finished = finished(&events);
    assert_eq!(finished[0].reason, FinishReason::TokenLimit);
    let total = finished[0].input_tokens.unwrap() + finished[0].output_tokens.unwrap();
    assert_eq!(total as usize, CONTEXT);
}

#[test]
fn a_stop_sequence_ends_the_text_before_it_or_with_it() {
    let free = answer(&events(generate(vec![text("The")], settings())), 0);
    let middle = free.char_indices().nth(free.chars().count() / 2).unwrap().0;
    let stop: String = free[middle..].chars().take(5).collect();
    let before = &free[..free.find(&stop).unwrap()];
    for include in [false, true] {
        let settings = with(|settings| {
            settings.stopping.stop_sequences = vec!["\u{1}never".into(), stop.clone()];
            settings.stopping.include_stop = include;
        });
        let events = events(generate(vec![text("The")], settings));
        let finished = finished(&events);
        assert_eq!(finished[0].reason, FinishReason::StopSequence);
        assert_eq!(finished[0].stop_sequence.as_ref(), Some(&stop));
        let expected = if include {
            format!("{before}{stop}")
        } else {
            before.to_owned()
        };
        assert_eq!(answer(&events, 0), expected);
    }
}

#[test]
fn several_answers_to_several_prompts_are_items_in_order() {
    let settings = with(|settings| settings.n = 3);
    let prompts = vec![text("The ferry"), text("The road over the pass")];
    let both = events(generate(prompts, settings.clone()));
    let items: Vec<u32> = finished(&both)
        .iter()
        .map(|finished| finished.item)
        .collect();
    assert_eq!(items, [0, 1, 2, 3, 4, 5]);
    let alone = events(generate(vec![text("The road over the pass")], settings));
    for choice in 0..3 {
        assert_eq!(answer(&both, 3 + choice), answer(&alone, choice));
    }
    assert_ne!(answer(&both, 0), answer(&both, 1));
    let Some(Event::Usage(usage)) = both.iter().rev().nth(1) else {
        panic!()
    };
    let prompts: u32 = [0, 3]
        .iter()
        .map(|&item| started(&both)[item].input_tokens.unwrap())
        .sum();
    assert_eq!(
        usage.input_tokens,
        Some(u64::from(prompts)),
        "a prompt counts once"
    );
}

#[test]
fn reports_are_the_models_own_and_make_up_the_text() {
    let settings = with(|settings| {
        settings.detail = Detail {
            echo: true,
            input_tokens: true,
            output_tokens: true,
            logprobs: true,
            ranks: true,
            top_n: 3,
        };
        settings.sampling.temperature = Some(2.0);
        settings.stopping.max_tokens = Some(30);
    });
    let events = events(generate(vec![text("The bridge had one gate")], settings));
    let started = started(&events);
    assert_eq!(started[0].echo.as_deref(), Some("The bridge had one gate"));
    let prompt = &started[0].tokens;
    assert_eq!(prompt.len(), started[0].input_tokens.unwrap() as usize);
    assert_eq!((prompt[0].text.as_str(), prompt[0].logprob), ("<s>", None));
    let said: String = tokens(&events)
        .iter()
        .map(|token| token.text.as_str())
        .filter(|&text| text != "</s>")
        .collect();
    assert_eq!(said, answer(&events, 0));

    let model = Model::load();
    let mut history: Vec<u16> = vec![prompt[0].id.unwrap() as u16];
    for token in prompt[1..].iter().chain(tokens(&events)) {
        let probabilities = model.distribution(&history);
        let own = probabilities[token.id.unwrap() as usize];
        assert_eq!(token.logprob, Some(own.ln()));
        let better = probabilities.iter().filter(|&&other| other > own).count();
        assert_eq!(token.rank, Some(better as u32 + 1));
        assert_eq!(token.top.len(), 3);
        assert!(token.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
        let best = probabilities.iter().copied().fold(0.0, f64::max);
        assert_eq!(token.top[0].logprob, best.ln());
        history.push(token.id.unwrap() as u16);
    }
}

#[test]
fn probabilities_sum_to_one_after_anything() {
    let model = Model::load();
    for history in [
        "",
        "The",
        "The ferry left the",
        "zq\u{1}\u{e9}",
        "user: Hello.\nassistant:",
    ] {
        let tokens = model.vocabulary().encode(history);
        let sum: f64 = model.distribution(&tokens).iter().sum();
        assert!((sum - 1.0).abs() < 1e-9, "{history:?} {sum}");
    }
}

#[test]
fn tokens_are_a_prompt_too_and_truncation_keeps_the_end() {
    let words = "the gate was closed and the ferry left";
    let ids: Vec<u32> = Model::load()
        .vocabulary()
        .encode(words)
        .into_iter()
        .map(u32::from)
        .collect();
    let settings = with(|settings| {
        settings.truncate = Some(Truncation {
            tokens: 3,
            side: None,
        });
        settings.detail.echo = true;
    });
    let by_tokens = events(generate(vec![Prompt::Tokens(ids)], settings.clone()));
    let by_text = events(generate(vec![text(words)], settings));
    assert_eq!(by_tokens, by_text);
    let echo = started(&by_text)[0].echo.clone().unwrap();
    assert!(words.ends_with(&echo) && echo.len() < words.len());
    let settings = with(|settings| {
        settings.truncate = Some(Truncation {
            tokens: 3,
            side: Some(TruncationSide::Right),
        });
        settings.detail.echo = true;
    });
    let right = events(generate(vec![text(words)], settings));
    assert!(words.starts_with(started(&right)[0].echo.as_ref().unwrap()));
}

#[test]
fn long_prompts_are_read_in_pieces_and_refused_when_they_do_not_fit() {
    let long = "word after word ".repeat(10_000);
    let refused = failure(generate(vec![text(&long)], settings()));
    assert_eq!(refused.kind, FailureKind::InvalidArgument);
    let settings = with(|settings| {
        settings.truncate = Some(Truncation {
            tokens: 100,
            side: None,
        });
    });
    let call = generate(vec![text(&long)], settings);
    let mut session = worker().session(context(), call.clone());
    assert!(
        session.step().events.is_empty(),
        "160 kB are more than one step"
    );
    assert_eq!(started(&events(call))[0].input_tokens, Some(100));
}

fn chat(messages: &[(&str, Content)], change: impl FnOnce(&mut Chat)) -> Vec<Event> {
    let messages = messages
        .iter()
        .map(|(role, content)| Message {
            role: (*role).into(),
            content: vec![content.clone()],
            name: None,
            tool_calls: None,
            tool_call_id: None,
        })
        .collect();
    let mut chat = Chat {
        messages,
        settings: settings(),
        tools: None,
        tool_choice: None,
    };
    change(&mut chat);
    events(call(NGRAM, Task::Chat(chat)))
}

#[test]
fn a_conversation_is_answered_as_the_dialogues_of_the_corpus_are() {
    let hello = Content::Text(Text::Inline("What is a toll?".into()));
    let part = Content::Part(r#"{"type": "text", "text": "What is a toll?"}"#.into());
    let answers: Vec<String> = [hello, part]
        .into_iter()
        .map(|content| {
            let events = chat(&[("user", content)], |chat| {
                chat.settings.sampling.greedy = true
            });
            answer(&events, 0)
        })
        .collect();
    assert_eq!(answers[0], answers[1]);
    assert!(
        answers[0].starts_with(|c: char| c.is_ascii_uppercase()),
        "{answers:?}"
    );
}

#[test]
fn a_conversation_with_pictures_or_tools_is_refused() {
    let picture = Content::Part(r#"{"type": "image_url", "image_url": {"url": "x"}}"#.into());
    let events = chat(&[("user", picture)], |_| {});
    assert!(matches!(&events[..], [Event::Failed(f)] if f.kind == FailureKind::Unsupported));
    let hello = Content::Text(Text::Inline("Hello".into()));
    let events = chat(&[("user", hello)], |chat| chat.tools = Some("[{}]".into()));
    assert!(matches!(&events[..], [Event::Failed(f)] if f.kind == FailureKind::Unsupported));
    let events = chat(&[], |_| {});
    assert!(matches!(&events[..], [Event::Failed(f)] if f.kind == FailureKind::InvalidArgument));
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let refusal = |change: fn(&mut Settings)| failure(generate(vec![text("The")], with(change)));
    let extra = refusal(|settings| {
        settings.extras.push(Extra {
            name: "best_of".into(),
            json: "4".into(),
        });
    });
    assert_eq!(
        (extra.kind, extra.param.as_deref()),
        (FailureKind::InvalidArgument, Some("best_of"))
    );
    let constraint = refusal(|settings| settings.constraint = Some(Constraint::JsonObject));
    assert_eq!(constraint.kind, FailureKind::Unsupported);
    for (param, change) in [
        (
            "adapter",
            (|settings| settings.adapter = Some("x".into())) as fn(&mut Settings),
        ),
        ("n", |settings| settings.n = 0),
        ("n", |settings| settings.n = 65),
        ("top_n", |settings| settings.detail.top_n = 1_000),
        ("stop", |settings| {
            settings.stopping.stop_sequences.push(String::new())
        }),
        ("min_tokens", |settings| {
            settings.stopping.min_tokens = Some(41)
        }),
        ("temperature", |settings| {
            settings.sampling.temperature = Some(-1.0)
        }),
        ("truncate", |settings| {
            settings.truncate = Some(Truncation {
                tokens: 0,
                side: None,
            })
        }),
    ] {
        let failure = refusal(change);
        assert_eq!(failure.kind, FailureKind::InvalidArgument);
        assert_eq!(failure.param.as_deref(), Some(param));
    }
    let unknown = failure(generate(vec![Prompt::Tokens(vec![70_000])], settings()));
    assert_eq!(unknown.kind, FailureKind::InvalidArgument);
    let at = Span {
        source: 0,
        offset: 0,
        len: 1,
    };
    let held = Prompt::Text(Text::Held(Held {
        at,
        written: Encoding::Plain,
    }));
    assert_eq!(
        failure(generate(vec![held], settings())).kind,
        FailureKind::Internal
    );
    let none = failure(generate(Vec::new(), settings()));
    assert_eq!(none.kind, FailureKind::InvalidArgument);
}

#[test]
fn models_versions_and_tasks_that_are_not_there_are_told_apart() {
    let mut call = generate(vec![text("The")], settings());
    call.model = "another".into();
    assert_eq!(failure(call.clone()).kind, FailureKind::NotFound);
    call.model = HASH.into();
    assert_eq!(failure(call.clone()).kind, FailureKind::Unsupported);
    call.model = NGRAM.into();
    call.version = Some("9".into());
    assert_eq!(failure(call.clone()).kind, FailureKind::NotFound);
    call.version = Some("1".into());
    assert!(matches!(events(call).last(), Some(Event::End)));
}
