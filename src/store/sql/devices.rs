//! Tokens that a login issues for one device.

use super::issue::{Draft, last_limits, login_of};
use super::ledger::{check_owner, count_live};
use super::{Change, Database, SqlStore, Statement, detail};
use crate::clock::Timestamp;
use crate::store::{Act, Issued, LedgerError, StoreError, TokenKind};
use crate::token::{ScopeSet, SubjectId};

impl<D: Database> SqlStore<D> {
    /// Issues a token for a device. It has the limits of the login token: a login must not remove what an administrator
    /// has set.
    pub(super) async fn device_token(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        name: &str,
        now: Timestamp,
    ) -> Result<Issued, LedgerError> {
        let login = login_of(change, owner).await?;
        if login.as_ref().is_some_and(|login| login.token.disabled.is_some()) {
            return Err(LedgerError::NoValidToken(owner));
        }
        let limits = last_limits(change, owner).await?;
        let most = self.tokens.max_per_user;
        if count_live(change, owner, now).await? >= u64::from(most)
            && !self.end_oldest_device(change, owner, now).await?
        {
            return Err(LedgerError::TooMany { owner, most });
        }
        let scopes = ScopeSet::default();
        let expires = self.tokens.device_ttl.map(|ttl| now.after(ttl).min(Timestamp::END_OF_YEAR_9999));
        let key = self.new_key(self.tokens.format);
        let draft =
            Draft { key, kind: TokenKind::Named, name, scopes: &scopes, expires, limits: &limits, device: true };
        let issued = self.write_down(change, owner, draft, now).await?;
        self.note_token(change, Act::TokenIssued, issued.id, &detail::issued(issued.expires, &scopes, &limits)).await?;
        Ok(issued)
    }

    /// Revokes the live device token that was not used for the longest time; returns whether there was one.
    async fn end_oldest_device(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let statement = Statement::new(
            "SELECT id FROM tokens WHERE user_id = $1 AND device AND revoked IS NULL \
             AND (expires IS NULL OR expires > $2) ORDER BY coalesce(last_used, created), id LIMIT 1",
        );
        let oldest: Option<(i64,)> = change.row(statement.bind(owner.0).bind(now.as_micros())).await?;
        match oldest {
            Some((id,)) => self.revoke_one(change, id, now).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Revokes the login token and all device tokens of a user; returns their number. A disabled token stays: without it,
    /// the next login would issue one that works.
    pub(super) async fn end_logins(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        now: Timestamp,
    ) -> Result<usize, LedgerError> {
        check_owner(change, owner).await?;
        let statement = "SELECT id FROM tokens WHERE user_id = $1 AND (device OR kind = 'login') \
                         AND revoked IS NULL AND disabled IS NULL";
        let ids: Vec<(i64,)> = change.rows(Statement::new(statement).bind(owner.0)).await?;
        for (id,) in &ids {
            self.revoke_one(change, *id, now).await?;
        }
        Ok(ids.len())
    }
}
