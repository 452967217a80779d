//! What frontends of other protocols ask, and what their workers answer: calls and
//! events that no transcript of this API brings about.

mod support;

use serde_json::{Value, json};
use support::{answered, attempt, check_json, check_response, head, plugin, taken_apart, worker};
use tollgate_sdk_protocol::{
    Bytes, Protocol,
    backend::{Action, Input, MemberEvent, ProbeResponse},
    body::{JsonProblem, Member},
    failure,
    frontend::{self, Affinity, PassTo, Way},
    inference::{
        Call, Delta, Embedding, Event, FinishReason, Finished, Generate, LengthPenalty, ModelInfo,
        Prompt, Started, Task, Token, Tokenize, Tokenized, Truncation, TruncationSide, Usage,
        Vector,
    },
    testing::{Client, Memory, Pace, context},
    types::{Encoding, Held, Progress, SourceId, Text},
};

fn script(endpoint: &str, request: Value) -> Value {
    json!({"endpoint": endpoint, "request": request})
}

/// A neutral generation, changed as a test needs it.
fn generate(change: impl FnOnce(&mut Generate)) -> Call {
    let script = script("POST /v1/completions", json!({"prompt": "a"}));
    let (mut call, _) = taken_apart(&script).expect("a call");
    if let Task::Generate(generate) = &mut call.task {
        generate.prompts = vec![Prompt::Text(Text::Inline("a".to_owned()))];
        change(generate);
    }
    call
}

fn completion(choices: Value, usage: Value) -> Value {
    json!({"answer": {"body": {"choices": choices, "usage": usage}}})
}

