//! A place among the requests of a tenant that may run at once.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::{account::Account, limiter::Refusal};

/// Whether a request may run.
pub enum Entry {
    /// The tenant's requests are not counted.
    Free,
    /// It was decided here.
    Decided(Result<Seat, Refusal>),
    /// The store decides.
    Asking(BoxFuture<'static, Result<Seat, Refusal>>),
}

/// The place; dropped, it is another's.
pub struct Seat(Arc<Account>);

impl Seat {
    /// Of a place that was entered.
    pub(crate) fn new(account: Arc<Account>) -> Self {
        Self(account)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.lock().places.leave();
    }
}
