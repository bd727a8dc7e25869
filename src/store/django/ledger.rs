//! Issues and deletes tokens as Django REST Framework does, without name or expiry.
//!
//! A project may allow several tokens per user; each operation changes one of them with a single statement. The unique
//! index of the table decides between concurrent first logins: one inserts the row and the others find it, as with
//! `get_or_create`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::database::DjangoDatabase;
use super::rows::Token;
use super::{DjangoStore, statement};
use crate::clock::Timestamp;
use crate::config::settings::DjangoMode;
use crate::store::error::broken;
use crate::store::sql::Statement;
use crate::store::{
    Batch, Issued, LedgerError, NamedToken, OnConflict, Page, Revocation, StoreError, Terms, TokenDetails, TokenEvent,
    TokenFilter, TokenLedger, TokenRef, TokenStore,
};
use crate::token::{SubjectId, TokenId, TokenKey};

/// Number of tokens per query when all are read.
const PAGE: u32 = 1_000;

#[async_trait]
impl<D: DjangoDatabase> TokenLedger for DjangoStore<D> {
    /// In a read-only database, a login returns the valid token of users who have one.
    async fn issue_login(&self, owner: SubjectId) -> Result<Issued, LedgerError> {
        let tokens = self.all_of(owner).await?;
        match self.login_token(&tokens).filter(|token| token.can_be_shown()) {
            Some(token) => issued(token, false),
            None => self.make(owner, self.new_key(self.format), &tokens).await,
        }
    }

    async fn reset_login(&self, owner: SubjectId) -> Result<Issued, LedgerError> {
        let (key, tokens) = (self.new_key(self.format), self.all_of(owner).await?);
        match self.login_token(&tokens) {
            Some(token) => self.replace(token, key).await,
            None => self.make(owner, key, &tokens).await,
        }
    }

    async fn issue_named(&self, _owner: SubjectId, _order: &NamedToken) -> Result<Issued, LedgerError> {
        Err(LedgerError::OnlyLogin)
    }

    async fn import(&self, owner: SubjectId, key: TokenKey, conflict: OnConflict) -> Result<Issued, LedgerError> {
        if let Some(same) = TokenStore::find(self, &key).await? {
            if same.owner.id != owner {
                return Err(LedgerError::KeyTaken);
            }
            if same.restrictions.disabled || same.expires.is_some_and(|end| end <= self.clock.now()) {
                return Err(LedgerError::KeySpent);
            }
            return Ok(Issued { id: same.id, key, expires: None, fresh: false });
        }
        self.check_width(&key)?;
        let tokens = self.all_of(owner).await?;
        match (self.login_token(&tokens), conflict) {
            (None, _) => self.make(owner, key, &tokens).await,
            (Some(_), OnConflict::Refuse) => Err(LedgerError::LoginExists(owner)),
            (Some(token), OnConflict::Replace) => self.replace(token, key).await,
        }
    }

    async fn import_named(&self, _owner: SubjectId, _key: TokenKey, _: &NamedToken) -> Result<Issued, LedgerError> {
        Err(LedgerError::OnlyLogin)
    }

    async fn revoke(&self, token: TokenRef) -> Result<Revocation, LedgerError> {
        self.may_write()?;
        let token = self.token_at(token).await?.ok_or(LedgerError::UnknownToken)?;
        let was_live = self.delete(&token).await?;
        Ok(Revocation { id: token.id, was_live })
    }

    async fn revoke_all(&self, owner: SubjectId) -> Result<usize, LedgerError> {
        self.may_write()?;
        let tokens = self.all_of(owner).await?;
        if tokens.is_empty() {
            self.check_owner(owner).await?;
        }
        let mut ended = 0;
        for token in &tokens {
            ended += usize::from(self.delete(token).await?);
        }
        Ok(ended)
    }

    async fn set_terms(&self, _token: TokenId, _terms: &Terms) -> Result<bool, LedgerError> {
        Err(LedgerError::OnlyLogin)
    }

    async fn rotate(&self, _token: TokenId, _overlap: Duration) -> Result<Issued, LedgerError> {
        Err(LedgerError::OneKey)
    }

    async fn list(&self, filter: TokenFilter, page: Page) -> Result<Batch<TokenDetails>, StoreError> {
        let now = self.clock.now();
        let mut tokens = match filter.owner {
            None => self.page(page).await?,
            Some(owner) => self
                .token_batch(self.rows(statement(&self.texts.tokens_of).bind(owner.0)).await?)
                .behind(page.after, |token| token.id.0),
        };
        tokens.retain(|token| !filter.live || token.is_live(now));
        Ok(tokens.map(Token::into_details))
    }

    async fn show(&self, token: TokenRef) -> Result<Option<TokenDetails>, StoreError> {
        match self.token_at(token).await {
            Ok(token) => Ok(token.map(Token::into_details)),
            Err(LedgerError::Store(error)) => Err(error),
            Err(other) => Err(broken(other)),
        }
    }

    /// Django has no column for it.
    async fn mark_used(&self, _uses: &[(TokenId, Timestamp)]) -> Result<(), StoreError> {
        Ok(())
    }
}