fn refused(script: &Value, call: Call) -> String {
    let outcome = attempt(script, &[call], Memory::default());
    assert_eq!(outcome.request, None);
    assert!(outcome.finished);
    match &outcome.of(0)[..] {
        [Event::Failed(failed)] => {
            assert_eq!(failure::label(&failed.kind), "invalid-argument");
            failed.param.clone().unwrap_or_default()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_worker_cannot_do_is_refused_by_name() {
    let new = json!({"answer": {}});
    let old = json!({"answer": {}, "worker": {"generation": "old"}});
    let cut = |side| {
        Some(Truncation {
            tokens: 4,
            side: Some(side),
        })
    };
    assert_eq!(
        refused(
            &new,
            generate(|task| task.settings.sampling.typical_p = Some(0.5))
        ),
        "typical_p"
    );
    assert_eq!(
        refused(
            &new,
            generate(
                |task| task.settings.sampling.length_penalty = Some(LengthPenalty {
                    start_index: 1,
                    decay_factor: 1.5
                })
            )
        ),
        "length_penalty"
    );
    assert_eq!(
        refused(
            &new,
            generate(|task| task.settings.sampling.seed = Some(1 << 63))
        ),
        "seed"
    );
    assert_eq!(
        refused(
            &old,
            generate(|task| task.settings.truncate = cut(TruncationSide::Right))
        ),
        "truncation_side"
    );
    assert_eq!(
        refused(
            &new,
            generate(|task| task
                .settings
                .extras
                .push(tollgate_sdk_protocol::inference::Extra {
                    name: "novel".to_owned(),
                    json: "1".to_owned()
                }))
        ),
        "novel"
    );
    // The habit of an old worker is what is asked for.
    let left = generate(|task| task.settings.truncate = cut(TruncationSide::Left));
    let outcome = attempt(&old, &[left], Memory::default());
    let body: Value = serde_json::from_slice(&outcome.request.unwrap().body).unwrap();
    assert_eq!(body["truncate_prompt_tokens"], 4);
    assert_eq!(body.get("truncation_side"), None);
}

#[test]
fn merged_calls_get_their_own_answers_and_counts() {
    let text = |text: &str| Prompt::Text(Text::Inline(text.to_owned()));
    let one = generate(|task| task.prompts = vec![text("a\"")]);
    let two = generate(|task| task.prompts = vec![text("b")]);
    let plain = json!({});
    let key = |call: &Call| plugin(&plain).batch_key(&worker(&plain), call);
    assert!(key(&one).is_some());
    assert_eq!(key(&one), key(&two));

    let script = completion(
        json!([
            {"index": 1, "text": "B", "finish_reason": "length", "token_ids": [1, 2], "prompt_token_ids": [9, 9, 9]},
            {"index": 0, "text": "A", "finish_reason": "stop", "stop_reason": "x", "token_ids": [1], "prompt_token_ids": [9]},
        ]),
        json!({"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}),
    );
    let outcome = attempt(&script, &[one, two], Memory::default());
    let body: Value = serde_json::from_slice(&outcome.request.as_ref().unwrap().body).unwrap();
    assert_eq!(body["prompt"], json!(["a\"", "b"]));
    for (member, text, reason, input, output) in [
        (0, "A", FinishReason::StopSequence, 1, 1),
        (1, "B", FinishReason::MaxTokens, 3, 2),
    ] {
        let events = outcome.of(member);
        assert!(events.iter().any(
            |event| matches!(event, Event::Delta(delta) if delta.text == text && delta.item == 0)
        ));
        assert!(events.iter().any(|event| matches!(event, Event::Finished(end)
            if end.reason == reason && end.input_tokens == Some(input) && end.output_tokens == Some(output))));
        assert!(events.iter().any(|event| matches!(event, Event::Usage(usage)
            if usage.input_tokens == Some(input.into()) && usage.output_tokens == Some(output.into()))));
        assert_eq!(events.last(), Some(&Event::End));
    }
}

#[test]
fn calls_that_differ_or_cannot_share_have_no_equal_key() {
    let (new, old) = (json!({}), json!({"worker": {"generation": "old"}}));
    let key = |script: &Value, call: &Call| plugin(script).batch_key(&worker(script), call);
    let plain = generate(|_| {});
    let warm = generate(|task| task.settings.sampling.temperature = Some(0.5));
    let tokens = generate(|task| task.prompts = vec![Prompt::Tokens(vec![1])]);
    let streaming = Call {
        streaming: true,
        ..plain.clone()
    };
    let seeded = generate(|task| task.settings.sampling.seed = Some(1));
    let two = generate(|task| task.prompts.push(Prompt::Tokens(vec![1])));
    let elsewhere = Call {
        model: "other".to_owned(),
        ..plain.clone()
    };
    for other in [&warm, &tokens, &elsewhere] {
        assert!(key(&new, other).is_some());
        assert_ne!(key(&new, &plain), key(&new, other));
    }
    for alone in [&streaming, &seeded, &two] {
        assert_eq!(key(&new, alone), None);
    }
    assert_eq!(
        key(&old, &plain),
        None,
        "an old worker does not tell counts apart"
    );
}

#[test]
fn merged_embeddings_are_divided_and_so_are_their_tokens() {
    let embed = |input: Value| {
        taken_apart(&script("POST /v1/embeddings", json!({"input": input})))
            .expect("a call")
            .0
    };
    let one = embed(json!([1, 2]));
    let two = embed(json!([[3], [4], [5, 6]]));
    let answer = json!({"answer": {"body": {
        "data": (0..4u8)
            .map(|index| json!({"index": index, "embedding": [f32::from(index)]}))
            .collect::<Vec<_>>(),
        "usage": {"prompt_tokens": 7, "total_tokens": 7}
    }}});
    let key = |call: &Call| plugin(&answer).batch_key(&worker(&answer), call);
    assert!(key(&one).is_some() && key(&one) == key(&two));
    let off = json!({"worker": {"merge-embeddings": false}});
    assert_eq!(plugin(&off).batch_key(&worker(&off), &one), None);

    let outcome = attempt(&answer, &[one, two], Memory::default());
    let body: Value = serde_json::from_slice(&outcome.request.as_ref().unwrap().body).unwrap();
    assert_eq!(body["input"], json!([[1, 2], [3], [4], [5, 6]]));
    let vectors = |member: u32| -> Vec<f32> {
        outcome
            .of(member)
            .iter()
            .find_map(|event| match event {
                Event::Embeddings(list) => Some(
                    list.iter()
                        .map(|one| match &one.values {
                            Vector::Floats(values) => values[0],
                            Vector::Held(_) => panic!("held"),
                        })
                        .collect(),
                ),
                _ => None,
            })
            .unwrap()
    };
    assert_eq!((vectors(0), vectors(1)), (vec![0.0], vec![1.0, 2.0, 3.0]));
    let tokens = |member: u32| {
        outcome
            .of(member)
            .iter()
            .find_map(|event| match event {
                Event::Usage(usage) => usage.input_tokens,
                _ => None,
            })
            .unwrap()
    };
    assert_eq!((tokens(0), tokens(1)), (2, 5), "2 and 4 of 7, none lost");
}

#[test]
fn a_time_limit_ends_a_stream_well_and_is_no_failure() {
    let call = generate(|task| task.settings.stopping.time_limit_ms = Some(50));
    let chunk = |text: &str, count: u32| {
        json!({"choices": [{"index": 0, "text": text}],
        "usage": {"prompt_tokens": 3, "completion_tokens": count, "total_tokens": 3 + count}})
    };
    let script = json!({"answer": {"events": [chunk("a", 1), chunk("b", 2)], "cut": "deadline"}});
    let outcome = attempt(&script, &[call], Memory::default());
    let body: Value = serde_json::from_slice(&outcome.request.as_ref().unwrap().body).unwrap();
    assert_eq!(body["stream"], true, "only a stream can be ended early");
    let events = outcome.of(0);
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Delta(delta) if delta.text == "ab"))
    );
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Finished(end)
        if end.reason == FinishReason::TimeLimit && end.output_tokens == Some(2)))
    );
    assert_eq!(events.last(), Some(&Event::End));
    // Without a limit of the client's own it is the host's, and a failure.
    let outcome = attempt(&script, &[generate(|_| {})], Memory::default());
    assert!(matches!(outcome.of(0).last(), Some(Event::Failed(failed))
        if failure::label(&failed.kind) == "deadline-exceeded"));
}

