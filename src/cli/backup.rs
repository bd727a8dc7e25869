//! `tokengate backup` and `tokengate restore`: the SQLite store as one file.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::json;

use super::progress::Progress;
use super::{check, runtime, show};
use crate::config::Settings;
use crate::config::settings::StoreUrl;
use crate::store::{self, Backup, BackupError, PART};
use crate::units::ByteSize;

/// Copies the store to a new file.
pub fn back_up(config: &Path, to: &Path, json: bool) -> Result<()> {
    let settings = check::settings(config)?;
    let database = database(&settings)?;
    let key_file = &settings.store.key_file;
    let done = copying(database, to, store::back_up(database, to, key_file))?;
    tell("Copied", database, to, done, json)?;
    if !json {
        show::line(format!(
            "Back up {} too, to another place: together they reveal login tokens.",
            key_file.display()
        ))?;
    }
    Ok(())
}

/// Makes a backup the store.
pub fn restore(config: &Path, from: &Path, json: bool) -> Result<()> {
    let settings = check::settings(config)?;
    let database = database(&settings)?;
    let done = copying(from, database, store::restore(from, database, &settings.store.key_file))?;
    tell("Restored", from, database, done, json)?;
    if json {
        return Ok(());
    }
    let key_file = settings.store.key_file.display();
    match done.key_fits {
        Some(true) => {}
        Some(false) => show::note(format_args!(
            "warning: {key_file} is not the key file of this store. Restore the right one before the gateway starts"
        )),
        None => show::note(format_args!("warning: {key_file} is missing. Restore it before the gateway starts")),
    }
    show::line("Tokens that were revoked since the backup are valid again: revoke them again.")
}

/// Runs a copy, and shows how much of the new file there is.
fn copying(from: &Path, to: &Path, copy: impl Future<Output = Result<Backup, BackupError>>) -> Result<Backup> {
    let mut progress = Progress::of_bytes("copied");
    let size = |file: &Path| std::fs::metadata(file).map_or(0, |file| file.len());
    progress.of(size(from));
    let mut part = to.as_os_str().to_owned();
    part.push(PART);
    let part = Path::new(&part);
    let done = runtime::for_command()?.block_on(progress.while_running(copy, || size(part)))?;
    // Free pages of the old file are not copied.
    progress.of(done.bytes);
    progress.reached(done.bytes);
    Ok(done)
}

fn database(settings: &Settings) -> Result<&Path> {
    match &settings.store.url {
        StoreUrl::Sqlite(path) => Ok(path),
        StoreUrl::Postgres(_) => bail!("the store is in PostgreSQL: use pg_dump and pg_restore"),
        StoreUrl::Django(_) => bail!("the users and tokens are in a Django database: back that up"),
    }
}

fn tell(done: &str, from: &Path, to: &Path, backup: Backup, json: bool) -> Result<()> {
    let Backup { users, tokens, bytes, key_fits } = backup;
    if json {
        return show::json(&json!({ "users": users, "tokens": tokens, "bytes": bytes, "key_fits": key_fits }));
    }
    let (from, to, size) = (from.display(), to.display(), ByteSize(bytes));
    show::line(format!("{done} {from} to {to}; checked. Users: {users}, tokens: {tokens}, size: {size}"))
}
