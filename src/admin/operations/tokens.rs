//! Token operations: list, issue, revoke.

use std::time::Duration;

use super::{Acting, OperationError, Rights, SCOPE, check_position};
use crate::clock::Timestamp;
use crate::rates::{Holder, QuotaPart, Remaining};
use crate::store::{
    End, Issued, LedgerError, Listing, NamedToken, Revocation, Terms, TokenDetails, TokenQuery, TokenRef, User,
};
use crate::token::{ScopeSet, SubjectId, TokenId};

/// State of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// Valid.
    Live,
    /// Valid, but its owner is inactive.
    OwnerInactive,
    /// Disabled until it is enabled again.
    Disabled,
    /// Expired.
    Expired,
    /// Revoked.
    Revoked,
}

impl TokenState {
    /// All states.
    pub const ALL: [TokenState; 5] =
        [TokenState::Live, TokenState::OwnerInactive, TokenState::Disabled, TokenState::Expired, TokenState::Revoked];

    /// Returns the state of a token at this time.
    pub fn of(token: &TokenDetails, now: Timestamp) -> TokenState {
        let record = &token.record;
        let disabled_here = token.disabled.is_some();
        // Other databases disable tokens without saying since when.
        if record.revoked.is_some() || record.restrictions.disabled && !disabled_here {
            TokenState::Revoked
        } else if !record.is_live(now) {
            TokenState::Expired
        } else if disabled_here {
            TokenState::Disabled
        } else if !record.owner.active {
            TokenState::OwnerInactive
        } else {
            TokenState::Live
        }
    }

    /// Returns the word for the state.
    pub const fn as_str(self) -> &'static str {
        match self {
            TokenState::Live => "live",
            TokenState::OwnerInactive => "owner_inactive",
            TokenState::Disabled => "disabled",
            TokenState::Expired => "expired",
            TokenState::Revoked => "revoked",
        }
    }
}

