//! Searches users and tokens.
//!
//! The first query finds the ids of one page, by columns that have an index in the order of the list. The second query
//! reads these entries. A selective filter is looked up first; a common one is checked along the way. The other way
//! round, either would read the whole table. A search for a part of a name reads the names of all users once, or until
//! it has found enough of them.

use async_trait::async_trait;
use aws_lc_rs::digest;
use sqlx::AssertSqlSafe;
use sqlx::{ColumnIndex, Decode, FromRow, Type};

use super::draft::{Draft, Sorting};
use super::rows::{TokenRow, UserRow};
use super::{Argument, Database, Read, SqlStore, Statement, search};
use crate::clock::Timestamp;
use crate::store::error::broken;
use crate::store::{
    Directory, ListId, Listing, MAX_TOTAL, Mark, PagePosition, PasswordMark, SortKey, StoreError, TokenDetails,
    TokenQuery, TokenView, User, UserOrder, UserQuery,
};
use crate::token::{SubjectId, TokenId};

/// Maximum number of matches of a selective filter: these are looked up first, and sorted.
const MAX_SELECTIVE: usize = 2_000;

/// Sorts after every text with the same prefix, in code point order.
const LAST: &str = "\u{10FFFF}";

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// A row with its sort key.
struct Sorted<E> {
    /// `None`: it is unreadable.
    sort_text: Option<String>,
    sort_number: i64,
    row: Read<E>,
}

impl<'r, R: sqlx::Row, E: FromRow<'r, R>> FromRow<'r, R> for Sorted<E>
where
    usize: ColumnIndex<R>,
    &'static str: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Sorted<E>, sqlx::Error> {
        Ok(Sorted {
            sort_text: row.try_get("sort_text").ok(),
            sort_number: row.try_get("sort_number")?,
            row: Read::from_row(row)?,
        })
    }
}

#[async_trait]
impl<D: Database> Directory for SqlStore<D> {
    async fn users(&self, query: &UserQuery) -> Result<Listing<User>, StoreError> {
        let draft = self.user_draft(query).await?;
        let by_name = |descending| Sorting { text: "l.folded_name", number: "0", descending };
        let by = |number, descending| Sorting { text: "''", number, descending };
        let sorting = match query.order {
            UserOrder::Name => by_name(false),
            UserOrder::NameReversed => by_name(true),
            UserOrder::Newest => by("l.id", true),
            UserOrder::Oldest => by("l.id", false),
            UserOrder::LastLogin => by("l.last_login", true),
            UserOrder::LastLoginReversed => by("l.last_login", false),
        };
        let page = draft.page("l.id", &sorting, &query.position, query.limit);
        let list = (query.order.list(), &query.position, query.limit);
        let listing = self.listing::<UserRow>("user_details", page, &sorting, list).await?;
        if listing.falls_short(query.limit, &query.position) {
            return self.users(&UserQuery { position: PagePosition::Start, ..query.clone() }).await;
        }
        Ok(listing.read(|row| row.and_then(UserRow::id, UserRow::into_user)))
    }

    async fn count_users(&self, query: &UserQuery) -> Result<u32, StoreError> {
        self.count(self.user_draft(query).await?).await
    }

    async fn user(&self, id: SubjectId) -> Result<Option<User>, StoreError> {
        Ok(self.standing(id).await?.map(|(user, _)| user))
    }

    async fn standing(&self, id: SubjectId) -> Result<Option<(User, PasswordMark)>, StoreError> {
        let statement = Statement::new("SELECT * FROM user_details WHERE id = $1").bind(id.0);
        let row: Option<UserRow> = self.row(statement).await?;
        let Some(row) = row else { return Ok(None) };
        let mark = digest::digest(&digest::SHA256, row.password().as_bytes());
        let mark = <[u8; 32]>::try_from(mark.as_ref()).map(PasswordMark).map_err(broken)?;
        Ok(Some((row.into_user()?, mark)))
    }

    async fn tokens(&self, query: &TokenQuery) -> Result<Listing<TokenDetails>, StoreError> {
        let (draft, sorting) = self.token_draft(query).await?;
        let page = draft.page("t.id", &sorting, &query.position, query.limit);
        let list = (query.list(), &query.position, query.limit);
        let listing = self.listing::<TokenRow>("token_details", page, &sorting, list).await?;
        if listing.falls_short(query.limit, &query.position) {
            return self.tokens(&TokenQuery { position: PagePosition::Start, ..query.clone() }).await;
        }
        Ok(listing.read(|row| row.and_then(TokenRow::id, TokenRow::into_details)))
    }

