//! Pages of a list, and their positions.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding};

use super::Unreadable;

/// Maximum length of the text of a [`PagePosition`].
const MAX_POSITION: usize = 2_048;

/// Precedes the text of a [`PagePosition::Before`].
const BEFORE: &str = "-";

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Rows of this page that cannot be read, and are not among the entries.
    pub unreadable: Vec<Unreadable>,
    /// The previous page; [`PagePosition::Start`]: there is none.
    pub previous: PagePosition,
    /// The next page; [`PagePosition::Start`]: there is none.
    pub next: PagePosition,
}

/// The position of a page. Its text form is valid only for the list that returned it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PagePosition {
    /// The page starts with the first entry.
    #[default]
    Start,
    /// The page starts after an entry.
    Behind(Mark),
    /// The page ends before an entry. If fewer entries than a full page precede it, the first page is shown.
    Before(Mark),
}

/// The position of an entry in a list; the entry may have been deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The list.
    pub list: ListId,
    /// The sort key.
    pub key: SortKey,
    /// The id of the entry.
    pub id: i64,
}

/// A list: a selection and its order. A position in one list is invalid in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListId(char);

/// The sort key of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// A case-folded name.
    Text(String),
    /// A time or an id.
    Number(i64),
}

/// The error for a text that is not a valid [`PagePosition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this page link is no longer valid; start at the first page")]
pub struct BadPosition;

impl ListId {
    /// The list with this letter.
    pub(super) const fn of(letter: char) -> ListId {
        ListId(letter)
    }

    /// Every list has one of these letters.
    const LETTERS: std::ops::RangeInclusive<char> = 'a'..='u';
    /// The lists that are sorted by text.
    const BY_TEXT: [ListId; 2] = [ListId('a'), ListId('l')];
    /// The audit trail.
    pub const AUDIT: ListId = ListId('b');
}

impl<T> Listing<T> {
    /// A list without entries.
    pub fn empty() -> Listing<T> {
        let (previous, next) = (PagePosition::Start, PagePosition::Start);
        Listing { entries: Vec::new(), unreadable: Vec::new(), previous, next }
    }

    /// Creates a page of at most `limit` entries; `entries` has one more if the list continues. An entry without a mark
    /// has an unreadable sort key; the pages then continue at its neighbour.
    pub(super) fn cut(
        mut entries: Vec<T>,
        limit: u32,
        position: &PagePosition,
        mark: impl Fn(&T) -> Option<Mark>,
    ) -> Listing<T> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = entries.len() > limit;
        let (has_previous, has_next) = match position {
            PagePosition::Start => (false, more),
            PagePosition::Behind(_) => (true, more),
            PagePosition::Before(_) => (more, true),
        };
        if matches!(position, PagePosition::Before(_)) {
            entries.drain(..entries.len().saturating_sub(limit));
        } else {
            entries.truncate(limit);
        }
        let first = entries.iter().find_map(&mark).filter(|_| has_previous);
        let previous = first.map_or(PagePosition::Start, PagePosition::Before);
        let last = entries.iter().rev().find_map(&mark).filter(|_| has_next);
        let next = last.map_or(PagePosition::Start, PagePosition::Behind);
        Listing { entries, unreadable: Vec::new(), previous, next }
    }

    /// The same page, without a link that leads to the same page again: all its sort keys are unreadable.
    pub(super) fn going_on(self, position: &PagePosition) -> Listing<T> {
        let Listing { entries, unreadable, previous, next } = self;
        let other = |link: PagePosition| if link == *position { PagePosition::Start } else { link };
        Listing { entries, unreadable, previous: other(previous), next: other(next) }
    }

    pub(super) fn map<U>(self, each: impl FnMut(T) -> U) -> Listing<U> {
        let Listing { entries, unreadable, previous, next } = self;
        Listing { entries: entries.into_iter().map(each).collect(), unreadable, previous, next }
    }

    /// Whether fewer entries than a full page precede the position. Then the first page is shown.
    pub(super) fn falls_short(&self, limit: u32, position: &PagePosition) -> bool {
        matches!(position, PagePosition::Before(_))
            && u32::try_from(self.entries.len()).is_ok_and(|found| found < limit)
    }

    /// The same page with each entry read; the others are unreadable.
    pub(super) fn read<U>(self, mut each: impl FnMut(T) -> Result<U, Unreadable>) -> Listing<U> {
        let Listing { entries: rows, mut unreadable, previous, next } = self;
        let mut entries = Vec::with_capacity(rows.len());
        for row in rows {
            match each(row) {
                Ok(entry) => entries.push(entry),
                Err(row) => unreadable.push(row),
            }
        }
        Listing { entries, unreadable, previous, next }
    }
}

