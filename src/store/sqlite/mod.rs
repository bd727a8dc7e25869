//! The store in an SQLite file.
//!
//! `database` owns the file and its connections, `schema` makes it ready, `rows` reads what stands in it; `find`,
//! `ledger` and `accounts` are the three traits. The change log is written by triggers of the schema, not by any of these.

mod accounts;
mod database;
mod find;
mod ledger;
mod rows;
mod schema;

use std::sync::{Mutex, PoisonError};

use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};

use self::database::Database;
use crate::clock::Clock;
use crate::config::settings;
use crate::store::password::Hasher;
use crate::store::seal::Sealer;
use crate::store::{Migration, OpenError};
use crate::token::{TokenFormat, TokenKey};

pub(super) use self::schema::LostKey;

/// All three traits over one file.
pub(super) struct SqliteStore {
    database: Database,
    sealer: Sealer,
    hasher: Hasher,
    rng: Mutex<StdRng>,
    tokens: settings::Tokens,
    clock: Clock,
}

impl SqliteStore {
    pub(super) async fn open(
        settings: &settings::Store,
        tokens: &settings::Tokens,
        clock: Clock,
    ) -> Result<SqliteStore, OpenError> {
        let rng = StdRng::try_from_rng(&mut SysRng).map_err(|error| OpenError::NoRandomness(error.into()))?;
        let ready = schema::prepare(settings, LostKey::Refuse).await?;
        Ok(SqliteStore {
            database: ready.database,
            sealer: ready.sealer,
            hasher: Hasher::new(&settings.hashing),
            rng: Mutex::new(rng),
            tokens: tokens.clone(),
            clock,
        })
    }

    fn new_key(&self) -> TokenKey {
        // A generator is never left half-way, so a panic elsewhere does not spoil it.
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        TokenKey::generate(TokenFormat::Drf, &mut *rng)
    }
}

/// Makes a database ready without opening it for use.
pub(super) async fn migrate(settings: &settings::Store, lost: LostKey) -> Result<Vec<Migration>, OpenError> {
    Ok(schema::prepare(settings, lost).await?.applied)
}
