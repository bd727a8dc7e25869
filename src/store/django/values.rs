//! Parses the values of configured columns, which databases return as texts.

use crate::clock::Timestamp;

/// The error for an invalid value.
pub(super) struct InvalidValue;

/// Parses a boolean, a number or a text.
pub(super) fn truth(value: &str) -> Result<bool, InvalidValue> {
    let is = |words: [&str; 3]| words.iter().any(|word| value.trim().eq_ignore_ascii_case(word));
    match (is(["1", "t", "true"]), is(["0", "f", "false"])) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(InvalidValue),
    }
}

/// Parses a time from [`ConfiguredColumn::time`] for a time column; `None`: never.
pub(super) fn computed(value: &str) -> Result<Option<Timestamp>, InvalidValue> {
    match value {
        "infinity" => Ok(None),
        "-infinity" => Ok(Some(Timestamp::from_micros(i64::MIN))),
        _ => {
            let micros = value.strip_prefix('@').and_then(|micros| micros.parse().ok());
            micros.map(|micros| Some(Timestamp::from_micros(micros))).ok_or(InvalidValue)
        }
    }
}

/// Parses a time that Django wrote into a text column.
pub(super) fn written(value: &str) -> Result<Timestamp, InvalidValue> {
    let text = value.replacen(' ', "T", 1);
    let has_zone =
        text.ends_with(['Z', 'z']) || text.split_once('T').is_some_and(|(_, time)| time.contains(['+', '-']));
    let text = if has_zone { text } else { format!("{text}Z") };
    text.parse().map_err(|_| InvalidValue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_databases_and_of_django_are_parsed() {
        let at = |micros| Some(Timestamp::from_micros(micros));
        for (text, time) in [
            ("@1795499584123456", Some(at(1_795_499_584_123_456))),
            ("infinity", Some(None)),
            ("-infinity", Some(at(i64::MIN))),
            ("2026-11-24 05:53:04", None),
        ] {
            assert_eq!(computed(text).ok(), time, "{text:?}");
            assert!(text.starts_with('2') || written(text).is_err(), "not a valid text: {text:?}");
        }
        for (text, time) in [
            ("2026-11-24 05:53:04.123456", at(1_795_499_584_123_456)),
            ("2026-11-24 05:53:04", at(1_795_499_584_000_000)),
            ("2026-11-24T05:53:04Z", at(1_795_499_584_000_000)),
            ("2026-11-24 07:53:04+02:00", at(1_795_499_584_000_000)),
            (" 2026-11-24 05:53:04", None),
            ("2026-11-24 05:53:04 ", None),
        ] {
            assert_eq!(written(text).ok(), time, "{text:?}");
        }
        for text in [
            "",
            "@",
            "?",
            "0",
            "1795499584",
            "2026-11-24",
            "0000-00-00 00:00:00",
            "tomorrow",
            "never",
            "null",
            "Infinity",
        ] {
            assert!(computed(text).is_err() && written(text).is_err(), "{text:?}");
        }
    }
}
