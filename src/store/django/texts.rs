//! The SQL statements, for one dialect and one set of names.
//!
//! Texts are compared by the column's collation, which ignores case on MySQL. So callers compare the bytes of what they
//! get (`find`, `accounts`).

use std::sync::Arc;

use super::columns::Column;
use super::dialect::Dialect;
use super::meaning::Meanings;
use crate::config::settings::Django;

/// All statements. Token queries return [`TokenRow`](super::rows::TokenRow)s, user queries
/// [`UserRow`](super::rows::UserRow)s: one for each group of a user, those of one user in succession. Each comment
/// lists the arguments.
pub(super) struct Texts {
    /// Key.
    pub token: Arc<str>,
    /// Id of the user.
    pub tokens_of: Arc<str>,
    /// Id of the token.
    pub token_with_id: Arc<str>,
    /// Id of the token to start after, limit; if tokens have the ids of their users, the limit counts users.
    pub tokens: Arc<str>,
    /// Name.
    pub user_named: Arc<str>,
    /// Id.
    pub user: Arc<str>,
    /// Id to start after, limit.
    pub users: Arc<str>,
    /// A trivial query: checks that the database responds.
    pub alive: Arc<str>,
    /// Returns one row if there is any user.
    pub any_user: Arc<str>,
    /// Returns one row if any user has a token.
    pub any_token: Arc<str>,
    /// Key, time, id of the user. Does nothing if the user has a token or does not exist.
    pub insert: Arc<str>,
    /// New key, time, id of the user, old key: replaces the key.
    pub replace: Arc<str>,
    /// Key, id of the user.
    pub delete: Arc<str>,
    /// Key of a session. Returns [`SessionRow`](super::sessions::SessionRow)s.
    pub session: Arc<str>,
    /// Key of a session, its data, its expiry, id of the user, the password hash that was verified. Does nothing if the
    /// user is inactive or has another hash now.
    pub open_session: Arc<str>,
    /// Key of a session.
    pub end_session: Arc<str>,
    /// Time, id of the user; `None` if the project has no such column.
    pub logged_in: Option<Arc<str>>,
}

/// What differs between projects.
pub(super) struct Shape<'a> {
    /// Columns of the user table. A custom user table may lack some; a constant replaces these.
    pub users: &'a [Column],
    /// Whether the rows of the token table have an id of their own.
    pub numbered: bool,
    /// The meanings of additional columns.
    pub meanings: &'a Meanings,
}

impl Shape<'_> {
    fn has(&self, column: &str) -> bool {
        self.users.iter().any(|known| known.name == column)
    }
}

