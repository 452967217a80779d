//! Several limiters over one store, without a network: the store decides as the script does, by the
//! same arithmetic, and by tokio's clock, which is paused.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};
use tollgate_limits::{
    Admission, Answer, Ask, AskPlaces, Asked, Away, Cost, Entry, Grant, Kind, Level, Limiter,
    Meter, Plan, Refusal, Rules, Sharing, Store, StoreError, TenantLimits, Unit, Verdict, Why,
    Window, decide,
};

/// What the store holds of an account: a level a meter.
type Levels = HashMap<(Arc<str>, &'static str), Level>;

struct Counting {
    levels: Mutex<Levels>,
    origin: Instant,
    there: AtomicBool,
    questions: AtomicU64,
    slow: Duration,
}

impl Counting {
    fn new(slow: Duration) -> Arc<Self> {
        Arc::new(Self {
            levels: Mutex::default(),
            origin: Instant::now(),
            there: AtomicBool::new(true),
            questions: AtomicU64::new(0),
            slow,
        })
    }

    fn decide(&self, ask: &Ask) -> Answer {
        let mut all = self.levels.lock().unwrap();
        let key =
            |part: &tollgate_limits::Part| (ask.accounts[part.account].clone(), part.meter.name());
        let kept = ask.parts.iter().map(|part| all.get(&key(part)).copied());
        let mut levels: Vec<Level> = kept.map(Option::unwrap_or_default).collect();
        let mut each: Vec<&mut Level> = levels.iter_mut().collect();
        // The fifth of a month: quotas do not end in these tests.
        let now = 400_000_000_000 + u64::try_from(self.origin.elapsed().as_micros()).unwrap();
        let answer = decide(&mut each, &ask.parts, ask.manner, now);
        for (part, level) in ask.parts.iter().zip(levels) {
            all.insert(key(part), level);
        }
        answer
    }
}

/// The store as one of the proxies has it.
struct Held(Arc<Counting>);

impl Store for Held {
    fn is_there(&self) -> bool {
        self.0.there.load(Ordering::Relaxed)
    }

    fn ask(&self, ask: Ask) -> Asked<Answer> {
        let store = self.0.clone();
        async move {
            store.questions.fetch_add(1, Ordering::Relaxed);
            sleep(store.slow).await;
            match store.there.load(Ordering::Relaxed) {
                true => Ok(store.decide(&ask)),
                false => Err(StoreError::Timeout),
            }
        }
        .boxed()
    }

    fn places(&self, ask: AskPlaces) -> Asked<u32> {
        async move { Ok(ask.wanted) }.boxed()
    }
}

fn meter(unit: Unit, kind: Kind) -> Meter {
    Meter::new(unit, kind).unwrap()
}

/// So slow that nothing comes back in a test.
fn bucket(burst: u64) -> Meter {
    let per = Duration::from_secs(86_400);
    meter(
        Unit::Tokens,
        Kind::Rate {
            amount: 1,
            per,
            burst,
        },
    )
}

fn rules(meters: Vec<Meter>) -> Rules {
    let all = Arc::new(Plan::new(meters).unwrap());
    Rules {
        named: HashMap::new(),
        others: Some(Arc::new(TenantLimits {
            all,
            ..TenantLimits::default()
        })),
    }
}

fn limiter(store: &Arc<Counting>, meters: Vec<Meter>, away: Away, lease: u64) -> Arc<Limiter> {
    let sharing = Sharing {
        away,
        lease,
        life: Duration::from_secs(1),
    };
    let limiter = Limiter::new(rules(meters), 64);
    let limiter = Arc::new(limiter.sharing(Arc::new(Held(store.clone())), sharing));
    let keeping = limiter.clone();
    tokio::spawn(async move { keeping.keep().await });
    limiter
}

async fn ask(limiter: &Arc<Limiter>, tokens: u64) -> Result<Grant, Refusal> {
    let cost = Cost {
        input: 0,
        output: tokens,
    };
    match limiter.admit("team", "m", cost) {
        Admission::Free => panic!("it is limited"),
        Admission::Decided(decided) => decided,
        Admission::Asking(asking) => asking.await,
    }
}

/// Used in whole.
fn spend(mut grant: Grant) {
    grant.sent();
}

fn outcome(limiter: &Limiter, label: &str) -> u64 {
    let mut all = limiter.figures().decisions();
    all.find(|(known, _)| *known == label).unwrap().1
}

#[tokio::test(start_paused = true)]
async fn proxies_together_never_grant_more_than_the_limit() {
    for lease in [0, 5, 50] {
        let store = Counting::new(Duration::from_millis(1));
        let proxies: Vec<_> = (0..4)
            .map(|_| limiter(&store, vec![bucket(1000)], Away::Deny, lease))
            .collect();
        let mut tasks = tokio::task::JoinSet::new();
        for at in 0..400 {
            let proxy = proxies[at % 4].clone();
            tasks.spawn(async move {
                sleep(Duration::from_millis(at as u64 / 10)).await;
                let granted = ask(&proxy, 7).await;
                granted.map(spend).is_ok()
            });
        }
        let granted = tasks.join_all().await.into_iter().filter(|it| *it).count() as u64;
        assert!(
            granted * 7 <= 1000,
            "{granted} × 7 tokens with leases of {lease} %"
        );
        // What is held in leases comes back, and is granted then.
        let mut after = granted;
        for _ in 0..60 {
            sleep(Duration::from_secs(2)).await;
            for proxy in &proxies {
                if let Ok(grant) = ask(proxy, 7).await {
                    spend(grant);
                    after += 1;
                }
            }
        }
        assert_eq!(after, 1000 / 7, "with leases of {lease} %");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_saves_questions_and_goes_back_when_it_is_not_used() {
    let store = Counting::new(Duration::ZERO);
    let proxy = limiter(&store, vec![bucket(100_000)], Away::Deny, 5);
    for _ in 0..1000 {
        spend(ask(&proxy, 10).await.unwrap());
    }
    let questions = store.questions.load(Ordering::Relaxed);
    assert!(questions <= 10, "{questions} questions");
    assert!(outcome(&proxy, "here") >= 990);
    let [_, (_, leased)] = proxy.leased();
    assert!(leased > 0 && leased <= 5000, "{leased}");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(proxy.leased()[1].1, 0);
    let answer = store.decide(&Ask {
        accounts: vec!["{team}".into()],
        parts: vec![tollgate_limits::Part {
            account: 0,
            meter: bucket(100_000),
            need: 90_000,
            extra: 0,
            window: 0,
        }],
        manner: tollgate_limits::Manner::Request,
    });
    assert_eq!(
        answer.verdict,
        Verdict::Granted,
        "all but what was used is there"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_reserved_and_not_used_comes_back_to_all() {
    let store = Counting::new(Duration::ZERO);
    let proxies: Vec<_> = (0..2)
        .map(|_| limiter(&store, vec![bucket(1000)], Away::Deny, 5))
        .collect();
    let mut grant = ask(&proxies[0], 900).await.unwrap();
    assert_eq!(ask(&proxies[1], 200).await.unwrap_err().why, Why::Used);
    grant.sent();
    grant.used(Some(30), Some(70));
    drop(grant);
    // Remembered refusals and leases end, and the surplus is given back.
    sleep(Duration::from_secs(3)).await;
    spend(ask(&proxies[1], 900).await.unwrap());
    assert_eq!(ask(&proxies[0], 1).await.unwrap_err().why, Why::Used);
    let settled = proxies[0].figures().settlements();
    assert_eq!(settled[0], ("returned", 800));
}

#[tokio::test(start_paused = true)]
async fn what_was_used_beyond_is_charged_and_the_next_wait_for_it() {
    let store = Counting::new(Duration::ZERO);
    let proxies: Vec<_> = (0..2)
        .map(|_| limiter(&store, vec![bucket(1000)], Away::Deny, 5))
        .collect();
    let mut grant = ask(&proxies[0], 100).await.unwrap();
    grant.sent();
    grant.used(Some(0), Some(990));
    drop(grant);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(ask(&proxies[1], 11).await.unwrap_err().why, Why::Used);
    spend(ask(&proxies[1], 10).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn refusals_are_remembered_and_cost_no_question() {
    let store = Counting::new(Duration::ZERO);
    let proxy = limiter(&store, vec![bucket(10)], Away::Deny, 0);
    spend(ask(&proxy, 10).await.unwrap());
    for _ in 0..100 {
        let refusal = ask(&proxy, 5).await.unwrap_err();
        assert!(refusal.wait.is_some());
    }
    assert_eq!(store.questions.load(Ordering::Relaxed), 2);
    assert_eq!(outcome(&proxy, "blocked"), 99);
    let never = ask(&proxy, 11).await.unwrap_err();
    assert_eq!(
        (never.why, never.wait.is_some()),
        (Why::Used, true),
        "by what is remembered"
    );
    sleep(Duration::from_secs(2)).await;
    let never = ask(&proxy, 11).await.unwrap_err();
    assert_eq!((never.why, never.wait), (Why::TooLarge, None));
}

#[tokio::test(start_paused = true)]
async fn whoever_is_refused_is_told_when_there_is_room() {
    // A token comes back a minute.
    let minutes = || {
        let per = Duration::from_secs(60);
        let (amount, burst) = (1, 10);
        let kind = Kind::Rate { amount, per, burst };
        meter(Unit::Tokens, kind)
    };
    let store = Counting::new(Duration::ZERO);
    let proxy = limiter(&store, vec![minutes()], Away::Deny, 0);
    spend(ask(&proxy, 10).await.unwrap());
    let tell = async |passed: u64| {
        let wait = ask(&proxy, 5).await.unwrap_err().wait.unwrap();
        let wanted = 300_000 - passed;
        let told = u64::try_from(wait.as_millis()).unwrap();
        assert!(told.abs_diff(wanted) < 100, "{told} after {passed} ms");
    };
    // By the store, by what is remembered of it, and by the store again.
    tell(0).await;
    tell(0).await;
    sleep(Duration::from_millis(500)).await;
    tell(500).await;
    assert_eq!(outcome(&proxy, "blocked"), 2);
    sleep(Duration::from_millis(1500)).await;
    tell(2000).await;
    assert_eq!(store.questions.load(Ordering::Relaxed), 3);

    // Without the store, by the share of it that is counted here.
    let store = Counting::new(Duration::ZERO);
    let proxy = limiter(&store, vec![minutes()], Away::Local { percent: 50 }, 0);
    store.there.store(false, Ordering::Relaxed);
    spend(ask(&proxy, 5).await.unwrap());
    let wait = ask(&proxy, 5).await.unwrap_err().wait.unwrap();
    assert!(wait > Duration::from_secs(290), "{wait:?}");
}

#[tokio::test(start_paused = true)]
async fn each_policy_holds_while_the_store_is_away_and_ends_when_it_is_back() {
    let window = Window::Month;
    let quota = meter(
        Unit::Tokens,
        Kind::Quota {
            amount: 1000,
            window,
        },
    );
    for (away, granted) in [
        (Away::Deny, 0),
        (Away::Allow, 50),
        (Away::Local { percent: 10 }, 10),
    ] {
        let store = Counting::new(Duration::ZERO);
        let proxy = limiter(&store, vec![bucket(1000), quota], away, 0);
        spend(ask(&proxy, 10).await.unwrap());
        store.there.store(false, Ordering::Relaxed);
        let mut count = 0;
        for _ in 0..50 {
            match ask(&proxy, 10).await {
                Ok(grant) => {
                    spend(grant);
                    count += 1;
                }
                Err(refusal) if away == Away::Deny => assert_eq!(refusal.why, Why::Away),
                Err(refusal) => assert_eq!(refusal.why, Why::Used),
            }
        }
        assert_eq!(count, granted, "{away:?}");
        store.there.store(true, Ordering::Relaxed);
        sleep(Duration::from_secs(2)).await;
        // The quota was told of what was granted meanwhile.
        let left = 990 - 10 * granted;
        assert!(ask(&proxy, left + 1).await.is_err(), "{away:?}");
        sleep(Duration::from_secs(2)).await;
        spend(ask(&proxy, left).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_away_during_a_question_is_away() {
    let store = Counting::new(Duration::from_millis(10));
    let proxy = limiter(&store, vec![bucket(1000)], Away::Deny, 0);
    let there = store.clone();
    tokio::spawn(async move {
        sleep(Duration::from_millis(5)).await;
        there.there.store(false, Ordering::Relaxed);
    });
    assert_eq!(ask(&proxy, 10).await.unwrap_err().why, Why::Away);
    let errors: Vec<_> = proxy.figures().errors().filter(|(_, n)| *n > 0).collect();
    assert_eq!(errors, [("timeout", 1)]);
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_during_a_question_leaves_nothing_behind() {
    let store = Counting::new(Duration::from_millis(10));
    let proxy = limiter(&store, vec![bucket(1000)], Away::Deny, 10);
    // Two, so that there is a lease.
    spend(ask(&proxy, 10).await.unwrap());
    spend(ask(&proxy, 10).await.unwrap());
    let leased = proxy.leased()[1].1;
    assert!(leased > 0);
    let cost = Cost {
        input: 0,
        output: 500,
    };
    let Admission::Asking(asking) = proxy.admit("team", "m", cost) else {
        panic!("a lease is smaller");
    };
    drop(asking);
    assert_eq!(proxy.leased()[1].1, leased);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_everything_is_given_back() {
    let store = Counting::new(Duration::ZERO);
    let proxy = limiter(&store, vec![bucket(1000)], Away::Deny, 10);
    for _ in 0..5 {
        spend(ask(&proxy, 10).await.unwrap());
    }
    assert!(proxy.leased()[1].1 > 0);
    proxy.close().await;
    assert_eq!(proxy.leased()[1].1, 0);
    let other = limiter(&store, vec![bucket(1000)], Away::Deny, 0);
    spend(ask(&other, 950).await.unwrap());
    assert!(ask(&other, 1).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn requests_at_once_are_entered_by_what_the_store_gives() {
    let store = Counting::new(Duration::ZERO);
    let rules = Rules {
        named: HashMap::new(),
        others: Some(Arc::new(TenantLimits {
            concurrency: Some(3),
            ..TenantLimits::default()
        })),
    };
    let sharing = Sharing {
        away: Away::Local { percent: 34 },
        lease: 0,
        life: Duration::from_secs(1),
    };
    let limiter = Limiter::new(rules, 64).sharing(Arc::new(Held(store.clone())), sharing);
    let limiter = Arc::new(limiter);
    let enter = async || match limiter.enter("team") {
        Entry::Free => panic!("it is limited"),
        Entry::Decided(decided) => decided,
        Entry::Asking(asking) => asking.await,
    };
    let mut seats = Vec::new();
    for _ in 0..3 {
        seats.push(enter().await.map_err(|refusal| refusal.why).unwrap());
    }
    assert_eq!(limiter.seats(), (3, 3));
    assert_eq!(enter().await.err().unwrap().why, Why::Concurrency);
    seats.clear();
    store.there.store(false, Ordering::Relaxed);
    // Those that the store has given are there for their time.
    sleep(Duration::from_secs(11)).await;
    let one = enter().await;
    assert!(one.is_ok());
    assert_eq!(
        enter().await.err().unwrap().why,
        Why::Concurrency,
        "a third of three"
    );
}
