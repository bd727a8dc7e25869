//! The database of an existing Django project as the store: its users, its groups, and the tokens of Django REST
//! Framework.
//!
//! [`DjangoDatabase`] is the interface to a kind of database, `dialect` has the SQL of each kind, `texts` the
//! statements. At start, `schema` checks the tables, `columns` finds unknown columns, `meaning` reads the configured
//! ones with the help of `values`, `rights` checks permissions and `triggers` checks the triggers. `rows` reads rows.
//! `find`, `ledger`, `accounts` and `sessions` implement the traits; `arrivals` serves the import. The gateway creates
//! no table, and Django can handle every row that it writes (docs/decisions/0021, 0025).
//!
//! Django keeps no change log. So a change takes effect when the cache entry expires, unless this gateway made it or
//! triggers (docs/DJANGO.md) report it; see `feed`.

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
use self::triggers::TriggerCoverage;
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

/// Maximum number of own changes in the queue of a listener. A listener that lags further behind must discard
/// everything.
const EVENTS: usize = 1_024;

/// All traits over one Django database.
struct DjangoStore<D> {
    database: D,
    texts: Texts,
    meanings: Meanings,
    /// Maximum number of characters in the key column.
    key_width: Option<usize>,
    mode: DjangoMode,
    /// Whether a user can have only one token.
    one_each: bool,
    /// Whether keys are unique.
    keys_unique: bool,
    /// Why the gateway can create no tokens here, although it can change them.
    no_new_tokens: Option<String>,
    /// Warnings about the tables.
    remarks: Vec<String>,
    hasher: Hasher,
    rng: Mutex<StdRng>,
    format: TokenFormat,
    timeout: Duration,
    clock: Clock,
    /// Why the gateway can store no sessions here.
    no_sessions: Option<NoSessions>,
    /// Reports this process's own changes.
    own: broadcast::Sender<TokenEvent>,
    /// Which triggers report changes.
    triggers: TriggerCoverage,
    /// How often notifications may have been lost.
    missed: Arc<AtomicI64>,
    outage: StoreOutage,
}

/// Opens a Django database, and checks its tables.
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
            triggers: looked.triggers,
            missed: Arc::default(),
            outage: StoreOutage::default(),
        })
    }

    /// The store, for a process that issues tokens in this format.
    fn into_store(self, format: TokenFormat) -> Store {
        let (no_sessions, triggers, remarks) = (self.no_sessions.clone(), self.triggers.clone(), self.remarks.clone());
        let all = Store::bare(DjangoStore { format, ..self });
        let pushes_changes = triggers == TriggerCoverage::All;
        let broken_triggers = if let TriggerCoverage::Some(broken) = triggers { broken } else { Vec::new() };
        if !broken_triggers.is_empty() {
            tracing::warn!(
                code = "django_triggers_out_of_date",
                triggers = broken_triggers.join("; "),
                "not all triggers of the Django database report changes, so the gateway relies on none; create them \
                 again: \
                 `tokengate django triggers | psql DATABASE`"
            );
        }
        Store { sessions: no_sessions.map_or(all.sessions, Err), pushes_changes, broken_triggers, remarks, ..all }
    }

    /// The tokens of these rows, without duplicates.
    fn tokens(&self, rows: Vec<TokenRow>) -> Vec<Token> {
        rows::tokens(rows, &self.meanings)
    }

    /// The same for a page.
    fn token_batch(&self, rows: Vec<Read<TokenRow>>) -> Batch<Token> {
        let (rows, unreadable) = parted(rows);
        Batch::of(self.tokens(rows), unreadable, |token| token.id.0)
    }

    /// The users of these rows, without duplicates.
    fn people(&self, rows: Vec<UserRow>) -> Vec<Person> {
        rows::people(rows, &self.meanings)
    }

    /// The same for a page.
    fn person_batch(&self, rows: Vec<Read<UserRow>>) -> Batch<Person> {
        let (rows, unreadable) = parted(rows);
        Batch::of(self.people(rows), unreadable, |person| person.user.account.id.0)
    }

    fn new_key(&self, format: TokenFormat) -> TokenKey {
        // The generator's state is always complete, so a panic elsewhere does not corrupt it.
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        TokenKey::generate(format, &mut *rng)
    }

    /// Runs a read-only statement with the store's timeout.
    async fn rows<T: Row>(&self, statement: Statement) -> Result<Vec<T>, StoreError> {
        self.within(self.database.rows(statement)).await
    }

    /// Runs a statement that changes rows. Returns their number.
    async fn execute(&self, statement: Statement) -> Result<u64, StoreError> {
        self.within(self.database.execute(statement)).await
    }

    /// Like `execute`, and sends `event`, also if the outcome is unknown: this process may have cached the old state.
    async fn execute_telling(&self, statement: Statement, event: TokenEvent) -> Result<u64, StoreError> {
        let executed = self.execute(statement).await;
        // A command has no listeners.
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

/// A statement of `texts`: it consists of our own text and names that the configuration has checked.
fn statement(text: &Arc<str>) -> Statement {
    Statement::new(AssertSqlSafe(Arc::clone(text)))
}
