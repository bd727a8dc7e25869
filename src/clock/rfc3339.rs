//! Parses RFC 3339 times.

use std::str::FromStr;

use super::Timestamp;

/// The error for a text that is not a valid time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write the time in RFC 3339 format, such as 2026-11-24T05:53:04Z")]
pub struct NoTime;

/// Accepts any offset and any fraction; drops digits finer than a microsecond. A leap second becomes the following
/// second.
impl FromStr for Timestamp {
    type Err = NoTime;

    fn from_str(text: &str) -> Result<Timestamp, NoTime> {
        read(text).ok_or(NoTime)
    }
}

fn read(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_once(['T', 't'])?;
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at_checked(zone)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (time, fraction) = time.split_once('.').map_or((time, None), |(time, fraction)| (time, Some(fraction)));
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let fits = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !fits || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let micros = fraction.map_or(Some(0), micros)?;
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset(zone)?;
    Some(Timestamp::from_micros(seconds * 1_000_000 + micros))
}

/// Seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, zone) = zone.split_at_checked(1)?;
    let [hours, minutes] = numbers(zone, ':', [2, 2])?;
    let seconds = hours * 3_600 + minutes * 60;
    (hours <= 23 && minutes <= 59).then_some(if sign == "-" { -seconds } else { seconds })
}

fn micros(fraction: &str) -> Option<i64> {
    let digits = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let padded: String = fraction.chars().chain("000000".chars()).take(6).collect();
    padded.parse().ok().filter(|_| digits)
}

/// Reads several numbers, each with a fixed number of digits.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(between);
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part =
            parts.next().filter(|part| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// In the proleptic Gregorian calendar; counts from March, so that the leap day is the last of its year.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_parsed_as_they_are_formatted() {
        for micros in
            [0, 951_782_399_999_000, 951_782_400_000_000, 1_795_499_584_123_000, -1_000, 253_402_300_799_000_000]
        {
            let at = Timestamp::from_micros(micros);
            assert_eq!(at.to_string().parse(), Ok(at));
        }
        for text in [
            "2026-11-24T05:53:04.123456Z",
            "2026-11-24t05:53:04.1234569z",
            "2026-11-24T06:53:04.123456+01:00",
            "2026-11-23T21:23:04.123456-08:30",
        ] {
            assert_eq!(text.parse(), Ok(Timestamp::from_micros(1_795_499_584_123_456)), "{text}");
        }
        assert_eq!("1990-12-31T23:59:60Z".parse(), "1991-01-01T00:00:00Z".parse::<Timestamp>());
        assert_eq!("2000-01-01T00:00:00.5Z".parse(), "2000-01-01T00:00:00.500Z".parse::<Timestamp>());
    }

    #[test]
    fn an_invalid_time_is_refused() {
        for text in [
            "",
            "2026-11-24",
            "2026-11-24T05:53:04",
            "2026-11-24 05:53:04Z",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-00-10T00:00:00Z",
            "2026-11-00T00:00:00Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T05:60:00Z",
            "2026-11-24T05:53:61Z",
            "2026-11-24T05:53:04.Z",
            "2026-11-24T05:53:04.1 Z",
            "2026-11-24T05:53Z",
            "2026-11-24T05:53:04+0100",
            "2026-11-24T05:53:04+24:00",
            "2026-11-24T05:53:04ZZ",
            "02026-11-24T05:53:04Z",
            "+026-11-24T05:53:04Z",
            "２026-11-24T05:53:04Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(NoTime), "{text}");
        }
    }
}
