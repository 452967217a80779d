//! Small things that have a place in both models: reasons to stop, and tokens.

use tollgate_sdk_protocol::inference::{Detail, FinishReason as Neutral, Token};

use crate::{answer::Piece, proto::FinishReason};

/// A worker's reason in neutral words; none while it is not finished.
///
/// `limited` tells whether the caller named a limit: without one, what a worker calls
/// the request's limit is the worker's own.
pub fn finish_reason(reason: FinishReason, limited: bool) -> Option<Neutral> {
    Some(match reason {
        FinishReason::NotFinished => return None,
        FinishReason::MaxTokens if limited => Neutral::MaxTokens,
        FinishReason::MaxTokens | FinishReason::TokenLimit => Neutral::TokenLimit,
        FinishReason::EosToken => Neutral::EndOfSequence,
        FinishReason::Cancelled => Neutral::Cancelled,
        FinishReason::TimeLimit => Neutral::TimeLimit,
        FinishReason::StopSequence => Neutral::StopSequence,
        FinishReason::Error => Neutral::Error,
    })
}

/// A neutral reason in this protocol's words. None: the generation failed, which is told
/// by an error and not by a reason.
pub fn reason_of(reason: &Neutral) -> Option<FinishReason> {
    Some(match reason {
        // A tool call or a filter is the model's own end; there is no other word.
        Neutral::EndOfSequence | Neutral::ToolCalls | Neutral::ContentFilter => {
            FinishReason::EosToken
        }
        Neutral::StopSequence => FinishReason::StopSequence,
        Neutral::MaxTokens => FinishReason::MaxTokens,
        Neutral::TokenLimit => FinishReason::TokenLimit,
        Neutral::TimeLimit => FinishReason::TimeLimit,
        Neutral::Cancelled | Neutral::Other(_) => FinishReason::Cancelled,
        Neutral::Error => return None,
    })
}

/// A worker's token. What was not asked for is not there, whatever the number says.
pub fn token(piece: Piece, detail: &Detail) -> Token {
    let rank = piece.rank.and_then(|rank| u32::try_from(rank).ok());
    Token {
        text: piece.text,
        id: None,
        logprob: piece.logprob.filter(|_| detail.logprobs),
        rank: rank.filter(|_| detail.ranks),
        top: Vec::new(),
    }
}

/// A token for a client. A log probability that was asked for and is not known is not a
/// number: zero would say that the token was certain.
pub fn piece(token: Token, detail: &Detail) -> Piece {
    Piece {
        text: token.text,
        logprob: detail.logprobs.then(|| token.logprob.unwrap_or(f64::NAN)),
        rank: token.rank.filter(|_| detail.ranks).map(i64::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_both_models_have_come_back() {
        for number in 1..=6 {
            let reason = FinishReason::try_from(number).unwrap();
            let neutral = finish_reason(reason, true).unwrap();
            assert_eq!(reason_of(&neutral), Some(reason));
        }
        assert_eq!(finish_reason(FinishReason::NotFinished, true), None);
        assert_eq!(reason_of(&Neutral::Error), None);
    }

    #[test]
    fn a_limit_that_nobody_named_is_the_workers() {
        assert_eq!(
            finish_reason(FinishReason::MaxTokens, false),
            Some(Neutral::TokenLimit)
        );
    }
}
