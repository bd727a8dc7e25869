//! The traits over any SQL database: the rules of issuing, importing and limits are in one place.
//!
//! [`Database`] is the interface to a kind of database, `statement` a statement with its arguments. `schema` migrates a
//! database, `rows` reads rows, `read` also invalid ones, `search` writes the text that users are searched by. `find`,
//! `ledger`, `accounts`, `sessions`, `directory`, `audit` and `quotas` implement the traits. `draft` builds the
//! statement for a page of a list, `detail` the texts of the audit trail. `issue` writes new tokens, `devices` those of
//! logins on single devices; `user_changes` and `token_changes` change existing users and tokens. `arrivals` imports
//! users, `stale` revokes what the other system has deleted, and `origins` records the address of that system. Triggers
//! of the schema write the change log.

mod accounts;
mod arrivals;
mod audit;
mod checks;
mod database;
mod detail;
mod devices;
mod directory;
mod draft;
mod find;
mod issue;
mod key_rotation;
mod ledger;
mod origins;
mod quotas;
mod read;
mod rows;
mod schema;
mod search;
mod sessions;
mod stale;
mod statement;
mod token_changes;
mod user_changes;

use std::future::Future;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};

use crate::clock::Clock;
use crate::config::settings;
use crate::store::error::{MayBeStoreError, unavailable};
use crate::store::outage::StoreOutage;
use crate::store::password::Hasher;
use crate::store::seal::Sealer;
use crate::store::{Actor, OpenError, StoreError};
use crate::token::{TokenFormat, TokenKey};

pub(super) use self::database::{Change, Database};
pub(super) use self::key_rotation::{fits, reseal, switch};
pub(super) use self::read::{Read, parted};
pub(super) use self::schema::{LostKey, apply, described, is_prepared, migrations, pending, prepare};
pub(super) use self::statement::{Argument, Row, Statement, row};

/// All traits over one database, acting for one actor.
pub(super) struct SqlStore<D> {
    shared: Arc<Shared<D>>,
    actor: Actor,
}

/// The parts of a store that do not depend on the actor.
pub(super) struct Shared<D> {
    database: D,
    sealer: Sealer,
    hasher: Hasher,
    rng: Mutex<StdRng>,
    tokens: settings::Tokens,
    timeout: Duration,
    clock: Clock,
    outage: StoreOutage,
}

impl<D> Clone for SqlStore<D> {
    fn clone(&self) -> SqlStore<D> {
        SqlStore { shared: Arc::clone(&self.shared), actor: self.actor.clone() }
    }
}

impl<D> Deref for SqlStore<D> {
    type Target = Shared<D>;

    fn deref(&self) -> &Shared<D> {
        &self.shared
    }
}

impl<D: Database> SqlStore<D> {
    /// Migrates the database and opens it.
    pub(super) async fn open(
        database: D,
        settings: &settings::Store,
        tokens: &settings::Tokens,
        clock: Clock,
    ) -> Result<SqlStore<D>, OpenError> {
        let rng = StdRng::try_from_rng(&mut SysRng).map_err(|error| OpenError::NoRandomness(error.into()))?;
        let ready = prepare(&database, settings, LostKey::Refuse).await?;
        let shared = Shared {
            database,
            sealer: ready.sealer,
            hasher: Hasher::new(&settings.hashing),
            rng: Mutex::new(rng),
            tokens: tokens.clone(),
            timeout: settings.timeout,
            clock,
            outage: StoreOutage::default(),
        };
        let store = SqlStore { shared: Arc::new(shared), actor: Actor::gateway() };
        // In the background: until a text is written, the database folds the names itself.
        let filler = store.clone();
        tokio::spawn(async move {
            if let Err(error) = filler.write_missing_search().await {
                tracing::debug!(%error, "the texts for searching users could not all be written");
            }
        });
        Ok(store)
    }

    fn new_key(&self, format: TokenFormat) -> TokenKey {
        // The generator's state is always complete, so a panic elsewhere does not corrupt it.
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        TokenKey::generate(format, &mut *rng)
    }

    /// Runs `work` with the store's timeout.
    async fn within<T, E: From<StoreError> + MayBeStoreError>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let done = tokio::time::timeout(self.timeout, work).await;
        let answer = done.unwrap_or_else(|elapsed| Err(unavailable(elapsed).into()));
        self.outage.note(&answer);
        answer
    }

    /// Runs a read-only query.
    async fn rows<T: Row>(&self, statement: Statement) -> Result<Vec<T>, StoreError> {
        self.within(self.database.rows(statement)).await
    }

    /// Runs a read-only query with at most one row.
    async fn row<T: Row>(&self, statement: Statement) -> Result<Option<T>, StoreError> {
        Ok(self.rows(statement).await?.pop())
    }

    /// Runs one statement that changes rows; returns their number.
    async fn execute(&self, statement: Statement) -> Result<u64, StoreError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let touched = change.execute(statement).await;
            change.finish(touched).await
        })
        .await
    }
}
