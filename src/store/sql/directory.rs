//! Searches users and tokens.
//!
//! First the ids of one page, from columns that stand in an index in the order of the list; then what those few are. What is
//! rare is looked up first, what is common is filtered on the way, since the other way round either would read everything.

use async_trait::async_trait;
use aws_lc_rs::digest;
use sqlx::AssertSqlSafe;

use super::rows::{TokenRow, UserRow};
use super::{Argument, Database, SqlStore, Statement};
use crate::clock::Timestamp;
use crate::store::error::broken;
use crate::store::{
    Directory, ListId, Listing, PasswordMark, Place, SortKey, StoreError, TokenDetails, TokenQuery, TokenView, User, UserOrder,
    UserQuery,
};
use crate::token::SubjectId;

/// Up to so many entries are rare: they are looked up first, and sorted.
const RARE: usize = 2_000;

/// Behind every text that begins like the one before it, by the order of code points.
const LAST: &str = "\u{10FFFF}";

/// A row beside what its list is sorted by.
#[derive(sqlx::FromRow)]
struct Sorted<E> {
    sort_text: String,
    sort_number: i64,
    #[sqlx(flatten)]
    row: E,
}

/// A statement in the making.
struct Draft {
    /// What is read, in the order in which it is.
    from: String,
    conditions: Vec<String>,
    arguments: Vec<Argument>,
    /// Does it begin with a few ids?
    is_led: bool,
    /// What is read before the rest, and a condition: of these one has to hold. Each is asked for alone, where an index has
    /// it in the order of the list, or it is rare.
    either: Vec<(String, String)>,
}

/// How a list is sorted: by a number or a text, and then by id.
struct Sorting {
    text: &'static str,
    number: &'static str,
    descending: bool,
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
            let members = "SELECT m.user_id AS id FROM user_groups AS m JOIN groups AS g ON g.id = m.group_id WHERE g.name =";
            if let Some(few) = self.few(&format!("{members} $1"), vec![group.clone().into()]).await? {
                draft.given::<D>(few, "l.id");
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
        let page = draft.page("l.id", &sorting, &query.place, query.limit);
        let listing = self.listing::<UserRow>("user_details", page, &sorting, (query.order.list(), query.limit)).await?;
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
            // By an index of kinds all of one kind would have to be sorted, unless the list is sorted by ids itself.
            let by_id = matches!(query.view, TokenView::All | TokenView::Live);
            draft.only(format!("{} = {kind}", if by_id { "t.kind" } else { "(t.kind || '')" }));
        }
        if !query.hint.is_empty() {
            let hint = plain(&query.hint);
            let [start, end] = [hint.clone(), format!("{hint}{LAST}")];
            let found = "SELECT id FROM token_hints WHERE hint >= $1 AND hint < $2";
            // PostgreSQL takes a few for many, and looks for them among all in the order of the list.
            if let Some(few) = self.few(found, vec![start.clone().into(), end.clone().into()]).await? {
                draft.given::<D>(few, "t.id");
            } else {
                let (start, end) = (draft.argument(start), draft.argument(end));
                let hint = format!("hint >= {start} AND hint < {end}");
                draft.only(format!("EXISTS (SELECT 1 FROM token_hints WHERE {hint} AND id = t.id)"));
            }
        }
        if !query.owner_name.is_empty() {
            if let Some(few) = self.few_alike("folded_name", &query.owner_name).await? {
                draft.given::<D>(few, "t.user_id");
            } else {
                let (start, end) = (draft.argument(plain(&query.owner_name)), draft.argument(LAST));
                let owner = begins("folded_name", &start, &end);
                draft.only(format!("EXISTS (SELECT 1 FROM user_listing WHERE {owner} AND id = t.user_id)"));
            }
        }
        if query.ordinary {
            draft.only("EXISTS (SELECT 1 FROM user_listing AS l WHERE l.id = t.user_id AND NOT l.privileged)");
        }
        let page = draft.page("t.id", &sorting, &query.place, query.limit);
        let listing = self.listing::<TokenRow>("token_details", page, &sorting, (query.view.list(), query.limit)).await?;
        listing.map(TokenRow::into_details)
    }

    async fn groups(&self, limit: u32) -> Result<Vec<String>, StoreError> {
        let statement = Statement::new("SELECT name FROM groups ORDER BY name LIMIT $1").bind(i64::from(limit));
        let rows: Vec<(String,)> = self.rows(statement).await?;
        Ok(rows.into_iter().map(|(name,)| name).collect())
    }
}

