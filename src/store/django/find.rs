//! Looks tokens up, and reports gaps in the notifications of changes.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::database::DjangoDatabase;
use super::feed::DjangoFeed;
use super::rows::{Token, TokenRow, check_fits};
use super::triggers::TriggerCoverage;
use super::{DjangoStore, statement};
use crate::clock::Timestamp;
use crate::store::error::broken;
use crate::store::{Changes, Cursor, StoreError, TokenEvent, TokenFeed, TokenStore};
use crate::token::{AuthMethod, SubjectId, TokenDigest, TokenKey, TokenRecord};

/// The configuration prevents this call.
#[derive(Debug, thiserror::Error)]
#[error("a Django database identifies tokens by their keys only")]
struct UnknownByDigest;

#[async_trait]
impl<D: DjangoDatabase> TokenStore for DjangoStore<D> {
    async fn find(&self, key: &TokenKey) -> Result<Option<TokenRecord>, StoreError> {
        match key.method() {
            AuthMethod::Token => {}
            AuthMethod::Session => return self.find_session(key.digest()).await,
            AuthMethod::Certificate => return self.find_certificate(key).await,
        }
        let mut tokens = self.with_key(key.expose()).await?.into_iter();
        let Some(token) = tokens.next() else { return Ok(None) };
        if let Some(other) = tokens.next() {
            let (one, other) = (token.owner.id.0, other.owner.id.0);
            tracing::warn!(
                code = "django_key_twice",
                one,
                other,
                "several tokens of these users have the same key, so none of them is valid"
            );
            return Ok(None);
        }
        check_fits(&token.owner)?;
        Ok(Some(token.into_record()))
    }

    async fn tokens_of(&self, subject: SubjectId) -> Result<Vec<TokenDigest>, StoreError> {
        let rows: Vec<TokenRow> = self.rows(statement(&self.texts.tokens_of).bind(subject.0)).await?;
        Ok(self.tokens(rows).iter().map(Token::digest).collect())
    }

    /// Django keeps no change log, so this only checks that the database answers; `on_outage` depends on that. It
    /// reports a gap if the feed may have missed changes.
    async fn changes(&self, since: Cursor) -> Result<Changes, StoreError> {
        let next = self.newest_change().await?;
        let events = if next == since { Vec::new() } else { vec![TokenEvent::Gap] };
        Ok(Changes { events, next })
    }

    async fn newest_change(&self) -> Result<Cursor, StoreError> {
        // Read before the query: a loss during the query is reported next time.
        let missed = self.missed.load(Ordering::Acquire);
        let _: Vec<(i64,)> = self.rows(statement(&self.texts.alive)).await?;
        Ok(Cursor(missed))
    }

    async fn cursor_at(&self, _at: Timestamp) -> Result<Cursor, StoreError> {
        self.newest_change().await
    }

    fn feed(&self) -> Option<Box<dyn TokenFeed>> {
        let inner = self.database.feed().filter(|_| self.triggers == TriggerCoverage::All);
        Some(Box::new(DjangoFeed::new(inner, self.own.subscribe(), Arc::clone(&self.missed))))
    }

    async fn prune_changes(&self, _before: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// Django has no column for it; the refused request and the log line remain.
    async fn mark_exposed(&self, _digest: TokenDigest, _from: IpAddr, _at: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn revoke_exposed(&self, _digest: TokenDigest, _from: IpAddr, _at: Timestamp) -> Result<(), StoreError> {
        Err(broken(UnknownByDigest))
    }
}

impl<D: DjangoDatabase> DjangoStore<D> {
    /// What the client certificate of the user with this name authenticates.
    async fn find_certificate(&self, user: &TokenKey) -> Result<Option<TokenRecord>, StoreError> {
        let Some(person) = self.named(user.expose()).await? else { return Ok(None) };
        check_fits(&person.user.account)?;
        Ok(Some(TokenRecord::of_certificate(user.digest(), person.user.account, None)))
    }

    /// All tokens that have this key. If there are several, none of them is valid.
    pub(super) async fn with_key(&self, key: &str) -> Result<Vec<Token>, StoreError> {
        let rows: Vec<TokenRow> = self.rows(statement(&self.texts.token).bind(key)).await?;
        let mut tokens = self.tokens(rows);
        // Some collations treat `ABC` and `abc` as equal. A key has exactly one spelling.
        tokens.retain(|token| *token.key == key);
        Ok(tokens)
    }
}
