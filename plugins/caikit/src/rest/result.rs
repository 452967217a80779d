//! Bodies of results, in the runtime's order of members, each of which is always there.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tollgate_sdk_protocol::{classify::Entity, failure, types::Failure};

use crate::{
    answer::{Answer, Generated, Origin, Piece, Ranking, Scored, Tokens},
    endpoint::Endpoint,
    json,
    proto::{FinishReason, ProducerId},
};

/// `{"name", "version"}`.
#[derive(Deserialize, Serialize)]
struct Producer {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    version: Option<String>,
}

impl Producer {
    fn of(id: Option<&ProducerId>) -> Option<Self> {
        id.map(|id| Self {
            name: Some(id.name.clone()),
            version: Some(id.version.clone()),
        })
    }

    fn id(self) -> ProducerId {
        ProducerId {
            name: self.name.unwrap_or_default(),
            version: self.version.unwrap_or_default(),
        }
    }
}

#[derive(Deserialize, Serialize)]
struct Token {
    text: Option<String>,
    #[serde(default)]
    logprob: Option<f64>,
    #[serde(default)]
    rank: Option<i64>,
}

fn tokens(pieces: &[Piece]) -> Vec<Token> {
    let token = |piece: &Piece| Token {
        text: Some(piece.text.clone()),
        // Not a number: not known.
        logprob: piece.logprob.filter(|logprob| logprob.is_finite()),
        rank: piece.rank,
    };
    pieces.iter().map(token).collect()
}

fn pieces(tokens: Option<Vec<Token>>) -> Vec<Piece> {
    let piece = |token: Token| Piece {
        text: token.text.unwrap_or_default(),
        logprob: token.logprob,
        rank: token.rank,
    };
    tokens.unwrap_or_default().into_iter().map(piece).collect()
}

/// `GeneratedTextResult`.
#[derive(Deserialize, Serialize)]
struct TextResult {
    generated_text: Option<String>,
    generated_tokens: Option<i64>,
    finish_reason: Option<String>,
    #[serde(default)]
    producer_id: Option<Producer>,
    #[serde(default)]
    input_token_count: Option<i64>,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    tokens: Option<Vec<Token>>,
    #[serde(default)]
    input_tokens: Option<Vec<Token>>,
}

/// `GeneratedTextStreamResult`.
#[derive(Deserialize, Serialize)]
struct StreamResult {
    generated_text: Option<String>,
    #[serde(default)]
    tokens: Option<Vec<Token>>,
    details: Option<Details>,
    #[serde(default)]
    producer_id: Option<Producer>,
    #[serde(default)]
    input_tokens: Option<Vec<Token>>,
}

/// `TokenStreamDetails`.
#[derive(Deserialize, Serialize)]
struct Details {
    finish_reason: Option<String>,
    #[serde(default)]
    generated_tokens: Option<i64>,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    input_token_count: Option<i64>,
}

#[derive(Deserialize, Serialize)]
struct Vector {
    data: Values,
}

#[derive(Deserialize, Serialize)]
struct Values {
    values: Vec<f64>,
}

#[derive(Deserialize, Serialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize, Serialize)]
struct Scores {
    scores: Vec<f64>,
}

#[derive(Deserialize, Serialize)]
struct Ranked {
    #[serde(default)]
    query: Option<String>,
    scores: Vec<Place>,
}

#[derive(Deserialize, Serialize)]
struct Place {
    #[serde(default)]
    document: Option<Box<RawValue>>,
    index: i64,
    score: f64,
    #[serde(default)]
    text: Option<String>,
}

/// A result of one input.
#[derive(Deserialize, Serialize)]
struct One<T> {
    result: T,
    #[serde(default)]
    producer_id: Option<Producer>,
    #[serde(default)]
    input_token_count: Option<i64>,
}

/// A result of several.
#[derive(Deserialize, Serialize)]
struct Many<T> {
    results: T,
    #[serde(default)]
    producer_id: Option<Producer>,
    #[serde(default)]
    input_token_count: Option<i64>,
}

#[derive(Deserialize, Serialize)]
struct Tokenization {
    #[serde(default)]
    results: Option<Vec<TokenAt>>,
    token_count: Option<i64>,
}

