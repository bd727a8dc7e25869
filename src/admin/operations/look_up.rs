//! Look-up of leaked keys: finds the tokens in a pasted key or in lines of text.
//!
//! Imported keys may contain any character but white space and control characters, and may end in `=`. Each word is
//! therefore tried as it stands, and cut at the characters that surround keys in headers, URLs, JSON and shells.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::{Acting, OperationError};
use crate::store::{TokenDetails, TokenRef};
use crate::token::{ShownKey, TokenFormat};

/// Maximum number of words looked up in one text.
const MAX_WORDS: usize = 50;

/// Result of a look-up.
#[derive(Debug, Default)]
pub struct Found {
    /// Tokens whose keys the text contains.
    pub tokens: Vec<TokenDetails>,
    /// True if the text also contains keys whose owners the caller may not manage.
    pub others: bool,
    /// True if the text was too long; only the likeliest words were looked up.
    pub cut: bool,
}

impl Acting<'_> {
    /// Finds the tokens whose keys a pasted text contains.
    ///
    /// # Errors
    /// [`OperationError::NotAllowed`] if the caller may not manage any of their owners, [`OperationError::Unavailable`].
    pub async fn look_up(&self, pasted: &str) -> Result<Found, OperationError> {
        let mut words = words(pasted);
        let mut found = Found { cut: words.len() > MAX_WORDS, ..Found::default() };
        words.truncate(MAX_WORDS);
        for key in words {
            let Some(token) = self.store.ledger.show(TokenRef::Digest(key.digest())).await? else { continue };
            match self.user(token.record.owner.id).await {
                Ok(_) => found.tokens.push(token),
                Err(OperationError::NotAllowed(_)) => found.others = true,
                // The user was deleted a moment ago, with the token.
                Err(OperationError::UnknownUser(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if found.others && found.tokens.is_empty() {
            return Err(OperationError::NotAllowed(
                "only superusers can manage the owner of this key; tell a superuser at once",
            ));
        }
        Ok(found)
    }
}

/// Words that could be keys, without duplicates: those in this gateway's format first, then by length.
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

/// A word as it stands, cut at characters that bearer tokens cannot contain (RFC 9110 §11.2), and cut at all but
/// letters and digits.
fn readings(word: &str) -> impl Iterator<Item = &str> {
    let bare = |text: &'static str| move |c: char| !(c.is_alphanumeric() || text.contains(c));
    let long = word.split(bare("-._~+/")).flat_map(|part| [part, part.trim_matches(|c: char| !c.is_alphanumeric())]);
    // Base64 keys may end in one or two `=`.
    let padded = word.match_indices('=').filter_map(move |(at, _)| {
        let (before, marks) = word.split_at_checked(at)?;
        let last = before.char_indices().rfind(|(_, c)| bare("-._~+/")(*c));
        let start = last.map_or(0, |(at, c)| at + c.len_utf8());
        let end = word.len() - marks.trim_start_matches('=').len();
        (start < at).then(|| word.get(start..end)).flatten()
    });
    // Escapes stick to the text that follows them: `%3D`, `\n`, `\u003d`.
    let short = word.split(bare("")).flat_map(|part| [part, last(part)]);
    // A prefix marks the start of a key, whatever precedes it.
    let prefixed =
        word.match_indices(TokenFormat::PREFIX).filter_map(|(at, _)| word.get(at..at + TokenFormat::Prefixed.length()));
    [word, word.trim_matches(|c: char| !c.is_alphanumeric())]
        .into_iter()
        .chain(long)
        .chain(padded)
        .chain(short)
        .chain(prefixed)
}

/// The end of a text, cut to the length of a key without a prefix.
fn last(text: &str) -> &str {
    let start = text.char_indices().rev().nth(TokenFormat::Drf.length() - 1).map_or(0, |(at, _)| at);
    text.get(start..).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "b0aa76431f386f86ff6dfb3c7784a7939634a1df";
    /// True if the checksum of [`TokenFormat::Prefixed`] matches.
    const PREFIXED: &str = "tg_0000000000000000000000000000002C8GjS";

    #[test]
    fn a_key_is_found_whatever_surrounds_it() {
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
                // Where letters precede a key without a break, only its length identifies it.
                let runs_on = ["%3D", "\\u00", "\\nK", "_K"].iter().any(|part| around.contains(part));
                let is_found = words(&text).iter().any(|word| word.expose() == key);
                assert!(is_found || (runs_on && ![KEY, PREFIXED].contains(&key)), "{text}");
            }
        }
        assert_eq!(words("a!b c!d").iter().filter(|word| word.expose() == "a!b").count(), 1);
    }

    #[test]
    fn words_in_our_own_format_come_first() {
        let text = format!("a-very-long-word-indeed {KEY} {PREFIXED} {KEY} another-word ");
        let words: Vec<_> = words(&text).iter().map(|word| word.expose()).collect();
        assert_eq!(words[..2], [KEY, PREFIXED]);
        assert!(words.contains(&"a-very-long-word-indeed"));
        assert_eq!(words.iter().filter(|word| **word == KEY).count(), 1);
    }
}
