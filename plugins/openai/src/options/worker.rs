//! What the configuration says of a worker, over what the plugin's options leave open.

use serde::Deserialize;

use super::{Generation, OPENAI, OVMS, Options};

/// What the configuration says of one worker.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
struct WorkerOptions {
    dialect: Option<String>,
    prefix: Option<String>,
    generation: Option<Generation>,
    max_stop_sequences: Option<usize>,
    max_tokens: Option<u32>,
    merge_completions: Option<bool>,
    merge_embeddings: Option<bool>,
}

/// A worker, with the plugin's options for what its own leave open.
#[derive(Clone, Debug)]
pub struct Target {
    /// It is an OpenVINO Model Server.
    pub ovms: bool,
    /// What its paths begin with: `/v1`.
    pub prefix: String,
    /// What is wrong with its options. Nothing is asked of it then.
    pub problem: Option<String>,
    /// Its generation.
    pub generation: Generation,
    /// Most stop sequences that it takes.
    pub max_stop_sequences: usize,
    /// Limit of a completion that has none; none: as many as fit.
    pub max_tokens: Option<u32>,
    /// Whether completion calls may be merged for it.
    pub merge_completions: bool,
    /// Whether embedding calls may be merged for it.
    pub merge_embeddings: bool,
}

impl Target {
    /// Path of what is asked below the prefix.
    pub fn path(&self, what: &str) -> String {
        format!("{}/{what}", self.prefix)
    }
}

/// A prefix is a path: it begins with a slash, does not end with one, and has nothing in it that a
/// server could take for more than its segments.
fn prefix(own: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
    let trimmed = own.trim_end_matches('/');
    let path = |rest: &str| rest.split('/').all(segment);
    match trimmed.strip_prefix('/') {
        Some(rest) if path(rest) => Ok(trimmed.to_owned()),
        None if own.starts_with('/') => Ok(String::new()),
        _ => Err(format!("`prefix` is no path: {own:?}")),
    }
}

impl Options {
    /// What holds for a worker with these options of its own.
    pub fn target(&self, worker: &str) -> Target {
        let given = if worker.trim().is_empty() {
            Ok(WorkerOptions::default())
        } else {
            serde_json::from_str(worker).map_err(|error| error.to_string())
        };
        let (own, mut problem): (WorkerOptions, _) = match given {
            Ok(own) => (own, None),
            Err(problem) => (WorkerOptions::default(), Some(problem)),
        };
        let ovms = match own.dialect.as_deref() {
            None | Some(OPENAI) => false,
            Some(OVMS) => true,
            Some(other) => {
                problem = Some(format!("`dialect` is {OPENAI} or {OVMS}, not {other:?}"));
                false
            }
        };
        let usual = if ovms { "/v3" } else { "/v1" };
        let prefix = prefix(own.prefix.as_deref().unwrap_or(usual)).unwrap_or_else(|wrong| {
            problem = Some(wrong);
            usual.to_owned()
        });
        if ovms && own.generation.is_some() {
            problem = Some(format!("`generation` says nothing of {OVMS}"));
        }
        let generation = own.generation.unwrap_or(self.generation);
        let usual = match generation {
            Generation::Old if !ovms => usize::MAX,
            _ => 4,
        };
        let most = if ovms { None } else { self.max_stop_sequences };
        Target {
            ovms,
            prefix,
            problem,
            generation,
            max_stop_sequences: own.max_stop_sequences.or(most).unwrap_or(usual),
            max_tokens: own.max_tokens.or(self.max_tokens),
            // One prompt in a request is all that it takes.
            merge_completions: !ovms
                && own
                    .merge_completions
                    .or(self.merge_completions)
                    .unwrap_or(true),
            merge_embeddings: own
                .merge_embeddings
                .or(self.merge_embeddings)
                .unwrap_or(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(worker: &str) -> Target {
        Options::default().target(worker)
    }

    #[test]
    fn a_worker_has_the_paths_of_its_dialect_or_its_own() {
        assert_eq!(target("").path("completions"), "/v1/completions");
        let ovms = target(r#"{"dialect":"openai-ovms"}"#);
        assert!(ovms.ovms && ovms.problem.is_none() && !ovms.merge_completions);
        assert_eq!(ovms.path("rerank"), "/v3/rerank");
        assert_eq!(ovms.max_stop_sequences, 4);
        let later = target(r#"{"dialect":"openai-ovms","prefix":"/v1/","max-stop-sequences":16}"#);
        assert_eq!(later.path("rerank"), "/v1/rerank");
        assert_eq!(later.max_stop_sequences, 16);
        let kserve = target(r#"{"prefix":"/openai/v1"}"#);
        assert_eq!(kserve.path("models"), "/openai/v1/models");
        assert_eq!(target(r#"{"prefix":"/"}"#).path("models"), "/models");
    }

    #[test]
    fn options_of_a_worker_that_say_nothing_are_a_problem() {
        for wrong in [
            "{",
            r#"{"generation":"ovms"}"#,
            r#"{"prefx":"/v1"}"#,
            r#"{"dialect":"ovms"}"#,
            r#"{"dialect":"openai-ovms","generation":"old"}"#,
            r#"{"prefix":"v3"}"#,
            r#"{"prefix":"/v3/../admin"}"#,
            r#"{"prefix":"/v3?x"}"#,
            r#"{"prefix":"//v3"}"#,
        ] {
            assert!(target(wrong).problem.is_some(), "{wrong}");
        }
        assert_eq!(target("{}").problem, None);
    }

    #[test]
    fn what_the_plugin_says_of_vllm_says_nothing_of_ovms() {
        let options = Options::parse(r#"{"generation":"old","max-stop-sequences":9}"#).unwrap();
        let ovms = options.target(r#"{"dialect":"openai-ovms"}"#);
        assert_eq!((ovms.problem, ovms.max_stop_sequences), (None, 4));
    }
}
