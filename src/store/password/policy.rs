//! What a new password has to be: long enough, not common, not only digits, and not like the names of its user.
//!
//! These are the checks that Django makes by default (`AUTH_PASSWORD_VALIDATORS` of a new project), with its
//! thresholds. Imported hashes are not checked.
//!
//! `common.txt` has the passwords of at least eight characters, not only digits, among the 20,000 most common ones of
//! published leaks, as Royce Williams collected them and Django uses them; sorted, in lower case.

use std::collections::HashMap;

use super::Password;

/// Minimum length in characters (NIST SP 800-63B §5.1.1.2).
pub const MIN_PASSWORD: usize = 8;

/// How much of a password may be the characters of a name.
const MOST_ALIKE: f64 = 0.7;

const COMMON: &str = include_str!("common.txt");

/// Why a new password is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// It is too short.
    #[error("a password has at least {MIN_PASSWORD} characters")]
    Short,
    /// It is among the most common ones.
    #[error("this password is too common; attackers try it first")]
    Common,
    /// It has only digits.
    #[error("a password must not consist only of digits")]
    Digits,
    /// It is like a name of the user.
    #[error("this password is too similar to the {0} of the user")]
    Alike(&'static str),
}

/// The names of a user, which a password must not be like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    /// Username.
    pub name: &'a str,
    /// E-mail address.
    pub email: &'a str,
    /// First name.
    pub first_name: &'a str,
    /// Last name.
    pub last_name: &'a str,
}

impl Password {
    /// Checks a new password of a user with these names.
    ///
    /// # Errors
    /// [`WeakPassword`].
    pub fn check_new(&self, names: Names<'_>) -> Result<(), WeakPassword> {
        if self.characters() < MIN_PASSWORD {
            return Err(WeakPassword::Short);
        }
        let text = zeroize::Zeroizing::new(self.0.to_lowercase());
        if text.chars().all(|c| c.is_numeric()) {
            return Err(WeakPassword::Digits);
        }
        if is_common(text.trim()) {
            return Err(WeakPassword::Common);
        }
        let of_user = [
            ("username", names.name),
            ("e-mail address", names.email),
            ("first name", names.first_name),
            ("last name", names.last_name),
        ];
        for (what, name) in of_user {
            let name = name.to_lowercase();
            let parts = name.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            if parts.chain([name.as_str()]).any(|part| is_alike(&text, part)) {
                return Err(WeakPassword::Alike(what));
            }
        }
        Ok(())
    }
}

/// The lines are sorted, so that half of them are left out at each step.
fn is_common(text: &str) -> bool {
    static LINES: std::sync::LazyLock<Vec<&str>> = std::sync::LazyLock::new(|| COMMON.lines().collect());
    LINES.binary_search(&text).is_ok()
}

/// Whether two texts share at least [`MOST_ALIKE`] of their characters, in any order. A name that is much shorter than
/// the password cannot.
fn is_alike(password: &str, name: &str) -> bool {
    let (long, short) = (password.chars().count(), name.chars().count());
    if short == 0 || long >= 10 * short {
        return false;
    }
    let mut counts: HashMap<char, usize> = HashMap::new();
    for c in name.chars() {
        *counts.entry(c).or_default() += 1;
    }
    let shared = password.chars().filter(|c| match counts.get_mut(c) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    });
    let number = |count: usize| u32::try_from(count).map_or(f64::INFINITY, f64::from);
    2.0 * number(shared.count()) / (number(long) + number(short)) >= MOST_ALIKE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_password_is_long_uncommon_and_unlike_the_names_of_its_user() {
        let names =
            Names { name: "margaret.h", email: "hamilton@example.com", first_name: "Margaret", last_name: "Hamilton" };
        for (password, weak) in [
            ("short 1", Some(WeakPassword::Short)),
            ("ünïcödë", Some(WeakPassword::Short)),
            ("password1", Some(WeakPassword::Common)),
            (" PassWord1 ", Some(WeakPassword::Common)),
            ("8675309017", Some(WeakPassword::Digits)),
            ("margaret.h", Some(WeakPassword::Alike("username"))),
            ("MARGARETx1", Some(WeakPassword::Alike("username"))),
            ("teragramX", Some(WeakPassword::Alike("username"))),
            ("hamiltonx7", Some(WeakPassword::Alike("e-mail address"))),
            ("a walk of seven miles", None),
            ("margaret went to the moon and back", None),
            ("ünïcödë is long enough", None),
        ] {
            let judged = Password::parse(password).unwrap().check_new(names);
            assert_eq!(judged.err(), weak, "{password}");
        }
        assert_eq!(Password::parse("margaret.h").unwrap().check_new(Names::default()), Ok(()));
    }

    #[test]
    fn the_common_passwords_are_sorted_and_long_enough_to_matter() {
        assert!(COMMON.lines().is_sorted());
        assert!(COMMON.lines().count() > 5_000);
        assert!(COMMON.lines().all(|line| line.chars().count() >= MIN_PASSWORD && *line == line.to_lowercase()));
    }
}
