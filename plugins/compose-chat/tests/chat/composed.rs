//! What goes to the worker, what comes back, and what is refused.

use proptest::prelude::*;
use serde_json::json;
use tollgate_sdk_compose::{
    composition::Action,
    failure,
    inference::{Content, Delta, Event, Extra, FinishReason, Finished},
    types::{FailureKind, Text},
};

use crate::support::{asked, begin, chat, message, options, prompt, settings, sub, text_of};

const PLAIN: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

fn plain() -> String {
    options(&json!({"template": PLAIN}))
}

fn extra(name: &str, json: &str) -> Extra {
    Extra {
        name: name.into(),
        json: json.into(),
    }
}

#[test]
fn settings_go_to_the_worker_as_they_came() {
    let mut talk = chat(&[("user", "Hi")]);
    talk.settings.n = 3;
    talk.settings.extras.push(extra("ignore_eos", "true"));
    let asked = asked(&plain(), talk).unwrap();
    assert_eq!(text_of(&asked), "user: Hi\nassistant:");
    let mut wanted = settings();
    wanted.n = 3;
    wanted.extras.push(extra("ignore_eos", "true"));
    assert_eq!(asked.settings, wanted);
}

#[test]
fn texts_of_a_message_are_joined_or_shown_as_parts() {
    let mut talk = chat(&[("user", "a")]);
    talk.messages[0]
        .content
        .push(Content::Text(Text::Inline("b".into())));
    assert_eq!(prompt(&plain(), talk.clone()), "user: a\nb\nassistant:");
    let parts = "{% for m in messages %}{% for p in m.content %}[{{ p.type }} {{ p.text }}]{% endfor %}{% endfor %}";
    let model = json!({"template": parts, "content": "parts"});
    assert_eq!(prompt(&options(&model), talk.clone()), "[text a][text b]");
    talk.messages[0]
        .content
        .push(Content::Part(r#"{"type": "image_url"}"#.into()));
    let failure = asked(&plain(), talk).unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidArgument);
    assert_eq!(failure.param.as_deref(), Some("messages"));
}

#[test]
fn clients_and_operators_have_variables() {
    let template = "{{ x }} {{ y }} {{ documents[0].title }} {{ messages[0].reasoning_content }}";
    let model = json!({"template": template, "variables": {"x": "own", "y": "own"}});
    let mut talk = chat(&[("user", "Hi")]);
    talk.settings.extras = vec![
        extra("chat_template_kwargs", r#"{"y": true}"#),
        extra("documents", r#"[{"title": "t"}]"#),
        extra("messages[0].reasoning", r#""hm""#),
    ];
    let asked = asked(&options(&model), talk).unwrap();
    assert_eq!(text_of(&asked), "own True t hm");
    assert!(
        asked.settings.extras.is_empty(),
        "the worker knows nothing of them"
    );
}

#[test]
fn an_answer_may_go_on_with_the_last_message() {
    let stripping = options(&json!({
        "template": "{% for m in messages %}<{{ m.content | trim }}>{% endfor %}{% if add_generation_prompt %}!{% endif %}"
    }));
    let talk = |text: &str, extras: &[(&str, &str)]| {
        let mut talk = chat(&[("user", "Say yes"), ("assistant", text)]);
        talk.settings.extras = extras
            .iter()
            .map(|(name, json)| extra(name, json))
            .collect();
        talk
    };
    let on = ("continue_final_message", "true");
    assert_eq!(prompt(&stripping, talk("Yes, ", &[on])), "<Say yes><Yes,");
    assert_eq!(
        prompt(&plain(), talk("Yes, ", &[on])),
        "user: Say yes\nassistant: Yes, "
    );
    let off = ("add_generation_prompt", "false");
    assert_eq!(prompt(&stripping, talk("Yes", &[off])), "<Say yes><Yes>");
    for (text, extras) in [
        ("Yes", vec![on, ("add_generation_prompt", "true")]),
        (" ", vec![on]),
        ("Yes", vec![("continue_final_message", "1")]),
    ] {
        let failure = asked(&stripping, talk(text, &extras)).unwrap_err();
        assert_eq!(
            failure.kind,
            FailureKind::InvalidArgument,
            "{text:?} {extras:?}"
        );
    }
}

#[test]
fn what_a_template_cannot_have_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut tollgate_sdk_compose::inference::Chat)| {
        let mut talk = chat(&[("user", "Hi")]);
        change(&mut talk);
        let failure = asked(&plain(), talk).unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidArgument, "{failure:?}");
        failure.param.unwrap_or_default()
    };
    let with = |name: &'static str, json: &'static str| {
        refused(&move |talk| talk.settings.extras.push(extra(name, json)))
    };
    assert_eq!(with("chat_template", "\"x\""), "chat_template");
    assert_eq!(
        with("chat_template_kwargs", r#"{"tools": []}"#),
        "chat_template_kwargs"
    );
    assert_eq!(with("chat_template_kwargs", "[]"), "chat_template_kwargs");
    assert_eq!(refused(&|talk| talk.settings.detail.echo = true), "echo");
    assert_eq!(refused(&|talk| talk.tools = Some("[]".into())), "tools");
    assert_eq!(
        refused(&|talk| talk.tool_choice = Some("\"required\"".into())),
        "tool_choice"
    );
    let bad_calls = [
        r#"[{"function": {"name": "f", "arguments": "{"}}]"#,
        "7",
        "[7]",
        "[{}]",
        "[",
    ];
    for calls in bad_calls {
        refused(&|talk| talk.messages[0].tool_calls = Some(calls.into()));
    }
}

#[test]
fn without_a_template_it_is_said_what_to_configure() {
    let failure = asked("{}", chat(&[("user", "Hi")])).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unsupported);
    assert!(
        failure.message.contains("models.alias.template"),
        "{}",
        failure.message
    );
    // What clients call it comes before what its workers call it.
    let both = json!({"models": {"m": {"template": "m"}, "alias": {"template": "alias"}}});
    assert_eq!(prompt(&both.to_string(), chat(&[("user", "Hi")])), "alias");
}

#[test]
fn a_conversation_that_is_too_much_is_refused() {
    let options = json!({"models": {"m": {"template": PLAIN}}, "fuel": 1000}).to_string();
    let mut talk = chat(&[]);
    talk.messages = vec![message("user", "Hi"); 1000];
    let failure = asked(&options, talk).unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidArgument);
    assert!(failure.message.contains("too much"), "{}", failure.message);
}

