//! Scopes: what a token may be used for.

use std::fmt;

/// One scope: 1 to 64 characters of `a-z`, `0-9`, `.`, `_`, `-` and `:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Box<str>);

/// The error for a text that is not a valid scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid scope: use 1 to 64 characters of a-z, 0-9, `.`, `_`, `-` and `:`")]
pub struct InvalidScope(String);

impl Scope {
    /// Reads one scope.
    ///
    /// # Errors
    /// [`InvalidScope`] for anything outside the grammar.
    pub fn parse(text: &str) -> Result<Scope, InvalidScope> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-:".contains(&b);
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Scope(text.into()))
        } else {
            Err(InvalidScope(text.to_owned()))
        }
    }

    /// Returns the scope as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of scopes, sorted and without duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeSet(Box<[Scope]>);

impl ScopeSet {
    /// Collects scopes into a set.
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> ScopeSet {
        let mut all: Vec<Scope> = scopes.into_iter().collect();
        all.sort();
        all.dedup();
        ScopeSet(all.into_boxed_slice())
    }

    /// Reads scopes separated by spaces, as in stores and headers.
    ///
    /// # Errors
    /// [`InvalidScope`] names the first invalid scope.
    pub fn parse(text: &str) -> Result<ScopeSet, InvalidScope> {
        Ok(ScopeSet::new(text.split_ascii_whitespace().map(Scope::parse).collect::<Result<Vec<_>, _>>()?))
    }

    /// Reports whether the set contains this scope.
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.binary_search(scope).is_ok()
    }

    /// The scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Reports whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Separates the scopes with one space.
impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { " " })?;
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_have_a_small_alphabet() {
        for good in ["read", "tokengate:admin", "a", "orders.write_all-2"] {
            assert!(Scope::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "Read", "a b", "ö", "a,b", &"a".repeat(65)] {
            assert!(Scope::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_set_is_sorted_without_duplicates() {
        let set = ScopeSet::parse("write  read write").unwrap();
        assert_eq!(set.to_string(), "read write");
        assert!(set.contains(&Scope::parse("read").unwrap()));
        assert!(!set.contains(&Scope::parse("admin").unwrap()));
    }
}
