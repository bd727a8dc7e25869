//! Changes of existing tokens, and their audit entries.
//!
//! Each reads what it changes within the same transaction, so no concurrent change is lost.

use super::ledger::{check_owner, count_live, counts, find};
use super::{Change, Database, SqlStore, Statement, detail};
use crate::clock::Timestamp;
use crate::store::{Act, End, LedgerError, Revocation, StoreError, Terms, TokenRef};
use crate::token::{SubjectId, TokenDigest, TokenId};

impl<D: Database> SqlStore<D> {
    pub(super) async fn revoke_noted(
        &self,
        change: &mut D::Change,
        token: TokenRef,
        now: Timestamp,
    ) -> Result<Revocation, LedgerError> {
        let record = find(change, token).await?.ok_or(LedgerError::UnknownToken)?.record;
        self.revoke_one(change, record.id.0, now).await?;
        Ok(Revocation { id: record.id, was_live: counts(&record, now) })
    }

    /// Revokes a token unless it is revoked, and deletes its encrypted key.
    pub(super) async fn revoke_one(
        &self,
        change: &mut D::Change,
        token: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let statement = "UPDATE tokens SET revoked = $1, sealed = NULL WHERE id = $2 AND revoked IS NULL";
        if change.execute(Statement::new(statement).bind(now.as_micros()).bind(token)).await? > 0 {
            self.note_token(change, Act::TokenRevoked, TokenId(token), "").await?;
        }
        Ok(())
    }

    pub(super) async fn revoke_all_noted(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        now: Timestamp,
    ) -> Result<usize, LedgerError> {
        check_owner(change, owner).await?;
        let live = count_live(change, owner, now).await?;
        let all = self.note_tokens_of(change, owner, "with all tokens of the user").await?;
        if all > 0 {
            let statement = "UPDATE tokens SET revoked = $1, sealed = NULL WHERE user_id = $2 AND revoked IS NULL";
            change.execute(Statement::new(statement).bind(now.as_micros()).bind(owner.0)).await?;
            self.note_user(change, Act::TokensRevoked, owner, &detail::tokens(all, live)).await?;
        }
        Ok(usize::try_from(live).unwrap_or(usize::MAX))
    }

    pub(super) async fn write_terms(
        &self,
        change: &mut D::Change,
        token: TokenId,
        terms: &Terms,
    ) -> Result<(), LedgerError> {
        let former = find(change, TokenRef::Id(token)).await?.ok_or(LedgerError::UnknownToken)?.record;
        let scopes = terms.scopes.as_ref().unwrap_or(&former.scopes);
        let expires = match terms.end {
            None => former.expires,
            Some(End::Never) => None,
            Some(End::At(end)) => Some(end),
        };
        let told = detail::terms(&former, expires, scopes);
        if told.is_empty() {
            return Ok(());
        }
        let statement = Statement::new("UPDATE tokens SET expires = $1, scopes = $2 WHERE id = $3")
            .bind(expires.map(Timestamp::as_micros))
            .bind(scopes.to_string())
            .bind(token.0);
        change.execute(statement).await?;
        Ok(self.note_token(change, Act::TokenTermsSet, token, &told).await?)
    }

    /// Records that a token was sent unencrypted for the first time.
    pub(super) async fn mark_one_exposed(
        &self,
        change: &mut D::Change,
        digest: TokenDigest,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let statement = "UPDATE tokens SET exposed = $1 WHERE digest = $2 AND exposed IS NULL RETURNING id";
        let statement = Statement::new(statement).bind(at.as_micros()).bind(digest.as_bytes().as_slice());
        let marked: Option<(i64,)> = change.row(statement).await?;
        match marked {
            Some((id,)) => self.note_token(change, Act::TokenExposed, TokenId(id), "").await,
            None => Ok(()),
        }
    }

    /// Revokes a token that was sent unencrypted, unless it is revoked.
    pub(super) async fn revoke_one_exposed(
        &self,
        change: &mut D::Change,
        digest: TokenDigest,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let statement = Statement::new(
            "UPDATE tokens SET revoked = $1, sealed = NULL, exposed = coalesce(exposed, $1) \
             WHERE digest = $2 AND revoked IS NULL RETURNING id",
        );
        let revoked: Option<(i64,)> =
            change.row(statement.bind(at.as_micros()).bind(digest.as_bytes().as_slice())).await?;
        match revoked {
            Some((id,)) => self.note_token(change, Act::TokenRevoked, TokenId(id), "sent unencrypted").await,
            None => Ok(()),
        }
    }
}
