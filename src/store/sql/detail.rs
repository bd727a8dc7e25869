//! More of an act, in the words of the audit trail.
//!
//! A name is quoted where its punctuation could be taken for ours. Nothing secret is ever handed to any of these.

use crate::store::NewUser;

/// What makes a new user differ from an ordinary active one; empty: nothing.
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
    // Last, since more than one may follow.
    if !user.groups.is_empty() {
        parts.push(format!("groups {}", names(&sorted(&user.groups))));
    }
    parts.join(", ")
}

/// How many tokens ended together, and how many of them counted until then.
pub(super) fn tokens(all: u64, live: u64) -> String {
    let tokens = if all == 1 { "token" } else { "tokens" };
    if all == live { format!("{all} live {tokens}") } else { format!("{all} {tokens}, {live} of them live") }
}

/// Each once, in their order.
pub(super) fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    names
}

fn names(names: &[String]) -> String {
    names.iter().map(|name| name_of(name)).collect::<Vec<_>>().join(", ")
}

fn name_of(name: &str) -> String {
    let is_plain = |character: char| character.is_alphanumeric() || " @.+-_/:".contains(character);
    if name.chars().all(is_plain) && name.trim() == name { name.to_owned() } else { format!("{name:?}") }
}
