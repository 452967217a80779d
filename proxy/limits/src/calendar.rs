//! Windows of the calendar that quotas are counted in: days and months of UTC.
//!
//! Days are turned into dates and back by the arithmetic of Howard Hinnant's "chrono-compatible
//! low-level date algorithms" (`civil_from_days`, `days_from_civil`), which the store's script does
//! likewise.

/// Seconds of a day; leap seconds are not counted in unix time.
const DAY: u64 = 86_400;

/// How long a quota is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// From midnight to midnight, UTC.
    Day,
    /// From the first of a month to the first of the next, UTC.
    Month,
}

impl Window {
    /// Its name, in figures, headers and the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// Number of the window that a moment lies in, counted from 1970; grows with time.
    #[must_use]
    pub fn number(self, unix_seconds: u64) -> u64 {
        let day = unix_seconds / DAY;
        match self {
            Self::Day => day,
            Self::Month => month_of(day),
        }
    }

    /// When a window ends, in unix seconds.
    #[must_use]
    pub fn end(self, number: u64) -> u64 {
        match self {
            Self::Day => (number + 1) * DAY,
            Self::Month => first_day(number + 1) * DAY,
        }
    }
}

/// Months since January 1970 of a day since the first of it.
fn month_of(day: u64) -> u64 {
    let shifted = day + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Counted from March, so that the day that leap years add is a year's last.
    let from_march = (5 * of_year + 2) / 153;
    let (month, next_year) = match from_march {
        0..=9 => (from_march + 2, 0),
        _ => (from_march - 10, 1),
    };
    (year_of_era + era * 400 + next_year - 1970) * 12 + month
}

/// The first day of a month, both counted from January 1970.
fn first_day(month: u64) -> u64 {
    let (year, of_year) = (1970 + month / 12, month % 12);
    let (year, from_march) = match of_year {
        0 | 1 => (year - 1, of_year + 10),
        _ => (year, of_year - 2),
    };
    let (era, year_of_era) = (year / 400, year % 400);
    let of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * from_march + 2) / 5;
    era * 146_097 + of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `date -u -d … +%s`.
    const MOMENTS: [(u64, u64, u64); 6] = [
        // Seconds, months since January 1970, end of that month.
        (0, 0, 2_678_400),
        (951_782_399, 361, 951_868_800), // 2000-02-28T23:59:59Z, a leap year
        (951_868_799, 361, 951_868_800), // 2000-02-29T23:59:59Z
        (951_868_800, 362, 954_547_200), // 2000-03-01T00:00:00Z
        (1_798_761_599, 683, 1_798_761_600), // 2026-12-31T23:59:59Z
        (4_107_542_400, 1562, 4_110_220_800), // 2100-03-01T00:00:00Z, after no leap day
    ];

    #[test]
    fn months_are_those_of_the_calendar() {
        for (seconds, number, end) in MOMENTS {
            assert_eq!(Window::Month.number(seconds), number, "{seconds}");
            assert_eq!(Window::Month.end(number), end, "{seconds}");
        }
    }

    #[test]
    fn every_window_ends_where_the_next_begins() {
        for window in [Window::Day, Window::Month] {
            let mut now = 0;
            for _ in 0..5000 {
                let number = window.number(now);
                let end = window.end(number);
                assert!(end > now);
                assert_eq!(window.number(end - 1), number);
                assert_eq!(window.number(end), number + 1);
                now = end;
            }
        }
    }
}
