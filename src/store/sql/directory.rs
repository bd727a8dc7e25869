//! Searches users and tokens.
//!
//! The first query finds the ids of one page, by columns that have an index in the order of the list. The second query
//! reads these entries. A selective filter is looked up first; a common one is checked along the way. The other way
//! round, either would read the whole table.

use async_trait::async_trait;
use aws_lc_rs::digest;
use sqlx::AssertSqlSafe;
use sqlx::{ColumnIndex, Decode, FromRow, Type};

use super::draft::{Draft, Sorting};
use super::rows::{TokenRow, UserRow};
use super::{Argument, Database, SqlStore, Statement};
use crate::store::error::broken;
use crate::store::{
    Directory, ListId, Listing, Mark, PagePosition, PasswordMark, SortKey, StoreError, TokenDetails, TokenQuery,
    TokenView, User, UserOrder, UserQuery,
};
use crate::token::SubjectId;

/// Maximum number of matches of a selective filter: these are looked up first, and sorted.
const MAX_SELECTIVE: usize = 2_000;

/// Sorts after every text with the same prefix, in code point order.
const LAST: &str = "\u{10FFFF}";

/// A row with its sort key.
struct Sorted<E> {
    sort_text: String,
    sort_number: i64,
    row: E,
}

impl<'r, R: sqlx::Row, E: FromRow<'r, R>> FromRow<'r, R> for Sorted<E>
where
    &'static str: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Sorted<E>, sqlx::Error> {
        Ok(Sorted {
            sort_text: row.try_get("sort_text")?,
            sort_number: row.try_get("sort_number")?,
            row: E::from_row(row)?,
        })
    }
}

#[async_trait]
impl<D: Database> Directory for SqlStore<D> {
    async fn users(&self, query: &UserQuery) -> Result<Listing<User>, StoreError> {
        let mut draft = Draft::of("user_listing AS l");
        if !query.search.is_empty() {
            self.add_search(&mut draft, &query.search, query.order == UserOrder::Name).await?;
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
        let sorting = match query.order {
            UserOrder::Name => Sorting { text: "l.folded_name", number: "0", descending: false },
            UserOrder::Newest => Sorting { text: "''", number: "l.id", descending: true },
            UserOrder::LastLogin => Sorting { text: "''", number: "l.last_login", descending: true },
        };
        let page = draft.page("l.id", &sorting, &query.position, query.limit);
        let list = (query.order.list(), &query.position, query.limit);
        let listing = self.listing::<UserRow>("user_details", page, &sorting, list).await?;
        if listing.falls_short(query.limit, &query.position) {
            return self.users(&UserQuery { position: PagePosition::Start, ..query.clone() }).await;
        }
        listing.map(UserRow::into_user)
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
        let mut draft = Draft::of("tokens AS t");
        let sorting = draft.add_view(query.view, self.clock.now());
        if let Some(owner) = query.owner {
            let owner = draft.argument(owner.0);
            draft.only(format!("t.user_id = {owner}"));
        }
        if let Some(kind) = query.kind {
            let kind = draft.argument(kind.as_str());
            // With an index on the kind, all tokens of a kind would have to be sorted, unless the list is sorted by id.
            let by_id = matches!(query.view, TokenView::All | TokenView::Live);
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
            if let Some(ids) = self.selective_prefix("folded_name", &query.owner_name).await? {
                draft.given::<D>(ids, "t.user_id");
            } else {
                let (start, end) = (draft.argument(plain(&query.owner_name)), draft.argument(LAST));
                let owner = begins("folded_name", &start, &end);
                draft.only(format!("EXISTS (SELECT 1 FROM user_listing WHERE {owner} AND id = t.user_id)"));
            }
        }
        if query.ordinary {
            draft.only("EXISTS (SELECT 1 FROM user_listing AS l WHERE l.id = t.user_id AND NOT l.privileged)");
        }
        let page = draft.page("t.id", &sorting, &query.position, query.limit);
        let list = (query.view.list(), &query.position, query.limit);
        let listing = self.listing::<TokenRow>("token_details", page, &sorting, list).await?;
        if listing.falls_short(query.limit, &query.position) {
            return self.tokens(&TokenQuery { position: PagePosition::Start, ..query.clone() }).await;
        }
        listing.map(TokenRow::into_details)
    }

    async fn groups(&self, limit: u32) -> Result<Vec<String>, StoreError> {
        let statement = Statement::new("SELECT name FROM groups ORDER BY name LIMIT $1").bind(i64::from(limit));
        let rows: Vec<(String,)> = self.rows(statement).await?;
        Ok(rows.into_iter().map(|(name,)| name).collect())
    }
}

impl<D: Database> SqlStore<D> {
    /// Only users whose name or e-mail address begins with the text. Without an `@`, e-mail addresses are searched only
    /// if at most [`MAX_SELECTIVE`] match: no index has them in the order of the list.
    async fn add_search(&self, draft: &mut Draft, search: &str, by_name: bool) -> Result<(), StoreError> {
        if search.contains('@') {
            let (start, end) = (draft.argument(plain(search)), draft.argument(LAST));
            let [by_name, by_email] = ["folded_name", "folded_email"].map(|column| alike(column, &start, &end));
            draft.among(&format!("{by_name} UNION {by_email}"), "l.id");
            return Ok(());
        }
        let names = self.selective_prefix("folded_name", search).await?;
        let emails = self.selective_prefix("folded_email", search).await?.unwrap_or_default();
        if let Some(mut ids) = names {
            ids.extend(emails);
            ids.sort_unstable();
            ids.dedup();
            draft.given::<D>(ids, "l.id");
            return Ok(());
        }
        let (start, end) = (draft.argument(plain(search)), draft.argument(LAST));
        let emails = D::ids_at(&draft.list(&emails));
        if by_name {
            draft.either = vec![
                (String::new(), begins("l.folded_name", &start, &end)),
                (format!("({emails}) AS also CROSS JOIN "), "l.id = also.id".to_owned()),
            ];
        } else {
            // Avoids the index on names: all its matches would have to be sorted.
            let name = begins("(l.folded_name || '')", &start, &end);
            draft.only(format!("(({name}) OR l.id IN ({emails}))"));
        }
        Ok(())
    }

    /// The users whose column begins with this text, unless there are more than [`MAX_SELECTIVE`].
    async fn selective_prefix(&self, column: &str, text: &str) -> Result<Option<Vec<i64>>, StoreError> {
        self.selective(&alike(column, "$1", "$2"), vec![plain(text).into(), LAST.into()]).await
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
    ) -> Result<Listing<R>, StoreError>
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
                if is_text { SortKey::Text(sorted.sort_text.clone()) } else { SortKey::Number(sorted.sort_number) };
            Mark { list, key, id: sorted.row.id() }
        });
        cut.map(|sorted| Ok(sorted.row))
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

/// The users whose case-folded column begins with this text.
fn alike(column: &str, start: &str, end: &str) -> String {
    format!("SELECT id FROM user_listing WHERE {}", begins(column, start, end))
}

/// A condition: the case-folded column begins with the text at `start`. `end` is the placeholder of [`LAST`].
fn begins(column: &str, start: &str, end: &str) -> String {
    format!("{column} >= lower({start}) AND {column} < lower({start}) || {end}")
}

/// No stored text has a zero byte, and PostgreSQL would reject the query with an error.
fn plain(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}
