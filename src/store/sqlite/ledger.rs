//! Issues, withdraws and lists tokens.
//!
//! Each operation is one transaction that holds the write lock from its beginning, so what it reads is what it changes:
//! simultaneous logins get one token, and a limit cannot be passed by asking twice at once.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::SqliteStore;
use super::database::broken;
use super::rows::TokenRow;
use crate::clock::Timestamp;
use crate::identity::LONGEST_VALUE;
use crate::store::user::is_label;
use crate::store::{
    Issued, LedgerError, NamedToken, OnConflict, Page, Revocation, StoreError, Terms, TokenDetails, TokenFilter,
    TokenKind, TokenLedger, TokenRef,
};
use crate::token::{ScopeSet, SubjectId, TokenDigest, TokenId, TokenKey, TokenRecord};

/// Most characters of a token name.
const LONGEST_NAME: usize = 100;

/// A login token that is not revoked.
#[derive(sqlx::FromRow)]
struct Login {
    id: i64,
    digest: Vec<u8>,
    sealed: Option<Vec<u8>>,
    expires: Option<i64>,
}

/// A token to write down.
struct Draft<'a> {
    key: TokenKey,
    kind: TokenKind,
    name: &'a str,
    scopes: &'a ScopeSet,
    expires: Option<Timestamp>,
}

#[async_trait]
impl TokenLedger for SqliteStore {
    async fn issue_login(&self, owner: SubjectId) -> Result<Issued, LedgerError> {
        let now = self.clock.now();
        self.database
            .within(async {
                let mut change = self.database.write().await?;
                let issued = match login_of(&mut change, owner).await? {
                    Some(login) if is_live(login.expires, now) && login.sealed.is_some() && self.tokens.recoverable => {
                        return self.shown_again(login, owner);
                    }
                    Some(login) => self.supersede(&mut change, login.id, owner, now).await?,
                    None => self.new_login(&mut change, owner, self.new_key(), now).await?,
                };
                change.commit().await?;
                Ok(issued)
            })
            .await
    }

    async fn reset_login(&self, owner: SubjectId) -> Result<Issued, LedgerError> {
        let now = self.clock.now();
        self.database
            .within(async {
                let mut change = self.database.write().await?;
                let issued = match login_of(&mut change, owner).await? {
                    Some(login) => self.supersede(&mut change, login.id, owner, now).await?,
                    None => self.new_login(&mut change, owner, self.new_key(), now).await?,
                };
                change.commit().await?;
                Ok(issued)
            })
            .await
    }

    async fn issue_named(&self, owner: SubjectId, order: &NamedToken) -> Result<Issued, LedgerError> {
        if !is_label(&order.name, LONGEST_NAME) {
            return Err(LedgerError::InvalidName);
        }
        check_scopes(&order.scopes)?;
        let now = self.clock.now();
        let draft = Draft {
            key: self.new_key(),
            kind: TokenKind::Named,
            name: &order.name,
            scopes: &order.scopes,
            expires: order.expires.or_else(|| self.default_end(now)),
        };
        self.database
            .within(async {
                let mut change = self.database.write().await?;
                if count_live(&mut change, owner, now).await? >= i64::from(self.tokens.max_per_user) {
                    return Err(LedgerError::TooMany { owner, most: self.tokens.max_per_user });
                }
                let issued = self.write_down(&mut change, owner, draft, now).await?;
                change.commit().await?;
                Ok(issued)
            })
            .await
    }

    async fn import(&self, owner: SubjectId, key: TokenKey, conflict: OnConflict) -> Result<Issued, LedgerError> {
        let now = self.clock.now();
        self.database
            .within(async {
                let mut change = self.database.write().await?;
                if let Some(same) = find(&mut change, TokenRef::Digest(key.digest())).await? {
                    return known_key(same, owner, key, now);
                }
                if let Some(login) = login_of(&mut change, owner).await? {
                    if is_live(login.expires, now) && conflict == OnConflict::Refuse {
                        return Err(LedgerError::LoginExists(owner));
                    }
                    revoke_one(&mut change, login.id, now).await?;
                }
                let issued = self.new_login(&mut change, owner, key, now).await?;
                change.commit().await?;
                Ok(issued)
            })
            .await
    }

    async fn revoke(&self, token: TokenRef) -> Result<Revocation, LedgerError> {
        let now = self.clock.now();
        self.database
            .within(async {
                let mut change = self.database.write().await?;
                let record = find(&mut change, token).await?.ok_or(LedgerError::UnknownToken)?.record;
                revoke_one(&mut change, record.id.0, now).await?;
                change.commit().await?;
                Ok(Revocation { id: record.id, was_live: counts(&record, now) })
            })
            .await
    }