impl<D: DjangoDatabase> DjangoStore<D> {
    fn may_write(&self) -> Result<(), LedgerError> {
        match self.mode {
            DjangoMode::ReadOnly => Err(LedgerError::ReadOnly),
            DjangoMode::ReadWrite => Ok(()),
        }
    }

    async fn all_of(&self, owner: SubjectId) -> Result<Vec<Token>, StoreError> {
        Ok(self.tokens(self.rows(statement(&self.texts.tokens_of).bind(owner.0)).await?))
    }

    /// The token that a login returns: the newest valid one, which a reset replaces. Tokens that no request can send
    /// come last.
    fn login_token<'t>(&self, tokens: &'t [Token]) -> Option<&'t Token> {
        let now = self.clock.now();
        let live = tokens.iter().filter(|token| token.is_live(now));
        live.max_by_key(|token| (token.can_be_shown(), token.created, token.id))
    }

    async fn page(&self, page: Page) -> Result<Batch<Token>, StoreError> {
        let asked = statement(&self.texts.tokens).bind(page.after).bind(i64::from(page.limit));
        Ok(self.token_batch(self.rows(asked).await?))
    }

    async fn token_at(&self, token: TokenRef) -> Result<Option<Token>, LedgerError> {
        let digest = match token {
            TokenRef::Id(id) => {
                let mut tokens = self.tokens(self.rows(statement(&self.texts.token_with_id).bind(id.0)).await?);
                let token = tokens.pop();
                return if tokens.is_empty() { Ok(token) } else { Err(LedgerError::SeveralTokens(id)) };
            }
            TokenRef::Digest(digest) => digest,
        };
        // Django does not store digests, so all tokens are read. Only the command line needs this.
        let mut page = Page::first(PAGE);
        loop {
            let tokens = self.page(page).await?;
            let Some(end) = tokens.end() else { return Ok(None) };
            page.after = end;
            if let Some(found) = tokens.into_iter().find(|token| token.digest() == digest) {
                return Ok(Some(found));
            }
        }
    }

    /// Creates a token for a user without a valid one, or returns one that was created concurrently.
    async fn make(&self, owner: SubjectId, key: TokenKey, others: &[Token]) -> Result<Issued, LedgerError> {
        let may_write = self.may_write();
        if !others.is_empty() && (may_write.is_err() || self.one_each || self.no_new_tokens.is_some()) {
            return Err(LedgerError::NoValidToken(owner));
        }
        may_write?;
        if let Some(why) = &self.no_new_tokens {
            self.check_owner(owner).await?;
            return Err(LedgerError::NotMade(why.clone()));
        }
        let insert = self.written(&self.texts.insert, owner, &key);
        self.execute_telling(insert, TokenEvent::Changed(key.digest())).await?;
        let tokens = self.all_of(owner).await?;
        let made = tokens.iter().find(|token| *token.key == key.expose());
        if let Some(token) = made.or_else(|| self.login_token(&tokens)) {
            return issued(token, made.is_some());
        }
        self.check_owner(owner).await?;
        // The user exists and has no token: another user has the key.
        Err(LedgerError::KeyTaken)
    }

    /// Replaces the key of this token.
    async fn replace(&self, token: &Token, key: TokenKey) -> Result<Issued, LedgerError> {
        self.may_write()?;
        let owner = token.owner.id;
        let replace = self.written(&self.texts.replace, owner, &key).bind(token.key.as_str());
        if self.execute_telling(replace, TokenEvent::SubjectChanged(owner)).await? == 0 {
            // Another process replaced or deleted it concurrently.
            return match self.login_token(&self.all_of(owner).await?) {
                Some(token) => issued(token, false),
                None => self.make(owner, key, &[]).await,
            };
        }
        Ok(Issued { id: token.id, key, expires: token.expires, fresh: true })
    }

    /// Deletes this token. Returns whether it was valid until now.
    async fn delete(&self, token: &Token) -> Result<bool, StoreError> {
        let delete = statement(&self.texts.delete).bind(token.key.as_str()).bind(token.owner.id.0);
        let deleted = self.execute_telling(delete, TokenEvent::Changed(token.digest())).await?;
        Ok(deleted > 0 && token.is_live(self.clock.now()))
    }

    /// Checks that the key column is wide enough. A database that truncates would store another key.
    fn check_width(&self, key: &TokenKey) -> Result<(), LedgerError> {
        match self.key_width.filter(|most| key.expose().chars().count() > *most) {
            Some(most) => Err(LedgerError::KeyTooLong { most }),
            None => Ok(()),
        }
    }

    fn written(&self, text: &Arc<str>, owner: SubjectId, key: &TokenKey) -> Statement {
        statement(text).bind(key.expose()).bind(D::DIALECT.written(self.clock.now())).bind(owner.0)
    }

    async fn check_owner(&self, owner: SubjectId) -> Result<(), LedgerError> {
        let known = self.person(owner).await?;
        known.map(|_| ()).ok_or(LedgerError::UnknownUser(owner))
    }
}

/// The token for its owner.
fn issued(token: &Token, fresh: bool) -> Result<Issued, LedgerError> {
    let key = TokenKey::parse(&token.key).map_err(broken)?;
    Ok(Issued { id: token.id, key, expires: token.expires, fresh })
}
