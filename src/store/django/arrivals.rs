//! Reads the users of a Django database for the import into our own store.

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::database::DjangoDatabase;
use super::mysql::MysqlDatabase;
use super::rows::Token;
use super::sqlite::SqliteFile;
use super::{DjangoStore, statement};
use crate::clock::{Clock, Timestamp};
use crate::config::settings::{self, DjangoMode, DjangoUrl};
use crate::store::postgres::PostgresDatabase;
use crate::store::{Arrival, ArrivingToken, NotImportable, OpenError, StoreError, TokenLimits, Unreadable};

/// Number of users per query.
const PAGE: i64 = 500;

/// All users of a Django database, a page at a time, ordered by id.
pub struct DjangoUsers {
    source: Box<dyn Source>,
    after: i64,
}

impl DjangoUsers {
    /// Opens the database for reading only. Limits and names come from `settings`; the database of `settings` itself is
    /// not used.
    ///
    /// # Errors
    /// [`OpenError`] names what the database lacks.
    pub async fn open(url: &DjangoUrl, settings: &settings::Store) -> Result<DjangoUsers, OpenError> {
        let mut settings = settings.clone();
        settings.django.mode = DjangoMode::ReadOnly;
        let (settings, clock) = (&settings, Clock::system());
        let source: Box<dyn Source> = match url {
            DjangoUrl::Sqlite(path) => {
                Box::new(DjangoStore::open(SqliteFile::open(path, settings)?, settings, clock).await?)
            }
            DjangoUrl::Postgres(url) => {
                Box::new(DjangoStore::open(PostgresDatabase::new(url, settings)?, settings, clock).await?)
            }
            DjangoUrl::Mysql(url) => {
                Box::new(DjangoStore::open(MysqlDatabase::new(url, settings)?, settings, clock).await?)
            }
        };
        Ok(DjangoUsers { source, after: 0 })
    }

    /// Returns "users" or "tokens" if the database has none of these. Such a database is probably the wrong one, or is
    /// being restored.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be read.
    pub async fn lack(&self) -> Result<Option<&'static str>, StoreError> {
        self.source.lack().await
    }

    /// The next users; `None` at the end, after which it starts again.
    ///
    /// # Errors
    /// [`StoreError`] if they could not be read.
    pub async fn next(&mut self) -> Result<Option<Arrivals>, StoreError> {
        let (arrivals, end) = self.source.page(self.after).await?;
        self.after = end.unwrap_or(0);
        Ok(end.map(|_| arrivals))
    }
}

/// A page of users.
pub struct Arrivals {
    /// The users, each with its unreadable token rows.
    pub users: Vec<(Arrival, Vec<Unreadable>)>,
    /// The unreadable user rows.
    pub unreadable: Vec<Unreadable>,
}

#[async_trait]
trait Source: Send + Sync {
    async fn lack(&self) -> Result<Option<&'static str>, StoreError>;

    /// Users after this id, and the last id of the page.
    async fn page(&self, after: i64) -> Result<(Arrivals, Option<i64>), StoreError>;
}

#[async_trait]
impl<D: DjangoDatabase> Source for DjangoStore<D> {
    async fn lack(&self) -> Result<Option<&'static str>, StoreError> {
        for (what, text) in [("users", &self.texts.any_user), ("tokens", &self.texts.any_token)] {
            let found: Vec<(i64,)> = self.rows(statement(text)).await?;
            if found.is_empty() {
                return Ok(Some(what));
            }
        }
        Ok(None)
    }

    async fn page(&self, after: i64) -> Result<(Arrivals, Option<i64>), StoreError> {
        let people = self.person_batch(self.rows(statement(&self.texts.users).bind(after).bind(PAGE)).await?);
        let end = people.end();
        let (people, unreadable) = people.into_parts();
        let mut users = Vec::new();
        for person in people {
            let id = person.user.account.id.0;
            let tokens = self.token_batch(self.rows(statement(&self.texts.tokens_of).bind(id)).await?);
            let (tokens, odd) = tokens.into_parts();
            let now = self.clock.now();
            let mut arrivals = Vec::new();
            for token in tokens {
                let is_shared = !self.keys_unique && self.is_shared(&token.key).await?;
                arrivals.push(arriving(token, is_shared, now));
            }
            let password = Zeroizing::new(person.password);
            users.push((Arrival { user: person.user, password, tokens: arrivals }, odd));
        }
        Ok((Arrivals { users, unreadable }, end))
    }
}

impl<D: DjangoDatabase> DjangoStore<D> {
    /// Whether several tokens have this key. An unreadable row counts as one that has it.
    async fn is_shared(&self, key: &str) -> Result<bool, StoreError> {
        let tokens = self.token_batch(self.rows(statement(&self.texts.token).bind(key)).await?);
        Ok(tokens.iter().filter(|token| *token.key == key).count() + tokens.unreadable().len() > 1)
    }
}

/// Converts a token for the import.
fn arriving(token: Token, is_shared: bool, now: Timestamp) -> ArrivingToken {
    let not_importable = match (token.is_live(now), token.restrictions.disabled) {
        (false, true) => Some(NotImportable::Disabled),
        (false, false) => Some(NotImportable::Expired),
        (true, _) => is_shared.then_some(NotImportable::Shared),
    };
    let limits = TokenLimits::of(&token.restrictions);
    ArrivingToken { key: token.key, created: token.created, expires: token.expires, limits, not_importable }
}
