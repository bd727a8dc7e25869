//! The database of an existing Django project as the store: its users, its groups, and the tokens of Django REST
//! Framework.
//!
//! [`DjangoDatabase`] is what a kind of database has to offer, `dialect` how each spells what is asked, `texts` the
//! statements; `schema` looks whether all tables are there, `columns` whether the gateway knows what each column is, `meaning` what
//! further ones say and `values` how theirs are read, `rights` whether tables may be written, `triggers` whether something tells of changes, `rows` reads what
//! stands in them; `find`, `ledger`,
//! `accounts` and `sessions` are the traits, `arrivals` hands users on. Nothing in the project changes: no table is made, and
//! every row that is written is one that Django makes nothing else of (docs/decisions/0021, 0025).
//!
//! Django keeps no log of changes. What a gateway believes is bounded by the lifetime in its memory, unless it made the
//! change itself or triggers (docs/DJANGO.md) tell of it; see `feed`.

mod accounts;
mod arrivals;
mod columns;
mod database;
mod dialect;
mod feed;
mod find;
mod ledger;
mod meaning;
mod mysql;
mod postgres;
mod rights;
mod rows;
mod schema;
mod sessions;
mod sqlite;
mod texts;
mod triggers;
mod values;

use std::future::Future;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use sqlx::AssertSqlSafe;
use tokio::sync::broadcast;

use self::database::DjangoDatabase;
use self::meaning::Meanings;
use self::mysql::MysqlDatabase;
use self::rows::{Person, Token, TokenRow, UserRow};
use self::sqlite::SqliteFile;
use self::texts::Texts;
use self::triggers::Told;
use super::error::unavailable;
use super::outage::StoreOutage;
use super::password::Hasher;
use super::postgres::PostgresDatabase;
use super::sql::{Read, Row, Statement, parted};
use super::{Batch, NoSessions, OpenError, Store, StoreError, TokenEvent};
use crate::clock::Clock;
use crate::config::settings::{self, DjangoMode, DjangoUrl};
use crate::token::{TokenFormat, TokenKey};

pub use self::arrivals::{Arrivals, DjangoUsers};
pub use self::triggers::script as django_triggers;

/// Changes of our own that a listener may be behind before it has to forget everything.
const EVENTS: usize = 1_024;

/// All traits over one Django database.
struct DjangoStore<D> {
    database: D,
    texts: Texts,
    meanings: Meanings,
    /// Most characters of a key that the column holds.
    key_width: Option<usize>,
    mode: DjangoMode,
    /// May a user have one token only?
    one_each: bool,
    /// Can no two tokens have one key?
    keys_unique: bool,
    /// Why no token can be made here, although tokens may be changed.
    no_new_tokens: Option<String>,
    /// What is odd about the tables.
    remarks: Vec<String>,
    hasher: Hasher,
    rng: Mutex<StdRng>,
    format: TokenFormat,
    timeout: Duration,
    clock: Clock,
    /// Why there is no place for sessions, if there is none.
    no_sessions: Option<NoSessions>,
    /// Tells this process what it changed itself.
    own: broadcast::Sender<TokenEvent>,
    /// What tells of changes.
    told: Told,
    /// How often something may have happened of which nobody told.
    missed: Arc<AtomicI64>,
    outage: StoreOutage,
}

/// Opens a Django database, after a look whether it is one.
pub(super) async fn open(
    url: &DjangoUrl,
    settings: &settings::Store,
    format: TokenFormat,
    clock: Clock,
) -> Result<Store, OpenError> {
    match url {
        DjangoUrl::Sqlite(path) => {
            Ok(DjangoStore::open(SqliteFile::open(path, settings)?, settings, clock).await?.into_store(format))
        }
        DjangoUrl::Mysql(url) => {
            Ok(DjangoStore::open(MysqlDatabase::new(url, settings)?, settings, clock).await?.into_store(format))
        }
        DjangoUrl::Postgres(url) => {
            Ok(DjangoStore::open(PostgresDatabase::new(url, settings)?, settings, clock).await?.into_store(format))
        }
    }
}

