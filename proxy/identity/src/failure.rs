//! Why nobody is let in.

/// Why nobody is let in. The messages are for clients, and never repeat what they sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AuthFailure {
    /// Nothing came that could tell who asks.
    #[error("a token is needed: send `Authorization: Bearer <token>`")]
    Missing,
    /// Not exactly one `Authorization: Bearer <token>`.
    #[error("the Authorization header is malformed: send one `Authorization: Bearer <token>`")]
    Malformed,
    /// No such token, or one that nobody has signed who may.
    #[error("the token is not valid")]
    Unknown,
    /// It was valid once.
    #[error("the token has expired")]
    Expired,
    /// It will be valid.
    #[error("the token is not valid yet")]
    Early,
    /// It is good for something else than this.
    #[error("the token is for another audience")]
    Audience,
    /// The certificate that came was valid once.
    #[error("the client's certificate has expired")]
    Certificate,
    /// Who asks is known, and belongs to no tenant.
    #[error("who asks belongs to no tenant here")]
    Stranger,
    /// Who asks is known, and has no right to what is asked here.
    #[error("who asks has no right to this")]
    Forbidden,
    /// Who could tell is not there, or has too many questions already.
    #[error("it cannot be told now who asks; try again")]
    Away,
}

/// What kind of answer a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Who asks is not known: 401.
    Unauthenticated,
    /// Who asks is known, and may not: 403.
    Forbidden,
    /// Nobody knows for the moment: 503.
    Unavailable,
}

impl AuthFailure {
    /// Every one of them.
    pub const ALL: [Self; 10] = [
        Self::Missing,
        Self::Malformed,
        Self::Unknown,
        Self::Expired,
        Self::Early,
        Self::Audience,
        Self::Certificate,
        Self::Stranger,
        Self::Forbidden,
        Self::Away,
    ];

    /// Its metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Early => "early",
            Self::Audience => "audience",
            Self::Certificate => "certificate",
            Self::Stranger => "stranger",
            Self::Forbidden => "forbidden",
            Self::Away => "away",
        }
    }

    /// What kind of answer it is.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Missing
            | Self::Malformed
            | Self::Unknown
            | Self::Expired
            | Self::Early
            | Self::Audience
            | Self::Certificate => Class::Unauthenticated,
            Self::Stranger | Self::Forbidden => Class::Forbidden,
            Self::Away => Class::Unavailable,
        }
    }

    /// The code of RFC 6750, section 3.1, if a token came and was at fault: without a token, only
    /// what is wanted is said.
    #[must_use]
    pub fn code(self) -> Option<&'static str> {
        match self {
            Self::Missing | Self::Certificate | Self::Away => None,
            Self::Malformed => Some("invalid_request"),
            Self::Unknown | Self::Expired | Self::Early | Self::Audience => Some("invalid_token"),
            Self::Stranger | Self::Forbidden => Some("insufficient_scope"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unlike_each_other_and_messages_can_stand_in_a_header() {
        for (at, failure) in AuthFailure::ALL.into_iter().enumerate() {
            let rest = &AuthFailure::ALL[at + 1..];
            assert!(rest.iter().all(|other| other.label() != failure.label()));
            let message = failure.to_string();
            let quoted = |byte: u8| matches!(byte, b' '..=b'!' | b'#'..=b'[' | b']'..=b'~');
            assert!(message.bytes().all(quoted), "{message}");
        }
    }

    #[test]
    fn a_code_is_said_of_tokens_that_came() {
        assert_eq!(AuthFailure::Missing.code(), None);
        assert_eq!(AuthFailure::Expired.code(), Some("invalid_token"));
        assert_eq!(AuthFailure::Forbidden.class(), Class::Forbidden);
    }
}
