//! What a form or a query says.

use zeroize::Zeroizing;

use crate::store::Password;

/// Named texts in their order.
pub(super) struct Fields(Vec<(String, Zeroizing<String>)>);

impl Fields {
    /// Reads `a=b&c=d`. Bytes that are no UTF-8 are replaced, white space at the ends stays.
    pub(super) fn read(text: &[u8]) -> Fields {
        let own = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
            (name.into_owned(), Zeroizing::new(value.into_owned()))
        };
        Fields(form_urlencoded::parse(text).map(own).collect())
    }

    /// The first of this name, without white space at its ends; empty if there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default().trim()
    }

    /// All of this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Was the box of this name ticked?
    pub(super) fn is_ticked(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// A password, exactly as it was typed; `None` if nothing was.
    pub(super) fn password(&self, name: &str) -> Option<Password> {
        self.all(name).next().and_then(|text| Password::parse(text).ok())
    }
}
