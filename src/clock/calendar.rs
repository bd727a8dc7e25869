//! Days and months of the calendar, in UTC.

use std::fmt;

use super::{Timestamp, civil_date};

const DAY: i64 = 86_400_000_000;

/// A period of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// A day.
    Day,
    /// A month.
    Month,
}

/// One day or one month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it begins.
    pub since: Timestamp,
    /// When the next one begins.
    pub end: Timestamp,
}

impl Period {
    /// The period that contains this time.
    pub fn at(self, now: Timestamp) -> Span {
        let day = now.as_micros().div_euclid(DAY);
        let (first, next) = match self {
            Period::Day => (day, day.saturating_add(1)),
            Period::Month => {
                let first = |day: i64| day - (civil_date(day).2 - 1);
                let this = first(day);
                // The 32nd day after the first one is in the next month.
                (this, first(this + 31))
            }
        };
        let start = |day: i64| Timestamp::from_micros(day.saturating_mul(DAY));
        Span { since: start(first), end: start(next) }
    }
}

/// The word in `gateway.toml`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Period::Day => "day",
            Period::Month => "month",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_begin_at_midnight_in_utc() {
        for (period, now, since, end) in [
            (Period::Day, "2026-11-24T05:53:04Z", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"),
            (Period::Day, "2026-12-31T23:59:59Z", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"),
            (Period::Day, "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z"),
            (Period::Month, "2026-11-24T05:53:04Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            (Period::Month, "2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (Period::Month, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (Period::Month, "2027-02-28T12:00:00Z", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"),
            (Period::Month, "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Period::Month, "2100-02-01T00:00:00Z", "2100-02-01T00:00:00Z", "2100-03-01T00:00:00Z"),
            (Period::Month, "1969-12-31T23:59:59Z", "1969-12-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ] {
            let at = |text: &str| text.parse::<Timestamp>().unwrap();
            assert_eq!(period.at(at(now)), Span { since: at(since), end: at(end) }, "{period} {now}");
        }
    }
}
