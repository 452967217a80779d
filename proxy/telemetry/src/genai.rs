//! Histograms by OpenTelemetry's conventions for generative AI (semantic conventions 1.37,
//! "GenAI metrics"; status: development), so that what watches model servers can watch this.
//!
//! | on the page of metrics | over OTLP | of what |
//! |---|---|---|
//! | `gen_ai_client_operation_duration_seconds` | `gen_ai.client.operation.duration` | one call at a worker, from when it was given the call |
//! | `gen_ai_client_token_usage` | `gen_ai.client.token.usage` | tokens of one call, by `gen_ai.token.type` |
//! | `gen_ai_server_request_duration_seconds` | `gen_ai.server.request.duration` | one request, from its head to its end |
//! | `gen_ai_server_time_to_first_token_seconds` | `gen_ai.server.time_to_first_token` | streams that ended well, from the head to the first byte of the body |
//! | `gen_ai_server_time_per_output_token_seconds` | `gen_ai.server.time_per_output_token` | the same, from the first byte to the last, over the tokens after the first |
//!
//! To workers the proxy is a client, to its clients it is the server: hence both. Names of models
//! are labels here, as the conventions have it: those of the catalogue, which were configured or
//! told by workers, and never what a client merely wrote; all sets are bounded.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::labels::{Labels, OTHER};

/// Values of labels, and combinations of them, that are kept apart.
const MODELS: usize = 256;
const PROVIDERS: usize = 64;
const OPERATIONS: usize = 32;
const ERRORS: usize = 64;
const COMBINATIONS: usize = 2048;

/// Buckets as the conventions give them.
const DURATION: [f64; 14] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
const FIRST_TOKEN: [f64; 16] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
const PER_TOKEN: [f64; 13] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
];
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// What stands where nothing is known: the conventions require both names.
const UNKNOWN: &str = "unknown";

/// The name of an operation by the conventions, for a task of the contract; none: it is no
/// operation of a model.
#[must_use]
pub fn operation_name(task: &str) -> Option<&'static str> {
    Some(match task {
        "chat" => "chat",
        "generate" => "text_completion",
        "embed" => "embeddings",
        "rerank" => "rerank",
        "similarity" => "similarity",
        "infer" => "infer",
        _ => return None,
    })
}

