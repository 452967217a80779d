use super::*;

#[test]
fn nothing_is_the_default() {
    for json in ["", "{}", "null"] {
        assert_eq!(Options::parse(json).unwrap(), Options::default());
    }
}

#[test]
fn every_problem_is_told_at_its_place() {
    let problems = Options::parse(
        r#"{"default-max-new-tokens": -1, "count-usage": "yes", "revision": "new", "a/b": 1}"#,
    )
    .unwrap_err();
    let at: Vec<_> = problems.iter().map(|problem| problem.at.as_str()).collect();
    assert_eq!(
        at,
        [
            "/default-max-new-tokens",
            "/count-usage",
            "/revision",
            "/a~1b"
        ]
    );
}

#[test]
fn the_schema_names_every_option() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let all: Map<String, Value> = schema["properties"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, rule)| {
            let value = rule.get("default").cloned().unwrap_or_else(|| 30.into());
            (name.clone(), value)
        })
        .collect();
    let expected = Options {
        max_new_tokens: Some(30),
        ..Options::default()
    };
    assert_eq!(
        Options::parse(&Value::Object(all).to_string()).unwrap(),
        expected
    );
}

#[test]
fn a_default_above_the_limit_is_a_problem() {
    let problems = Options::parse(r#"{"max-new-tokens": 10}"#).unwrap_err();
    assert_eq!(problems[0].at, "/default-max-new-tokens");
}

#[test]
fn a_worker_takes_the_revision_of_the_plugin_unless_it_says() {
    let plugin = Options {
        revision: Revision::Adapter,
        ..Options::default()
    };
    let worker = WorkerOptions::parse("{}", &plugin).unwrap();
    assert_eq!(
        (worker.revision, worker.max_new_tokens),
        (Revision::Adapter, 0)
    );
    assert_eq!(worker.truncation_side, Side::Right);
    let worker = WorkerOptions::parse(r#"{"revision":"plain"}"#, &plugin).unwrap();
    assert_eq!(
        (worker.revision, worker.max_new_tokens),
        (Revision::Plain, 1024)
    );
    let error = WorkerOptions::parse(r#"{"revison":"plain"}"#, &plugin).unwrap_err();
    assert_eq!(error, "the worker's options: /revison is not an option");
}
