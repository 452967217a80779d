//! What a generate request asks of the model, in the names of vLLM's sampling parameters,
//! which Triton's vLLM backend takes.
//!
//! Everything in a generate request that is no tensor is a parameter. One that has no place
//! in the neutral settings becomes an extra, and whoever cannot honour it refuses it by
//! name.

use serde_json::{Map, Value};
use tollgate_sdk_protocol::{
    cost, failure,
    inference::{Detail, Extra, Sampling, Settings, Stopping, Truncation, TruncationSide},
    types::Failure,
};

/// Inputs that ask for something beside the text.
pub const FLAGS: [&str; 5] = [
    "stream",
    "exclude_input_in_output",
    "return_finish_reason",
    "return_num_input_tokens",
    "return_num_output_tokens",
];

/// Parameters that are about the request, not about the result.
const HINTS: [&str; 8] = [
    "id",
    "priority",
    "timeout",
    "request_id",
    "sequence_id",
    "sequence_start",
    "sequence_end",
    "binary_data_output",
];

/// Values at which a parameter without a place changes nothing.
const NEUTRAL: [(&str, &str); 8] = [
    ("best_of", "1"),
    ("ignore_eos", "false"),
    ("skip_special_tokens", "true"),
    ("spaces_between_special_tokens", "true"),
    ("stop_token_ids", "[]"),
    ("bad_words", "[]"),
    ("use_beam_search", "false"),
    ("length_penalty", "1.0"),
];

/// Takes parameters out of a map, one by one.
struct Taker(Map<String, Value>);

impl Taker {
    fn take<T>(
        &mut self,
        name: &str,
        what: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(&value) {
                Some(value) => Ok(Some(value)),
                None => Err(failure::invalid(
                    format!("'{name}' must be {what}"),
                    Some(name),
                )),
            },
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<f64>, Failure> {
        self.take(name, "a number", Value::as_f64)
    }

    fn flag(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        self.take(name, "true or false", Value::as_bool)
    }

    fn count(&mut self, name: &str) -> Result<Option<u32>, Failure> {
        self.take(name, "a whole number of 0 or more", |value| {
            value.as_u64().and_then(|number| u32::try_from(number).ok())
        })
    }

    fn texts(&mut self, name: &str) -> Result<Vec<String>, Failure> {
        let read = |value: &Value| match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(all) => all
                .iter()
                .map(|it| it.as_str().map(str::to_owned))
                .collect(),
            _ => None,
        };
        Ok(self
            .take(name, "a text or a list of texts", read)?
            .unwrap_or_default())
    }
}

/// What stands beside a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Beside {
    pub settings: Settings,
    /// Pieces are wanted, or they are not.
    pub stream: Option<bool>,
    pub finish_reason: bool,
    pub input_tokens: bool,
    pub output_tokens: bool,
}

/// New tokens of a request that was not understood, by the objects in which its limits may stand:
/// its worker may understand them all the same.
pub fn guessed(objects: &[&Value]) -> u32 {
    let most = |name: &str| {
        let values = objects.iter().filter_map(|object| object.get(name));
        values
            .filter_map(|value| cost::at_most(value.to_string().as_bytes()))
            .max()
    };
    let each = most("max_tokens").unwrap_or(0);
    each.saturating_mul(most("n").unwrap_or(1).max(1))
}

/// Reads what stands beside a prompt: optional inputs and parameters, by name. `echo` says whether
/// a text stands behind its prompt where nothing is said of it, streamed or not.
///
/// # Errors
/// Names what is of another type, or out of its domain.
pub fn beside(
    mut members: Map<String, Value>,
    default_max_tokens: u32,
    echo: impl FnOnce(bool) -> bool,
) -> Result<Beside, Failure> {
    let mut flags = FLAGS.map(|_| None);
    for (flag, name) in flags.iter_mut().zip(FLAGS) {
        *flag = match members.remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::Bool(value)) => Some(value),
            Some(_) => return Err(param(name, "must be true or false")),
        };
    }
    let [stream, exclude, finish_reason, input_tokens, output_tokens] = flags;
    let streamed = stream.unwrap_or(false);
    if streamed && exclude == Some(false) {
        let what = "must be true where the text is streamed";
        return Err(param("exclude_input_in_output", what));
    }
    let parameters: Map<String, Value> = match members.remove("sampling_parameters") {
        None => members,
        // When it is there, the other parameters are not looked at.
        Some(Value::String(text)) => serde_json::from_str(&text)
            .map_err(|error| param("sampling_parameters", &format!("is no JSON: {error}")))?,
        Some(_) => return Err(param("sampling_parameters", "must be JSON in a text")),
    };
    let echo = exclude.map_or_else(|| echo(streamed), |exclude| !exclude);
    Ok(Beside {
        settings: read(parameters, default_max_tokens, echo)?,
        stream,
        finish_reason: finish_reason.unwrap_or(false),
        input_tokens: input_tokens.unwrap_or(false),
        output_tokens: output_tokens.unwrap_or(false),
    })
}