/// `operation`, `provider`, `model`, `error`; no error is an empty one.
type Key = [Arc<str>; 4];
type Set = Vec<(&'static str, Arc<str>)>;
type Histograms = Family<Set, Histogram, fn() -> Histogram>;

/// All of them.
pub(crate) struct GenAi {
    operations: Labels,
    providers: Labels,
    models: Labels,
    errors: Labels,
    none: Arc<str>,
    client: Histograms,
    usage: Histograms,
    server: Histograms,
    first: Histograms,
    each: Histograms,
    found: RwLock<HashMap<Key, Arc<Meters>>>,
}

/// Those of one combination of labels, found once.
pub(crate) struct Meters {
    key: Key,
    client: Histogram,
    server: Histogram,
    /// Without an error.
    fine: Option<Fine>,
}

impl Meters {
    /// Whose model it is, or who composes the answer.
    pub(crate) fn provider(&self) -> &str {
        &self.key[1]
    }
}

struct Fine {
    input: Histogram,
    output: Histogram,
    first: Histogram,
    each: Histogram,
}

impl GenAi {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let histograms = |buckets: fn() -> Histogram| Family::new_with_constructor(buckets);
        let all = Self {
            operations: Labels::new(OPERATIONS),
            providers: Labels::new(PROVIDERS),
            models: Labels::new(MODELS),
            errors: Labels::new(ERRORS),
            none: "".into(),
            client: histograms(|| Histogram::new(DURATION)),
            usage: histograms(|| Histogram::new(TOKENS)),
            server: histograms(|| Histogram::new(DURATION)),
            first: histograms(|| Histogram::new(FIRST_TOKEN)),
            each: histograms(|| Histogram::new(PER_TOKEN)),
            found: RwLock::default(),
        };
        registry.register_with_unit(
            "gen_ai_client_operation_duration",
            "How long calls at workers took",
            Unit::Seconds,
            all.client.clone(),
        );
        registry.register(
            "gen_ai_client_token_usage",
            "Tokens of a call, read (input) and generated (output)",
            all.usage.clone(),
        );
        registry.register_with_unit(
            "gen_ai_server_request_duration",
            "From a request's head to the end of its response",
            Unit::Seconds,
            all.server.clone(),
        );
        registry.register_with_unit(
            "gen_ai_server_time_to_first_token",
            "From the head of a request for a stream to the first byte of its response's body",
            Unit::Seconds,
            all.first.clone(),
        );
        registry.register_with_unit(
            "gen_ai_server_time_per_output_token",
            "Time between the tokens of a stream after the first, on average",
            Unit::Seconds,
            all.each.clone(),
        );
        all
    }

    fn meters(&self, key: Key) -> Arc<Meters> {
        if let Some(meters) = self.found.read().get(&key) {
            return meters.clone();
        }
        let mut found = self.found.write();
        let key = match found.contains_key(&key) || found.len() < COMBINATIONS {
            true => key,
            // One more, for all the others.
            false => [OTHER.into(), OTHER.into(), OTHER.into(), key[3].clone()],
        };
        let meters = found
            .entry(key)
            .or_insert_with_key(|key| Arc::new(self.make(key)));
        meters.clone()
    }

    fn make(&self, key: &Key) -> Meters {
        let [operation, provider, model, error] = key;
        let mut labels: Set = vec![
            ("gen_ai_operation_name", operation.clone()),
            ("gen_ai_provider_name", provider.clone()),
            ("gen_ai_request_model", model.clone()),
        ];
        let fine = error.is_empty().then(|| {
            let of = |kind: &str| {
                let mut labels = labels.clone();
                labels.push(("gen_ai_token_type", kind.into()));
                self.usage.get_or_create_owned(&labels)
            };
            Fine {
                input: of("input"),
                output: of("output"),
                first: self.first.get_or_create_owned(&labels),
                each: self.each.get_or_create_owned(&labels),
            }
        });
        if !error.is_empty() {
            labels.push(("error_type", error.clone()));
        }
        Meters {
            key: key.clone(),
            client: self.client.get_or_create_owned(&labels),
            server: self.server.get_or_create_owned(&labels),
            fine,
        }
    }

    /// The same with an error.
    fn failed(&self, meters: &Meters, error: &str) -> Arc<Meters> {
        let [operation, provider, model, _] = meters.key.clone();
        self.meters([operation, provider, model, self.errors.admit(error)])
    }

    /// Those of a call that goes well.
    pub(crate) fn of(&self, operation: &str, provider: Option<&str>, model: &str) -> Arc<Meters> {
        let model = if model.is_empty() { UNKNOWN } else { model };
        self.meters([
            self.operations.admit(operation),
            self.providers.admit(provider.unwrap_or(UNKNOWN)),
            self.models.admit(model),
            self.none.clone(),
        ])
    }

    /// A request is over.
    pub(crate) fn served(&self, meters: &Meters, served: &Served<'_>) {
        let duration = served.duration.as_secs_f64();
        if let Some(error) = served.error {
            return self.failed(meters, error).server.observe(duration);
        }
        meters.server.observe(duration);
        let (Some(fine), Some(first), true) = (&meters.fine, served.first, served.streaming) else {
            return;
        };
        fine.first.observe(first.as_secs_f64());
        if let (Some(last), Some(tokens @ 2..)) = (served.last, served.tokens) {
            #[expect(clippy::cast_precision_loss, reason = "tokens of one answer fit 2^53")]
            let rest = (tokens - 1) as f64;
            fine.each
                .observe(last.saturating_sub(first).as_secs_f64() / rest);
        }
    }
}

/// How a request ended.
pub(crate) struct Served<'a> {
    pub(crate) duration: Duration,
    pub(crate) error: Option<&'a str>,
    pub(crate) streaming: bool,
    pub(crate) first: Option<Duration>,
    pub(crate) last: Option<Duration>,
    pub(crate) tokens: Option<u64>,
}

/// One call at a worker, counted when it is dropped.
pub struct Operation {
    metrics: Arc<crate::Metrics>,
    meters: Arc<Meters>,
    began: Instant,
    input: Option<u64>,
    output: Option<u64>,
    error: Option<String>,
}

impl Operation {
    /// A worker was given a call; none: it is of no kind that is counted.
    #[must_use]
    pub fn begin(
        metrics: &Arc<crate::Metrics>,
        task: &str,
        provider: Option<&str>,
        model: &str,
    ) -> Option<Self> {
        let operation = operation_name(task)?;
        Some(Self {
            metrics: metrics.clone(),
            meters: metrics.genai.of(operation, provider, model),
            began: Instant::now(),
            input: None,
            output: None,
            error: None,
        })
    }

