//! One page of a list by id, in which some rows may be unreadable.
//!
//! A row can hold what is no text in UTF-8, or nothing where a value has to be: SQLite keeps any bytes, and a Django
//! project makes its own tables. A list names such rows and goes on. A lookup of one token or user does not: it fails.

use std::ops::Deref;

/// The entries of a page. It can be used as the slice of its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<T> {
    entries: Vec<T>,
    unreadable: Vec<Unreadable>,
    end: Option<i64>,
}

/// A row that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The id of the token or user, if at least that can be read.
    pub id: Option<i64>,
    /// The column and what is wrong with its value. Shows nothing of the value.
    pub cause: String,
}

impl<T> Batch<T> {
    /// Puts a page together; `id` gives the id of an entry. What is said of an id whose row cannot be read is left out: a
    /// token or user can have several rows, and a part of them would be another token or user.
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

    /// The last id of the page, of an unreadable row or not; `None`: there is nothing on the page.
    pub fn end(&self) -> Option<i64> {
        self.end
    }

    /// The same page with something else in the place of each entry.
    pub(super) fn map<U>(self, change: impl FnMut(T) -> U) -> Batch<U> {
        let Batch { entries, unreadable, end } = self;
        Batch { entries: entries.into_iter().map(change).collect(), unreadable, end }
    }

    /// What has an id greater than this.
    pub(super) fn behind(self, after: i64, id: impl Fn(&T) -> i64) -> Batch<T> {
        let Batch { mut entries, mut unreadable, .. } = self;
        entries.retain(|entry| id(entry) > after);
        unreadable.retain(|row| row.id.map_or(after <= 0, |id| id > after));
        Batch::of(entries, unreadable, id)
    }

    /// Leaves out entries that are not asked for.
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
    fn a_page_goes_on_behind_rows_that_cannot_be_read_and_shows_no_half_of_one() {
        let bad = |id| Unreadable { id, cause: String::new() };
        let page = Batch::of(vec![1, 2, 4], vec![bad(Some(2)), bad(Some(5)), bad(Some(5)), bad(None)], |id| *id);
        assert_eq!((&page[..], page.end()), (&[1, 4][..], Some(5)));
        assert_eq!(page.unreadable(), [bad(Some(2)), bad(Some(5)), bad(None)]);
        assert_eq!(Batch::of(Vec::<i64>::new(), vec![bad(Some(7))], |id| *id).end(), Some(7));
        assert_eq!(Batch::of(Vec::<i64>::new(), Vec::new(), |id| *id).end(), None);
    }
}
