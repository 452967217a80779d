//! Small things that have a place in both models: reasons to stop, and tokens.

use tollgate_sdk_protocol::inference::{Alternative, Detail, FinishReason, Token};

use crate::fmaas::{StopReason, TokenInfo, token_info::TopToken};

/// A worker's reason in neutral words; none while it is not finished.
///
/// `limited` tells whether the caller named a limit: without one, what a worker calls
/// the request's limit is the worker's own.
pub fn finish_reason(reason: StopReason, limited: bool) -> Option<FinishReason> {
    Some(match reason {
        StopReason::NotFinished => return None,
        StopReason::MaxTokens if limited => FinishReason::MaxTokens,
        StopReason::MaxTokens | StopReason::TokenLimit => FinishReason::TokenLimit,
        StopReason::EosToken => FinishReason::EndOfSequence,
        StopReason::Cancelled => FinishReason::Cancelled,
        StopReason::TimeLimit => FinishReason::TimeLimit,
        StopReason::StopSequence => FinishReason::StopSequence,
        StopReason::Error => FinishReason::Error,
    })
}

/// A neutral reason in this protocol's words. None: the generation failed, which is told
/// by a status and not by a reason.
pub fn stop_reason(reason: &FinishReason, limited: bool) -> Option<StopReason> {
    Some(match reason {
        // A tool call or a filter is the model's own end; there is no other word.
        FinishReason::EndOfSequence | FinishReason::ToolCalls | FinishReason::ContentFilter => {
            StopReason::EosToken
        }
        FinishReason::StopSequence => StopReason::StopSequence,
        FinishReason::MaxTokens if limited => StopReason::MaxTokens,
        FinishReason::MaxTokens | FinishReason::TokenLimit => StopReason::TokenLimit,
        FinishReason::TimeLimit => StopReason::TimeLimit,
        FinishReason::Cancelled | FinishReason::Other(_) => StopReason::Cancelled,
        FinishReason::Error => return None,
    })
}

/// A worker's token. What was not asked for is not there, whatever the number says:
/// these numbers have no presence.
pub fn token(info: TokenInfo, detail: &Detail) -> Token {
    Token {
        text: info.text,
        id: None,
        // The first token of an input has none, which is written as NaN.
        logprob: (detail.logprobs && !info.logprob.is_nan()).then_some(info.logprob.into()),
        rank: (detail.ranks && info.rank != 0).then_some(info.rank),
        top: info
            .top_tokens
            .into_iter()
            .map(|top| Alternative {
                text: top.text,
                logprob: top.logprob.into(),
            })
            .collect(),
    }
}

/// A token for a client. A log probability that was asked for and is not known is NaN:
/// zero would say that the token was certain.
pub fn token_info(token: Token, detail: &Detail) -> TokenInfo {
    let top = token
        .top
        .into_iter()
        .take(if detail.top_n == 0 { 0 } else { usize::MAX });
    TokenInfo {
        text: token.text,
        logprob: match token.logprob {
            _ if !detail.logprobs => 0.0,
            Some(logprob) => narrow(logprob),
            None => f32::NAN,
        },
        rank: if detail.ranks {
            token.rank.unwrap_or(0)
        } else {
            0
        },
        top_tokens: top
            .map(|top| TopToken {
                text: top.text,
                logprob: narrow(top.logprob),
            })
            .collect(),
    }
}

/// The nearest single, which is all that these messages have room for.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is meant")]
pub fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_both_models_have_come_back() {
        for number in 1..=6 {
            let reason = StopReason::try_from(number).unwrap();
            let neutral = finish_reason(reason, true).unwrap();
            assert_eq!(stop_reason(&neutral, true), Some(reason));
        }
        assert_eq!(finish_reason(StopReason::NotFinished, true), None);
    }

    #[test]
    fn a_limit_that_nobody_named_is_the_servers() {
        assert_eq!(
            finish_reason(StopReason::MaxTokens, false),
            Some(FinishReason::TokenLimit)
        );
        assert_eq!(
            stop_reason(&FinishReason::MaxTokens, false),
            Some(StopReason::TokenLimit)
        );
    }

    #[test]
    fn an_error_is_no_reason() {
        assert_eq!(stop_reason(&FinishReason::Error, true), None);
        let unheard = FinishReason::Other("repetition".to_owned());
        assert_eq!(stop_reason(&unheard, true), Some(StopReason::Cancelled));
    }
}
