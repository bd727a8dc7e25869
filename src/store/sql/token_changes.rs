//! Changes of existing tokens, and their audit entries.
//!
//! Each reads what it changes within the same transaction, so no concurrent change is lost.

use std::time::Duration;

use super::checks::check_limits;
use super::issue::Draft;
use super::ledger::{check_owner, count_live, find};
use super::{Change, Database, SqlStore, Statement, detail};
use crate::clock::Timestamp;
use crate::store::{Act, End, Issued, LedgerError, Revocation, StoreError, Terms, TokenKind, TokenLimits, TokenRef};
use crate::token::{ScopeSet, SubjectId, TokenDigest, TokenId};

/// The name of a login token whose key works on beside a new one.
const FORMER_LOGIN: &str = "former login token";

/// The terms that a token has from now on.
pub(super) struct NewTerms<'a> {
    pub(super) name: &'a String,
    pub(super) note: &'a String,
    pub(super) scopes: &'a ScopeSet,
    pub(super) expires: Option<Timestamp>,
    pub(super) limits: TokenLimits,
}

impl<D: Database> SqlStore<D> {
    pub(super) async fn revoke_noted(
        &self,
        change: &mut D::Change,
        token: TokenRef,
        now: Timestamp,
    ) -> Result<Revocation, LedgerError> {
        let record = find(change, token).await?.ok_or(LedgerError::UnknownToken)?.record;
        self.revoke_one(change, record.id.0, now).await?;
        Ok(Revocation { id: record.id, was_live: record.is_live(now) })
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

    /// Changes the terms of a token; returns whether that changed anything.
    pub(super) async fn write_terms(
        &self,
        change: &mut D::Change,
        token: TokenId,
        terms: &Terms,
    ) -> Result<bool, LedgerError> {
        let former = find(change, TokenRef::Id(token)).await?.ok_or(LedgerError::UnknownToken)?;
        if former.kind == TokenKind::Login && terms.name.as_ref().is_some_and(|name| !name.is_empty()) {
            return Err(LedgerError::Nameless);
        }
        if former.kind == TokenKind::Named && terms.name.as_ref().is_some_and(String::is_empty) {
            return Err(LedgerError::InvalidName);
        }
        let now = NewTerms {
            name: terms.name.as_ref().unwrap_or(&former.name),
            note: terms.note.as_ref().unwrap_or(&former.note),
            scopes: terms.scopes.as_ref().unwrap_or(&former.record.scopes),
            expires: match terms.end {
                None => former.record.expires,
                Some(End::Never) => None,
                Some(End::At(end)) => Some(end),
            },
            limits: terms.limits.apply(&TokenLimits::of(&former.record.restrictions)),
        };
        check_limits(&now.limits)?;
        let told = detail::terms(&former, &now);
        if !told.is_empty() {
            let statement = Statement::new(
                "UPDATE tokens SET expires = $1, scopes = $2, name = $3, note = $4, read_only = $5, networks = $6, \
                 unused_days = $7, rate = $8 WHERE id = $9",
            );
            let statement = statement
                .bind(now.expires.map(Timestamp::as_micros))
                .bind(now.scopes.to_string())
                .bind(now.name.as_str())
                .bind(now.note.as_str())
                .bind(now.limits.read_only)
                .bind(now.limits.networks.as_ref().map(ToString::to_string).unwrap_or_default())
                .bind(now.limits.unused_days.map(i64::from))
                .bind(now.limits.rate.as_ref().map(ToString::to_string).unwrap_or_default())
                .bind(token.0);
            change.execute(statement).await?;
            self.note_token(change, Act::TokenTermsSet, token, &told).await?;
        }
        let switched = terms.disabled.filter(|disabled| *disabled != former.disabled.is_some());
        if let Some(disabled) = switched {
            let since = disabled.then(|| self.clock.now().as_micros());
            let statement = Statement::new("UPDATE tokens SET disabled = $1 WHERE id = $2").bind(since).bind(token.0);
            change.execute(statement).await?;
            let act = if disabled { Act::TokenDisabled } else { Act::TokenEnabled };
            self.note_token(change, act, token, "").await?;
        }
        Ok(!told.is_empty() || switched.is_some())
    }

    /// Issues a token in place of a live one, whose key works on for the time of `overlap`.
    pub(super) async fn replace(
        &self,
        change: &mut D::Change,
        token: TokenId,
        overlap: Duration,
        now: Timestamp,
    ) -> Result<Issued, LedgerError> {
        let former = find(change, TokenRef::Id(token)).await?.ok_or(LedgerError::UnknownToken)?;
        let (record, kind) = (&former.record, former.kind);
        if !record.is_live(now) || record.restrictions.disabled {
            return Err(LedgerError::NotLive(token));
        }
        let end = record.expires.into_iter().chain([now.after(overlap)]).min();
        if overlap.is_zero() {
            self.revoke_one(change, token.0, now).await?;
        } else {
            if count_live(change, record.owner.id, now).await? >= u64::from(self.tokens.max_per_user) {
                return Err(LedgerError::TooMany { owner: record.owner.id, most: self.tokens.max_per_user });
            }
            // A user has one login token. The former one becomes a named token, whose key is never shown again.
            let name = if kind == TokenKind::Login { FORMER_LOGIN } else { former.name.as_str() };
            // As a token of a login it ends with the others when the user logs out everywhere.
            let statement = "UPDATE tokens SET expires = $1, device = (device OR kind = 'login'), kind = 'named', name = $2, \
                             sealed = NULL WHERE id = $3";
            let statement = Statement::new(statement).bind(end.map(Timestamp::as_micros)).bind(name).bind(token.0);
            change.execute(statement).await?;
        }
        let lifetime = record.expires.map(|end| end.since(record.created));
        let expires = match (kind, lifetime) {
            (TokenKind::Login, _) => self.default_end(now),
            (TokenKind::Named, lifetime) => lifetime.map(|span| now.after(span).min(Timestamp::END_OF_YEAR_9999)),
        };
        let key = self.new_key(self.tokens.format);
        let limits = TokenLimits::of(&record.restrictions);
        let draft = Draft {
            key,
            kind,
            name: &former.name,
            scopes: &record.scopes,
            expires,
            limits: &limits,
            device: former.device,
        };
        let issued = self.write_down(change, record.owner.id, draft, now).await?;
        let note = Statement::new("UPDATE tokens SET note = $1 WHERE id = $2");
        change.execute(note.bind(former.note.as_str()).bind(issued.id.0)).await?;
        let told = match end.filter(|_| !overlap.is_zero()) {
            Some(end) => format!("new token {}; the old key works until {end}", issued.id),
            None => format!("new token {}; the old key was revoked", issued.id),
        };
        self.note_token(change, Act::TokenRotated, token, &told).await?;
        let terms = detail::issued(issued.expires, &record.scopes, &limits);
        self.note_token(change, Act::TokenIssued, issued.id, &terms).await?;
        Ok(issued)
    }

    /// Gives an expiry to some of the tokens that ended because they were not used; returns their number.
    pub(super) async fn expire_some_unused(
        &self,
        change: &mut D::Change,
        now: Timestamp,
        most: i64,
    ) -> Result<u64, StoreError> {
        let statement = Statement::new(
            "UPDATE tokens SET expires = coalesce(last_used, created) + unused_days * 86400000000 WHERE id IN (\
                 SELECT id FROM tokens WHERE unused_days IS NOT NULL AND revoked IS NULL \
                 AND (expires IS NULL OR expires > $1) \
                 AND coalesce(last_used, created) + unused_days * 86400000000 <= $1 ORDER BY id LIMIT $2\
             ) RETURNING id, unused_days",
        );
        let ended: Vec<(i64, i64)> = change.rows(statement.bind(now.as_micros()).bind(most)).await?;
        for (id, days) in &ended {
            let told = format!("expired, because it was not used for {days} days");
            self.note_token(change, Act::TokenTermsSet, TokenId(*id), &told).await?;
        }
        Ok(u64::try_from(ended.len()).unwrap_or(u64::MAX))
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