impl<D: Database> SqlStore<D> {
    /// Only users whose names begin so, or their e-mail addresses. Of addresses without an `@` only those which are few: no
    /// index has many of them in the order of the list.
    async fn add_search(&self, draft: &mut Draft, search: &str, by_name: bool) -> Result<(), StoreError> {
        if search.contains('@') {
            let (start, end) = (draft.argument(plain(search)), draft.argument(LAST));
            let [by_name, by_email] = ["folded_name", "folded_email"].map(|column| alike(column, &start, &end));
            draft.among(&format!("{by_name} UNION {by_email}"), "l.id");
            return Ok(());
        }
        let names = self.few_alike("folded_name", search).await?;
        let emails = self.few_alike("folded_email", search).await?.unwrap_or_default();
        if let Some(mut few) = names {
            few.extend(emails);
            few.sort_unstable();
            few.dedup();
            draft.given::<D>(few, "l.id");
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
            // Not by the index of names: all that it finds would have to be sorted.
            let name = begins("(l.folded_name || '')", &start, &end);
            draft.only(format!("(({name}) OR l.id IN ({emails}))"));
        }
        Ok(())
    }

    /// The users of whom this column begins so, if they are few.
    async fn few_alike(&self, column: &str, text: &str) -> Result<Option<Vec<i64>>, StoreError> {
        self.few(&alike(column, "$1", "$2"), vec![plain(text).into(), LAST.into()]).await
    }

    /// These ids, if they are few. Told to the database one by one, since it cannot guess how few they are.
    async fn few(&self, ids: &str, arguments: Vec<Argument>) -> Result<Option<Vec<i64>>, StoreError> {
        let text = format!("{ids} LIMIT {}", RARE + 1);
        let rows: Vec<(i64,)> = self.rows(Statement::with(AssertSqlSafe(text), arguments)).await?;
        let few: Vec<i64> = rows.into_iter().map(|(id,)| id).collect();
        Ok((few.len() <= RARE).then_some(few))
    }

    /// What stands in `view` for the ids of a page, in its order.
    async fn listing<R>(
        &self,
        view: &str,
        page: Statement,
        sorting: &Sorting,
        (list, limit): (ListId, u32),
    ) -> Result<Listing<R>, StoreError>
    where
        Sorted<R>: super::Row,
        R: Entry,
    {
        let way = sorting.way();
        let page = page.around(|page| {
            format!(
                "SELECT d.*, page.sort_text, page.sort_number FROM ({page}) AS page JOIN {view} AS d ON d.id = page.id \
                 ORDER BY page.sort_text {way}, page.sort_number {way}, page.id {way}"
            )
        });
        let rows: Vec<Sorted<R>> = self.rows(page).await?;
        let is_text = sorting.text != "''";
        let cut = Listing::cut(rows, limit, list, |sorted| {
            let key = if is_text { SortKey::Text(sorted.sort_text.clone()) } else { SortKey::Number(sorted.sort_number) };
            (key, sorted.row.id())
        });
        Ok(Listing { entries: cut.entries.into_iter().map(|sorted| sorted.row).collect(), next: cut.next })
    }
}

/// What a list has rows of.
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

impl Sorting {
    fn way(&self) -> &'static str {
        if self.descending { "DESC" } else { "ASC" }
    }
}

impl Draft {
    fn of(from: &str) -> Draft {
        Draft { from: from.to_owned(), conditions: Vec::new(), arguments: Vec::new(), is_led: false, either: Vec::new() }
    }

    /// Only where `column` is one of these few ids, which are looked up first: a cross join is run in the order in which it
    /// is written.
    fn among(&mut self, ids: &str, column: &str) {
        if self.is_led {
            self.only(format!("{column} IN ({ids})"));
        } else {
            self.is_led = true;
            self.from = format!("({ids}) AS few CROSS JOIN {}", self.from);
            self.only(format!("{column} = few.id"));
        }
    }

    /// Only where `column` is one of these.
    fn given<D: Database>(&mut self, few: Vec<i64>, column: &str) {
        let list = self.list(&few);
        self.among(&D::ids_at(&list), column);
    }

    /// The place of these in the text.
    fn list(&mut self, few: &[i64]) -> String {
        let list = few.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        self.argument(format!("[{list}]"))
    }

