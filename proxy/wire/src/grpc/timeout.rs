//! `grpc-timeout`: at most eight digits and a unit.

use std::time::Duration;

/// Units from the finest to the coarsest, with their length in nanoseconds.
const UNITS: [(char, u128); 6] = [
    ('n', 1),
    ('u', 1_000),
    ('m', 1_000_000),
    ('S', 1_000_000_000),
    ('M', 60 * 1_000_000_000),
    ('H', 3600 * 1_000_000_000),
];
const MOST: u128 = 99_999_999;

/// Reads a timeout; none when it is not well formed.
#[must_use]
pub fn parse_timeout(value: &str) -> Option<Duration> {
    let unit = value.chars().next_back()?;
    let digits = value.strip_suffix(unit)?;
    let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos = digits.parse::<u128>().ok()? * nanos;
    let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    Some(Duration::new(
        u64::try_from(seconds).ok()?,
        u32::try_from(nanos).ok()?,
    ))
}

/// Writes a timeout in the finest unit that holds it, rounded down, so that the peer
/// never waits for longer than we do. More than 99,999,999 hours are written as that.
#[must_use]
pub fn format_timeout(timeout: Duration) -> String {
    let nanos = timeout.as_nanos();
    let coarsest = UNITS[UNITS.len() - 1];
    let (unit, size) = UNITS
        .into_iter()
        .find(|(_, size)| nanos / size <= MOST)
        .unwrap_or(coarsest);
    format!("{}{unit}", (nanos / size).min(MOST))
}