/// The failure of a member that is not what it must be.
pub fn param(name: &str, what: &str) -> Failure {
    failure::invalid(format!("'{name}' {what}"), Some(name))
}

/// Settings from parameters.
///
/// # Errors
/// Names a parameter that is of another type, or out of its domain.
pub fn read(
    parameters: Map<String, Value>,
    default_max_tokens: u32,
    echo: bool,
) -> Result<Settings, Failure> {
    let mut taker = Taker(parameters);
    let temperature = taker.number("temperature")?;
    if temperature.is_some_and(|it| it < 0.0) {
        return Err(failure::invalid(
            "'temperature' must not be negative",
            Some("temperature"),
        ));
    }
    // vLLM means "off" by -1 as by 0.
    let top_k = taker.take("top_k", "a whole number of -1 or more", Value::as_i64)?;
    let top_k = match top_k {
        None | Some(-1 | 0) => None,
        Some(given) => Some(
            u32::try_from(given)
                .map_err(|_| failure::invalid("'top_k' must be -1, 0 or more", Some("top_k")))?,
        ),
    };
    let neutral_is_zero = |value: Option<f64>| value.filter(|it| *it != 0.0);
    let sampling = Sampling {
        greedy: temperature == Some(0.0),
        temperature: temperature.filter(|it| *it > 0.0),
        top_k,
        top_p: taker.number("top_p")?,
        typical_p: None,
        min_p: neutral_is_zero(taker.number("min_p")?),
        seed: taker.take("seed", "a whole number of 0 or more", Value::as_u64)?,
        repetition_penalty: taker.number("repetition_penalty")?,
        frequency_penalty: neutral_is_zero(taker.number("frequency_penalty")?),
        presence_penalty: neutral_is_zero(taker.number("presence_penalty")?),
        length_penalty: None,
    };
    let limit = taker.count("max_tokens")?.unwrap_or(default_max_tokens);
    let stopping = Stopping {
        max_tokens: (limit > 0).then_some(limit),
        min_tokens: taker.count("min_tokens")?.filter(|it| *it > 0),
        stop_sequences: taker.texts("stop")?,
        include_stop: taker.flag("include_stop_str_in_output")?.unwrap_or(false),
        time_limit_ms: None,
    };
    let truncate = taker.count("truncate_prompt_tokens")?.filter(|it| *it > 0);
    let n = taker.count("n")?.unwrap_or(1);
    if n == 0 {
        return Err(failure::invalid("'n' must be at least 1", Some("n")));
    }
    Ok(Settings {
        sampling,
        stopping,
        detail: Detail {
            echo,
            input_tokens: false,
            output_tokens: false,
            logprobs: false,
            ranks: false,
            top_n: 0,
        },
        n,
        truncate: truncate.map(|tokens| Truncation {
            tokens,
            side: Some(TruncationSide::Left),
        }),
        constraint: None,
        adapter: None,
        extras: extras(taker.0),
    })
}

/// What has no place in neutral words and would change the result.
pub fn extras(parameters: Map<String, Value>) -> Vec<Extra> {
    let left = parameters.into_iter().filter(|(name, value)| {
        let neutral = NEUTRAL
            .iter()
            .any(|row| row.0 == name && serde_json::from_str(row.1).ok().as_ref() == Some(value));
        !neutral && !value.is_null() && !HINTS.contains(&name.as_str())
    });
    left.map(|(name, value)| Extra {
        name,
        json: value.to_string(),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(parameters: Value) -> Result<Settings, Failure> {
        let Value::Object(parameters) = parameters else {
            panic!("an object");
        };
        read(parameters, 16, false)
    }

    #[test]
    fn what_has_a_place_is_put_there() {
        let read = settings(json!({
            "max_tokens": 5, "temperature": 0, "top_k": -1, "stop": "x", "seed": 7,
            "frequency_penalty": 0, "ignore_eos": false, "id": "a", "best_of": null,
        }))
        .unwrap();
        assert!(read.sampling.greedy && read.sampling.top_k.is_none());
        assert_eq!(read.sampling.seed, Some(7));
        assert_eq!(read.stopping.max_tokens, Some(5));
        assert_eq!(read.stopping.stop_sequences, ["x"]);
        assert_eq!(read.extras, []);
        assert_eq!(settings(json!({})).unwrap().stopping.max_tokens, Some(16));
    }

    #[test]
    fn what_has_none_is_an_extra_and_nonsense_is_refused() {
        let read = settings(json!({"ignore_eos": true, "beam_width": 3})).unwrap();
        let names: Vec<_> = read.extras.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["beam_width", "ignore_eos"]);
        for (name, value) in [
            ("max_tokens", json!("5")),
            ("n", json!(0)),
            ("stop", json!([1])),
        ] {
            let failed = settings(json!({ (name): value })).unwrap_err();
            assert_eq!(failed.param.as_deref(), Some(name));
        }
    }
}