fn finished(stop: &str) -> Event {
    Event::Finished(Finished {
        item: 0,
        reason: FinishReason::StopSequence,
        stop_sequence: Some(stop.into()),
        input_tokens: None,
        output_tokens: None,
        seed: None,
    })
}

#[test]
fn the_end_of_a_turn_is_the_end_of_the_sequence() {
    let options = options(&json!({"template": PLAIN, "stop": ["<turn>", "mine"]}));
    let mut talk = chat(&[("user", "Hi")]);
    talk.settings.stopping.stop_sequences = vec!["mine".into()];
    let generate = asked(&options, talk.clone()).unwrap();
    assert_eq!(
        generate.settings.stopping.stop_sequences,
        ["mine", "<turn>"]
    );
    for (stop, own) in [("<turn>", true), ("mine", false)] {
        let mut composition = begin(&options, talk.clone());
        composition.step(Vec::new());
        let actions = composition.step(sub([finished(stop), Event::End]));
        let [Action::Events(events)] = actions.as_slice() else {
            panic!("{actions:?}");
        };
        let Event::Finished(end) = &events[0] else {
            panic!("{events:?}");
        };
        assert_eq!(end.reason == FinishReason::EndOfSequence, own);
        assert_eq!(end.stop_sequence.is_none(), own);
    }
    talk.settings.stopping.include_stop = true;
    let failure = asked(&options, talk).unwrap_err();
    assert_eq!(failure.param.as_deref(), Some("include_stop_str_in_output"));
}

#[test]
fn what_the_worker_says_goes_on_as_it_comes() {
    let delta = |text: &str| {
        Event::Delta(Delta {
            item: 0,
            text: text.into(),
            tokens: Vec::new(),
            output_tokens: None,
            extras: Vec::new(),
        })
    };
    let mut composition = begin(&plain(), chat(&[("user", "Hi")]));
    composition.step(Vec::new());
    for step in [vec![delta("a"), delta("b")], vec![delta("c")]] {
        assert_eq!(composition.step(sub(step.clone())), [Action::Events(step)]);
    }
    assert!(composition.step(Vec::new()).is_empty());
    let end = Event::Failed(failure::of(FailureKind::Overloaded, "busy"));
    let got = composition.step(sub([end.clone(), delta("late")]));
    assert_eq!(got, [Action::Events(vec![end])]);
    assert!(composition.step(sub([delta("later")])).is_empty());
}

proptest! {
    /// No text of a client's is taken for a part of the template.
    #[test]
    fn texts_come_out_as_they_went_in(text in "\\PC{0,40}", role in "[a-z{}%]{1,8}") {
        let got = prompt(&plain(), chat(&[(&role, &text)]));
        let shown = if role == "developer" { "system" } else { &role };
        prop_assert_eq!(got, format!("{shown}: {text}\nassistant:"));
    }
}
