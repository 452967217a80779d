use super::*;
use crate::fmaas::{DecodingParameters, SamplingParameters, StoppingCriteria};

fn settings(params: Parameters, options: &Options) -> Settings {
    let asked = request::Generate {
        prompts: Vec::new(),
        params,
        adapter: None,
        stream: false,
    };
    generation(&asked, options).settings
}

#[test]
fn nothing_asked_is_greedy_with_twenty_tokens() {
    let settings = settings(Parameters::default(), &Options::default());
    assert!(settings.sampling.greedy);
    assert_eq!(settings.stopping.max_tokens, Some(20));
    assert!(!settings.stopping.include_stop);
    assert_eq!(
        (settings.n, settings.truncate, settings.constraint),
        (1, None, None)
    );
}

#[test]
fn greedy_ignores_sampling_but_not_the_penalties() {
    let params = Parameters {
        sampling: Some(SamplingParameters {
            temperature: Some(0.7),
            seed: Some(1),
            ..Default::default()
        }),
        decoding: Some(DecodingParameters {
            repetition_penalty: 1.2,
            ..Default::default()
        }),
        ..Default::default()
    };
    let sampling = settings(params, &Options::default()).sampling;
    assert_eq!((sampling.temperature, sampling.seed), (None, None));
    assert_eq!(sampling.repetition_penalty, Some(1.2));
}

#[test]
fn a_written_zero_temperature_is_greedy_and_an_unwritten_one_is_not() {
    let sample = |temperature| Parameters {
        method: DecodingMethod::Sample.into(),
        sampling: Some(SamplingParameters {
            temperature,
            ..Default::default()
        }),
        ..Default::default()
    };
    assert!(
        settings(sample(Some(0.0)), &Options::default())
            .sampling
            .greedy
    );
    let unwritten = settings(sample(None), &Options::default()).sampling;
    assert!(!unwritten.greedy);
    assert_eq!(unwritten.temperature, None);
    let tenths = settings(sample(Some(0.7)), &Options::default()).sampling;
    assert_eq!(tenths.temperature, Some(0.7));
}

#[test]
fn neutral_values_are_nothing() {
    let params = Parameters {
        method: DecodingMethod::Sample.into(),
        sampling: Some(SamplingParameters {
            top_p: 1.0,
            typical_p: 1.0,
            ..Default::default()
        }),
        decoding: Some(DecodingParameters {
            repetition_penalty: 1.0,
            ..Default::default()
        }),
        ..Default::default()
    };
    let sampling = settings(params, &Options::default()).sampling;
    assert_eq!(
        (sampling.top_k, sampling.top_p, sampling.typical_p),
        (None, None, None)
    );
    assert_eq!(sampling.repetition_penalty, None);
}

#[test]
fn defaults_follow_the_options() {
    let options = Options {
        default_max_new_tokens: 0,
        default_include_stop_sequence: true,
        ..Default::default()
    };
    let stopping = settings(Parameters::default(), &options).stopping;
    assert_eq!((stopping.max_tokens, stopping.include_stop), (None, true));
    let said = StoppingCriteria {
        include_stop_sequence: Some(false),
        ..Default::default()
    };
    let params = Parameters {
        stopping: Some(said),
        ..Default::default()
    };
    assert!(!settings(params, &options).stopping.include_stop);
}
