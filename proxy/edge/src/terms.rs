//! What can change of a listener while it serves: its limits, and its TLS. Not its socket.
//!
//! 1. [`Control::prepare`] reads certificates and keys, and changes nothing.
//! 2. [`Control::put`] has connections accepted on the new terms from then on. Those that are open
//!    keep the terms on which they were accepted.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tollgate_telemetry::Metrics;

use crate::drain::Drain;
use crate::places::Places;
use crate::spec::{ListenerLimits, TlsSpec};
use crate::tls::{CertificateError, Certificates, Serving};

/// On what a connection is accepted.
pub(crate) struct Terms {
    pub(crate) limits: ListenerLimits,
    pub(crate) tls: Option<Serving>,
}

/// New terms, and the certificates that are looked after from then on.
pub struct Prepared {
    terms: Terms,
    certificates: Option<Certificates>,
}

/// Changes a listener while it serves.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    current: ArcSwap<Terms>,
    places: Arc<Places>,
    /// Certificates that are to be looked after in the place of those before; none of them, where
    /// there is no TLS any more.
    fresh: Mutex<Option<Option<Certificates>>>,
    changed: Notify,
}

impl Control {
    pub(crate) fn new(prepared: Prepared) -> Self {
        let Prepared {
            terms,
            certificates,
        } = prepared;
        Self(Arc::new(Inner {
            places: Places::new(terms.limits.connections),
            current: ArcSwap::from_pointee(terms),
            fresh: Mutex::new(Some(certificates)),
            changed: Notify::new(),
        }))
    }

    /// Reads what new terms need.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub async fn prepare(
        limits: ListenerLimits,
        tls: Option<&TlsSpec>,
    ) -> Result<Prepared, CertificateError> {
        let certificates = match tls {
            Some(tls) => Some(Certificates::load(tls).await?),
            None => None,
        };
        Ok(Prepared {
            terms: Terms {
                limits,
                tls: certificates.as_ref().map(Certificates::serving),
            },
            certificates,
        })
    }

    /// From now on connections are accepted on these terms.
    pub fn put(&self, prepared: Prepared) {
        let Prepared {
            terms,
            certificates,
        } = prepared;
        self.0.places.resize(terms.limits.connections);
        self.0.current.store(Arc::new(terms));
        *self.0.fresh.lock() = Some(certificates);
        self.0.changed.notify_one();
    }

    pub(crate) fn terms(&self) -> arc_swap::Guard<Arc<Terms>> {
        self.0.current.load()
    }

    pub(crate) fn places(&self) -> &Arc<Places> {
        &self.0.places
    }

    /// Takes in certificates whose files change, until the drain begins.
    pub(crate) async fn look_after(
        self,
        listener: Arc<str>,
        metrics: Arc<Metrics>,
        mut drain: Drain,
    ) {
        let mut held: Option<Certificates> = None;
        loop {
            if let Some(fresh) = self.0.fresh.lock().take() {
                held = fresh;
            }
            let watched = async {
                match &mut held {
                    Some(certificates) => certificates.watch(&listener, &metrics).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = watched => {}
                () = self.0.changed.notified() => {}
                () = drain.started() => return,
            }
        }
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let terms = self.terms();
        f.debug_struct("Control")
            .field("limits", &terms.limits)
            .field("tls", &terms.tls.is_some())
            .finish_non_exhaustive()
    }
}
