//! Messages of results.

use prost::Message;
use serde_json::Value;
use tollgate_sdk_protocol::{classify::Entity, failure, types::Failure};

use super::{decode_answer, structs};
use crate::{
    answer::{Answer, Generated, Origin, Piece, Ranking, Scored, Tokens},
    endpoint::Endpoint,
    proto::{
        ClassificationResult, ClassificationResults, EmbeddingResult, EmbeddingResults,
        FinishReason, GeneratedTextResult, GeneratedTextStreamResult, GeneratedToken,
        ListOfVector1D, NpFloat32Sequence, RerankResult, RerankResults, RerankScore, RerankScores,
        SentenceSimilarityResult, SentenceSimilarityResults, SentenceSimilarityScores, Token,
        TokenClassificationResult, TokenClassificationResults, TokenStreamDetails,
        TokenizationResults, Vector1D, vector1_d::Data,
    },
};

fn tokens(pieces: &[Piece]) -> Vec<GeneratedToken> {
    let token = |piece: &Piece| GeneratedToken {
        text: piece.text.clone(),
        logprob: piece.logprob.unwrap_or_default(),
        rank: piece.rank.unwrap_or_default(),
    };
    pieces.iter().map(token).collect()
}

/// These numbers have no presence: a rank of zero is none, and so is a log probability
/// that is not a number.
fn pieces(tokens: Vec<GeneratedToken>) -> Vec<Piece> {
    let piece = |token: GeneratedToken| Piece {
        text: token.text,
        logprob: Some(token.logprob).filter(|logprob| !logprob.is_nan()),
        rank: Some(token.rank).filter(|rank| *rank != 0),
    };
    tokens.into_iter().map(piece).collect()
}

/// Writes a whole result, for the endpoint that was asked.
pub fn write(answer: &Answer, endpoint: Endpoint) -> Vec<u8> {
    match answer {
        Answer::Text(generated) => GeneratedTextResult {
            generated_text: generated.text.clone(),
            generated_tokens: generated.count,
            finish_reason: generated.reason.into(),
            producer_id: generated.producer.clone(),
            input_token_count: generated.input_count.unwrap_or_default(),
            seed: generated.seed.unwrap_or_default(),
            tokens: tokens(&generated.tokens),
            input_tokens: tokens(&generated.input_tokens),
        }
        .encode_to_vec(),
        Answer::Vectors(vectors, origin) => {
            let mut vectors = vectors.iter().map(|values| vector(values));
            let producer_id = origin.producer.clone();
            let input_token_count = origin.input_tokens.unwrap_or_default();
            if endpoint == Endpoint::Embed {
                EmbeddingResult {
                    result: vectors.next(),
                    producer_id,
                    input_token_count,
                }
                .encode_to_vec()
            } else {
                EmbeddingResults {
                    results: Some(ListOfVector1D {
                        vectors: vectors.collect(),
                    }),
                    producer_id,
                    input_token_count,
                }
                .encode_to_vec()
            }
        }
        Answer::Scores(scores, origin) => {
            let mut scores = scores.iter().map(|scores| SentenceSimilarityScores {
                scores: scores.clone(),
            });
            let producer_id = origin.producer.clone();
            let input_token_count = origin.input_tokens.unwrap_or_default();
            if endpoint == Endpoint::Similarity {
                SentenceSimilarityResult {
                    result: scores.next(),
                    producer_id,
                    input_token_count,
                }
                .encode_to_vec()
            } else {
                SentenceSimilarityResults {
                    results: scores.collect(),
                    producer_id,
                    input_token_count,
                }
                .encode_to_vec()
            }
        }
        Answer::Rankings(rankings, origin) => {
            let mut rankings = rankings.iter().map(ranked);
            let producer_id = origin.producer.clone();
            let input_token_count = origin.input_tokens.unwrap_or_default();
            if endpoint == Endpoint::Rerank {
                RerankResult {
                    result: rankings.next(),
                    producer_id,
                    input_token_count,
                }
                .encode_to_vec()
            } else {
                RerankResults {
                    results: rankings.collect(),
                    producer_id,
                    input_token_count,
                }
                .encode_to_vec()
            }
        }
        Answer::Tokens(tokens) => TokenizationResults {
            results: tokens
                .results
                .iter()
                .flatten()
                .map(|(start, end, text)| Token {
                    start: *start,
                    end: *end,
                    text: text.clone(),
                })
                .collect(),
            token_count: tokens.count,
        }
        .encode_to_vec(),
        Answer::Classes(classes) => {
            let class = |(label, score): &(String, f64)| ClassificationResult {
                label: label.clone(),
                score: *score,
            };
            ClassificationResults {
                results: classes.iter().map(class).collect(),
            }
            .encode_to_vec()
        }
        Answer::Entities(entities) => {
            let part = |entity: &Entity| TokenClassificationResult {
                start: entity.start,
                end: entity.end,
                word: entity.word.clone(),
                entity: entity.entity.clone(),
                entity_group: entity.entity_group.clone().unwrap_or_default(),
                score: entity.score,
                token_count: entity.token_count.unwrap_or_default(),
            };
            TokenClassificationResults {
                results: entities.iter().map(part).collect(),
            }
            .encode_to_vec()
        }
    }
}

