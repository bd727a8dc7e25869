//! The detail texts of audit entries.
//!
//! A name is quoted if its punctuation could be confused with that of the text. No secret is passed to these functions.

use super::token_changes::NewTerms;
use crate::clock::Timestamp;
use crate::store::{NewUser, PersonalDetails, TokenDetails, TokenLimits};
use crate::token::{OwnRate, ScopeSet};

/// Characters of a note that an entry repeats.
const MAX_NOTE: usize = 60;

/// How a new user differs from an ordinary active one; empty: no difference.
pub(super) fn created(user: &NewUser) -> String {
    let mut parts = Vec::new();
    if user.superuser {
        parts.push("superuser".to_owned());
    } else if user.staff {
        parts.push("staff".to_owned());
    }
    if !user.active {
        parts.push("inactive".to_owned());
    }
    // Last, since there may be several.
    if !user.groups.is_empty() {
        parts.push(format!("groups {}", names(&sorted(&user.groups))));
    }
    parts.join(", ")
}

/// The changed details of a user; empty: none. The name itself is in every entry.
pub(super) fn edited(former: &PersonalDetails, now: &PersonalDetails) -> String {
    let mut parts = Vec::new();
    if now.name != former.name {
        parts.push(format!("name: {} → {}", name_of(&former.name), name_of(&now.name)));
    }
    if now.email != former.email {
        parts.push(format!("e-mail: {} → {}", or_none(&former.email), or_none(&now.email)));
    }
    if now.first_name != former.first_name {
        parts.push(format!("first name: {} → {}", or_none(&former.first_name), or_none(&now.first_name)));
    }
    if now.last_name != former.last_name {
        parts.push(format!("last name: {} → {}", or_none(&former.last_name), or_none(&now.last_name)));
    }
    if now.rate != former.rate {
        parts.push(format!("rate: {} → {}", rate(former.rate), rate(now.rate)));
    }
    parts.join("; ")
}

/// The former and the new groups of a user, sorted.
pub(super) fn groups(former: &[String], now: &[String]) -> String {
    let listed = |groups: &[String]| if groups.is_empty() { "none".to_owned() } else { names(groups) };
    format!("{} → {}", listed(former), listed(now))
}

/// The former and the new rights of a user: staff, and superuser.
pub(super) fn rights(former: (bool, bool), now: (bool, bool)) -> String {
    let word = |rights| match rights {
        (true, true) => "staff and superuser",
        (false, true) => "superuser",
        (true, false) => "staff",
        (false, false) => "neither staff nor superuser",
    };
    format!("{} → {}", word(former), word(now))
}

/// The terms of a new token; empty: neither expiry, nor scopes, nor limits.
pub(super) fn issued(expires: Option<Timestamp>, scopes: &ScopeSet, limits: &TokenLimits) -> String {
    let end = expires.map(|end| format!("expires {end}"));
    let scopes = Some(scopes.to_string()).filter(|scopes| !scopes.is_empty()).map(|scopes| format!("scopes {scopes}"));
    let terms = end.into_iter().chain(scopes).collect::<Vec<_>>().join(" ");
    let networks = limits.networks.as_ref().map(|networks| format!("only from {networks}"));
    let days = limits.unused_days.map(|days| format!("ends after {days} days without a use"));
    let rate = limits.rate.map(|rate| format!("rate {rate}"));
    let limits = limits.read_only.then(|| "read-only".to_owned()).into_iter().chain(networks).chain(days).chain(rate);
    Some(terms).filter(|terms| !terms.is_empty()).into_iter().chain(limits).collect::<Vec<_>>().join("; ")
}

/// The changed terms of a token; empty: none. Of a note, only the beginning is repeated: it can be long.
pub(super) fn terms(former: &TokenDetails, now: &NewTerms<'_>) -> String {
    let mut parts = Vec::new();
    if *now.name != former.name {
        parts.push(format!("name: {} → {}", name_of(&former.name), name_of(now.name)));
    }
    if now.expires != former.record.expires {
        let end = |end: Option<Timestamp>| end.map_or_else(|| "never".to_owned(), |end| end.to_string());
        parts.push(format!("expires: {} → {}", end(former.record.expires), end(now.expires)));
    }
    if *now.scopes != former.record.scopes {
        let set = |scopes: &ScopeSet| or_none(&scopes.to_string());
        parts.push(format!("scopes: {} → {}", set(&former.record.scopes), set(now.scopes)));
    }
    let before = TokenLimits::of(&former.record.restrictions);
    if now.limits.read_only != before.read_only {
        let word = |read_only: bool| if read_only { "yes" } else { "no" };
        parts.push(format!("read-only: {} → {}", word(before.read_only), word(now.limits.read_only)));
    }
    if now.limits.networks != before.networks {
        let text = |limits: &TokenLimits| limits.networks.as_ref().map_or("any".to_owned(), ToString::to_string);
        parts.push(format!("networks: {} → {}", text(&before), text(&now.limits)));
    }
    if now.limits.unused_days != before.unused_days {
        let text = |limits: &TokenLimits| limits.unused_days.map_or("none".to_owned(), |days| days.to_string());
        parts.push(format!("days without a use: {} → {}", text(&before), text(&now.limits)));
    }
    if now.limits.rate != before.rate {
        parts.push(format!("rate: {} → {}", rate(before.rate), rate(now.limits.rate)));
    }
    if *now.note != former.note {
        parts.push(format!("note: {} → {}", beginning(&former.note), beginning(now.note)));
    }
    parts.join("; ")
}

fn rate(rate: Option<OwnRate>) -> String {
    rate.map_or("none".to_owned(), |rate| rate.to_string())
}

/// How many tokens ended together, and how many of them were live.
pub(super) fn tokens(all: u64, live: u64) -> String {
    let tokens = if all == 1 { "token" } else { "tokens" };
    if all == live { format!("{all} live {tokens}") } else { format!("{all} {tokens}, {live} of them live") }
}

/// Sorted, without duplicates.
pub(super) fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    names
}

fn beginning(note: &str) -> String {
    match note.char_indices().nth(MAX_NOTE) {
        Some((end, _)) => format!("{}…", name_of(note.get(..end).unwrap_or_default())),
        None => or_none(note),
    }
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "none".to_owned() } else { name_of(text) }
}

fn names(names: &[String]) -> String {
    names.iter().map(|name| name_of(name)).collect::<Vec<_>>().join(", ")
}

fn name_of(name: &str) -> String {
    let is_plain = |character: char| character.is_alphanumeric() || " @.+-_/:".contains(character);
    if name.chars().all(is_plain) && name.trim() == name { name.to_owned() } else { format!("{name:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_they_could_be_misread() {
        for plain in ["ops", "on call", "zażółć", "a@b.example", "team:a/b_c-d+e"] {
            assert_eq!(name_of(plain), plain);
        }
        for (name, quoted) in [
            ("a,b", "\"a,b\""),
            ("a; was b", "\"a; was b\""),
            (" a", "\" a\""),
            ("say \"a\"", "\"say \\\"a\\\"\""),
            ("a\\b", "\"a\\\\b\""),
            ("a\u{202e}b", "\"a\\u{202e}b\""),
        ] {
            assert_eq!(name_of(name), quoted);
        }
    }

    #[test]
    fn numbers_of_tokens_have_the_right_plural() {
        for (all, live, told) in [
            (0, 0, "0 live tokens"),
            (1, 1, "1 live token"),
            (2, 2, "2 live tokens"),
            (1, 0, "1 token, 0 of them live"),
            (3, 1, "3 tokens, 1 of them live"),
        ] {
            assert_eq!(tokens(all, live), told);
        }
    }
}
