//! Names of tables and columns in a database of others.

use super::value::Fault;

/// The longest name in characters that all supported databases accept.
const MAX_NAME: usize = 63;

/// A name that is safe inside SQL quotes of every database.
pub(super) fn checked_name(text: &str, dots: usize) -> Result<String, Fault> {
    let is_part = |part: &str| {
        let fits =
            !part.is_empty() && part.len() <= MAX_NAME && !part.starts_with(|first: char| first.is_ascii_digit());
        fits && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if text.matches('.').count() <= dots && text.split('.').all(is_part) {
        return Ok(text.to_owned());
    }
    let schema = if dots == 0 { "" } else { ", a schema may stand before a dot" };
    Err(Fault::new(
        "is not a valid table or column name",
        format!("letters, digits and `_`, at most {MAX_NAME}{schema}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_quotes() {
        for good in ["auth_user", "Users2", "shop.auth_user", &"a".repeat(63)] {
            assert!(checked_name(good, 1).is_ok(), "{good}");
        }
        for bad in ["", ".", "a.", "a.b.c", "a b", "a\"b", "a`b", "a'b", "1a", "$1", "naïve", "a;b", &"a".repeat(64)] {
            assert!(checked_name(bad, 1).is_err(), "{bad}");
        }
        assert!(checked_name("a.b", 0).is_err());
    }
}
