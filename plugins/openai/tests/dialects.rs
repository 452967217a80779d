//! What differs between the two generations of vLLM, towards clients and towards workers, and
//! what is passed on or not at all.

mod support;

use serde_json::{Value, json};
use support::{content, head, plugin};
use tollgate_sdk_protocol::{
    Protocol, actions,
    frontend::{Action, Affinity, CallEvent, Dispatched, Input, PassTo, ResponseMode, Way},
    inference::{Event, Extra, Score, ServerInfo, Task, TaskKind, Usage},
    plugin::Surface,
    testing::{Client, Memory, Pace, Upstream, context},
    types::{Other, Progress},
};

const OLD: &str = r#"{"generation":"old"}"#;
const NEW: &str = r#"{"generation":"new"}"#;

fn to(options: &str) -> Way {
    Way::Pass(PassTo {
        model: "served".to_owned(),
        dialect: "openai".to_owned(),
        options: options.to_owned(),
    })
}

fn script(endpoint: &str, request: Value) -> Value {
    json!({"endpoint": endpoint, "request": request})
}

/// Whether a worker with these options gets a request as it came.
fn passes(endpoint: &str, member: (&str, Value), worker: &str) -> bool {
    let mut request = json!({"model": "m", "prompt": "a", "messages": [], "input": "a",
        "query": "a", "documents": ["b"]});
    request[member.0] = member.1;
    let script = script(endpoint, request);
    let client = Client {
        upstream: Some(Upstream::rest(200, "application/json", "{}")),
        ..Client::rest(content(&script["request"]), to(worker))
    };
    let outcome = client.play(
        plugin(&script).exchange(context(), head(&script)),
        Pace::Whole,
    );
    assert_eq!(
        outcome.passed.len() + outcome.calls.len(),
        1,
        "{outcome:#?}"
    );
    !outcome.passed.is_empty()
}

#[test]
fn what_a_worker_would_ignore_although_it_can_do_it_is_said_in_its_own_words() {
    let chat = "POST /v1/chat/completions";
    let guided = || ("guided_choice", json!(["a", "b"]));
    let structured = || ("structured_outputs", json!({"choice": ["a", "b"]}));
    let side = || ("truncation_side", json!("left"));
    for endpoint in [chat, "POST /v1/completions"] {
        assert!(passes(endpoint, guided(), OLD) && !passes(endpoint, guided(), NEW));
        assert!(passes(endpoint, structured(), NEW) && !passes(endpoint, structured(), OLD));
    }
    assert!(passes("POST /v1/embeddings", side(), NEW));
    assert!(!passes("POST /v1/embeddings", side(), OLD));
    assert!(!passes("POST /rerank", side(), OLD));
    // What is absent, or null, or known to both, changes nothing.
    assert!(passes(chat, ("guided_choice", Value::Null), NEW));
    assert!(passes(chat, ("top_p", json!(0.5)), OLD));
    assert!(passes(
        chat,
        ("response_format", json!({"type": "text"})),
        OLD
    ));
}

