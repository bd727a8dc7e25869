//! Finds imported users and tokens that are no longer valid in the system that they came from.
//!
//! The store records the source of each imported user and token. Only data from the same system is compared, so an
//! import never ends a user who was created here or came from another system. Data from before the store recorded
//! sources (an empty source) counts as from the same system.

use std::collections::HashSet;

use super::accounts::{account_error, get, row};
use super::rows::TokenRow;
use super::{Change, Database, SqlStore, Statement};
use crate::clock::Timestamp;
use crate::store::{
    AccountError, Arrival, ArrivingToken, DeletedUser, Import, NotImportable, Page, Stale, StoreError, TokenDetails,
    TokenLabel,
};
use crate::token::{SubjectId, TokenDigest, TokenId, TokenKey};

impl<D: Database> SqlStore<D> {
    /// What is valid here, but not in the other system. Revokes it if the import asks for that.
    pub(super) async fn end_stale(
        &self,
        change: &mut D::Change,
        id: SubjectId,
        arrival: &Arrival,
        import: &Import,
    ) -> Result<Stale, AccountError> {
        let now = self.clock.now();
        let counting = arrival.tokens.iter().filter(|token| not_importable(token, now).is_none());
        let counting: HashSet<_> = counting.map(|token| TokenDigest::of(token.key.as_bytes())).collect();
        let mut tokens = self.imported_tokens(change, id, import).await?;
        tokens.retain(|token| !counting.contains(&token.record.digest));
        let user =
            !arrival.user.account.active && is_imported(change, id, import).await? && is_active(change, id).await?;
        self.end(change, id, user, &tokens, import).await
    }

    /// The same for a user who was deleted there, with all imported data.
    pub(super) async fn end_gone(
        &self,
        change: &mut D::Change,
        user: SubjectId,
        import: &Import,
    ) -> Result<DeletedUser, AccountError> {
        let name = get(change, user).await?.account.name;
        let tokens = self.imported_tokens(change, user, import).await?;
        let is_stale = is_imported(change, user, import).await? && is_active(change, user).await?;
        let stale = self.end(change, user, is_stale, &tokens, import).await?;
        if is_stale && import.prune {
            // Tokens that were issued here belong to a deleted user as well.
            self.revoke_all_noted(change, user, self.clock.now()).await.map_err(account_error)?;
        }
        Ok(DeletedUser { id: user, name, stale })
    }

    async fn end(
        &self,
        change: &mut D::Change,
        id: SubjectId,
        user: bool,
        tokens: &[TokenDetails],
        import: &Import,
    ) -> Result<Stale, AccountError> {
        if import.prune {
            for token in tokens {
                self.revoke_one(change, token.record.id.0, self.clock.now()).await?;
            }
            if user {
                self.write_active(change, id, false).await?;
            }
        }
        let label = |token: &TokenDetails| TokenLabel { hint: Some(token.hint.clone()), created: token.record.created };
        Ok(Stale { user, tokens: tokens.iter().map(label).collect() })
    }

    /// The live tokens of a user that came from the same system.
    async fn imported_tokens(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        import: &Import,
    ) -> Result<Vec<TokenDetails>, StoreError> {
        let statement = Statement::new(
            "SELECT token_details.* FROM token_details JOIN imported_tokens ON imported_tokens.token_id = token_details.id \
             WHERE user_id = $1 AND source IN ($2, '') AND revoked IS NULL AND (expires IS NULL OR expires > $3) \
             ORDER BY token_details.id",
        );
        let statement = statement.bind(owner.0).bind(import.source.as_str()).bind(self.clock.now().as_micros());
        let rows: Vec<TokenRow> = change.rows(statement).await?;
        rows.into_iter().map(TokenRow::into_details).collect()
    }

    /// Ids of users with valid data from the same system, in order.
    pub(super) async fn imported_users(&self, import: &Import, page: Page) -> Result<Vec<SubjectId>, StoreError> {
        let statement = Statement::new(
            "SELECT id FROM users WHERE id > $1 AND ( \
               (active AND id IN (SELECT user_id FROM imported_users WHERE source IN ($2, ''))) \
               OR id IN (SELECT tokens.user_id FROM imported_tokens JOIN tokens ON tokens.id = imported_tokens.token_id \
                         WHERE source IN ($2, '') AND revoked IS NULL AND (expires IS NULL OR expires > $3)) \
             ) ORDER BY id LIMIT $4",
        );
        let now = self.clock.now().as_micros();
        let statement = statement.bind(page.after).bind(import.source.as_str()).bind(now).bind(i64::from(page.limit));
        let rows: Vec<(i64,)> = self.rows(statement).await?;
        Ok(rows.into_iter().map(|(id,)| SubjectId(id)).collect())
    }
}

/// Why an imported token must not be valid here.
pub(super) fn not_importable(token: &ArrivingToken, now: Timestamp) -> Option<NotImportable> {
    token.not_importable.or_else(|| token.expires.filter(|end| *end <= now).map(|_| NotImportable::Expired))
}

pub(super) fn label(token: &ArrivingToken) -> TokenLabel {
    TokenLabel { hint: TokenKey::parse(&token.key).ok().map(|key| key.hint()), created: token.created }
}

async fn is_active<C: Change>(change: &mut C, user: SubjectId) -> Result<bool, StoreError> {
    Ok(row(change, user).await?.is_some_and(|row| row.is_active()))
}

pub(super) async fn is_imported<C: Change>(
    change: &mut C,
    user: SubjectId,
    import: &Import,
) -> Result<bool, StoreError> {
    let statement = Statement::new("SELECT user_id FROM imported_users WHERE user_id = $1 AND source IN ($2, '')");
    let row: Option<(i64,)> = change.row(statement.bind(user.0).bind(import.source.as_str())).await?;
    Ok(row.is_some())
}

/// Records the source of a new user.
pub(super) async fn note_user<C: Change>(change: &mut C, user: SubjectId, import: &Import) -> Result<(), StoreError> {
    let statement = Statement::new("INSERT INTO imported_users (user_id, source) VALUES ($1, $2)");
    change.execute(statement.bind(user.0).bind(import.source.as_str())).await.map(|_| ())
}

/// Records the source of a new token.
pub(super) async fn note_token<C: Change>(change: &mut C, token: TokenId, import: &Import) -> Result<(), StoreError> {
    let statement = Statement::new("INSERT INTO imported_tokens (token_id, source) VALUES ($1, $2)");
    change.execute(statement.bind(token.0).bind(import.source.as_str())).await.map(|_| ())
}

/// Records the source of a user who was imported before sources were recorded.
pub(super) async fn claim_user<C: Change>(change: &mut C, user: SubjectId, import: &Import) -> Result<(), StoreError> {
    let statement = Statement::new("UPDATE imported_users SET source = $1 WHERE user_id = $2 AND source = ''");
    change.execute(statement.bind(import.source.as_str()).bind(user.0)).await.map(|_| ())
}

/// Records the source of a token that was imported before sources were recorded. A token from another address keeps
/// that address (docs/decisions/0043).
pub(super) async fn claim_token<C: Change>(change: &mut C, token: TokenId, import: &Import) -> Result<(), StoreError> {
    let statement = Statement::new("UPDATE imported_tokens SET source = $1 WHERE token_id = $2 AND source = ''");
    change.execute(statement.bind(import.source.as_str()).bind(token.0)).await.map(|_| ())
}
