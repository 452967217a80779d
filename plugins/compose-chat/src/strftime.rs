//! `strftime_now`: the date, for templates that tell it to the model. In UTC.

use minijinja::{Error, ErrorKind};

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// An instant by the calendar.
struct Date {
    year: u64,
    /// From 1.
    month: usize,
    /// From 1.
    day: u64,
    /// From 0, Sunday.
    weekday: usize,
    /// From 1.
    day_of_year: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Date {
    /// The Gregorian calendar counted in years that begin in March, so that the day that may not be
    /// is the last one.
    fn of(unix: u64) -> Self {
        let days = unix / 86_400;
        // Days since 0000-03-01, in eras of 400 years.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month as usize - 1];
        Self {
            year,
            month: month as usize,
            day,
            weekday: ((days + 4) % 7) as usize,
            day_of_year: before + day + u64::from(leap && month > 2),
            hour: unix / 3_600 % 24,
            minute: unix / 60 % 60,
            second: unix % 60,
        }
    }
}

/// An instant, in seconds since 1970, in the form that Python's `strftime` would give it.
pub(crate) fn format(unix: u64, format: &str) -> Result<String, Error> {
    let date = Date::of(unix);
    let (day, month) = (DAYS[date.weekday], MONTHS[date.month - 1]);
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let directive = chars.next();
        // `%-d`: without the zero before it.
        let (bare, directive) = match directive {
            Some('-') => (true, chars.next()),
            other => (false, other),
        };
        let two = |number: u64| {
            if bare {
                number.to_string()
            } else {
                format!("{number:02}")
            }
        };
        let half = match date.hour % 12 {
            0 => 12,
            hour => hour,
        };
        out.push_str(&match directive {
            Some('Y') => date.year.to_string(),
            Some('y') => two(date.year % 100),
            Some('m') => two(date.month as u64),
            Some('d') => two(date.day),
            Some('j') if bare => date.day_of_year.to_string(),
            Some('j') => format!("{:03}", date.day_of_year),
            Some('H') => two(date.hour),
            Some('I') => two(half),
            Some('M') => two(date.minute),
            Some('S') => two(date.second),
            Some('p') => if date.hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('A') => day.to_owned(),
            Some('a') => day[..3].to_owned(),
            Some('B') => month.to_owned(),
            Some('b') => month[..3].to_owned(),
            Some('w') => date.weekday.to_string(),
            Some('F') => format!("{}-{:02}-{:02}", date.year, date.month, date.day),
            Some('T') => format!("{:02}:{:02}:{:02}", date.hour, date.minute, date.second),
            Some('z') => "+0000".to_owned(),
            Some('Z') => "UTC".to_owned(),
            Some('%') => "%".to_owned(),
            other => {
                let what = other.map_or_else(|| "%".to_owned(), |c| format!("%{c}"));
                let message = format!("strftime_now: {what} is not known here");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (unix, wanted) in [
            (0, "1970-01-01 Thu 001 00:00:00 12AM"),
            (951_782_399, "2000-02-28 Mon 059 23:59:59 11PM"),
            (951_782_400, "2000-02-29 Tue 060 00:00:00 12AM"),
            (951_868_800, "2000-03-01 Wed 061 00:00:00 12AM"),
            (1_735_689_599, "2024-12-31 Tue 366 23:59:59 11PM"),
            (4_107_542_400, "2100-03-01 Mon 060 00:00:00 12AM"),
        ] {
            assert_eq!(
                format(unix, "%Y-%m-%d %a %j %H:%M:%S %I%p").unwrap(),
                wanted
            );
        }
        assert_eq!(
            format(0, "%A, %-d %B '%y; %F %T %Z%%").unwrap(),
            "Thursday, 1 January '70; 1970-01-01 00:00:00 UTC%"
        );
        assert!(format(0, "%Q").is_err());
        assert!(format(0, "50%").is_err());
    }

    /// Day by day through three centuries, against a calendar that only counts.
    #[test]
    fn no_day_is_left_out_and_none_is_there_twice() {
        let (mut year, mut month, mut day, mut of_year) = (1970_u64, 1_usize, 1_u64, 1_u64);
        for days in 0..110_000_u64 {
            let date = Date::of(days * 86_400);
            assert_eq!((date.year, date.month, date.day), (year, month, day));
            assert_eq!(date.day_of_year, of_year);
            assert_eq!(date.weekday as u64, (days + 4) % 7);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (day, of_year) = (day + 1, of_year + 1);
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year, of_year) = (1, year + 1, 1);
            }
        }
    }
}
