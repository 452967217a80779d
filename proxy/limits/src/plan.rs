//! What is limited: meters, and whose they are.
//!
//! A [`Meter`] counts one unit. Two kinds:
//!
//! * A **rate** is a token bucket: it holds `burst` units, and `amount` units come back in each `per`,
//!   evenly. It is kept as what is owed (the debt), which the generic cell rate algorithm keeps as a
//!   time (ITU-T I.371, appendix A: "theoretical arrival time"): the two say the same, and a debt
//!   can be given back.
//! * A **quota** is what a window of the calendar holds; see [`Window`](crate::Window).

use std::{fmt, sync::Arc, time::Duration};

use crate::calendar::Window;

/// What a meter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Calls that are sent to workers.
    Requests,
    /// Tokens, of inputs and outputs together.
    Tokens,
}

impl Unit {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Requests, Self::Tokens];

    /// Its name, in figures, headers and the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }
}

/// How a meter fills again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Evenly.
    Rate {
        /// Units that come back…
        amount: u64,
        /// …in so long.
        per: Duration,
        /// Units that it holds when it is full.
        burst: u64,
    },
    /// At once, when the next window begins.
    Quota {
        /// Units of a window.
        amount: u64,
        /// Which windows.
        window: Window,
    },
}

/// One limit of one account. Its parts are whole and greater than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meter {
    unit: Unit,
    kind: Kind,
    name: &'static str,
}

/// A meter that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A count of nothing, or one that a double cannot hold exactly.
    #[error("a limit is a whole number from 1 to 1000000000000000")]
    Amount,
    /// No time, or more than a year.
    #[error("a rate is for a time from a millisecond to a year")]
    Per,
    /// Two of one name in one account.
    #[error("{0} is limited twice")]
    Twice(&'static str),
}

/// Greatest amount: sums of it and of what is owed stay exact in a double.
const MOST: u64 = 1_000_000_000_000_000;
const YEAR: Duration = Duration::from_secs(366 * 86_400);

impl Meter {
    /// A meter.
    ///
    /// # Errors
    /// When an amount or a time is out of range.
    pub fn new(unit: Unit, kind: Kind) -> Result<Self, PlanError> {
        let sound = |amount| (1..=MOST).contains(&amount);
        let name = match (unit, kind) {
            (Unit::Requests, Kind::Rate { .. }) => "requests",
            (Unit::Tokens, Kind::Rate { .. }) => "tokens",
            (unit, Kind::Quota { window, .. }) => match (unit, window) {
                (Unit::Requests, Window::Day) => "requests-day",
                (Unit::Requests, Window::Month) => "requests-month",
                (Unit::Tokens, Window::Day) => "tokens-day",
                (Unit::Tokens, Window::Month) => "tokens-month",
            },
        };
        match kind {
            Kind::Rate { amount, per, burst } => {
                if !sound(amount) || !sound(burst) {
                    return Err(PlanError::Amount);
                }
                if !(Duration::from_millis(1)..=YEAR).contains(&per) {
                    return Err(PlanError::Per);
                }
            }
            Kind::Quota { amount, .. } if !sound(amount) => return Err(PlanError::Amount),
            Kind::Quota { .. } => {}
        }
        Ok(Self { unit, kind, name })
    }

    /// What it counts.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// How it fills again.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its name within its account: `tokens`, `requests-day`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Units that it holds when nothing is used.
    #[must_use]
    pub fn holds(&self) -> u64 {
        match self.kind {
            Kind::Rate { burst, .. } => burst,
            Kind::Quota { amount, .. } => amount,
        }
    }

    /// The same with a share of its units, at least one.
    pub(crate) fn share(&self, percent: u64) -> Self {
        let part = |amount: u64| (amount.saturating_mul(percent) / 100).max(1);
        let kind = match self.kind {
            // The burst shrinks, and the time in which an amount comes back grows: an amount may be
            // too small for its part to be whole.
            Kind::Rate { amount, per, burst } => Kind::Rate {
                amount,
                per: per.saturating_mul(100) / u32::try_from(percent.max(1)).unwrap_or(100),
                burst: part(burst),
            },
            Kind::Quota { amount, window } => Kind::Quota {
                amount: part(amount),
                window,
            },
        };
        Self {
            unit: self.unit,
            kind,
            name: self.name,
        }
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = self.unit.name();
        match self.kind {
            Kind::Rate { amount, per, .. } => {
                write!(f, "{amount} {unit} in {}", Seconds(per))
            }
            Kind::Quota { amount, window } => {
                write!(f, "{amount} {unit} a {} (UTC)", window.name())
            }
        }
    }
}

/// A length of time as a client reads it.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            millis if millis % 1000 == 0 => write!(f, "{} s", millis / 1000),
            millis => write!(f, "{millis} ms"),
        }
    }
}

/// The meters of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    meters: Vec<Meter>,
}

