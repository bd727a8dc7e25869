//! Quantities in configuration notation: durations such as `30s`, `1h30m`, `90d`, sizes such as `8MiB`, rates such as
//! `5/min`.
//!
//! Used by the configuration and by the command line. A number without a unit is always an error that names the units.
//! Zero never means "unlimited": keys and options that allow "unlimited" have a separate word for it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration, written with the units `d`, `h`, `m`, `s` and `ms` in this order: `1h30m`. Never zero when parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

/// A number of bytes, written with one of the units `B`, `KiB`, `MiB` and `GiB`: `64KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A rate: a number and one of the units `/s`, `/min`, `/h` and `/d`, such as `5/min`. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The number of events per period, and the largest burst.
    pub count: u32,
    /// The period.
    pub per: Duration,
}

/// Why a text is not a quantity. Never repeats the text; the caller names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadQuantity {
    /// A duration without a unit.
    BareDuration(u64),
    /// A size without a unit.
    BareSize(u64),
    /// Not a duration.
    NotADuration,
    /// Not a size.
    NotASize,
    /// Not a rate.
    NotARate,
    /// A duration of zero.
    Zero,
    /// A rate of zero.
    Never,
    /// Too large.
    TooLarge,
}

/// Milliseconds in each unit, largest first.
const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Bytes in each unit, largest first.
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl HumanDuration {
    /// A regular expression for durations, without anchors. It also matches zero.
    pub fn pattern() -> String {
        let parts = (0..DURATION_UNITS.len()).map(|first| {
            let units = DURATION_UNITS.iter().skip(first).enumerate();
            let part = |(place, (unit, _)): (usize, &(&str, u64))| {
                if place == 0 { format!("[0-9]+{unit}") } else { format!("([0-9]+{unit})?") }
            };
            units.map(part).collect::<String>()
        });
        format!("({})", parts.collect::<Vec<_>>().join("|"))
    }
}

impl ByteSize {
    /// A regular expression for sizes, without anchors.
    pub fn pattern() -> String {
        format!("[0-9]+({})", SIZE_UNITS.map(|(unit, _)| unit).join("|"))
    }
}

impl FromStr for HumanDuration {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<HumanDuration, BadQuantity> {
        if let Ok(number) = text.parse() {
            return Err(BadQuantity::BareDuration(number));
        }
        if text.is_empty() {
            return Err(BadQuantity::NotADuration);
        }
        let mut millis = 0_u64;
        let mut rest = text;
        // Units must descend: `30m1h` and `1s1s` are mistakes, not sums.
        let mut units = DURATION_UNITS.iter();
        while !rest.is_empty() {
            let (number, unit, after) = leading_quantity(rest).ok_or(BadQuantity::NotADuration)?;
            let (_, factor) = units.find(|(name, _)| *name == unit).ok_or(BadQuantity::NotADuration)?;
            let number = number.parse::<u64>().map_err(|_| BadQuantity::TooLarge)?;
            let part = number.checked_mul(*factor).ok_or(BadQuantity::TooLarge)?;
            millis = millis.checked_add(part).ok_or(BadQuantity::TooLarge)?;
            rest = after;
        }
        if millis == 0 { Err(BadQuantity::Zero) } else { Ok(HumanDuration(Duration::from_millis(millis))) }
    }
}

impl FromStr for ByteSize {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<ByteSize, BadQuantity> {
        if let Ok(number) = text.parse() {
            return Err(BadQuantity::BareSize(number));
        }
        let (number, unit, after) = leading_quantity(text).ok_or(BadQuantity::NotASize)?;
        let factor = SIZE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        let Some(factor) = factor.filter(|_| after.is_empty()) else { return Err(BadQuantity::NotASize) };
        let number = number.parse::<u64>().map_err(|_| BadQuantity::TooLarge)?;
        number.checked_mul(factor).map(ByteSize).ok_or(BadQuantity::TooLarge)
    }
}

/// Seconds in each unit of a rate, shortest first.
const RATE_UNITS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3_600), ("d", 86_400)];

impl Rate {
    /// A rate of this many per minute.
    pub const fn per_minute(count: u32) -> Rate {
        Rate { count, per: Duration::from_secs(60) }
    }

