//! A store that several proxies share: what it is asked, and how it may fail.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use crate::levels::{Answer, Manner, Part};

/// A question to the store: one decision.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Names of the accounts, as the store keys them: a tenant's, and that of one of its models.
    pub accounts: Vec<Arc<str>>,
    /// All meters of these accounts: what keeps an account in the store is as long as the longest of
    /// them needs.
    pub parts: Vec<Part>,
    /// Whether it may be refused.
    pub manner: Manner,
}

/// A question for places: requests of one tenant at once, over all proxies.
#[derive(Clone, Debug)]
pub struct AskPlaces {
    /// The tenant's name, as the store keys it.
    pub account: Arc<str>,
    /// Places that this proxy wants to have, those that it has included; 0 gives all of them back.
    pub wanted: u32,
    /// Places of all proxies together.
    pub most: u32,
    /// For so long they are this proxy's, unless it asks again.
    pub life: Duration,
}

/// The store did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no connection, and it is not the time to try.
    #[error("the store is away")]
    Away,
    /// Not in time. It may have counted, all the same.
    #[error("the store did not answer in time")]
    Timeout,
    /// It said that it cannot.
    #[error("the store refused: {0}")]
    Refused(String),
    /// What it said makes no sense.
    #[error("the store's answer makes no sense: {0}")]
    Garbled(&'static str),
    /// The connection broke.
    #[error("the connection to the store broke: {0}")]
    Broken(String),
}

impl StoreError {
    /// All labels.
    pub const LABELS: [&'static str; 5] = ["away", "timeout", "refused", "garbled", "broken"];

    /// Position of its label in [`StoreError::LABELS`].
    pub(crate) fn position(&self) -> usize {
        match self {
            Self::Away => 0,
            Self::Timeout => 1,
            Self::Refused(_) => 2,
            Self::Garbled(_) => 3,
            Self::Broken(_) => 4,
        }
    }
}

/// What a store says, in time or not at all.
pub type Asked<T> = BoxFuture<'static, Result<T, StoreError>>;

/// A store. Each question is one atomic decision, by the store's own clock.
pub trait Store: Send + Sync {
    /// Whether it can be asked now; if not, asking fails at once.
    fn is_there(&self) -> bool;

    /// Decides.
    fn ask(&self, ask: Ask) -> Asked<Answer>;

    /// Gives places: as many as this proxy may have from now on, all in all.
    fn places(&self, ask: AskPlaces) -> Asked<u32>;
}