#[test]
fn who_has_left_is_told_nothing_more() {
    let script = json!({});
    let members = vec![generate(|_| {}), generate(|_| {})];
    let mut backend = plugin(&script).attempt(context(), worker(&script), members);
    let memory = Memory::default().with(7, &b"{\"choices\":[]}"[..]);
    backend.step(&memory, vec![Input::Start]);
    backend.step(&memory, vec![Input::Left(0)]);
    let progress = Progress {
        source: 7,
        available: 14,
        total: Some(14),
        end: true,
    };
    let actions = backend.step(&memory, vec![Input::Bytes(progress)]);
    assert!(matches!(&actions[..], [Action::Events(events)]
        if matches!(&events[..], [MemberEvent { member: 1, event: Event::Failed(_) }])));
}

#[test]
fn a_worker_that_gives_no_ids_leaves_them_unset() {
    let script = script(
        "POST /tokenize",
        json!({"prompt": "ab", "return_token_strs": true}),
    );
    let tokenized = Tokenized {
        item: 0,
        count: 2,
        ids: Vec::new(),
        texts: vec!["a".to_owned(), "b".to_owned()],
        offsets: Vec::new(),
    };
    let outcome = answered(
        &script,
        events([Event::Tokenized(vec![tokenized]), Event::End]),
        Memory::default(),
    );
    let expected =
        json!({"count": 2, "max_model_len": null, "tokens": null, "token_strs": ["a", "b"]});
    check_json("body", &expected, &outcome.body);
}

fn events<const N: usize>(events: [Event; N]) -> Vec<MemberEvent> {
    events
        .into_iter()
        .map(|event| MemberEvent { member: 0, event })
        .collect()
}

fn started(input: Option<u32>, echo: Option<&str>) -> Event {
    Event::Started(Started {
        item: 0,
        input_tokens: input,
        seed: None,
        echo: echo.map(str::to_owned),
        tokens: Vec::new(),
    })
}

fn delta(text: &str, output: u32) -> Event {
    Event::Delta(Delta {
        item: 0,
        text: text.to_owned(),
        tokens: vec![Token {
            text: text.to_owned(),
            id: None,
            logprob: None,
            rank: None,
            top: Vec::new(),
        }],
        output_tokens: Some(output),
        extras: Vec::new(),
    })
}

fn finished(reason: FinishReason) -> Event {
    Event::Finished(Finished {
        item: 0,
        reason,
        stop_sequence: None,
        input_tokens: None,
        output_tokens: Some(2),
        seed: None,
    })
}

#[test]
fn counts_of_items_make_the_usage_where_no_total_comes() {
    let script = script(
        "POST /v1/completions",
        json!({"prompt": "né", "echo": true, "logprobs": 0}),
    );
    let outcome = answered(
        &script,
        events([
            started(Some(3), Some("né")),
            delta("x", 1),
            delta("y", 2),
            finished(FinishReason::TokenLimit),
            Event::End,
        ]),
        Memory::default(),
    );
    let body: Value = serde_json::from_slice(&outcome.body).unwrap();
    assert_eq!(body["choices"][0]["text"], "néxy");
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["choices"][0]["logprobs"]["text_offset"], json!([2, 3]));
    assert_eq!(
        body["choices"][0]["logprobs"]["token_logprobs"],
        json!([null, null])
    );
    assert_eq!(body["usage"]["total_tokens"], 5);
}

