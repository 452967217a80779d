//! A proxy that counts by itself: buckets against a simple oracle, settlements, clocks that jump,
//! tenants and models apart.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;
use tollgate_limits::{
    Admission, Cost, Entry, Grant, Kind, Limiter, Meter, Pattern, Plan, Refusal, Rules,
    TenantLimits, Unit, Why, Window,
};

/// 2001-09-09, and settable.
#[derive(Clone)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_000_000_000_000_000)))
    }

    fn limiter(&self, limits: TenantLimits) -> Arc<Limiter> {
        Arc::new(self.alone(limits))
    }

    fn alone(&self, limits: TenantLimits) -> Limiter {
        let clock = self.0.clone();
        let rules = Rules {
            named: HashMap::new(),
            others: Some(Arc::new(limits)),
        };
        let now = move || clock.load(Ordering::Relaxed);
        Limiter::with_clock(rules, 1024, now)
    }

    fn pass(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap();
        self.0.fetch_add(micros, Ordering::Relaxed);
    }

    fn back(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap();
        self.0.fetch_sub(micros, Ordering::Relaxed);
    }
}

fn plan(meters: &[(Unit, Kind)]) -> Arc<Plan> {
    let meters = meters.iter().map(|(unit, kind)| Meter::new(*unit, *kind));
    Arc::new(Plan::new(meters.collect::<Result<_, _>>().unwrap()).unwrap())
}

fn rate(amount: u64, seconds: u64, burst: u64) -> Kind {
    let per = Duration::from_secs(seconds);
    Kind::Rate { amount, per, burst }
}

fn all(meters: &[(Unit, Kind)]) -> TenantLimits {
    TenantLimits {
        all: plan(meters),
        ..TenantLimits::default()
    }
}

fn ask(limiter: &Arc<Limiter>, tenant: &str, model: &str, tokens: u64) -> Result<Grant, Refusal> {
    let cost = Cost {
        input: tokens / 4,
        output: tokens - tokens / 4,
    };
    match limiter.admit(tenant, model, cost) {
        Admission::Decided(decided) => decided,
        Admission::Free | Admission::Asking(_) => panic!("it is decided here"),
    }
}

fn spend(limiter: &Arc<Limiter>, tokens: u64) -> bool {
    let granted = ask(limiter, "team", "m", tokens);
    granted.map(|mut grant| grant.sent()).is_ok()
}

/// Microseconds that pass, or less than none: the clock goes back; and tokens that are asked for, of
/// which so many are used.
fn steps() -> impl Strategy<Value = Vec<(i64, u64, u64)>> {
    let step = (-3_000_000..5_000_000i64, 0..60u64, 0..80u64);
    proptest::collection::vec(step, 1..200)
}

proptest! {
    /// The oracle keeps a list of what was charged and when it leaks; it is slow and says the same.
    #[test]
    fn a_bucket_grants_what_a_simple_one_grants(steps in steps()) {
        let clock = Clock::new();
        let limiter = clock.limiter(all(&[(Unit::Tokens, rate(7, 1, 50))]));
        // In units of a millionth of a token: 7 leak each microsecond.
        let (mut debt, scale) = (0i128, 1_000_000i128);
        for (passed, tokens, used) in steps {
            if passed >= 0 {
                clock.pass(Duration::from_micros(passed.unsigned_abs()));
                debt = (debt - i128::from(passed) * 7).max(0);
            } else {
                clock.back(Duration::from_micros(passed.unsigned_abs()));
            }
            let tokens_there = i128::from(tokens) * scale;
            // What needs nothing is granted to whoever owes.
            let fits = tokens == 0 || debt + tokens_there <= 50 * scale;
            // Doubles and whole numbers may differ in the last place.
            let close = (debt + tokens_there - 50 * scale).abs() <= 1;
            let granted = ask(&limiter, "team", "m", tokens);
            prop_assert!(granted.is_ok() == fits || close, "{debt} and {tokens}");
            if let Ok(mut grant) = granted {
                grant.sent();
                grant.used(Some(0), Some(used));
                drop(grant);
                debt += tokens_there;
                debt = (debt + (i128::from(used) - i128::from(tokens)) * scale).max(0);
            }
        }
    }

    /// From any beginning: no more than the burst and what has come back, used as it was believed.
    #[test]
    fn no_more_is_used_than_the_burst_and_the_rate(steps in steps()) {
        let clock = Clock::new();
        let limiter = clock.limiter(all(&[(Unit::Tokens, rate(7, 1, 50))]));
        let (mut used, mut passed) = (0, 0);
        for (time, tokens, _) in steps {
            let time = time.unsigned_abs();
            clock.pass(Duration::from_micros(time));
            passed += time;
            if spend(&limiter, tokens) {
                used += tokens;
            }
            prop_assert!(used as f64 <= 50.001 + passed as f64 * 7.0 / 1e6);
        }
    }
}

