//! The rate of a token or of a user.

use std::fmt;
use std::str::FromStr;

use crate::units::Rate;

/// The highest rate, in requests per second: Redis counts no higher one exactly.
const MOST: u64 = 100_000;

/// How often a token or a user may send requests: `600/min`, or `600/min burst 100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnRate {
    /// Requests per period.
    pub rate: Rate,
    /// Requests that may come at once.
    pub burst: u32,
}

/// The error for a text that is not a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a rate is written like 600/min, 50/s, 1000/h or 10000/d, at most 100000/s, with `burst 100` behind it if need be"
)]
pub struct InvalidRate;

impl FromStr for OwnRate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<OwnRate, InvalidRate> {
        let (rate, burst) = match text.split_once(" burst ") {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let rate: Rate = rate.parse().map_err(|_| InvalidRate)?;
        let burst = match burst {
            None => rate.count,
            Some(burst) if burst.bytes().all(|byte| byte.is_ascii_digit()) => burst.parse().map_err(|_| InvalidRate)?,
            Some(_) => return Err(InvalidRate),
        };
        let is_too_high = u64::from(rate.count) > MOST * rate.per.as_secs().max(1);
        if burst == 0 || is_too_high { Err(InvalidRate) } else { Ok(OwnRate { rate, burst }) }
    }
}

impl fmt::Display for OwnRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rate.fmt(f)?;
        if self.burst == self.rate.count { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_as_it_is_written() {
        for (text, burst) in [("600/min", 600), ("50/s burst 10", 10), ("1/d burst 100", 100), ("100000/s", 100_000)] {
            let rate: OwnRate = text.parse().unwrap();
            assert_eq!((rate.burst, rate.to_string().as_str()), (burst, text));
        }
        assert_eq!("5/min burst 5".parse::<OwnRate>().unwrap().to_string(), "5/min");
        for text in [
            "",
            "600",
            "0/min",
            "600/min burst",
            "600/min burst 0",
            "600/min burst -1",
            "600/min burst +1",
            "600/min  burst 1",
            "600/min burst 1 ",
            "600/min burst 4294967296",
            "100001/s",
            "600/min, burst 1",
        ] {
            assert_eq!(text.parse::<OwnRate>(), Err(InvalidRate), "{text}");
        }
    }
}