    fn only(&mut self, condition: impl Into<String>) {
        self.conditions.push(condition.into());
    }

    /// Its place in the text.
    fn argument(&mut self, argument: impl Into<Argument>) -> String {
        self.arguments.push(argument.into());
        format!("${}", self.arguments.len())
    }

    fn add_view(&mut self, view: TokenView, now: Timestamp) -> Sorting {
        let by = |number, descending| Sorting { text: "''", number, descending };
        let now = now.as_micros();
        match view {
            TokenView::All => by("t.id", true),
            TokenView::Live => {
                self.only_live(now);
                by("t.id", true)
            }
            TokenView::UnusedSince(since) => {
                self.only_live(now);
                let since = self.argument(since.as_micros());
                self.only(format!("coalesce(t.last_used, t.created) < {since}"));
                by("coalesce(t.last_used, t.created)", false)
            }
            TokenView::EndingBefore(end) => {
                let (now, end) = (self.argument(now), self.argument(end.as_micros()));
                self.only(format!("t.revoked IS NULL AND t.expires > {now} AND t.expires < {end}"));
                by("t.expires", false)
            }
            TokenView::Expired => {
                let now = self.argument(now);
                self.only(format!("t.revoked IS NULL AND t.expires <= {now}"));
                by("t.expires", true)
            }
            TokenView::Revoked => {
                self.only("t.revoked IS NOT NULL");
                by("t.revoked", true)
            }
            TokenView::Exposed => {
                self.only("t.exposed IS NOT NULL");
                by("t.exposed", true)
            }
        }
    }

    fn only_live(&mut self, now: i64) {
        let now = self.argument(now);
        self.only(format!("t.revoked IS NULL AND (t.expires IS NULL OR t.expires > {now})"));
    }

    /// The ids of one page, and one more.
    fn page(mut self, id: &str, sorting: &Sorting, place: &Place, limit: u32) -> Statement {
        let Sorting { text, number, .. } = sorting;
        let (way, beyond) = (sorting.way(), if sorting.descending { "<" } else { ">" });
        let (key, by_id) = if *text == "''" { (*number, *number == id) } else { (*text, false) };
        if let Place::Behind { key: value, id: behind, .. } = place {
            let behind = self.argument(*behind);
            if by_id {
                self.only(format!("{id} {beyond} {behind}"));
            } else {
                let value = match value {
                    SortKey::Text(value) => self.argument(value.as_str()),
                    SortKey::Number(value) => self.argument(*value),
                };
                // Not as a pair: SQLite finds no index for one with an expression in it.
                self.only(format!("{key} {beyond}= {value} AND ({key} {beyond} {value} OR {id} {beyond} {behind})"));
            }
        }
        self.conditions.push("TRUE".to_owned());
        let all = self.conditions.join(" AND ");
        let order = |key: &str, id: &str| if by_id { format!("{id} {way}") } else { format!("{key} {way}, {id} {way}") };
        let most = self.argument(i64::from(limit) + 1);
        let from = &self.from;
        let part = |(before, condition): &(String, String)| {
            format!(
                "SELECT {id} AS id, {text} AS sort_text, CAST({number} AS BIGINT) AS sort_number \
                 FROM {before}{from} WHERE {all} AND {condition} ORDER BY {} LIMIT {most}",
                order(key, id)
            )
        };
        let page = if self.either.is_empty() {
            part(&(String::new(), "TRUE".to_owned()))
        } else {
            let parts: Vec<_> = self.either.iter().map(|one| format!("SELECT * FROM ({}) AS part", part(one))).collect();
            let key = if *text == "''" { "sort_number" } else { "sort_text" };
            format!("{} ORDER BY {} LIMIT {most}", parts.join(" UNION "), order(key, "id"))
        };
        Statement::with(AssertSqlSafe(page), self.arguments)
    }
}

/// The users of whom a folded column begins so.
fn alike(column: &str, start: &str, end: &str) -> String {
    format!("SELECT id FROM user_listing WHERE {}", begins(column, start, end))
}

/// Does a folded column begin with the text at `start`? `end` is the place of [`LAST`].
fn begins(column: &str, start: &str, end: &str) -> String {
    format!("{column} >= lower({start}) AND {column} < lower({start}) || {end}")
}

/// Nothing in a store has such a character, and PostgreSQL would call the question itself an error.
fn plain(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}