fn vector(values: &[f32]) -> Vector1D {
    Vector1D {
        data: Some(Data::DataNpfloat32sequence(NpFloat32Sequence {
            values: values.to_vec(),
        })),
    }
}

fn ranked(ranking: &Ranking) -> RerankScores {
    let score = |scored: &Scored| RerankScore {
        document: scored.document.as_deref().and_then(|json| {
            let value: Value = serde_json::from_str(json).ok()?;
            Some(structs::from_json(value.as_object()?))
        }),
        index: scored.index,
        score: scored.score,
        text: scored.text.clone().unwrap_or_default(),
    };
    RerankScores {
        query: ranking.query.clone().unwrap_or_default(),
        scores: ranking.scores.iter().map(score).collect(),
    }
}

/// Writes what is new in a stream.
pub fn write_piece(generated: &Generated) -> Vec<u8> {
    GeneratedTextStreamResult {
        generated_text: generated.text.clone(),
        tokens: tokens(&generated.tokens),
        details: Some(TokenStreamDetails {
            finish_reason: generated.reason.into(),
            generated_tokens: u32::try_from(generated.count).unwrap_or(u32::MAX),
            seed: generated.seed.unwrap_or_default(),
            input_token_count: generated.input_count.unwrap_or_default(),
        }),
        producer_id: generated.producer.clone(),
        input_tokens: tokens(&generated.input_tokens),
    }
    .encode_to_vec()
}

fn reason(number: i32) -> Result<FinishReason, Failure> {
    FinishReason::try_from(number).map_err(|error| failure::upstream_invalid(error.to_string()))
}

