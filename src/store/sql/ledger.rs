//! The token ledger: issues, revokes and lists tokens.
//!
//! Each operation is one transaction, and transactions never run concurrently. So simultaneous logins get the same
//! token, and concurrent requests cannot exceed a limit.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::checks::{check_order, check_terms};
use super::issue::{Draft, login_of};
use super::rows::TokenRow;
use super::{Change, Database, SqlStore, Statement, detail};
use crate::clock::Timestamp;
use crate::config::settings::PerLogin;
use crate::store::error::broken;
use crate::store::{
    Act, Batch, Issued, LedgerError, NamedToken, OnConflict, Page, Revocation, StoreError, Terms, TokenDetails,
    TokenFilter, TokenKind, TokenLedger, TokenLimits, TokenRef,
};
use crate::token::{ScopeSet, SubjectId, TokenId, TokenKey};

/// Maximum number of tokens that one transaction gives an expiry.
const SWEEP: i64 = 1_000;

#[async_trait]
impl<D: Database> TokenLedger for SqlStore<D> {
    async fn issue_login(&self, owner: SubjectId) -> Result<Issued, LedgerError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let issued = self.login_token(&mut change, owner, self.clock.now()).await;
            change.finish(issued).await
        })
        .await
    }

    async fn log_in(&self, owner: SubjectId, device: &str) -> Result<Issued, LedgerError> {
        if self.tokens.per_login == PerLogin::Shared {
            return self.issue_login(owner).await;
        }
        self.within(async {
            let mut change = self.database.begin().await?;
            let issued = self.device_token(&mut change, owner, device, self.clock.now()).await;
            change.finish(issued).await
        })
        .await
    }

    async fn log_out_all(&self, owner: SubjectId) -> Result<usize, LedgerError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let ended = self.end_logins(&mut change, owner, self.clock.now()).await;
            change.finish(ended).await
        })
        .await
    }

    async fn reset_login(&self, owner: SubjectId) -> Result<Issued, LedgerError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let issued = self.renew_login(&mut change, owner, self.clock.now()).await;
            change.finish(issued).await
        })
        .await
    }

    async fn issue_named(&self, owner: SubjectId, order: &NamedToken) -> Result<Issued, LedgerError> {
        check_order(order)?;
        self.within(async {
            let mut change = self.database.begin().await?;
            let issued = self.named(&mut change, owner, order, self.clock.now()).await;
            change.finish(issued).await
        })
        .await
    }

    async fn import(&self, owner: SubjectId, key: TokenKey, conflict: OnConflict) -> Result<Issued, LedgerError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let issued = self.take_over(&mut change, owner, key, conflict, self.clock.now()).await;
            change.finish(issued).await
        })
        .await
    }

    async fn import_named(&self, owner: SubjectId, key: TokenKey, order: &NamedToken) -> Result<Issued, LedgerError> {
        check_order(order)?;
        self.within(async {
            let mut change = self.database.begin().await?;
            let issued = self.take_over_named(&mut change, owner, key, order, self.clock.now()).await;
            change.finish(issued).await
        })
        .await
    }

    async fn revoke(&self, token: TokenRef) -> Result<Revocation, LedgerError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let revoked = self.revoke_noted(&mut change, token, self.clock.now()).await;
            change.finish(revoked).await
        })
        .await
    }

    async fn revoke_all(&self, owner: SubjectId) -> Result<usize, LedgerError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let revoked = self.revoke_all_noted(&mut change, owner, self.clock.now()).await;
            change.finish(revoked).await
        })
        .await
    }

    async fn set_terms(&self, token: TokenId, terms: &Terms) -> Result<bool, LedgerError> {
        check_terms(terms)?;
        self.within(async {
            let mut change = self.database.begin().await?;
            let set = self.write_terms(&mut change, token, terms).await;
            change.finish(set).await
        })
        .await
    }

    async fn rotate(&self, token: TokenId, overlap: Duration) -> Result<Issued, LedgerError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let issued = self.replace(&mut change, token, overlap, self.clock.now()).await;
            change.finish(issued).await
        })
        .await
    }

    async fn list(&self, filter: TokenFilter, page: Page) -> Result<Batch<TokenDetails>, StoreError> {
        let statement = Statement::new(
            "SELECT * FROM token_details \
             WHERE id > $1 AND ($2 IS NULL OR user_id = $2) \
             AND (NOT $3 OR (revoked IS NULL AND (expires IS NULL OR expires > $4) \
                 AND (unused_days IS NULL OR coalesce(last_used, created) + unused_days * 86400000000 > $4))) \
             ORDER BY id LIMIT $5",
        )
        .bind(page.after)
        .bind(filter.owner.map(|owner| owner.0))
        .bind(filter.live)
        .bind(self.clock.now().as_micros())
        .bind(i64::from(page.limit));
        Ok(TokenRow::batch(self.rows(statement).await?))
    }

    async fn show(&self, token: TokenRef) -> Result<Option<TokenDetails>, StoreError> {
        self.row(details_of(token)).await?.map(TokenRow::into_details).transpose()
    }

    async fn mark_used(&self, uses: &[(TokenId, Timestamp)]) -> Result<(), StoreError> {
        let mut newest = BTreeMap::<i64, i64>::new();
        for (token, at) in uses {
            newest.entry(token.0).and_modify(|known| *known = at.as_micros().max(*known)).or_insert(at.as_micros());
        }
        if newest.is_empty() {
            return Ok(());
        }
        let newest = serde_json::to_string(&newest).map_err(broken)?;
        self.within(async {
            let mut change = self.database.begin().await?;
            let marked = async {
                change.execute(Statement::new(D::MARK_USED).bind(newest.clone())).await?;
                change.execute(Statement::new(D::MARK_DAYS).bind(newest)).await.map(|_| ())
            }
            .await;
            change.finish(marked).await
        })
        .await
    }

    async fn expire_unused(&self) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let ended: Result<u64, StoreError> = self
                .within(async {
                    let mut change = self.database.begin().await?;
                    let ended = self.expire_some_unused(&mut change, self.clock.now(), SWEEP).await;
                    change.finish(ended).await
                })
                .await;
            let ended = ended?;
            all += ended;
            if ended < SWEEP.unsigned_abs() {
                return Ok(all);
            }
        }
    }
}

