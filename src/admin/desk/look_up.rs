//! Whose key was found? For leak reports: what is pasted may be a key, or lines of text with keys in them.
//!
//! Keys that were imported may hold any character but white space and control characters, and `=` at their end, so a word
//! is read in more than one way: as it stands, and cut at what surrounds keys in fields, addresses, JSON and shells.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::{Acting, DeskError};
use crate::store::{TokenDetails, TokenRef};
use crate::token::{ShownKey, TokenFormat};

/// Most words of one text that are looked up.
const MOST: usize = 50;

/// What a pasted text is.
#[derive(Debug, Default)]
pub struct Found {
    /// The tokens whose keys stand in it.
    pub tokens: Vec<TokenDetails>,
    /// Are there others besides, whose owners the caller does not look after?
    pub others: bool,
    /// Had it too many words to look them all up? The likeliest ones were.
    pub cut: bool,
}

impl Acting<'_> {
    /// The tokens whose keys stand in a pasted text.
    ///
    /// # Errors
    /// [`DeskError::NotAllowed`] if all belong to somebody whom the caller does not look after,
    /// [`DeskError::Unavailable`].
    pub async fn look_up(&self, pasted: &str) -> Result<Found, DeskError> {
        let mut words = words(pasted);
        let mut found = Found { cut: words.len() > MOST, ..Found::default() };
        words.truncate(MOST);
        for key in words {
            let Some(token) = self.store.ledger.show(TokenRef::Digest(key.digest())).await? else { continue };
            match self.user(token.record.owner.id).await {
                Ok(_) => found.tokens.push(token),
                Err(DeskError::NotAllowed(_)) => found.others = true,
                // Gone a moment ago, with the token.
                Err(DeskError::UnknownUser(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if found.others && found.tokens.is_empty() {
            return Err(DeskError::NotAllowed(
                "only superusers may manage the owner of this key; tell a superuser at once",
            ));
        }
        Ok(found)
    }
}

/// What could be a key, each once: what looks like one of ours first, then by length.
fn words(pasted: &str) -> Vec<ShownKey<'_>> {
    let mut seen = HashSet::new();
    let mut words: Vec<_> = pasted
        .split(|c: char| c.is_whitespace() || c.is_control())
        .flat_map(readings)
        .filter_map(|word| ShownKey::parse(word).ok())
        .filter(|word| seen.insert(word.expose()))
        .collect();
    words.sort_by_key(|word| {
        let text = word.expose();
        (Reverse(TokenFormat::of(text).is_some()), Reverse(text.chars().count()))
    });
    words
}

/// A word as it stands, cut at all but what a bearer token may hold (RFC 9110 §11.2), and cut at all but letters and
/// digits.
fn readings(word: &str) -> impl Iterator<Item = &str> {
    let bare = |text: &'static str| move |c: char| !(c.is_alphanumeric() || text.contains(c));
    let long = word.split(bare("-._~+/")).flat_map(|part| [part, part.trim_matches(|c: char| !c.is_alphanumeric())]);
    // Keys that are base64 may end in one or two `=`.
    let padded = word.match_indices('=').filter_map(move |(at, _)| {
        let (before, marks) = word.split_at_checked(at)?;
        let last = before.char_indices().rfind(|(_, c)| bare("-._~+/")(*c));
        let start = last.map_or(0, |(at, c)| at + c.len_utf8());
        let end = word.len() - marks.trim_start_matches('=').len();
        (start < at).then(|| word.get(start..end)).flatten()
    });
    // Escapes stick to what follows them: `%3D`, `\n`, `\u003d`.
    let short = word.split(bare("")).flat_map(|part| [part, last(part)]);
    // A prefix says where a key begins, whatever stands before it.
    let prefixed =
        word.match_indices(TokenFormat::PREFIX).filter_map(|(at, _)| word.get(at..at + TokenFormat::Prefixed.length()));
    [word, word.trim_matches(|c: char| !c.is_alphanumeric())]
        .into_iter()
        .chain(long)
        .chain(padded)
        .chain(short)
        .chain(prefixed)
}

/// The last characters of a text, no more than a key without a prefix has.
fn last(text: &str) -> &str {
    let start = text.char_indices().rev().nth(TokenFormat::Drf.length() - 1).map_or(0, |(at, _)| at);
    text.get(start..).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "b0aa76431f386f86ff6dfb3c7784a7939634a1df";
    /// Its checksum is that of [`TokenFormat::Prefixed`].
    const PREFIXED: &str = "tg_0000000000000000000000000000002C8GjS";

    #[test]
    fn a_key_is_found_in_whatever_surrounds_it() {
        let long = "0123456789abcdefXYZ".repeat(13);
        for around in [
            "K",
            "  K\n",
            "Authorization: Token K",
            "curl -H \"Authorization: Token K\" https://gw/x",
            "curl -H 'Authorization: Token K' https://gw/x",
            "token=K",
            "{\"api_key\": \"K\"}",
            "{\"api_key\":\"K\"}",
            "\"api_key\": \"K\",",
            "https://gw/?token=K&x=1",
            "https://gw/ K /x",
            "https://gw/path?token=K#x",
            "token%3DK%26x=1",
            "\\u0022K\\u0022",
            "a line\\nK\\nanother",
            "key K.",
            "(K)",
            "`K`",
            "„K“",
            "K found in repo",
            "secret_K",
            "one line\nand K on another\nand more",
        ] {
            for key in [KEY, PREFIXED, "Custom-Key.v1~x", "töken-密钥", "abc", &long, "+Q/dQ+/d.w==", "glpat-Xy_-zZ"]
            {
                let text = around.replace('K', key);
                // What runs on from letters is known by its length alone.
                let runs_on = ["%3D", "\\u00", "\\nK", "_K"].iter().any(|part| around.contains(part));
                let is_found = words(&text).iter().any(|word| word.expose() == key);
                assert!(is_found || (runs_on && ![KEY, PREFIXED].contains(&key)), "{text}");
            }
        }
        assert_eq!(words("a!b c!d").iter().filter(|word| word.expose() == "a!b").count(), 1);
    }

    #[test]
    fn what_looks_like_one_of_ours_comes_first() {
        let text = format!("a-very-long-word-indeed {KEY} {PREFIXED} {KEY} another-word ");
        let words: Vec<_> = words(&text).iter().map(|word| word.expose()).collect();
        assert_eq!(words[..2], [KEY, PREFIXED]);
        assert!(words.contains(&"a-very-long-word-indeed"));
        assert_eq!(words.iter().filter(|word| **word == KEY).count(), 1);
    }
}