    async fn revoke_all(&self, owner: SubjectId) -> Result<usize, LedgerError> {
        let now = self.clock.now();
        self.database
            .within(async {
                let mut change = self.database.write().await?;
                check_owner(&mut change, owner).await?;
                let live = count_live(&mut change, owner, now).await?;
                sqlx::query("UPDATE tokens SET revoked = ?, sealed = NULL WHERE user_id = ? AND revoked IS NULL")
                    .bind(now.as_micros())
                    .bind(owner.0)
                    .execute(&mut *change)
                    .await?;
                change.commit().await?;
                Ok(usize::try_from(live).unwrap_or(0))
            })
            .await
    }

    async fn set_terms(&self, token: TokenId, terms: &Terms) -> Result<(), LedgerError> {
        check_scopes(&terms.scopes)?;
        self.database
            .within(async {
                let mut change = self.database.write().await?;
                let done = sqlx::query("UPDATE tokens SET expires = ?, scopes = ? WHERE id = ?")
                    .bind(terms.expires.map(Timestamp::as_micros))
                    .bind(terms.scopes.to_string())
                    .bind(token.0)
                    .execute(&mut *change)
                    .await?;
                if done.rows_affected() == 0 {
                    return Err(LedgerError::UnknownToken);
                }
                Ok(change.commit().await?)
            })
            .await
    }

    async fn list(&self, filter: TokenFilter, page: Page) -> Result<Vec<TokenDetails>, StoreError> {
        let now = self.clock.now();
        let rows: Vec<TokenRow> = self
            .database
            .within(async {
                let mut connection = self.database.read().await?;
                let query = sqlx::query_as(
                    "SELECT * FROM token_details \
                     WHERE id > ?1 AND (?2 IS NULL OR user_id = ?2) \
                     AND (NOT ?3 OR (revoked IS NULL AND (expires IS NULL OR expires > ?4))) ORDER BY id LIMIT ?5",
                )
                .bind(page.after)
                .bind(filter.owner.map(|owner| owner.0))
                .bind(filter.live)
                .bind(now.as_micros())
                .bind(page.limit);
                Ok::<_, StoreError>(query.fetch_all(&mut *connection).await?)
            })
            .await?;
        rows.into_iter().map(TokenRow::into_details).collect()
    }

    async fn show(&self, token: TokenRef) -> Result<Option<TokenDetails>, StoreError> {
        self.database
            .within(async {
                let mut connection = self.database.read().await?;
                find(&mut connection, token).await
            })
            .await
    }

    async fn mark_used(&self, uses: &[(TokenId, Timestamp)]) -> Result<(), StoreError> {
        self.database
            .within(async {
                let mut change = self.database.write().await?;
                for (token, at) in uses {
                    sqlx::query("UPDATE tokens SET last_used = max(coalesce(last_used, ?1), ?1) WHERE id = ?2")
                        .bind(at.as_micros())
                        .bind(token.0)
                        .execute(&mut *change)
                        .await?;
                }
                Ok(change.commit().await?)
            })
            .await
    }
}

impl SqliteStore {
    /// Issues the first login token of a user, within the caller's transaction.
    pub(super) async fn new_login(
        &self,
        connection: &mut SqliteConnection,
        owner: SubjectId,
        key: TokenKey,
        now: Timestamp,
    ) -> Result<Issued, LedgerError> {
        let scopes = ScopeSet::default();
        let expires = self.default_end(now);
        let draft = Draft { key, kind: TokenKind::Login, name: "", scopes: &scopes, expires };
        self.write_down(connection, owner, draft, now).await
    }

    async fn supersede(
        &self,
        connection: &mut SqliteConnection,
        former: i64,
        owner: SubjectId,
        now: Timestamp,
    ) -> Result<Issued, LedgerError> {
        revoke_one(connection, former, now).await?;
        self.new_login(connection, owner, self.new_key(), now).await
    }

    fn shown_again(&self, login: Login, owner: SubjectId) -> Result<Issued, LedgerError> {
        let id = TokenId(login.id);
        let digest = TokenDigest::from_bytes(&login.digest).ok_or(LedgerError::Unsealable(id))?;
        let sealed = login.sealed.unwrap_or_default();
        let key = self.sealer.open(&sealed, digest, owner).map_err(|_| LedgerError::Unsealable(id))?;
        Ok(Issued { id, key, expires: login.expires.map(Timestamp::from_micros), fresh: false })
    }

