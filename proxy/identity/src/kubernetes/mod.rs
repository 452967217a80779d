//! Tokens that a cluster's API is asked about: whose one is, and whether its holder has a right.
//!
//! 1. A token is given to the API in a `TokenReview`, with the audiences that it has to be for. What
//!    is not the cluster's is left to other ways.
//! 2. Who it is belongs to a tenant by its user's name or groups.
//! 3. Where a route names a right, the API is asked in a `SubjectAccessReview` whether this user
//!    has it. No is 403.
//! 4. Both answers are kept by the token's SHA-256: good ones for one time, bad ones for another,
//!    and that the API is away for a second. Many who come with one token wait for one answer.
//! 5. Whatever goes wrong (no answer, a late one, one that is not understood), nobody is let in.
//!
//! A right that is taken away is gone when its answer is forgotten; a token that is revoked, too.

mod api;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::clock::Clock;
use crate::failure::AuthFailure;
use crate::identity::{Grant, Identity};
use crate::jwt::expiry;
use crate::parts::Parts;
use crate::site::Site;
use crate::tenant::Tenant;
use crate::way::{Outcome, Presented, Verdict, Way};
pub use api::Access;
use api::{Api, ApiError, User};

/// How a cluster is asked.
#[derive(Debug)]
pub struct KubernetesSpec {
    /// Its name in the configuration, for the log.
    pub name: String,
    /// Its API server.
    pub site: Site,
    /// File of our own token, read again when it is older than ten seconds.
    pub token: std::path::PathBuf,
    /// Audiences, one of which a token has to be for. None: the API server's own.
    pub audiences: Vec<String>,
    /// For one answer of the API.
    pub timeout: Duration,
    /// How long good answers are kept.
    pub life: Duration,
    /// How long bad ones are.
    pub denied_life: Duration,
    /// Answers of each kind that are kept.
    pub remembered: usize,
    /// Requests that may wait for the API.
    pub waiting: usize,
    /// Whose users are.
    pub users: Vec<UserRule>,
    /// Whose they are of whom no rule says anything.
    pub tenant: Option<Arc<Tenant>>,
}

/// Users of that name, or of that group, belong to that tenant.
#[derive(Clone, Debug)]
pub struct UserRule {
    /// What the user's name has to be.
    pub user: Option<Parts>,
    /// What one of its groups has to be.
    pub group: Option<Parts>,
    /// Whose it is.
    pub tenant: Arc<Tenant>,
}

/// A cluster, and what it has answered.
pub struct Kubernetes {
    name: String,
    api: Api,
    timeout: Duration,
    life: Duration,
    denied_life: Duration,
    users: Vec<UserRule>,
    tenant: Option<Arc<Tenant>>,
    reviews: Cache<[u8; 32], Kept<Reviewed>>,
    /// By token and by right, each by its SHA-256.
    rights: Cache<([u8; 32], [u8; 32]), Kept<Right>>,
    waiting: Semaphore,
    most_waiting: usize,
    /// When it was last said that the API does not answer.
    complained: Mutex<Option<Instant>>,
    clock: Clock,
}

/// Tells who asks on a route by a cluster.
pub struct KubernetesWay {
    cluster: Arc<Kubernetes>,
    /// The right that is needed there, and its SHA-256. What is remembered of it is remembered of what
    /// it says, and of nothing that another configuration could give to another right.
    right: Option<([u8; 32], Access)>,
}

/// An answer, and until when it is one.
#[derive(Clone)]
struct Kept<T> {
    answer: T,
    until: Instant,
}

/// What the API says of a token.
#[derive(Clone)]
enum Reviewed {
    /// It is this user's, who belongs to a tenant.
    User(Arc<User>, Arc<Identity>),
    /// It is somebody's who belongs to none.
    Stranger,
    /// It is not the cluster's.
    Nobody,
    /// The API has not answered.
    Away,
}

/// What the API says of a right.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Right {
    Has,
    HasNot,
    Away,
}

/// For how long nobody asks again what the API has not answered.
const AWAY: Duration = Duration::from_secs(1);
/// How often it is said that the API does not answer: requests ask for it again and again.
const COMPLAINTS: Duration = Duration::from_secs(30);

