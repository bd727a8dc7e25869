//! A store of one test: its own folder, a clock that the test sets, and settings that it can change.

use std::path::PathBuf;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, PgConnection, SqliteConnection};
use tempfile::TempDir;
use tokengate::clock::{Clock, Hand, Timestamp};
use tokengate::config::settings;
use tokengate::store::{self, NewUser, OpenError, Store, TokenEvent};
use tokengate::token::{SubjectId, TokenKey, TokenRecord};

use crate::support::{PATIENCE, Postgres, postgres};

/// The initial time of every test's clock.
pub const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

pub struct Site {
    pub store: settings::Store,
    pub tokens: settings::Tokens,
    pub hand: Hand,
    clock: Clock,
    _folder: TempDir,
}

impl Site {
    pub fn sqlite() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let database = settings::StoreUrl::Sqlite(folder.path().join("tokengate.db"));
        Site::at(database, folder)
    }

    /// With a database of its own on the shared server.
    pub async fn postgres() -> Site {
        Site::on(Postgres::shared().await).await
    }

    /// With a new database on this server.
    pub async fn on(server: &Postgres) -> Site {
        Site::at(server.database().await, tempfile::tempdir().unwrap())
    }

    fn at(database: settings::StoreUrl, folder: TempDir) -> Site {
        let (clock, hand) = Clock::by_hand(START);
        let store = settings::Store {
            max_connections: 4,
            timeout: PATIENCE,
            poll_every: Duration::from_secs(1),
            hashing: settings::Hashing { at_once: 2, failed_after: Duration::from_millis(1) },
            ..settings::Store::at(database, folder.path().join("tokengate.key"))
        };
        let tokens = settings::Tokens { issue_on_user_create: false, max_per_user: 100, ..settings::Tokens::default() };
        Site { store, tokens, hand, clock, _folder: folder }
    }

    pub async fn try_open(&self) -> Result<Store, OpenError> {
        store::open(&self.store, &self.tokens, self.clock.clone()).await
    }

    pub async fn open(&self) -> Store {
        self.try_open().await.unwrap()
    }

    pub fn database(&self) -> PathBuf {
        let settings::StoreUrl::Sqlite(path) = &self.store.url else { panic!("no SQLite file") };
        path.clone()
    }

    /// Another program that has opened the same SQLite file.
    pub async fn intruder(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(self.database()).busy_timeout(self.store.timeout).connect().await.unwrap()
    }

    /// Another program that is connected to the same PostgreSQL database.
    pub async fn session(&self) -> PgConnection {
        let settings::StoreUrl::Postgres(url) = &self.store.url else { panic!("not on PostgreSQL") };
        postgres::options(url).connect().await.unwrap()
    }
}

pub fn key(text: &str) -> TokenKey {
    TokenKey::parse(text).unwrap()
}

pub async fn user(store: &Store, name: &str) -> SubjectId {
    store.accounts.create(NewUser::named(name)).await.unwrap().0.account.id
}

/// The store's record of this key, which must exist.
pub async fn found(store: &Store, key: &TokenKey) -> TokenRecord {
    store.tokens.find(key).await.unwrap().expect("the store knows this token")
}

/// Reads all events since the last read, or since [`Log::from_now`].
pub struct Log(store::Cursor);

impl Log {
    pub async fn from_now(store: &Store) -> Log {
        Log(store.tokens.newest_change().await.unwrap())
    }

    pub async fn events(&mut self, store: &Store) -> Vec<TokenEvent> {
        let changes = store.tokens.changes(self.0).await.unwrap();
        self.0 = changes.next;
        changes.events
    }
}