#[test]
fn clients_of_either_generation_get_errors_and_reasoning_in_its_shape() {
    let error = |options: &str| {
        let (_, claims) =
            tollgate_plugin_openai::OpenAi::configure(options).unwrap_or_else(|_| panic!());
        claims[2].errors[0].body.clone()
    };
    assert!(error("{}").starts_with(r#"{"error":{"#));
    assert!(error(r#"{"clients":"old"}"#).starts_with(r#"{"object":"error""#));
    let both = r#"{"clients":"old","error-shape":"nested"}"#;
    assert!(error(both).starts_with(r#"{"error":{"#));

    let message = |options: Value| {
        let mut script = script(
            "POST /v1/chat/completions",
            json!({"messages": [{"role": "user", "content": "a"}]}),
        );
        script["options"] = options;
        script["answer"] = json!({"body": {"choices": [{"index": 0, "finish_reason": "stop",
            "message": {"content": "b", "reasoning_content": "c"}}]}});
        let (_, outcome) = support::translate(&script);
        let body: Value = serde_json::from_slice(&outcome.body).unwrap();
        body["choices"][0]["message"].clone()
    };
    assert_eq!(message(json!({}))["reasoning"], "c");
    let old = message(json!({"clients": "old"}));
    assert_eq!(old["reasoning_content"], "c");
    assert_eq!(old.get("reasoning"), None);
    let named = message(json!({"clients": "old", "reasoning-field": "reasoning"}));
    assert_eq!(named["reasoning"], "c");
}

#[test]
fn only_workers_that_tell_whose_tokens_are_whose_share_completions() {
    let key = |options: &str| {
        let script = script("POST /v1/completions", json!({"prompt": "a"}));
        let (call, _) = support::taken_apart(&script).unwrap();
        let worker = tollgate_sdk_protocol::backend::Worker {
            options: options.to_owned(),
            ..support::worker(&script)
        };
        plugin(&script).batch_key(&worker, &call).is_some()
    };
    assert!(key(NEW));
    assert!(!key(OLD));
    assert!(!key(r#"{"merge-completions":false}"#));
}

/// Steps an exchange by hand.
struct By {
    exchange: Box<dyn tollgate_sdk_protocol::Frontend>,
    memory: Memory,
}

impl By {
    fn begin(script: &Value) -> (Self, Vec<Action>) {
        let body = content(&script["request"]);
        let mut by = Self {
            exchange: plugin(script).exchange(context(), head(script)),
            memory: Memory::default().with(0, body.clone()),
        };
        let progress = Progress {
            source: 0,
            available: body.len() as u64,
            total: None,
            end: true,
        };
        let actions = by.step(Input::Body(progress));
        (by, actions)
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        self.exchange.step(&self.memory, vec![input])
    }

    fn dispatched(&mut self, call: u32, way: Way) -> Vec<Action> {
        self.step(Input::Dispatched(Dispatched { call, way }))
    }

    fn events(&mut self, call: u32, events: Vec<Event>) -> Vec<Action> {
        let events = events.into_iter();
        self.step(Input::Events(
            events.map(|event| CallEvent { call, event }).collect(),
        ))
    }
}

fn translated() -> Way {
    Way::Translate(tollgate_sdk_protocol::frontend::TranslateTo {
        model: "served".to_owned(),
    })
}

fn counted(tokens: u64) -> Event {
    Event::Usage(Usage {
        input_tokens: Some(tokens),
        output_tokens: Some(0),
        cached_tokens: None,
        extensions: Vec::new(),
    })
}

#[test]
fn pairs_are_compared_one_by_one_and_answered_together() {
    let script = script(
        "POST /score",
        json!({"text_1": ["a", "b", "c"], "text_2": ["d", "e", "f"]}),
    );
    let (mut by, asked) = By::begin(&script);
    let intents = |actions: &[Action]| {
        let all = actions.iter().filter_map(|action| match action {
            Action::Call(intent) => Some((intent.id, intent.task.clone())),
            _ => None,
        });
        all.collect::<Vec<_>>()
    };
    assert_eq!(intents(&asked), [(0, TaskKind::Similarity)]);
    let more = by.dispatched(0, translated());
    assert_eq!(
        intents(&more),
        [(1, TaskKind::Similarity), (2, TaskKind::Similarity)]
    );
    let pairs = |actions: &[Action]| {
        let all = actions.iter().filter_map(|action| match action {
            Action::Materialise(it) => match &it.call.task {
                Task::Similarity(it_is) => {
                    Some((it.id, it_is.sentences.len(), it.call.model.clone()))
                }
                _ => None,
            },
            _ => None,
        });
        all.collect::<Vec<_>>()
    };
    assert_eq!(pairs(&more), [(0, 1, "served".to_owned())]);
    // Also where the request could have been passed: it is in parts by now.
    assert_eq!(
        pairs(&by.dispatched(2, to(""))),
        [(2, 1, "served".to_owned())]
    );
    assert_eq!(
        pairs(&by.dispatched(1, translated())),
        [(1, 1, "served".to_owned())]
    );
    let score = |value| Event::Scores(vec![Score { item: 0, value }]);
    assert!(
        by.events(2, vec![score(0.75), counted(2), Event::End])
            .is_empty()
    );
    // A second attempt of one call leaves the others as they are.
    assert_eq!(
        pairs(&by.dispatched(1, translated())),
        [(1, 1, "served".to_owned())]
    );
    assert!(
        by.events(1, vec![score(0.5), counted(3), Event::End])
            .is_empty()
    );
    let last = by.events(0, vec![score(0.25), counted(4), Event::End]);
    let body = last.iter().find_map(|action| match action {
        Action::Data(segments) => Some(by.memory.render(segments)),
        _ => None,
    });
    let body: Value = serde_json::from_slice(&body.expect("an answer")).unwrap();
    let scores: Vec<_> = body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["score"].clone())
        .collect();
    assert_eq!(json!(scores), json!([0.25, 0.5, 0.75]));
    assert_eq!(body["usage"]["prompt_tokens"], 9);
}

#[test]
fn one_pair_that_fails_is_a_failure_of_all() {
    let script = script(
        "POST /score",
        json!({"text_1": ["a", "b"], "text_2": ["d", "e"]}),
    );
    let (mut by, _) = By::begin(&script);
    by.dispatched(0, translated());
    by.dispatched(1, translated());
    let why = tollgate_sdk_protocol::failure::upstream_unavailable("gone");
    let actions = by.events(1, vec![Event::Failed(why.clone())]);
    assert_eq!(actions, [Action::Refuse(why), Action::Finish]);
}

#[test]
fn what_has_no_neutral_form_is_passed_or_told_apart_by_name() {
    for (endpoint, task) in [
        ("POST /v1/responses", "responses"),
        ("GET /v1/responses/resp_1", "responses"),
        ("POST /v1/responses/resp_1/cancel", "responses"),
        ("POST /v1/messages", "messages"),
        ("POST /v1/messages/count_tokens", "messages"),
        ("POST /pooling", "pooling"),
    ] {
        let script = script(endpoint, json!({"model": "m"}));
        let (mut by, asked) = By::begin(&script);
        let intent = asked.iter().find_map(|action| match action {
            Action::Call(intent) => Some(intent.clone()),
            _ => None,
        });
        assert_eq!(
            intent.unwrap().task,
            TaskKind::Other(task.to_owned()),
            "{endpoint}"
        );
        let actions = by.dispatched(0, translated());
        let other = Task::Other(Other {
            name: task.to_owned(),
            payload: Vec::new(),
        });
        assert!(
            matches!(&actions[..], [Action::Materialise(it)] if it.call.task == other),
            "{endpoint}: {actions:?}"
        );
        let actions = by.dispatched(0, to(""));
        assert!(
            matches!(&actions[..], [Action::Pass(_)]),
            "{endpoint}: {actions:?}"
        );
    }
    // A worker's backend has no words for it.
    let (call, memory) = support::taken_apart(&script("POST /v1/messages", json!({}))).unwrap();
    let outcome = support::attempt(&json!({}), &[call], memory);
    assert!(outcome.request.is_none());
}

#[test]
fn a_response_is_asked_for_where_it_is_kept() {
    let affinity = |script: &Value| {
        let (_, asked) = By::begin(script);
        asked.into_iter().find_map(|action| match action {
            Action::Call(intent) => Some(intent.affinity),
            _ => None,
        })
    };
    let made = script("POST /v1/responses", json!({"input": "a"}));
    let (mut by, _) = By::begin(&made);
    let passed = by.dispatched(0, to(""));
    let [Action::Pass(passed)] = &passed[..] else {
        panic!("{passed:?}")
    };
    let text = by.memory.render(&passed.edits[0].replacement);
    let text = String::from_utf8(text).unwrap();
    let id = text
        .split('"')
        .find(|part| part.starts_with("resp_"))
        .unwrap();
    let later = script(&format!("GET /v1/responses/{id}"), Value::Null);
    let pinned = affinity(&made);
    assert!(matches!(&pinned, Some(Affinity::Pin(_))));
    assert_eq!(affinity(&later), pinned);
    let mut anywhere = made;
    anywhere["options"] = json!({"sticky-responses": false});
    assert_eq!(affinity(&anywhere), Some(Affinity::None));
}

#[test]
fn operators_are_served_only_where_the_options_say_so() {
    let paths = |options: &str| -> Vec<String> {
        let (_, claims) =
            tollgate_plugin_openai::OpenAi::configure(options).unwrap_or_else(|_| panic!());
        let path = |surface: Surface| match surface {
            Surface::Rest(rest) => rest.path,
            Surface::Grpc(_) => String::new(),
        };
        claims
            .into_iter()
            .map(|claim| path(claim.surface))
            .collect()
    };
    let usual = paths("");
    for admin in [
        "/metrics",
        "/sleep",
        "/wake_up",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/start_profile",
        "/reset_prefix_cache",
        "/collective_rpc",
        "/server_info",
        "/pause",
        "/scale_elastic_ep",
        "/v1/models/switch",
        "/invocations",
    ] {
        assert!(!usual.iter().any(|path| path == admin), "{admin}");
    }
    let lora = paths(r#"{"admin":["lora"]}"#);
    let more: Vec<_> = lora.iter().filter(|path| !usual.contains(path)).collect();
    assert_eq!(more, ["/v1/load_lora_adapter", "/v1/unload_lora_adapter"]);
    assert!(paths(r#"{"admin":["metrics"]}"#).contains(&"/metrics".to_owned()));
    let fewer = paths(r#"{"relayed":["audio"]}"#);
    let gone: Vec<_> = usual.iter().filter(|path| !fewer.contains(path)).collect();
    assert_eq!(
        gone,
        [
            "/v1/responses",
            "/v1/responses/{id}",
            "/v1/responses/{id}/cancel",
            "/v1/messages",
            "/v1/messages/count_tokens",
            "/pooling",
            "/classify"
        ]
    );
}

#[test]
fn what_an_operator_asks_goes_as_it_came_and_once() {
    let options = r#"{"admin":["lora"]}"#;
    let (plugin, claims) =
        tollgate_plugin_openai::OpenAi::configure(options).unwrap_or_else(|_| panic!());
    let at = claims.len() - 2;
    let body = r#"{"lora_name":"a","lora_path":"/b"}"#;
    let head = tollgate_sdk_protocol::frontend::RequestHead {
        claim: at as u32,
        ..head(&script("POST /pooling", Value::Null))
    };
    let client = Client {
        upstream: Some(Upstream::rest(200, "text/plain", "done")),
        ..Client::rest(body, to(""))
    };
    let outcome = client.play(plugin.exchange(context(), head), Pace::Whole);
    assert_eq!(outcome.intents[0].task, TaskKind::Other("admin".to_owned()));
    assert!(!outcome.intents[0].repeatable);
    assert_eq!(outcome.passed[0].body, body.as_bytes());
    assert_eq!(outcome.passed[0].response, ResponseMode::Blind);
}

#[test]
fn a_body_of_two_types_is_refused() {
    let form = "multipart/form-data; boundary=xyz";
    for (endpoint, one, other) in [
        (
            "POST /v1/audio/transcriptions",
            form,
            "multipart/form-data; boundary=abc",
        ),
        ("POST /v1/completions", "application/json", form),
    ] {
        let script = script(endpoint, json!({"prompt": "a"}));
        let mut head = head(&script);
        head.headers = [one, other]
            .map(|kind| actions::header("content-type", kind))
            .to_vec();
        let client = Client::rest(content(&script["request"]), translated());
        let outcome = client.play(plugin(&script).exchange(context(), head), Pace::Whole);
        let failed = outcome.refused.expect("a refusal");
        assert!(failed.message.contains("more than once"), "{failed:?}");
    }
}

#[test]
fn load_is_what_the_house_counts() {
    let load = |facts: Vec<Extra>| {
        let (mut by, asked) = By::begin(&script("GET /load", Value::Null));
        assert!(
            matches!(&asked[..], [Action::Call(intent)] if intent.task == TaskKind::ServerMetadata)
        );
        let info = ServerInfo {
            name: "tollgate".to_owned(),
            version: "1".to_owned(),
            features: Vec::new(),
            facts,
        };
        let actions = by.events(0, vec![Event::Metadata(info), Event::End]);
        let status = actions.iter().find_map(|action| match action {
            Action::Head(head) => Some((
                head.status,
                actions::header_value(&head.headers, "content-type").map(str::to_owned),
            )),
            _ => None,
        });
        assert_eq!(status, Some((200, Some("application/json".to_owned()))));
        let body = actions.iter().find_map(|action| match action {
            Action::Data(segments) => Some(by.memory.render(segments)),
            _ => None,
        });
        serde_json::from_slice::<Value>(&body.unwrap()).unwrap()
    };
    let fact = Extra {
        name: "load".to_owned(),
        json: "3".to_owned(),
    };
    assert_eq!(load(vec![fact]), json!({"server_load": 3}));
    assert_eq!(load(Vec::new()), json!({"server_load": 0}));
}