#[test]
fn an_end_before_the_answer_is_complete_is_a_failure() {
    let unary = script("POST /v1/completions", json!({"prompt": "a"}));
    let outcome = answered(
        &unary,
        events([delta("x", 1), Event::End]),
        Memory::default(),
    );
    assert_eq!(
        failure::label(&outcome.refused.unwrap().kind),
        "upstream-invalid"
    );
    let stream = script(
        "POST /v1/completions",
        json!({"prompt": "a", "stream": true}),
    );
    let outcome = answered(
        &stream,
        events([delta("x", 1), Event::End]),
        Memory::default(),
    );
    assert!(outcome.text().contains("\"error\""));
    assert!(outcome.text().ends_with("data: [DONE]\n\n"));
    assert!(outcome.finished);
}

#[test]
fn a_second_attempt_begins_anew() {
    let script = script("POST /v1/completions", json!({"model": "m", "prompt": "a"}));
    let mut exchange = plugin(&script).exchange(context(), head(&script));
    let body = br#"{"model":"m","prompt":"a"}"#;
    let memory = Memory::default().with(0, &body[..]);
    let progress = Progress {
        source: 0,
        available: body.len() as u64,
        total: None,
        end: true,
    };
    exchange.step(&memory, vec![frontend::Input::Body(progress)]);
    let translate = || {
        let way = Way::Translate(frontend::TranslateTo {
            model: "w".to_owned(),
        });
        frontend::Input::Dispatched(frontend::Dispatched { call: 0, way })
    };
    let event = |event| frontend::Input::Events(vec![frontend::CallEvent { call: 0, event }]);
    exchange.step(&memory, vec![translate(), event(delta("lost", 1))]);
    let actions = exchange.step(
        &memory,
        vec![
            translate(),
            event(delta("kept", 1)),
            event(finished(FinishReason::EndOfSequence)),
            event(Event::End),
        ],
    );
    let text = format!("{actions:?}");
    let data = actions.iter().find_map(|action| match action {
        frontend::Action::Data(segments) => Some(memory.render(segments)),
        _ => None,
    });
    let body: Value = serde_json::from_slice(&data.expect(&text)).unwrap();
    assert_eq!(body["choices"][0]["text"], "kept");
}

#[test]
fn held_vectors_are_converted_by_the_host() {
    let vector = || {
        let at = tollgate_sdk_protocol::types::Span {
            source: 9,
            offset: 1,
            len: 8,
        };
        let datatype = tollgate_sdk_protocol::types::Datatype::Fp32;
        let held = Held {
            at,
            written: Encoding::JsonArray(datatype),
        };
        Event::Embeddings(vec![Embedding {
            item: 0,
            values: Vector::Held(held),
        }])
    };
    let usage = || {
        Event::Usage(Usage {
            input_tokens: Some(1),
            output_tokens: None,
            cached_tokens: None,
            extensions: Vec::new(),
        })
    };
    for (format, expected) in [
        ("float", json!([1.0, -2])),
        ("base64", json!("AACAPwAAAMA=")),
    ] {
        let request = json!({"input": "a", "encoding_format": format});
        let memory = Memory::default().with(9, &b"?[1.0,-2]?"[..]);
        let events = events([vector(), usage(), Event::End]);
        let outcome = answered(&script("POST /v1/embeddings", request), events, memory);
        let body: Value = serde_json::from_slice(&outcome.body).unwrap();
        assert_eq!(body["data"][0]["embedding"], expected);
    }
}

fn model(name: &str, parent: Option<&str>) -> ModelInfo {
    ModelInfo {
        name: name.to_owned(),
        versions: Vec::new(),
        max_length: Some(128),
        max_new_tokens: None,
        parent: parent.map(str::to_owned),
        tasks: Vec::new(),
        ready: true,
        platform: String::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        extensions: Vec::new(),
    }
}

/// Plays a question for the catalogue, which answers without dispatching.
fn catalogue(endpoint: &str, event: Event) -> Vec<frontend::Action> {
    let script = json!({"endpoint": endpoint, "headers": {}});
    let mut exchange = plugin(&script).exchange(context(), head(&script));
    let memory = Memory::default();
    let asked = exchange.step(&memory, Vec::new());
    assert!(
        matches!(&asked[..], [frontend::Action::Call(_)]),
        "{asked:?}"
    );
    let event = frontend::CallEvent { call: 0, event };
    exchange.step(&memory, vec![frontend::Input::Events(vec![event])])
}