impl<D: DjangoDatabase> DjangoStore<D> {
    async fn open(database: D, settings: &settings::Store, clock: Clock) -> Result<DjangoStore<D>, OpenError> {
        let rng = StdRng::try_from_rng(&mut SysRng).map_err(|error| OpenError::NoRandomness(error.into()))?;
        let looking = schema::look(&database, &settings.django);
        let looked = tokio::time::timeout(settings.timeout, looking).await;
        let looked = looked.unwrap_or_else(|elapsed| Err(database.unopened(unavailable(elapsed))))?;
        Ok(DjangoStore {
            database,
            texts: looked.texts,
            meanings: looked.meanings,
            key_width: looked.key_width,
            one_each: looked.one_each,
            keys_unique: looked.keys_unique,
            no_new_tokens: looked.no_new_tokens,
            remarks: looked.remarks,
            mode: settings.django.mode,
            hasher: Hasher::new(&settings.hashing),
            rng: Mutex::new(rng),
            format: TokenFormat::default(),
            timeout: settings.timeout,
            clock,
            no_sessions: looked.no_sessions,
            own: broadcast::Sender::new(EVENTS),
            told: looked.told,
            missed: Arc::default(),
            outage: StoreOutage::default(),
        })
    }

    /// All of it, for a process that makes tokens of this format.
    fn into_store(self, format: TokenFormat) -> Store {
        let (no_sessions, told, remarks) = (self.no_sessions.clone(), self.told.clone(), self.remarks.clone());
        let all = Store::bare(DjangoStore { format, ..self });
        let is_told = told == Told::All;
        let broken_triggers = if let Told::Some(broken) = told { broken } else { Vec::new() };
        if !broken_triggers.is_empty() {
            tracing::warn!(
                code = "django_triggers_out_of_date",
                triggers = broken_triggers.join("; "),
                "not all triggers of the Django database tell of changes, so none is relied on; make them anew: \
                 `tokengate django triggers | psql DATABASE`"
            );
        }
        Store { sessions: no_sessions.map_or(all.sessions, Err), is_told, broken_triggers, remarks, ..all }
    }

    /// The tokens of these rows, each once.
    fn tokens(&self, rows: Vec<TokenRow>) -> Vec<Token> {
        rows::tokens(rows, &self.meanings)
    }

    /// The same for a page of a list.
    fn token_batch(&self, rows: Vec<Read<TokenRow>>) -> Batch<Token> {
        let (rows, unreadable) = parted(rows);
        Batch::of(self.tokens(rows), unreadable, |token| token.id.0)
    }

    /// The users of these rows, each once.
    fn people(&self, rows: Vec<UserRow>) -> Vec<Person> {
        rows::people(rows, &self.meanings)
    }

    /// The same for a page of a list.
    fn person_batch(&self, rows: Vec<Read<UserRow>>) -> Batch<Person> {
        let (rows, unreadable) = parted(rows);
        Batch::of(self.people(rows), unreadable, |person| person.user.account.id.0)
    }

    fn new_key(&self, format: TokenFormat) -> TokenKey {
        // A generator is never left half-way, so a panic elsewhere does not spoil it.
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        TokenKey::generate(format, &mut *rng)
    }

    /// The rows of a statement that only reads, within the store's time limit.
    async fn rows<T: Row>(&self, statement: Statement) -> Result<Vec<T>, StoreError> {
        self.within(self.database.rows(statement)).await
    }

    /// Runs one statement that changes something, and says how many rows it touched.
    async fn execute(&self, statement: Statement) -> Result<u64, StoreError> {
        self.within(self.database.execute(statement)).await
    }

    /// The same for what this process may believe otherwise: it is told, also if nobody knows whether something
    /// changed.
    async fn execute_telling(&self, statement: Statement, event: TokenEvent) -> Result<u64, StoreError> {
        let executed = self.execute(statement).await;
        // Nobody listens in a command.
        let _ = self.own.send(event);
        executed
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let done = tokio::time::timeout(self.timeout, work).await;
        let answer = done.unwrap_or_else(|elapsed| Err(unavailable(elapsed)));
        self.outage.note(&answer);
        answer
    }
}

/// A statement of `texts`: made of our words and of names that the configuration has checked.
fn statement(text: &Arc<str>) -> Statement {
    Statement::new(AssertSqlSafe(Arc::clone(text)))
}
