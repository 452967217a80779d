//! A comparison, played as the proxy plays it.

use tollgate_example_versus::Plugin;
use tollgate_sdk_compose::{
    Compose, Composition,
    composition::{Action, Capability, SubEvent},
    inference::{Call, Embedding, Event, Score, Similarity, Task, TaskKind, Vector},
    testing,
    types::Text,
};

fn begin(offers: &[(&str, TaskKind)]) -> Box<dyn Composition> {
    let capabilities = offers.iter().map(|(model, task)| Capability {
        model: (*model).to_owned(),
        tasks: vec![task.clone()],
    });
    let call = Call {
        model: "m".to_owned(),
        version: None,
        streaming: false,
        task: Task::Similarity(Similarity {
            source: Text::Inline("a".to_owned()),
            sentences: ["b", "c"].map(|text| Text::Inline(text.to_owned())).into(),
            truncate: None,
            extras: Vec::new(),
        }),
        extensions: Vec::new(),
    };
    let plugin = Plugin::configure("{}").expect("it has no options");
    plugin.compose(testing::context(), call, capabilities.collect())
}

fn told(event: Event) -> SubEvent {
    SubEvent { id: 0, event }
}

fn vectors(of: &[&[f32]]) -> SubEvent {
    let embedding = |(values, item): (&&[f32], u32)| Embedding {
        item,
        values: Vector::Floats(values.to_vec()),
    };
    told(Event::Embeddings(
        of.iter().zip(0..).map(embedding).collect(),
    ))
}

#[test]
fn sentences_are_compared_by_their_vectors() {
    let mut comparing = begin(&[("other", TaskKind::Embed), ("m", TaskKind::Embed)]);
    let asked = comparing.step(Vec::new());
    let [Action::Call(asked)] = &asked[..] else {
        panic!("{asked:?}");
    };
    assert_eq!(asked.call.model, "m", "the same model, where it embeds");
    let Task::Embed(embed) = &asked.call.task else {
        panic!("{asked:?}");
    };
    assert_eq!(embed.inputs.len(), 3);
    let events = vec![
        vectors(&[&[1.0, 0.0], &[2.0, 0.0], &[0.0, 1.0]]),
        told(Event::End),
    ];
    let scores = [(0, 1.0), (1, 0.0)].map(|(item, value)| Score { item, value });
    assert_eq!(
        comparing.step(events),
        [Action::Events(vec![
            Event::Scores(scores.into()),
            Event::End
        ])]
    );
}

#[test]
fn what_cannot_be_compared_is_a_failure() {
    let failed = |actions: Vec<Action>| match &actions[..] {
        [Action::Events(events)] => matches!(events[..], [Event::Failed(_)]),
        _ => false,
    };
    assert!(failed(begin(&[("m", TaskKind::Chat)]).step(Vec::new())));
    for bad in [
        vec![told(Event::End)],
        vec![vectors(&[&[1.0], &[1.0, 2.0], &[1.0]]), told(Event::End)],
        vec![vectors(&[&[1.0], &[1.0], &[1.0], &[1.0]])],
    ] {
        let mut comparing = begin(&[("other", TaskKind::Embed)]);
        let _ = comparing.step(Vec::new());
        assert!(failed(comparing.step(bad)));
        assert_eq!(comparing.step(vec![told(Event::End)]), []);
    }
}
