use super::*;

const SERVERS: [Server; 5] = [
    Server::Triton,
    Server::Ovms,
    Server::Mlserver,
    Server::KservePython,
    Server::Modelmesh,
];

#[test]
fn nothing_is_triton() {
    for json in ["", "{}", "null"] {
        assert_eq!(Options::parse(json).unwrap(), Options::of(Server::Triton));
    }
}

#[test]
fn a_server_is_a_set_of_options_and_each_can_be_another() {
    for server in SERVERS {
        let json = format!(r#"{{"server":"{}"}}"#, server.name());
        let options = Options::parse(&json).unwrap();
        assert_eq!(options, Options::of(server));
        assert_eq!(Target::parse("", &options).unwrap(), Target::of(server));
    }
    let json = r#"{"server":"ovms","wrong-method-status":405,"openai-paths":false}"#;
    let expected = Options {
        wrong_method_status: 405,
        openai_paths: false,
        ..Options::of(Server::Ovms)
    };
    assert_eq!(Options::parse(json).unwrap(), expected);
}

#[test]
fn a_worker_may_be_of_another_server() {
    let plugin = Options::of(Server::Triton);
    let target = Target::parse(r#"{"dialect":"kserve-grpc","server":"mlserver"}"#, &plugin);
    let expected = Target {
        _dialect: "kserve-grpc".to_owned(),
        ..Target::of(Server::Mlserver)
    };
    assert_eq!(target.unwrap(), expected);
    let target = Target::parse(r#"{"generate":{},"binary":false}"#, &plugin).unwrap();
    assert_eq!(target.generate, Some(Generate::default()));
    assert!(!target.binary);
    let error = Target::parse(r#"{"binry":true}"#, &plugin).unwrap_err();
    assert!(error.contains("binry"), "{error}");
}

#[test]
fn what_is_no_option_is_a_problem() {
    for json in [
        r#"{"server":"tensorflow"}"#,
        r#"{"admin":"yes"}"#,
        r#"{"surprise":1}"#,
        "[]",
        "{",
        r#"{"not-ready-status":200}"#,
    ] {
        assert_eq!(Options::parse(json).unwrap_err().len(), 1, "{json}");
    }
}

#[test]
fn the_schema_names_every_option_and_its_default() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let all: Map<String, Value> = schema["properties"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, rule)| (name.clone(), rule["default"].clone()))
        .collect();
    let json = Value::Object(all).to_string();
    assert_eq!(Options::parse(&json).unwrap(), Options::default());
}

impl Default for Options {
    fn default() -> Self {
        Self::of(Server::default())
    }
}