impl Plan {
    /// Meters, each with a name of its own: so at most six.
    ///
    /// # Errors
    /// When two have one name.
    pub fn new(meters: Vec<Meter>) -> Result<Self, PlanError> {
        for (at, meter) in meters.iter().enumerate() {
            if meters[..at]
                .iter()
                .any(|earlier| earlier.name == meter.name)
            {
                return Err(PlanError::Twice(meter.name));
            }
        }
        Ok(Self { meters })
    }

    /// The meters.
    #[must_use]
    pub fn meters(&self) -> &[Meter] {
        &self.meters
    }
}

/// What one tenant may use.
#[derive(Clone, Debug, Default)]
pub struct TenantLimits {
    /// Over all models together.
    pub all: Arc<Plan>,
    /// Of each model of a pattern by itself, the first that matches.
    pub models: Vec<(Pattern, Arc<Plan>)>,
    /// Requests at once.
    pub concurrency: Option<u32>,
}

impl TenantLimits {
    /// The plan of a model.
    pub(crate) fn of_model(&self, model: &str) -> Option<&Arc<Plan>> {
        let mut models = self.models.iter();
        models
            .find(|(pattern, _)| pattern.matches(model))
            .map(|(_, plan)| plan)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.meters.is_empty() && self.models.is_empty() && self.concurrency.is_none()
    }
}

/// A name, or the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This name.
    Is(String),
    /// Every name that begins so.
    Begins(String),
}

impl Pattern {
    /// Whether a name is meant; case matters.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Is(is) => name == is,
            Self::Begins(beginning) => name.starts_with(beginning.as_str()),
        }
    }
}

/// Who may use what.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Tenants by their names.
    pub named: std::collections::HashMap<String, Arc<TenantLimits>>,
    /// Each other tenant, by itself.
    pub others: Option<Arc<TenantLimits>>,
}

impl Rules {
    /// What a tenant may use; none: whatever it likes.
    pub(crate) fn of(&self, tenant: &str) -> Option<&Arc<TenantLimits>> {
        let found = self.named.get(tenant).or(self.others.as_ref());
        found.filter(|limits| !limits.is_empty())
    }
}

/// What a call is believed to need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Tokens that it reads.
    pub input: u64,
    /// Tokens that it may generate at most.
    pub output: u64,
}

impl Cost {
    /// How much of a unit; a call is one request.
    #[must_use]
    pub fn of(&self, unit: Unit) -> u64 {
        match unit {
            Unit::Requests => 1,
            Unit::Tokens => self.input.saturating_add(self.output).min(MOST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(amount: u64, millis: u64, burst: u64) -> Kind {
        Kind::Rate {
            amount,
            per: Duration::from_millis(millis),
            burst,
        }
    }

    #[test]
    fn a_meter_of_nothing_is_none() {
        let of = |kind| Meter::new(Unit::Tokens, kind).map(|_| ());
        assert_eq!(of(rate(0, 1000, 1)), Err(PlanError::Amount));
        assert_eq!(of(rate(1, 1000, 0)), Err(PlanError::Amount));
        assert_eq!(of(rate(1, 0, 1)), Err(PlanError::Per));
        assert_eq!(of(rate(MOST + 1, 1000, 1)), Err(PlanError::Amount));
        let window = Window::Day;
        assert_eq!(
            of(Kind::Quota { amount: 0, window }),
            Err(PlanError::Amount)
        );
        assert_eq!(of(Kind::Quota { amount: 1, window }), Ok(()));
    }

    #[test]
    fn an_account_has_one_meter_of_a_name() {
        let meter = |kind| Meter::new(Unit::Requests, kind).unwrap();
        let window = Window::Day;
        let quota = meter(Kind::Quota { amount: 5, window });
        assert!(Plan::new(vec![meter(rate(1, 1000, 1)), quota]).is_ok());
        assert_eq!(
            Plan::new(vec![quota, quota]),
            Err(PlanError::Twice("requests-day"))
        );
    }

    #[test]
    fn a_share_is_a_share_of_burst_and_of_rate() {
        let meter = Meter::new(Unit::Tokens, rate(100, 1000, 1000)).unwrap();
        assert_eq!(meter.share(25).kind(), rate(100, 4000, 250));
        let small = Meter::new(Unit::Requests, rate(1, 1000, 1)).unwrap();
        assert_eq!(small.share(10).kind(), rate(1, 10_000, 1));
    }

    #[test]
    fn a_tenant_by_name_comes_before_the_others() {
        let with = |concurrency| {
            Arc::new(TenantLimits {
                concurrency,
                ..TenantLimits::default()
            })
        };
        let rules = Rules {
            named: [
                ("a".to_owned(), with(Some(1))),
                ("free".to_owned(), with(None)),
            ]
            .into(),
            others: Some(with(Some(2))),
        };
        assert_eq!(rules.of("a").unwrap().concurrency, Some(1));
        assert_eq!(rules.of("b").unwrap().concurrency, Some(2));
        assert!(rules.of("free").is_none(), "named, and not limited");
    }
}