/// The operations within a transaction.
impl<D: Database> SqlStore<D> {
    async fn login_token(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        now: Timestamp,
    ) -> Result<Issued, LedgerError> {
        match login_of(change, owner).await? {
            // The owner must not undo what an administrator did.
            Some(login) if login.token.disabled.is_some() => Err(LedgerError::NoValidToken(owner)),
            Some(login) if login.token.record.is_live(now) && login.sealed.is_some() && self.tokens.recoverable => {
                self.shown_again(login)
            }
            Some(login) => self.supersede(change, &login, now).await,
            None => self.first_login(change, owner, now).await,
        }
    }

    async fn renew_login(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        now: Timestamp,
    ) -> Result<Issued, LedgerError> {
        match login_of(change, owner).await? {
            Some(login) if login.token.disabled.is_some() => Err(LedgerError::NoValidToken(owner)),
            Some(login) => self.supersede(change, &login, now).await,
            None => self.first_login(change, owner, now).await,
        }
    }

    async fn named(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        order: &NamedToken,
        now: Timestamp,
    ) -> Result<Issued, LedgerError> {
        let key = self.new_key(self.tokens.format);
        self.write_named(change, owner, key, order, (Act::TokenIssued, now)).await
    }

    async fn take_over_named(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        key: TokenKey,
        order: &NamedToken,
        now: Timestamp,
    ) -> Result<Issued, LedgerError> {
        match find(change, TokenRef::Digest(key.digest())).await? {
            Some(same) => known_key(same, TokenKind::Named, owner, key, now),
            None => self.write_named(change, owner, key, order, (Act::TokenImported, now)).await,
        }
    }

