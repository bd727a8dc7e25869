//! What the account page shows once, after the redirect that follows each act: a message or a key.
//!
//! It is in a cookie of this page alone, for a minute, and the page removes it. So a reload neither repeats the act nor
//! shows the key again, and it does not matter which gateway answers the redirect
//! (docs/decisions/0080-account-page-redirects.md).

use http::HeaderMap;

use crate::auth::cookies;
use crate::login::html::Notice;

const COOKIE: &str = "__Secure-tokengate-shown";

/// The longest time between the redirect and the page, in seconds.
const AGE: u32 = 60;

/// The result of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The login token is shown.
    Revealed,
    /// The login token was reset.
    Reset,
    /// A named token was created.
    Created,
    /// A token was revoked.
    Revoked,
    /// A token was changed.
    Changed,
    /// Nothing was different.
    Unchanged,
    /// The password was changed.
    Password,
}

impl Act {
    const ALL: [(Act, &str, &str); 7] = [
        (Act::Revealed, "revealed", "Your login token:"),
        (Act::Reset, "reset", "Your new login token; the old one no longer works:"),
        (Act::Created, "created", "Copy your new token now; it is not shown again:"),
        (Act::Revoked, "revoked", "The token was revoked and no longer works."),
        (Act::Changed, "changed", "The token was changed."),
        (Act::Unchanged, "unchanged", "Nothing was changed."),
        (Act::Password, "password", "Your password was changed. All other sessions have ended."),
    ];

    fn word(self) -> &'static str {
        Act::ALL.iter().find(|(act, ..)| *act == self).map_or("", |(_, word, _)| word)
    }
}

/// The cookie for the page at this path. `key` may be empty.
pub(super) fn cookie(act: Act, key: &str, path: &str) -> String {
    format!("{COOKIE}={}.{key}; Max-Age={AGE}; Path={path}; Secure; HttpOnly; SameSite=Strict", act.word())
}

/// Removes the cookie.
pub(super) fn removed(path: &str) -> String {
    format!("{COOKIE}=; Max-Age=0; Path={path}; Secure; HttpOnly; SameSite=Strict")
}

/// The message of the cookie, if there is one.
pub(super) fn notice(fields: &HeaderMap) -> Option<Notice<'_>> {
    let (word, key) = cookies::cookie(fields, COOKIE)?.split_once('.')?;
    let (act, _, text) = Act::ALL.iter().find(|(_, known, _)| *known == word)?;
    Some(match act {
        Act::Revealed | Act::Reset | Act::Created => Notice::Key { what: text, key },
        _ => Notice::Done(text),
    })
}