    async fn count_tokens(&self, query: &TokenQuery) -> Result<u32, StoreError> {
        self.count(self.token_draft(query).await?.0).await
    }

    async fn days_of_use(&self, token: TokenId, since: Timestamp) -> Result<Vec<Timestamp>, StoreError> {
        let statement = "SELECT day FROM token_days WHERE token_id = $1 AND day >= $2 ORDER BY day";
        let statement = Statement::new(statement).bind(token.0).bind(since.as_micros().div_euclid(DAY));
        let rows: Vec<(i64,)> = self.rows(statement).await?;
        Ok(rows.into_iter().map(|(day,)| Timestamp::from_micros(day.saturating_mul(DAY))).collect())
    }

    async fn group_sizes(&self, limit: u32) -> Result<Vec<(String, u32)>, StoreError> {
        let statement = "SELECT name, (SELECT count(*) FROM user_groups WHERE group_id = groups.id) AS size \
                         FROM groups ORDER BY name LIMIT $1";
        let rows: Vec<(String, i64)> = self.rows(Statement::new(statement).bind(i64::from(limit))).await?;
        Ok(rows.into_iter().map(|(name, size)| (name, u32::try_from(size).unwrap_or(u32::MAX))).collect())
    }

    async fn has_superuser(&self) -> Result<bool, StoreError> {
        // The first condition matches the index `users_privileged`.
        let statement = "SELECT id FROM users WHERE (staff OR superuser) AND superuser AND active \
                         AND substr(password, 1, 1) <> '!' AND password <> '' LIMIT 1";
        let found: Option<(i64,)> = self.row(Statement::new(statement)).await?;
        Ok(found.is_some())
    }

    async fn groups(&self, limit: u32) -> Result<Vec<String>, StoreError> {
        let statement = Statement::new("SELECT name FROM groups ORDER BY name LIMIT $1").bind(i64::from(limit));
        let rows: Vec<(String,)> = self.rows(statement).await?;
        Ok(rows.into_iter().map(|(name,)| name).collect())
    }
}

impl<D: Database> SqlStore<D> {
    /// The users that match.
    async fn user_draft(&self, query: &UserQuery) -> Result<Draft, StoreError> {
        let mut draft = Draft::of("user_listing AS l");
        for (column, value) in [("name", &query.name), ("email", &query.email)] {
            if let Some(value) = value {
                let value = draft.argument(plain(value));
                draft.among(&format!("SELECT id FROM users WHERE {column} = {value}"), "l.id");
            }
        }
        if !query.search.is_empty() {
            let text = search::containing(&query.search);
            if let Some(ids) = self.selective(&matching("$1"), vec![text.clone().into()]).await? {
                draft.given::<D>(ids, "l.id");
            } else {
                let text = draft.argument(text);
                draft.only(like("l.search", &text));
            }
        }
        if let Some(active) = query.active {
            let active = draft.argument(active);
            draft.only(format!("l.active = {active}"));
        }
        match query.staff {
            Some(true) => draft.among("SELECT id FROM user_listing WHERE privileged", "l.id"),
            Some(false) => draft.only("NOT l.privileged"),
            None => {}
        }
        if let Some(group) = &query.group {
            let group = plain(group);
            let members =
                "SELECT m.user_id AS id FROM user_groups AS m JOIN groups AS g ON g.id = m.group_id WHERE g.name =";
            if let Some(ids) = self.selective(&format!("{members} $1"), vec![group.clone().into()]).await? {
                draft.given::<D>(ids, "l.id");
            } else {
                let group = draft.argument(group);
                draft.only(format!("EXISTS ({members} {group} AND m.user_id = l.id)"));
            }
        }
        Ok(draft)
    }