impl<T: Clone> Kept<T> {
    fn fresh(&self) -> Option<T> {
        (Instant::now() < self.until).then(|| self.answer.clone())
    }
}

impl Kubernetes {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(spec: KubernetesSpec, clock: Clock) -> Self {
        let remembered = spec.remembered.max(1);
        Self {
            api: Api::new(spec.site, spec.token, spec.audiences, spec.timeout),
            name: spec.name,
            timeout: spec.timeout,
            life: spec.life,
            denied_life: spec.denied_life,
            users: spec.users,
            tenant: spec.tenant,
            reviews: Cache::new(remembered),
            rights: Cache::new(remembered),
            waiting: Semaphore::new(spec.waiting),
            most_waiting: spec.waiting,
            complained: Mutex::default(),
            clock,
        }
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Answers that are kept, about tokens and about rights.
    #[must_use]
    pub fn remembered(&self) -> (usize, usize) {
        (self.reviews.len(), self.rights.len())
    }

    /// Requests that wait for the API; at most as many as the specification says.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.most_waiting - self.waiting.available_permits()
    }

    /// Questions that the API was asked, and those that it has not answered.
    #[must_use]
    pub fn asked(&self) -> (u64, u64) {
        self.api.asked()
    }

    /// What is known of a token.
    async fn review(&self, digest: &[u8; 32], token: &str) -> Reviewed {
        loop {
            let guard = match self.reviews.get_value_or_guard_async(digest).await {
                Ok(kept) => match kept.fresh() {
                    Some(answer) => return answer,
                    None => {
                        self.reviews
                            .remove_if(digest, |kept| kept.fresh().is_none());
                        continue;
                    }
                },
                Err(guard) => guard,
            };
            let answer = match self.api.review(token).await {
                Ok(Some(user)) => self.reviewed(user),
                Ok(None) => Reviewed::Nobody,
                Err(error) => {
                    self.complain("a token", &error);
                    Reviewed::Away
                }
            };
            let life = match &answer {
                Reviewed::User(..) => self.life_of(token),
                Reviewed::Stranger | Reviewed::Nobody => self.denied_life,
                Reviewed::Away => AWAY,
            };
            let kept = Kept {
                answer: answer.clone(),
                until: Instant::now() + life,
            };
            // Where it has been taken out meanwhile, the next one asks again.
            let _ = guard.insert(kept);
            return answer;
        }
    }

    /// A good answer is not kept for longer than the token says to be good.
    fn life_of(&self, token: &str) -> Duration {
        let left = expiry(token.as_bytes()).map(|exp| exp.saturating_sub(self.clock.now()));
        left.map_or(self.life, |left| self.life.min(Duration::from_secs(left)))
    }

    fn reviewed(&self, user: User) -> Reviewed {
        let fits = |rule: &&UserRule| {
            let user_fits = rule
                .user
                .as_ref()
                .is_none_or(|it| it.matches(&user.username));
            let mut groups = user.groups.iter();
            let group = rule.group.as_ref();
            user_fits && group.is_none_or(|it| groups.any(|group| it.matches(group)))
        };
        let rule = self.users.iter().find(fits);
        let tenant = rule.map(|rule| rule.tenant.clone());
        let Some(tenant) = tenant.or_else(|| self.tenant.clone()) else {
            return Reviewed::Stranger;
        };
        let grant = Grant {
            name: user.username.clone(),
            ..Grant::default()
        };
        Reviewed::User(Arc::new(user), Arc::new(Identity::new(tenant, grant)))
    }

    /// Whether a token's user has a right.
    async fn right(&self, key: ([u8; 32], [u8; 32]), user: &User, access: &Access) -> Right {
        loop {
            let guard = match self.rights.get_value_or_guard_async(&key).await {
                Ok(kept) => match kept.fresh() {
                    Some(answer) => return answer,
                    None => {
                        self.rights.remove_if(&key, |kept| kept.fresh().is_none());
                        continue;
                    }
                },
                Err(guard) => guard,
            };
            let answer = match self.api.has_right(user, access).await {
                Ok(true) => Right::Has,
                Ok(false) => Right::HasNot,
                Err(error) => {
                    self.complain("a right", &error);
                    Right::Away
                }
            };
            let life = match answer {
                Right::Has => self.life,
                Right::HasNot => self.denied_life,
                Right::Away => AWAY,
            };
            let until = Instant::now() + life;
            let _ = guard.insert(Kept { answer, until });
            return answer;
        }
    }

