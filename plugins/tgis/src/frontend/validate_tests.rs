use super::*;
use crate::fmaas::{
    DecodingParameters, ResponseOptions, SamplingParameters, StoppingCriteria,
    decoding_parameters::{LengthPenalty, StringChoices},
};

fn told(params: &Parameters) -> String {
    everywhere(params)
        .and_then(|()| translated(params, &Options::default()))
        .map_or_else(|failure| failure.message, |()| "fine".to_owned())
}

fn sampling(sampling: SamplingParameters) -> Parameters {
    let method = DecodingMethod::Sample.into();
    Parameters {
        method,
        sampling: Some(sampling),
        ..Default::default()
    }
}

fn stopping(stopping: StoppingCriteria) -> Parameters {
    Parameters {
        stopping: Some(stopping),
        ..Default::default()
    }
}

fn decoding(decoding: DecodingParameters) -> Parameters {
    Parameters {
        decoding: Some(decoding),
        ..Default::default()
    }
}

#[test]
fn nothing_and_the_limits_themselves_are_fine() {
    assert_eq!(told(&Parameters::default()), "fine");
    let all = SamplingParameters {
        temperature: Some(0.05),
        top_k: 1,
        top_p: 1.0,
        typical_p: 1.0,
        seed: Some(0),
    };
    assert_eq!(told(&sampling(all)), "fine");
    let sequences = vec!["x".repeat(240); 6];
    let all = StoppingCriteria {
        min_new_tokens: 20,
        stop_sequences: sequences,
        ..Default::default()
    };
    assert_eq!(told(&stopping(all)), "fine");
}

#[test]
fn sampling_is_judged_only_when_it_is_used() {
    let cases = [
        (
            SamplingParameters {
                temperature: Some(0.04),
                ..Default::default()
            },
            "temperature must be >= 0.05",
        ),
        (
            SamplingParameters {
                top_p: 1.01,
                ..Default::default()
            },
            "top_p must be > 0.0 and <= 1.0",
        ),
        (
            SamplingParameters {
                top_p: -0.1,
                ..Default::default()
            },
            "top_p must be > 0.0 and <= 1.0",
        ),
        (
            SamplingParameters {
                top_p: f32::NAN,
                ..Default::default()
            },
            "top_p must be > 0.0 and <= 1.0",
        ),
        (
            SamplingParameters {
                typical_p: 1.5,
                ..Default::default()
            },
            "typical_p must be <= 1.0",
        ),
    ];
    for (values, text) in cases {
        let mut params = sampling(values);
        assert_eq!(told(&params), text);
        params.method = DecodingMethod::Greedy.into();
        assert_eq!(told(&params), "fine");
    }
}

#[test]
fn stopping_is_judged() {
    let stop = "can specify at most 6 non-empty stop sequences, each not more than 240 UTF8 bytes";
    for sequences in [
        vec!["a".to_owned(); 7],
        vec![String::new()],
        vec!["é".repeat(121)],
    ] {
        let criteria = StoppingCriteria {
            stop_sequences: sequences,
            ..Default::default()
        };
        assert_eq!(told(&stopping(criteria)), stop);
    }
    for (min, max) in [(21, 0), (6, 5)] {
        let criteria = StoppingCriteria {
            min_new_tokens: min,
            max_new_tokens: max,
            ..Default::default()
        };
        assert_eq!(
            told(&stopping(criteria)),
            "min_new_tokens must be <= max_new_tokens"
        );
    }
    let options = Options {
        max_new_tokens: Some(100),
        ..Default::default()
    };
    let params = stopping(StoppingCriteria {
        max_new_tokens: 101,
        ..Default::default()
    });
    assert_eq!(
        translated(&params, &options).unwrap_err().message,
        "max_new_tokens must be <= 100"
    );
}

#[test]
fn decoding_and_detail_are_judged() {
    let params = decoding(DecodingParameters {
        repetition_penalty: -1.0,
        ..Default::default()
    });
    assert_eq!(told(&params), "repetition_penalty must be > 0.0");
    for decay_factor in [0.99, 10.5, f32::NAN] {
        let penalty = LengthPenalty {
            start_index: 1,
            decay_factor,
        };
        let params = decoding(DecodingParameters {
            length_penalty: Some(penalty),
            ..Default::default()
        });
        assert_eq!(told(&params), "length_penalty must be >= 1.0 and <= 10.0");
    }
    let choice = Guided::Choice(StringChoices {
        choices: vec!["a".to_owned()],
    });
    let params = decoding(DecodingParameters {
        guided: Some(choice),
        ..Default::default()
    });
    assert_eq!(told(&params), "must provide at least two choices");
    let detail = ResponseOptions {
        token_ranks: true,
        ..Default::default()
    };
    let params = Parameters {
        response: Some(detail),
        ..Default::default()
    };
    assert_eq!(
        told(&params),
        "must request input and/or generated tokens to request extra token detail"
    );
    let detail = ResponseOptions {
        top_n_tokens: 11,
        ..Default::default()
    };
    let params = Parameters {
        response: Some(detail),
        ..Default::default()
    };
    assert_eq!(told(&params), "top_n_tokens (11) must be <= 10");
}

#[test]
fn what_only_the_original_refuses_is_let_through_to_others() {
    let params = sampling(SamplingParameters {
        temperature: Some(0.01),
        ..Default::default()
    });
    assert!(everywhere(&params).is_ok());
    let criteria = StoppingCriteria {
        stop_sequences: vec!["é".repeat(240)],
        ..Default::default()
    };
    assert!(everywhere(&stopping(criteria)).is_ok());
}
