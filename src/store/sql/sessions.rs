//! Browser sessions.
//!
//! The schema's triggers end a user's sessions when the password changes or the user is deactivated. A session is
//! stored only if the password hash is still the one that was verified, so that no session slips through between the
//! two.

use std::time::Duration;

use async_trait::async_trait;

use super::ledger::written_id;
use super::rows::{groups, rate};
use super::{Change, Database, SqlStore, Statement, row};
use crate::clock::Timestamp;
use crate::store::error::broken;
use crate::store::session::SessionStore;
use crate::store::{AccountError, Act, Password, StoreError};
use crate::token::{
    Account, AuthMethod, OwnRates, Restrictions, ScopeSet, SubjectId, TokenDigest, TokenFormat, TokenId, TokenKey,
    TokenRecord,
};

/// Maximum number of sessions of one user; a further one ends the oldest.
const MAX_PER_USER: i64 = 50;

row! {
    struct SessionRow {
        id: i64,
        digest: Vec<u8>,
        created: i64,
        expires: i64,
        user_id: i64,
        name: String,
        email: String,
        active: bool,
        rate: String,
        group_names: String,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("session {0} is not the requested one, or invalid")]
struct ImpossibleSession(i64);

#[async_trait]
impl<D: Database> SessionStore for SqlStore<D> {
    async fn open(&self, name: &str, password: Password, ttl: Duration) -> Result<Option<TokenKey>, AccountError> {
        let Some((user, hash)) = self.compare(name, password).await? else { return Ok(None) };
        self.within(async {
            let mut change = self.database.begin().await?;
            let opened = self.write_session(&mut change, user, &hash, ttl).await;
            change.finish(opened).await
        })
        .await
    }

    async fn end(&self, session: TokenDigest) -> Result<(), StoreError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let ended = self.write_end(&mut change, session).await;
            change.finish(ended).await
        })
        .await
    }
}

impl<D: Database> SqlStore<D> {
    pub(super) async fn find_session(&self, digest: TokenDigest) -> Result<Option<TokenRecord>, StoreError> {
        let statement = Statement::new(
            "SELECT sessions.id, sessions.digest, sessions.created, sessions.expires, sessions.user_id, \
                    owner.name, owner.email, owner.active, owner.rate, owner.group_names \
             FROM sessions JOIN user_details AS owner ON owner.id = sessions.user_id WHERE sessions.digest = $1",
        );
        let row: Option<SessionRow> = self.row(statement.bind(digest.as_bytes().as_slice())).await?;
        row.map(|row| row.into_record(digest)).transpose()
    }

    async fn write_end(&self, change: &mut D::Change, session: TokenDigest) -> Result<(), StoreError> {
        let statement = Statement::new("DELETE FROM sessions WHERE digest = $1 RETURNING user_id");
        let ended: Option<(i64,)> = change.row(statement.bind(session.as_bytes().as_slice())).await?;
        match ended {
            Some((user,)) => self.note_user(change, Act::SignedOut, SubjectId(user), "").await,
            None => Ok(()),
        }
    }

    async fn write_session(
        &self,
        change: &mut D::Change,
        user: SubjectId,
        hash: &str,
        ttl: Duration,
    ) -> Result<Option<TokenKey>, AccountError> {
        let now = self.clock.now();
        let login = Statement::new("UPDATE users SET last_login = $1 WHERE id = $2 AND active = $3 AND password = $4");
        if change.execute(login.bind(now.as_micros()).bind(user.0).bind(true).bind(hash)).await? == 0 {
            return Ok(None);
        }
        let over = Statement::new(
            "DELETE FROM sessions WHERE expires <= $1 OR (user_id = $2 AND id NOT IN \
             (SELECT id FROM sessions WHERE user_id = $2 ORDER BY id DESC LIMIT $3))",
        );
        change.execute(over.bind(now.as_micros()).bind(user.0).bind(MAX_PER_USER - 1)).await?;
        let key = self.new_key(TokenFormat::Drf).into_session();
        let statement = Statement::new(
            "INSERT INTO sessions (digest, user_id, created, expires) VALUES ($1, $2, $3, $4) RETURNING id",
        )
        .bind(key.digest().as_bytes().as_slice())
        .bind(user.0)
        .bind(now.as_micros())
        .bind(now.after(ttl).as_micros());
        written_id(change, statement).await?;
        self.note_user(change, Act::SignedIn, user, "").await?;
        Ok(Some(key))
    }
}

impl SessionRow {
    fn into_record(self, wanted: TokenDigest) -> Result<TokenRecord, StoreError> {
        let impossible = || broken(ImpossibleSession(self.id));
        let digest = TokenDigest::from_bytes(&self.digest).filter(|digest| *digest == wanted).ok_or_else(impossible)?;
        let rates = OwnRates { user: rate(&self.rate).map_err(|_| impossible())?, token: None };
        let restrictions = Restrictions { rates, ..Restrictions::default() };
        Ok(TokenRecord {
            id: TokenId(self.id),
            method: AuthMethod::Session,
            digest,
            owner: Account {
                id: SubjectId(self.user_id),
                groups: groups(&self.group_names).ok_or_else(impossible)?,
                name: self.name,
                email: self.email,
                active: self.active,
            },
            scopes: ScopeSet::default(),
            created: Timestamp::from_micros(self.created),
            expires: Some(Timestamp::from_micros(self.expires)),
            revoked: None,
            restrictions,
        })
    }
}
