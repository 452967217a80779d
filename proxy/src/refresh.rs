//! Tags of registries are looked up from time to time, where the configuration says so: what is new
//! is loaded as a changed file is.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tollgate_config::{Config, Reference, Source};

use crate::{
    keeper::{self, Subject, Wish},
    life::Running,
};

/// Looks up tags until it is dropped. Returns when there is none to look up.
pub(crate) async fn keep(running: Arc<Running>) {
    let mut tags: Vec<Tag> = tags(&running.assembled.config);
    while let Some(next) = tags.iter().map(|tag| tag.next).min() {
        tokio::time::sleep_until(next).await;
        let now = Instant::now();
        for tag in tags.iter_mut().filter(|tag| tag.next <= now) {
            tag.next = now + tag.period;
            if tag.look(&running).await {
                let _ = keeper::load(&running, tag.subject.clone(), Wish::Changed).await;
            }
        }
    }
}

/// A tag that is looked up, for one plugin or scheduler.
struct Tag {
    subject: Subject,
    reference: Reference,
    period: Duration,
    next: Instant,
    /// What it named when it was last looked up.
    named: Option<String>,
    /// The registry did not answer last time, which was said then.
    away: bool,
}

impl Tag {
    /// Whether it names something else than what was pulled last.
    async fn look(&mut self, running: &Arc<Running>) -> bool {
        let (supply, reference) = (running.clone(), self.reference.clone());
        let asked =
            tokio::task::spawn_blocking(move || supply.assembled.supply.named_now(&reference));
        let Ok(asked) = asked.await else { return false };
        match asked {
            Ok(named) => {
                self.away = false;
                // What did not load is not pulled again before the tag names something else.
                let before = self.named.replace(named.clone());
                let pulled = || running.assembled.supply.pulled(&self.reference);
                before.or_else(pulled).is_none_or(|before| before != named)
            }
            Err(error) => {
                if !self.away {
                    tracing::warn!(
                        subject = %self.subject, reference = %self.reference, %error,
                        "a tag is not looked up; what it named before stays"
                    );
                }
                self.away = true;
                false
            }
        }
    }
}

/// Plugins and schedulers that a tag names, which may name something else by now.
pub(crate) fn tagged(config: &Config) -> Vec<Subject> {
    let named = sources(config).filter(|(_, source, _)| match source {
        Source::Oci(reference) => reference.digest().is_none(),
        Source::Bundled(_) | Source::File(_) => false,
    });
    named.map(|(subject, ..)| subject).collect()
}

/// The tags of a configuration that are looked up.
fn tags(config: &Config) -> Vec<Tag> {
    let tags = sources(config).filter_map(|(subject, source, period)| {
        let (Source::Oci(reference), Some(period)) = (source, period) else {
            return None;
        };
        Some(Tag {
            subject,
            reference: reference.clone(),
            period,
            next: Instant::now() + period,
            named: None,
            away: false,
        })
    });
    tags.collect()
}

/// Where each comes from, and how often that is looked up.
fn sources(config: &Config) -> impl Iterator<Item = (Subject, &Source, Option<Duration>)> {
    let plugins = config.plugins.iter().map(|(name, it)| {
        let subject = Subject::Plugin(name.to_string());
        (subject, &it.source, it.refresh.map(|period| period.get()))
    });
    let schedulers = config.schedulers.iter().map(|(name, it)| {
        let subject = Subject::Scheduler(name.to_string());
        (subject, &it.source, it.refresh.map(|period| period.get()))
    });
    plugins.chain(schedulers)
}
