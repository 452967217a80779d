use tollgate_sdk_protocol::testing::Memory;

use super::*;
use crate::fmaas::{GenerationRequest, SingleGenerationRequest, TokenizeRequest};

fn read(message: &[u8], method: Method) -> Result<Asked, Failure> {
    let memory = Memory::default().with(0, message);
    Asked::read(&memory, 0, message.len() as u64, method)
}

fn batch(texts: &[&str]) -> BatchedGenerationRequest {
    let requests = texts.iter().map(|text| GenerationRequest {
        text: (*text).to_owned(),
    });
    BatchedGenerationRequest {
        model_id: "granite".to_owned(),
        prefix_id: Some("old".to_owned()),
        requests: requests.collect(),
        adapter_id: Some("lora".to_owned()),
        params: Some(Parameters {
            truncate_input_tokens: 7,
            ..Parameters::default()
        }),
    }
}

#[test]
fn a_batch_is_taken_apart() {
    let asked = read(
        &batch(&["one", "", "three"]).encode_to_vec(),
        Method::Generate,
    )
    .unwrap();
    assert_eq!(
        (asked.model.as_str(), asked.model_at),
        ("granite", Place { offset: 0, len: 9 })
    );
    let What::Generate(generate) = asked.what else {
        panic!()
    };
    let texts: Vec<_> = ["one", "", "three"]
        .map(|t| Text::Inline(t.to_owned()))
        .into();
    assert_eq!(generate.prompts, texts);
    assert_eq!(generate.params.truncate_input_tokens, 7);
    assert_eq!(generate.adapter.as_deref(), Some("lora"));
}

#[test]
fn a_big_text_stays_with_the_host() {
    let big = "x".repeat(100_000);
    let message = batch(&["small", &big]).encode_to_vec();
    let asked = read(&message, Method::Generate).unwrap();
    assert_eq!(asked.text_bytes(), 100_005);
    let What::Generate(generate) = asked.what else {
        panic!()
    };
    let Text::Held(held) = &generate.prompts[1] else {
        panic!("copied")
    };
    let at = held.at.offset as usize..(held.at.offset + held.at.len) as usize;
    assert_eq!(&message[at], big.as_bytes());
    // What stands behind it is read all the same.
    assert_eq!(generate.params.truncate_input_tokens, 7);
}

#[test]
fn a_stream_needs_its_request_and_takes_an_empty_text() {
    let mut single = SingleGenerationRequest::default();
    let failure = read(&single.encode_to_vec(), Method::GenerateStream).unwrap_err();
    assert_eq!(failure.message, "missing request");
    single.request = Some(GenerationRequest::default());
    let asked = read(&single.encode_to_vec(), Method::GenerateStream).unwrap();
    assert_eq!(asked.items(), 1);
}

#[test]
fn of_two_single_requests_the_last_counts() {
    let one = SingleGenerationRequest {
        request: Some(GenerationRequest {
            text: "one".to_owned(),
        }),
        ..Default::default()
    };
    let two = SingleGenerationRequest {
        request: Some(GenerationRequest {
            text: "two".to_owned(),
        }),
        ..Default::default()
    };
    let message = [one.encode_to_vec(), two.encode_to_vec()].concat();
    let What::Generate(generate) = read(&message, Method::GenerateStream).unwrap().what else {
        panic!()
    };
    assert_eq!(generate.prompts, [Text::Inline("two".to_owned())]);
}

#[test]
fn two_models_are_refused() {
    let message = batch(&["one"]).encode_to_vec();
    let failure = read(&[message.clone(), message].concat(), Method::Generate).unwrap_err();
    assert_eq!(failure.param.as_deref(), Some("model_id"));
}

#[test]
fn a_message_cut_short_never_passes_for_another() {
    let message = batch(&["one", "two"]).encode_to_vec();
    let whole = read(&message, Method::Generate).unwrap();
    for len in 0..message.len() {
        if let Ok(asked) = read(&message[..len], Method::Generate) {
            assert_ne!(asked, whole);
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let message = [0x1a, 0x04, 0x12, 0x02, 0xff, 0xfe];
    assert_eq!(
        read(&message, Method::Generate).unwrap_err().message,
        "text is not UTF-8"
    );
}

#[test]
fn a_tokenization_keeps_its_switches() {
    let request = BatchedTokenizeRequest {
        model_id: "m".to_owned(),
        requests: vec![TokenizeRequest {
            text: "a".to_owned(),
        }],
        return_offsets: true,
        truncate_input_tokens: 3,
        ..Default::default()
    };
    let asked = read(&request.encode_to_vec(), Method::Tokenize).unwrap();
    assert_eq!((asked.model.as_str(), asked.items()), ("m", 1));
    let What::Tokenize(tokenize) = asked.what else {
        panic!()
    };
    assert!(tokenize.rest.return_offsets && !tokenize.rest.return_tokens);
    assert_eq!(tokenize.rest.truncate_input_tokens, 3);
}
