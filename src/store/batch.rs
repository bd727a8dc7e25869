//! One page of a list by id, in which some rows may be unreadable.
//!
//! A row can contain invalid UTF-8, or NULL where a value is required: SQLite stores any bytes, and a Django project
//! defines its own tables. A list reports such rows and continues. A lookup of one token or user fails.

use std::ops::Deref;

/// The entries of a page. Dereferences to a slice of the entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<T> {
    entries: Vec<T>,
    unreadable: Vec<Unreadable>,
    end: Option<i64>,
}

/// A row that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The id of the token or user, if it can be read.
    pub id: Option<i64>,
    /// The column, and what is wrong with its value. Does not show the value.
    pub cause: String,
}

impl<T> Batch<T> {
    /// Creates a page; `id` returns the id of an entry. If one row of an id cannot be read, all entries with this id
    /// are left out: a token or user can have several rows, and some of them alone would describe another token or
    /// user.
    pub(super) fn of(mut entries: Vec<T>, mut unreadable: Vec<Unreadable>, id: impl Fn(&T) -> i64) -> Batch<T> {
        unreadable.dedup_by(|row, before| row.id.is_some() && row.id == before.id);
        let end = entries.iter().map(&id).chain(unreadable.iter().filter_map(|row| row.id)).max();
        entries.retain(|entry| !unreadable.iter().any(|row| row.id == Some(id(entry))));
        Batch { entries, unreadable, end }
    }

    /// The rows that cannot be read.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// The last id of the page, of an unreadable row or not; `None`: the page is empty.
    pub fn end(&self) -> Option<i64> {
        self.end
    }

    /// The same page with each entry converted.
    pub(super) fn map<U>(self, change: impl FnMut(T) -> U) -> Batch<U> {
        let Batch { entries, unreadable, end } = self;
        Batch { entries: entries.into_iter().map(change).collect(), unreadable, end }
    }

    /// The part of the page with greater ids.
    pub(super) fn behind(self, after: i64, id: impl Fn(&T) -> i64) -> Batch<T> {
        let Batch { mut entries, mut unreadable, .. } = self;
        entries.retain(|entry| id(entry) > after);
        unreadable.retain(|row| row.id.map_or(after <= 0, |id| id > after));
        Batch::of(entries, unreadable, id)
    }

    /// Keeps only the entries for which `keep` is true.
    pub(super) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.entries.retain(keep);
    }

    /// The entries, and the rows that cannot be read.
    pub fn into_parts(self) -> (Vec<T>, Vec<Unreadable>) {
        (self.entries, self.unreadable)
    }
}

impl<T> Deref for Batch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.entries
    }
}

impl<T> IntoIterator for Batch<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'b, T> IntoIterator for &'b Batch<T> {
    type Item = &'b T;
    type IntoIter = std::slice::Iter<'b, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_continues_after_unreadable_rows_and_has_no_partial_entry() {
        let bad = |id| Unreadable { id, cause: String::new() };
        let page = Batch::of(vec![1, 2, 4], vec![bad(Some(2)), bad(Some(5)), bad(Some(5)), bad(None)], |id| *id);
        assert_eq!((&page[..], page.end()), (&[1, 4][..], Some(5)));
        assert_eq!(page.unreadable(), [bad(Some(2)), bad(Some(5)), bad(None)]);
        assert_eq!(Batch::of(Vec::<i64>::new(), vec![bad(Some(7))], |id| *id).end(), Some(7));
        assert_eq!(Batch::of(Vec::<i64>::new(), Vec::new(), |id| *id).end(), None);
    }
}