    fn complain(&self, what: &str, error: &ApiError) {
        // Who finds it locked need not say it too.
        let Ok(mut last) = self.complained.try_lock() else {
            return;
        };
        if !is_due(&mut last, Instant::now()) {
            return;
        }
        drop(last);
        let cluster = self.name.as_str();
        tracing::warn!(cluster, what, %error, "a cluster's API did not answer; nobody is let in");
    }
}

/// Whether something is to be said that was last said at that time.
fn is_due(last: &mut Option<Instant>, now: Instant) -> bool {
    let due = last.is_none_or(|last| now.duration_since(last) >= COMPLAINTS);
    if due {
        *last = Some(now);
    }
    due
}

impl KubernetesWay {
    /// For a route; `right`: what it needs.
    #[must_use]
    pub fn new(cluster: Arc<Kubernetes>, right: Option<Access>) -> Self {
        let right = right.map(|access| (access.digest(), access));
        Self { cluster, right }
    }

    /// What is known without asking.
    fn known(&self, digest: &[u8; 32]) -> Option<Outcome> {
        let kept = self.cluster.reviews.get(digest)?;
        let identity = match kept.fresh()? {
            Reviewed::User(_, identity) => identity,
            Reviewed::Stranger => return Some(Err(AuthFailure::Stranger)),
            Reviewed::Nobody => return Some(Ok(None)),
            Reviewed::Away => return Some(Err(AuthFailure::Away)),
        };
        let Some((right, _)) = &self.right else {
            return Some(Ok(Some(identity)));
        };
        let kept = self.cluster.rights.get(&(*digest, *right))?;
        Some(settled(kept.fresh()?, identity))
    }

    /// What the API says.
    async fn ask(&self, digest: [u8; 32], token: &str) -> Outcome {
        let (user, identity) = match self.cluster.review(&digest, token).await {
            Reviewed::User(user, identity) => (user, identity),
            Reviewed::Stranger => return Err(AuthFailure::Stranger),
            Reviewed::Nobody => return Ok(None),
            Reviewed::Away => return Err(AuthFailure::Away),
        };
        match &self.right {
            None => Ok(Some(identity)),
            Some((right, access)) => {
                let right = self.cluster.right((digest, *right), &user, access).await;
                settled(right, identity)
            }
        }
    }
}

fn settled(right: Right, identity: Arc<Identity>) -> Outcome {
    match right {
        Right::Has => Ok(Some(identity)),
        Right::HasNot => Err(AuthFailure::Forbidden),
        Right::Away => Err(AuthFailure::Away),
    }
}

impl Way for KubernetesWay {
    fn look<'a>(&'a self, presented: Presented<'a>) -> Verdict<'a> {
        let Some(bearer) = presented.bearer else {
            return Verdict::Now(Ok(None));
        };
        let digest: [u8; 32] = Sha256::digest(bearer).into();
        if let Some(outcome) = self.known(&digest) {
            return Verdict::Now(outcome);
        }
        let Ok(token) = std::str::from_utf8(bearer) else {
            return Verdict::Now(Ok(None));
        };
        Verdict::later(async move {
            let Ok(_waiting) = self.cluster.waiting.try_acquire() else {
                return Err(AuthFailure::Away);
            };
            // Both questions, each within its own time; and somebody else's before ours.
            let longest = self.cluster.timeout.saturating_mul(4);
            let asked = timeout(longest, self.ask(digest, token)).await;
            asked.unwrap_or(Err(AuthFailure::Away))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_that_is_away_is_complained_of_now_and_then() {
        let (mut last, first) = (None, Instant::now());
        let said = (0..90).filter(|&second| {
            let now = first + Duration::from_secs(second);
            (0..100).filter(|_| is_due(&mut last, now)).count() > 0
        });
        assert_eq!(said.count(), 3);
    }
}
