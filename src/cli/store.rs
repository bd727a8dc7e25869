//! Helpers shared by the store commands, and `tokengate migrate`.

use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::json;
use zeroize::Zeroizing;

use super::progress::Progress;
use super::{check, runtime, show};
use crate::cache::{self, SharedCache};
use crate::clock::Clock;
use crate::store::{self, Actor, Migration, SharedCacheKey, Store, User};

/// Opens the configured store, runs an action and notifies running gateways of the changes.
pub fn with<T>(config: &Path, work: impl AsyncFnOnce(Store) -> Result<T>) -> Result<T> {
    let settings = check::settings(config)?;
    runtime::for_command()?.block_on(async {
        let store = store::open(&settings.store, &settings.tokens, Clock::system()).await?;
        let store = store.acting_as(Actor::command_line());
        let Some(redis) = settings.redis.as_ref().filter(|redis| redis.tokens) else { return work(store).await };
        let (tokens, before) = (Arc::clone(&store.tokens), store.tokens.newest_change().await?);
        let done = work(store).await;
        let key = SharedCacheKey::read(&settings.store.key_file)?;
        let (shared, _) = SharedCache::new(redis, key, Clock::system());
        // The change is committed. Gateways that miss the notification find it in the change log soon.
        if let Err(error) = cache::announce(&*tokens, &shared, before).await {
            show::note(format_args!(
                "Running gateways could not be notified; they read the change from the change log ({error})."
            ));
        }
        done
    })
}

/// Finds the user with this name.
pub async fn user(store: &Store, name: &str) -> Result<User> {
    store.accounts.find(name).await?.with_context(|| format!("user {name} does not exist"))
}

/// Reads the first line of standard input, without its line break.
pub fn secret_from_stdin(what: &str) -> Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().lock().read_line(&mut line).with_context(|| format!("the {what} cannot be read"))?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    if line.is_empty() {
        bail!("no {what} on standard input");
    }
    Ok(line)
}

/// How a schema is upgraded.
pub struct Wish {
    /// Whether a lost key file is replaced.
    pub new_key: bool,
    /// Whether the migrations are only listed.
    pub dry_run: bool,
    /// Whether nothing is asked.
    pub yes: bool,
}

/// Upgrades the schema to this version.
pub fn migrate(config: &Path, wish: &Wish, json: bool) -> Result<()> {
    let settings = check::settings(config)?;
    if wish.new_key {
        let what = "Create a new key file? The login tokens that were encrypted with the lost one stay valid, but can \
                    never be shown again.";
        show::confirm(wish.yes, what)?;
    }
    let begun = Clock::system().instant();
    let applied = runtime::for_command()?.block_on(async {
        let mut progress = Progress::new("migrations are being applied");
        let pending = match wish.dry_run {
            true => 0,
            // The migration itself tells what is wrong with the store.
            false => store::pending(&settings.store).await.map_or(0, |pending| pending.len()),
        };
        let pending = || u64::try_from(pending).unwrap_or(u64::MAX);
        match wish {
            Wish { dry_run: true, .. } => store::pending(&settings.store).await,
            Wish { new_key: true, .. } => {
                progress.while_running(store::migrate_to_new_key(&settings.store), pending).await
            }
            Wish { .. } => progress.while_running(store::migrate(&settings.store), pending).await,
        }
    })?;
    let took = Clock::system().instant().saturating_duration_since(begun);
    if json {
        let steps = applied
            .iter()
            .map(|Migration { version, description }| json!({ "version": version, "description": description }));
        let steps: Vec<_> = steps.collect();
        let what = if wish.dry_run { "pending" } else { "applied" };
        return show::json(&json!({ what: steps }));
    }
    let word = if wish.dry_run { "would apply" } else { "applied" };
    for Migration { version, description } in &applied {
        show::line(format!("{word} {version:04} {description}"))?;
    }
    if applied.is_empty() {
        show::line("the schema is up to date")?;
    } else if !wish.dry_run && std::io::stderr().is_terminal() {
        show::note(format_args!("{} migrations in {:.1} s", applied.len(), took.as_secs_f64()));
    }
    Ok(())
}
