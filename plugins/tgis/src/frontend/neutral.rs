//! The neutral call of a client's request, every default resolved.

use tollgate_sdk_protocol::{
    inference::{
        Call, Constraint, Detail, Extra, Generate, LengthPenalty, Prompt, Sampling, Settings,
        Stopping, Task, Tokenize, Truncation, TruncationSide,
    },
    text,
};

use super::request::{self, Asked, What};
use crate::{
    fmaas::{
        DecodingMethod, Parameters, ResponseOptions,
        decoding_parameters::{Guided, ResponseFormat},
    },
    options::Options,
};

/// The call, for the model that was found. The request must have been validated.
pub fn call(asked: &Asked, model: String, options: &Options) -> Call {
    let (streaming, task) = match &asked.what {
        What::Generate(generate) => (
            generate.stream,
            Task::Generate(generation(generate, options)),
        ),
        What::Tokenize(tokenize) => (false, Task::Tokenize(tokenization(tokenize))),
        What::Model => (false, Task::ModelMetadata),
    };
    Call {
        model,
        version: None,
        streaming,
        task,
        extensions: Vec::new(),
    }
}

fn generation(generate: &request::Generate, options: &Options) -> Generate {
    let params = &generate.params;
    let decoding = params.decoding.clone().unwrap_or_default();
    Generate {
        prompts: generate.prompts.iter().cloned().map(Prompt::Text).collect(),
        settings: Settings {
            sampling: Sampling {
                repetition_penalty: unless(decoding.repetition_penalty, &[0.0, 1.0]),
                length_penalty: decoding.length_penalty.map(|penalty| LengthPenalty {
                    start_index: penalty.start_index,
                    decay_factor: penalty.decay_factor.into(),
                }),
                ..sampling(params)
            },
            stopping: stopping(params, options),
            detail: detail(params),
            n: 1,
            truncate: truncation(params.truncate_input_tokens),
            constraint: decoding.guided.and_then(constraint),
            adapter: generate.adapter.clone(),
            extras: Vec::new(),
        },
    }
}

/// Without the penalties, which greedy decoding knows too.
fn sampling(params: &Parameters) -> Sampling {
    let none = Sampling {
        greedy: true,
        temperature: None,
        top_k: None,
        top_p: None,
        typical_p: None,
        min_p: None,
        seed: None,
        repetition_penalty: None,
        frequency_penalty: None,
        presence_penalty: None,
        length_penalty: None,
    };
    let sampling = params.sampling.unwrap_or_default();
    // Only a client whose revision gives temperature presence can write zero, and there
    // zero is greedy.
    if params.method() == DecodingMethod::Greedy || sampling.temperature == Some(0.0) {
        return none;
    }
    Sampling {
        greedy: false,
        temperature: sampling.temperature.map(widen),
        top_k: (sampling.top_k != 0).then_some(sampling.top_k),
        top_p: unless(sampling.top_p, &[0.0, 1.0]),
        typical_p: Some(sampling.typical_p)
            .filter(|p| *p > 0.0 && *p < 1.0)
            .map(widen),
        seed: sampling.seed,
        ..none
    }
}

fn stopping(params: &Parameters, options: &Options) -> Stopping {
    let stopping = params.stopping.clone().unwrap_or_default();
    let max = match stopping.max_new_tokens {
        0 => options.default_max_new_tokens,
        asked => asked,
    };
    Stopping {
        max_tokens: (max != 0).then_some(max),
        min_tokens: (stopping.min_new_tokens != 0).then_some(stopping.min_new_tokens),
        stop_sequences: stopping.stop_sequences,
        include_stop: stopping
            .include_stop_sequence
            .unwrap_or(options.default_include_stop_sequence),
        time_limit_ms: (stopping.time_limit_millis != 0).then_some(stopping.time_limit_millis),
    }
}

/// The seed that a client gave and that is used; 0 where there is none.
pub fn seed(params: &Parameters) -> u64 {
    sampling(params).seed.unwrap_or(0)
}

/// What the client wants to see beside the text.
pub fn detail(params: &Parameters) -> Detail {
    let ResponseOptions {
        input_text,
        generated_tokens,
        input_tokens,
        token_logprobs,
        token_ranks,
        top_n_tokens,
    } = params.response.unwrap_or_default();
    Detail {
        echo: input_text,
        input_tokens,
        output_tokens: generated_tokens,
        logprobs: token_logprobs,
        ranks: token_ranks,
        top_n: top_n_tokens,
    }
}

/// This protocol keeps the last tokens.
fn truncation(tokens: u32) -> Option<Truncation> {
    (tokens != 0).then_some(Truncation {
        tokens,
        side: Some(TruncationSide::Left),
    })
}

fn constraint(guided: Guided) -> Option<Constraint> {
    match guided {
        Guided::Format(format) if format == i32::from(ResponseFormat::Json) => {
            Some(Constraint::JsonObject)
        }
        // Any text: no constraint.
        Guided::Format(_) => None,
        Guided::JsonSchema(schema) => Some(Constraint::JsonSchema(schema)),
        Guided::Regex(regex) => Some(Constraint::Regex(regex)),
        Guided::Choice(choice) => Some(Constraint::Choice(choice.choices)),
        Guided::Grammar(grammar) => Some(Constraint::Grammar(grammar)),
    }
}

fn tokenization(tokenize: &request::Tokenize) -> Tokenize {
    let rest = &tokenize.rest;
    let extra = |name: &str, id: &Option<String>| {
        let id = id.as_ref().filter(|id| !id.is_empty())?;
        let json = String::from_utf8(text::quoted(id)).ok()?;
        Some(Extra {
            name: name.to_owned(),
            json,
        })
    };
    Tokenize {
        inputs: tokenize.texts.clone(),
        add_special_tokens: None,
        tokens: rest.return_tokens,
        offsets: rest.return_offsets,
        truncate: truncation(rest.truncate_input_tokens),
        extras: [
            extra("prefix_id", &rest.prefix_id),
            extra("adapter_id", &rest.adapter_id),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

/// A number, unless it is one of those that mean nothing.
fn unless(value: f32, neutral: &[f32]) -> Option<f64> {
    (!neutral.contains(&value)).then(|| widen(value))
}

/// The double with the same shortest decimal form: a client that wrote 0.7 means 0.7,
/// not the 0.699999988 that its message had room for.
fn widen(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

#[cfg(test)]
mod tests {
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
}
