//! A store for limits that several proxies share: Redis from 5 on, or Valkey, by two scripts.
//!
//! Each question is one call of a script, which Redis carries out by itself (atomically), by its own
//! clock: what the clocks of proxies say does not matter. It is called by its digest (`EVALSHA`); a
//! store that does not know it, since it was restarted or another one took its place, is told the text
//! (`EVAL`). Keys of one tenant carry its name as their hash tag, so that a cluster has them in one
//! place; moves between nodes are not followed. Each key has a life as long as it says something.

mod dial;
mod link;
mod resp;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;

use dial::Dialler;
use link::{Calls, Link};
use resp::{Reply, command};

pub use dial::{Place, PlaceError, Tls};
pub use link::Talk;

use crate::{
    levels::{Answer, Manner, Told, Verdict, micros},
    plan::Kind,
    store::{Ask, AskPlaces, Asked, Store, StoreError},
};

const DECIDE: &str = include_str!("decide.lua");
const PLACES: &str = include_str!("places.lua");

/// The store. Clones are the same one.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    prefix: String,
    /// This process, among those that share the store.
    me: String,
    link: Link,
}

/// Keeps the store's connection; to be run for as long as the store is asked.
pub struct Keeper {
    redis: Redis,
    dialler: Dialler,
    calls: Calls,
}

impl Keeper {
    /// For ever.
    pub async fn run(self) {
        self.redis.0.link.run(&self.dialler, self.calls).await;
    }
}

impl Redis {
    /// A store. All of its keys begin with `prefix` and `:`.
    ///
    /// # Errors
    /// When TLS cannot be set up, or a setting is out of its range.
    pub fn new(place: &Place, prefix: &str, talk: Talk) -> Result<(Self, Keeper), PlaceError> {
        if talk.pipeline == 0 || talk.failures == 0 {
            return Err(PlaceError::Setting("a pipeline and failures are 1 or more"));
        }
        if talk.timeout.is_zero() || talk.first_pause.is_zero() {
            return Err(PlaceError::Setting("a timeout and a pause take some time"));
        }
        let dialler = Dialler::new(place)?;
        let (link, calls) = Link::new(talk);
        let mut me = [0; 16];
        getrandom::fill(&mut me)
            .map_err(|_| PlaceError::Setting("the system gives no random numbers"))?;
        let redis = Self(Arc::new(Inner {
            prefix: prefix.to_owned(),
            me: hex::encode(me),
            link,
        }));
        let keeper = Keeper {
            redis: redis.clone(),
            dialler,
            calls,
        };
        Ok((redis, keeper))
    }

    /// Questions that are under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.link.in_flight()
    }
}

impl Store for Redis {
    fn is_there(&self) -> bool {
        self.0.link.is_there()
    }

    fn ask(&self, ask: Ask) -> Asked<Answer> {
        let inner = self.0.clone();
        async move { inner.decide(&ask, 0).await }.boxed()
    }

    fn places(&self, ask: AskPlaces) -> Asked<u32> {
        let inner = self.0.clone();
        async move { inner.places(&ask, 0).await }.boxed()
    }
}

impl Inner {
    /// Decides at a time, in microseconds of unix time; 0: the store's own.
    async fn decide(&self, ask: &Ask, now: u64) -> Result<Answer, StoreError> {
        let keys: Vec<_> = ask.accounts.iter().map(|name| self.key(name, "")).collect();
        let mut words = Vec::with_capacity(2 + 9 * ask.parts.len());
        words.push(now.to_string());
        words.push(match ask.manner {
            Manner::Request => "request".to_owned(),
            Manner::Settle => "settle".to_owned(),
        });
        for part in &ask.parts {
            let (kind, amount, per) = match part.meter.kind() {
                Kind::Rate { amount, per, .. } => ("rate", amount, micros(per)),
                Kind::Quota { amount, window } => (window.name(), amount, 0),
            };
            words.push((part.account + 1).to_string());
            words.push(part.meter.name().to_owned());
            words.push(kind.to_owned());
            words.push(part.meter.holds().to_string());
            words.push(amount.to_string());
            words.push(per.to_string());
            words.push(part.need.to_string());
            words.push(part.extra.to_string());
            words.push(part.window.to_string());
        }
        match self.script(0, DECIDE, &keys, &words).await? {
            Reply::Numbers(numbers) => answer(&numbers, ask.parts.len()),
            _ => Err(StoreError::Garbled("no list of numbers")),
        }
    }

    async fn places(&self, ask: &AskPlaces, now: u64) -> Result<u32, StoreError> {
        let words = [
            now.to_string(),
            self.me.clone(),
            ask.wanted.to_string(),
            ask.most.to_string(),
            micros(ask.life).to_string(),
        ];
        let keys = [self.key(&ask.account, ":places")];
        match self.script(1, PLACES, &keys, &words).await? {
            Reply::Number(given) => u32::try_from(given)
                .ok()
                .filter(|given| *given <= ask.wanted)
                .ok_or(StoreError::Garbled("more places than were wanted")),
            _ => Err(StoreError::Garbled("no number")),
        }
    }

    fn key(&self, account: &str, behind: &str) -> String {
        format!("{}:{account}{behind}", self.prefix)
    }

    /// Calls a script by its digest, and by its text where that is not known.
    async fn script(
        &self,
        which: usize,
        text: &str,
        keys: &[String],
        words: &[String],
    ) -> Result<Reply, StoreError> {
        let digest = self.link.script(which)?;
        let called = |name: &str, by: &str| {
            let count = keys.len().to_string();
            let mut all: Vec<&[u8]> = vec![name.as_bytes(), by.as_bytes(), count.as_bytes()];
            all.extend(keys.iter().map(String::as_bytes));
            all.extend(words.iter().map(String::as_bytes));
            command(&all)
        };
        let mut told = self.link.call(called("EVALSHA", digest)).await?;
        if matches!(&told, Reply::Error(what) if what.starts_with("NOSCRIPT")) {
            told = self.link.call(called("EVAL", text)).await?;
        }
        match told {
            Reply::Error(what) => Err(StoreError::Refused(what)),
            reply => Ok(reply),
        }
    }
}

/// Reads what the script gives.
fn answer(numbers: &[i64], parts: usize) -> Result<Answer, StoreError> {
    let garbled = StoreError::Garbled;
    let (verdict, told) = numbers
        .split_first_chunk::<3>()
        .ok_or(garbled("too few numbers"))?;
    if told.len() != 4 * parts {
        return Err(garbled("another number of parts"));
    }
    let count = |number: i64| u64::try_from(number).map_err(|_| garbled("less than nothing"));
    let verdict = match *verdict {
        [1, _, _] => Verdict::Granted,
        [0, part, wait] => Verdict::Denied {
            part: usize::try_from(part)
                .ok()
                .filter(|part| *part < parts)
                .ok_or(garbled("no such part"))?,
            wait: match wait {
                -1 => None,
                wait => Some(Duration::from_micros(count(wait)?)),
            },
        },
        _ => return Err(garbled("neither granted nor denied")),
    };
    let told = told
        .chunks_exact(4)
        .map(|part| {
            Ok(Told {
                extra: count(part[0])?,
                room: count(part[1])?,
                window: count(part[2])?,
                reset: Duration::from_micros(count(part[3])?),
            })
        })
        .collect::<Result<_, StoreError>>()?;
    Ok(Answer { verdict, told })
}