fn written(actions: &[frontend::Action]) -> (u16, Value) {
    let status = actions.iter().find_map(|action| match action {
        frontend::Action::Head(head) => Some(head.status),
        _ => None,
    });
    let body = actions.iter().find_map(|action| match action {
        frontend::Action::Data(segments) => Some(Memory::default().render(segments)),
        _ => None,
    });
    assert_eq!(actions.last(), Some(&frontend::Action::Finish));
    let body = body.map_or(Value::Null, |body| serde_json::from_slice(&body).unwrap());
    (status.unwrap_or(0), body)
}

#[test]
fn models_come_from_the_catalogue() {
    let both = || Event::Models(vec![model("base", None), model("org/lora", Some("base"))]);
    let (status, list) = written(&catalogue("GET /v1/models", both()));
    assert_eq!((status, &list["object"]), (200, &json!("list")));
    assert_eq!(list["data"][0]["id"], "base");
    assert_eq!(list["data"][0]["max_model_len"], 128);
    assert_eq!(list["data"][1]["parent"], "base");
    let (status, one) = written(&catalogue("GET /v1/models/org/lora", both()));
    assert_eq!((status, &one["id"]), (200, &json!("org/lora")));
    let actions = catalogue("GET /v1/models/none", both());
    assert!(matches!(&actions[0], frontend::Action::Refuse(failed)
        if failure::label(&failed.kind) == "not-found" && failed.param.as_deref() == Some("model")));
}

#[test]
fn health_is_a_status_and_no_body() {
    assert_eq!(
        written(&catalogue("GET /health", Event::Ready(true))),
        (200, Value::Null)
    );
    assert_eq!(
        written(&catalogue("POST /ping", Event::Ready(false))),
        (503, Value::Null)
    );
    let down = failure::upstream_unavailable("none");
    assert_eq!(
        written(&catalogue("GET /ping", Event::Failed(down))),
        (503, Value::Null)
    );
}

#[test]
fn the_version_is_answered_at_once() {
    let script = json!({"endpoint": "GET /version", "headers": {}, "options": {"version": "9.8"},
        "response": {"status": 200, "body": {"version": "9.8"}}});
    let way = Way::Translate(frontend::TranslateTo {
        model: String::new(),
    });
    let outcome = Client::rest("", way).play(
        plugin(&script).exchange(context(), head(&script)),
        Pace::Whole,
    );
    assert!(outcome.intents.is_empty());
    check_response(&script, &outcome);
}

#[test]
fn options_that_are_none_are_refused() {
    for options in [
        "{\"error-shape\":\"round\"}",
        "{\"unknown\":1}",
        "[",
        "{\"version\":7}",
    ] {
        assert!(
            tollgate_plugin_openai::OpenAi::configure(options).is_err(),
            "{options}"
        );
    }
    let (_, claims) = tollgate_plugin_openai::OpenAi::configure("").unwrap_or_else(|_| panic!());
    assert_eq!(claims.len(), tollgate_plugin_openai::ENDPOINTS.len());
    let manifest = tollgate_plugin_openai::OpenAi::manifest();
    serde_json::from_str::<Value>(&manifest.options_schema).expect("a schema that is JSON");
}

#[test]
fn a_worker_is_asked_for_health_models_and_load() {
    let script = json!({});
    let asked = plugin(&script).probe(&worker(&script));
    assert_eq!(asked.len(), 5);
    let answer = |status, body: &str| ProbeResponse {
        status,
        code: None,
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
    };
    let health = plugin(&script).judge(
        &worker(&script),
        vec![
            answer(200, ""),
            answer(200, r#"{"data":[{"id":"m"}]}"#),
            answer(500, ""),
        ],
    );
    assert!(health.ready && health.queued.is_none() && health.models[0].name == "m");
}

#[test]
fn texts_in_a_list_are_refused_where_one_goes_at_a_time() {
    let task = Task::Tokenize(Tokenize {
        inputs: vec![Text::Inline("a".to_owned()), Text::Inline("b".to_owned())],
        add_special_tokens: None,
        tokens: false,
        offsets: false,
        truncate: None,
        extras: Vec::new(),
    });
    let call = Call {
        task,
        ..generate(|_| {})
    };
    let outcome = attempt(&json!({}), &[call], Memory::default());
    assert!(matches!(&outcome.of(0)[..], [Event::Failed(failed)]
        if failure::label(&failed.kind) == "unsupported"));
}

/// Counts the bytes that a guest reads.
struct Counting<'a>(&'a Memory, std::cell::Cell<usize>);