impl PagePosition {
    /// Whether the position belongs to this list.
    pub fn suits(&self, wanted: ListId) -> bool {
        match self {
            PagePosition::Start => true,
            PagePosition::Behind(mark) | PagePosition::Before(mark) => mark.list == wanted,
        }
    }
}

impl fmt::Display for PagePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (way, Mark { list, key, id }) = match self {
            PagePosition::Start => return Ok(()),
            PagePosition::Behind(mark) => ("", mark),
            PagePosition::Before(mark) => (BEFORE, mark),
        };
        let text = match key {
            SortKey::Text(text) => format!("{way}{}{id}.{text}", list.0),
            SortKey::Number(number) => format!("{way}{}{id}.{number}", list.0),
        };
        f.write_str(&Base64UrlUnpadded::encode_string(text.as_bytes()))
    }
}

impl FromStr for PagePosition {
    type Err = BadPosition;

    fn from_str(text: &str) -> Result<PagePosition, BadPosition> {
        if text.is_empty() {
            return Ok(PagePosition::Start);
        }
        if text.len() > MAX_POSITION {
            return Err(BadPosition);
        }
        let text = Base64UrlUnpadded::decode_vec(text)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or(BadPosition)?;
        let (before, text) = text.strip_prefix(BEFORE).map_or((false, &*text), |rest| (true, rest));
        let mut rest = text.chars();
        let list = rest.next().filter(|letter| ListId::LETTERS.contains(letter)).map(ListId).ok_or(BadPosition)?;
        let rest = rest.as_str();
        let (id, key) = rest.split_once('.').ok_or(BadPosition)?;
        let id = id.parse().map_err(|_| BadPosition)?;
        let key = if !ListId::BY_TEXT.contains(&list) {
            SortKey::Number(key.parse().map_err(|_| BadPosition)?)
        } else if key.contains('\0') {
            return Err(BadPosition);
        } else {
            SortKey::Text(key.to_owned())
        };
        let mark = Mark { list, key, id };
        Ok(if before { PagePosition::Before(mark) } else { PagePosition::Behind(mark) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{TokenView, UserOrder};

    #[test]
    fn a_position_is_parsed_as_it_was_written() {
        let (texts, numbers) = (UserOrder::Name.list(), TokenView::Exposed.list());
        for (list, key) in [
            (texts, SortKey::Text("zoë.x\n".to_owned())),
            (texts, SortKey::Text(String::new())),
            (numbers, SortKey::Number(-5)),
        ] {
            let mark = Mark { list, key, id: 7 };
            for position in [PagePosition::Behind(mark.clone()), PagePosition::Before(mark)] {
                assert_eq!(position.to_string().parse(), Ok(position));
            }
        }
        assert_eq!("".parse(), Ok(PagePosition::Start));
    }

    #[test]
    fn a_malformed_position_is_refused() {
        let written = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        for bad in [
            "!",
            "AA",
            &written("a1"),
            &written("v1.2"),
            &written("c1.x"),
            &written("ax.a"),
            &written("a1.a\0"),
            &written("é1.2"),
            &written("-"),
            &written("--c1.2"),
        ] {
            assert_eq!(bad.parse::<PagePosition>(), Err(BadPosition), "{bad}");
        }
        assert_eq!("A".repeat(4_096).parse::<PagePosition>(), Err(BadPosition));
    }
}