#[test]
fn a_call_is_counted_on_all_meters_or_on_none() {
    let clock = Clock::new();
    let limits = TenantLimits {
        all: plan(&[
            (Unit::Requests, rate(1, 60, 3)),
            (Unit::Tokens, rate(1, 60, 1000)),
        ]),
        models: vec![(
            Pattern::Begins("big".into()),
            plan(&[(Unit::Tokens, rate(1, 60, 100))]),
        )],
        concurrency: None,
    };
    let limiter = clock.limiter(limits);
    let model = |model, tokens| {
        let granted = ask(&limiter, "team", model, tokens);
        granted
            .map(|mut grant| grant.sent())
            .map_err(|refusal| (refusal.why, refusal.message))
    };
    let (why, message) = model("big-1", 101).unwrap_err();
    assert_eq!(why, Why::TooLarge);
    assert!(
        message.contains("for this model allows 100 at once"),
        "{message}"
    );
    assert!(model("big-1", 60).is_ok());
    assert_eq!(model("big-1", 60).unwrap_err().0, Why::Used);
    // Each model of a pattern has its own, and the refused ones cost no request.
    assert!(model("big-2", 60).is_ok());
    assert!(model("small", 600).is_ok());
    let (why, message) = model("small", 1).unwrap_err();
    assert_eq!(why, Why::Used);
    assert!(message.contains("1 requests in 60 s"), "{message}");
    // Another tenant has all of its own.
    assert!(ask(&limiter, "other", "big-1", 100).is_ok());
}

#[test]
fn settlements_say_what_was_used_as_far_as_it_is_known() {
    let clock = Clock::new();
    let meters = [
        (Unit::Requests, rate(1, 86_400, 100)),
        (Unit::Tokens, rate(1, 86_400, 1000)),
    ];
    type Story = fn(&mut Grant);
    // Of 25 tokens in and 75 out: what is told, and what is left of requests and tokens then.
    let stories: [(&str, Story, u64, u64); 9] = [
        ("never sent", |_| {}, 100, 1000),
        ("nothing known", |grant| grant.sent(), 99, 900),
        (
            "failed before any output",
            |grant| {
                grant.sent();
                grant.failed();
            },
            99,
            1000,
        ),
        (
            "failed at one worker, served by another",
            |grant| {
                grant.sent();
                grant.failed();
                grant.sent();
            },
            99,
            900,
        ),
        (
            "told, the last one counts",
            |grant| {
                grant.sent();
                grant.used(Some(20), Some(1));
                grant.used(None, Some(30));
            },
            99,
            950,
        ),
        (
            "only the output told",
            |grant| {
                grant.sent();
                grant.used(None, Some(5));
            },
            99,
            970,
        ),
        (
            "broken off in a stream",
            |grant| {
                grant.sent();
                grant.came(3);
                grant.came(4);
            },
            99,
            968,
        ),
        (
            "failed in a stream",
            |grant| {
                grant.sent();
                grant.came(3);
                grant.failed();
            },
            99,
            972,
        ),
        (
            "more than was believed",
            |grant| {
                grant.sent();
                grant.used(Some(500), Some(200));
            },
            99,
            300,
        ),
    ];
    for (name, story, requests, tokens) in stories {
        let limiter = clock.limiter(all(&meters));
        let mut grant = ask(&limiter, "team", "m", 100).unwrap();
        story(&mut grant);
        drop(grant);
        // A grant for nothing tells what is left.
        let fields = ask(&limiter, "team", "m", 0).unwrap().fields().left();
        let wanted = format!("\"requests\";r={};", requests - 1);
        assert!(fields.starts_with(&wanted), "{name}: {fields}");
        assert!(
            fields.contains(&format!("\"tokens\";r={tokens};")),
            "{name}: {fields}"
        );
    }
}