impl Acting<'_> {
    /// Lists tokens. Staff sees only tokens of ordinary users.
    ///
    /// # Errors
    /// [`OperationError::Invalid`] for a page token of another list, [`OperationError::Unavailable`].
    pub async fn tokens(&self, query: &TokenQuery) -> Result<Listing<TokenDetails>, OperationError> {
        check_position(&query.position, query.list())?;
        let mut query = query.clone();
        query.ordinary |= self.caller.rights == Rights::Staff;
        Ok(self.operations.directory.tokens(&query).await?)
    }

    /// Returns the number of tokens that match, at most [`MAX_TOTAL`](crate::store::MAX_TOTAL).
    ///
    /// # Errors
    /// [`OperationError::Unavailable`].
    pub async fn count_tokens(&self, query: &TokenQuery) -> Result<u32, OperationError> {
        let mut query = query.clone();
        query.ordinary |= self.caller.rights == Rights::Staff;
        Ok(self.operations.directory.count_tokens(&query).await?)
    }

    /// Returns the days on which a token was used, for 30 days up to today.
    ///
    /// # Errors
    /// As [`Acting::token`].
    pub async fn days_of_use(&self, id: TokenId) -> Result<Vec<Timestamp>, OperationError> {
        self.token(id).await?;
        let since = self.operations.clock.now().before(Duration::from_secs(29 * 86_400));
        Ok(self.operations.directory.days_of_use(id, since).await?)
    }

    /// Returns what a token has left of these quotas.
    ///
    /// # Errors
    /// [`OperationError::Unavailable`].
    pub async fn left_for_token(
        &self,
        token: &TokenDetails,
        quotas: &[QuotaPart],
    ) -> Result<Vec<Remaining>, OperationError> {
        let holder = Holder { token: Some(token.record.digest), user: token.record.owner.id };
        self.left(holder, quotas).await
    }

    /// Returns what a user has left of these quotas, without tokens.
    ///
    /// # Errors
    /// [`OperationError::Unavailable`].
    pub async fn left_for_user(&self, user: &User, quotas: &[QuotaPart]) -> Result<Vec<Remaining>, OperationError> {
        self.left(Holder { token: None, user: user.account.id }, quotas).await
    }

    async fn left(&self, holder: Holder, quotas: &[QuotaPart]) -> Result<Vec<Remaining>, OperationError> {
        let Some(store) = &self.store.quotas else { return Ok(Vec::new()) };
        Ok(Remaining::of(&**store, quotas, holder, self.operations.clock.now()).await?)
    }

    /// Returns one token.
    ///
    /// # Errors
    /// [`OperationError::UnknownToken`], [`OperationError::NotAllowed`], [`OperationError::Unavailable`].
    pub async fn token(&self, id: TokenId) -> Result<TokenDetails, OperationError> {
        let token = self.store.ledger.show(TokenRef::Id(id)).await?.ok_or(OperationError::UnknownToken)?;
        self.user(token.record.owner.id).await?;
        Ok(token)
    }

    /// Returns the login token of a user, creating it if missing.
    ///
    /// # Errors
    /// [`OperationError::UnknownUser`], [`OperationError::NotAllowed`], [`OperationError::Conflict`],
    /// [`OperationError::Unavailable`].
    pub async fn login_token(&self, owner: SubjectId) -> Result<Issued, OperationError> {
        self.user(owner).await?;
        let issued = self.store.ledger.issue_login(owner).await?;
        if let (false, Some(audit)) = (issued.fresh, &self.store.audit) {
            audit.note_revealed(issued.id).await?;
        }
        Ok(issued)
    }

    /// Revokes the login token of a user, if there is one, and issues a new one.
    ///
    /// # Errors
    /// As [`Acting::login_token`].
    pub async fn reset_login(&self, owner: SubjectId) -> Result<Issued, OperationError> {
        self.user(owner).await?;
        Ok(self.store.ledger.reset_login(owner).await?)
    }

    /// Checks whether the caller may issue this token to this user.
    ///
    /// # Errors
    /// As [`Acting::user`].
    pub async fn may_issue_named(&self, owner: SubjectId, order: &NamedToken) -> Result<(), OperationError> {
        self.user(owner).await?;
        self.may_give(&order.scopes)
    }

    /// Issues a named token.
    ///
    /// # Errors
    /// As [`Acting::login_token`], and [`OperationError::Invalid`].
    pub async fn issue_named(&self, owner: SubjectId, order: &NamedToken) -> Result<Issued, OperationError> {
        self.may_issue_named(owner, order).await?;
        if order.expires.is_some_and(|end| end <= self.operations.clock.now()) {
            return Err(LedgerError::InvalidEnd.into());
        }
        Ok(self.store.ledger.issue_named(owner, order).await?)
    }

    /// Issues a token in place of this one, whose key works on for `overlap`.
    ///
    /// # Errors
    /// [`OperationError::UnknownToken`], [`OperationError::NotAllowed`], [`OperationError::Conflict`] if the token is
    /// not live or the user has too many, [`OperationError::Unavailable`].
    pub async fn rotate(&self, id: TokenId, overlap: Duration) -> Result<Issued, OperationError> {
        let token = self.token(id).await?;
        self.may_give(&token.record.scopes)?;
        Ok(self.store.ledger.rotate(id, overlap).await?)
    }

    /// Changes the terms of a token; returns whether that changed anything.
    ///
    /// # Errors
    /// [`OperationError::UnknownToken`], [`OperationError::NotAllowed`], [`OperationError::Invalid`],
    /// [`OperationError::Unavailable`].
    pub async fn set_terms(&self, id: TokenId, terms: &Terms) -> Result<bool, OperationError> {
        let token = self.token(id).await?;
        self.may_give(terms.scopes.as_ref().unwrap_or(&token.record.scopes))?;
        // To end a token at once, revoke it.
        if matches!(terms.end, Some(End::At(end)) if end <= self.operations.clock.now()) {
            return Err(LedgerError::InvalidEnd.into());
        }
        Ok(self.store.ledger.set_terms(id, terms).await?)
    }

    fn may_give(&self, scopes: &ScopeSet) -> Result<(), OperationError> {
        if self.caller.rights == Rights::Staff && scopes.iter().any(|scope| scope.as_str() == SCOPE) {
            return Err(OperationError::NotAllowed("only superusers can grant the scope `tokengate:admin`"));
        }
        Ok(())
    }

    /// Revokes a token. Safe to repeat.
    ///
    /// # Errors
    /// [`OperationError::UnknownToken`], [`OperationError::NotAllowed`], [`OperationError::Unavailable`].
    pub async fn revoke(&self, id: TokenId) -> Result<Revocation, OperationError> {
        self.token(id).await?;
        Ok(self.store.ledger.revoke(TokenRef::Id(id)).await?)
    }

    /// Revokes all tokens of a user and returns how many were valid.
    ///
    /// # Errors
    /// [`OperationError::UnknownUser`], [`OperationError::NotAllowed`], [`OperationError::Unavailable`].
    pub async fn revoke_all(&self, owner: SubjectId) -> Result<usize, OperationError> {
        self.user(owner).await?;
        Ok(self.store.ledger.revoke_all(owner).await?)
    }
}
