//! Reflection and health, whose every answer has to decode.

use prost::Message;
use tollgate_reflect::{Reflection, Version, health};

use crate::input::parts;

/// `ServerReflectionResponse`, as far as it is looked into.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(string, tag = "1")]
    valid_host: String,
    #[prost(message, optional, tag = "2")]
    original_request: Option<Request>,
    #[prost(oneof = "Answer", tags = "4, 5, 6, 7")]
    answer: Option<Answer>,
}

/// `ServerReflectionRequest`; messages inside stay bytes.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    host: String,
    #[prost(string, optional, tag = "3")]
    file: Option<String>,
    #[prost(string, optional, tag = "4")]
    symbol: Option<String>,
    #[prost(string, optional, tag = "6")]
    extended: Option<String>,
    #[prost(string, optional, tag = "7")]
    list: Option<String>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Answer {
    #[prost(message, tag = "4")]
    Files(Files),
    #[prost(message, tag = "5")]
    Numbers(()),
    #[prost(message, tag = "6")]
    Services(()),
    #[prost(message, tag = "7")]
    Error(()),
}

#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}

/// Parts: a descriptor set that a plugin brought, then questions.
pub(crate) fn reflect(data: &[u8]) {
    let mut parts = parts(data).into_iter();
    let set = parts.next().unwrap_or_default();
    let one = Reflection::new(&[set]);
    // The same set twice is the same set.
    let twice = Reflection::new(&[set, set]);
    assert_eq!(one.is_ok(), twice.is_ok());
    let reflection = match (one, twice) {
        (Ok(one), Ok(twice)) => {
            assert_eq!(one.services(), twice.services());
            one
        }
        _ => Reflection::default(),
    };
    assert!(reflection.services().is_sorted());
    for question in parts {
        asked(&reflection, question);
        healthy(question);
    }
    for service in reflection.services() {
        let request = Request {
            symbol: Some(service.clone()),
            ..Request::default()
        };
        let answer = asked(&reflection, &request.encode_to_vec());
        assert!(matches!(answer, Answer::Files(_)), "{service} is not found");
    }
}

fn asked(reflection: &Reflection, question: &[u8]) -> Answer {
    let answer = reflection.answer(question, Version::V1);
    assert_eq!(reflection.answer(question, Version::V1Alpha), answer);
    let response = Response::decode(answer).expect("an answer decodes");
    if let Some(request) = &response.original_request {
        assert_eq!(response.valid_host, request.host);
    }
    let answer = response.answer.expect("something is answered");
    if let Answer::Files(files) = &answer {
        assert!(!files.files.is_empty());
    }
    answer
}

fn healthy(question: &[u8]) {
    let named = health::service(question);
    let checked = health::check(question, |service| {
        (service == "there").then_some(health::Serving::Serving)
    });
    match (named, checked) {
        (Err((code, _)), Err(checked)) => assert_eq!((code, checked.0), (3, 3)),
        (Ok(service), Ok(_)) => assert_eq!(service, "there"),
        (Ok(service), Err((code, _))) => assert!(code == 5 && service != "there"),
        (Err(_), Ok(_)) => panic!("a question that cannot be read was answered"),
    }
}