    /// A regular expression for rates, without anchors. It also matches zero.
    pub fn pattern() -> String {
        format!("[0-9]+/({})", RATE_UNITS.map(|(unit, _)| unit).join("|"))
    }
}

impl FromStr for Rate {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Rate, BadQuantity> {
        let (count, unit) = text.split_once('/').ok_or(BadQuantity::NotARate)?;
        let (_, seconds) = RATE_UNITS.iter().find(|(name, _)| *name == unit).ok_or(BadQuantity::NotARate)?;
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadQuantity::NotARate);
        }
        let count = count.parse().map_err(|_| BadQuantity::TooLarge)?;
        if count == 0 { Err(BadQuantity::Never) } else { Ok(Rate { count, per: Duration::from_secs(*seconds) }) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match RATE_UNITS.iter().find(|(_, seconds)| *seconds == self.per.as_secs()) {
            Some((unit, _)) => write!(f, "{}/{unit}", self.count),
            None => write!(f, "{}/{}", self.count, HumanDuration(self.per)),
        }
    }
}

/// Splits `1h30m` into `1`, `h` and `30m`.
fn leading_quantity(text: &str) -> Option<(&str, &str, &str)> {
    let (number, rest) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
    let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at_checked(unit)?;
    (!number.is_empty()).then_some((number, unit, after))
}

/// Exact to the millisecond; finer fractions are dropped.
impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in DURATION_UNITS {
            let factor = u128::from(factor);
            if millis >= factor {
                write!(f, "{}{unit}", millis / factor)?;
                millis %= factor;
            }
        }
        Ok(())
    }
}

/// Uses the largest unit that needs no fraction.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = SIZE_UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        let (unit, factor) = fits.unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl BadQuantity {
    /// The end of an error message about the text: "has no unit".
    pub fn what(&self) -> &'static str {
        match self {
            BadQuantity::BareDuration(_) | BadQuantity::BareSize(_) => "has no unit",
            BadQuantity::NotADuration => "is not a duration",
            BadQuantity::NotASize => "is not a size",
            BadQuantity::NotARate => "is not a rate",
            BadQuantity::Never => "would never allow anything",
            BadQuantity::Zero => "must be greater than zero",
            BadQuantity::TooLarge => "is too large",
        }
    }

    /// Returns advice on how to write it.
    pub fn mend(&self) -> String {
        match self {
            BadQuantity::BareDuration(number) => format!("write \"{number}s\" for seconds, or use ms, m, h or d"),
            BadQuantity::BareSize(number) => format!("write \"{number}B\" for bytes, or use KiB, MiB or GiB"),
            BadQuantity::NotADuration => {
                "use the units d, h, m, s and ms in this order, as in \"30s\" or \"1h30m\"".to_owned()
            }
            BadQuantity::NotASize => "use one of the units B, KiB, MiB and GiB, as in \"64KiB\"".to_owned(),
            BadQuantity::NotARate => {
                "write a number and one of the units /s, /min, /h and /d, as in \"5/min\"".to_owned()
            }
            BadQuantity::Never => "write a number above zero".to_owned(),
            BadQuantity::Zero => "write a duration above zero".to_owned(),
            BadQuantity::TooLarge => "write a smaller number".to_owned(),
        }
    }
}

impl fmt::Display for BadQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what(), self.mend())
    }
}

impl std::error::Error for BadQuantity {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_and_formatted_with_their_units() {
        for (text, millis) in [
            ("50ms", 50),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("90d", 7_776_000_000),
            ("1d2h3m4s5ms", 93_784_005),
        ] {
            assert_eq!(text.parse(), Ok(HumanDuration(Duration::from_millis(millis))), "{text}");
            assert_eq!(HumanDuration(Duration::from_millis(millis)).to_string(), text);
        }
        assert_eq!("90m".parse::<HumanDuration>().unwrap().to_string(), "1h30m");
    }