#[derive(Deserialize, Serialize)]
struct TokenAt {
    start: i64,
    end: i64,
    text: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Results<T> {
    results: Vec<T>,
}

/// `ClassificationResult`.
#[derive(Deserialize, Serialize)]
struct Class {
    label: Option<String>,
    score: f64,
}

/// `TokenClassificationResult`, as a runtime may say it: texts may be null, and members others. It is written as an [`Entity`], which has the same members in the same order.
#[derive(Deserialize)]
struct Part {
    start: i64,
    end: i64,
    word: Option<String>,
    entity: Option<String>,
    #[serde(default)]
    entity_group: Option<String>,
    score: f64,
    #[serde(default)]
    token_count: Option<i64>,
}

impl From<Part> for Entity {
    fn from(part: Part) -> Self {
        Self {
            start: part.start,
            end: part.end,
            word: part.word.unwrap_or_default(),
            entity: part.entity.unwrap_or_default(),
            entity_group: part.entity_group,
            score: part.score,
            token_count: part.token_count,
        }
    }
}

/// Writes a whole result, for the endpoint that was asked.
pub fn write(answer: &Answer, endpoint: Endpoint) -> Vec<u8> {
    match answer {
        Answer::Text(generated) => json::write(&TextResult {
            generated_text: Some(generated.text.clone()),
            generated_tokens: Some(generated.count),
            finish_reason: Some(generated.reason.as_str_name().to_owned()),
            producer_id: Producer::of(generated.producer.as_ref()),
            input_token_count: generated.input_count,
            seed: generated.seed,
            tokens: Some(tokens(&generated.tokens)),
            input_tokens: Some(tokens(&generated.input_tokens)),
        }),
        Answer::Vectors(vectors, origin) => {
            let mut vectors = vectors.iter().map(|vector| Vector {
                data: Values {
                    values: vector.iter().map(|value| f64::from(*value)).collect(),
                },
            });
            if endpoint == Endpoint::Embed {
                one(vectors.next(), origin)
            } else {
                let vectors = vectors.collect();
                many(Vectors { vectors }, origin)
            }
        }
        Answer::Scores(scores, origin) => {
            let mut scores = scores.iter().map(|scores| Scores {
                scores: scores.clone(),
            });
            if endpoint == Endpoint::Similarity {
                one(scores.next(), origin)
            } else {
                many(scores.collect::<Vec<_>>(), origin)
            }
        }
        Answer::Rankings(rankings, origin) => {
            let mut rankings = rankings.iter().map(ranked);
            if endpoint == Endpoint::Rerank {
                one(rankings.next(), origin)
            } else {
                many(rankings.collect::<Vec<_>>(), origin)
            }
        }
        Answer::Tokens(tokens) => json::write(&Tokenization {
            results: tokens.results.as_ref().map(|results| {
                let at = |(start, end, text): &(i64, i64, String)| TokenAt {
                    start: *start,
                    end: *end,
                    text: Some(text.clone()),
                };
                results.iter().map(at).collect()
            }),
            token_count: Some(tokens.count),
        }),
        Answer::Classes(classes) => {
            let class = |(label, score): &(String, f64)| Class {
                label: Some(label.clone()),
                score: *score,
            };
            json::write(&Results {
                results: classes.iter().map(class).collect(),
            })
        }
        Answer::Entities(entities) => json::write(&Results {
            results: entities.iter().collect(),
        }),
    }
}

fn ranked(ranking: &Ranking) -> Ranked {
    let place = |scored: &Scored| Place {
        document: scored
            .document
            .clone()
            .and_then(|json| RawValue::from_string(json).ok()),
        index: scored.index,
        score: scored.score,
        text: scored.text.clone(),
    };
    Ranked {
        query: ranking.query.clone(),
        scores: ranking.scores.iter().map(place).collect(),
    }
}

fn one(result: impl Serialize, origin: &Origin) -> Vec<u8> {
    json::write(&One {
        result,
        producer_id: Producer::of(origin.producer.as_ref()),
        input_token_count: origin.input_tokens,
    })
}

fn many(results: impl Serialize, origin: &Origin) -> Vec<u8> {
    json::write(&Many {
        results,
        producer_id: Producer::of(origin.producer.as_ref()),
        input_token_count: origin.input_tokens,
    })
}

/// Writes what is new in a stream.
pub fn write_piece(generated: &Generated) -> Vec<u8> {
    json::write(&StreamResult {
        generated_text: Some(generated.text.clone()),
        tokens: Some(tokens(&generated.tokens)),
        details: Some(Details {
            finish_reason: Some(generated.reason.as_str_name().to_owned()),
            generated_tokens: Some(generated.count),
            seed: Some(generated.seed.unwrap_or(0)),
            input_token_count: Some(generated.input_count.unwrap_or(0)),
        }),
        producer_id: Producer::of(generated.producer.as_ref()),
        input_tokens: Some(tokens(&generated.input_tokens)),
    })
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        let what = format!("the worker's answer is not this task's: {error}");
        failure::from_json(body, &error, what)
    })
}

/// The reason by its name.
fn reason(name: Option<&str>) -> Result<FinishReason, Failure> {
    let name = name.unwrap_or("NOT_FINISHED");
    FinishReason::from_str_name(name).ok_or_else(|| {
        failure::upstream_invalid(format!("the worker gave an unknown reason to stop: {name}"))
    })
}

