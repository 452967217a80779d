//! Bodies of requests: `{"model_id", "inputs", "parameters"}`.
//!
//! A task with one required argument has it as `inputs`, one with several has an object
//! there. What is optional stands under `parameters`.

use serde::Serialize;
use tollgate_sdk_protocol::{
    failure, text,
    types::{Failure, Segment, Text},
};

use super::parameters;
use crate::{
    endpoint::Endpoint,
    request::{Request, Rerank},
    strict::{Loc, Members, Problem, Reader},
};

/// What a body is refused for.
#[derive(Debug)]
pub enum Refusal {
    /// It is not what it should be.
    Problems(Vec<Problem>),
    /// A required argument is missing or says nothing.
    Failure(Failure),
}

/// Reads the values of `inputs` and `parameters`; none where they are missing. `held`
/// gives `inputs` as a text that stays where it is, when it is a long string.
///
/// # Errors
/// See [`Refusal`].
pub fn read(
    endpoint: Endpoint,
    inputs: Option<&str>,
    parameters: Option<&str>,
    held: Option<Text>,
) -> Result<Request, Refusal> {
    let mut reader = Reader::default();
    let inputs = inputs.filter(|json| *json != "null");
    let given = parameters.filter(|json| *json != "null");
    let parameters = given.unwrap_or("{}");
    let request = match endpoint {
        Endpoint::Generate | Endpoint::GenerateStream => {
            let text = one_text(&mut reader, inputs, held);
            let parameters = of_parameters(&mut reader, parameters, parameters::read);
            required(text, "text").map(|text| Request::Generate {
                text,
                parameters: Box::new(parameters),
            })
        }
        Endpoint::Embed => {
            let text = one_text(&mut reader, inputs, held);
            let truncate = truncate(&mut reader, parameters);
            required(text, "text").map(|text| Request::Embed {
                texts: vec![text],
                truncate,
            })
        }
        Endpoint::Embeds => {
            let texts = inputs
                .and_then(|json| reader.inside(name("inputs"), |reader| reader.strings(json)));
            let truncate = truncate(&mut reader, parameters);
            let texts = texts.map(inline).filter(|texts| !texts.is_empty());
            required(texts, "texts").map(|texts| Request::Embed { texts, truncate })
        }
        Endpoint::Similarity | Endpoint::Similarities => {
            let many = endpoint == Endpoint::Similarities;
            let (sources, sentences) = of_inputs(&mut reader, inputs, |members| {
                let sources = one_or_many(members, many, "source_sentence", "source_sentences");
                (sources, members.strings("sentences"))
            })
            .unwrap_or_default();
            let truncate = truncate(&mut reader, parameters);
            let named = if many {
                "source_sentences"
            } else {
                "source_sentence"
            };
            required(filled(sources), named).and_then(|sources| {
                let sentences = required(filled(sentences), "sentences")?;
                Ok(Request::Similarity {
                    sources: inline(sources),
                    sentences: inline(sentences),
                    truncate,
                })
            })
        }
        Endpoint::Rerank | Endpoint::Reranks => {
            let many = endpoint == Endpoint::Reranks;
            let (queries, documents) = of_inputs(&mut reader, inputs, |members| {
                let queries = one_or_many(members, many, "query", "queries");
                (queries, members.take("documents", Reader::objects))
            })
            .unwrap_or_default();
            let rerank = of_parameters(&mut reader, parameters, |members| Rerank {
                queries: Vec::new(),
                documents: Vec::new(),
                top_n: members.integer("top_n"),
                truncate: members.integer("truncate_input_tokens"),
                return_documents: members.boolean("return_documents"),
                return_queries: members.boolean(return_queries(many)),
                return_text: members.boolean("return_text"),
            });
            required(filled(queries), if many { "queries" } else { "query" }).and_then(|queries| {
                let documents = required(documents, "documents")?;
                Ok(Request::Rerank(Rerank {
                    queries: inline(queries),
                    documents,
                    ..rerank
                }))
            })
        }
        Endpoint::Tokenize => {
            let text = one_text(&mut reader, inputs, held);
            // This task has none, and so not the member either.
            if let Some(json) = given {
                reader.extra("parameters", json);
            }
            required(text, "text").map(Request::Tokenize)
        }
        Endpoint::Classify => {
            let text = short_text(&mut reader, inputs);
            if let Some(json) = given {
                reader.extra("parameters", json);
            }
            required(text, "text").map(Request::Classify)
        }
        Endpoint::ClassifyTokens => {
            let text = short_text(&mut reader, inputs);
            let threshold = of_parameters(&mut reader, parameters, |members| {
                members.number("threshold")
            });
            required(text, "text").map(|text| Request::ClassifyTokens { text, threshold })
        }
    };
    reader
        .finish(())
        .map_err(Refusal::Problems)
        .and_then(|()| request.map_err(Refusal::Failure))
}

fn name(name: &str) -> Loc {
    Loc::Name(name.to_owned())
}

fn return_queries(many: bool) -> &'static str {
    if many {
        "return_queries"
    } else {
        "return_query"
    }
}

/// The runtime drops what says nothing, and then misses it.
fn required<T>(value: Option<T>, name: &str) -> Result<T, Failure> {
    value.ok_or_else(|| {
        failure::invalid(
            format!("missing 1 required positional argument: '{name}'"),
            Some(name),
        )
    })
}

fn filled<T>(values: Option<Vec<T>>) -> Option<Vec<T>> {
    values.filter(|values| !values.is_empty())
}

fn inline(texts: Vec<String>) -> Vec<Text> {
    texts.into_iter().map(Text::Inline).collect()
}

