//! Issues and withdraws tokens as Django REST Framework does: one for each user, with neither name nor end.
//!
//! Each change is one statement, which the database's own rules keep whole: of simultaneous first logins one inserts
//! the row and the others find it, as with `get_or_create`.

use std::sync::Arc;

use async_trait::async_trait;

use super::database::DjangoDatabase;
use super::rows::{self, Token, TokenRow};
use super::{DjangoStore, statement};
use crate::clock::Timestamp;
use crate::config::settings::DjangoMode;
use crate::store::error::broken;
use crate::store::sql::Statement;
use crate::store::{
    Issued, LedgerError, NamedToken, OnConflict, Page, Revocation, StoreError, Terms, TokenDetails, TokenEvent,
    TokenFilter, TokenLedger, TokenRef, TokenStore,
};
use crate::token::{SubjectId, TokenId, TokenKey};

/// Tokens that are read at once where all have to be looked at.
const PAGE: u32 = 1_000;

#[async_trait]
impl<D: DjangoDatabase> TokenLedger for DjangoStore<D> {
    /// Where nothing may be written, login still works for users who have a token.
    async fn issue_login(&self, owner: SubjectId) -> Result<Issued, LedgerError> {
        if let Some(token) = self.token_of(owner).await? {
            return issued(&token, false);
        }
        self.insert(owner, self.new_key(self.format)).await
    }

    async fn reset_login(&self, owner: SubjectId) -> Result<Issued, LedgerError> {
        self.replace(owner, self.new_key(self.format)).await
    }

    async fn issue_named(&self, _owner: SubjectId, _order: &NamedToken) -> Result<Issued, LedgerError> {
        Err(LedgerError::OnlyLogin)
    }

    async fn import(&self, owner: SubjectId, key: TokenKey, conflict: OnConflict) -> Result<Issued, LedgerError> {
        if let Some(same) = TokenStore::find(self, &key).await? {
            if same.owner.id != owner {
                return Err(LedgerError::KeyTaken);
            }
            return Ok(Issued { id: same.id, key, expires: None, fresh: false });
        }
        match (self.token_of(owner).await?, conflict) {
            (None, _) => self.insert(owner, key).await,
            (Some(_), OnConflict::Refuse) => Err(LedgerError::LoginExists(owner)),
            (Some(_), OnConflict::Replace) => self.replace(owner, key).await,
        }
    }

    async fn revoke(&self, token: TokenRef) -> Result<Revocation, LedgerError> {
        self.may_write()?;
        let token = self.token_at(token).await?.ok_or(LedgerError::UnknownToken)?;
        let delete = statement(&self.texts.delete).bind(token.key.as_str()).bind(token.owner.id.0);
        let was_live = self.execute_telling(delete, TokenEvent::Changed(token.digest())).await? > 0;
        Ok(Revocation { id: token.id(), was_live })
    }

    async fn revoke_all(&self, owner: SubjectId) -> Result<usize, LedgerError> {
        self.may_write()?;
        match self.token_of(owner).await? {
            Some(token) => {
                let delete = statement(&self.texts.delete).bind(token.key.as_str()).bind(owner.0);
                let deleted = self.execute_telling(delete, TokenEvent::Changed(token.digest())).await?;
                Ok(usize::try_from(deleted).unwrap_or(0))
            }
            None => self.check_owner(owner).await.map(|()| 0),
        }
    }

    async fn set_terms(&self, _token: TokenId, _terms: &Terms) -> Result<(), LedgerError> {
        Err(LedgerError::OnlyLogin)
    }

    async fn list(&self, filter: TokenFilter, page: Page) -> Result<Vec<TokenDetails>, StoreError> {
        let tokens = match filter.owner {
            None => self.page(page).await?,
            Some(owner) if owner.0 > page.after => self.token_of(owner).await?.into_iter().collect(),
            Some(_) => Vec::new(),
        };
        Ok(tokens.into_iter().map(Token::into_details).collect())
    }

    async fn show(&self, token: TokenRef) -> Result<Option<TokenDetails>, StoreError> {
        Ok(self.token_at(token).await?.map(Token::into_details))
    }

    /// Django has no place for it.
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

    async fn token_of(&self, owner: SubjectId) -> Result<Option<Token>, StoreError> {
        let rows: Vec<TokenRow> = self.rows(statement(&self.texts.token_of).bind(owner.0)).await?;
        Ok(rows::tokens(rows).pop())
    }

    async fn page(&self, page: Page) -> Result<Vec<Token>, StoreError> {
        let asked = statement(&self.texts.tokens).bind(page.after).bind(i64::from(page.limit));
        Ok(rows::tokens(self.rows::<TokenRow>(asked).await?))
    }

    async fn token_at(&self, token: TokenRef) -> Result<Option<Token>, StoreError> {
        let digest = match token {
            TokenRef::Id(id) => return self.token_of(SubjectId(id.0)).await,
            TokenRef::Digest(digest) => digest,
        };
        // Nothing there knows digests, so all tokens are looked at. Only an operator asks so.
        let mut page = Page::first(PAGE);
        loop {
            let tokens = self.page(page).await?;
            let Some(last) = tokens.last() else { return Ok(None) };
            page.after = last.owner.id.0;
            if let Some(found) = tokens.into_iter().find(|token| token.digest() == digest) {
                return Ok(Some(found));
            }
        }
    }

    /// Makes the token of a user, or finds that somebody else just did.
    async fn insert(&self, owner: SubjectId, key: TokenKey) -> Result<Issued, LedgerError> {
        self.may_write()?;
        let insert = self.written(&self.texts.insert, owner, &key);
        self.execute_telling(insert, TokenEvent::Changed(key.digest())).await?;
        match self.token_of(owner).await? {
            Some(token) => issued(&token, *token.key == key.expose()),
            None => {
                self.check_owner(owner).await?;
                // The user is there and has no token: the key is that of somebody else.
                Err(LedgerError::KeyTaken)
            }
        }
    }

    async fn replace(&self, owner: SubjectId, key: TokenKey) -> Result<Issued, LedgerError> {
        self.may_write()?;
        // Whichever token was there, it is that of this user.
        let replace = self.written(&self.texts.replace, owner, &key);
        if self.execute_telling(replace, TokenEvent::SubjectChanged(owner)).await? == 0 {
            return self.insert(owner, key).await;
        }
        Ok(Issued { id: TokenId(owner.0), key, expires: None, fresh: true })
    }

    fn written(&self, text: &Arc<str>, owner: SubjectId, key: &TokenKey) -> Statement {
        statement(text).bind(key.expose()).bind(D::DIALECT.written(self.clock.now())).bind(owner.0)
    }

    async fn check_owner(&self, owner: SubjectId) -> Result<(), LedgerError> {
        let known = self.person(owner).await?;
        known.map(|_| ()).ok_or(LedgerError::UnknownUser(owner))
    }
}

/// A token as its owner gets it.
fn issued(token: &Token, fresh: bool) -> Result<Issued, LedgerError> {
    let key = TokenKey::parse(&token.key).map_err(broken)?;
    Ok(Issued { id: token.id(), key, expires: None, fresh })
}