    async fn write_down(
        &self,
        connection: &mut SqliteConnection,
        owner: SubjectId,
        draft: Draft<'_>,
        now: Timestamp,
    ) -> Result<Issued, LedgerError> {
        check_owner(connection, owner).await?;
        let Draft { key, kind, name, scopes, expires } = draft;
        let sealed = if kind == TokenKind::Login && self.tokens.recoverable {
            Some(self.sealer.seal(&key, owner).map_err(|error| LedgerError::Store(broken(error)))?)
        } else {
            None
        };
        let id = sqlx::query(
            "INSERT INTO tokens (digest, sealed, hint, user_id, kind, name, scopes, created, expires) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(key.digest().as_bytes().as_slice())
        .bind(sealed)
        .bind(key.hint().as_str())
        .bind(owner.0)
        .bind(kind.as_str())
        .bind(name)
        .bind(scopes.to_string())
        .bind(now.as_micros())
        .bind(expires.map(Timestamp::as_micros))
        .execute(connection)
        .await?
        .last_insert_rowid();
        Ok(Issued { id: TokenId(id), key, expires, fresh: true })
    }

    fn default_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.tokens.default_ttl.map(|ttl| now.after(ttl))
    }
}

async fn login_of(connection: &mut SqliteConnection, owner: SubjectId) -> Result<Option<Login>, sqlx::Error> {
    let query = "SELECT id, digest, sealed, expires FROM tokens \
                 WHERE user_id = ? AND kind = 'login' AND revoked IS NULL";
    sqlx::query_as(query).bind(owner.0).fetch_optional(connection).await
}

async fn find(connection: &mut SqliteConnection, token: TokenRef) -> Result<Option<TokenDetails>, StoreError> {
    let query = match &token {
        TokenRef::Id(id) => sqlx::query_as("SELECT * FROM token_details WHERE id = ?").bind(id.0),
        TokenRef::Digest(digest) => {
            sqlx::query_as("SELECT * FROM token_details WHERE digest = ?").bind(digest.as_bytes().as_slice())
        }
    };
    let row: Option<TokenRow> = query.fetch_optional(connection).await?;
    row.map(TokenRow::into_details).transpose()
}

/// What an import answers for a key that the store has already.
fn known_key(same: TokenDetails, owner: SubjectId, key: TokenKey, now: Timestamp) -> Result<Issued, LedgerError> {
    let record = same.record;
    if record.owner.id != owner {
        Err(LedgerError::KeyTaken)
    } else if !counts(&record, now) {
        Err(LedgerError::KeySpent)
    } else if same.kind != TokenKind::Login {
        Err(LedgerError::KeyTaken)
    } else {
        Ok(Issued { id: record.id, key, expires: record.expires, fresh: false })
    }
}

/// Revokes a token, if it is not, and wipes its sealed key, which nobody needs any more.
async fn revoke_one(connection: &mut SqliteConnection, token: i64, now: Timestamp) -> Result<(), sqlx::Error> {
    let query = "UPDATE tokens SET revoked = ?, sealed = NULL WHERE id = ? AND revoked IS NULL";
    sqlx::query(query).bind(now.as_micros()).bind(token).execute(connection).await?;
    Ok(())
}

async fn count_live(
    connection: &mut SqliteConnection,
    owner: SubjectId,
    now: Timestamp,
) -> Result<i64, sqlx::Error> {
    let query = "SELECT count(*) FROM tokens \
                 WHERE user_id = ? AND revoked IS NULL AND (expires IS NULL OR expires > ?)";
    sqlx::query_scalar(query).bind(owner.0).bind(now.as_micros()).fetch_one(connection).await
}

async fn check_owner(connection: &mut SqliteConnection, owner: SubjectId) -> Result<(), LedgerError> {
    let query = sqlx::query_scalar::<_, i64>("SELECT 1 FROM users WHERE id = ?").bind(owner.0);
    query.fetch_optional(connection).await?.map(|_| ()).ok_or(LedgerError::UnknownUser(owner))
}

/// Upstreams get all scopes in one field value.
fn check_scopes(scopes: &ScopeSet) -> Result<(), LedgerError> {
    if scopes.to_string().len() > LONGEST_VALUE { Err(LedgerError::ScopesTooLong) } else { Ok(()) }
}

fn counts(record: &TokenRecord, now: Timestamp) -> bool {
    record.revoked.is_none() && is_live(record.expires.map(Timestamp::as_micros), now)
}

fn is_live(expires: Option<i64>, now: Timestamp) -> bool {
    expires.is_none_or(|end| end > now.as_micros())
}