impl Bytes for Counting<'_> {
    fn available(&self, source: SourceId) -> (u64, bool) {
        self.0.available(source)
    }
    fn read(&self, source: SourceId, offset: u64, len: u32) -> Vec<u8> {
        let read = self.0.read(source, offset, len);
        self.1.set(self.1.get() + read.len());
        read
    }
    fn json_object(
        &self,
        source: SourceId,
        offset: u64,
        len: u64,
    ) -> Result<Vec<tollgate_sdk_protocol::body::Named>, tollgate_sdk_protocol::body::JsonProblem>
    {
        self.0.json_object(source, offset, len)
    }

    fn json_members(
        &self,
        source: SourceId,
        offset: u64,
        len: u64,
        keys: &[String],
    ) -> Result<Vec<Member>, JsonProblem> {
        self.0.json_members(source, offset, len, keys)
    }
    fn converted_len(&self, value: &Held, to: &Encoding) -> Result<u64, String> {
        self.0.converted_len(value, to)
    }
}

#[test]
fn long_prompts_are_neither_read_to_be_passed_nor_to_be_translated() {
    let prompt = "lorem ipsum ".repeat(20_000);
    let script = json!({"endpoint": "POST /v1/completions", "options": {"affinity": "prefix"}});
    let body = json!({"prompt": prompt, "stream": true}).to_string();
    let memory = Memory::default().with(0, body.clone());
    for (way, most) in [
        (
            Way::Pass(PassTo {
                model: "w".to_owned(),
                dialect: "openai".to_owned(),
                options: String::new(),
            }),
            9_000,
        ),
        (
            Way::Translate(frontend::TranslateTo {
                model: "w".to_owned(),
            }),
            9_000,
        ),
    ] {
        let counting = Counting(&memory, std::cell::Cell::new(0));
        let mut exchange = plugin(&script).exchange(context(), head(&script));
        let progress = Progress {
            source: 0,
            available: body.len() as u64,
            total: None,
            end: true,
        };
        let actions = exchange.step(&counting, vec![frontend::Input::Body(progress)]);
        let intent = actions.iter().find_map(|action| match action {
            frontend::Action::Call(intent) => Some(intent),
            _ => None,
        });
        assert!(
            matches!(&intent.unwrap().affinity, Affinity::Prefer(hashes) if hashes.len() == 32)
        );
        assert!(intent.unwrap().cost.input > 50_000);
        let dispatched = frontend::Dispatched { call: 0, way };
        let actions = exchange.step(&counting, vec![frontend::Input::Dispatched(dispatched)]);
        assert!(matches!(
            &actions[..],
            [frontend::Action::Pass(_) | frontend::Action::Materialise(_)]
        ));
        assert!(counting.1.get() < most, "{} bytes read", counting.1.get());
    }
}

#[test]
fn a_passed_call_that_reaches_nobody_is_refused_in_every_mode() {
    for (endpoint, request, served) in [
        (
            "POST /v1/completions",
            json!({"model": "m", "prompt": "a"}),
            "m",
        ),
        (
            "POST /v1/completions",
            json!({"model": "m", "prompt": "a"}),
            "w",
        ),
        (
            "POST /detokenize",
            json!({"model": "m", "tokens": [1]}),
            "w",
        ),
    ] {
        let script = script(endpoint, request.clone());
        let body = request.to_string();
        let memory = Memory::default().with(0, body.clone());
        let mut exchange = plugin(&script).exchange(context(), head(&script));
        let progress = Progress {
            source: 0,
            available: body.len() as u64,
            total: None,
            end: true,
        };
        exchange.step(&memory, vec![frontend::Input::Body(progress)]);
        let way = Way::Pass(PassTo {
            model: served.to_owned(),
            dialect: "openai".to_owned(),
            options: String::new(),
        });
        exchange.step(
            &memory,
            vec![frontend::Input::Dispatched(frontend::Dispatched {
                call: 0,
                way,
            })],
        );
        let event = Event::Failed(failure::upstream_unavailable("gone"));
        let event = frontend::CallEvent { call: 0, event };
        let actions = exchange.step(&memory, vec![frontend::Input::Events(vec![event])]);
        assert!(matches!(
            &actions[..],
            [frontend::Action::Refuse(_), frontend::Action::Finish]
        ));
    }
}
