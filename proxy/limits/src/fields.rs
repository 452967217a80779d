//! What a client is told of its limits: the fields `RateLimit-Policy` and `RateLimit` of
//! draft-ietf-httpapi-ratelimit-headers-11 (May 2026), lists of items with parameters (RFC 9651).
//!
//! * `RateLimit-Policy`: each meter by its name, with `q` (units that it holds when it is full), `w`
//!   (seconds: the time in which a rate gives as much again, or the length of a window; a month's is
//!   taken as 30 days) and, for tokens, `qu`.
//! * `RateLimit`: the same names, with `r` (units that are left) and `t` (seconds until it is full
//!   again, or its next window).
//!
//! What is left is what this proxy knows: of a shared limit it is as old as the last question.

use std::{fmt::Write, time::Duration};

use crate::{
    calendar::Window,
    plan::{Kind, Meter, Unit},
};

/// One meter, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) meter: Meter,
    /// Of one model, and not of the tenant as a whole.
    pub(crate) of_model: bool,
    pub(crate) left: u64,
    pub(crate) reset: Duration,
}

/// What is told of all meters of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub(crate) Vec<Item>);

impl Fields {
    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Value of `RateLimit-Policy`.
    #[must_use]
    pub fn policy(&self) -> String {
        self.list(|item, out| {
            let _ = write!(out, ";q={};w={}", item.meter.holds(), window(&item.meter));
            if item.meter.unit() == Unit::Tokens {
                out.push_str(";qu=\"tokens\"");
            }
        })
    }

    /// Value of `RateLimit`.
    #[must_use]
    pub fn left(&self) -> String {
        self.list(|item, out| {
            let _ = write!(out, ";r={};t={}", item.left, seconds(item.reset));
        })
    }

    fn list(&self, parameters: impl Fn(&Item, &mut String)) -> String {
        let mut out = String::with_capacity(48 * self.0.len());
        for item in &self.0 {
            if !out.is_empty() {
                out.push_str(", ");
            }
            let of = if item.of_model { "model-" } else { "" };
            let _ = write!(out, "\"{of}{}\"", item.meter.name());
            parameters(item, &mut out);
        }
        out
    }
}

/// Seconds in which as much comes back as a meter holds.
fn window(meter: &Meter) -> u64 {
    match meter.kind() {
        Kind::Rate { amount, per, burst } => {
            let whole = per.as_millis() * u128::from(burst) / u128::from(amount);
            let whole = u64::try_from(whole).unwrap_or(u64::MAX);
            seconds(Duration::from_millis(whole)).max(1)
        }
        Kind::Quota { window, .. } => match window {
            Window::Day => 86_400,
            Window::Month => 30 * 86_400,
        },
    }
}

/// Whole seconds, rounded up: who comes back then is not too early.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_lists_of_items_with_parameters() {
        let rate = |unit, amount, seconds, burst| {
            let per = Duration::from_secs(seconds);
            Meter::new(unit, Kind::Rate { amount, per, burst }).unwrap()
        };
        let window = Window::Month;
        let item = |meter, of_model, left, millis| Item {
            meter,
            of_model,
            left,
            reset: Duration::from_millis(millis),
        };
        let quota = Kind::Quota { amount: 9, window };
        let fields = Fields(vec![
            item(rate(Unit::Requests, 60, 60, 10), false, 7, 2001),
            item(rate(Unit::Tokens, 1000, 1, 5000), true, 0, 0),
            item(Meter::new(Unit::Tokens, quota).unwrap(), false, 1, 3000),
        ]);
        assert_eq!(
            fields.policy(),
            "\"requests\";q=10;w=10, \"model-tokens\";q=5000;w=5;qu=\"tokens\", \
             \"tokens-month\";q=9;w=2592000;qu=\"tokens\""
        );
        assert_eq!(
            fields.left(),
            "\"requests\";r=7;t=3, \"model-tokens\";r=0;t=0, \"tokens-month\";r=1;t=3"
        );
    }
}