#[test]
fn a_quota_ends_with_its_window_and_a_clock_that_goes_back_opens_none() {
    let clock = Clock::new();
    let window = Window::Day;
    let limiter = clock.limiter(all(&[(
        Unit::Tokens,
        Kind::Quota {
            amount: 100,
            window,
        },
    )]));
    assert!(spend(&limiter, 100));
    let refusal = ask(&limiter, "team", "m", 1).unwrap_err();
    // The clock began 1:46:40 after midnight.
    assert_eq!(refusal.wait, Some(Duration::from_secs(86_400 - 6400)));
    clock.back(Duration::from_secs(86_400));
    assert!(!spend(&limiter, 1));
    clock.pass(Duration::from_secs(2 * 86_400));
    assert!(spend(&limiter, 100));
    assert!(!spend(&limiter, 1));
}

#[test]
fn a_change_of_limits_is_no_new_beginning() {
    let clock = Clock::new();
    let limits = |tokens, model| TenantLimits {
        all: plan(&[
            (
                Unit::Tokens,
                Kind::Quota {
                    amount: tokens,
                    window: Window::Day,
                },
            ),
            (Unit::Requests, rate(1, 86_400, 100)),
        ]),
        models: vec![(
            Pattern::Is("m".into()),
            plan(&[(Unit::Tokens, rate(1, 86_400, model))]),
        )],
        concurrency: None,
    };
    let before = clock.limiter(limits(1000, 100));
    assert!(spend(&before, 80));
    let after = Arc::new(clock.alone(limits(1000, 90)).after(&before));
    assert!(!spend(&after, 11), "ten are left to the model");
    assert!(spend(&after, 10));
    let narrow = Arc::new(clock.alone(limits(50, 500)).after(&after));
    assert!(!spend(&narrow, 1), "more than the day has is used");
    clock.pass(Duration::from_secs(86_400));
    assert!(spend(&narrow, 50));
    // Another tenant has used nothing.
    assert!(ask(&after, "other", "m", 90).is_ok());
}

#[test]
fn what_no_request_has_room_for_is_seen_before_and_costs_nothing() {
    let clock = Clock::new();
    let limiter = clock.limiter(all(&[(Unit::Requests, rate(1, 10, 2))]));
    for _ in 0..5 {
        assert!(limiter.peek("team").is_ok());
    }
    assert!(spend(&limiter, 1) && spend(&limiter, 1));
    let refusal = limiter.peek("team").unwrap_err();
    assert_eq!(refusal.wait, Some(Duration::from_secs(10)));
    assert!(limiter.peek("other").is_ok());
    clock.pass(Duration::from_secs(10));
    assert!(limiter.peek("team").is_ok());
    assert!(spend(&limiter, 1));
}

#[test]
fn requests_at_once_are_counted_by_tenant() {
    let limiter = Clock::new().limiter(TenantLimits {
        concurrency: Some(2),
        ..TenantLimits::default()
    });
    let enter = |tenant| match limiter.enter(tenant) {
        Entry::Decided(decided) => decided,
        Entry::Free | Entry::Asking(_) => panic!("it is decided here"),
    };
    let seats = [enter("a"), enter("a")];
    assert!(seats.iter().all(Result::is_ok));
    assert_eq!(enter("a").err().unwrap().why, Why::Concurrency);
    assert!(enter("b").is_ok());
    drop(seats);
    assert!(enter("a").is_ok());
    assert_eq!(limiter.seats(), (0, 0));
    assert!(matches!(
        limiter.admit("a", "m", Cost::default()),
        Admission::Free
    ));
}

#[test]
fn who_is_not_limited_costs_nothing() {
    let limiter = Arc::new(Limiter::new(Rules::default(), 16));
    assert!(matches!(
        limiter.admit("a", "m", Cost::default()),
        Admission::Free
    ));
    assert!(matches!(limiter.enter("a"), Entry::Free));
    assert!(limiter.peek("a").is_ok());
    assert_eq!(limiter.accounts(), 0);
}
