//! Lists of users and tokens for administrators: search, filters, order, pages.
//!
//! Keyset pagination: a page starts after an entry or ends before one ([`PagePosition`]), never at an offset. So every page
//! costs the same, however long the list is. Each combination of filters uses an index.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use base64ct::{Base64UrlUnpadded, Encoding};

use super::{StoreError, TokenDetails, TokenKind, User};
use crate::clock::Timestamp;
use crate::token::SubjectId;

/// Maximum length of the text of a [`PagePosition`].
const MAX_POSITION: usize = 2_048;

/// Precedes the text of a [`PagePosition::Before`].
const BEFORE: &str = "-";

/// Searches users and tokens.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Lists users.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn users(&self, query: &UserQuery) -> Result<Listing<User>, StoreError>;

    /// Returns the user with this id.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn user(&self, id: SubjectId) -> Result<Option<User>, StoreError>;

    /// Returns the user with this id, and a mark that changes with the password. A session with another mark must sign
    /// in again.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn standing(&self, id: SubjectId) -> Result<Option<(User, PasswordMark)>, StoreError>;

    /// Lists tokens.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn tokens(&self, query: &TokenQuery) -> Result<Listing<TokenDetails>, StoreError>;

    /// Returns names of groups in order, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn groups(&self, limit: u32) -> Result<Vec<String>, StoreError>;
}

/// A mark that changes with a user's password, and reveals nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordMark(pub(super) [u8; 32]);

#[cfg(test)]
impl PasswordMark {
    /// Creates a mark from any text.
    pub fn any() -> PasswordMark {
        PasswordMark([0; 32])
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// The entries.
    pub entries: Vec<T>,
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

/// The order of users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserOrder {
    /// By username, case-insensitive.
    #[default]
    Name,
    /// Newest account first.
    Newest,
    /// Latest sign-in first.
    LastLogin,
}

/// The filters of a list of users.
#[derive(Clone, Debug, Default)]
pub struct UserQuery {
    /// Prefix of the username or the e-mail address, case-insensitive; empty: any. If more than 2,000 e-mail addresses
    /// match, only usernames are searched, unless the prefix contains an `@`.
    pub search: String,
    /// Only active users, or only inactive ones.
    pub active: Option<bool>,
    /// Only staff and superusers, or only other users.
    pub staff: Option<bool>,
    /// Only members of the group with exactly this name.
    pub group: Option<String>,
    /// The order.
    pub order: UserOrder,
    /// The position of the page.
    pub position: PagePosition,
    /// Maximum number of entries.
    pub limit: u32,
}

/// A view of the tokens, each with a suitable order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenView {
    /// All, newest first.
    #[default]
    All,
    /// Neither revoked nor expired, newest first.
    Live,
    /// Live, and not used since this time; longest unused first.
    UnusedSince(Timestamp),
    /// Live, and expiring before this time; nearest expiry first.
    EndingBefore(Timestamp),
    /// Expired and not revoked, latest expiry first.
    Expired,
    /// Revoked, latest revocation first.
    Revoked,
    /// Sent unencrypted at least once, latest first.
    Exposed,
}

/// The filters of a list of tokens.
#[derive(Clone, Debug, Default)]
pub struct TokenQuery {
    /// Prefix of the owner's username, case-insensitive; empty: any.
    pub owner_name: String,
    /// Prefix of the key, at most the length of its hint; empty: any.
    pub hint: String,
    /// Only tokens of this user.
    pub owner: Option<SubjectId>,
    /// The view.
    pub view: TokenView,
    /// Only tokens of this kind.
    pub kind: Option<TokenKind>,
    /// Only tokens of users who are neither staff nor superusers.
    pub ordinary: bool,
    /// The position of the page.
    pub position: PagePosition,
    /// Maximum number of entries.
    pub limit: u32,
}

impl ListId {
    /// Every list has one of these letters.
    const LETTERS: std::ops::RangeInclusive<char> = 'a'..='k';
    /// The only list that is sorted by text.
    const USERS_BY_NAME: ListId = ListId('a');
    /// The audit trail.
    pub const AUDIT: ListId = ListId('b');
}

impl UserOrder {
    /// The list of users in this order.
    pub fn list(self) -> ListId {
        match self {
            UserOrder::Name => ListId::USERS_BY_NAME,
            UserOrder::Newest => ListId('c'),
            UserOrder::LastLogin => ListId('d'),
        }
    }
}

impl TokenView {
    /// The list of tokens in this view.
    pub fn list(self) -> ListId {
        ListId(match self {
            TokenView::All => 'e',
            TokenView::Live => 'f',
            TokenView::UnusedSince(_) => 'g',
            TokenView::EndingBefore(_) => 'h',
            TokenView::Expired => 'i',
            TokenView::Revoked => 'j',
            TokenView::Exposed => 'k',
        })
    }
}

impl<T> Listing<T> {
    /// Creates a page of at most `limit` entries; `entries` has one more if the list continues.
    pub(super) fn cut(
        mut entries: Vec<T>,
        limit: u32,
        position: &PagePosition,
        mark: impl Fn(&T) -> Mark,
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
        let first = entries.first().filter(|_| has_previous);
        let previous = first.map_or(PagePosition::Start, |entry| PagePosition::Before(mark(entry)));
        let last = entries.last().filter(|_| has_next);
        let next = last.map_or(PagePosition::Start, |entry| PagePosition::Behind(mark(entry)));
        Listing { entries, previous, next }
    }

    /// Whether fewer entries than a full page precede the position. Then the first page is shown.
    pub(super) fn falls_short(&self, limit: u32, position: &PagePosition) -> bool {
        matches!(position, PagePosition::Before(_))
            && u32::try_from(self.entries.len()).is_ok_and(|found| found < limit)
    }

    pub(super) fn map<U, E>(self, each: impl FnMut(T) -> Result<U, E>) -> Result<Listing<U>, E> {
        let Listing { entries, previous, next } = self;
        Ok(Listing { entries: entries.into_iter().map(each).collect::<Result<_, _>>()?, previous, next })
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
        let key = if list != ListId::USERS_BY_NAME {
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
            &written("l1.2"),
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
