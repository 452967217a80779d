//! The one question that every way of telling who asks answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::certificate::Certificate;
use crate::failure::AuthFailure;
use crate::identity::Identity;

/// What came with a request that may tell who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Presented<'a> {
    /// The only bearer token (RFC 6750).
    pub bearer: Option<&'a [u8]>,
    /// The certificate that the client has proven to hold.
    pub certificate: Option<&'a Certificate>,
}

/// Who asks; none where the credential is not of this way's kind, so that another may know it. A
/// failure is final: the credential is of this kind, and bad.
pub type Outcome = Result<Option<Arc<Identity>>, AuthFailure>;

/// An outcome, at once or after asking somebody else. Most are at once, and cost no future.
pub enum Verdict<'a> {
    /// Known here.
    Now(Outcome),
    /// Somebody has to be asked; bounded in time.
    Later(Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>),
}

/// A way of telling who asks.
pub trait Way: Send + Sync {
    /// Looks at what came.
    fn look<'a>(&'a self, presented: Presented<'a>) -> Verdict<'a>;
}

impl<'a> Verdict<'a> {
    /// The outcome of asking.
    pub fn later(asking: impl Future<Output = Outcome> + Send + 'a) -> Self {
        Self::Later(Box::pin(asking))
    }

    /// The outcome, whenever it comes.
    ///
    /// # Errors
    /// As the outcome has.
    pub async fn settled(self) -> Outcome {
        match self {
            Self::Now(outcome) => outcome,
            Self::Later(asking) => asking.await,
        }
    }
}
