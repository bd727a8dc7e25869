//! Wall time, passed in as a value.
//!
//! All code that compares times takes a [`Timestamp`] or a [`Clock`]; `SystemTime::now` and `Instant::now` are banned
//! elsewhere (`clippy.toml`), so that tests can set the time. To measure durations, use the monotonic
//! [`Clock::instant`].

mod calendar;
mod rfc3339;
mod steady;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

pub use self::calendar::{Period, Span};
pub use self::rfc3339::NoTime;
use self::steady::Steady;
pub use self::steady::{ClockLook, Step};

/// A point in wall time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last time that RFC 3339 can express.
    pub const END_OF_YEAR_9999: Timestamp = Timestamp(253_402_300_799_999_999);

    /// Creates a time from microseconds since the epoch, as the stores keep it.
    pub const fn from_micros(micros: i64) -> Timestamp {
        Timestamp(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Returns this time plus `span`; saturates on overflow.
    pub fn after(self, span: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Returns this time minus `span`; saturates on overflow.
    pub fn before(self, span: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Returns the time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Timestamp {
    /// Formats the time as an HTTP date (RFC 9110 §5.6.7): `Tue, 24 Nov 2026 05:53:04 GMT`.
    pub fn http_date(self) -> String {
        const WEEK: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const YEAR: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        fn named(names: &[&'static str], place: i64) -> &'static str {
            usize::try_from(place).ok().and_then(|place| names.get(place).copied()).unwrap_or_default()
        }
        let (days, of_day) = (self.as_seconds().div_euclid(86_400), self.as_seconds().rem_euclid(86_400));
        let (year, month, day) = civil_date(days);
        let (weekday, month) = (named(&WEEK, days.rem_euclid(7)), named(&YEAR, month - 1));
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-24T05:53:04.123Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.as_seconds();
        let millis = self.0.rem_euclid(1_000_000) / 1_000;
        let (year, month, day) = civil_date(seconds.div_euclid(86_400));
        let of_day = seconds.rem_euclid(86_400);
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Year, month and day of a day number since the epoch, in the proleptic Gregorian calendar.
fn civil_date(days: i64) -> (i64, i64, i64) {
    // Counts from 0000-03-01, so that the leap day is the last of its year.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The source of time: the system, or a [`Hand`] in tests.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System(Arc<Steady>),
    ByHand(Arc<AtomicI64>),
}

impl Clock {
    /// The system clock, without jumps: see [`Clock::look`].
    pub fn system() -> Clock {
        Clock(Source::System(Arc::new(Steady::new(wall(), monotonic()))))
    }

    /// Creates a clock that shows `start` until its hand moves it.
    pub fn by_hand(start: Timestamp) -> (Clock, Hand) {
        let micros = Arc::new(AtomicI64::new(start.0));
        (Clock(Source::ByHand(Arc::clone(&micros))), Hand(micros))
    }

    /// Returns the current time. A system clock before 1970 reads as 1970.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System(steady) => Timestamp(steady.at(monotonic())),
            Source::ByHand(micros) => Timestamp(micros.load(Ordering::Acquire)),
        }
    }

    /// Compares the system's clocks: follows small corrections and detects steps. One caller calls it about once a
    /// second and keeps `step` between the calls.
    pub fn look(&self, step: &mut Step) -> ClockLook {
        match &self.0 {
            Source::System(steady) => steady.look(wall(), monotonic(), step),
            Source::ByHand(_) => ClockLook::Steady,
        }
    }

    /// The monotonic clock, for durations and deadlines. Not moved by a [`Hand`].
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
    pub fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// Microseconds since 1970, by the system clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
fn wall() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

/// Microseconds since boot, suspend included.
fn monotonic() -> i64 {
    let since_start = clock_gettime(ClockId::Boottime);
    since_start.tv_sec.saturating_mul(1_000_000).saturating_add(since_start.tv_nsec / 1_000)
}

/// Moves a hand-set [`Clock`].
#[derive(Clone, Debug)]
pub struct Hand(Arc<AtomicI64>);

impl Hand {
    /// Moves the clock forward.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX), Ordering::AcqRel);
    }

    /// Sets the clock, also backwards.
    pub fn set(&self, to: Timestamp) {
        self.0.store(to.0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_formatted_as_rfc_3339() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999_000, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000Z"),
            (1_795_499_584_123_456, "2026-11-24T05:53:04.123Z"),
            (-1_000, "1969-12-31T23:59:59.999Z"),
            (Timestamp::END_OF_YEAR_9999.as_micros(), "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_micros(micros).to_string(), text);
        }
    }

    #[test]
    fn http_headers_have_their_own_date_format() {
        for (seconds, written) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (1_709_208_000, "Thu, 29 Feb 2024 12:00:00 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
        ] {
            assert_eq!(Timestamp::from_micros(seconds * 1_000_000 + 999_999).http_date(), written);
        }
    }

    #[test]
    fn a_hand_moves_its_clock_and_all_copies_of_it() {
        let (clock, hand) = Clock::by_hand(Timestamp::from_micros(5));
        let copy = clock.clone();
        hand.advance(Duration::from_micros(7));
        assert_eq!(copy.now(), Timestamp::from_micros(12));
    }
}