    /// The tokens that match, and their order.
    async fn token_draft(&self, query: &TokenQuery) -> Result<(Draft, Sorting), StoreError> {
        let mut draft = Draft::of("tokens AS t");
        let of_view = draft.add_view(query.view, self.clock.now());
        let sorting = query.order.map_or(of_view, Sorting::of);
        if let Some(owner) = query.owner {
            let owner = draft.argument(owner.0);
            draft.only(format!("t.user_id = {owner}"));
        }
        if let Some(name) = &query.name {
            let name = draft.argument(plain(name));
            draft.only(format!("t.name = {name}"));
        }
        if let Some(kind) = query.kind {
            let kind = draft.argument(kind.as_str());
            // With an index on the kind, all tokens of a kind would have to be sorted, unless the list is sorted by id.
            let by_id = query.order.is_none() && matches!(query.view, TokenView::All | TokenView::Live);
            draft.only(format!("{} = {kind}", if by_id { "t.kind" } else { "(t.kind || '')" }));
        }
        if !query.hint.is_empty() {
            let hint = plain(&query.hint);
            let [start, end] = [hint.clone(), format!("{hint}{LAST}")];
            let found = "SELECT id FROM token_hints WHERE hint >= $1 AND hint < $2";
            // PostgreSQL overestimates the number, and would search all entries in the order of the list.
            if let Some(ids) = self.selective(found, vec![start.clone().into(), end.clone().into()]).await? {
                draft.given::<D>(ids, "t.id");
            } else {
                let (start, end) = (draft.argument(start), draft.argument(end));
                let hint = format!("hint >= {start} AND hint < {end}");
                draft.only(format!("EXISTS (SELECT 1 FROM token_hints WHERE {hint} AND id = t.id)"));
            }
        }
        if !query.owner_name.is_empty() {
            let text = search::containing(&query.owner_name);
            if let Some(ids) = self.selective(&matching("$1"), vec![text.clone().into()]).await? {
                draft.given::<D>(ids, "t.user_id");
            } else {
                let text = draft.argument(text);
                draft.only(format!("EXISTS ({} AND id = t.user_id)", matching(&text)));
            }
        }
        if query.ordinary {
            draft.only("EXISTS (SELECT 1 FROM user_listing AS l WHERE l.id = t.user_id AND NOT l.privileged)");
        }
        Ok((draft, sorting))
    }

    async fn count(&self, draft: Draft) -> Result<u32, StoreError> {
        let rows: Vec<(i64,)> = self.rows(draft.count(MAX_TOTAL)).await?;
        Ok(rows.first().and_then(|(count,)| u32::try_from(*count).ok()).unwrap_or(MAX_TOTAL))
    }

    /// These ids, unless there are more than [`MAX_SELECTIVE`]. They are passed on as a list, since the database cannot
    /// estimate their number.
    async fn selective(&self, ids: &str, arguments: Vec<Argument>) -> Result<Option<Vec<i64>>, StoreError> {
        let text = format!("{ids} LIMIT {}", MAX_SELECTIVE + 1);
        let rows: Vec<(i64,)> = self.rows(Statement::with(AssertSqlSafe(text), arguments)).await?;
        let ids: Vec<i64> = rows.into_iter().map(|(id,)| id).collect();
        Ok((ids.len() <= MAX_SELECTIVE).then_some(ids))
    }

    /// The rows of `view` for the ids of a page, in its order.
    async fn listing<R>(
        &self,
        view: &str,
        page: Statement,
        sorting: &Sorting,
        (list, position, limit): (ListId, &PagePosition, u32),
    ) -> Result<Listing<Read<R>>, StoreError>
    where
        Sorted<R>: super::Row,
        R: Entry,
    {
        let way = sorting.way(&PagePosition::Start);
        let page = page.around(|page| {
            format!(
                "SELECT d.*, page.sort_text, page.sort_number FROM ({page}) AS page JOIN {view} AS d ON d.id = page.id \
                 ORDER BY page.sort_text {way}, page.sort_number {way}, page.id {way}"
            )
        });
        let rows: Vec<Sorted<R>> = self.rows(page).await?;
        let is_text = sorting.text != "''";
        let cut = Listing::cut(rows, limit, position, |sorted| {
            let key =
                if is_text { SortKey::Text(sorted.sort_text.clone()?) } else { SortKey::Number(sorted.sort_number) };
            Some(Mark { list, key, id: sorted.row.id(R::id)? })
        });
        Ok(cut.map(|sorted| sorted.row).going_on(position))
    }
}

/// The type of a list's rows.
trait Entry {
    fn id(&self) -> i64;
}

impl Entry for UserRow {
    fn id(&self) -> i64 {
        self.id()
    }
}

impl Entry for TokenRow {
    fn id(&self) -> i64 {
        self.id()
    }
}

/// The users whose text contains that at the placeholder.
fn matching(text: &str) -> String {
    format!("SELECT id FROM user_listing WHERE {}", like("search", text))
}

fn like(column: &str, text: &str) -> String {
    format!("{column} LIKE {text} ESCAPE '\\'")
}

/// No stored text has a zero byte, and PostgreSQL would reject the query with an error.
fn plain(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}
