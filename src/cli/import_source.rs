//! The source of an import, and whether its data was imported from another address before.
//!
//! The store records the address of the database with all imported data, and `--prune` revokes only data from the same
//! address. So a database that moved must be distinguished from a copy, which only the operator can do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::config::settings::DjangoUrl;
use crate::store::{DjangoUsers, Import, Origin, Store};

/// The value of `--was` if the databases are different ones.
const NONE: &str = "none";

/// The recorded address of a database, without secrets and in one spelling. A file's path is absolute.
pub(super) fn source(url: &DjangoUrl) -> String {
    match url {
        DjangoUrl::Sqlite(path) => absolute(path),
        DjangoUrl::Postgres(_) | DjangoUrl::Mysql(_) => canonical(&url.to_string()),
    }
}

/// Finds the data of the database that was imported from another address, and records the new address for it if `was`
/// asks for that.
///
/// # Errors
/// The import prunes and other addresses are left, or `was` names none of them.
pub(super) async fn settle(
    store: &Store,
    users: &mut DjangoUsers,
    (import, asked): (&Import, bool),
    was: Option<&str>,
) -> Result<Vec<Origin>> {
    let known = store.accounts.sources().await?;
    let (same, others): (Vec<_>, Vec<_>) =
        known.into_iter().filter(|known| *known != import.source).partition(|known| canonical(known) == import.source);
    if !import.dry_run {
        // Another spelling of the same address.
        store.accounts.rename_sources(&same, &import.source).await?;
    }
    let was = match was {
        Some(NONE) => return Ok(Vec::new()),
        Some(was) => Some(chosen(was, &others)?),
        None => None,
    };
    let mut found = if others.is_empty() { BTreeMap::new() } else { origins(store, users, import).await? };
    if let Some(was) = was {
        if found.remove(&was).is_none() {
            bail!("nothing that came from {was} is in this database, so it is not the one that had this address");
        }
        if !import.dry_run {
            store.accounts.rename_sources(&[was], &import.source).await?;
        }
    }
    let found: Vec<Origin> = found.into_values().collect();
    if asked && !found.is_empty() {
        let told: Vec<String> = found.iter().map(told).collect();
        bail!("{}; nothing was revoked here", told.join("; "));
    }
    Ok(found)
}

/// The message for the operator, with the options.
pub(super) fn told(Origin { source, users, tokens }: &Origin) -> String {
    let counted = |number: &u64, what: &str| format!("{number} {what}{}", if *number == 1 { "" } else { "s" });
    format!(
        "{} and {} in this database were imported from {source} before, and what was deleted since is not compared; \
         if the database moved, add `--was {source}`; if it is another database, add `--was {NONE}`",
        counted(users, "user"),
        counted(tokens, "token"),
    )
}

/// Reads the whole database.
async fn origins(store: &Store, users: &mut DjangoUsers, import: &Import) -> Result<BTreeMap<String, Origin>> {
    let mut found: BTreeMap<String, Origin> = BTreeMap::new();
    while let Some(page) = users.next().await? {
        for (arrival, _) in &page.users {
            for origin in store.accounts.origins(arrival, import).await? {
                let sum =
                    found.entry(origin.source.clone()).or_insert(Origin { source: origin.source, users: 0, tokens: 0 });
                sum.users += origin.users;
                sum.tokens += origin.tokens;
            }
        }
    }
    Ok(found)
}

/// The recorded address that `--was` refers to.
fn chosen(was: &str, known: &[String]) -> Result<String> {
    let meant = named(was);
    let found = known.iter().find(|known| *known == was || meant.as_ref() == Some(&canonical(known)));
    match found {
        Some(known) => Ok(known.clone()),
        None => {
            // An address may contain a password; a parsed one shows none.
            let was = meant.unwrap_or_else(|| "the address after `--was`".to_owned());
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            bail!("nothing here came from {was}; addresses of earlier imports: {known}")
        }
    }
}

/// Parses an address in the form that the import accepts, or in the form that is shown.
fn named(text: &str) -> Option<String> {
    let url = match (text.starts_with("django+"), text.contains("://")) {
        (true, _) => text.to_owned(),
        (false, true) => format!("django+{text}"),
        (false, false) => return Some(absolute(Path::new(text))),
    };
    DjangoUrl::parse(&url, |path| PathBuf::from(path)).ok().map(|url| source(&url))
}

fn absolute(path: &Path) -> String {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Normalises names of this machine, upper and lower case, and the default port.
fn canonical(source: &str) -> String {
    let unchanged = || source.to_owned();
    let Some((scheme, rest)) = source.split_once("://") else { return unchanged() };
    let usual = match scheme {
        "postgres" => ":5432",
        "mysql" => ":3306",
        _ => return unchanged(),
    };
    let Some((server, database)) = rest.rsplit_once('/') else { return unchanged() };
    let server = server.strip_suffix(usual).unwrap_or(server);
    if server.starts_with('/') {
        return format!("{scheme}://{server}/{database}");
    }
    let server = server.to_ascii_lowercase();
    for here in ["127.0.0.1", "[::1]"] {
        if let Some(port) = server.strip_prefix(here).filter(|rest| rest.is_empty() || rest.starts_with(':')) {
            return format!("{scheme}://localhost{port}/{database}");
        }
    }
    format!("{scheme}://{server}/{database}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_has_one_address_in_all_spellings() {
        for (same, as_noted) in [
            (
                &[
                    "postgres://localhost/d",
                    "postgres://127.0.0.1/d",
                    "postgres://[::1]/d",
                    "postgres://LocalHost:5432/d",
                ][..],
                "postgres://localhost/d",
            ),
            (&["mysql://localhost:3306/d", "mysql://127.0.0.1:3306/d", "mysql://[::1]:3306/d"], "mysql://localhost/d"),
            (&["postgres://127.0.0.1:5433/d"], "postgres://localhost:5433/d"),
            (&["postgres://127.0.0.10/d"], "postgres://127.0.0.10/d"),
            (&["postgres://[::1]:3306/d"], "postgres://localhost:3306/d"),
            (&["postgres://[2001:DB8::1]:5432/D"], "postgres://[2001:db8::1]/D"),
            (&["postgres:///run/Postgres:5432/d"], "postgres:///run/Postgres/d"),
            (&["/srv/Db.sqlite3"], "/srv/Db.sqlite3"),
        ] {
            for address in same {
                assert_eq!(canonical(address), as_noted, "{address}");
                assert_eq!(canonical(as_noted), as_noted);
            }
        }
        for (text, meant) in [
            ("django+postgres://gw:secret@127.0.0.1:5432/d?sslmode=disable", Some("postgres://localhost/d")),
            ("postgres://gw:secret@DB/d", Some("postgres://db/d")),
            ("django+sqlite:/nowhere/db.sqlite3", Some("/nowhere/db.sqlite3")),
            ("/nowhere/db.sqlite3", Some("/nowhere/db.sqlite3")),
            ("http://gw:secret@db/d", None),
        ] {
            assert_eq!(named(text).as_deref(), meant, "{text}");
        }
    }
}
