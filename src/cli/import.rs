//! `tokengate import`: imports users and tokens.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::args::ImportCommand;
use super::import_report::Report;
use super::import_source::{self, source};
use super::progress::Progress;
use super::{check, show, store};
use crate::config::settings::{DjangoUrl, StoreUrl};
use crate::store::{DjangoUsers, Import, Page, Store};
use crate::token::SubjectId;

/// Number of users read from the store per query.
const PAGE: u32 = 500;

/// Runs a subcommand.
pub fn run(config: &Path, command: ImportCommand) -> Result<ExitCode> {
    let ImportCommand::Django { url, prune, keep_gone, was, allow_skipped, map_ids, dry_run, yes, json } = command;
    let settings = check::settings(config)?;
    if matches!(settings.store.url, StoreUrl::Django(_)) {
        bail!("store.url is a Django database itself; set it to the store that receives the users");
    }
    let url = DjangoUrl::parse(&expanded(url)?, |path| PathBuf::from(path)).map_err(|bad| {
        // The messages omit the value, which may be a password.
        anyhow::anyhow!("the address {}; {}", bad.what, bad.mend)
    })?;
    store::with(config, async |store| {
        let mut users = DjangoUsers::open(&url, &settings.store).await?;
        // Revokes nothing if the database has no users or no tokens.
        let lack = users.lack().await?.filter(|_| prune);
        let import = Import { source: source(&url), prune: prune && lack.is_none(), map_ids, dry_run };
        if import.prune && !dry_run {
            let what = "Deactivate users and revoke tokens that are no longer valid in the Django database? Revoked \
                        tokens do not come back.";
            show::confirm(yes, what)?;
        }
        let was = was.map(expanded).transpose()?;
        let elsewhere = import_source::settle(&store, &mut users, (&import, prune), was.as_deref()).await?;
        let mut report = Report::new(prune, &import, elsewhere);
        let done = take_all(&store, &mut users, &import, &mut report).await;
        // Changes before an error are kept; the next run continues from there.
        report.print(json)?;
        done?;
        if let Some(lack) = lack.filter(|_| !report.nothing_stale()) {
            bail!(
                "the Django database has no {lack} at all, so nothing was revoked here. If that is correct, revoke \
                 what is listed above with `tokengate token revoke ID` and `tokengate user deactivate NAME`"
            );
        }
        let is_whole = (allow_skipped || report.is_whole()) && (keep_gone || report.nothing_stale());
        Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

async fn take_all(store: &Store, users: &mut DjangoUsers, import: &Import, report: &mut Report) -> Result<()> {
    let mut seen = HashSet::new();
    // Revokes nothing of a user with an unreadable token: it may be the imported one.
    let ends_nothing = Import { prune: false, ..import.clone() };
    let mut all_known = true;
    let mut progress = Progress::new("users read");
    while let Some(page) = users.next().await? {
        progress.add(page.users.len());
        for row in page.unreadable {
            all_known &= row.id.is_some();
            seen.extend(row.id.map(SubjectId));
            report.skip(&row);
        }
        for (arrival, unreadable) in page.users {
            let import = if unreadable.is_empty() { import } else { &ends_nothing };
            let mut taken = store.accounts.take_in(&arrival, import).await?;
            seen.extend([arrival.user.account.id, taken.id]);
            if !unreadable.is_empty() {
                taken.stale.tokens.clear();
            }
            report.note(&arrival, taken, &unreadable);
        }
    }
    drop(progress);
    // Deleted users are known only after the whole database was read, and only if each row has a readable id.
    if !all_known {
        return Ok(());
    }
    let mut page = Page::first(PAGE);
    loop {
        let known = store.accounts.imported(import, page).await?;
        let Some(last) = known.last() else { break };
        page.after = last.0;
        for user in known.into_iter().filter(|user| !seen.contains(user)) {
            report.miss(&store.accounts.miss(user, import).await?);
        }
    }
    Ok(())
}

/// Expands `${NAME}` from the environment, where other users of this machine cannot see a password.
fn expanded(url: String) -> Result<String> {
    match url.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => std::env::var(name).with_context(|| format!("the environment has no variable {name}")),
        None => Ok(url),
    }
}
