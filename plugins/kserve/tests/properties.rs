//! What holds of every request and answer: raw tensors arrive as they were sent, whatever
//! the forms on the way, and bytes that are nothing end in a failure.

mod support;

use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use support::{
    Play, REST_INFER, Request, Response, binary, binary_answer, head_length, station, tensor,
};
use tollgate_sdk_protocol::testing::{Answer, Pace};

/// Datatypes of a fixed size, and their sizes.
const FIXED: [(&str, usize); 13] = [
    ("BOOL", 1),
    ("UINT8", 1),
    ("UINT16", 2),
    ("UINT32", 4),
    ("UINT64", 8),
    ("INT8", 1),
    ("INT16", 2),
    ("INT32", 4),
    ("INT64", 8),
    ("FP16", 2),
    ("FP32", 4),
    ("FP64", 8),
    ("BF16", 2),
];

/// Datatype, elements and raw bytes of a few tensors.
fn tensors() -> impl Strategy<Value = Vec<(&'static str, i64, Vec<u8>)>> {
    let one = (0..FIXED.len(), 0..9_usize).prop_flat_map(|(which, count)| {
        let (name, size) = FIXED[which];
        let raw = prop::collection::vec(any::<u8>(), size * count);
        raw.prop_map(move |raw| (name, count as i64, raw))
    });
    prop::collection::vec(one, 1..4)
}

fn pace() -> impl Strategy<Value = Pace> {
    prop_oneof![
        Just(Pace::Whole),
        Just(Pace::Single),
        (1..200_usize).prop_map(Pace::Cut)
    ]
}

/// The tensors as a REST message with raw bytes.
fn as_rest(member: &str, all: &[(&str, i64, Vec<u8>)]) -> Value {
    let list: Vec<Value> = all
        .iter()
        .map(|(datatype, count, raw)| {
            json!({"name": "t", "datatype": datatype, "shape": [count],
                "parameters": {"binary_data_size": raw.len()}})
        })
        .collect();
    json!({ (member): list, "parameters": {"binary_data_output": true} })
}

fn raw(all: &[(&str, i64, Vec<u8>)]) -> Vec<Vec<u8>> {
    all.iter().map(|it| it.2.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn raw_tensors_survive_from_rest_to_grpc_and_back(
        inputs in tensors(), outputs in tensors(), pace in pace(),
    ) {
        let contents = raw(&inputs);
        let slices: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
        let (request, length) = binary(&as_rest("inputs", &inputs), &slices);
        let response = Response {
            outputs: outputs.iter().map(|it| tensor("t", it.0, &[it.1])).collect(),
            raw_output_contents: raw(&outputs),
            ..Response::default()
        };
        let played = Play {
            options: "",
            door: REST_INFER,
            headers: vec![head_length(length)],
            request,
            grpc: false,
            worker: station("kserve-grpc", ""),
            answer: Answer::grpc(vec![response.encode_to_vec()], 0, None),
        }
        .run(pace);
        let sent = played.worker.unwrap().request.unwrap().body;
        let sent = Request::decode(sent.as_slice()).unwrap();
        prop_assert_eq!(sent.raw_input_contents, contents);
        let all = raw(&outputs).concat();
        let told = played.told.body;
        prop_assert_eq!(&told[told.len() - all.len()..], all.as_slice());
    }

    #[test]
    fn raw_tensors_survive_from_grpc_to_rest_and_back(
        inputs in tensors(), outputs in tensors(), pace in pace(),
    ) {
        let request = Request {
            model_name: "named".to_owned(),
            inputs: inputs.iter().map(|it| tensor("t", it.0, &[it.1])).collect(),
            raw_input_contents: raw(&inputs),
            ..Request::default()
        };
        let contents = raw(&outputs);
        let slices: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
        let played = Play {
            options: "",
            door: "ModelInfer",
            headers: Vec::new(),
            request: request.encode_to_vec(),
            grpc: true,
            worker: station("kserve-rest", ""),
            answer: binary_answer(&as_rest("outputs", &outputs), &slices),
        }
        .run(pace);
        let all = raw(&inputs).concat();
        let sent = played.worker.unwrap().request.unwrap().body;
        prop_assert_eq!(&sent[sent.len() - all.len()..], all.as_slice());
        let told = Response::decode(played.told.messages[0].as_slice()).unwrap();
        prop_assert_eq!(told.raw_output_contents, contents);
    }

    #[test]
    fn integers_are_exact_by_way_of_json(values in prop::collection::vec(any::<u64>(), 0..9)) {
        let request = json!({"inputs": [
            {"name": "t", "datatype": "UINT64", "shape": [values.len()], "data": values},
        ]});
        let raw: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        let response = Response {
            outputs: vec![tensor("t", "UINT64", &[values.len() as i64])],
            raw_output_contents: vec![raw.clone()],
            ..Response::default()
        };
        let played = Play {
            options: "",
            door: REST_INFER,
            headers: Vec::new(),
            request: request.to_string().into_bytes(),
            grpc: false,
            worker: station("kserve-grpc", ""),
            answer: Answer::grpc(vec![response.encode_to_vec()], 0, None),
        }
        .run(Pace::Whole);
        let sent = played.worker.unwrap().request.unwrap().body;
        let sent = Request::decode(sent.as_slice()).unwrap();
        prop_assert_eq!(&sent.raw_input_contents, &[raw]);
        let told: Value = serde_json::from_slice(&played.told.body).unwrap();
        prop_assert_eq!(&told["outputs"][0]["data"], &json!(values));
    }

    /// Neither a client's nor a worker's nonsense is a trap: whatever comes, the exchange
    /// and the attempt come to an end that says so.
    #[test]
    fn nonsense_ends_in_a_failure(
        request in prop::collection::vec(any::<u8>(), 0..200),
        answer in prop::collection::vec(any::<u8>(), 0..200),
        length in 0..250_usize,
        pace in pace(),
    ) {
        let good = json!({"inputs": [
            {"name": "t", "datatype": "UINT8", "shape": [1], "data": [1]},
        ]});
        for dialect in ["kserve-grpc", "kserve-rest"] {
            let answers = if dialect == "kserve-grpc" {
                Answer::grpc(vec![answer.clone()], 0, None)
            } else {
                let mut rest = Answer::rest(200, "application/json", answer.clone());
                rest.head.headers.push(head_length(length));
                rest
            };
            let play = |request: Vec<u8>, grpc: bool, headers| Play {
                options: "",
                door: if grpc { "ModelInfer" } else { REST_INFER },
                headers,
                request,
                grpc,
                worker: station(dialect, ""),
                answer: answers.clone(),
            };
            let told = play(good.to_string().into_bytes(), false, Vec::new()).run(pace).told;
            prop_assert!(told.refused.is_some() || told.finished);
            for (grpc, headers) in [
                (true, Vec::new()),
                (false, Vec::new()),
                (false, vec![head_length(length)]),
            ] {
                let told = play(request.clone(), grpc, headers).run(pace).told;
                prop_assert!(told.refused.is_some() || told.finished);
            }
        }
    }
}