fn one_text(reader: &mut Reader, json: Option<&str>, held: Option<Text>) -> Option<Text> {
    if held.is_some() {
        return held;
    }
    short_text(reader, json).map(Text::Inline)
}

fn short_text(reader: &mut Reader, json: Option<&str>) -> Option<String> {
    let text = reader.inside(name("inputs"), |reader| reader.string(json?))?;
    (!text.is_empty()).then_some(text)
}

/// A member that is a string, or one that is a list of them.
fn one_or_many(
    members: &mut Members<'_, '_>,
    many: bool,
    one_name: &str,
    many_name: &str,
) -> Option<Vec<String>> {
    if many {
        members.strings(many_name)
    } else {
        Some(vec![members.string(one_name)?])
    }
}

fn of_inputs<T>(
    reader: &mut Reader,
    json: Option<&str>,
    read: impl FnOnce(&mut Members<'_, '_>) -> T,
) -> Option<T> {
    reader.inside(name("inputs"), |reader| reader.object(json?, read))
}

fn of_parameters<T: Default>(
    reader: &mut Reader,
    json: &str,
    read: impl FnOnce(&mut Members<'_, '_>) -> T,
) -> T {
    reader
        .inside(name("parameters"), |reader| reader.object(json, read))
        .unwrap_or_default()
}

fn truncate(reader: &mut Reader, json: &str) -> Option<i64> {
    of_parameters(reader, json, |members| {
        members.integer("truncate_input_tokens")
    })
}

/// Writes a body for an endpoint that fits the request. Texts that the host holds are
/// named, not copied.
pub fn write(request: &Request, model: &str, endpoint: Endpoint) -> Vec<Segment> {
    let mut body = Body::default();
    body.text("{\"model_id\":");
    body.json(&model);
    body.text(",\"inputs\":");
    match request {
        Request::Generate { text, .. } | Request::Tokenize(text) => body.value(text),
        Request::Classify(text) | Request::ClassifyTokens { text, .. } => body.json(text),
        Request::Embed { texts, .. } if endpoint == Endpoint::Embed => body.first(texts),
        Request::Embed { texts, .. } => body.values(texts),
        Request::Similarity {
            sources, sentences, ..
        } => {
            if endpoint == Endpoint::Similarity {
                body.text("{\"source_sentence\":");
                body.first(sources);
            } else {
                body.text("{\"source_sentences\":");
                body.values(sources);
            }
            body.text(",\"sentences\":");
            body.values(sentences);
            body.text("}");
        }
        Request::Rerank(rerank) => {
            if endpoint == Endpoint::Rerank {
                body.text("{\"query\":");
                body.first(&rerank.queries);
            } else {
                body.text("{\"queries\":");
                body.values(&rerank.queries);
            }
            body.text(",\"documents\":[");
            body.text(&rerank.documents.join(","));
            body.text("]}");
        }
    }
    body.parameters(request, endpoint);
    body.text("}");
    body.finish()
}

/// Parameters of the tasks beside generation.
#[derive(Default, Serialize)]
struct Optional {
    #[serde(skip_serializing_if = "Option::is_none")]
    top_n: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate_input_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    return_documents: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    return_query: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    return_queries: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    return_text: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<f64>,
}

/// A body in the making.
#[derive(Default)]
struct Body {
    segments: Vec<Segment>,
    inline: Vec<u8>,
}

impl Body {
    /// The member `parameters`, where there are any: a task without one refuses it.
    fn parameters(&mut self, request: &Request, endpoint: Endpoint) {
        let before = self.inline.len();
        self.text(",\"parameters\":");
        let value = self.inline.len();
        match request {
            Request::Generate { parameters, .. } => self.json(&parameters::written(parameters)),
            Request::Embed { truncate, .. } | Request::Similarity { truncate, .. } => {
                self.json(&Optional {
                    truncate_input_tokens: *truncate,
                    ..Optional::default()
                });
            }
            Request::Rerank(rerank) => {
                let (query, queries) = if endpoint == Endpoint::Rerank {
                    (rerank.return_queries, None)
                } else {
                    (None, rerank.return_queries)
                };
                self.json(&Optional {
                    top_n: rerank.top_n,
                    truncate_input_tokens: rerank.truncate,
                    return_documents: rerank.return_documents,
                    return_query: query,
                    return_queries: queries,
                    return_text: rerank.return_text,
                    threshold: None,
                });
            }
            Request::ClassifyTokens { threshold, .. } => self.json(&Optional {
                threshold: *threshold,
                ..Optional::default()
            }),
            Request::Tokenize(_) | Request::Classify(_) => self.text("{}"),
        }
        if &self.inline[value..] == b"{}" {
            self.inline.truncate(before);
        }
    }

    fn text(&mut self, text: &str) {
        self.inline.extend_from_slice(text.as_bytes());
    }

    fn json(&mut self, value: &impl Serialize) {
        serde_json::to_writer(&mut self.inline, value).expect("our own types are JSON");
    }

    fn value(&mut self, value: &Text) {
        match value {
            Text::Inline(text) => self.json(text),
            Text::Held(_) => {
                self.flush();
                self.segments.push(text::json_string(value));
            }
        }
    }

    fn first(&mut self, values: &[Text]) {
        match values.first() {
            Some(value) => self.value(value),
            None => self.text("null"),
        }
    }

    fn values(&mut self, values: &[Text]) {
        self.text("[");
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                self.text(",");
            }
            self.value(value);
        }
        self.text("]");
    }

    fn flush(&mut self) {
        if !self.inline.is_empty() {
            let inline = std::mem::take(&mut self.inline);
            self.segments.push(Segment::Inline(inline));
        }
    }

    fn finish(mut self) -> Vec<Segment> {
        self.flush();
        self.segments
    }
}