impl Texts {
    pub(super) fn new(dialect: Dialect, names: &Django, shape: &Shape<'_>) -> Texts {
        let quoted = |name: &str| dialect.quoted(name);
        let finished = |text: String| dialect.finished(&text);
        let (tokens, users) = (quoted(&names.token_table), quoted(&names.user_table));
        let (key, member) = (quoted("key"), quoted(&names.membership_user_column));
        let groups = format!(
            "LEFT JOIN {} AS m ON m.{member} = u.id LEFT JOIN {} AS g ON g.id = m.group_id",
            quoted(&names.membership_table),
            quoted(&names.group_table),
        );
        let owner = format!(
            "{} AS user_id, {} AS user_name, {} AS email, {} AS active, {} AS user_flags, {} AS group_name",
            dialect.number("u.id"),
            dialect.text(&format!("u.{}", quoted(&names.user_name_column))),
            dialect.text(&format!("u.{}", quoted(&names.user_email_column))),
            dialect.truth("u.is_active"),
            shape.meanings.of_users(dialect),
            dialect.text("g.name"),
        );
        let id = if shape.numbered { "id" } else { "user_id" };
        let token_from = |from: &str| {
            let (key, created) = (dialect.text(&format!("t.{key}")), dialect.micros("t.created"));
            let (id, facts) = (dialect.number(&format!("t.{id}")), shape.meanings.of_tokens(dialect));
            format!(
                "SELECT {id} AS token_id, {key} AS token_key, {created} AS created, {facts}, {owner} \
                 FROM {from} AS t JOIN {users} AS u ON u.id = t.user_id {groups}"
            )
        };
        let user_from = |from: &str| {
            let facts = facts(dialect, shape);
            format!("SELECT {owner}, {facts} FROM {from} AS u {groups}")
        };
        let insert = format!(
            "INSERT INTO {tokens} ({key}, created, user_id) SELECT $1, {}, u.id FROM {users} AS u WHERE u.id = $3 {}",
            dialect.time_argument("$2"),
            dialect.unless_there(&tokens),
        );
        let replace = format!(
            "UPDATE {tokens} SET {key} = $1, created = {} WHERE user_id = $3 AND {key} = $4",
            dialect.time_argument("$2"),
        );
        let sessions = quoted(&names.session_table);
        let session = format!(
            "SELECT {} AS kept, {} AS expires FROM {sessions} WHERE session_key = $1",
            dialect.text("session_data"),
            dialect.micros("expire_date"),
        );
        let open_session = format!(
            "INSERT INTO {sessions} (session_key, session_data, expire_date) \
             SELECT $1, $2, {} FROM {users} AS u WHERE u.id = $4 AND u.is_active AND u.password = $5",
            dialect.time_argument("$3"),
        );
        let logged_in = format!("UPDATE {users} SET last_login = {} WHERE id = $2", dialect.time_argument("$1"));
        // If the id is that of the user, a page must not end between two tokens of one user.
        let page_of_tokens = format!(
            "(SELECT a.* FROM {tokens} AS a JOIN (SELECT DISTINCT {id} AS paged FROM {tokens} WHERE {id} > $1 \
             ORDER BY {id} LIMIT $2) AS p ON p.paged = a.{id})"
        );
        let order = "ORDER BY token_id, user_id, token_key";
        let page_of_users = format!("(SELECT * FROM {users} WHERE id > $1 ORDER BY id LIMIT $2)");
        let name = quoted(&names.user_name_column);
        Texts {
            token: finished(format!("{} WHERE t.{key} = $1 {order}", token_from(&tokens))),
            tokens_of: finished(format!("{} WHERE t.user_id = $1 {order}", token_from(&tokens))),
            token_with_id: finished(format!("{} WHERE t.{id} = $1 {order}", token_from(&tokens))),
            tokens: finished(format!("{} {order}", token_from(&page_of_tokens))),
            user_named: finished(format!("{} WHERE u.{name} = $1 ORDER BY user_id", user_from(&users))),
            user: finished(format!("{} WHERE u.id = $1 ORDER BY user_id", user_from(&users))),
            users: finished(format!("{} ORDER BY user_id", user_from(&page_of_users))),
            alive: finished(format!("SELECT {} FROM {tokens} LIMIT 1", dialect.number("user_id"))),
            any_user: finished(format!("SELECT {} FROM {users} LIMIT 1", dialect.number("1"))),
            any_token: finished(format!(
                "SELECT {} FROM {tokens} AS t JOIN {users} AS u ON u.id = t.user_id LIMIT 1",
                dialect.number("1")
            )),
            insert: finished(insert),
            replace: finished(replace),
            delete: finished(format!("DELETE FROM {tokens} WHERE {key} = $1 AND user_id = $2")),
            session: finished(session),
            open_session: finished(open_session),
            end_session: finished(format!("DELETE FROM {sessions} WHERE session_key = $1")),
            logged_in: shape.has("last_login").then(|| finished(logged_in)),
        }
    }
}

/// Further user columns, for commands and the import only.
fn facts(dialect: Dialect, shape: &Shape<'_>) -> String {
    // A custom table may have NULL there.
    let text = |column: &str| {
        let value = if shape.has(column) { dialect.text(&format!("u.{column}")) } else { dialect.text("''") };
        format!("COALESCE({value}, '')")
    };
    let truth =
        |column: &str| if shape.has(column) { dialect.truth(&format!("u.{column}")) } else { dialect.number("0") };
    let time =
        |column: &str| if shape.has(column) { dialect.micros(&format!("u.{column}")) } else { dialect.number("NULL") };
    format!(
        "{} AS password, {} AS first_name, {} AS last_name, {} AS staff, {} AS superuser, {} AS joined, {} AS last_login",
        text("password"),
        text("first_name"),
        text("last_name"),
        truth("is_staff"),
        truth("is_superuser"),
        time("date_joined"),
        time("last_login"),
    )
}
