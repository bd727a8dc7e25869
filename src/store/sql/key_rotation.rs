//! Moves a database from one key of its key file to the next, while gateways use it.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::schema::{CHECK_VALUE, check_value};
use super::{Change, Database, Statement};
use crate::config::settings;
use crate::store::StoreError;
use crate::store::error::{broken, unavailable};
use crate::store::rotation::Progress;
use crate::store::seal::Sealer;
use crate::token::{SubjectId, TokenDigest};

/// Rows in one transaction, during which others that write wait.
const BATCH: i64 = 100;
/// Pause between two transactions, so that others get their turn.
const PAUSE: Duration = Duration::from_millis(5);
/// How often a transaction is tried, and the pause after one that failed.
const TRIES: u32 = 20;
const AGAIN: Duration = Duration::from_millis(500);

/// A row with a sealed key: id, digest, owner, sealed key.
type Sealed = (i64, Vec<u8>, i64, Vec<u8>);

/// Whether the key file of this sealer is that of the store. A store without a check value accepts every key file.
pub(in crate::store) async fn fits<D: Database>(
    database: &D,
    settings: &settings::Store,
    sealer: &Sealer,
) -> Result<bool, StoreError> {
    let statement = Statement::new("SELECT value FROM meta WHERE name = $1").bind(CHECK_VALUE);
    let rows: Vec<(Vec<u8>,)> = timeout(settings.timeout, database.rows(statement)).await.map_err(unavailable)??;
    Ok(rows.first().is_none_or(|(value,)| sealer.made(value)))
}

/// Makes all gateways seal with the newest key from now on: they read the check value when they seal.
pub(in crate::store) async fn switch<D: Database>(
    database: &D,
    settings: &settings::Store,
    sealer: &Sealer,
) -> Result<(), StoreError> {
    let work = || async {
        let mut change = database.begin().await?;
        let switched = async {
            if check_value(&mut change).await?.is_some_and(|value| sealer.made_with_newest(&value)) {
                return Ok(());
            }
            let value = sealer.check_value().map_err(broken)?;
            change.execute(Statement::new("DELETE FROM meta WHERE name = $1").bind(CHECK_VALUE)).await?;
            let insert = Statement::new("INSERT INTO meta (name, value) VALUES ($1, $2)");
            change.execute(insert.bind(CHECK_VALUE).bind(Some(value))).await?;
            Ok(())
        };
        let switched: Result<(), StoreError> = switched.await;
        change.finish(switched).await
    };
    repeatedly(settings, work).await
}

/// Seals every key with the newest key, in batches. Those that are already are skipped, so it can be begun again.
pub(in crate::store) async fn reseal<D: Database>(
    database: &D,
    settings: &settings::Store,
    sealer: &Sealer,
    mut report: impl FnMut(Progress),
) -> Result<Progress, StoreError> {
    let count = database.rows(Statement::new("SELECT count(*) FROM tokens WHERE sealed IS NOT NULL"));
    let counted: Vec<(i64,)> = timeout(settings.timeout, count).await.map_err(unavailable)??;
    let total = counted.first().map_or(0, |(count,)| u64::try_from(*count).unwrap_or(0));
    let mut progress = Progress { total, ..Progress::default() };
    let mut after = 0;
    loop {
        let batch = repeatedly(settings, || one_batch(database, sealer, after)).await?;
        let Some((last, renewed, looked_at, unreadable)) = batch else { return Ok(progress) };
        after = last;
        progress.renewed += renewed;
        progress.looked_at += looked_at;
        progress.unreadable += unreadable;
        report(progress);
        sleep(PAUSE).await;
    }
}

/// The id of the last row, and the numbers of rows that were sealed again, looked at, and not readable; `None`: no rows
/// are left.
async fn one_batch<D: Database>(
    database: &D,
    sealer: &Sealer,
    after: i64,
) -> Result<Option<(i64, u64, u64, u64)>, StoreError> {
    let mut change = database.begin().await?;
    let work = async {
        let statement =
            "SELECT id, digest, user_id, sealed FROM tokens WHERE sealed IS NOT NULL AND id > $1 ORDER BY id LIMIT $2";
        let rows: Vec<Sealed> = change.rows(Statement::new(statement).bind(after).bind(BATCH)).await?;
        let Some((last, ..)) = rows.last() else { return Ok(None) };
        let (last, looked_at) = (*last, u64::try_from(rows.len()).unwrap_or(0));
        let (mut renewed, mut unreadable) = (0, 0);
        for (id, digest, owner, sealed) in rows {
            let digest = TokenDigest::from_bytes(&digest);
            match digest.map(|digest| sealer.renew(&sealed, digest, SubjectId(owner))) {
                Some(Ok(None)) => {}
                Some(Ok(Some(new))) => {
                    let update = Statement::new("UPDATE tokens SET sealed = $1 WHERE id = $2").bind(Some(new)).bind(id);
                    change.execute(update).await?;
                    renewed += 1;
                }
                // It could not be decrypted before, either.
                Some(Err(_)) | None => unreadable += 1,
            }
        }
        Ok(Some((last, renewed, looked_at, unreadable)))
    };
    let done: Result<_, StoreError> = work.await;
    change.finish(done).await
}

/// Runs a transaction that can be repeated until it succeeds, within bounds: the store may be busy.
async fn repeatedly<T, F: Future<Output = Result<T, StoreError>>>(
    settings: &settings::Store,
    work: impl Fn() -> F,
) -> Result<T, StoreError> {
    let mut tries = 1;
    loop {
        let done = timeout(settings.timeout, work()).await.unwrap_or_else(|elapsed| Err(unavailable(elapsed)));
        match done {
            Err(StoreError::Unavailable(_)) if tries < TRIES => sleep(AGAIN).await,
            done => return done,
        }
        tries += 1;
    }
}
