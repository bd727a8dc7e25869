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
use crate::store::{Arrival, ArrivingToken, OpenError, StoreError, Withheld};
use crate::token::Restrictions;

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

    /// The next users; empty at the end.
    ///
    /// # Errors
    /// [`StoreError`] if they could not be read.
    pub async fn next(&mut self) -> Result<Vec<Arrival>, StoreError> {
        let page = self.source.page(self.after).await?;
        if let Some(last) = page.last() {
            self.after = last.user.account.id.0;
        }
        Ok(page)
    }
}

#[async_trait]
trait Source: Send + Sync {
    async fn page(&self, after: i64) -> Result<Vec<Arrival>, StoreError>;
}

#[async_trait]
impl<D: DjangoDatabase> Source for DjangoStore<D> {
    async fn page(&self, after: i64) -> Result<Vec<Arrival>, StoreError> {
        let people = self.people(self.rows(statement(&self.texts.users).bind(after).bind(PAGE)).await?);
        let mut page = Vec::new();
        for person in people {
            let id = person.user.account.id.0;
            let tokens = self.tokens(self.rows(statement(&self.texts.tokens_of).bind(id)).await?);
            let now = self.clock.now();
            let mut arrivals = Vec::new();
            for token in tokens {
                let is_shared = !self.keys_unique && self.with_key(&token.key).await?.len() > 1;
                arrivals.push(arriving(token, is_shared, now));
            }
            page.push(Arrival { user: person.user, password: Zeroizing::new(person.password), tokens: arrivals });
        }
        Ok(page)
    }
}

/// Converts a token for the import.
fn arriving(token: Token, is_shared: bool, now: Timestamp) -> ArrivingToken {
    let Restrictions { disabled, read_only, networks } = &token.restrictions;
    let withheld = match (token.is_live(now), disabled, read_only, networks) {
        (false, true, ..) => Some(Withheld::Disabled),
        (false, false, ..) => Some(Withheld::Expired),
        (true, ..) if is_shared => Some(Withheld::Shared),
        (true, _, true, _) => Some(Withheld::ReadOnly),
        (true, _, false, Some(_)) => Some(Withheld::Networks),
        (true, _, false, None) => None,
    };
    ArrivingToken { key: token.key, created: token.created, expires: token.expires, withheld }
}
