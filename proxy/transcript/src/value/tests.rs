//! What is written is read back as it was, but for its secrets.

use serde_json::json;
use tollgate_plugin::{frontend, inference, types};

use super::*;

#[test]
fn inputs_are_read_back_as_they_were() {
    let inputs = vec![
        frontend::Input::Body(types::Progress {
            source: 0,
            available: 3,
            total: Some(3),
            end: true,
        }),
        frontend::Input::MessagesEnd,
        frontend::Input::Events(vec![frontend::CallEvent {
            call: 0,
            event: inference::Event::Embeddings(vec![inference::Embedding {
                item: 0,
                values: inference::Vector::Floats(vec![0.1, f32::INFINITY, -0.0]),
            }]),
        }]),
        frontend::Input::Cut(types::Cut::Closed),
        frontend::Input::Other(types::Other {
            name: "new".into(),
            payload: vec![0xff, 0],
        }),
    ];
    let written = to_value(&inputs).unwrap();
    assert_eq!(
        written,
        json!([
            {"body": {"source": 0, "available": 3, "total": 3, "end": true}},
            "messages-end",
            {"events": [{"call": 0, "event": {"embeddings": [
                {"item": 0, "values": {"floats": [0.10000000149011612, "Infinity", -0.0]}}
            ]}}]},
            {"cut": "closed"},
            {"other": {"name": "new", "payload": {"base64": "/wA="}}},
        ])
    );
    let read: Vec<frontend::Input> = from_value(&written).unwrap();
    assert_eq!(format!("{read:?}"), format!("{inputs:?}"));
}

#[test]
fn actions_are_read_back_as_they_were() {
    let actions = vec![
        frontend::Action::Data(vec![
            types::Segment::Inline(b"text".to_vec()),
            types::Segment::Inline(Vec::new()),
            types::Segment::Convert(types::Conversion {
                value: types::Held {
                    at: types::Span {
                        source: 1,
                        offset: 2,
                        len: u64::MAX,
                    },
                    written: types::Encoding::JsonArray(types::Datatype::Other("x".into())),
                },
                to: types::Encoding::Plain,
            }),
        ]),
        frontend::Action::Finish,
    ];
    let written = to_value(&actions).unwrap();
    assert_eq!(written[0]["data"][0], json!({"inline": "text"}));
    let read: Vec<frontend::Action> = from_value(&written).unwrap();
    assert_eq!(format!("{read:?}"), format!("{actions:?}"));
}

#[test]
fn secrets_are_left_out() {
    let head = frontend::RequestHead {
        claim: 0,
        method: "GET".into(),
        path: "/a".into(),
        query: "api_key=s3cret&b=c".into(),
        parameters: Vec::new(),
        headers: vec![
            types::Header {
                name: "authorization".into(),
                value: "Bearer s3cret".into(),
            },
            types::Header {
                name: "accept".into(),
                value: "*/*".into(),
            },
        ],
    };
    let written = to_value(&head).unwrap();
    assert!(!written.to_string().contains("s3cret"), "{written}");
    assert_eq!(written["headers"][1]["value"], "*/*");
    let read: frontend::RequestHead = from_value(&written).unwrap();
    assert_eq!(read.headers.len(), 2);
}

#[test]
fn what_is_not_of_the_contract_is_named() {
    let said = |value: serde_json::Value| from_value::<frontend::Input>(&value).unwrap_err().0;
    assert_eq!(said(json!("cooked")), "input has no case `cooked`");
    let odd = json!({"body": {"source": 0, "available": 0, "end": true, "colour": 1}});
    assert_eq!(said(odd), "progress has no `colour`");
    assert!(said(json!({"body": {"source": -1}})).contains("-1"));
    assert!(said(json!({"cut": {"closed": 1}})).contains("payload"));
    assert_eq!(
        from_value::<Vec<u8>>(&json!({"base64": "!"}))
            .unwrap_err()
            .0,
        "bytes are a text or base64"
    );
}
