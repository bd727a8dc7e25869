//! Fields of a form or query.

use zeroize::Zeroizing;

use crate::store::Password;

/// Name-value pairs in their order.
pub(super) struct Fields(Vec<(String, Zeroizing<String>)>);

impl Fields {
    /// Parses `a=b&c=d`. Invalid UTF-8 is replaced; white space at the ends is kept.
    pub(super) fn read(text: &[u8]) -> Fields {
        let own = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
            (name.into_owned(), Zeroizing::new(value.into_owned()))
        };
        Fields(form_urlencoded::parse(text).map(own).collect())
    }

    /// Returns the first value of this name, trimmed; empty if there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default().trim()
    }

    /// Returns all names and values in their order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns all values of this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the check box of this name is ticked.
    pub(super) fn is_ticked(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Returns a password exactly as typed; `None` if the field is empty.
    pub(super) fn password(&self, name: &str) -> Option<Password> {
        self.all(name).next().and_then(|text| Password::parse(text).ok())
    }
}
