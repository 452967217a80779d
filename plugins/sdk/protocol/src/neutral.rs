//! The neutral model without the members that a small protocol has no words for.
//!
//! A frontend fills in what its client said and leaves the rest; a backend takes what its worker
//! can do and has [`unexpressed`] name the first thing that it cannot, since to drop that would be
//! a guess.
//!
//! ```
//! use tollgate_sdk_protocol::{neutral, inference::{Settings, Stopping, Task}, types::Text};
//!
//! // What a client asked …
//! let mut settings = neutral::settings();
//! settings.stopping.max_tokens = Some(20);
//! settings.sampling.temperature = Some(0.5);
//! let call = neutral::generate("m".into(), Text::Inline("Hello".into()), settings, false);
//!
//! // … of a worker that can be told a number of tokens and nothing more.
//! let Task::Generate(asked) = &call.task else { panic!() };
//! let max_tokens = asked.settings.stopping.max_tokens;
//! let plain = neutral::settings();
//! let said = Settings {
//!     stopping: Stopping { max_tokens, ..plain.stopping.clone() },
//!     ..plain
//! };
//! assert_eq!(neutral::unexpressed(&asked.settings, &said), Some("sampling"));
//! ```

use crate::{
    inference::{
        Call, Delta, Detail, Event, FinishReason, Finished, Generate, ModelInfo, Prompt, Sampling,
        Score, Settings, Started, Stopping, Task, TaskKind, Usage,
    },
    types::Text,
};

/// Puts the best scores first; of equal ones the first item of the call.
pub fn best_first(scores: &mut [Score]) {
    tollgate_contract::scores::best_first(scores, |score| (score.value, score.item));
}

/// Settings of which a client said nothing: the worker's defaults, one answer, no detail.
#[must_use]
pub fn settings() -> Settings {
    Settings {
        sampling: Sampling {
            greedy: false,
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
        },
        stopping: Stopping {
            max_tokens: None,
            min_tokens: None,
            stop_sequences: Vec::new(),
            include_stop: false,
            time_limit_ms: None,
        },
        detail: Detail {
            echo: false,
            input_tokens: false,
            output_tokens: false,
            logprobs: false,
            ranks: false,
            top_n: 0,
        },
        n: 1,
        truncate: None,
        constraint: None,
        adapter: None,
        extras: Vec::new(),
    }
}

/// The first thing of `asked` that is not so in `said`, by the name of its member: what a worker's
/// protocol has no words for. What becomes of a matched stop sequence matters only where there are
/// some, and details beside the text may be asked for in vain but for an echo and log
/// probabilities, which change the answer.
#[must_use]
pub fn unexpressed(asked: &Settings, said: &Settings) -> Option<&'static str> {
    let stopping = |it: &Settings| Stopping {
        include_stop: it.stopping.include_stop && !it.stopping.stop_sequences.is_empty(),
        ..it.stopping.clone()
    };
    let told = |it: &Settings| (it.detail.echo, it.detail.logprobs, it.detail.top_n);
    [
        (asked.sampling != said.sampling, "sampling"),
        (stopping(asked) != stopping(said), "stopping"),
        (told(asked) != told(said), "detail"),
        (asked.n != said.n, "n"),
        (asked.truncate != said.truncate, "truncate"),
        (asked.constraint != said.constraint, "constraint"),
        (asked.adapter != said.adapter, "adapter"),
        (asked.extras != said.extras, "extras"),
    ]
    .into_iter()
    .find_map(|(unlike, name)| unlike.then_some(name))
}

/// One prompt to be continued.
#[must_use]
pub fn generate(model: String, prompt: Text, settings: Settings, streaming: bool) -> Call {
    Call {
        streaming,
        ..call(
            model,
            Task::Generate(Generate {
                prompts: vec![Prompt::Text(prompt)],
                settings,
            }),
        )
    }
}

/// A call that is answered whole.
#[must_use]
pub fn call(model: String, task: Task) -> Call {
    Call {
        model,
        version: None,
        streaming: false,
        task,
        extensions: Vec::new(),
    }
}

/// The worker took the call, and says nothing more of it.
#[must_use]
pub fn started() -> Event {
    Event::Started(Started {
        item: 0,
        input_tokens: None,
        seed: None,
        echo: None,
        tokens: Vec::new(),
    })
}

/// New text of the one item.
#[must_use]
pub fn delta(text: impl Into<String>) -> Event {
    Event::Delta(Delta {
        item: 0,
        text: text.into(),
        tokens: Vec::new(),
        output_tokens: None,
        extras: Vec::new(),
    })
}

/// The one item is complete.
#[must_use]
pub fn finished(reason: FinishReason) -> Event {
    Event::Finished(Finished {
        item: 0,
        reason,
        stop_sequence: None,
        input_tokens: None,
        output_tokens: None,
        seed: None,
    })
}

/// Tokens so far.
#[must_use]
pub fn usage(input: Option<u64>, output: Option<u64>) -> Event {
    Event::Usage(Usage {
        input_tokens: input,
        output_tokens: output,
        cached_tokens: None,
        extensions: Vec::new(),
    })
}

/// A model that is ready and does these tasks.
#[must_use]
pub fn model(name: impl Into<String>, tasks: Vec<TaskKind>) -> ModelInfo {
    ModelInfo {
        name: name.into(),
        versions: Vec::new(),
        max_length: None,
        max_new_tokens: None,
        parent: None,
        tasks,
        ready: true,
        platform: String::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        extensions: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::{Extra, Truncation};

    #[test]
    fn what_a_protocol_has_no_words_for_is_named() {
        type Change = fn(&mut Settings);
        let changes: [(Change, Option<&str>); 10] = [
            (|_| {}, None),
            (|it| it.stopping.include_stop = true, None),
            (|it| it.detail.input_tokens = true, None),
            (|it| it.sampling.greedy = true, Some("sampling")),
            (|it| it.stopping.min_tokens = Some(1), Some("stopping")),
            (|it| it.detail.echo = true, Some("detail")),
            (|it| it.n = 2, Some("n")),
            (
                |it| {
                    it.truncate = Some(Truncation {
                        tokens: 1,
                        side: None,
                    });
                },
                Some("truncate"),
            ),
            (|it| it.adapter = Some("a".into()), Some("adapter")),
            (
                |it| {
                    it.extras.push(Extra {
                        name: "a".into(),
                        json: "1".into(),
                    });
                },
                Some("extras"),
            ),
        ];
        for (change, name) in changes {
            let mut asked = settings();
            change(&mut asked);
            assert_eq!(unexpressed(&asked, &settings()), name, "{asked:?}");
        }
    }

    #[test]
    fn what_becomes_of_a_stop_sequence_matters_where_there_is_one() {
        let mut asked = settings();
        asked.stopping.stop_sequences.push(".".into());
        let mut said = asked.clone();
        said.stopping.include_stop = true;
        assert_eq!(unexpressed(&asked, &said), Some("stopping"));
    }
}
