//! The audit trail. Entries are written in the same transaction as the change.

use async_trait::async_trait;
use sqlx::AssertSqlSafe;

use super::{Change, Database, Read, SqlStore, Statement, row, search};
use crate::clock::Timestamp;
use crate::store::error::broken;
use crate::store::{
    Act, Actor, AuditEntry, AuditQuery, AuditTrail, ListId, Listing, Mark, PagePosition, SortKey, Store, StoreError,
    Via,
};
use crate::token::{SubjectId, TokenId};

/// Maximum number of entries that one transaction deletes, so that other writers do not wait long.
const SWEEP: u64 = 10_000;

const COLUMNS: &str = "at, actor_id, actor, via, from_address, act, detail, user_id, user_name, token_id";

row! {
    struct EntryRow {
        id: i64,
        at: i64,
        actor_id: Option<i64>,
        actor: String,
        via: String,
        from_address: String,
        act: String,
        user_id: Option<i64>,
        user_name: String,
        token_id: Option<i64>,
        detail: String,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("entry {0} of the audit trail has an invalid {1}")]
struct ImpossibleEntry(i64, &'static str);

#[async_trait]
impl<D: Database> AuditTrail for SqlStore<D> {
    fn acting_as(&self, actor: Actor) -> Store {
        Store::whole(SqlStore { actor, ..self.clone() })
    }

    async fn note(&self, act: Act, user_name: &str) -> Result<(), StoreError> {
        // No user has such a name, and PostgreSQL would reject the query with an error.
        let name = if user_name.contains('\0') { "" } else { user_name };
        let statement = self.entry(
            "(SELECT id FROM users WHERE name = $8), coalesce((SELECT name FROM users WHERE name = $8), ''), NULL",
            act,
            "",
        );
        self.execute(statement.bind(name)).await.map(|_| ())
    }

    async fn note_revealed(&self, token: TokenId) -> Result<(), StoreError> {
        let statement = self.entry_of_tokens("tokens.id = $8", Act::TokenRevealed, "");
        self.execute(statement.bind(token.0)).await.map(|_| ())
    }

    async fn entries(&self, query: &AuditQuery) -> Result<Listing<AuditEntry>, StoreError> {
        let mut text = "SELECT * FROM audit WHERE TRUE".to_owned();
        let mut arguments: Vec<super::Argument> = Vec::new();
        let mut only = |condition: &str, argument: Option<super::Argument>| {
            if let Some(argument) = argument {
                arguments.push(argument);
                let position = format!("${}", arguments.len());
                text.push_str(&format!(" AND {}", condition.replace("{}", &position)));
            }
        };
        // A user is also found by the present name, whatever the name was at the time of the entry.
        let part = |name: &str, id: &str| {
            let users = "SELECT id FROM user_listing WHERE search LIKE {} ESCAPE '\\'";
            format!("(lower({name}) LIKE {{}} ESCAPE '\\' OR {id} IN ({users}))")
        };
        only(&part("actor", "actor_id"), query.actor.as_deref().map(|actor| search::containing(actor).into()));
        only(&part("user_name", "user_id"), query.user_name.as_deref().map(|name| search::containing(name).into()));
        only("user_id = {}", query.user.map(|user| user.0.into()));
        only("via = {}", query.via.map(|via| via.as_str().into()));
        only("token_id = {}", query.token.map(|token| token.0.into()));
        only("act = {}", query.act.map(|act| act.as_str().into()));
        only("at >= {}", query.since.map(|at| at.as_micros().into()));
        only("at < {}", query.until.map(|at| at.as_micros().into()));
        match &query.position {
            PagePosition::Start => {}
            PagePosition::Behind(mark) => only("id < {}", Some(mark.id.into())),
            PagePosition::Before(mark) => only("id > {}", Some(mark.id.into())),
        }
        let backwards = matches!(query.position, PagePosition::Before(_));
        let order = if backwards { "TRUE ORDER BY id LIMIT {}" } else { "TRUE ORDER BY id DESC LIMIT {}" };
        only(order, Some((i64::from(query.limit) + 1).into()));
        let statement = Statement::with(AssertSqlSafe(text), arguments);
        let mut rows: Vec<Read<EntryRow>> = self.rows(statement).await?;
        if backwards {
            rows.reverse();
        }
        let mark = |row: &Read<EntryRow>| {
            row.id(|row| row.id).map(|id| Mark { list: ListId::AUDIT, key: SortKey::Number(id), id })
        };
        let listing = Listing::cut(rows, query.limit, &query.position, mark);
        if listing.falls_short(query.limit, &query.position) {
            return self.entries(&AuditQuery { position: PagePosition::Start, ..query.clone() }).await;
        }
        Ok(listing.read(|row| row.and_then(|row| row.id, EntryRow::into_entry)))
    }

    async fn prune_audit(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let statement = Statement::new(
                "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY at LIMIT $2)",
            );
            let limit = i64::try_from(SWEEP).unwrap_or(i64::MAX);
            let swept = self.execute(statement.bind(before.as_micros()).bind(limit)).await?;
            all += swept;
            if swept < SWEEP {
                return Ok(all);
            }
        }
    }
}

impl<D: Database> SqlStore<D> {
    /// Records a change of an existing user.
    pub(super) async fn note_user(
        &self,
        change: &mut D::Change,
        act: Act,
        user: SubjectId,
        detail: &str,
    ) -> Result<(), StoreError> {
        let statement = self.entry("users.id, users.name, NULL FROM users WHERE users.id = $8", act, detail);
        change.execute(statement.bind(user.0)).await.map(|_| ())
    }

    /// Records a change of an existing token. The detail begins with its kind, the hint of its key and its quoted name.
    pub(super) async fn note_token(
        &self,
        change: &mut D::Change,
        act: Act,
        token: TokenId,
        detail: &str,
    ) -> Result<(), StoreError> {
        let statement = self.entry_of_tokens("tokens.id = $8", act, detail);
        change.execute(statement.bind(token.0)).await.map(|_| ())
    }

    /// Records the end of each token of a user that is not revoked. Returns their number.
    pub(super) async fn note_tokens_of(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        detail: &str,
    ) -> Result<u64, StoreError> {
        let which = "tokens.user_id = $8 AND tokens.revoked IS NULL ORDER BY tokens.id";
        change.execute(self.entry_of_tokens(which, Act::TokenRevoked, detail).bind(owner.0)).await
    }

    fn entry_of_tokens(&self, which: &str, act: Act, detail: &str) -> Statement {
        self.entry_of(
            r#"trim(tokens.kind || ' token ' || tokens.hint || '… ' || CASE WHEN tokens.name = '' THEN ''
               ELSE '"' || replace(replace(tokens.name, '\', '\\'), '"', '\"') || '" ' END || $7)"#,
            &format!(
                "users.id, users.name, tokens.id FROM tokens JOIN users ON users.id = tokens.user_id WHERE {which}"
            ),
            act,
            detail,
        )
    }

    /// `rest` follows the actor, the act and the detail; its own arguments begin with `$8`.
    fn entry(&self, rest: &str, act: Act, detail: &str) -> Statement {
        self.entry_of("$7", rest, act, detail)
    }

    fn entry_of(&self, written: &str, rest: &str, act: Act, detail: &str) -> Statement {
        let text = format!("INSERT INTO audit ({COLUMNS}) SELECT $1, $2, $3, $4, $5, $6, {written}, {rest}");
        let Actor { id, name, via, from } = &self.actor;
        Statement::new(AssertSqlSafe(text))
            .bind(self.clock.now().as_micros())
            .bind(id.map(|id| id.0))
            .bind(name.as_str())
            .bind(via.as_str())
            .bind(from.map(|from| from.to_string()).unwrap_or_default())
            .bind(act.as_str())
            .bind(detail)
    }
}

impl EntryRow {
    fn into_entry(self) -> Result<AuditEntry, StoreError> {
        let impossible = |column| broken(ImpossibleEntry(self.id, column));
        let from = match self.from_address.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| impossible("address"))?),
        };
        let actor = Actor {
            id: self.actor_id.map(SubjectId),
            via: Via::parse(&self.via).ok_or_else(|| impossible("interface"))?,
            from,
            name: self.actor,
        };
        Ok(AuditEntry {
            id: self.id,
            at: Timestamp::from_micros(self.at),
            actor,
            act: Act::parse(&self.act).ok_or_else(|| impossible("act"))?,
            user: self.user_id.map(SubjectId),
            user_name: self.user_name,
            token: self.token_id.map(TokenId),
            detail: self.detail,
        })
    }
}
