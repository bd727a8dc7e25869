//! Writes new tokens, and keeps one login token for each user.

use super::ledger::{check_owner, written_id};
use super::rows::TokenRow;
use super::schema::check_value;
use super::{Change, Database, SqlStore, Statement, detail, row};
use crate::clock::Timestamp;
use crate::store::error::broken;
use crate::store::{Act, Issued, LedgerError, StoreError, TokenDetails, TokenKind, TokenLimits};
use crate::token::{ScopeSet, SubjectId, TokenId, TokenKey};

row! {
    struct LoginRow {
        sealed: Option<Vec<u8>>,
        .. token: TokenRow,
    }
}

/// A login token that is not revoked.
pub(super) struct Login {
    pub(super) token: TokenDetails,
    pub(super) sealed: Option<Vec<u8>>,
}

/// A token to insert.
pub(super) struct Draft<'a> {
    pub(super) key: TokenKey,
    pub(super) kind: TokenKind,
    pub(super) name: &'a str,
    pub(super) scopes: &'a ScopeSet,
    pub(super) expires: Option<Timestamp>,
    pub(super) limits: &'a TokenLimits,
    /// Whether a login issues it for one device.
    pub(super) device: bool,
}

impl<D: Database> SqlStore<D> {
    /// Issues the first login token of a user.
    pub(super) async fn first_login(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        now: Timestamp,
    ) -> Result<Issued, LedgerError> {
        let limits = last_limits(change, owner).await?;
        self.new_login(change, owner, self.new_key(self.tokens.format), &limits, now).await
    }

    /// Issues a login token.
    pub(super) async fn new_login(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        key: TokenKey,
        limits: &TokenLimits,
        now: Timestamp,
    ) -> Result<Issued, LedgerError> {
        let scopes = ScopeSet::default();
        let expires = self.default_end(now);
        let draft = Draft { key, kind: TokenKind::Login, name: "", scopes: &scopes, expires, limits, device: false };
        let issued = self.write_down(change, owner, draft, now).await?;
        self.note_token(change, Act::TokenIssued, issued.id, &detail::issued(issued.expires, &scopes, limits)).await?;
        Ok(issued)
    }

    /// Issues a login token in place of another one, with the same limits: a login must not remove what an
    /// administrator has set.
    pub(super) async fn supersede(
        &self,
        change: &mut D::Change,
        former: &Login,
        now: Timestamp,
    ) -> Result<Issued, LedgerError> {
        let record = &former.token.record;
        self.revoke_one(change, record.id.0, now).await?;
        let (key, limits) = (self.new_key(self.tokens.format), TokenLimits::of(&record.restrictions));
        self.new_login(change, record.owner.id, key, &limits, now).await
    }

    pub(super) fn shown_again(&self, login: Login) -> Result<Issued, LedgerError> {
        let record = login.token.record;
        let sealed = login.sealed.unwrap_or_default();
        let opened = self.sealer.open(&sealed, record.digest, record.owner.id);
        let key = opened.map_err(|_| LedgerError::Unsealable(record.id))?;
        Ok(Issued { id: record.id, key, expires: record.expires, fresh: false })
    }

    pub(super) async fn write_down(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        draft: Draft<'_>,
        now: Timestamp,
    ) -> Result<Issued, LedgerError> {
        check_owner(change, owner).await?;
        let Draft { key, kind, name, scopes, expires, limits, device } = draft;
        let sealed = if kind == TokenKind::Login && self.tokens.recoverable {
            // In this transaction: the key may be replaced at the same time.
            let check = check_value(change).await?.unwrap_or_default();
            Some(self.sealer.seal(&check, &key, owner).map_err(broken)?)
        } else {
            None
        };
        let statement = Statement::new(
            "INSERT INTO tokens (digest, sealed, hint, user_id, kind, name, scopes, created, expires, read_only, networks, \
             unused_days, rate, device) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING id",
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
        .bind(limits.read_only)
        .bind(limits.networks.as_ref().map(ToString::to_string).unwrap_or_default())
        .bind(limits.unused_days.map(i64::from))
        .bind(limits.rate.as_ref().map(ToString::to_string).unwrap_or_default())
        .bind(device);
        let id = written_id(change, statement).await?;
        Ok(Issued { id: TokenId(id), key, expires, fresh: true })
    }

    pub(super) fn default_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.tokens.default_ttl.map(|ttl| now.after(ttl).min(Timestamp::END_OF_YEAR_9999))
    }
}

pub(super) async fn login_of<C: Change>(change: &mut C, owner: SubjectId) -> Result<Option<Login>, StoreError> {
    let statement = "SELECT * FROM token_details WHERE user_id = $1 AND kind = 'login' AND revoked IS NULL";
    let row: Option<LoginRow> = change.row(Statement::new(statement).bind(owner.0)).await?;
    row.map(|row| Ok(Login { token: row.token.into_details()?, sealed: row.sealed })).transpose()
}

/// The limits of the login token of a user, or of the last one that was revoked: a logout must not remove what an
/// administrator has set.
pub(super) async fn last_limits<C: Change>(change: &mut C, owner: SubjectId) -> Result<TokenLimits, StoreError> {
    let statement = "SELECT * FROM token_details WHERE user_id = $1 AND kind = 'login' ORDER BY id DESC LIMIT 1";
    let row: Option<LoginRow> = change.row(Statement::new(statement).bind(owner.0)).await?;
    let limits = row.map(|row| Ok(TokenLimits::of(&row.token.into_details()?.record.restrictions)));
    limits.transpose().map(Option::unwrap_or_default)
}