    pub(crate) fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// What it has used; later figures replace earlier ones: they are sums.
    pub fn used(&mut self, input: Option<u64>, output: Option<u64>) {
        self.input = input.or(self.input);
        self.output = output.or(self.output);
    }

    /// It failed; the label is of the contract's table. The first one counts.
    pub fn failed(&mut self, label: &str) {
        self.error.get_or_insert_with(|| label.to_owned());
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let duration = self.began.elapsed().as_secs_f64();
        match &self.error {
            None => self.meters.client.observe(duration),
            Some(error) => {
                let failed = self.metrics.genai.failed(&self.meters, error);
                failed.client.observe(duration);
            }
        }
        let Some(fine) = &self.meters.fine else {
            return;
        };
        #[expect(clippy::cast_precision_loss, reason = "tokens of one call fit 2^53")]
        for (tokens, histogram) in [(self.input, &fine.input), (self.output, &fine.output)] {
            if let Some(tokens) = tokens {
                histogram.observe(tokens as f64);
            }
        }
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("labels", &self.meters.key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::Metrics;

    use super::*;

    fn value(page: &str, series: &str) -> Option<f64> {
        let line = page.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    const CHAT: &str = "{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"p\",\
                        gen_ai_request_model=\"m\"";

    #[test]
    fn calls_are_counted_with_what_they_used() {
        let metrics = Arc::new(Metrics::new());
        let mut call = Operation::begin(&metrics, "chat", Some("p"), "m").unwrap();
        call.used(Some(5), Some(1));
        call.used(None, Some(9));
        drop(call);
        let mut call = Operation::begin(&metrics, "chat", Some("p"), "m").unwrap();
        call.failed("overloaded");
        call.failed("internal");
        drop(call);
        assert!(Operation::begin(&metrics, "list-models", None, "m").is_none());
        let page = metrics.encode();
        let count = "gen_ai_client_operation_duration_seconds_count";
        assert_eq!(value(&page, &format!("{count}{CHAT}}}")), Some(1.0));
        let failed = format!("{count}{CHAT},error_type=\"overloaded\"}}");
        assert_eq!(value(&page, &failed), Some(1.0), "{page}");
        for (kind, tokens) in [("input", 5.0), ("output", 9.0)] {
            let sum = format!("gen_ai_client_token_usage_sum{CHAT},gen_ai_token_type=\"{kind}\"}}");
            assert_eq!(value(&page, &sum), Some(tokens));
        }
    }

    #[test]
    fn streams_tell_how_fast_they_are_and_others_do_not() {
        let metrics = Metrics::new();
        let meters = metrics.genai.of("chat", Some("p"), "m");
        let seconds = |s| Some(Duration::from_secs(s));
        let mut served = Served {
            duration: Duration::from_secs(9),
            error: None,
            streaming: true,
            first: seconds(1),
            last: seconds(9),
            tokens: Some(5),
        };
        metrics.genai.served(&meters, &served);
        served.streaming = false;
        metrics.genai.served(&meters, &served);
        served.error = Some("broken");
        metrics.genai.served(&meters, &served);
        let page = metrics.encode();
        for (series, expected) in [
            (
                format!("gen_ai_server_request_duration_seconds_count{CHAT}}}"),
                2.0,
            ),
            (
                format!("gen_ai_server_time_to_first_token_seconds_sum{CHAT}}}"),
                1.0,
            ),
            (
                format!("gen_ai_server_time_per_output_token_seconds_sum{CHAT}}}"),
                2.0,
            ),
            (
                format!(
                    "gen_ai_server_request_duration_seconds_count{CHAT},error_type=\"broken\"}}"
                ),
                1.0,
            ),
        ] {
            assert_eq!(value(&page, &series), Some(expected), "{series}\n{page}");
        }
    }

    #[test]
    fn combinations_are_bounded() {
        let metrics = Arc::new(Metrics::new());
        for operation in ["chat", "generate", "embed"] {
            for provider in 0..10 {
                for model in 0..300 {
                    let provider = provider.to_string();
                    let model = format!("m{model}");
                    drop(Operation::begin(
                        &metrics,
                        operation,
                        Some(&provider),
                        &model,
                    ));
                }
            }
        }
        let found = metrics.genai.found.read().len();
        assert_eq!(found, COMBINATIONS + 1);
        let page = metrics.encode();
        assert!(page.contains("gen_ai_request_model=\"other\""));
        assert!(!page.contains("gen_ai_request_model=\"m256\""));
    }
}