/// Reads a whole result of an endpoint.
///
/// # Errors
/// When it is another's, or none.
pub fn read(body: &[u8], endpoint: Endpoint) -> Result<Answer, Failure> {
    Ok(match endpoint {
        Endpoint::Generate | Endpoint::GenerateStream => {
            let result: TextResult = parse(body)?;
            Answer::Text(Generated {
                text: result.generated_text.unwrap_or_default(),
                count: result.generated_tokens.unwrap_or_default(),
                reason: reason(result.finish_reason.as_deref())?,
                producer: result.producer_id.map(Producer::id),
                input_count: result.input_token_count,
                seed: result.seed,
                tokens: pieces(result.tokens),
                input_tokens: pieces(result.input_tokens),
            })
        }
        Endpoint::Embed => {
            let one: One<Vector> = parse(body)?;
            let origin = origin(one.producer_id, one.input_token_count);
            Answer::Vectors(vec![floats(one.result)], origin)
        }
        Endpoint::Embeds => {
            let many: Many<Vectors> = parse(body)?;
            let vectors = many.results.vectors.into_iter().map(floats).collect();
            Answer::Vectors(vectors, origin(many.producer_id, many.input_token_count))
        }
        Endpoint::Similarity => {
            let one: One<Scores> = parse(body)?;
            let origin = origin(one.producer_id, one.input_token_count);
            Answer::Scores(vec![one.result.scores], origin)
        }
        Endpoint::Similarities => {
            let many: Many<Vec<Scores>> = parse(body)?;
            let scores = many.results.into_iter().map(|it| it.scores).collect();
            Answer::Scores(scores, origin(many.producer_id, many.input_token_count))
        }
        Endpoint::Rerank => {
            let one: One<Ranked> = parse(body)?;
            let origin = origin(one.producer_id, one.input_token_count);
            Answer::Rankings(vec![ranking(one.result)], origin)
        }
        Endpoint::Reranks => {
            let many: Many<Vec<Ranked>> = parse(body)?;
            let rankings = many.results.into_iter().map(ranking).collect();
            Answer::Rankings(rankings, origin(many.producer_id, many.input_token_count))
        }
        Endpoint::Tokenize => {
            let result: Tokenization = parse(body)?;
            let at = |token: TokenAt| (token.start, token.end, token.text.unwrap_or_default());
            Answer::Tokens(Tokens {
                count: result.token_count.ok_or_else(|| {
                    failure::upstream_invalid("the worker's answer has no count of tokens")
                })?,
                results: result
                    .results
                    .map(|results| results.into_iter().map(at).collect()),
            })
        }
        Endpoint::Classify => {
            let Results { results } = parse::<Results<Class>>(body)?;
            let class = |class: Class| (class.label.unwrap_or_default(), class.score);
            Answer::Classes(results.into_iter().map(class).collect())
        }
        Endpoint::ClassifyTokens => {
            let Results { results } = parse::<Results<Part>>(body)?;
            Answer::Entities(results.into_iter().map(Entity::from).collect())
        }
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "vectors are of single precision"
)]
fn floats(vector: Vector) -> Vec<f32> {
    vector
        .data
        .values
        .iter()
        .map(|value| *value as f32)
        .collect()
}

fn origin(producer: Option<Producer>, input_tokens: Option<i64>) -> Origin {
    Origin {
        producer: producer.map(Producer::id),
        input_tokens,
    }
}

fn ranking(ranked: Ranked) -> Ranking {
    let scored = |place: Place| Scored {
        document: place.document.map(|json| json.get().to_owned()),
        index: place.index,
        score: place.score,
        text: place.text,
    };
    Ranking {
        query: ranked.query,
        scores: ranked.scores.into_iter().map(scored).collect(),
    }
}

/// What an event of a stream says.
///
/// # Errors
/// The worker's failure (`{"details", "code"}`), or that it is none of the task's.
pub fn read_piece(data: &[u8]) -> Result<Generated, Failure> {
    let result: StreamResult = parse(data)?;
    let details = result.details;
    let reason = reason(details.as_ref().and_then(|it| it.finish_reason.as_deref()))?;
    Ok(Generated {
        text: result.generated_text.unwrap_or_default(),
        count: details
            .as_ref()
            .and_then(|it| it.generated_tokens)
            .unwrap_or_default(),
        reason,
        producer: result.producer_id.map(Producer::id),
        input_count: details.as_ref().and_then(|it| it.input_token_count),
        seed: details.as_ref().and_then(|it| it.seed),
        tokens: pieces(result.tokens),
        input_tokens: pieces(result.input_tokens),
    })
}