    async fn write_named(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        key: TokenKey,
        order: &NamedToken,
        (act, now): (Act, Timestamp),
    ) -> Result<Issued, LedgerError> {
        if count_live(change, owner, now).await? >= u64::from(self.tokens.max_per_user) {
            return Err(LedgerError::TooMany { owner, most: self.tokens.max_per_user });
        }
        let expires = order.expires.or_else(|| self.default_end(now));
        let NamedToken { name, scopes, limits, .. } = order;
        let draft = Draft { key, kind: TokenKind::Named, name, scopes, expires, limits, device: false };
        let issued = self.write_down(change, owner, draft, now).await?;
        self.note_token(change, act, issued.id, &detail::issued(issued.expires, scopes, limits)).await?;
        Ok(issued)
    }

    async fn take_over(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        key: TokenKey,
        conflict: OnConflict,
        now: Timestamp,
    ) -> Result<Issued, LedgerError> {
        if let Some(same) = find(change, TokenRef::Digest(key.digest())).await? {
            return known_key(same, TokenKind::Login, owner, key, now);
        }
        if let Some(login) = login_of(change, owner).await? {
            let record = &login.token.record;
            if record.is_live(now) && conflict == OnConflict::Refuse {
                return Err(LedgerError::LoginExists(owner));
            }
            self.revoke_one(change, record.id.0, now).await?;
        }
        let (scopes, limits) = (ScopeSet::default(), TokenLimits::default());
        let expires = self.default_end(now);
        let draft =
            Draft { key, kind: TokenKind::Login, name: "", scopes: &scopes, expires, limits: &limits, device: false };
        let issued = self.write_down(change, owner, draft, now).await?;
        self.note_token(change, Act::TokenImported, issued.id, &detail::issued(issued.expires, &scopes, &limits))
            .await?;
        Ok(issued)
    }
}

fn details_of(token: TokenRef) -> Statement {
    match &token {
        TokenRef::Id(id) => Statement::new("SELECT * FROM token_details WHERE id = $1").bind(id.0),
        TokenRef::Digest(digest) => {
            Statement::new("SELECT * FROM token_details WHERE digest = $1").bind(digest.as_bytes().as_slice())
        }
    }
}

pub(super) async fn find<C: Change>(change: &mut C, token: TokenRef) -> Result<Option<TokenDetails>, StoreError> {
    change.row(details_of(token)).await?.map(TokenRow::into_details).transpose()
}

/// Returns the result of importing a key that the store already has.
fn known_key(
    same: TokenDetails,
    kind: TokenKind,
    owner: SubjectId,
    key: TokenKey,
    now: Timestamp,
) -> Result<Issued, LedgerError> {
    let record = same.record;
    if record.owner.id != owner {
        Err(LedgerError::KeyTaken)
    } else if !record.is_live(now) {
        Err(LedgerError::KeySpent)
    } else if same.kind != kind {
        Err(LedgerError::KeyTaken)
    } else {
        Ok(Issued { id: record.id, key, expires: record.expires, fresh: false })
    }
}

pub(super) async fn count_live<C: Change>(change: &mut C, owner: SubjectId, now: Timestamp) -> Result<u64, StoreError> {
    let statement = "SELECT count(*) FROM tokens \
                     WHERE user_id = $1 AND revoked IS NULL AND (expires IS NULL OR expires > $2) \
                     AND (unused_days IS NULL OR coalesce(last_used, created) + unused_days * 86400000000 > $2)";
    let count: Option<(i64,)> = change.row(Statement::new(statement).bind(owner.0).bind(now.as_micros())).await?;
    count.map_or(Ok(0), |(count,)| u64::try_from(count)).map_err(broken)
}

pub(super) async fn check_owner<C: Change>(change: &mut C, owner: SubjectId) -> Result<(), LedgerError> {
    let known: Option<(i64,)> = change.row(Statement::new("SELECT id FROM users WHERE id = $1").bind(owner.0)).await?;
    known.map(|_| ()).ok_or(LedgerError::UnknownUser(owner))
}

/// The id from a statement with `RETURNING id`.
pub(super) async fn written_id<C: Change>(change: &mut C, statement: Statement) -> Result<i64, StoreError> {
    let row: Option<(i64,)> = change.row(statement).await?;
    row.map(|(id,)| id).ok_or_else(|| broken(sqlx::Error::RowNotFound))
}
