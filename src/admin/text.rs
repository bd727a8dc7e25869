//! Formatting for pages, and parsing of form fields.

use std::time::Duration;

use crate::admin::operations::TokenState;
use crate::clock::Timestamp;
use crate::store::{Act, TokenDetails, TokenKind, Via};

const DAY: i64 = 86_400;

/// A day and a minute, in UTC: `2026-11-24 05:53`.
pub(super) fn minute(at: &Timestamp) -> String {
    let text = at.to_string();
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

/// A day, in UTC.
pub(super) fn day(at: &Timestamp) -> String {
    let text = at.to_string();
    text.get(..10).unwrap_or(&text).to_owned()
}

/// How far away a time is: `3 days ago`, `in 5 hours`.
pub(super) fn distance(at: &Timestamp, now: &Timestamp) -> String {
    let seconds = now.as_seconds().saturating_sub(at.as_seconds());
    let (span, past) = (seconds.saturating_abs(), seconds >= 0);
    let (count, unit) = match span {
        0..60 => return if past { "just now".to_owned() } else { "in a moment".to_owned() },
        60..3_600 => (span / 60, "minute"),
        3_600..DAY => (span / 3_600, "hour"),
        _ if span < 60 * DAY => (span / DAY, "day"),
        _ if span < 730 * DAY => (span / (30 * DAY), "month"),
        _ => (span / (365 * DAY), "year"),
    };
    let plural = if count == 1 { "" } else { "s" };
    if past { format!("{count} {unit}{plural} ago") } else { format!("in {count} {unit}{plural}") }
}

/// Parses a day such as `2026-11-24` as its first moment, in UTC.
pub(super) fn read_day(text: &str) -> Option<Timestamp> {
    let [year, month, day] = text.splitn(3, '-').collect::<Vec<_>>().try_into().ok()?;
    let number = |text: &str, digits: usize| {
        let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        if plain { text.parse::<i64>().ok() } else { None }
    };
    let (year, month, day_of) = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day_of) {
        return None;
    }
    // Days since 0000-03-01, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day_of
            - 1;
    let at = Timestamp::from_micros((days - 719_468) * DAY * 1_000_000);
    // A day that the month does not have becomes one of the next month.
    (self::day(&at) == text).then_some(at)
}

/// A duration in days.
pub(super) fn days(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(86_400))
}

/// Escapes a text for a query.
pub(super) fn escaped(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Adds a capital letter and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

/// Names the kind of a token.
pub(super) fn kind(token: &TokenDetails) -> &'static str {
    match token.kind {
        TokenKind::Named if token.device => "Login on one device",
        TokenKind::Login => "Login",
        TokenKind::Named => "Named",
    }
}

/// Badge of a token's state: its style and its word.
pub(super) fn state(token: &TokenDetails, now: &Timestamp) -> (&'static str, &'static str) {
    match TokenState::of(token, *now) {
        TokenState::Live => ("good", "Live"),
        TokenState::OwnerInactive => ("warn", "Owner inactive"),
        TokenState::Disabled => ("warn", "Disabled"),
        TokenState::Expired => ("off", "Expired"),
        TokenState::Revoked => ("off", "Revoked"),
    }
}

/// Returns true if revoking the token still has an effect.
pub(super) fn can_be_revoked(token: &TokenDetails, now: &Timestamp) -> bool {
    matches!(TokenState::of(token, *now), TokenState::Live | TokenState::OwnerInactive | TokenState::Disabled)
}

/// Names an interface.
pub(super) fn via(via: &Via) -> &'static str {
    match via {
        Via::Gateway => "gateway",
        Via::Public => "public pages",
        Via::CommandLine => "command line",
        Via::Admin => "admin",
        Via::Api => "API",
    }
}

/// Names an action, as in lists.
pub(super) fn act(act: &Act) -> String {
    match act {
        Act::PasswordSet => "Password changed".to_owned(),
        Act::GroupsSet => "Groups changed".to_owned(),
        Act::RightsSet => "Permissions changed".to_owned(),
        Act::TokenTermsSet => "Token changed".to_owned(),
        Act::TokenRevealed => "Token shown".to_owned(),
        act => sentence(&act.as_str().replace('_', " ")).trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_parsed_as_they_are_written() {
        for text in ["1970-01-01", "2000-02-29", "2024-02-29", "2026-11-24", "1999-12-31", "2100-03-01"] {
            assert_eq!(read_day(text).map(|at| day(&at)).as_deref(), Some(text));
        }
        for bad in [
            "",
            "2026",
            "2026-11",
            "2026-2-3",
            "2026-13-01",
            "2026-00-01",
            "2026-02-30",
            "2100-02-29",
            "x026-01-01",
            "2026-01-01-",
        ] {
            assert_eq!(read_day(bad), None, "{bad}");
        }
    }

    #[test]
    fn distances_are_shown_in_the_largest_unit() {
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let at = |seconds: i64| Timestamp::from_micros(now.as_micros() - seconds * 1_000_000);
        for (seconds, words) in [
            (5, "just now"),
            (60, "1 minute ago"),
            (7_200, "2 hours ago"),
            (3 * DAY, "3 days ago"),
            (90 * DAY, "3 months ago"),
            (800 * DAY, "2 years ago"),
            (-5, "in a moment"),
            (-86_400, "in 1 day"),
        ] {
            assert_eq!(distance(&at(seconds), &now), words);
        }
    }

    #[test]
    fn a_sentence_begins_with_a_capital_and_ends_with_a_stop() {
        assert_eq!(sentence("user 7 does not exist"), "User 7 does not exist.");
        assert_eq!(act(&Act::TokenRevoked), "Token revoked");
    }
}