/// Reads a whole result of an endpoint.
///
/// # Errors
/// When it is another's, or none.
pub fn read(message: &[u8], endpoint: Endpoint) -> Result<Answer, Failure> {
    Ok(match endpoint {
        Endpoint::Generate | Endpoint::GenerateStream => {
            let result: GeneratedTextResult = decode_answer(message)?;
            Answer::Text(Generated {
                text: result.generated_text,
                count: result.generated_tokens,
                reason: reason(result.finish_reason)?,
                producer: result.producer_id,
                input_count: Some(result.input_token_count),
                seed: told(result.seed),
                tokens: pieces(result.tokens),
                input_tokens: pieces(result.input_tokens),
            })
        }
        Endpoint::Embed => {
            let result: EmbeddingResult = decode_answer(message)?;
            let vector = floats(result.result.unwrap_or_default())?;
            Answer::Vectors(
                vec![vector],
                origin(result.producer_id, result.input_token_count),
            )
        }
        Endpoint::Embeds => {
            let result: EmbeddingResults = decode_answer(message)?;
            let vectors = result.results.unwrap_or_default().vectors;
            Answer::Vectors(
                vectors.into_iter().map(floats).collect::<Result<_, _>>()?,
                origin(result.producer_id, result.input_token_count),
            )
        }
        Endpoint::Similarity => {
            let result: SentenceSimilarityResult = decode_answer(message)?;
            Answer::Scores(
                result.result.into_iter().map(|it| it.scores).collect(),
                origin(result.producer_id, result.input_token_count),
            )
        }
        Endpoint::Similarities => {
            let result: SentenceSimilarityResults = decode_answer(message)?;
            Answer::Scores(
                result.results.into_iter().map(|it| it.scores).collect(),
                origin(result.producer_id, result.input_token_count),
            )
        }
        Endpoint::Rerank => {
            let result: RerankResult = decode_answer(message)?;
            Answer::Rankings(
                result.result.into_iter().map(ranking).collect(),
                origin(result.producer_id, result.input_token_count),
            )
        }
        Endpoint::Reranks => {
            let result: RerankResults = decode_answer(message)?;
            Answer::Rankings(
                result.results.into_iter().map(ranking).collect(),
                origin(result.producer_id, result.input_token_count),
            )
        }
        Endpoint::Tokenize => {
            let result: TokenizationResults = decode_answer(message)?;
            let results: Vec<_> = result
                .results
                .into_iter()
                .map(|token| (token.start, token.end, token.text))
                .collect();
            Answer::Tokens(Tokens {
                // A list that is empty beside a count was not given.
                results: (result.token_count == 0 || !results.is_empty()).then_some(results),
                count: result.token_count,
            })
        }
        Endpoint::Classify => {
            let result: ClassificationResults = decode_answer(message)?;
            let class = |class: ClassificationResult| (class.label, class.score);
            Answer::Classes(result.results.into_iter().map(class).collect())
        }
        Endpoint::ClassifyTokens => {
            let result: TokenClassificationResults = decode_answer(message)?;
            // What says nothing was not told: these have no presence.
            let part = |part: TokenClassificationResult| Entity {
                start: part.start,
                end: part.end,
                word: part.word,
                entity: part.entity,
                entity_group: Some(part.entity_group).filter(|group| !group.is_empty()),
                score: part.score,
                token_count: Some(part.token_count).filter(|count| *count != 0),
            };
            Answer::Entities(result.results.into_iter().map(part).collect())
        }
    })
}

/// A seed, where the worker told one: zero is nothing told.
fn told(seed: u64) -> Option<u64> {
    (seed != 0).then_some(seed)
}

fn origin(producer: Option<crate::proto::ProducerId>, input_tokens: i64) -> Origin {
    Origin {
        producer,
        input_tokens: Some(input_tokens),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "vectors are of single precision"
)]
fn floats(vector: Vector1D) -> Result<Vec<f32>, Failure> {
    let narrow = |values: Vec<f64>| values.iter().map(|value| *value as f32).collect();
    match vector.data {
        Some(Data::DataNpfloat32sequence(sequence)) => Ok(sequence.values),
        Some(Data::DataPyfloatsequence(sequence)) => Ok(narrow(sequence.values)),
        Some(Data::DataNpfloat64sequence(sequence)) => Ok(narrow(sequence.values)),
        None => Err(failure::upstream_invalid("the worker gave no vector")),
    }
}

fn ranking(scores: RerankScores) -> Ranking {
    let scored = |score: RerankScore| Scored {
        document: score
            .document
            .map(|object| Value::Object(structs::to_json(&object)).to_string()),
        index: score.index,
        score: score.score,
        text: Some(score.text).filter(|text| !text.is_empty()),
    };
    Ranking {
        query: Some(scores.query).filter(|query| !query.is_empty()),
        scores: scores.scores.into_iter().map(scored).collect(),
    }
}

/// What a message of a stream says.
///
/// # Errors
/// When it is another's, or none.
pub fn read_piece(message: &[u8]) -> Result<Generated, Failure> {
    let result: GeneratedTextStreamResult = decode_answer(message)?;
    let details = result.details.unwrap_or_default();
    Ok(Generated {
        text: result.generated_text,
        count: details.generated_tokens.into(),
        reason: reason(details.finish_reason)?,
        producer: result.producer_id,
        input_count: Some(details.input_token_count),
        seed: told(details.seed),
        tokens: pieces(result.tokens),
        input_tokens: pieces(result.input_tokens),
    })
}