    #[test]
    fn patterns_match_what_is_parsed() {
        let matches =
            |pattern: String, text: &str| regex::Regex::new(&format!("^({pattern})$")).unwrap().is_match(text);
        for text in
            ["50ms", "30s", "1h30m", "1d2h3m4s5ms", "1d5ms", "", "s", "30", "1s1h", "1s1s", "1.5s", "5w", "1h30", "-1s"]
        {
            assert_eq!(matches(HumanDuration::pattern(), text), text.parse::<HumanDuration>().is_ok(), "{text}");
        }
        for text in ["512B", "64KiB", "1MiB", "2GiB", "64KB", "64", "KiB", "1KiB1B", "1.5MiB", ""] {
            assert_eq!(matches(ByteSize::pattern(), text), text.parse::<ByteSize>().is_ok(), "{text}");
        }
        for text in ["5/min", "1/s", "2/h", "3/d", "5/m", "/min", "5", "5/min/s", "+5/s", ""] {
            assert_eq!(matches(Rate::pattern(), text), text.parse::<Rate>().is_ok(), "{text}");
        }
    }

    #[test]
    fn an_invalid_duration_is_refused_with_its_reason() {
        use BadQuantity::{BareDuration, NotADuration, TooLarge, Zero};
        for (text, why) in [
            ("30", BareDuration(30)),
            ("0", BareDuration(0)),
            ("0s", Zero),
            ("0h0m", Zero),
            ("", NotADuration),
            ("s", NotADuration),
            ("-5s", NotADuration),
            ("1.5s", NotADuration),
            ("30 s", NotADuration),
            ("30S", NotADuration),
            ("30m1h", NotADuration),
            ("1s1s", NotADuration),
            ("1h30", NotADuration),
            ("5w", NotADuration),
            ("99999999999999999999s", TooLarge),
            ("999999999999999999d", TooLarge),
        ] {
            assert_eq!(text.parse::<HumanDuration>(), Err(why), "{text}");
        }
    }

    #[test]
    fn sizes_are_parsed_and_formatted_with_their_units() {
        for (text, bytes) in [("0B", 0), ("512B", 512), ("64KiB", 65_536), ("8MiB", 8 << 20), ("3GiB", 3 << 30)] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
        assert_eq!("1024B".parse::<ByteSize>().unwrap().to_string(), "1KiB");
    }

    #[test]
    fn an_invalid_size_is_refused_with_its_reason() {
        use BadQuantity::{BareSize, NotASize, TooLarge};
        for (text, why) in [
            ("512", BareSize(512)),
            ("", NotASize),
            ("B", NotASize),
            ("8MB", NotASize),
            ("8mib", NotASize),
            ("8 MiB", NotASize),
            ("1MiB1KiB", NotASize),
            ("-1B", NotASize),
            ("99999999999GiB", TooLarge),
        ] {
            assert_eq!(text.parse::<ByteSize>(), Err(why), "{text}");
        }
    }

    #[test]
    fn rates_are_parsed_and_formatted_with_their_units() {
        for (text, count, seconds) in [("5/min", 5, 60), ("1000/s", 1_000, 1), ("20/h", 20, 3_600), ("1/d", 1, 86_400)]
        {
            let rate = Rate { count, per: Duration::from_secs(seconds) };
            assert_eq!(text.parse(), Ok(rate), "{text}");
            assert_eq!(rate.to_string(), text);
        }
        assert_eq!(Rate { count: 2, per: Duration::from_secs(90) }.to_string(), "2/1m30s");
    }

    #[test]
    fn an_invalid_rate_is_refused_with_its_reason() {
        use BadQuantity::{Never, NotARate, TooLarge};
        for text in ["", "5", "/min", "5/", "5/m", "5/minute", "+5/min", "-5/min", "5 /min", "5/min/min", "1.5/s"] {
            assert_eq!(text.parse::<Rate>(), Err(NotARate), "{text}");
        }
        assert_eq!("0/min".parse::<Rate>(), Err(Never));
        assert_eq!("99999999999/min".parse::<Rate>(), Err(TooLarge));
    }

    #[test]
    fn the_error_for_a_bare_number_suggests_a_unit() {
        let error = "90".parse::<HumanDuration>().unwrap_err();
        assert_eq!(error.to_string(), "has no unit; write \"90s\" for seconds, or use ms, m, h or d");
    }
}
