//! Builds the statement for a page of a list.

use sqlx::AssertSqlSafe;

use super::{Argument, Database, Statement};
use crate::clock::Timestamp;
use crate::store::{PagePosition, SortKey, TokenOrder, TokenView};

/// A statement that is being built.
pub(super) struct Draft {
    /// The tables, in the order in which they are read.
    from: String,
    conditions: Vec<String>,
    arguments: Vec<Argument>,
    /// Whether it begins with a short list of ids.
    is_led: bool,
}

/// A part of the entries on one side of a position.
struct Reach {
    condition: String,
    /// Whether all of them have the same key.
    is_one_key: bool,
}

/// The order of a list: by a number or a text, and then by id.
pub(super) struct Sorting {
    pub(super) text: &'static str,
    pub(super) number: &'static str,
    pub(super) descending: bool,
}

impl Sorting {
    /// The sorting of tokens in this order.
    pub(super) fn of(order: TokenOrder) -> Sorting {
        let by = |number, descending| Sorting { text: "''", number, descending };
        // Tokens without expiry come after every other.
        let (used, end) = ("coalesce(t.last_used, t.created)", "coalesce(t.expires, 9223372036854775807)");
        match order {
            TokenOrder::Newest => by("t.id", true),
            TokenOrder::Oldest => by("t.id", false),
            TokenOrder::LastUsed => by(used, true),
            TokenOrder::LastUsedReversed => by(used, false),
            TokenOrder::Expiry => by(end, false),
            TokenOrder::ExpiryReversed => by(end, true),
        }
    }

    /// The direction in which a page is read; a page before an entry is read backwards.
    pub(super) fn way(&self, position: &PagePosition) -> &'static str {
        if self.descending == matches!(position, PagePosition::Before(_)) { "ASC" } else { "DESC" }
    }
}

impl Draft {
    pub(super) fn of(from: &str) -> Draft {
        Draft { from: from.to_owned(), conditions: Vec::new(), arguments: Vec::new(), is_led: false }
    }

    /// Only rows whose `column` is one of these ids. They are read first: a cross join runs in the written order.
    pub(super) fn among(&mut self, ids: &str, column: &str) {
        if self.is_led {
            self.only(format!("{column} IN ({ids})"));
        } else {
            self.is_led = true;
            self.from = format!("({ids}) AS chosen CROSS JOIN {}", self.from);
            self.only(format!("{column} = chosen.id"));
        }
    }

    /// Only rows whose `column` is one of these.
    pub(super) fn given<D: Database>(&mut self, ids: Vec<i64>, column: &str) {
        let list = self.list(&ids);
        self.among(&D::ids_at(&list), column);
    }

    /// The placeholder of a list of ids.
    pub(super) fn list(&mut self, ids: &[i64]) -> String {
        let list = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        self.argument(format!("[{list}]"))
    }

    pub(super) fn only(&mut self, condition: impl Into<String>) {
        self.conditions.push(condition.into());
    }

    /// The placeholder of an argument.
    pub(super) fn argument(&mut self, argument: impl Into<Argument>) -> String {
        self.arguments.push(argument.into());
        format!("${}", self.arguments.len())
    }

    pub(super) fn add_view(&mut self, view: TokenView, now: Timestamp) -> Sorting {
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
            TokenView::Disabled => {
                self.only("t.disabled IS NOT NULL AND t.revoked IS NULL");
                by("t.disabled", true)
            }
            TokenView::Exposed => {
                self.only("t.exposed IS NOT NULL");
                by("t.exposed", true)
            }
        }
    }

    pub(super) fn only_live(&mut self, now: i64) {
        let now = self.argument(now);
        self.only(format!("t.revoked IS NULL AND t.disabled IS NULL AND (t.expires IS NULL OR t.expires > {now})"));
    }

    /// The number of rows, at most `most`.
    pub(super) fn count(mut self, most: u32) -> Statement {
        self.conditions.push("TRUE".to_owned());
        let most = self.argument(i64::from(most));
        let (from, all) = (&self.from, self.conditions.join(" AND "));
        let text = format!("SELECT count(*) FROM (SELECT 1 AS one FROM {from} WHERE {all} LIMIT {most}) AS part");
        Statement::with(AssertSqlSafe(text), self.arguments)
    }

    /// The ids of one page, and one more.
    pub(super) fn page(mut self, id: &str, sorting: &Sorting, position: &PagePosition, limit: u32) -> Statement {
        let Sorting { text, number, .. } = sorting;
        let way = sorting.way(position);
        let (key, by_id) = if *text == "''" { (*number, *number == id) } else { (*text, false) };
        let order =
            |key: &str, id: &str| if by_id { format!("{id} {way}") } else { format!("{key} {way}, {id} {way}") };
        let reaches = self.reaches((key, id), by_id, way, position);
        self.conditions.push("TRUE".to_owned());
        let all = self.conditions.join(" AND ");
        let most = self.argument(i64::from(limit) + 1);
        let from = &self.from;
        let part = |reach: &Reach| {
            let order = if reach.is_one_key { format!("{id} {way}") } else { order(key, id) };
            format!(
                "SELECT {id} AS id, {text} AS sort_text, CAST({number} AS BIGINT) AS sort_number \
                 FROM {from} WHERE {all} AND {} ORDER BY {order} LIMIT {most}",
                reach.condition
            )
        };
        let parts: Vec<_> = reaches.iter().map(part).collect();
        let page = if let [only] = parts.as_slice() {
            only.clone()
        } else {
            let parts: Vec<_> = parts.iter().map(|part| format!("SELECT * FROM ({part}) AS part")).collect();
            let key = if *text == "''" { "sort_number" } else { "sort_text" };
            format!("{} ORDER BY {} LIMIT {most}", parts.join(" UNION "), order(key, "id"))
        };
        Statement::with(AssertSqlSafe(page), self.arguments)
    }

    /// The entries on one side of a position. Entries with the same sort key are queried separately: there may be many,
    /// such as users who never signed in, and an index finds a position among them only by key and id.
    fn reaches(&mut self, (key, id): (&str, &str), by_id: bool, way: &str, position: &PagePosition) -> Vec<Reach> {
        let beyond = if way == "DESC" { "<" } else { ">" };
        let reach = |condition: String| Reach { condition, is_one_key: false };
        let (PagePosition::Behind(mark) | PagePosition::Before(mark)) = position else {
            return vec![reach("TRUE".to_owned())];
        };
        let marked = self.argument(mark.id);
        let behind = format!("{id} {beyond} {marked}");
        if by_id {
            return vec![reach(behind)];
        }
        let value = match &mark.key {
            SortKey::Text(value) => self.argument(value.as_str()),
            SortKey::Number(value) => self.argument(*value),
        };
        vec![
            Reach { condition: format!("{key} = {value} AND {behind}"), is_one_key: true },
            reach(format!("{key} {beyond} {value}")),
        ]
    }
}
